"""The events of a history, as callers see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from durable.core import events as ev
from durable.models import OPEN

if TYPE_CHECKING:
    from collections.abc import Iterable

Row = tuple[str, int | None, str, datetime, dict[str, Any]]
"""An event's kind, number, name, time and JSON."""

ASKS = frozenset(kind.__name__ for kind in ev.KINDS.values() if issubclass(kind, ev.Asked))
"""The kinds of events with which code asks for something."""

_ANSWERS = {kind.__name__ for kind in ev.KINDS.values() if issubclass(kind, ev.Answer)}
_RERUNNABLE = ev.ActivityScheduled.__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryItem:
    """An event of a history, as callers see it.

    Attributes:
        seq: Its place, from 1.
        event_id: The number of the thing asked for, from 0; None for control events.
        rerunnable: Whether a rerun can begin here.
        why_not: Why none can; empty if one can.
    """

    seq: int
    kind: str
    event_id: int | None
    name: str
    recorded_at: datetime
    data: dict[str, Any]
    rerunnable: bool
    why_not: str = ""


def items(rows: Iterable[Row], *, status: str) -> list[HistoryItem]:
    """Return a history's events.

    Args:
        rows: All of them, in order.
        status: The instance's: only a closed one can be rerun.
    """
    names: dict[int, str] = {}
    return [item(seq, row, names, status=status) for seq, row in enumerate(rows, 1)]


def item(seq: int, row: Row, names: dict[int, str], *, status: str) -> HistoryItem:
    """Return an event of a history.

    Args:
        seq: Its place, from 1.
        row: The event.
        names: The names of what was asked for before, by number; what this one asks for is added.
        status: The instance's: only a closed one can be rerun.
    """
    kind, event_id, name, recorded_at, data = row
    why_not = _why_not(kind, event_id, status)
    return HistoryItem(
        seq=seq,
        kind=kind,
        event_id=event_id,
        # An answer goes by the name of what it answers.
        name=name if event_id is None else names.setdefault(event_id, name),
        recorded_at=recorded_at,
        data=ev.complete(kind, data),
        rerunnable=not why_not,
        why_not=why_not,
    )


def of_events(events: Iterable[ev.Event], *, status: str) -> list[HistoryItem]:
    """Return events that no database holds, as callers see those that one does."""
    rows = (
        (
            event.kind,
            getattr(event, "event_id", None),
            getattr(event, "name", ""),
            datetime.fromtimestamp(event.at, UTC),
            event.to_json(),
        )
        for event in events
    )
    return items(rows, status=status)


def _why_not(kind: str, event_id: int | None, status: str) -> str:
    if event_id is None:
        return "it is a control event; a rerun begins with an activity"
    if kind in _ANSWERS:
        return f"it answers event {event_id}; a rerun begins with an activity, where that was scheduled"
    if kind != _RERUNNABLE:
        return f"it is no activity but {kind}"
    return f"the instance is {status}; only a closed one can be rerun" if status in OPEN else ""
