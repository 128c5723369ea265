"""Lists the versions of workflows: ``manage.py durable_versions``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from durable import client
from durable.management import tables
from durable.management.base import DurableCommand

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

_TITLES = ("workflow", "version", "registered", "open", "stalled", "closed", "oldest open", "last start", "deletable")


class Command(DurableCommand):
    """List the versions of workflows that are registered or in use."""

    help = "List the versions of workflows that are registered or in use, and which could be deleted from the code."
    examples = ("durable_versions", "durable_versions --workflow order", "durable_versions --json")

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("--workflow", help="the workflow's name, without its version")
        parser.add_argument("--json", action="store_true", help="print a JSON array")

    def handle(self, *, workflow: str | None, **options: Any) -> None:
        """Run the command."""
        found = [use for use in client.versions() if workflow in (None, use.name)]
        if options["json"]:
            self.print_json([asdict(use) for use in found])
        else:
            self.stdout.write(tables.aligned(_TITLES, [(_cells(use), "") for use in found]), ending="")


def _cells(use: client.VersionUse) -> list[str]:
    times = ["" if at is None else f"{at:%Y-%m-%d %H:%M}" for at in (use.oldest_open, use.last_start)]
    counts = [f"{getattr(use, name):,}{'+' if name in use.more else ''}" for name in ("open", "stalled", "closed")]
    registered, deletable = ("yes" if is_so else "no" for is_so in (use.registered, use.safe_to_delete))
    return [use.name, str(use.version), registered, *counts, *times, deletable]
