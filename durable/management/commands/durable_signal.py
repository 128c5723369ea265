"""Signals an instance: ``manage.py durable_signal ID NAME [PAYLOAD]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable import client
from durable.management.base import DurableCommand, json_value

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(DurableCommand):
    """Signal an instance."""

    help = "Send a signal to an instance. It is stored before this returns, and delivered once."
    examples = (
        "durable_signal order-42 approve",
        "durable_signal order-42 approve true",
        """durable_signal order-42 address '{"city": "Turin"}'""",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("id", help="the instance's id")
        parser.add_argument("name", help="the signal's name")
        parser.add_argument("payload", nargs="?", type=json_value, help="a JSON value (null)")
        parser.add_argument("--json", action="store_true", help="print a JSON object with id, signal and status")

    def handle(self, *, id: str, name: str, payload: Any, **options: Any) -> None:
        """Run the command."""
        client.signal(id, name, payload)
        if options["json"]:
            self.print_json({"id": id, "signal": name, "status": client.status(id)})
        else:
            self.stdout.write(f"{id} has got the signal {name}")
