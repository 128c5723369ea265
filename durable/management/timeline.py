"""A history as a timeline: what was asked for, when it began and ended, and a bar to show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from durable.client import HistoryItem

_ASKED = {
    "ActivityScheduled": "activity",
    "TimerStarted": "timer",
    "ChildScheduled": "child",
    "SignalSent": "signal sent",
    "SideEffectRecorded": "side effect",
    "PatchMarked": "patch",
}
_AT_ONCE = {"SideEffectRecorded", "PatchMarked"}
_ENDS = {
    "ActivityCompleted": "completed",
    "ActivityFailed": "failed",
    "ActivityCanceled": "canceled",
    "TimerFired": "fired",
    "TimerCanceled": "not needed",
    "ChildCompleted": "completed",
    "ChildFailed": "failed",
    "ChildCanceled": "canceled",
    "SignalDelivered": "delivered",
    "SignalFailed": "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that happened, over a time or at once.

    Attributes:
        event_id: The number of what was asked for; None for control events.
        kind: ``activity``, ``timer``, ``child``, ... or the kind of a control event.
        name: Its name, if it has one.
        began: Seconds after the first event.
        ended: Likewise; the same as ``began`` for what takes no time, None if it has not ended.
        outcome: How it ended; empty if it has not.
        attempts: How often an activity that has ended was tried; else None.
    """

    event_id: int | None
    kind: str
    name: str
    began: float
    ended: float | None
    outcome: str
    attempts: int | None


def steps(items: Sequence[HistoryItem]) -> list[Step]:
    """Return a history's steps, in the order in which they began."""
    ends = {item.event_id: item for item in items if item.kind in _ENDS}
    return [_step(item, ends.get(item.event_id), items[0].recorded_at) for item in items if _begins(item)]


def span(items: Sequence[Step]) -> float:
    """Return the seconds from the first event to the last that is known."""
    return max((step.began if step.ended is None else step.ended for step in items), default=0.0)


def bar(step: Step, total: float, width: int) -> str:
    """Return a bar of ``width`` characters that shows when the step was, of ``total`` seconds."""
    if total <= 0:
        return "▏".ljust(width)
    scale = (width - 1) / total
    first = int(step.began * scale)
    if step.ended is None:
        return " " * first + "━" * (width - 1 - first) + "▶"
    last = int(step.ended * scale)
    drawn = "━" * (last - first + 1) if step.ended > step.began else "◆"
    return (" " * first + drawn).ljust(width)


def _begins(item: HistoryItem) -> bool:
    return item.kind in _ASKED or item.event_id is None


def _step(item: HistoryItem, end: HistoryItem | None, start: datetime) -> Step:
    began = (item.recorded_at - start).total_seconds()
    at_once = item.event_id is None or item.kind in _AT_ONCE
    ended = began if at_once else None
    outcome, attempts = "", None
    if end is not None and not at_once:
        ended = (end.recorded_at - start).total_seconds()
        outcome = _ENDS[end.kind]
        attempts = end.data.get("attempts", 1) if item.kind == "ActivityScheduled" else None
    return Step(
        event_id=item.event_id,
        kind=_ASKED.get(item.kind, item.kind),
        name=item.name,
        began=began,
        ended=ended,
        outcome=outcome,
        attempts=attempts,
    )
