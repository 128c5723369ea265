"""Explain an execution: where its code stood after an event, with its variables, and what it waited for."""

from __future__ import annotations

from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable.core import events as ev
from durable.core import places, shown, waits
from durable.core.errors import DurableError, InvalidInput, NondeterminismError, PatchReused
from durable.core.replay import retake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from durable.core.execution import Execution
    from durable.core.shown import Frame
    from durable.core.waits import Wait

    Watch = Callable[[Execution], AbstractContextManager[None]]

TASKS = 200
"""How many tasks are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStack:
    """A task of the workflow that had not ended.

    Attributes:
        name: ``main`` is the workflow's own.
        waits: What it waited for.
        stack: Its frames, the outermost first; without those of asyncio and of durable.
    """

    name: str
    waits: Wait
    stack: tuple[Frame, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCommand:
    """Something that the code had asked for and that was not answered.

    Attributes:
        asked_at: When it was asked for, in seconds since 1970.
        location: ``file:line`` of the code that asked; empty where the loop itself began it.
        is_awaited: Whether anybody still waited for it.
    """

    event_id: int
    kind: str
    name: str
    asked_at: float
    location: str
    is_awaited: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """What left the workflow's function.

    Attributes:
        stack: The frames that it passed, the outermost first.
    """

    type: str
    message: str
    stack: tuple[Frame, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Where an execution stood once a step of it was taken.

    Attributes:
        workflow, version: The code that was replayed.
        seq: The place of the step's last event in the history, from 1; 0 before the first.
        first: The place of its first event; 0 if there is none.
        length: How many events the history has.
        at: The step's time, in seconds since 1970.
        tasks: The tasks that had not ended.
        tasks_omitted: How many more there were.
        open: What was asked for and not answered.
        unread: How many signals of each name nobody had read.
        status, progress, tags: What the code showed to operators.
        end: The kind of the event that ended the execution, or None.
        raised: What left the workflow's function, or None.
        trouble: Why it cannot be replayed any further, or None.
    """

    instance_id: str
    execution_id: str
    workflow: str
    version: int
    seq: int
    first: int
    length: int
    at: float
    tasks: tuple[TaskStack, ...]
    tasks_omitted: int
    open: tuple[OpenCommand, ...]
    unread: dict[str, int]
    status: Any
    progress: dict[str, Any] | None
    tags: dict[str, Any]
    end: str | None
    raised: Raised | None
    trouble: DurableError | None


def explain(
    make: Callable[[], Execution],
    history: Sequence[ev.Event],
    *,
    at: int | None = None,
    trouble: DurableError | None = None,
    watch: Watch = lambda _: nullcontext(),
) -> Explanation:
    """Replay a history up to the end of the step that an event belongs to, and say where the code stands.

    Where the code does not do what the history records, the steps before that
    are explained.

    Args:
        make: Returns an execution that has seen nothing.
        history: All events.
        at: The event's place, from 1; None is the last one's.
        trouble: Why there are no more events than these.
        watch: What surrounds whatever runs the user's code.

    Raises:
        InvalidInput: The history has no such event.
    """
    if at is not None and not 1 <= at <= len(history):
        raise InvalidInput("at", f"{at} is no event: the history has the events 1 to {len(history)}")
    with _replaying(make, history, watch) as replayed:
        try:
            replayed.go_to(len(history) if at is None else at)
        except (NondeterminismError, PatchReused) as error:
            trouble = error
        else:
            return _explained(replayed, trouble if at is None else None)
    # Anew: the step that does not fit has moved the code on.
    with _replaying(make, history, watch) as again:
        again.go_to(replayed.fits)
        return _explained(again, trouble)


class _Replayed:
    """An execution on its way through a history.

    Attributes:
        fits: Up to which event the code did what the history records.
        first: The first event of the last step that did.
        moments: How many futures and tasks there had been after each step, and its time.
        asked: When and where each thing was asked for, by event id.
    """

    def __init__(self, execution: Execution, history: Sequence[ev.Event]) -> None:
        self.execution, self.history = execution, history
        self.fits = self.first = 0
        self.moments: list[tuple[int, float]] = []
        self.asked: dict[int, tuple[float, str]] = {}

    def go_to(self, seq: int) -> None:
        """Take steps until the one that this event belongs to."""
        execution = self.execution
        for _ in retake(execution, self.history if seq else (), whole=True):
            self.moments.append((execution.loop.created, execution.loop.now))
            self.asked.update(
                (number, (execution.loop.now, where)) for number, where in places.locations(execution).items()
            )
            self.first, self.fits = self.fits + 1, execution.head
            if self.fits >= seq:
                return


@contextmanager
def _replaying(make: Callable[[], Execution], history: Sequence[ev.Event], watch: Watch) -> Iterator[_Replayed]:
    with closing(make()) as execution, watch(execution):
        yield _Replayed(execution, history)


def _explained(replayed: _Replayed, trouble: DurableError | None) -> Explanation:
    execution = replayed.execution
    tasks = execution.loop.tasks()
    stacks = [shown.stack(execution, task.get_coro()) for task in tasks[:TASKS]]
    fires = {event.event_id: event.fire_at for event in replayed.history if isinstance(event, ev.TimerStarted)}
    asked = {event_id: at for event_id, (at, _) in replayed.asked.items()}
    waiting = waits.of(execution, replayed.moments, fires, asked)[:TASKS]
    return Explanation(
        instance_id=execution.instance_id,
        execution_id=execution.execution_id,
        workflow=execution.workflow.name,
        version=execution.workflow.version,
        seq=replayed.fits,
        first=replayed.first,
        length=len(replayed.history),
        at=execution.loop.now,
        tasks=tuple(TaskStack(name=w.task, waits=w, stack=s) for w, s in zip(waiting, stacks, strict=True)),
        tasks_omitted=max(0, len(tasks) - TASKS),
        open=_open(replayed),
        unread=execution.signals.unread(),
        status=execution.status,
        progress=execution.progress,
        tags=execution.tags,
        end=execution.outcome.kind if execution.outcome else None,
        raised=_raised(execution),
        trouble=trouble,
    )


def _open(replayed: _Replayed) -> tuple[OpenCommand, ...]:
    found = []
    for event_id, asked in sorted(replayed.execution.open.items()):
        asked_at, location = replayed.asked[event_id]
        found.append(
            OpenCommand(
                event_id=event_id,
                kind=asked.event.kind,
                name=asked.event.name,
                asked_at=asked_at,
                location=location,
                is_awaited=asked.is_awaited,
            )
        )
    return tuple(found)


def _raised(execution: Execution) -> Raised | None:
    error = execution.raised
    if error is None:
        return None
    return Raised(type=type(error).__name__, message=str(error), stack=shown.trace(execution, error))
