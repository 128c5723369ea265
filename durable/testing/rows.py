"""Store instances as the engine would leave them, without running any code."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from durable import conf
from durable.core import events as ev
from durable.core.errors import NondeterminismError
from durable.core.failures import Failure
from durable.core.replay import interpreter
from durable.core.type_names import split_version
from durable.engine import stalling
from durable.engine.work import task_row
from durable.models import OPEN, Execution, InboxEvent, Instance, Status
from durable.store import clock, creation, history, inbox, instances, tasks
from durable.testing.histories import Error, History, timed

if TYPE_CHECKING:
    from durable.core.errors import DurableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What an execution's history and its end are to be.

    Attributes:
        history: The history, without its end perhaps.
        status: The status; None follows from the history.
        result: What was returned, if the status needs an end that the history has not.
        error: Why it failed, likewise.
        stall: The error that stalled it, if the status is so.
        seconds: How many seconds there are between two events.
    """

    history: History
    status: str | None = None
    result: Any = None
    error: Error = "it failed"
    stall: DurableError | None = None
    seconds: float = 1.0

    def whole(self) -> History:
        """Return the history with the end that the status says.

        Raises:
            ValueError: It ends otherwise.
        """
        told = replace(self.history, events=[*self.history.events])
        if told.end is not None:
            ended = _outcome(told.end)["status"]
            if self.status not in (None, ended):
                raise ValueError(f"the history ends with {told.end.kind}, so the status cannot be {self.status}")
            return told
        match self.status:
            case Status.COMPLETED:
                return told.completed(self.result)
            case Status.FAILED:
                return told.failed(self.error)
            case Status.CANCELED:
                return told.cancel_requested().canceled()
            case Status.TERMINATED:
                return told.terminated()
            case Status.SUSPENDED:
                return told.add(ev.ExecutionSuspended())
        return told


def create_instance(
    *,
    id: str,
    name: str,
    told: Told,
    queue: str = "default",
    tags: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    created_at: datetime | None = None,
    parent: creation.Parent | None = None,
    **shown: Any,
) -> Instance:
    """Store an instance with its execution and all that belongs to it."""
    whole = told.whole()
    base, version = split_version(name)
    born = creation.new(
        instance_id=id,
        name=base,
        version=version,
        arguments=whole.start.input,
        queue=queue,
        tags=tags or {},
        options=options or {},
        parent=parent,
    )
    begun = created_at or clock.now() - timedelta(seconds=timed(whole.events, 0.0, told.seconds)[-1].at)
    born.instance.created_at = born.execution.created_at = begun
    if told.status == Status.PENDING:
        creation.insert([born])
    else:
        start, *others = born.inbox
        creation.insert([replace(born, inbox=others)])
        _write(born.instance, told, whole, start=start, begun=begun)
    instances.rows().filter(pk=id).update(**shown)
    return instances.get(id)


def begin_execution(*, instance: Instance, origin: str, told: Told) -> Execution:
    """Store the next execution of an instance, and make it the current one.

    Raises:
        ValueError: The instance is not such as this origin follows.
    """
    is_open = instance.status in OPEN
    if not instance.head or is_open != (origin == Execution.Origin.CONTINUED):
        raise ValueError(f"{instance.pk} is {instance.status}: an execution with the origin {origin} cannot follow")
    before = instances.executions().get(pk=instance.execution_id)
    whole = told.whole()
    begun = before.history.latest("seq").recorded_at + timedelta(seconds=told.seconds)
    if is_open:
        _append(instance, ev.ExecutionContinued(input=whole.start.input, at=begun.timestamp()))
        instances.executions().filter(pk=before.pk).update(status="continued", closed_at=begun)
    made = instances.begin_execution(instance, origin=origin, source=before)
    instances.executions().filter(pk=made.pk).update(created_at=begun)
    tasks.rows().filter(execution_id=before.pk).delete()
    inbox.move_on(before.pk, made.pk)
    instance.execution, instance.head = made, 0
    fresh = {
        "closed_at": None,
        "result": None,
        "failure": None,
        "stall": None,
        "retry_at": None,
        **instances.NOT_FAILED,
    }
    instances.rows().filter(pk=instance.pk).update(execution_id=made.pk, head=0, **fresh)
    start = creation.start_row(instance, made.pk, arguments=whole.start.input, generation=made.number - 1)
    _write(instance, told, whole, start=start, begun=begun)
    instance.refresh_from_db()
    made.refresh_from_db()
    return made


