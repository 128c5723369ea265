"""Reruns instances from an activity: ``manage.py durable_rerun ID EVENT_ID``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.management import rerunning
from durable.management.verbs import VerbCommand

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(VerbCommand):
    """Rerun instances from an activity."""

    help = "Start a new instance that begins with what a closed one had done before an activity, and runs that again."
    examples = (
        "durable_rerun order-7 3",
        "durable_rerun order-7 3 --new-id order-7-again --input 250 --reason 'wrong amount'",
        """durable_rerun order-7 3 --input '{"args": [7], "kwargs": {"amount": 250}}'""",
        "durable_rerun order-7 3 --dry-run --siblings keep",
        "durable_rerun - 3 < ids.txt",
    )
    verb = "rerun"
    past = "rerun"

    def add_targets(self, parser: CommandParser) -> None:
        """Add the arguments that name instances."""
        parser.add_argument("ids", nargs=1, metavar="ID", help="the instance; - reads ids from standard input")

    def add_options(self, parser: CommandParser) -> None:
        """Add the command's own options."""
        rerunning.add_arguments(parser)
        parser.add_argument(
            "--new-id", dest="new_instance_id", metavar="ID", help="the new instance's id; else a new UUID"
        )
