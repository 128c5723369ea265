"""What must hold of an instance that has ended, whatever happened to its workers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from django.db import connection

from durable import client
from durable.models import ActivityTask, Execution, HistoryEvent, InboxEvent
from durable.store.inbox import NEVER
from tests.acceptance.app.activities import EFFECTS
from tests.acceptance.workers import wait_for

if TYPE_CHECKING:
    from durable.client.handle import Handle

ENDS = {"ExecutionCompleted", "ExecutionFailed", "ExecutionCanceled", "ExecutionTerminated", "ExecutionContinued"}
ANSWERS = {
    "ActivityCompleted",
    "ActivityFailed",
    "ActivityCanceled",
    "TimerFired",
    "TimerCanceled",
    "ChildCompleted",
    "ChildFailed",
    "ChildCanceled",
    "SignalDelivered",
    "SignalFailed",
}


def sound(instance_id: str) -> None:
    """Check a closed instance: a gapless history, one end, one answer to each thing asked for, nothing left over."""
    instance = client.get(instance_id).instance
    assert instance.closed_at is not None
    assert instance.lease is None
    executions = list(Execution.objects.filter(instance_id=instance_id).order_by("number"))
    assert [execution.number for execution in executions] == list(range(1, len(executions) + 1))
    for execution in executions:
        events = list(HistoryEvent.objects.filter(execution=execution).order_by("seq"))
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert [event.kind in ENDS for event in events].index(True) == len(events) - 1
        assert events[0].kind == "ExecutionStarted"
        assert [event.kind for event in events].count("ExecutionStarted") == 1
        answered = Counter(event.event_id for event in events if event.kind in ANSWERS)
        assert all(count == 1 for count in answered.values()), answered
        asked = [event.event_id for event in events if event.kind.endswith(("Scheduled", "TimerStarted", "SignalSent"))]
        assert len(set(asked)) == len(asked)
        assert set(answered) <= set(asked)
        # A late attempt may still be about to find out that it lost its lease.
        wait_for(lambda pk=execution.pk: not ActivityTask.objects.filter(execution=pk).exists(), "all tasks are gone")
        # So may what came just when it ended: the sweep clears it away, but what a rewind would want.
        due = InboxEvent.objects.filter(execution=execution, visible_at__lt=NEVER)
        wait_for(lambda due=due: not due.exists(), "the inbox is empty")


def effects(prefix: str) -> Counter[str]:
    """Return how often each atomic activity took effect whose key begins so."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT what FROM {EFFECTS} WHERE what LIKE %s", [f"{prefix}%"])  # noqa: S608
        return Counter(what for (what,) in cursor.fetchall())


def lateness(handle: Handle) -> list[float]:
    """Return by how many seconds each timer fired too late, by the database's clock."""
    history = handle.history()
    due = {event.event_id: event.data["fire_at"] for event in history if event.kind == "TimerStarted"}
    fired = {event.event_id: event.recorded_at.timestamp() for event in history if event.kind == "TimerFired"}
    assert fired.keys() == due.keys()
    return sorted(fired[event_id] - due[event_id] for event_id in due)
