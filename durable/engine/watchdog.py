"""Stops workflow code that runs without ever waiting, instead of hanging the worker.

A thread looks at the steps in progress. One that takes too long gets its stack
noted and an exception thrown into its thread; the loop's latch sees to it that
the code cannot catch its way out. A call into C is interrupted when it returns.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from durable.conf import settings
from durable.core import places
from durable.core.errors import RunawayStep
from durable.core.exits import DurableExit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from durable.core.execution import Execution


class _Watch:
    """A block that is watched: until when, and how far its execution was at the last look."""

    __slots__ = ("deadline", "execution", "head", "limit")

    def __init__(self, execution: Execution, limit: float) -> None:
        self.execution, self.limit = execution, limit
        self.head, self.deadline = execution.head, time.monotonic() + limit

    def is_over(self, now: float) -> bool:
        """Say whether one step took too long; a replay takes many, each with the time of one."""
        if self.execution.head != self.head:
            self.head, self.deadline = self.execution.head, now + self.limit
        return now > self.deadline


_watched: dict[int, _Watch] = {}
_threads: dict[int, threading.Thread] = {}
_something = threading.Event()
_lock = threading.Lock()


@contextmanager
def watch(execution: Execution) -> Iterator[None]:
    """Interrupt the block if the code of ``execution`` runs for longer than the setting allows.

    Raises:
        RunawayStep: It did; the error holds the stack.
    """
    me = threading.get_ident()
    _start_thread()
    _watched[me] = _Watch(execution, settings.STEP_TIMEOUT)
    if not _something.is_set():  # asking takes no lock; it is cleared before this is looked for
        _something.set()
    try:
        yield
    except DurableExit:
        # Thrown by the watchdog between two callbacks; the latch holds the reason.
        if execution.loop.violation is None:
            raise
        raise execution.loop.violation from None
    finally:
        _watched.pop(me, None)
        with _lock:
            if isinstance(execution.loop.violation, RunawayStep):
                # What was thrown and has not arrived yet must not arrive later, somewhere else.
                _take_back(me)
        if execution.loop.entered:
            execution.loop.leave()  # it arrived while the loop was being left
    if isinstance(execution.loop.violation, RunawayStep):
        raise execution.loop.violation


def _start_thread() -> None:
    pid = os.getpid()  # a forked child has none of its parent's threads
    if pid not in _threads:
        _threads.clear()
        _threads[pid] = threading.Thread(target=_run, name="durable-watchdog", daemon=True)
        _threads[pid].start()


def _run() -> None:
    while True:
        _something.wait()
        time.sleep(0.05)
        _something.clear()
        if _watched:  # after the clearing: whoever came before it need not have been seen
            _something.set()
        now = time.monotonic()
        for thread, watched in list(_watched.items()):
            if watched.is_over(now):
                with _lock:
                    _interrupt(thread, watched)


def _interrupt(thread: int, watched: _Watch) -> None:
    frame = sys._current_frames().get(thread)
    if frame is None or _watched.get(thread) is not watched:
        return  # the thread is at another block by now
    execution, limit = watched.execution, watched.limit
    if execution.loop.violation is None:
        execution.interrupt(RunawayStep(limit, _stack(frame, execution)))
    # Again and again until the block is left: code may catch the first ones.
    _throw(thread, DurableExit)


def _stack(frame: FrameType, execution: Execution) -> str:
    """Return where a running thread is, as text; at once, since it runs on as soon as a file is read."""
    place = places.waiting_at(execution)  # found only while the code yields; else it is in the thread's frames
    calls = traceback.StackSummary.extract(traceback.walk_stack(frame), lookup_lines=False)
    calls.reverse()
    return "".join([*calls.format()[-12:], f"The workflow waits at {place}\n" if place else ""])


def _take_back(me: int) -> None:
    """Catch what may still be on its way to this thread."""
    # Not by throwing None: before Python 3.12 that leaves a flag behind which makes every profiler hang.
    with suppress(DurableExit):
        _throw(me, DurableExit)
        while True:
            pass


def _throw(thread: int, error: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