def _write(instance: Instance, told: Told, whole: History, *, start: InboxEvent, begun: datetime) -> None:
    """Store a history, and what follows from it."""
    started = ev.decode(start.kind, json.dumps(start.data), at=0.0, seq=1)
    assert isinstance(started, ev.ExecutionStarted)  # noqa: S101 - by its kind
    whole.events[0] = ev.replace(started, python=interpreter())
    events = timed(_routed(whole.events, instance), begun.timestamp(), told.seconds)
    for event in events:
        _append(instance, event)
    last = clock.from_timestamp(events[-1].at)
    values: dict[str, Any] = {"started_at": instance.started_at or begun}
    if whole.end is not None:
        values |= {**_outcome(whole.end), "closed_at": last}
        if isinstance(whole.end, ev.ExecutionFailed):
            values |= {**instances.failed(instance.name, whole.end.failure), "failed_at": last}
        instances.executions().filter(pk=instance.execution_id).update(status=values["status"], closed_at=last)
        inbox.clear(instance.execution_id)
    else:
        values["status"] = told.status or Status.RUNNING
        _leave_open(instance, whole, events)
    if told.status == Status.STALLED:
        retry_at = clock.now() + timedelta(seconds=conf.settings.STALL_RETRY)
        facts = stalling.facts_of(told.stall or _mismatch(events))
        values |= {"stall": facts, "retry_at": retry_at, **instances.stalled(instance.name, facts), "failed_at": last}
    instances.rows().filter(pk=instance.pk).update(**values)
    _create_children(instance, whole, events, told.seconds)


def _append(instance: Instance, event: ev.Event) -> None:
    at = clock.from_timestamp(event.at)
    history.append(instance.execution_id, instance.head, [history.record(event)], at=at)
    instance.head += 1
    instances.rows().filter(pk=instance.pk).update(head=instance.head)


def _routed(events: list[ev.Event], instance: Instance) -> list[ev.Event]:
    """Return events in which every child has an id."""
    return [
        ev.replace(event, instance_id=event.instance_id or f"{instance.pk}/{event.event_id}")
        if isinstance(event, ev.ChildScheduled)
        else event
        for event in events
    ]


def _outcome(end: ev.End) -> dict[str, Any]:
    match end:
        case ev.ExecutionCompleted(result=result):
            return {"status": Status.COMPLETED, "result": result}
        case ev.ExecutionFailed(failure=failure):
            return {"status": Status.FAILED, "failure": failure.to_json()}
        case ev.ExecutionTerminated(reason=reason):
            failure = Failure(type="WorkflowTerminated", message=reason)
            return {"status": Status.TERMINATED, "failure": failure.to_json()}
        case ev.ExecutionCanceled():
            return {"status": Status.CANCELED}
    raise ValueError(f"an instance does not end with {end.kind}; give the next execution to ExecutionFactory")


def _leave_open(instance: Instance, whole: History, events: list[ev.Event]) -> None:
    """Store what an execution still waits for: tasks of activities, and timers."""
    answered = {event.event_id for event in events if isinstance(event, ev.Answer)}
    held = {"state": tasks.State.HELD} if whole.events[-1].kind == ev.ExecutionSuspended.__name__ else {}
    for event in events:
        if isinstance(event, ev.ActivityScheduled) and event.event_id not in answered:
            tried = whole.waiting[event.event_id]
            failure = tried.failure and tried.failure.to_json()
            created_at = clock.from_timestamp(event.at)
            row = task_row(instance, event, attempt=tried.attempt, last_failure=failure, created_at=created_at, **held)
            tasks.insert([row])
        elif isinstance(event, ev.TimerStarted) and event.event_id not in answered:
            fire_at = clock.from_timestamp(event.fire_at)
            inbox.insert([inbox.row(instance.execution_id, ev.TimerFired(event_id=event.event_id), visible_at=fire_at)])


def _mismatch(events: list[ev.Event]) -> NondeterminismError:
    return NondeterminismError(
        seq=len(events),
        event_id=getattr(events[-1], "event_id", None),
        expected=str(events[-1]),
        got="ActivityScheduled(something_else)",
        location="workflows.py:1",
    )


def _create_children(instance: Instance, whole: History, events: list[ev.Event], seconds: float) -> None:
    for event in events:
        if not isinstance(event, ev.ChildScheduled):
            continue
        parent = creation.Parent(instance_id=instance.pk, execution_id=instance.execution_id, event_id=event.event_id)
        create_instance(
            id=event.instance_id,
            name=event.name,
            told=Told(history=whole.children[event.event_id], seconds=seconds),
            queue=instance.queue,
            created_at=clock.from_timestamp(event.at),
            parent=parent,
        )
