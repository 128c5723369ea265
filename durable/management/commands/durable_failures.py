"""Lists what has failed or is stalled, by cause: ``manage.py durable_failures``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from durable import client
from durable.management import choosing, tables
from durable.management.base import DurableCommand
from durable.operations.failing import STATUSES

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

_TITLES = ("count", "status", "workflow", "error", "place", "first seen", "last seen", "1 h", "1 d", "1 w", "older")


class Command(DurableCommand):
    """List groups of failures, the largest first."""

    help = "List what has failed or is stalled, grouped by cause, the largest group first."
    examples = (
        "durable_failures",
        "durable_failures --workflow order --since 7d",
        "durable_failures --status stalled --json",
        'durable_batch rewind --group FINGERPRINT --reason "the bank is back" --wait',
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("--workflow", help="the workflow's name, without its version")
        parser.add_argument("--status", choices=[str(status) for status in STATUSES], help="else both")
        parser.add_argument(
            "--since", type=choosing.since, metavar="WHEN", help="failed since then: a date, or 12h, 7d, 2w ago"
        )
        parser.add_argument("--limit", type=int, default=20, help="how many groups at most (20)")
        parser.add_argument("--json", action="store_true", help="print a JSON array")

    def handle(self, *, json: bool, **options: Any) -> None:
        """Run the command."""
        chosen = {name: options[name] for name in ("workflow", "status", "since", "limit")}
        found = client.failure_groups(**chosen)
        if json:
            self.print_json([{**asdict(group), "filter": group.filter} for group in found])
            return
        self.stdout.write(tables.aligned(_TITLES, [_row(group) for group in found]), ending="")
        total = sum(group.count for group in found)
        self.stderr.write(f"{total:,} in {len(found):,} groups" if found else "nothing has failed or is stalled")


def _row(group: client.FailureGroup) -> tables.Row:
    times = [f"{at:%Y-%m-%d %H:%M}" for at in (group.first_seen, group.last_seen)]
    ages = [f"{count:,}" for count in group.ages.values()]
    cells = [f"{group.count:,}", group.status, group.workflow, group.error, group.place, *times, *ages]
    return cells, f"{group.message}\ngroup {group.fingerprint}, for example {group.example}"
