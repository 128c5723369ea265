"""A deterministic asyncio event loop: no selector, no threads, no clock of its own.

It runs what is ready, first in first out, until nothing is, and then stands
still until the next event of the history. Whatever the standard library builds
on a loop works on it: ``gather``, ``TaskGroup``, ``timeout``, ``Queue`` and the
rest. What would reach outside raises ``ForbiddenInWorkflow``, and the loop
remembers that it did, so that ``except Exception`` cannot hide it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from durable.core import frames, stdlib
from durable.core.errors import DurableError, ForbiddenInWorkflow, InvalidInput, ReadOnly

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from types import FrameType

_REFUSALS = 20
_FORBIDDEN = (
    "run_in_executor",
    "call_soon_threadsafe",
    "getaddrinfo",
    "getnameinfo",
    "create_connection",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "create_datagram_endpoint",
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "start_tls",
    "sendfile",
    "subprocess_exec",
    "subprocess_shell",
    "add_reader",
    "remove_reader",
    "add_writer",
    "remove_writer",
    "add_signal_handler",
    "remove_signal_handler",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendfile",
    "sock_sendto",
    "run_forever",
    "run_until_complete",
    "shutdown_default_executor",
    "set_default_executor",
)


class Liable:
    """Code that answers for its own forbidden calls, with all tasks that it begins: they do not end the execution.

    Attributes:
        over: Set when it is done; what it left running is the execution's again.
        refused: The first thing that it tried and may not.
    """

    __slots__ = ("over", "refused")

    def __init__(self) -> None:
        self.over = False
        self.refused: DurableError | None = None


liable: contextvars.ContextVar[Liable | None] = contextvars.ContextVar("liable", default=None)


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


def waited_for(task: Task) -> Any:
    """Return the future that a task waits for; None if it waits for none."""
    return getattr(task, "_fut_waiter", None)


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


class _Here(threading.local):
    """What runs in this thread.

    Attributes:
        loop: The execution's loop that does, if any. asyncio knows too, but to ask it is a call of the system.
    """

    loop: DeterministicLoop | None = None


here = _Here()
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
        task = _create(Task, self._created, coro, loop=self, name=name or f"task-{self._created}", context=context)
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
            error = ReadOnly(call, looker=self.looking, **_shown(self._code()))
            self.refused = self.refused or error
            raise error

    def forbid(self, call: str, *, instead: str = "Do it in an activity") -> ForbiddenInWorkflow:
        """Remember that the code tried ``call``, and return the error to raise."""
        error = self._refusal(call, instead)
        if self.looking:
            self.refused = self.refused or error  # the query's failure, not the workflow's
        elif (code := liable.get()) is not None and not code.over:
            code.refused = code.refused or error
        elif not self.closing:
            self.violation = self.violation or error
        return error

    def _refusal(self, call: str, instead: str) -> ForbiddenInWorkflow:
        frame = self._code()
        if frame is None:  # library code that was handed to the loop as it is, such as ``gather(fetch(), ...)``
            return ForbiddenInWorkflow(call, instead=instead, location=self.owner.waiting_at() if self.owner else "")
        return ForbiddenInWorkflow(call, instead=instead, **_shown(frame))

    def _code(self) -> FrameType | None:
        return frames.of_workflow(sys._getframe(), self.package)

    def close(self) -> None:
        """Unwind every coroutine on this thread, each in its own context.

        Left to the garbage collector, ``finally`` blocks would run on whatever
        thread it happens to collect on, inside another workflow's loop.
        """
        self.closing = True
        self.enter()
        try:
            for task in sorted(self._tasks, key=hash, reverse=True):
                _close(task)
        finally:
            self.leave()
            self._ready.clear()
            self._tasks.clear()


def only_look(call: str) -> None:
    """Refuse what would change something, if a query runs in this thread.

    Raises:
        ReadOnly: One does.
    """
    if here.loop is not None:
        here.loop.only_look(call)


@contextlib.contextmanager
def outside() -> Iterator[None]:
    """Run the block as if no loop ran in this thread."""
    outer = asyncio._get_running_loop(), here.loop
    asyncio._set_running_loop(None)
    here.loop = None
    try:
        yield
    finally:
        asyncio._set_running_loop(outer[0])
        here.loop = outer[1]


def _shown(frame: FrameType | None) -> dict[str, str]:
    """Return where a frame is, and what stands there."""
    if frame is None:
        return {}
    return {"location": f"{frame.f_code.co_filename}:{frame.f_lineno}", "written": frames.as_written(frame)}


def _create(cls: type[Task], sequence: int, *args: Any, **kwargs: Any) -> Task:
    # asyncio puts a new task into a weak set at once, so its hash must be known before __init__.
    task = cls.__new__(cls)
    task.sequence = sequence
    task.__init__(*args, **kwargs)  # type: ignore[misc]
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    return task


def _close(task: Task) -> None:
    """Unwind a task's coroutine and all that it waits for, from the innermost to the outermost."""
    coroutine: Any = task.get_coro()
    refused = 0
    while getattr(coroutine, "cr_frame", None) is not None and refused < _REFUSALS:
        # Its own clean-up may fail, or refuse to end; nobody is left to tell.
        with contextlib.suppress(Exception, asyncio.CancelledError, DurableExit):
            # Not ``close``: that does not reach into an async generator, and gives up on a ``finally`` that waits.
            task.context.run(coroutine.throw, DurableExit())
        refused += coroutine.cr_frame is not None


class DurableExit(BaseException):
    """Unwinds workflow code; not an Exception, so that user code does not take it for one."""


class BeyondRecord(DurableExit):
    """Ends a look ahead where the code would reach outside: so far it did what is recorded."""


def _forbidden(name: str) -> Callable[..., Any]:
    def refuse(self: DeterministicLoop, *_: Any, **__: Any) -> Any:
        raise self.forbid(f"loop.{name}")

    refuse.__name__ = name
    return refuse


for _name in _FORBIDDEN:
    setattr(DeterministicLoop, _name, _forbidden(_name))
stdlib.mend(lambda: here.loop)
