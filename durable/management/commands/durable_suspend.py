"""Suspends instances: ``manage.py durable_suspend ID...``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.management.verbs import VerbCommand

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(VerbCommand):
    """Suspend instances."""

    help = "Halt instances: what comes in is kept, and no activity of theirs begins, until they are resumed."
    examples = (
        "durable_suspend order-7 --reason 'the bank is down' --actor ada",
        "durable_suspend order-7 --children --dry-run",
        "durable_list --status running --workflow order --ids | manage.py durable_suspend -",
    )
    verb = "suspend"
    past = "suspended"

    def add_options(self, parser: CommandParser) -> None:
        """Add the command's own options."""
        parser.add_argument("--children", action="store_true", help="halt their open children, too")
