"""Run the real engine on the test's database, in the test's own thread."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from durable import dispatch
from durable.client import Handle, get
from durable.engine import cache, running
from durable.store import clock
from durable.testing import draining, waiting
from durable.testing.clocks import Clock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

_ROUNDS = 500
# SQLite's clock counts in milliseconds, so between two looks it may seem to go back by one.
_SLACK = timedelta(milliseconds=2)


class Stuck(AssertionError):
    """Nothing is due for a worker of a test, and what the test waits for has not happened; the text says why."""


def run_worker(*, until: Handle | str | None = None, queues: Sequence[str] | None = None) -> Worker:
    """Do whatever is due on the test's database, as workers would, and return the worker for more.

    It works inside a test's transaction as well as outside: what is due is
    found by looking at the rows. As a context manager, it can also let time
    pass (``advance``), and leaves nothing in memory at its end.

    Args:
        until: Stop as soon as this instance has ended; it must end.
        queues: Serve these queues only; None is all.

    Raises:
        Stuck: Nothing is due and ``until`` has not ended, or there is no end of what is due.
        UnknownInstance: There is no instance of this id.
    """
    worker = Worker(queues=queues)
    worker.run(until=until)
    return worker


class Worker:
    """All workers of a project, in the test's thread; see ``run_worker``."""

    def __init__(self, *, queues: Sequence[str] | None = None) -> None:
        """Serve ``queues``; None is all."""
        self._queues = None if queues is None else tuple(queues)
        self._clock = Clock()

    def __enter__(self) -> Self:
        self._clock.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._clock.__exit__()
        running.close_connections()
        cache.clear()

    def run(self, *, until: Handle | str | None = None) -> None:
        """Take turns and run activities until nothing is due.

        Args:
            until: Stop as soon as this instance has ended; it must end.

        Raises:
            Stuck: Nothing is due and ``until`` has not ended, or there is no end of what is due.
            UnknownInstance: There is no instance of this id.
        """
        handle = get(until) if isinstance(until, str) else until
        with ExitStack() as stack:
            if self._queues is not None:
                stack.enter_context(dispatch.serving(self._queues))
            self._drain(handle)

    def result(self, handle: Handle | str) -> Any:
        """Run until nothing is due, and return an instance's result, which must be there.

        Raises:
            Stuck: It has not ended, or there is no end of what is due.
            WorkflowFailed, WorkflowCanceled, WorkflowTerminated: It ended so.
            UnknownInstance: There is no instance of this id.
        """
        handle = get(handle) if isinstance(handle, str) else handle
        self.run()
        self._must_have_ended(handle)
        return handle.result(timeout=0)

    def advance(self, by: timedelta | float) -> None:
        """Let time pass by the database's clock, and do on the way whatever is due, at its time.

        Args:
            by: How much time; seconds or a timedelta.

        Raises:
            Stuck: There is no end of what is due.
            RuntimeError: This is not the worker's ``with`` block, which puts the clock back.
        """
        if not self._clock.is_driven:
            raise RuntimeError(
                "advance() works inside `with testing.run_worker() as worker:`, which sets the clock back"
            )
        self.run()  # what is due now begins before the time that passes
        until = clock.now() + (by if isinstance(by, timedelta) else timedelta(seconds=by))
        while (due := draining.next_due(self._queues)) is not None and due <= until:
            self._clock.forward(due - clock.now() + _SLACK)
            self.run()
        self._clock.forward(max(until - clock.now() + _SLACK, timedelta()))
        self.run()

    def restart(self) -> None:
        """Forget the live executions, as a process does that dies: the next turns replay their histories."""
        cache.clear()

    def _drain(self, handle: Handle | None) -> None:
        before: Any = None
        draining.sweep()
        for _ in range(_ROUNDS):
            if handle is not None and handle.instance.closed_at is not None:
                return
            before = before or draining.snapshot()
            if not draining.advance_due(self._queues) + draining.perform_due(self._queues):
                break
            if (after := draining.snapshot()) == before:
                break  # what is due by now can only wait: for the start of its instance, say
            before = after
            draining.sweep_again()
        else:
            due = [*draining.due_instances(self._queues), *draining.due_queues(self._queues)]
            raise Stuck(f"there is no end of what is due, after {_ROUNDS} rounds: {', '.join(due)}")
        if handle is not None:
            self._must_have_ended(handle)

    def _must_have_ended(self, handle: Handle) -> None:
        instance = handle.instance
        if instance.closed_at is None:
            raise Stuck(f"nothing is due any more, and {waiting.describe(instance, self._queues)}")
