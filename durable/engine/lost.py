"""Work whose worker is gone, or is told to stop, or took too long: give it to others."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import InterfaceError, OperationalError, transaction

from durable import conf, dispatch, telemetry
from durable.core import events as ev
from durable.core.errors import UndecodableEvent
from durable.core.failures import Failure
from durable.engine import presence, signals, stalling
from durable.engine.work import as_called, task_row
from durable.models import OPEN, ActivityTask, InboxEvent, Instance
from durable.store import clock, history, inbox, instances, tasks

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterable
    from datetime import datetime

Found = TypeVar("Found")

_AT_ONCE = 100

_CERTAIN = timedelta(seconds=10)
"""How long a commit may take to come through after its connection broke."""


def failure_of_worker() -> Failure:
    """Return the failure of an attempt whose worker showed no sign of life any more."""
    return Failure(type="WorkerLost", message="the worker that ran it showed no sign of life any more")


def timeout(kind: str, *, final: bool = False) -> Failure:
    """Return the failure of an attempt that ran into a timeout."""
    return Failure(type="TimeoutError", message=f"{kind} timeout", retryable=not final)


# --- in place: the lease is on the instance


def hand_over(instance_id: str, lease: uuid.UUID, failure: Failure | None, *, event_id: int | None = None) -> bool:
    """Make a task of what a lease stands for, and end the lease.

    Args:
        instance_id: The instance.
        lease: The lease; if it is not held any more, or the instance is gone, nothing happens.
        failure: How the attempt failed; None if it does not count.
        event_id: Do so only while it stands for this activity; None is any.
    """
    with transaction.atomic(using=conf.settings.DATABASE):
        instance = instances.find_locked(instance_id, payloads=False)
        if instance is None or instance.lease != lease or instance.lease_event_id is None:
            return False
        if event_id not in (None, instance.lease_event_id):
            return False
        asked = history.asked(instance.execution_id, instance.lease_event_id)
        instances.release(instance_id, lease)
        task = task_row(instance, asked, created_at=clock.from_timestamp(asked.at))
        task.expires_at = close_by(task)
        if failure is None:
            tasks.insert([task])
            dispatch.perform_on_commit({task.queue: 1})
        elif (wait := retry_wait(task, failure)) is None:
            end(task, instance, ev.ActivityFailed(event_id=asked.event_id, failure=failure, attempts=1))
        else:
            task.attempt, task.last_failure = 2, failure.to_json()
            task.available_at, task.dispatched_at = clock.now() + timedelta(seconds=wait), None
            tasks.insert([task])
            perform_at(task.available_at, task.queue)
    return True


def give_back(instance_id: str, lease: uuid.UUID) -> None:
    """Hand over what this process ran in place, now or as soon as the database answers."""
    until_certain(lambda: _hand_over_or_stall(instance_id, lease, None))


def _hand_over_or_stall(instance_id: str, lease: uuid.UUID, failure: Failure | None) -> None:
    """Make a task of what a lease stands for; if that cannot be read, stall the instance, and try again with it."""
    try:
        hand_over(instance_id, lease, failure)
    except UndecodableEvent as error:
        instances.abandon_lease(instance_id, lease, until=clock.now() + timedelta(seconds=conf.settings.STALL_RETRY))
        stalling.stall(instance_id, error)


def until_done(attempt: Callable[[], Any]) -> None:
    """Do what must be done in the end, though the database may be away just now.

    A lease counts for as long as its process lives, so a living process must
    not forget one.
    """
    try:
        attempt()
    except Exception:
        here = presence.current()
        if here is None:
            raise
        telemetry.logger.warning("could not give work back yet", exc_info=True)
        here.call_at(clock.now() + timedelta(seconds=1), lambda: until_done(attempt))


def until_certain(attempt: Callable[[], Any]) -> None:
    """Give a lease back after a fault, and once more a while later.

    A commit whose connection broke may come through when nobody waits for it
    any more, and only then is there a lease to give back.
    """
    until_done(attempt)
    if here := presence.current():
        here.call_at(clock.now() + _CERTAIN, lambda: until_done(attempt))


# --- tasks: the lease is on the row


def retry_wait(task: ActivityTask, failure: Failure) -> float | None:
    """Return the seconds until a failed task is tried again, or None."""
    if task.cancel_requested:
        return None
    policy = as_called(task.name, task.options).retry
    return policy.wait_after(task.attempt, failure, chance=random.random())  # noqa: S311


def fail_attempt(task: ActivityTask, failure: Failure) -> None:
    """End a leased task's attempt: it is tried again, or its failure goes to the workflow."""
    with transaction.atomic(using=conf.settings.DATABASE):
        wait = retry_wait(task, failure)
        if wait is not None and _try_again(task, failure, wait):
            perform_at(task.available_at, task.queue)
        elif tasks.finish(task):
            failed = ev.ActivityFailed(event_id=task.event_id, failure=failure, attempts=task.attempt)
            end(task, task.execution.instance, failed)


