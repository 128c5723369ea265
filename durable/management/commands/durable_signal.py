"""Signals instances: ``manage.py durable_signal ID NAME [PAYLOAD]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable.management.base import json_value
from durable.management.verbs import VerbCommand

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(VerbCommand):
    """Signal instances."""

    help = "Send a signal to an instance. It is stored before this returns, and delivered once."
    examples = (
        "durable_signal order-42 approve",
        "durable_signal order-42 approve true --reason 'as agreed' --actor ada",
        """durable_signal order-42 address '{"city": "Turin"}'""",
        "durable_list --status open --workflow order --ids | manage.py durable_signal - stop",
    )
    verb = "signal"
    past = "signalled"

    def add_targets(self, parser: CommandParser) -> None:
        """Add the arguments that name instances."""
        parser.add_argument("ids", nargs=1, metavar="ID", help="the instance; - reads ids from standard input")
        parser.add_argument("name", help="the signal's name")
        parser.add_argument("payload", nargs="?", type=json_value, help="a JSON value (null)")

    def said(self, instance_id: str, done: Any, options: dict[str, Any]) -> str:
        """Return what was done, for people."""
        return f"{instance_id} has got the signal {options['name']}"
