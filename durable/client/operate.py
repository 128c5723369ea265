"""Verbs that change an open instance."""

from __future__ import annotations

import uuid
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils.crypto import constant_time_compare

from durable import conf
from durable.client import performing
from durable.core import events as ev
from durable.core import given, payloads, texts
from durable.core.errors import InvalidInput, UnknownToken
from durable.core.failures import Failure
from durable.engine import lost, signals
from durable.interceptors import SignalCall
from durable.operations import audit, control
from durable.store import tasks

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from durable.models import ActivityTask
    from durable.operations.shapes import Preview


_NUMBER, _PK = given.LARGEST, 2**63 - 1
"""The largest event id or attempt, and the largest primary key."""


def signal(instance_id: str, name: str, payload: Any = None, *, reason: str = "", actor: Any = None) -> None:
    """Signal an instance; it is recorded exactly once, in order of arrival.

    Programs signal all the time, and the history says so; an ``actor`` or a ``reason`` makes it an operation that the
    audit keeps as well, without the payload.

    Args:
        instance_id: The instance.
        name: The signal's name.
        payload: Anything that has JSON.
        reason: Why; recorded.
        actor: Who sends it: a user or a name.

    Raises:
        UnknownInstance: There is none of this id.
        NotOpen: It has ended.
        InvalidInput: The payload has no JSON, or the name is empty or too long.
        PayloadTooLarge, LimitExceeded: A limit of the settings is reached.
    """
    if actor is None and not reason:
        _signal(instance_id, name, payload)
        return
    hidden = None if payload is None else audit.HIDDEN
    with audit.audited("signal", instance_id, actor=actor, reason=reason, atomic=True, name=str(name), payload=hidden):
        _signal(instance_id, name, payload)


def _signal(instance_id: str, name: str, payload: Any) -> None:
    texts.check_name(name, "signal(name)")
    where = f"signal {name}"
    encoded = conf.converter().encode(payload, where)
    payloads.dumps(encoded, where, conf.limit("payload"))
    with transaction.atomic(using=conf.settings.DATABASE):
        signals.bring(SignalCall(instance_id=instance_id, name=name, headers={}), encoded)


def cancel(instance_id: str, *, reason: str = "", actor: Any = None, dry_run: bool = False) -> Preview | None:
    """Ask an instance to stop: its code gets ``asyncio.CancelledError`` and may clean up.

    Args:
        instance_id: The instance.
        reason: Why; recorded.
        actor: Who asks for it: a user, a name, or None for the system.
        dry_run: Whether to return a Preview and change nothing.

    Raises:
        UnknownInstance: There is none of this id.
        NotOpen: It has ended.
        LimitExceeded: Its inbox is full.
        InvalidInput: The reason cannot be stored.
    """
    return performing.perform(
        "cancel",
        instance_id,
        plan=lambda: control.plan_cancel(instance_id),
        preview=control.preview,
        carry_out=partial(control.cancel, reason=reason),
        actor=actor,
        reason=reason,
        dry_run=dry_run,
    )


def terminate(instance_id: str, *, reason: str = "", actor: Any = None, dry_run: bool = False) -> Preview | None:
    """End an instance at once, without running its code; its children by their policy.

    Terminating a terminated instance does nothing.

    Args:
        instance_id: The instance.
        reason: Why; recorded.
        actor: Who asks for it: a user, a name, or None for the system.
        dry_run: Whether to return a Preview and change nothing.

    Raises:
        UnknownInstance: There is none of this id.
        NotOpen: It has ended otherwise.
        InvalidInput: The reason cannot be stored.
    """
    return performing.perform(
        "terminate",
        instance_id,
        plan=lambda: control.plan_terminate(instance_id),
        preview=control.preview,
        carry_out=partial(control.terminate, reason=reason),
        actor=actor,
        reason=reason,
        dry_run=dry_run,
    )


def suspend(
    instance_id: str, *, reason: str = "", children: bool = False, actor: Any = None, dry_run: bool = False
) -> Preview | None:
    """Halt an instance: what comes in is kept, no activity begins. Suspending twice does nothing.

    Args:
        instance_id: The instance.
        reason: Why; recorded.
        children: Whether its children are halted as well.
        actor: Who asks for it: a user, a name, or None for the system.
        dry_run: Whether to return a Preview and change nothing.

    Raises:
        UnknownInstance: There is none of this id.
        NotOpen: It has ended.
        InvalidInput: The reason cannot be stored.
    """
    return performing.perform(
        "suspend",
        instance_id,
        plan=lambda: control.plan_suspend(instance_id, children=children),
        preview=control.preview,
        carry_out=partial(control.suspend, reason=reason),
        actor=actor,
        reason=reason,
        dry_run=dry_run,
        children=children,
    )


