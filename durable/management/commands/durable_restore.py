"""Restores earlier executions: ``manage.py durable_restore ID...``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.management.verbs import VerbCommand

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(VerbCommand):
    """Take rewinds back."""

    help = "Have instances end as an earlier execution of theirs did: takes a rewind back, if nothing was done since."
    examples = (
        "durable_restore order-7 --reason 'wrong step' --actor ada",
        "durable_restore order-7 --dry-run",
        "durable_restore order-7 --execution 0190b0a0-0000-7000-8000-000000000000",
        "durable_restore - < ids.txt",
    )
    verb = "restore"
    past = "restored"

    def add_options(self, parser: CommandParser) -> None:
        """Add the command's own options."""
        parser.add_argument("--execution", metavar="ID", help="of one instance: which; else the one before the current")
