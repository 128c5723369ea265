"""What makes a Celery worker a durable one: it looks for due work, and it gives its leases back."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from celery import bootsteps, signals
from celery.utils.log import get_logger
from django.db import connections

from durable import dispatch
from durable.conf import settings
from durable.engine import presence, running, stalling, sweep
from durable.operations import recover
from durable.store import clock, workers

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = get_logger("durable.worker")


_GREENLETS = ("gevent", "eventlet")
_UNFIT = (
    "durable does not run on gevent or eventlet, whose greenlets share a thread, and with it an event loop: this "
    "worker looks for nothing and refuses durable's tasks; give their queues to one with --pool=threads or prefork"
)


class Sweeper(bootsteps.StartStopStep):
    """Wakes what is due, from a thread of the worker's main process."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **_: Any) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._nudge: Nudge | None = None

    def start(self, worker: Any) -> None:
        """Begin to look."""
        pool = type(worker.pool).__module__
        if pool.endswith(_GREENLETS):
            running.refuse(_UNFIT)
            logger.error(_UNFIT)
            return
        running.go_on()
        if "prefork" not in pool:
            presence.start()  # this process runs the tasks; a prefork pool has its children do it
        if "thread" in pool:
            # With it, Celery takes a message only when a task ends; but a thread that ends one
            # does not wake Celery's loop, which then sleeps for a second between messages.
            worker.app.conf.worker_disable_prefetch = False
        self._thread = threading.Thread(target=self._run, name="durable-sweeper", daemon=True)
        self._thread.start()

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Let tasks that run in this process wake Celery's event loop; called at each connection to the broker."""
        if "prefork" in type(worker.pool).__module__ or worker.consumer.connection.transport.driver_type != "amqp":
            return
        self._nudge = self._nudge or Nudge()
        self._nudge.watch(hub)

    def stop(self, worker: Any) -> None:
        """Stop looking."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        if self._nudge is not None:
            self._nudge.close()

    def _run(self) -> None:
        try:
            with _unforked():
                workers.forget_dead()
                workers.sweep(dispatch.served_queues())
                stalling.retry_all()
        except Exception:
            logger.exception("could not look at stalled instances")
        try:
            with _unforked():
                recover.at_start()
        except Exception:
            logger.exception("could not look for instances that were left behind")
        pace = Pace()
        while not self._stop.is_set():
            try:
                with _unforked():
                    pause = pace.tick()
            except Exception:
                # The database is away, or migrating: look again in a while.
                logger.exception("could not look for due work")
                connections.close_all()
                pause = settings.POLL
            self._stop.wait(pause)
        self._leave()
        connections.close_all()

    def _leave(self) -> None:
        if presence.current() is not None:
            return  # what runs here still holds leases: they go when it ends
        try:
            with _unforked():
                workers.leave()
        except Exception:
            logger.warning("could not say that this process stops looking for due work", exc_info=True)


class Nudge:
    """Has Celery's event loop go round once more after each task that ran in this process.

    Over AMQP the loop takes some messages among its callbacks. It then sleeps, for up to ten seconds,
    before it runs the callbacks that were added meanwhile: among them the acknowledgement of the
    message, without which the broker sends no other.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        signals.task_postrun.connect(self._nudge)

    def watch(self, hub: Any) -> None:
        """Wake this loop, until it is reset."""
        hub.add_reader(self._reader, self._drain)

    def close(self) -> None:
        """Wake nobody any more."""
        signals.task_postrun.disconnect(self._nudge)
        self._writer.close()
        self._reader.close()

    def _nudge(self, **_: Any) -> None:
        with suppress(OSError):  # full, and the loop wakes for what is there; or closed, and nobody is to be woken
            self._writer.send(b"\0")

    def _drain(self) -> None:
        with suppress(OSError):
            self._reader.recv(4096)


_forking = threading.RLock()
os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_forking.release)


@contextmanager
def _unforked() -> Iterator[None]:
    """Keep a pool from forking a child as long as this thread has SQLite open.

    The child would inherit SQLite's own account of the locks that this process
    has on the file, and wait for ever for a lock that nobody holds.
    """
    if connections[settings.DATABASE].vendor != "sqlite":
        yield
        return
    with _forking:
        try:
            yield
        finally:
            connections.close_all()


_SHARED_BY = 2
"""Among how many workers that look the looks are shared; each more of them adds its own."""

_CROWD = 8
_CROWD_SECONDS = 0.05
"""How long to wait for more when so many were due at once: their turns are taken together."""


class Pace:
    """When to look for what: one statement a tick, a tick each ``POLL`` seconds when idle.

    Two workers take half of the ticks each. What comes due before the next
    look is kept in mind, so that a timer fires when it is due and not when
    somebody happens to look.
    """

    def __init__(self) -> None:
        self._ticks = 0
        self._others = 0
        self._share = 1
        self._due: list[sweep.Due] = []
        self._look_at = 0.0

    def tick(self) -> float:
        """Look for something, announce what is due, and return the seconds until the next tick."""
        if time.monotonic() >= self._look_at:
            self._look()
        now = clock.now()
        ready = [due for due in self._due if due.at <= now]
        if ready:
            self._due = [due for due in self._due if due.at > now]
            sweep.announce(ready)
        until_due = (self._due[0].at - now).total_seconds() if self._due else self._pause
        least = _CROWD_SECONDS if len(ready) >= _CROWD else 0.01
        return max(least, min(until_due, self._look_at - time.monotonic(), self._pause))

    @property
    def _pause(self) -> float:
        return settings.POLL * self._share

    def _look(self) -> None:
        ticks, self._ticks = self._ticks, self._ticks + 1
        self._look_at = time.monotonic() + self._pause
        # One in so many of the looks for what else there is says that this process is there.
        if ticks % (workers.SWEEP_EACH // self._share) == 2:
            workers.sweep(dispatch.served_queues())
        elif ticks % 3 == 2:
            self._others += 1
            sweep.LOOKS[(self._others - 1) % len(sweep.LOOKS)]()
        else:
            self._look_for_due()

    def _look_for_due(self) -> None:
        # Far enough ahead to cover the tick that looks for something else, at the slowest.
        seen = sweep.look_around(2 * _SHARED_BY * settings.POLL)
        self._due = seen.due
        self._share = 1 if dispatch.is_private() else min(max(seen.sweepers, 1), _SHARED_BY)
        self._look_at = time.monotonic() + self._pause
        if seen.more:
            until = (seen.due[-1].at - clock.now()).total_seconds()
            self._look_at = min(self._look_at, time.monotonic() + max(0.0, until))


@signals.celeryd_init.connect
def _add_sweeper(instance: Any = None, **_: Any) -> None:
    """Every worker of a project that has the app looks for due work; nothing is to be set up."""
    instance.app.steps["worker"].add(Sweeper)


@signals.worker_process_init.connect
def _begin_child(**_: Any) -> None:
    """A prefork child: it has none of its parent's threads and connections."""
    clock.forget()
    presence.start()


@signals.worker_shutting_down.connect
def _shutting_down(**_: Any) -> None:
    running.stop_soon()


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def _end(**_: Any) -> None:
    presence.stop()