def _try_again(task: ActivityTask, failure: Failure, wait: float) -> bool:
    return tasks.try_again(
        task,
        attempt=task.attempt + 1,
        available_at=clock.now() + timedelta(seconds=wait),
        dispatched_at=None if wait else clock.now(),
        expires_at=close_by(task),
        last_failure=failure.to_json(),
    )


def end(task: ActivityTask, instance: Instance, event: ev.Answer) -> None:
    """Put a task's end into its execution's inbox, if anybody is there to read it."""
    record(task, instance, event)
    dispatch.advance_on_commit(instance.queue, instance.pk)


def record(task: ActivityTask, instance: Instance, event: ev.Answer) -> None:
    """Store a task's end for its execution; the turn drops what comes too late, but what a rewind would want."""
    if (kept := row(task, instance, event)) is not None:
        inbox.insert([kept])


def row(task: ActivityTask, instance: Instance, event: ev.Answer) -> InboxEvent | None:
    """Return the row, not saved, of a task's end; None if nobody is there to read it."""
    answer = signals.answer(task.name, event)
    if instance.execution_id != task.execution_id:
        return None
    if instance.status in OPEN:
        return inbox.row(task.execution_id, answer)
    if instance.status in inbox.REWINDABLE and answer.kind in inbox.COUNTS_AFTER_ALL:
        return inbox.row(task.execution_id, answer, visible_at=inbox.NEVER)
    return None


def close_by(task: ActivityTask) -> datetime | None:
    """Return when a waiting task is given up for good, or None."""
    limit = as_called(task.name, task.options).schedule_to_close
    return None if limit is None else task.created_at + timedelta(seconds=limit)


def begin_by(task: ActivityTask) -> datetime | None:
    """Return when a task that was never begun is given up, or None; after its first attempt, see `close_by`."""
    called = as_called(task.name, task.options)
    to_start = called.schedule_to_start if task.attempt == 1 else None
    limits = [s for s in (to_start, called.schedule_to_close) if s is not None]
    return task.created_at + timedelta(seconds=min(limits)) if limits else None


def perform_at(due: Any, queue: str) -> None:
    """Announce a queue when a task of it is due, if that is before the next look for due work."""
    here = presence.current()
    if due <= clock.now():
        dispatch.perform_on_commit({queue: 1})
    elif here is not None and presence.soon(due):
        here.call_at(due, lambda: dispatch.perform({queue: 1}))


# --- what the sweep finds


def find_dead_in_place() -> None:
    """Give others what dead workers ran in place."""

    def give(instance: Instance) -> None:
        assert instance.lease is not None  # noqa: S101 - that is what makes it an orphan
        _hand_over_or_stall(instance.pk, instance.lease, failure_of_worker())

    _each(instances.orphans(_AT_ONCE), give)


def find_dead_tasks() -> None:
    """Give others the tasks that dead workers held."""
    _each(tasks.orphans(_AT_ONCE), _give_up)


def _give_up(task: ActivityTask) -> None:
    failure = failure_of_worker()
    if task.started_at is not None:
        fail_attempt(task, failure)
        return
    # It was leased with others and may not have begun: that is no attempt. From now on it is leased by itself.
    with transaction.atomic(using=conf.settings.DATABASE):
        if tasks.put_back(task, expires_at=begin_by(task), last_failure=failure.to_json()):
            dispatch.perform_on_commit({task.queue: 1})


def find_expired() -> None:
    """End the attempts of tasks that ran into a timeout."""
    _each(tasks.expired(_AT_ONCE), _expire)


def _each(found: Iterable[Found], do: Callable[[Found], None]) -> None:
    """Do something to each of what was found: what is wrong with one must not keep the others waiting."""
    for one in found:
        try:
            do(one)
        except (OperationalError, InterfaceError):
            raise  # the database's trouble, and so that of all
        except Exception:  # noqa: BLE001 - one's trouble must not keep the others waiting
            telemetry.logger.exception("could not take care of %s", one)


def _expire(task: ActivityTask) -> None:
    now = clock.now()
    closing_at = close_by(task)
    if closing_at is not None and closing_at <= now:
        failure = timeout("schedule_to_close", final=True)
    elif task.state in (tasks.State.READY, tasks.State.HELD):
        failure = timeout("schedule_to_start", final=True)
    else:
        failure = timeout(_which(task))
    fail_attempt(task, failure)


def _which(task: ActivityTask) -> str:
    called = as_called(task.name, task.options)
    if called.heartbeat is None:
        return "start_to_close"
    limit, started_at = called.start_to_close, task.started_at
    if limit is not None and started_at is not None and started_at + timedelta(seconds=limit) <= clock.now():
        return "start_to_close"
    return "heartbeat"
