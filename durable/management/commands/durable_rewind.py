"""Rewinds instances: ``manage.py durable_rewind ID...``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.management.base import event_id
from durable.management.verbs import VerbCommand

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(VerbCommand):
    """Rewind instances."""

    help = "Have failed instances go on from before their failure; what had succeeded is not run again."
    examples = (
        'durable_rewind order-7 --reason "the bank is back" --actor ada',
        "durable_rewind order-7 --dry-run",
        "durable_rewind order-7 --to 3",
        "durable_list --status failed --workflow order --ids | manage.py durable_rewind - --json",
    )
    verb = "rewind"
    past = "rewound"

    def add_options(self, parser: CommandParser) -> None:
        """Add the command's own options."""
        parser.add_argument(
            "--to",
            type=event_id,
            metavar="EVENT_ID",
            help="go back to before this step; instances that were cancelled, terminated or completed can, too",
        )
