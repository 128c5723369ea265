"""Attempts at activities, as the activity that runs sees them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction

from durable import activity, conf, dispatch
from durable.core import events as ev
from durable.core import payloads
from durable.core.errors import NonRetryable
from durable.core.type_names import type_name
from durable.engine import lost, presence
from durable.engine.work import task_row
from durable.models import Execution
from durable.store import clock, inbox, instances, tasks, workers

if TYPE_CHECKING:
    import uuid

    from durable.core.definitions import ActivityDefinition
    from durable.core.failures import Failure
    from durable.engine.running import Ended
    from durable.engine.work import InPlace
    from durable.models import ActivityTask, Instance


def deadline(definition: ActivityDefinition, *, created_at: datetime, beat: bool = True) -> datetime | None:
    """Return when an attempt that begins now is given up, or None.

    Args:
        definition: The activity.
        created_at: When it was scheduled.
        beat: Whether the time to the next heartbeat counts.
    """
    heartbeat = definition.heartbeat if beat else None
    if (definition.start_to_close, definition.schedule_to_close, heartbeat) == (None, None, None):
        return None
    now = clock.now()
    limits = [
        start + timedelta(seconds=limit)
        for start, limit in (
            (now, definition.start_to_close),
            (created_at, definition.schedule_to_close),
            (now, heartbeat),
        )
        if limit is not None
    ]
    return min(limits, default=None)


def token(info: activity.Info) -> str:
    """Return what names an attempt to whoever completes it from outside."""
    return f"{info.execution_id}:{info.event_id}:{info.attempt}"


def encode_details(details: tuple[Any, ...]) -> list[Any]:
    """Return heartbeat details as JSON.

    Raises:
        InvalidInput, PayloadTooLarge: They cannot be stored.
    """
    encoded = [conf.converter().encode(detail, "heartbeat(details)") for detail in details]
    payloads.dumps(encoded, "heartbeat(details)", conf.limit("payload"))
    return encoded


def _of_instance(instance: Instance) -> dict[str, Any]:
    return {"workflow": type_name(instance.name, instance.version), "headers": dict(instance.headers or {})}


def _source_key(task: ActivityTask, instance: Instance) -> str | None:
    """Return the key of the activity in a rerun's source, which has all that was asked for up to the target."""
    last = instance.rerun_event_id
    if last is None or task.event_id > last:
        return None
    execution = task.execution
    if execution.origin != Execution.Origin.RERUN or execution.source_id is None:
        return None
    return activity.idempotency_key(execution.source_id, task.event_id)


class TaskAttempt:
    """An attempt of an activity that has a row.

    Attributes:
        left: Whether its completion was left to somebody else.
    """

    def __init__(self, task: ActivityTask, instance: Instance, definition: ActivityDefinition) -> None:
        self.task, self._definition = task, definition
        self.left = False
        self.info = activity.Info(
            name=task.name,
            instance_id=instance.pk,
            execution_id=str(task.execution_id),
            event_id=task.event_id,
            attempt=task.attempt,
            deadline=deadline(definition, created_at=task.created_at, beat=False),
            queue=task.queue,
            source_idempotency_key=_source_key(task, instance),
            **_of_instance(instance),
        )

    def heartbeat(self, details: tuple[Any, ...]) -> None:
        """Record the details, and that there is time until the next ones."""
        now = clock.now()
        limits = [limit for limit in (self.info.deadline, self._next_beat(now)) if limit is not None]
        values: dict[str, Any] = {"heartbeat_at": now, "expires_at": min(limits, default=None)}
        if details:
            values["heartbeat_details"] = encode_details(details)
        tasks.keep(self.task, **values)

    def _next_beat(self, now: datetime) -> datetime | None:
        limit = self._definition.heartbeat
        return None if limit is None else now + timedelta(seconds=limit)

    def heartbeat_details(self) -> tuple[Any, ...]:
        """Return what was recorded last, by this attempt or an earlier one."""
        return tuple(self.task.heartbeat_details or ())

    def cancelled(self) -> bool:
        """Say whether the row says so, or is gone."""
        flags = tasks.fenced(self.task).values_list("cancel_requested", flat=True)
        return bool(next(iter(flags), True))

    def complete_later(self) -> str:
        """Keep the row for whoever completes the activity."""
        if self._definition.atomic:
            raise NonRetryable("an atomic activity cannot be completed later: its writes and its end are one commit")
        if not self.left:
            self.left = tasks.keep(self.task, state=tasks.State.EXTERNAL)
        # By its row: a rewind may take that to another execution, where the number may be that of something else.
        # With a secret: the rest is in the history, and in the idempotency keys that other companies get.
        return f"{token(self.info)}:{self.task.pk}:{tasks.secret(self.task)}"


