"""Instances that a worker gives their turns by itself, next, without a message: those that it has just made or told."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING

from durable import dispatch
from durable.engine import presence, running
from durable.store import clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_STAYS_SECONDS = 1.0
"""How long a worker goes on by itself before other messages get their turn."""

_AT_MOST = 25
"""How many wait here at most; to take their turns takes about as long as others take to learn of them."""

_WAITS = timedelta(seconds=0.05)
"""How long they wait for an activity in place."""


class Line:
    """Instances in the order in which a thread gives them their turns.

    Args:
        queue: The queue that a message has just come from, if that is known.
    """

    def __init__(self, queue: str | None = None) -> None:
        self._queue = queue
        self._leave_at = time.monotonic() + _STAYS_SECONDS
        self._lock = threading.Lock()
        self._alone: dict[str, str] = {}
        self._waiting: dict[str, str] = {}
        self._last: dict[str, str] = {}

    def add(self, instances: Mapping[str, str], *, alone: bool = False, last: bool = False) -> None:
        """Let instances wait, each by its id, with its queue.

        Args:
            instances: Which.
            alone: Whether each of them is to get a turn by itself.
            last: The same, but after all others: it may take long.
        """
        with self._lock:
            (self._last if last else self._alone if alone else self._waiting).update(instances)

    def follow(self, pairs: Iterable[tuple[str, str]], *, at_most: int | None = None) -> None:
        """Let instances wait, given as ``(queue, id)``; announce those that are another worker's, or too many.

        Args:
            pairs: Which.
            at_most: How many may wait then.
        """
        served = {self._queue, *dispatch.served_queues()}
        others = []
        with self._lock:
            for queue, instance_id in pairs:
                if any(instance_id in waiting for waiting in self._all):
                    continue
                if queue in served and (at_most is None or len(self._waiting) < at_most):
                    self._waiting[instance_id] = queue
                else:
                    others.append((queue, instance_id))
        dispatch.advance(others, at_least=_AT_MOST)

    def take(self, count: int) -> dict[str, str]:
        """Return who comes next: one that is to get a turn by itself, or up to ``count`` others."""
        with self._lock:
            chosen = next((waiting for waiting in self._all if waiting), self._waiting)
            count = count if chosen is self._waiting else 1
            return {instance_id: chosen.pop(instance_id) for instance_id in list(chosen)[:count]}

    @property
    def length(self) -> int:
        """How many wait that may be taken together."""
        return len(self._waiting)

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits."""
        return not any(self._all)

    @property
    def is_late(self) -> bool:
        """Whether other messages have waited for long enough."""
        return time.monotonic() > self._leave_at

    def leave(self) -> None:
        """Announce whoever waits, for others to go on with them."""
        with self._lock:
            left = {instance_id: queue for waiting in self._all for instance_id, queue in waiting.items()}
            for waiting in self._all:
                waiting.clear()
        dispatch.advance([(queue, instance_id) for instance_id, queue in left.items()], at_least=_AT_MOST)

    @property
    def _all(self) -> tuple[dict[str, str], ...]:
        return self._alone, self._waiting, self._last


_line: ContextVar[Line | None] = ContextVar("durable_line", default=None)


@contextmanager
def line(queue: str | None = None) -> Iterator[Line]:
    """Have those who are to follow wait here; who is left at the end is announced."""
    here = Line(queue)
    token = _line.set(here)
    try:
        yield here
    finally:
        _line.reset(token)
        here.leave()


def advance(instances: Iterable[tuple[str, str]]) -> None:
    """Have instances, given as ``(queue, id)``, follow here, or announce them."""
    here = _line.get()
    if here is None or here.is_late or running.stopping():
        dispatch.advance(instances)
    else:
        here.follow(instances, at_most=_AT_MOST)


@contextmanager
def away() -> Iterator[None]:
    """Have nobody follow who is made or told in the block, which may take long: they are announced."""
    token = _line.set(None)
    try:
        yield
    finally:
        _line.reset(token)


@contextmanager
def relieved() -> Iterator[None]:
    """Announce whoever waits here, if the block takes long."""
    here, worker = _line.get(), presence.current()
    if here is None or worker is None or here.is_empty:
        yield
        return
    relief = worker.call_at(clock.now() + _WAITS, here.leave)
    try:
        yield
    finally:
        relief.cancel()
