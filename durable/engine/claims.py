"""Tasks that a worker leased together: it runs one after the other, and stores their ends at once."""

from __future__ import annotations

import threading
from collections import Counter, deque
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from django.db import transaction

from durable import conf, dispatch, telemetry
from durable.core import events as ev
from durable.engine import lost, pace, presence
from durable.engine.attempts import deadline
from durable.engine.work import known
from durable.store import clock, inbox, tasks, workers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime

    from durable.models import ActivityTask

_WAITS = timedelta(seconds=0.05)
"""How long what has not begun, and what has ended, waits for the one that runs."""

End = tuple["ActivityTask", ev.ActivityCompleted]


class Claim:
    """What a worker leased together.

    If one takes long, nobody waits for it: the presence's thread gives back
    what has not begun, and stores what has ended.

    Attributes:
        more: Whether more was seen to be ready.
    """

    def __init__(
        self, leased: Sequence[ActivityTask], *, expiries: Sequence[datetime | None], more: bool = False
    ) -> None:
        self.more = more
        self._lock = threading.Lock()
        self._waiting = deque(zip(leased, expiries, strict=True))
        self._ended: list[End] = []
        self._relief: presence.Call | None = None
        if len(leased) > 1:
            # Not before: till then the presence's connection would find nothing to give back.
            transaction.on_commit(self._begin, using=conf.settings.DATABASE)

    def _begin(self) -> None:
        if here := presence.current():
            self._relief = here.call_at(clock.now() + _WAITS, self._relieve)

    def next(self) -> ActivityTask | None:
        """Return the next task to run, if there is one."""
        with self._lock:
            return self._waiting.popleft()[0] if self._waiting else None

    def note(self, task: ActivityTask, ended: ev.ActivityCompleted) -> None:
        """Keep an end, to be stored with others."""
        with self._lock:
            self._ended.append((task, ended))

    def close(self) -> list[End]:
        """Give back what has not begun, and return the ends that are still to be stored."""
        if self._relief is not None:
            self._relief.cancel()
        return self._take()

    def undo(self) -> None:
        """Give back what was leased in a commit of which nobody knows whether it is done."""
        self._take(lost.until_certain)

    def _take(self, do: Callable[[Callable[[], object]], None] = lost.until_done) -> list[End]:
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
            ended, self._ended = self._ended, []
        for task, expires_at in waiting:
            do(partial(tasks.put_back, task, expires_at=expires_at))
        dispatch.perform(Counter(task.queue for task, _ in waiting))
        return ended

    def _relieve(self) -> None:
        if ended := self._take():
            lost.until_done(lambda: dispatch.advance(store(ended)))


def give_back(*leased: ActivityTask) -> None:
    """Let others have what is leased, or may be: a commit may be done though its answer got lost."""
    for task in leased:
        lost.until_certain(partial(tasks.put_back, task, expires_at=lost.close_by(task)))


def take(queue: str, count: int, *, look_further: bool = False) -> Claim | None:
    """Lease the next tasks of a queue, in the transaction at hand; None if there is none.

    Args:
        queue: Whose.
        count: How many at most. The first comes alone if there must be no doubt whether it began.
        look_further: Whether to see if there are more.
    """
    ready = tasks.next_ready(queue, count + look_further)
    found = ready[:count]
    if len(found) > 1:
        found = pace.short([task for task in found if _may_wait(task)]) if _may_wait(found[0]) else found[:1]
    if not found:
        return None
    before = [task.expires_at for task in found]
    taken = tasks.take(found, worker=workers.me(), expiries=[_expiry(task, len(found)) for task in found])
    return Claim(taken, expiries=before, more=len(ready) > len(found)) if taken else None


def _may_wait(task: ActivityTask) -> bool:
    """Say whether a task may be leased before it begins: should the worker die, it may then be run once too often."""
    definition = known(task)
    if definition is None or definition.atomic or definition.heartbeat is not None:
        return False
    return definition.retry.max_attempts != 1 and task.attempt == 1 and task.last_failure is None


def _expiry(task: ActivityTask, count: int) -> datetime | None:
    definition = known(task)
    if definition is None:
        return task.expires_at  # it is put back at once, and still to be begun in its time
    expires_at = deadline(definition, created_at=task.created_at)
    return expires_at + _WAITS if expires_at is not None and count > 1 else expires_at


def store(ended: Sequence[End], *, then: Callable[[], object] = lambda: None) -> set[tuple[str, str]]:
    """Store ends in one commit; return the ``(queue, id)`` of instances that got some.

    If a lease of them is lost, its end counts no more, and each is looked at by itself.

    Args:
        ended: The ends.
        then: What else is to be done in that commit.
    """
    try:
        with transaction.atomic(using=conf.settings.DATABASE):
            told = _store_all(ended)
            then()
    except _Lost:
        told = {told for task, event in ended for told in _store_one(task, event)}
        with transaction.atomic(using=conf.settings.DATABASE):
            then()
    return told


class _Lost(Exception):
    pass


def _store_all(ended: Sequence[End]) -> set[tuple[str, str]]:
    if not tasks.finish_all([task for task, _ in ended]):
        raise _Lost
    rows = [lost.row(task, task.execution.instance, event) for task, event in ended]
    inbox.insert([row for row in rows if row is not None])
    return {(task.execution.instance.queue, task.execution.instance.pk) for task, _ in ended}


def _store_one(task: ActivityTask, event: ev.Answer) -> Collection[tuple[str, str]]:
    with transaction.atomic(using=conf.settings.DATABASE):
        return complete(task, event)


def complete(task: ActivityTask, event: ev.Answer) -> Collection[tuple[str, str]]:
    """Store an end, in the transaction at hand; return nothing if the lease is lost."""
    if not tasks.finish(task):
        telemetry.logger.info("%s: a late %s is dropped", task.execution.instance.pk, event)
        return ()
    instance = task.execution.instance
    lost.record(task, instance, event)
    return ((instance.queue, instance.pk),)