def resume(
    instance_id: str, *, reason: str = "", children: bool = False, actor: Any = None, dry_run: bool = False
) -> Preview | None:
    """Let a suspended instance go on; what came meanwhile is taken in order. Others are left alone.

    Args:
        instance_id: The instance.
        reason: Why; recorded.
        children: Whether its children go on as well.
        actor: Who asks for it: a user, a name, or None for the system.
        dry_run: Whether to return a Preview and change nothing.

    Raises:
        UnknownInstance: There is none of this id.
        NotOpen: It has ended.
        InvalidInput: The reason cannot be stored.
    """
    return performing.perform(
        "resume",
        instance_id,
        plan=lambda: control.plan_resume(instance_id, children=children),
        preview=control.preview,
        carry_out=partial(control.resume, reason=reason),
        actor=actor,
        reason=reason,
        dry_run=dry_run,
        children=children,
    )


def complete_activity(token: str, result: Any = None, *, reason: str = "", actor: Any = None) -> None:
    """Complete an activity that called ``complete_later``.

    Programs complete activities all the time, and the history says so; an ``actor`` or a ``reason`` makes it an
    operation that the audit keeps as well, without the result.

    Args:
        token: What ``complete_later`` returned.
        result: Anything that has JSON.
        reason: Why; recorded.
        actor: Who does it: a user or a name.

    Raises:
        UnknownToken: No open activity has this token: it was completed, given up or called off. One of an instance
            that failed, or was cancelled or terminated, is open until a rewind does without it.
        InvalidInput: The result has no JSON, or the token is none.
        PayloadTooLarge: The result is over the limit.
    """
    encoded = conf.converter().encode(result, "result")
    payloads.dumps(encoded, "result", conf.limit("payload"))
    with _noted("complete", token, reason=reason, actor=actor), transaction.atomic(using=conf.settings.DATABASE):
        task = _external(token)
        task.delete()
        event = ev.ActivityCompleted(event_id=task.event_id, result=encoded, attempts=task.attempt)
        lost.end(task, task.execution.instance, event)


def fail_activity(token: str, error: BaseException | str, *, reason: str = "", actor: Any = None) -> None:
    """Fail an activity that called ``complete_later``; it is retried by its policy.

    Args:
        token: What ``complete_later`` returned.
        error: An exception or a message.
        reason: Why; recorded, as for ``complete_activity``.
        actor: Who does it: a user or a name.

    Raises:
        UnknownToken: No open activity has this token.
        InvalidInput: The token or the error is none.
    """
    failure = _failure(error)
    with _noted("fail", token, reason=reason, actor=actor), transaction.atomic(using=conf.settings.DATABASE):
        lost.fail_attempt(_external(token), failure)


def _failure(error: BaseException | str) -> Failure:
    if isinstance(error, str):
        return Failure.told("ActivityFailed", error)
    if not isinstance(error, BaseException):
        raise given.unfit(error, "error", "an exception or a message")
    return Failure.of(error)


def instance_of(token: str) -> str:
    """Return the id of the instance of an activity that called ``complete_later``.

    Raises:
        UnknownToken: No open activity has this token.
        InvalidInput: It is none.
    """
    return _found(token, tasks.rows()).execution.instance_id


def _noted(verb: str, token: str, *, reason: str, actor: Any) -> AbstractContextManager[None]:
    if actor is None and not reason:
        return nullcontext()
    return audit.audited(verb, instance_of(token), actor=actor, reason=reason, atomic=True)


def _external(token: str) -> ActivityTask:
    return _found(token, tasks.locked())


def _found(token: str, query: Any) -> ActivityTask:
    try:
        execution_id, event_id, attempt, pk, secret = token.split(":")
        key: dict[str, Any] = {"execution__instance__executions": uuid.UUID(execution_id)}
        for name, digits, most in (("event_id", event_id, _NUMBER), ("attempt", attempt, _NUMBER), ("pk", pk, _PK)):
            key[name] = given.whole(int(digits), "token", most=most)
        secret.encode("ascii")
    except (AttributeError, TypeError, ValueError, InvalidInput):
        raise given.unfit(token, "token", "what activity.complete_later() returned") from None
    waiting = query.filter(**key, state=tasks.State.EXTERNAL)
    found: ActivityTask | None = tasks.without_payloads(waiting).first()
    if found is None or not constant_time_compare(tasks.secret(found), secret):
        raise UnknownToken(token)
    return found
