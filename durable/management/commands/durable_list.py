"""Lists instances: ``manage.py durable_list``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.db.models import Q

from durable.management.base import DurableCommand, natural, summary, tag
from durable.management.choosing import since
from durable.models import CLOSED, OPEN, Status
from durable.store import instances, listing, patches

if TYPE_CHECKING:
    from datetime import datetime

    from django.core.management.base import CommandParser

_COUNTED = 10_000
"""How far the instances are counted that are not listed."""

_GROUPS = {"open": OPEN, "closed": CLOSED}
_STATUS = {"completed": "SUCCESS", "failed": "ERROR", "stalled": "ERROR", "suspended": "WARNING"}


class Command(DurableCommand):
    """List instances, the newest first."""

    help = "List workflow instances, the newest first."
    examples = (
        "durable_list --status failed --status stalled",
        "durable_list --workflow order --tag customer=Ada --limit 100",
        "durable_list --status failed --since 12h --json",
        "durable_list --status open --workflow order --without-patch tax",
        "durable_list --status failed --limit 1000 --ids | manage.py durable_rewind -",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument(
            "--status", action="append", default=[], choices=[*_GROUPS, *Status.values], help="may be given repeatedly"
        )
        parser.add_argument("--workflow", help="the workflow's name, without its version")
        parser.add_argument("--tag", type=tag, action="append", default=[], metavar="NAME=VALUE", help="likewise")
        parser.add_argument("--parent", metavar="ID", help="children of this instance only")
        parser.add_argument(
            "--since", type=since, metavar="WHEN", help="created since then: a date, or 12h, 7d, 2w ago"
        )
        parser.add_argument("--roots", action="store_true", help="leave out children")
        parser.add_argument(
            "--patch",
            action="append",
            default=[],
            metavar="ID",
            help="those that patched() marked: they need the patch",
        )
        parser.add_argument(
            "--without-patch",
            action="append",
            default=[],
            metavar="ID",
            help="those without a mark of the patch: on the old path, or not there yet",
        )
        parser.add_argument("--limit", type=natural, default=50, help="how many at most (50)")
        parser.add_argument("--ids", action="store_true", help="print ids only, for commands that read them")
        parser.add_argument("--json", action="store_true", help="print a JSON array")

    def handle(self, *, limit: int, **options: Any) -> None:
        """Run the command."""
        of_all, statuses = _chosen(**options)
        found = listing.of_status(of_all, statuses)
        read = partial(instances.listed, payload="custom_status")
        rows = [summary(instance) for instance in listing.walk(found, limit, read=read)]
        if options["json"]:
            self.print_json(rows)
            return
        width = max((len(row["id"]) for row in rows), default=0)
        for row in rows:
            self.stdout.write(row["id"] if options["ids"] else self._line(row, width))
        self.stderr.write(_in_all(len(rows), limit, of_all, statuses))

    def _line(self, row: dict[str, Any], width: int) -> str:
        style = getattr(self.style, _STATUS.get(row["status"], ""), str)
        workflow = f"{row['workflow']}{row['version'] or ''}"
        shown = [
            f"{row['id']:<{width}}",
            style(f"{row['status']:<10}"),
            f"{row['created_at']:%Y-%m-%d %H:%M:%S}",
            workflow,
        ]
        if row["progress"]:
            shown.append("{done:g}/{total:g} {note}".format(**row["progress"]).rstrip())
        if row["custom_status"] is not None:
            shown.append(str(row["custom_status"]))
        return "  ".join([*shown, *(f"{name}={value}" for name, value in row["tags"].items())])


def _in_all(shown: int, limit: int, of_all: listing.Listing, statuses: list[str]) -> str:
    if shown < limit:
        return f"{shown} in all"
    counts = listing.counts(of_all, _COUNTED)
    total = max(shown, counts.total(statuses))
    if total > _COUNTED:
        return f"{shown} of more than {_COUNTED:,}"
    if not counts.whole:
        return f"{shown} of {total} or more"
    return f"{shown} in all" if shown == total else f"{shown} of {total}"


def _chosen(
    *,
    status: list[str],
    workflow: str | None,
    tag: list[tuple[str, Any]],
    parent: str | None,
    roots: bool,
    since: datetime | None,
    patch: list[str],
    without_patch: list[str],
    **_: Any,
) -> tuple[listing.Listing, list[str]]:
    """Return the instances, whatever their status, and the statuses that are wanted."""
    asked: dict[str, Any] = {"tags": dict(tag)} if tag else {}
    if workflow:
        asked["name"] = workflow
    if parent:
        asked["parent"] = parent
    if since is not None:
        asked["created_at__gte"] = since.isoformat()
    conditions = [*map(patches.indexed, patch), *map(patches.marked_by_patched, patch)]
    conditions += [*map(patches.without, without_patch), *([Q(parent_execution_id=None)] if roots else [])]
    if any(dict(tag)[name] != value for name, value in tag):
        conditions.append(Q(pk__in=[]))  # no tag has two values
    found = listing.narrowed(listing.listing(asked), *conditions, by_index=conditions[0] if patch else None)
    return found, sorted({str(each) for name in status for each in _GROUPS.get(name, (name,))})
