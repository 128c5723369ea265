"""Compares two executions: ``manage.py durable_compare ID OTHER``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from durable import client
from durable.management.base import DurableCommand, plain

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

    from durable.client import ComparedEvent, HistoryItem

_MARKS = {"same": " ", "changed": "~", "only_a": "-", "only_b": "+"}
_SHOWN = 120


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
        for event in found.events:
            if options["all"] or event.change != "same" or event.moved:
                self._event(event)
        counts = ", ".join(f"{count:,} {change.replace('_', ' ')}" for change, count in found.counts.items())
        self.stdout.write(counts)

    def _event(self, event: ComparedEvent) -> None:
        item = event.b or event.a
        if item is None:
            return
        number = "" if item.event_id is None else item.event_id
        mark = _MARKS[event.change] + (">" if event.moved else " ")
        self.stdout.write(f"{mark}{item.seq:>6} {number:>5} {item.kind} {item.name}".rstrip())
        if event.a is None or event.b is None:
            return
        for field in event.fields:
            self.stdout.write(f"    {field}: {_of(event.a, field)} -> {_of(event.b, field)}")


def _of(item: HistoryItem, field: str) -> str:
    value = item.kind if field == "kind" else item.name if field == "name" else item.data.get(field)
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
