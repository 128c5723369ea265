"""Run the activities of a queue, one after the other, until none is left that is due."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from django.db import transaction

from durable import conf, dispatch, registry, telemetry
from durable.core import events as ev
from durable.core.errors import UndecodablePayload, UnknownActivity
from durable.core.failures import Failure
from durable.engine import lost, presence, running
from durable.engine.advance import advance
from durable.engine.attempts import TaskAttempt, deadline
from durable.store import clock, tasks, workers

if TYPE_CHECKING:
    from durable.core.definitions import ActivityDefinition
    from durable.models import ActivityTask, Instance

_GATHER_SECONDS = 0.02
"""How long results may gather before their instances get a turn: a fan-out needs one turn, not one each."""

_STAYS_SECONDS = 1.0
"""How long a worker stays with one queue before other messages get their turn."""

_ELSEWHERE_WAIT = timedelta(seconds=5)


def perform(queue: str) -> None:
    """Run what is due on a queue, and give the instances that wait for it their turns."""
    leave_at = time.monotonic() + _STAYS_SECONDS
    drain = _Drain(queue)
    here = presence.current()
    if here is not None:
        here.hold()
    try:
        while drain.take():
            drain.run()
            if time.monotonic() > leave_at or running.stopping():
                dispatch.perform({queue: 1})
                break
    finally:
        if here is not None:
            here.free()


class _Drain:
    """A worker's pass over a queue: at most one task is leased at a time."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._task: ActivityTask | None = None
        self._told: dict[str, str] = {}

    def take(self) -> bool:
        """Lease the next task; say whether there was one."""
        try:
            with transaction.atomic(using=conf.settings.DATABASE):
                self._take()
        except BaseException:
            self._put_back()
            raise
        return self._task is not None

    def _put_back(self, *others: ActivityTask) -> None:
        """Let others have what is leased, or may be: a commit may be done though its answer got lost."""
        for task in (self._task, *others):
            if task is not None:
                lost.until_done(partial(tasks.put_back, task))
        self._task = None

    def _take(self) -> None:
        task = tasks.next_ready(self._queue)
        if task is None:
            self._task = None
            return
        definition = _known(task)
        # Unknown here, it is put back at once, and still to be begun in its time.
        expires_at = deadline(definition, created_at=task.created_at) if definition else task.expires_at
        self._task = task if tasks.take(task, worker=workers.me(), expires_at=expires_at) else None

    def run(self) -> None:
        """Run leased tasks until results have gathered for long enough, then take their instances' turns."""
        gather_until = time.monotonic() + _GATHER_SECONDS
        while self._task is not None:
            task, self._task = self._task, None
            try:
                self._run(task, more=time.monotonic() < gather_until and not running.stopping())
            except BaseException:
                self._put_back(task)
                raise
        told, self._told = self._told, {}
        for instance_id, queue in told.items():
            if queue == self._queue or queue in dispatch.served_queues():
                advance(instance_id)
            else:
                # This worker may have the activities' code only.
                dispatch.advance([(queue, instance_id)])

    def _run(self, task: ActivityTask, *, more: bool) -> None:
        instance = task.execution.instance
        definition = _known(task)
        if definition is None:
            unknown = f"no worker so far knows the activity {task.name!r}"
            _wait_for_another_worker(task, Failure(type="UnknownActivity", message=unknown))
            return
        try:
            arguments, attempt = task.input, TaskAttempt(task, instance, definition)
        except UndecodablePayload as error:
            _wait_for_another_worker(task, Failure.of(error))
            return
        try:
            if definition.atomic:
                self._run_atomic(task, instance, definition, attempt)
            else:
                self._finish(task, instance, running.attempt(definition, arguments, attempt), more=more)
        except running.Later:
            pass

    def _run_atomic(
        self, task: ActivityTask, instance: Instance, definition: ActivityDefinition, attempt: TaskAttempt
    ) -> None:
        """Run an activity in the transaction that stores its end."""
        try:
            with transaction.atomic(using=conf.settings.DATABASE):
                ended = running.attempt(definition, task.input, attempt)
                if not isinstance(ended, ev.ActivityCompleted) or not self._complete(task, ended):
                    raise _Undo
        except _Undo:
            if not isinstance(ended, ev.ActivityCompleted):
                self._finish(task, instance, ended, more=False)
        except running.SPOILED as error:
            lost.fail_attempt(task, Failure.of(error))

    def _finish(self, task: ActivityTask, instance: Instance, ended: running.Ended, *, more: bool) -> None:
        if isinstance(ended, ev.ActivityFailed):
            lost.fail_attempt(task, ended.failure)
            return
        with transaction.atomic(using=conf.settings.DATABASE):
            if isinstance(ended, ev.ActivityCanceled) and tasks.has_moved(task):
                # It stopped because its execution ended; that was taken back.
                tasks.put_back(task)
                dispatch.perform_on_commit({task.queue: 1})
            elif not self._complete(task, ended):
                telemetry.logger.info("%s: a late %s is dropped", instance.pk, ended)
            if more:
                self._take()

    def _complete(self, task: ActivityTask, ended: running.Ended) -> bool:
        """Store an end, in the transaction at hand; False if the lease is lost."""
        if not tasks.finish(task):
            return False
        instance = task.execution.instance
        lost.record(task, instance, ended)
        self._told[instance.pk] = instance.queue
        return True


class _Undo(Exception):
    pass


def _known(task: ActivityTask) -> ActivityDefinition | None:
    try:
        return registry.activity(task.name).with_overrides(task.options)
    except UnknownActivity:
        return None


def _wait_for_another_worker(task: ActivityTask, failure: Failure) -> None:
    """Put back a task that this process lacks the code or the key for, and leave word why it waits."""
    tasks.put_back(task, available_at=clock.now() + _ELSEWHERE_WAIT, last_failure=failure.to_json())
