"""The end of an execution: what becomes of its instance, its parent, its children and its work."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from durable import telemetry
from durable.core import answering
from durable.core import events as ev
from durable.core.errors import UndecodableEvent
from durable.core.failures import Failure
from durable.core.retry import RetryPolicy
from durable.engine import intercepting, routing, work
from durable.models import OPEN, Execution, InboxEvent, Instance, Status
from durable.store import clock, creation, history, inbox, instances, tasks, updates

if TYPE_CHECKING:
    import uuid
    from collections.abc import Collection, Mapping

    from durable.core.execution import Execution as Live

TIMED_OUT = "ExecutionTimeout"


@dataclass(slots=True)
class Closed:
    """What is to be done after an end is stored.

    Attributes:
        again: Whether the instance goes on in a new execution, due now.
        announce: Instances that got something, as ``(queue, id)``.
    """

    again: bool = False
    announce: list[tuple[str, str]] = field(default_factory=list)


def close(instance: Instance, end: ev.End, live: Live | None = None, *, stored: bool = False) -> Closed:
    """Store the end of an instance's current execution; its history holds the event already.

    Args:
        instance: The instance.
        end: How it ended.
        live: The execution, if it ended by its code.
        stored: Whether its row holds already what ``final`` says.
    """
    return intercepting.end(instance, end, live, lambda: _end(instance, end, live, stored=stored))


def final(instance: Instance, end: ev.End) -> dict[str, Any] | None:
    """Return what an end makes of an instance's row; None if the instance goes on."""
    if isinstance(end, ev.ExecutionContinued):
        return None
    if isinstance(end, ev.ExecutionFailed) and not end.imposed and _retry_wait(instance, end.failure) is not None:
        return None
    return _final(outcome(instance.name, end))


def _final(outcome: dict[str, Any]) -> dict[str, Any]:
    return {**outcome, "closed_at": clock.now(), "stall": None, "retry_at": None, **instances.NO_LEASE}


def is_plain(instance: Instance, end: ev.End | None) -> bool:
    """Say whether nothing follows from an end but what becomes of its own rows and children, and ``tells``."""
    # Whoever else is concerned: those who asked for updates, interceptors.
    concerned = instance.has_updates or intercepting.is_watched("end")
    return isinstance(end, ev.ExecutionCompleted) and not concerned


def tells(instance: Instance, end: ev.End | None) -> InboxEvent | None:
    """Return the row, not saved, that tells a parent of a plain end; None if there is no parent, or no end."""
    event_id, execution_id = instance.parent_event_id, instance.parent_execution_id
    if execution_id is None or event_id is None or not isinstance(end, ev.ExecutionCompleted):
        return None
    return inbox.row(execution_id, ev.ChildCompleted(event_id=event_id, result=end.result))


def _end(instance: Instance, end: ev.End, live: Live | None, *, stored: bool) -> Closed:
    match end:
        case ev.ExecutionContinued():
            return _continue(instance, end)
        case ev.ExecutionFailed() if not end.imposed and (wait := _retry_wait(instance, end.failure)) is not None:
            return _retry(instance, wait, live)
        case _:
            if not stored:
                _store(instance, _final(outcome(instance.name, end)))
            return _close(instance, live)


def outcome(name: str, end: ev.End) -> dict[str, Any]:
    """Return what an end makes of an instance of a workflow of this name."""
    match end:
        case ev.ExecutionCompleted(result=result):
            return {**instances.NOT_FAILED, "status": Status.COMPLETED, "result": result}
        case ev.ExecutionFailed(failure=failure):
            return {**instances.failed(name, failure), "status": Status.FAILED, "failure": failure.to_json()}
        case ev.ExecutionCanceled():
            return {**instances.NOT_FAILED, "status": Status.CANCELED}
        case ev.ExecutionTerminated(reason=reason):
            failure = Failure(type="WorkflowTerminated", message=reason)
            return {**instances.NOT_FAILED, "status": Status.TERMINATED, "failure": failure.to_json()}
        case _:
            raise TypeError(f"{end.kind} is no end")


def _store(instance: Instance, values: dict[str, Any]) -> None:
    if values["status"] in inbox.REWINDABLE and instance.lease_event_id is not None:
        with suppress(UndecodableEvent):  # its worker learns that it is over when it looks at the lease, too
            asked = history.asked(instance.execution_id, instance.lease_event_id)
            tasks.insert([work.called_off_row(instance, asked, at=clock.now())])
    instances.rows().filter(pk=instance.pk).update(**values)
    for name, value in values.items():
        setattr(instance, name, value)


def _close(instance: Instance, live: Live | None) -> Closed:
    instances.end_execution(instance.execution_id, instance.status)
    if instance.status in (Status.CANCELED, Status.TERMINATED) or instance.failure:
        tasks.call_off(instance.execution_id, keep_external=True)
    elif live is not None and live.open:
        tasks.drop_external(instance.execution_id)
        if left := answering.left(live.open):
            telemetry.logger.warning("%s ended while still open: %s", instance.pk, ", ".join(map(str, left)))
    inbox.end(instance.execution_id, instance.status)
    if instance.has_updates:
        updates.end(instance.execution_id)
    closed = Closed(announce=_end_children(instance))
    if instance.parent_execution_id is not None:
        closed.announce += tell_parent(instance)
    telemetry.announce_end(instance)
    return closed


def _end_children(parent: Instance) -> list[tuple[str, str]]:
    children = instances.rows().filter(parent_id=parent.pk, parent_execution_id=parent.execution_id, status__in=OPEN)
    left = list(children.defer(*instances.PAYLOADS))
    if parent.status != Status.TERMINATED:
        # Who was asked to stop cleans up and ends by itself; to terminate it now would keep it from that.
        ending = canceling([child.execution_id for child in left if policy_of(child) == "terminate"])
        left = [child for child in left if child.execution_id not in ending]
    return [told for child in left for told in _end_child(child, parent)]


