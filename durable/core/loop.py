"""A deterministic asyncio event loop: no selector, no threads, no clock of its own.

It runs what is ready, first in first out, until nothing is, and then stands
still until the next event of the history. Whatever the standard library builds
on a loop works on it: ``gather``, ``TaskGroup``, ``timeout``, ``Queue`` and the
rest. What would reach outside raises ``ForbiddenInWorkflow``, and the loop
remembers that it did, so that ``except Exception`` cannot hide it.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from typing import TYPE_CHECKING, Any

from durable.core import refusals, stdlib
from durable.core.errors import InvalidInput
from durable.core.exits import unwind
from durable.core.futures import Future, Ready, Task, Timer, new_task
from durable.core.here import here

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from durable.core.errors import DurableError, ForbiddenInWorkflow

_Future: type[asyncio.Future[Any]] = asyncio.Future


class DeterministicLoop(asyncio.AbstractEventLoop):
    """Runs one execution's tasks in an order that depends on nothing but the history.

    Attributes:
        now: Seconds since 1970; set by whoever applies events.
        violation: The first forbidden call, or an error that interrupts the
            step from outside; ends the step.
        entered: Whether it is the one that runs in its thread.
        looking: Who looks, e.g. ``query 'total'``, while a query or a validator runs: nothing may change.
        refused: The first thing that a query tried and may not.
        stopped: Set when the main task is done: nothing runs after it.
        package: The top-level package that the workflow is in.
    """

    package = ""

    def __init__(
        self,
        *,
        owner: Any,
        start_timer: Callable[[Timer, float], int],
        cancel_timer: Callable[[int], None],
    ) -> None:
        self.owner = owner
        self.now = 0.0
        self.stopped = False
        self.closing = self.entered = False
        self._outer: tuple[asyncio.AbstractEventLoop | None, DeterministicLoop | None] = (None, None)
        self.looking = ""
        self.refused: DurableError | None = None
        self.violation: BaseException | None = None
        self._start_timer, self._cancel_timer = start_timer, cancel_timer
        self._ready: deque[Any] = deque()  # of handles; what they hold is private
        self._tasks: set[Task] = set()
        self._created = 0

    # --- what the standard library calls

    # Each future asks: a class written in C has no frame to enter, and there is no ``__get__`` to bind it.
    get_debug: Callable[[], bool] = bool

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self.closing

    def get_task_factory(self) -> None:
        return None

    def time(self) -> float:
        return self.now

    def call_soon(  # type: ignore[override]  # plain Any instead of TypeVarTuple
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Any:
        if self.looking:
            self.only_look("asyncio")
        if context is None:  # not "or": a fresh context is empty, and so it is false
            context = contextvars.copy_context()
        handle = Ready(callback, args, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]  # plain Any instead of TypeVarTuple
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        self.only_look("a timer")
        if not 0 <= delay < float("inf"):
            raise InvalidInput("timer", f"a timer cannot be {delay:g} s long")
        # Microseconds, as the database keeps them: sums of floats stray in the ninth place.
        fire_at = round(self.now + delay, 6)
        timer = Timer(fire_at, callback, args, self, context)
        timer.event_id = self._start_timer(timer, fire_at)
        return timer

    def call_at(  # type: ignore[override]  # plain Any instead of TypeVarTuple
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_later(max(0.0, when - self.now), callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: Timer) -> None:
        self.only_look("cancelling a timer")
        if not self.closing:
            self._cancel_timer(handle.event_id)

    def create_future(self) -> Future:
        if self.looking:
            self.only_look("asyncio")  # its number would shift those of all that come later
        future = Future(loop=self)
        self._created += 1
        future.sequence = self._created
        return future

    def create_wait(self) -> asyncio.Future[Any]:
        """Return a future that one task awaits and nobody else sees: of asyncio's own class, which is quicker."""
        self._created += 1
        return _Future(loop=self)

    def create_task(  # type: ignore[override]  # newer interpreters pass more, such as eager_start
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **_: Any,
    ) -> Task:
        if self.closing:
            coro.close()
            raise RuntimeError("the execution is being put away")
        if self.looking:
            coro.close()
            self.only_look("create_task")
        # Kept, because a task's coroutine must be closed in its own context.
        if context is None:
            context = contextvars.copy_context()
        self._created += 1
        task = new_task(self._created, coro, loop=self, name=name or f"task-{self._created}", context=context)
        task.context = context
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Do nothing: asyncio reports here what nobody awaited, at the whim of the collector."""

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Do nothing, as above."""

    def get_exception_handler(self) -> None:
        return None

    async def shutdown_asyncgens(self) -> None:
        """Do nothing: asynchronous generators are not tracked."""

    # --- what an execution calls

    def drain(self) -> None:
        """Run until nothing is ready.

        Raises:
            BaseException: What was forbidden, or what interrupted the step.
        """
        ready = self._ready
        was_inside = self.entered
        if not was_inside:
            self.enter()
        try:
            while ready and not self.stopped:
                handle = ready.popleft()
                if not handle._cancelled:
                    try:  # what ``Handle._run`` does, without its frame
                        handle._context.run(handle._callback, *handle._args)
                    except (SystemExit, KeyboardInterrupt):
                        raise
                    except BaseException:  # noqa: BLE001, S110 - asyncio tells the exception handler, which does nothing
                        pass
                if self.violation is not None:
                    raise self.violation
        finally:
            if not was_inside:
                self.leave()

    def enter(self) -> None:
        """Make this the loop that runs in this thread.

        asyncio asks the system for the process's number each time, which can take as long as all else
        that a step does: whoever takes many steps enters once.
        """
        self._outer = asyncio._get_running_loop(), here.loop
        self.entered = True
        here.loop = self
        asyncio._set_running_loop(self)

    def leave(self) -> None:
        """Let that loop run again in this thread that did before; whoever is interrupted here can do it again."""
        outer, here.loop = self._outer
        asyncio._set_running_loop(outer)
        self.entered = False

    @property
    def created(self) -> int:
        """How many futures and tasks there have been: the number of the last one."""
        return self._created

    def tasks(self) -> list[Task]:
        """Return the tasks that have not ended, in order of creation."""
        return sorted(self._tasks, key=hash)

    def fire(self, timer: Timer) -> None:
        """Let a timer's callback run in this step."""
        self._ready.append(timer)

    def only_look(self, call: str) -> None:
        """Refuse what would change something while a query runs.

        Raises:
            ReadOnly: One does.
        """
        if self.looking:
            error = refusals.read_only(self, call)
            self.refused = self.refused or error
            raise error

    def forbid(self, call: str, *, instead: str = "Do it in an activity") -> ForbiddenInWorkflow:
        """Remember that the code tried ``call``, and return the error to raise."""
        error = refusals.forbidden(self, call, instead)
        if self.looking:
            self.refused = self.refused or error  # the query's failure, not the workflow's
        elif (code := refusals.liable.get()) is not None and not code.over:
            code.refused = code.refused or error
        elif not self.closing:
            self.violation = self.violation or error
        return error

    def close(self) -> None:
        """Unwind every coroutine on this thread, each in its own context.

        Left to the garbage collector, ``finally`` blocks would run on whatever
        thread it happens to collect on, inside another workflow's loop.
        """
        self.closing = True
        self.enter()
        try:
            for task in sorted(self._tasks, key=hash, reverse=True):
                unwind(task)
        finally:
            self.leave()
            self._ready.clear()
            self._tasks.clear()


for _name in refusals.OF_THE_LOOP:
    setattr(DeterministicLoop, _name, refusals.refusing(_name))
stdlib.mend(lambda: here.loop)
