"""The fast path: run an activity where the turn ended, and commit its result with the next turn.

Nothing waits for it. Whoever changes the instance meanwhile moves its head;
then the result goes in through the inbox, like any other.
"""

from __future__ import annotations

import random
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from django.db import transaction

from durable import conf, telemetry
from durable.core import events as ev
from durable.core.errors import ConcurrencyConflict
from durable.core.failures import Failure
from durable.engine import cache, following, intercepting, presence, running, stalling, updates
from durable.engine.attempts import InPlaceAttempt
from durable.engine.turn import Turn
from durable.store import clock, instances

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.engine.work import InPlace


def run(turn: Turn, leave_at: float) -> None:
    """Run a turn's activity and take the next turn, for as long as each leads to the next.

    Args:
        turn: A stored turn with an activity to run.
        leave_at: When, by the monotonic clock, others get their chance.
    """
    here = presence.current()
    if here is not None:
        here.hold()
    try:
        stored: Turn | None = turn
        with following.relieved():
            while stored is not None and stored.in_place is not None:
                stored = _Step(stored, stored.in_place, leave_at).run()
    finally:
        if here is not None:
            here.free()


class _Undo(Exception):
    pass


class _Step:
    """One activity in place, and the turn that follows."""

    def __init__(self, turn: Turn, work: InPlace, leave_at: float) -> None:
        self._turn, self._work, self._leave_at = turn, work, leave_at
        self._attempt = InPlaceAttempt(turn.instance, work)
        self._in_transaction = False

    def run(self) -> Turn | None:
        """Return the turn that was stored with the result; None if the inbox takes over."""
        execution_id = self._turn.instance.execution_id
        try:
            following = self._run_atomic() if self._work.definition.atomic else self._finish(self._call())
            # Only now that it is committed: nobody may find an execution that is ahead of what is stored.
            if following is not None and following.end is not None:
                following.execution.close()
            elif following is not None and following.in_place is None:
                cache.put(execution_id, following.execution)
            return following
        except running.Later:
            self._keep()
        except BaseException:
            # The worker is told to stop, or the database is away: somebody else runs it again.
            self._turn.execution.close()
            self._attempt.give_back()
            raise
        return None

    def _call(self) -> running.Ended:
        try:
            with following.away():
                return running.attempt(self._work.definition, self._work.asked.input, self._attempt)
        finally:
            self._attempt.ended()

    def _run_atomic(self) -> Turn | None:
        """Run the activity in the transaction that stores its result, or in one that is rolled back."""
        try:
            with self._transaction():
                ended = self._call()
                if isinstance(ended, ev.ActivityCompleted):
                    return self._store_or_deliver(ended)
                raise _Undo
        except _Undo:
            return None if isinstance(ended, ev.ActivityCompleted) else self._finish(ended)
        except running.SPOILED as error:
            self._turn.execution.close()
            self._attempt.fail(Failure.of(error))
            return None

    def _finish(self, ended: running.Ended) -> Turn | None:
        if isinstance(ended, ev.ActivityFailed):
            wait = self._work.definition.retry.wait_after(1, ended.failure, chance=random.random())  # noqa: S311
            if wait is not None and self._attempt.retry(ended.failure, wait):
                self._keep()
                return None
        try:
            return self._store_or_deliver(ended)
        except _Undo:
            return None
        except tuple(stalling.REASONS):
            # The turn cannot be stored, but what the activity did is done: its end waits with the instance.
            with self._transaction():
                self._attempt.deliver(ended)
            raise

    @contextmanager
    def _transaction(self, needed: bool = True) -> Iterator[None]:
        """Have what the block writes be one commit, together with what an atomic activity wrote."""
        if self._in_transaction or not needed:
            yield
            return
        self._in_transaction = True
        try:
            with transaction.atomic(using=conf.settings.DATABASE):
                yield
        finally:
            self._in_transaction = False

    def _savepoint(self, needed: bool) -> AbstractContextManager[None]:
        """Have what an atomic activity wrote outlive a turn that could not be stored."""
        apart = needed and self._work.definition.atomic
        return transaction.atomic(using=conf.settings.DATABASE) if apart else nullcontext()

    def _store_or_deliver(self, ended: running.Ended) -> Turn | None:
        """Take the next turn with the result; if the instance moved on, leave the result in its inbox."""
        instance = self._turn.instance
        try:
            with self._transaction(intercepting.is_watched("turn")):
                return intercepting.turn(instance, lambda: self._take_turn(ended))
        except ConcurrencyConflict:
            # What the turn wrote is undone, so the activity's own writes can still go with its result.
            self._turn.execution.close()
            with self._transaction():
                if self._attempt.deliver(ended):
                    return None
                telemetry.logger.info("%s: a late %s is dropped", instance.pk, ended)
                raise _Undo from None

    def _take_turn(self, ended: running.Ended) -> Turn:
        following = Turn(self._turn.instance, self._turn.execution, clock.now())
        following.apply(ended)
        with self._transaction(following.looks_around):
            self._settle(following)
            with self._transaction(not following.is_one_statement), self._savepoint(following.starts_children):
                following.store(lease=self._work.lease)
        return following

    def _settle(self, following: Turn) -> None:
        instance, lease = self._turn.instance, self._work.lease
        if following.needs_lock and not instances.lock_in_place(instance, head=instance.head, lease=lease):
            raise ConcurrencyConflict(instance.pk, expected=instance.head)
        if updates.is_awaited(following):
            raise ConcurrencyConflict(instance.pk, expected=instance.head)  # for a turn that can bring them in
        following.settle()
        if time.monotonic() < self._leave_at and not running.stopping():
            following.choose(lease=lease)
        else:
            following.hand_out()

    def _keep(self) -> None:
        cache.put(self._turn.instance.execution_id, self._turn.execution)
