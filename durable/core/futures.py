"""Futures, tasks and handles of the deterministic loop: they know their place in the order of creation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from durable.core.here import only_look

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable


class Future(asyncio.Future[Any]):
    """A future whose hash is its place in the order of creation.

    ``asyncio.wait`` and an aborting ``TaskGroup`` iterate sets. Addresses
    would order those differently in each process; creation order does not.
    """

    __slots__ = ("sequence",)

    sequence: int

    def __hash__(self) -> int:
        return self.sequence


class Task(asyncio.Task[Any]):
    """A task whose hash is its place in the order of creation."""

    sequence = 0
    context: contextvars.Context

    def __hash__(self) -> int:
        return self.sequence

    def cancel(self, msg: Any = None) -> bool:
        only_look("task.cancel")
        return super().cancel(msg)


class Ready(msgspec.Struct, eq=False):
    """What runs next: all of an ``asyncio.Handle`` that anybody asks for, and quicker to make."""

    _callback: Callable[..., object]
    _args: Any
    _context: contextvars.Context
    _cancelled: bool = False

    def cancel(self) -> None:
        """Have it not run."""
        self._cancelled = True

    def cancelled(self) -> bool:
        """Say whether it was called off."""
        return self._cancelled


class Timer(asyncio.TimerHandle):
    """A timer that knows its event id."""

    __slots__ = ("event_id",)

    event_id: int


def new_task(sequence: int, *args: Any, **kwargs: Any) -> Task:
    """Return a task with this place in the order of creation."""
    # asyncio puts a new task into a weak set at once, so its hash must be known before __init__.
    task = Task.__new__(Task)
    task.sequence = sequence
    task.__init__(*args, **kwargs)  # type: ignore[misc]
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    return task


def waited_for(task: Task) -> Any:
    """Return the future that a task waits for; None if it waits for none."""
    return getattr(task, "_fut_waiter", None)
