"""A history as steps: what was asked for with what came of it, and what happened by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from durable.client import HistoryItem

ASKED = {
    "ActivityScheduled": "activity",
    "TimerStarted": "timer",
    "ChildScheduled": "child",
    "SignalSent": "signal sent",
    "SideEffectRecorded": "side effect",
    "PatchMarked": "patch",
}
AT_ONCE = {"SideEffectRecorded", "PatchMarked"}
ENDS = {
    "ActivityCompleted": "completed",
    "ActivityFailed": "failed",
    "ActivityCanceled": "canceled",
    "TimerFired": "fired",
    "TimerCanceled": "canceled",
    "ChildCompleted": "completed",
    "ChildFailed": "failed",
    "ChildCanceled": "canceled",
    "SignalDelivered": "delivered",
    "SignalFailed": "failed",
}
_CONTROL = {"SignalReceived": "signal", "UpdateAccepted": "update", "UpdateCompleted": "update"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that happened, over a time or at once.

    Attributes:
        seq: The place of its first event in the history, from 1.
        event_id: The number of what was asked for; None for control events.
        kind: ``activity``, ``timer``, ``child``, ``signal``, ``update``, ... or the kind of a control event.
        name: Its name, if it has one.
        began: When it was asked for, or came.
        ended: When it was answered; the same as ``began`` for what takes no time, None if it is open.
        outcome: How it ended; empty if it has not.
        attempts: How often an activity that has ended was tried; else None.
        child: The instance id of a child; else empty.
        rerunnable: Whether a rerun can begin here.
        events: Its one or two events.
    """

    seq: int
    event_id: int | None
    kind: str
    name: str
    began: datetime
    ended: datetime | None
    outcome: str
    attempts: int | None
    child: str
    rerunnable: bool
    events: tuple[HistoryItem, ...]

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.ended is None

    @property
    def seconds(self) -> float | None:
        """How long it took; None if it took no time, or has not ended."""
        took = None if self.ended is None else (self.ended - self.began).total_seconds()
        return took if took and not self.at_once else None

    @property
    def at_once(self) -> bool:
        """Whether it is of a kind that takes no time."""
        return self.event_id is None or self.events[0].kind in AT_ONCE


def of(items: Sequence[HistoryItem]) -> list[Step]:
    """Return a history's steps, in the order in which they began."""
    ends = {item.event_id: item for item in items if item.kind in ENDS}
    return [_step(item, ends.get(item.event_id)) for item in items if item.kind in ASKED or item.event_id is None]


def _step(item: HistoryItem, end: HistoryItem | None) -> Step:
    at_once = item.event_id is None or item.kind in AT_ONCE
    answer = None if at_once else end
    ended = item.recorded_at if at_once else None if answer is None else answer.recorded_at
    tried = answer is not None and item.kind == "ActivityScheduled"
    return Step(
        seq=item.seq,
        event_id=item.event_id,
        kind=ASKED.get(item.kind) or _CONTROL.get(item.kind) or item.kind,
        name=item.name or str(item.data.get("name") or ""),
        began=item.recorded_at,
        ended=ended,
        outcome="" if answer is None else ENDS[answer.kind],
        attempts=answer.data.get("attempts", 1) if answer is not None and tried else None,
        child=str(item.data.get("instance_id", "")) if item.kind == "ChildScheduled" else "",
        rerunnable=item.rerunnable,
        events=(item,) if answer is None else (item, answer),
    )
