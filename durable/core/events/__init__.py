"""The events of a history: one frozen class a kind, to and from JSON.

A history is a list of these, in order; an event's place in it, from 1, is its
``seq``. ``event_id`` numbers, from 0, the things that workflow code asked for;
an answer carries the number of what it answers, a control event has none.

A history reads as steps. A step is one event from outside (a start, a signal,
a result) and after it what the code did on seeing it (``by_code``).

They are msgspec's structs, not dataclasses, and read like these: a replay makes
some for each step, and a frozen dataclass takes ten times as long to make.
"""

from __future__ import annotations

from durable.core.events.answers import (
    ActivityCanceled,
    ActivityCompleted,
    ActivityFailed,
    ChildCanceled,
    ChildCompleted,
    ChildFailed,
    ChildStarted,
    SignalDelivered,
    SignalFailed,
    TimerCanceled,
    TimerFired,
    UpdateCompleted,
)
from durable.core.events.asked import (
    ActivityScheduled,
    ChildScheduled,
    PatchMarked,
    SideEffectRecorded,
    SignalSent,
    TimerStarted,
)
from durable.core.events.base import Answer, Asked, End, Event, names, replace
from durable.core.events.control import (
    CancelRequested,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionUpgraded,
    ExecutionWoken,
    SignalReceived,
    UpdateAccepted,
)
from durable.core.events.ends import (
    ExecutionCanceled,
    ExecutionCompleted,
    ExecutionContinued,
    ExecutionFailed,
    ExecutionTerminated,
)
from durable.core.events.stored import ASKED, KINDS, complete, decode, decode_all

__all__ = [
    "ASKED",
    "KINDS",
    "ActivityCanceled",
    "ActivityCompleted",
    "ActivityFailed",
    "ActivityScheduled",
    "Answer",
    "Asked",
    "CancelRequested",
    "ChildCanceled",
    "ChildCompleted",
    "ChildFailed",
    "ChildScheduled",
    "ChildStarted",
    "End",
    "Event",
    "ExecutionCanceled",
    "ExecutionCompleted",
    "ExecutionContinued",
    "ExecutionFailed",
    "ExecutionResumed",
    "ExecutionRewound",
    "ExecutionStarted",
    "ExecutionSuspended",
    "ExecutionTerminated",
    "ExecutionUpgraded",
    "ExecutionWoken",
    "PatchMarked",
    "SideEffectRecorded",
    "SignalDelivered",
    "SignalFailed",
    "SignalReceived",
    "SignalSent",
    "TimerCanceled",
    "TimerFired",
    "TimerStarted",
    "UpdateAccepted",
    "UpdateCompleted",
    "complete",
    "decode",
    "decode_all",
    "names",
    "replace",
]
