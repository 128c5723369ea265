"""Shows which instances were begun like which: ``manage.py durable_lineage ID``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable import client
from durable.management import tables
from durable.management.base import DurableCommand, plain

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

    from durable.client import Relative


class Command(DurableCommand):
    """Show which instances one was rerun or restarted from, and which from it."""

    help = "Show which instances one was rerun or restarted from, and which from it, the oldest first. Changes nothing."
    examples = ("durable_lineage order-42", "durable_lineage order-42 --json | jq '.descendants[].instance_id'")

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("id", help="the instance's id")
        parser.add_argument("--json", action="store_true", help="print a JSON object")

    def handle(self, *, id: str, **options: Any) -> None:
        """Run the command."""
        found = client.lineage(id)
        if options["json"]:
            self.print_json(plain(found))
            return
        family = [*reversed(found.ancestors), found.instance, *found.descendants]
        rows = [_row(each, ">" if each is found.instance else "") for each in family]
        self.stdout.write(tables.aligned(("", "instance", "status", "begun", "created"), rows), ending="")


def _row(each: Relative, mark: str) -> tables.Row:
    created = "" if each.created_at is None else f"{each.created_at:%Y-%m-%d %H:%M:%S} UTC"
    return [mark, each.instance_id, each.status or "purged", _begun(each), created], ""


def _begun(each: Relative) -> str:
    if each.status is None:
        return ""
    if each.rerun_from is None:
        return "started"
    if each.rerun_event_id is None:
        return f"restarted from {each.rerun_from}"
    return f"rerun from event {each.rerun_event_id} of {each.rerun_from}"
