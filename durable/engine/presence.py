"""This process as a worker: its signs of life, and the wake-ups it promised.

Work is leased for a short time. While this process lives, a thread of it says
so in the Worker row, and its leases hold for as long as it says so.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import connections

from durable import dispatch
from durable.conf import settings
from durable.store import clock, workers

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

logger = logging.getLogger("durable.worker")

_TIDY_AT = 1000
_BREATH_SECONDS = 0.1
"""How long to rest after a failure, so that a database that is away is not asked all the time."""


class Call:
    """A call to come, which can still be called off."""

    __slots__ = ("_callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Call it off."""
        self._callback = None

    @property
    def cancelled(self) -> bool:
        """Whether it was called off."""
        return self._callback is None

    def __call__(self) -> None:
        if self._callback is not None:
            self._callback()


class Presence:
    """The thread that keeps this process's Worker row fresh.

    It beats only while there is something to keep alive, so that an idle
    process costs nothing.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._queues = dispatch.served_queues()
        self._held = 0
        self._beat_at = float("-inf")
        self._calls: list[tuple[float, int, Call]] = []
        self._tidy_at = _TIDY_AT
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def hold(self) -> None:
        """Note that a lease was taken; the row is fresh when this returns, if the database answers."""
        with self._changed:
            self._held += 1
        if time.monotonic() - self._beat_at > settings.LEASE / 3:
            try:
                self.beat()
            except Exception:
                # What is leased is leased: the thread tries again, and whoever works meets the fault.
                logger.warning("could not show a sign of life", exc_info=True)
                connections[settings.DATABASE].close_if_unusable_or_obsolete()
        with self._changed:
            self._ensure_thread()
            self._changed.notify()

    def free(self) -> None:
        """Note that a lease was given back."""
        with self._changed:
            self._held -= 1

    def beat(self) -> None:
        """Record a sign of life now."""
        workers.beat(self._queues)
        self._beat_at = time.monotonic()

    def call_at(self, when: datetime, callback: Callable[[], object]) -> Call:
        """Call ``callback`` at a time by the database's clock, on this presence's thread."""
        call = Call(callback)
        with self._changed:
            at = time.monotonic() + (when - clock.now()).total_seconds()
            heapq.heappush(self._calls, (at, next(self._numbers), call))
            if len(self._calls) > self._tidy_at:
                self._tidy()
            self._ensure_thread()
            if self._calls[0][2] is call:
                self._changed.notify()
        return call

    def _tidy(self) -> None:
        """Forget calls that were called off: most limits are never reached, and some are hours away."""
        self._calls = [entry for entry in self._calls if not entry[2].cancelled]
        heapq.heapify(self._calls)
        self._tidy_at = max(_TIDY_AT, 2 * len(self._calls))

    def stop(self) -> None:
        """End the thread and forget this process."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout=5)
        workers.leave()

    def _ensure_thread(self) -> None:
        if self._thread is None and not self._stopping:
            self._thread = threading.Thread(target=self._run, name="durable-presence", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._tick()
        finally:
            connections.close_all()

    def _tick(self) -> None:
        with self._changed:
            self._changed.wait(self._pause())
            now = time.monotonic()
            due: list[Callable[[], object]] = []
            while self._calls and self._calls[0][0] <= now:
                due.append(heapq.heappop(self._calls)[2])
        if self._held and now - self._beat_at > settings.LEASE / 3:
            due.insert(0, self.beat)
        for call in due:
            try:
                call()
            except Exception:
                # The database may be away for a moment; a lease outlasts two missed beats.
                logger.exception("could not do what was due")
                connections.close_all()
                time.sleep(_BREATH_SECONDS)

    def _pause(self) -> float | None:
        now = time.monotonic()
        until_call = self._calls[0][0] - now if self._calls else float("inf")
        until_beat = self._beat_at + settings.LEASE / 3 - now if self._held else float("inf")
        pause = min(until_call, until_beat)
        return None if pause == float("inf") else max(pause, 0.01)


_presence: dict[int, Presence] = {}


def start() -> Presence:
    """Make this process a worker; a forked child becomes one of its own."""
    pid = os.getpid()
    if pid not in _presence:
        _presence.clear()
        _presence[pid] = Presence()
    return _presence[pid]


def current() -> Presence | None:
    """Return this process's presence, or None if it is no worker."""
    return _presence.get(os.getpid())


def stop() -> None:
    """Undo ``start``."""
    presence = _presence.pop(os.getpid(), None)
    if presence is not None:
        presence.stop()


def soon(when: datetime) -> bool:
    """Say whether a time comes before the next look for due work can be counted on."""
    return when - clock.now() < timedelta(seconds=5 * settings.POLL)
