"""Run the activities of a queue, one after the other, until none is left that is due."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import transaction

from durable import conf, dispatch
from durable.core import events as ev
from durable.core.errors import UndecodablePayload
from durable.core.failures import Failure
from durable.engine import claims, lost, pace, presence, running, together
from durable.engine.attempts import TaskAttempt
from durable.engine.work import known
from durable.store import clock, tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable.core.definitions import ActivityDefinition
    from durable.engine.claims import Claim
    from durable.models import ActivityTask

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
    """A worker's pass over a queue: it leases as many tasks as it can run in a few milliseconds."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._claim: Claim | None = None
        self._woke = False
        self._told: set[tuple[str, str]] = set()

    def take(self) -> bool:
        """Lease the next tasks; say whether there were any."""
        self._store([], more=True)
        return self._claim is not None

    def run(self) -> None:
        """Run leased tasks until results have gathered for long enough, then take their instances' turns."""
        gather_until = time.monotonic() + _GATHER_SECONDS
        while self._claim is not None:
            claim, self._claim = self._claim, None
            ended = self._run_all(claim)
            self._store(ended, more=time.monotonic() < gather_until and not running.stopping())
        told, self._told = self._told, set()
        # Of others, this worker may have the activities' code only.
        together.advance_told(sorted(told), queue=self._queue)

    def _run_all(self, claim: Claim) -> list[claims.End]:
        """Run what is leased; return the ends that are still to be stored."""
        ran = []
        while (task := claim.next()) is not None:
            begun = time.monotonic()
            try:
                self._run(task, claim)
            except BaseException:
                claims.give_back(task, *(task for task, _ in claim.close()))
                raise
            pace.note(task.name, time.monotonic() - begun)
            ran.append(task.name)
            if running.stopping():
                break
        pace.end_round(self._queue, ran)
        return claim.close()

    def _store(self, ended: Sequence[claims.End], *, more: bool) -> None:
        """Store ends, and in the same commit lease the next tasks."""

        def take() -> None:
            if more:
                self._claim = claims.take(self._queue, pace.count(self._queue), look_further=not self._woke)

        try:
            self._told |= claims.store(ended, then=take)
        except BaseException:
            claims.give_back(*(task for task, _ in ended))
            if self._claim is not None:
                self._claim.undo()
            raise
        if self._claim is not None and self._claim.more and not self._woke:
            # Before the first begins: nobody knows how long it takes.
            self._woke = True
            dispatch.wake_another(self._queue)

    def _run(self, task: ActivityTask, claim: Claim) -> None:
        instance = task.execution.instance
        definition = known(task)
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
                self._run_atomic(task, definition, attempt)
                return
            ended = running.attempt(definition, arguments, attempt)
        except running.Later:
            return
        if isinstance(ended, ev.ActivityCompleted):
            claim.note(task, ended)
        else:
            self._end(task, ended)

    def _run_atomic(self, task: ActivityTask, definition: ActivityDefinition, attempt: TaskAttempt) -> None:
        """Run an activity in the transaction that stores its end."""
        try:
            with transaction.atomic(using=conf.settings.DATABASE):
                ended = running.attempt(definition, task.input, attempt)
                told = claims.complete(task, ended) if isinstance(ended, ev.ActivityCompleted) else ()
                if not told:
                    raise _Undo
        except _Undo:
            if not isinstance(ended, ev.ActivityCompleted):
                self._end(task, ended)
        except running.SPOILED as error:
            lost.fail_attempt(task, Failure.of(error))
        else:
            self._told.update(told)

    def _end(self, task: ActivityTask, ended: ev.ActivityFailed | ev.ActivityCanceled) -> None:
        """Store the end of an attempt that did not complete."""
        if isinstance(ended, ev.ActivityFailed):
            lost.fail_attempt(task, ended.failure)
            return
        with transaction.atomic(using=conf.settings.DATABASE):
            if tasks.has_moved(task):
                # It stopped because its execution ended; that was taken back.
                tasks.put_back(task, expires_at=lost.close_by(task))
                dispatch.perform_on_commit({task.queue: 1})
            else:
                self._told.update(claims.complete(task, ended))


class _Undo(Exception):
    pass


def _wait_for_another_worker(task: ActivityTask, failure: Failure) -> None:
    """Put back a task that this process lacks the code or the key for, and leave word why it waits."""
    available_at = clock.now() + _ELSEWHERE_WAIT
    tasks.put_back(task, expires_at=lost.begin_by(task), available_at=available_at, last_failure=failure.to_json())
