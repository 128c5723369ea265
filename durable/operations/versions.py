"""Which versions of which workflows are in use, and which could be deleted from the code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import Count, Max, Min, Q

from durable import conf, registry
from durable.models import CLOSED, OPEN, Execution, HistoryEvent, Status
from durable.store import instances

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionUse:
    """How much a version of a workflow is in use.

    Attributes:
        registered: Whether this process has its code.
        open: How many instances are open on it, those that are stalled included.
        closed: How many ended on it and are kept.
        oldest_open: When the oldest of the open ones was created.
        last_start: When the last one was created.
        safe_to_delete: Whether nothing needs its code: nothing is open on it,
            and nothing is kept that could be rerun or rewound.
    """

    name: str
    version: int
    registered: bool
    open: int
    stalled: int
    closed: int
    oldest_open: datetime | None
    last_start: datetime | None
    safe_to_delete: bool


def versions() -> list[VersionUse]:
    """Return all versions that are registered or in use, by name and number; not those of our own workflows."""
    is_open, is_closed = Q(status__in=OPEN), Q(status__in=CLOSED)
    found = (
        instances.rows()
        .order_by()
        .values("name", "version")
        .annotate(
            open=Count("pk", filter=is_open),
            stalled=Count("pk", filter=Q(status=Status.STALLED)),
            closed=Count("pk", filter=is_closed),
            oldest_open=Min("created_at", filter=is_open),
            last_start=Max("created_at"),
        )
    )
    used = {(row["name"], row["version"]): row for row in found}
    past = _past()
    registered = {(definition.name, definition.version) for definition in registry.workflows()}
    nothing = {"open": 0, "stalled": 0, "closed": 0, "oldest_open": None, "last_start": None}
    return [
        VersionUse(
            **{**nothing, **used.get(key, {}), "name": key[0], "version": key[1]},
            registered=key in registered,
            safe_to_delete=key not in past and key not in used,
        )
        for key in sorted(registered | past | set(used))
        if not key[0].startswith(registry.OURS)
    ]


def _past() -> set[tuple[str, int]]:
    """Return the names and versions of all executions: those that instances left behind can be rerun as well."""
    executions = instances.executions().order_by()
    # The id of a closed instance may have been taken over by another workflow: its history tells the old name.
    taken_over = executions.filter(origin=Execution.Origin.START, number__gt=1).values("instance_id")
    events = HistoryEvent.objects.using(conf.settings.DATABASE).order_by()
    started = events.filter(seq=1, execution__instance__in=taken_over)
    return {
        *executions.values_list("instance__name", "version").distinct(),
        *started.values_list("name", "execution__version").distinct(),
    }
