"""Compares two executions: ``manage.py durable_compare ID OTHER``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable import client
from durable.management import comparisons
from durable.management.base import DurableCommand, plain

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(DurableCommand):
    """Compare two executions, event by event."""

    help = (
        "Compare two executions, of two instances or of one, event by event: ~ changed, - only in the first,"
        " + only in the second, > came at another place. Changes nothing. Exits with 0 whether they differ or not."
    )
    examples = (
        "durable_compare order-42 order-42-again",
        "durable_compare order-42 order-42 --execution 0190b0a0-0000-7000-8000-000000000000",
        "durable_compare order-42 order-43 --all",
        "durable_compare order-42 order-43 --json | jq .counts",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("a", help="an instance's id")
        parser.add_argument("b", help="the other's, or the same again for two of its executions")
        parser.add_argument("--execution", metavar="ID", help="which execution of the first; the current one otherwise")
        parser.add_argument("--other-execution", metavar="ID", help="which execution of the second, likewise")
        parser.add_argument("--all", action="store_true", help="print also what is the same")
        parser.add_argument("--json", action="store_true", help="print a JSON object")

    def handle(self, *, a: str, b: str, **options: Any) -> None:
        """Run the command."""
        found = client.compare(a, b, execution=options["execution"], other_execution=options["other_execution"])
        if options["json"]:
            self.print_json({**plain(found), "counts": found.counts, "is_same": found.is_same})
            return
        self.stdout.write("\n".join(comparisons.described(found, everything=options["all"])))