def canceling(execution_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of some executions that were asked to stop."""
    asked = inbox.with_kind(execution_ids, ev.CancelRequested)
    return asked | history.with_kind([pk for pk in execution_ids if pk not in asked], ev.CancelRequested)


def _end_child(child: Instance, parent: Instance) -> list[tuple[str, str]]:
    reason = f"the parent {parent.pk} is {parent.status}"
    match policy_of(child):
        case "terminate":
            return terminate(instances.lock(child.pk, payloads=False), reason=reason, by_parent=True)
        case "cancel":
            inbox.insert([inbox.row(child.execution_id, ev.CancelRequested(reason=reason, by_parent=True))])
            return [(child.queue, child.pk)]
        case _:
            return []


def policy_of(child: Instance) -> str:
    """Return what becomes of a child when its parent ends: ``terminate``, ``cancel`` or ``abandon``."""
    return str(child.options.get("parent_close", "terminate"))


def terminate(instance: Instance, *, reason: str, by_parent: bool = False) -> list[tuple[str, str]]:
    """End a locked instance at once, and its children by their policy; its code does not run.

    Args:
        instance: The instance.
        reason: Why.
        by_parent: Whether it ends because its parent did.

    Returns:
        Instances to announce; empty if it had ended already.
    """
    if instance.status not in OPEN:
        return []
    unbegun = instance.status == Status.SUSPENDED and not instance.head
    end = ev.ExecutionTerminated(reason=reason, by_parent=by_parent, suspended=unbegun)
    append(instance, end)
    return close(instance, end).announce


def append(instance: Instance, *events: ev.Event) -> None:
    """Append events to the history of a locked instance."""
    records = [history.record(event) for event in events]
    history.check_length(instance.execution_id, instance.head, records)
    history.append(instance.execution_id, instance.head, records, at=clock.now())
    instance.head += len(events)
    instances.rows().filter(pk=instance.pk).update(head=instance.head)


def answer(child: Instance) -> ev.Answer:
    """Return the event that tells its parent how a child ended."""
    event_id = child.parent_event_id
    assert event_id is not None  # noqa: S101 - set together with the parent
    match child.status:
        case Status.COMPLETED:
            return ev.ChildCompleted(event_id=event_id, result=child.result)
        case Status.CANCELED:
            return ev.ChildCanceled(event_id=event_id)
        case _:
            failure = Failure.from_json(child.failure or {"type": "WorkflowFailed"})
            return ev.ChildFailed(event_id=event_id, failure=failure)


def tell_parent(instance: Instance) -> list[tuple[str, str]]:
    """Put the end of a closed child into its parent's inbox, if that still runs; return what to announce."""
    assert instance.parent_execution_id is not None  # noqa: S101 - the caller asked
    return inbox.tell_parents([inbox.row(instance.parent_execution_id, answer(instance))])


def _continue(instance: Instance, end: ev.ExecutionContinued) -> Closed:
    queue, changes = instance.queue, routing.again(instance, end)
    _next(
        instance,
        Execution.Origin.CONTINUED,
        ended_as="continued",
        arguments=end.input,
        carried=end.carried,
        changes=changes,
    )
    if instance.queue != queue:
        return Closed(announce=[(instance.queue, instance.pk)])
    return Closed(again=True)


def _retry_wait(instance: Instance, failure: Failure) -> float | None:
    if "retry" not in instance.options:
        return None
    policy = RetryPolicy.from_json(instance.options["retry"])
    origins = instances.executions().filter(instance=instance).order_by("-number").values_list("origin", flat=True)
    attempt = 1
    for origin in origins:
        if origin != Execution.Origin.RETRY:
            break
        attempt += 1
    return policy.wait_after(attempt, failure)


def _retry(instance: Instance, wait: float, live: Live | None) -> Closed:
    tasks.call_off(instance.execution_id)
    announce = _end_children(instance)
    # What the failed execution began with: the instance's own input is that of its first.
    started = history.first(instance.execution_id)
    carried = [] if started is None else started.carried
    _next(
        instance,
        Execution.Origin.RETRY,
        ended_as=Status.FAILED,
        arguments=instance.input if started is None else started.input,
        carried=carried if live is None else live.signals.carried_by_retry(),
        wait=wait,
    )
    telemetry.logger.info("%s failed and is tried again in %g s", instance.pk, wait)
    return Closed(again=wait == 0, announce=announce)


def _next(
    instance: Instance,
    origin: str,
    *,
    ended_as: str,
    arguments: dict[str, Any],
    carried: Any = (),
    wait: float = 0.0,
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Begin the next execution of an instance and make it the current one."""
    old = instance.execution_id
    for name, value in changes.items():
        setattr(instance, name, value)
    source = instances.executions().get(pk=old)
    instances.end_execution(old, ended_as)
    begun = instances.begin_execution(instance, origin=origin, source=source)
    values = {"execution_id": begun.pk, "head": 0, "patches": {}, **instances.NO_LEASE, **changes}
    instances.rows().filter(pk=instance.pk).update(**values)
    for name, value in values.items():
        setattr(instance, name, value)
    start_at = clock.now() + timedelta(seconds=wait) if wait else None
    start = creation.start_row(
        instance,
        begun.pk,
        visible_at=start_at,
        arguments=arguments,
        carried=carried,
        generation=begun.number - 1,
    )
    if not wait:
        # Before whatever waits in the inbox: the execution has to begin first.
        start.visible_at = source.created_at
    inbox.insert([start])
    inbox.move_on(old, begun.pk)
    if instance.has_updates:
        updates.move_on(old, begun.pk)