class InPlaceAttempt:
    """The first attempt of an activity that runs where the turn ended.

    It has no row. When it needs one, to record a heartbeat or to be completed
    from outside, the lease on the instance is exchanged for one.

    Attributes:
        left: Whether its completion was left to somebody else.
    """

    def __init__(self, instance: Instance, work: InPlace) -> None:
        self.work, self._instance = work, instance
        self._with_row: TaskAttempt | None = None
        self._scheduled_at = clock.now()
        self.info = activity.Info(
            name=work.asked.name,
            instance_id=instance.pk,
            execution_id=str(instance.execution_id),
            event_id=work.asked.event_id,
            attempt=1,
            deadline=deadline(work.definition, created_at=self._scheduled_at),
            queue=work.definition.queue or instance.queue,
            **_of_instance(instance),
        )
        here, until = presence.current(), self.info.deadline
        self._expiry = here.call_at(until, self._expire) if here is not None and until is not None else None

    @property
    def left(self) -> bool:
        return self._with_row is not None and self._with_row.left

    def heartbeat(self, details: tuple[Any, ...]) -> None:
        """Record the details, in a row that this attempt has from now on."""
        self._row().heartbeat(details)

    def heartbeat_details(self) -> tuple[Any, ...]:
        """Return what this attempt recorded last."""
        return self._with_row.heartbeat_details() if self._with_row else ()

    def cancelled(self) -> bool:
        """Say whether the lease is gone, and no row says otherwise."""
        if self._with_row is not None:
            return self._with_row.cancelled()
        if instances.rows().filter(pk=self._instance.pk, lease=self.work.lease).exists():
            return False
        row = self._rows().first()
        return row is None or row.cancel_requested

    def complete_later(self) -> str:
        """Leave a row for whoever completes the activity."""
        return self._row().complete_later()

    def deliver(self, ended: Ended) -> bool:
        """Put the end into the inbox, in the transaction at hand; False if the lease is lost."""
        execution_id = self._moved_to()
        if execution_id is not None and isinstance(ended, ev.ActivityCanceled):
            # It stopped because its execution ended; that was taken back.
            rows = self._rows()
            dispatch.perform_on_commit(
                {task.queue: tasks.put_back(task, expires_at=lost.close_by(task)) for task in rows}
            )
            return True
        if not self._give_up():
            return False
        inbox.insert([inbox.row(execution_id or self._instance.execution_id, ended)])
        if execution_id is not None:
            dispatch.advance_on_commit(self._instance.queue, self._instance.pk)
        return True

    def retry(self, failure: Failure, wait: float) -> bool:
        """Exchange the lease for a task that is due after ``wait`` seconds.

        False if the lease is lost, or the activity was called off.
        """
        due = clock.now() + timedelta(seconds=wait)
        details = self._with_row.task.heartbeat_details if self._with_row else None
        values = {"attempt": 2, "last_failure": failure.to_json(), "heartbeat_details": details}
        row = task_row(self._instance, self.work.asked, available_at=due, **values)
        row.created_at, row.dispatched_at = self._scheduled_at, None if wait else row.dispatched_at
        row.expires_at = lost.close_by(row)
        with transaction.atomic(using=conf.settings.DATABASE):
            row.execution_id = self._moved_to() or self._instance.execution_id
            if not self._give_up(cancel_requested=False):
                return False
            tasks.insert([row])
            lost.perform_at(due, row.queue)
        return True

    def fail(self, failure: Failure) -> None:
        """End the attempt as failed, when the turn at hand is of no use any more."""
        if not lost.hand_over(self._instance.pk, self.work.lease, failure):
            for row in tasks.without_payloads(self._rows()):
                lost.fail_attempt(row, failure)

    def give_back(self) -> None:
        """Let somebody else run it; the attempt does not count."""
        if self._with_row is not None:
            task = self._with_row.task
            lost.until_certain(lambda: tasks.put_back(task, expires_at=lost.close_by(task)))
        else:
            lost.give_back(self._instance.pk, self.work.lease)

    def _row(self) -> TaskAttempt:
        if self._with_row is None:
            row = task_row(
                self._instance,
                self.work.asked,
                state=tasks.State.RUNNING,
                worker=workers.me(),
                lease=self.work.lease,
                lease_until=clock.now() + timedelta(seconds=conf.settings.LEASE),
                created_at=self._scheduled_at,
                started_at=clock.now(),
                expires_at=self.info.deadline,
            )
            with transaction.atomic(using=conf.settings.DATABASE):
                if instances.release(self._instance.pk, self.work.lease):
                    tasks.insert([row])
                else:  # whoever ended the instance has made one, and perhaps a rewind took it along
                    row = self._rows().first() or row
            self._with_row = TaskAttempt(row, self._instance, self.work.definition)
        return self._with_row

    def _rows(self) -> Any:
        # Wherever a rewind took it.
        return tasks.rows().filter(execution__instance=self._instance.pk, lease=self.work.lease)

    def _moved_to(self) -> uuid.UUID | None:
        """Return the execution that a rewind took the row to; None if it did not."""
        elsewhere = self._rows().exclude(execution_id=self._instance.execution_id)
        found: uuid.UUID | None = elsewhere.values_list("execution_id", flat=True).first()
        return found

    def _give_up(self, **condition: Any) -> bool:
        """End the lease, wherever it is by now; False if it is lost.

        Args:
            condition: What must hold of the row, if the lease was exchanged for one.
        """
        # An atomic activity's row is gone when its transaction was rolled back; then the lease is back.
        if instances.release(self._instance.pk, self.work.lease):
            return True
        return bool(self._rows().filter(**condition).delete()[0])

    def ended(self) -> None:
        """Note that the function returned: nobody need watch its time any more."""
        if self._expiry is not None:
            self._expiry.cancel()

    def _expire(self) -> None:
        limit = self.work.definition.schedule_to_close
        over = limit is not None and self._scheduled_at + timedelta(seconds=limit) <= clock.now()
        failure = lost.timeout("schedule_to_close", final=True) if over else lost.timeout("start_to_close")
        lost.hand_over(self._instance.pk, self.work.lease, failure, event_id=self.info.event_id)
