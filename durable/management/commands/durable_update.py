"""Has an instance changed by an update: ``manage.py durable_update ID NAME [ARGUMENT ...]``."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from durable.client import change
from durable.management.base import INTERRUPTED, DurableCommand, add_call

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(DurableCommand):
    """Call an update of an instance."""

    help = "Call an update that a workflow registered, wait until a worker has run it, and print its value as JSON."
    examples = (
        """durable_update order-42 set_address '"Turin"' --reason 'they called' --actor ada""",
        "durable_update order-42 add 5 --update-id ticket-77 --timeout 30",
        "durable_update order-42 add 5 --json | jq .value",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("id", help="the instance's id")
        parser.add_argument("name", help="the update's name")
        add_call(parser)
        parser.add_argument(
            "--update-id", metavar="ID", help="asked again by the same one, nothing runs again; else a new UUID"
        )
        parser.add_argument(
            "--timeout", type=float, metavar="SECONDS", help="wait at most so long, 0 not at all; the update goes on"
        )
        parser.add_argument("--reason", default="", help="why; recorded")
        parser.add_argument("--actor", metavar="NAME", help="who asks for it; recorded")
        parser.add_argument("--json", action="store_true", help="print a JSON object with id, update, update_id, value")

    def handle(self, *, id: str, name: str, arguments: list[Any], update_id: str | None, **options: Any) -> None:
        """Run the command."""
        update_id = str(uuid.uuid4()) if update_id is None else update_id
        asked = {key: options[key] for key in ("timeout", "reason", "actor")}
        try:
            value = change.operate(id, name, arguments, options["kwargs"], update_id=update_id, **asked)
        except KeyboardInterrupt:
            raise CommandError(
                f"what was asked for goes on; ask again with --update-id {update_id}", returncode=INTERRUPTED
            ) from None
        told = {"id": id, "update": name, "update_id": update_id, "value": value}
        self.print_json(told if options["json"] else value)
