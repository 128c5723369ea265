"""Restarts instances: ``manage.py durable_restart ID...``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.core.options import ID_REUSE
from durable.management.base import natural
from durable.management.verbs import VerbCommand

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(VerbCommand):
    """Restart instances."""

    help = "Start new instances with the input, tags and options of others, which stay as they are."
    examples = (
        "durable_restart order-7 --new-id order-7-again",
        "durable_restart order-7 --id-reuse replace_closed --terminate-first --dry-run",
        "durable_list --status failed --workflow order --ids | manage.py durable_restart - --json",
    )
    verb = "restart"
    past = "restarted"

    def add_options(self, parser: CommandParser) -> None:
        """Add the command's own options."""
        parser.add_argument(
            "--new-id",
            dest="new_instance_id",
            metavar="ID",
            help="the new instance's id, of one instance; else a new UUID",
        )
        parser.add_argument(
            "--id-reuse",
            choices=ID_REUSE,
            default="reject",
            help="if the id is taken: reject (default), return_existing, or replace_closed, which takes the same id"
            " and begins a new execution",
        )
        parser.add_argument("--terminate-first", action="store_true", help="terminate what is open; else it is refused")
        parser.add_argument(
            "--on-version",
            dest="version",
            type=natural,
            metavar="N",
            help="the workflow's version; else that of a start",
        )
