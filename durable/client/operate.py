"""Verbs that change an open instance."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django.db import transaction

from durable import conf, dispatch
from durable.core import events as ev
from durable.core import payloads, texts
from durable.core.errors import InvalidInput, NotOpen, UnknownActivity
from durable.core.failures import Failure
from durable.engine import closing, lost, signals
from durable.interceptors import SignalCall
from durable.models import CLOSED, OPEN, Instance, Status
from durable.store import instances, tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.models import ActivityTask

_REASON = 1000


def signal(instance_id: str, name: str, payload: Any = None) -> None:
    """Signal an instance; it is recorded exactly once, in order of arrival.

    Raises:
        UnknownInstance: There is none of this id.
        NotOpen: It has ended.
        InvalidInput: The payload has no JSON, or the name is empty or too long.
        PayloadTooLarge, LimitExceeded: A limit of the settings is reached.
    """
    texts.check_name(name, "signal(name)")
    where = f"signal {name}"
    encoded = conf.converter().encode(payload, where)
    payloads.dumps(encoded, where, conf.limit("payload"))
    with transaction.atomic(using=conf.settings.DATABASE):
        signals.bring(SignalCall(instance_id=instance_id, name=name, headers={}), encoded)


def cancel(instance_id: str, *, reason: str = "") -> None:
    """Ask an instance to stop: its code gets ``asyncio.CancelledError`` and may clean up.

    Raises:
        UnknownInstance: There is none of this id.
        NotOpen: It has ended.
    """
    with transaction.atomic(using=conf.settings.DATABASE):
        signals.deliver(instance_id, ev.CancelRequested(reason=_reason(reason)), verb="be canceled")


def terminate(instance_id: str, *, reason: str = "") -> None:
    """End an instance at once, without running its code; its children by their policy.

    Terminating a terminated instance does nothing.

    Raises:
        UnknownInstance: There is none of this id.
        NotOpen: It has ended otherwise.
    """
    with transaction.atomic(using=conf.settings.DATABASE):
        instance = instances.lock(instance_id)
        if instance.status == Status.TERMINATED:
            return
        if instance.status in CLOSED:
            raise NotOpen(instance_id, status=instance.status, verb="be terminated")
        announce = closing.terminate(instance, reason=_reason(reason))
        transaction.on_commit(lambda: dispatch.advance(announce), using=conf.settings.DATABASE, robust=True)


def suspend(instance_id: str, *, reason: str = "", children: bool = False) -> None:
    """Halt an instance: what comes in is kept, no activity begins. Suspending twice does nothing.

    Args:
        instance_id: The instance.
        reason: Why; recorded.
        children: Whether its children are halted as well.

    Raises:
        UnknownInstance: There is none of this id.
        NotOpen: It has ended.
    """
    with transaction.atomic(using=conf.settings.DATABASE):
        for instance in _tree(instance_id, "be suspended", children=children):
            if instance.status == Status.SUSPENDED:
                continue
            if instance.head:
                closing.append(instance, ev.ExecutionSuspended(reason=_reason(reason)))
            instances.rows().filter(pk=instance.pk).update(status=Status.SUSPENDED)
            tasks.hold(instance.execution_id)


def resume(instance_id: str, *, reason: str = "", children: bool = False) -> None:
    """Let a suspended instance go on; what came meanwhile is taken in order. Others are left alone.

    Raises:
        UnknownInstance: There is none of this id.
        NotOpen: It has ended.
    """
    with transaction.atomic(using=conf.settings.DATABASE):
        for instance in _tree(instance_id, "be resumed", children=children):
            if instance.status != Status.SUSPENDED:
                continue
            if instance.head:
                closing.append(instance, ev.ExecutionResumed(reason=_reason(reason)))
            status = Status.RUNNING if instance.head else Status.PENDING
            instances.rows().filter(pk=instance.pk).update(status=status)
            dispatch.perform_on_commit(tasks.unhold(instance.execution_id))
            dispatch.advance_on_commit(instance.queue, instance.pk)


def complete_activity(token: str, result: Any = None) -> None:
    """Complete an activity that called ``complete_later``.

    Raises:
        UnknownActivity: No open activity has this token: it was completed, given up or called off.
        InvalidInput: The result has no JSON.
    """
    encoded = conf.converter().encode(result, "result")
    payloads.dumps(encoded, "result", conf.limit("payload"))
    with transaction.atomic(using=conf.settings.DATABASE):
        task = _external(token)
        task.delete()
        event = ev.ActivityCompleted(event_id=task.event_id, result=encoded, attempts=task.attempt)
        lost.end(task, task.execution.instance, event)


def fail_activity(token: str, error: BaseException | str) -> None:
    """Fail an activity that called ``complete_later``; it is retried by its policy.

    Args:
        token: What ``complete_later`` returned.
        error: An exception or a message.

    Raises:
        UnknownActivity: No open activity has this token.
    """
    failure = Failure.of(error) if isinstance(error, BaseException) else Failure(type="ActivityFailed", message=error)
    with transaction.atomic(using=conf.settings.DATABASE):
        lost.fail_attempt(_external(token), failure)


def _external(token: str) -> ActivityTask:
    execution_id, _, rest = token.partition(":")
    event_id, _, attempt = rest.partition(":")
    try:
        key = {"execution_id": uuid.UUID(execution_id), "event_id": int(event_id), "attempt": int(attempt)}
    except ValueError:
        raise InvalidInput("token", "this is no token of an activity") from None
    found: ActivityTask | None = (
        tasks.locked().filter(**key, state=tasks.State.EXTERNAL).select_related("execution__instance").first()
    )
    if found is None:
        raise UnknownActivity(f"token {token}")
    return found


def _tree(instance_id: str, verb: str, *, children: bool) -> Iterator[Instance]:
    instance = instances.lock(instance_id)
    if instance.status not in OPEN:
        raise NotOpen(instance_id, status=instance.status, verb=verb)
    yield instance
    if children:
        below = instances.rows().filter(parent_id=instance_id, status__in=OPEN).values_list("pk", flat=True)
        for child_id in below:
            yield from _tree(child_id, verb, children=True)


def _reason(reason: str) -> str:
    if len(reason) > _REASON:
        raise InvalidInput("reason", f"{len(reason):,} characters, the limit is {_REASON:,}")
    return str(conf.converter().encode(reason, "reason"))
