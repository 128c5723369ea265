"""Asks an instance: ``manage.py durable_query ID NAME [ARGUMENT ...]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable import client
from durable.management.base import DurableCommand, add_call

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(DurableCommand):
    """Call a query of an instance."""

    help = "Call a query that a workflow registered, and print its answer as JSON. Needs no worker, changes nothing."
    examples = (
        "durable_query order-42 total",
        """durable_query order-42 lines 10 --kwargs '{"of": "books"}'""",
        "durable_query order-42 total --json | jq .answer",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("id", help="the instance's id")
        parser.add_argument("name", help="the query's name")
        add_call(parser)
        parser.add_argument("--json", action="store_true", help="print a JSON object with id, query and answer")

    def handle(self, *, id: str, name: str, arguments: list[Any], **options: Any) -> None:
        """Run the command."""
        answer = client.query(id, name, *arguments, **options["kwargs"])
        self.print_json({"id": id, "query": name, "answer": answer} if options["json"] else answer)
