"""Which versions of which workflows are in use, and which could be deleted from the code."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from durable import registry
from durable.models import CLOSED, OPEN, Status
from durable.store import usage

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from durable.store.usage import Use


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionUse:
    """How much a version of a workflow is in use.

    Attributes:
        registered: Whether this process has its code.
        open: How many instances are open on it, those that are stalled included; at most 1,000 are counted.
        stalled: How many are stalled, likewise.
        closed: How many ended on it and are kept, likewise.
        more: Which of these three there are more of than were counted.
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
    more: tuple[str, ...] = ()


_COUNTS: dict[str, Collection[str]] = {"open": OPEN, "stalled": (Status.STALLED,), "closed": CLOSED}


def versions() -> list[VersionUse]:
    """Return all versions that are registered or in use, by name and number; not those of our own workflows."""
    used: defaultdict[tuple[str, int], list[Use]] = defaultdict(list)
    for use in usage.used():
        used[use.name, use.version].append(use)
    registered = {(definition.name, definition.version) for definition in registry.workflows()}
    needed = used.keys() | usage.nameless()
    return [
        _version(key, used.get(key, ()), registered=key in registered, safe_to_delete=key not in needed)
        for key in sorted(registered | needed)
        if not key[0].startswith(registry.OURS)
    ]


def _version(key: tuple[str, int], uses: Sequence[Use], *, registered: bool, safe_to_delete: bool) -> VersionUse:
    totals = {name: sum(use.count for use in uses if use.status in statuses) for name, statuses in _COUNTS.items()}
    began = [use.oldest for use in uses if use.oldest is not None and use.status in OPEN]
    return VersionUse(
        name=key[0],
        version=key[1],
        registered=registered,
        **{name: min(total, usage.COUNTED) for name, total in totals.items()},
        more=tuple(name for name, total in totals.items() if total > usage.COUNTED),
        oldest_open=min(began, default=None),
        last_start=max((use.newest for use in uses if use.newest is not None), default=None),
        safe_to_delete=safe_to_delete,
    )
