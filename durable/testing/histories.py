"""Histories in a few words, for tests that show or report them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from durable import conf
from durable.core import events as ev
from durable.core.failures import Failure
from durable.core.replay import interpreter

if TYPE_CHECKING:
    from typing import Self

Error = BaseException | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """An activity that is still to end: which attempt is next, and how the last one failed."""

    attempt: int
    failure: Failure | None


@dataclass(slots=True)
class History:
    """The events of an execution, added one after the other; each method returns the history itself.

    Attributes:
        events: The events so far, the start included.
        waiting: The activities that are still to end, by event id.
        children: The histories of child workflows, by event id.
    """

    events: list[ev.Event]
    waiting: dict[int, Attempted] = field(default_factory=dict)
    children: dict[int, History] = field(default_factory=dict)
    _next_id: int = 0

    @property
    def start(self) -> ev.ExecutionStarted:
        """The event that it began with."""
        first = self.events[0]
        assert isinstance(first, ev.ExecutionStarted)  # noqa: S101 - history_of puts it there
        return first

    @property
    def end(self) -> ev.End | None:
        """The event that ended it, or None."""
        last = self.events[-1]
        return last if isinstance(last, ev.End) else None

    def add(self, *events: ev.Event) -> Self:
        """Add any events.

        Raises:
            ValueError: The history has ended.
        """
        for event in events:
            if self.end is not None:
                raise ValueError(f"nothing comes after {self.end.kind}")
            self.events.append(event)
            if isinstance(event, ev.Asked):
                self._next_id = max(self._next_id, event.event_id + 1)
        return self

    def activity(
        self,
        name: str,
        *args: Any,
        result: Any = None,
        error: Error | None = None,
        attempts: int = 1,
        waiting: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Add an activity that ended; or one that still waits for a worker.

        Args:
            name: The activity's name.
            args: Its arguments.
            result: What it returned.
            error: Why it failed; an exception or a message.
            attempts: How often it was tried; if it still waits, which attempt is next.
            waiting: Whether it still waits; ``error`` is then how the attempt before failed.
            kwargs: Its named arguments.
        """
        event_id = self._next_id
        self.add(ev.ActivityScheduled(event_id=event_id, name=name, input=_given(args, kwargs)))
        failure = _failure(error)
        if waiting:
            self.waiting[event_id] = Attempted(attempt=attempts, failure=failure)
        elif failure is not None:
            self.add(ev.ActivityFailed(event_id=event_id, failure=failure, attempts=attempts))
        else:
            self.add(ev.ActivityCompleted(event_id=event_id, result=_json(result), attempts=attempts))
        return self

    def timer(self, seconds: float, *, waiting: bool = False) -> Self:
        """Add a timer that fired; or one that is still to fire, in ``seconds`` from its start."""
        event_id = self._next_id
        self.add(ev.TimerStarted(event_id=event_id, fire_at=float(seconds)))
        return self if waiting else self.add(ev.TimerFired(event_id=event_id))

    def child(
        self,
        name: str,
        *args: Any,
        id: str = "",
        result: Any = None,
        error: Error | None = None,
        waiting: bool = False,
        history: History | None = None,
    ) -> Self:
        """Add a child workflow that ended; or one that is still open.

        Args:
            name: The workflow's name.
            args: Its arguments.
            id: Its instance's id; by default made from this history's place.
            result: What it returned.
            error: Why it failed; an exception or a message.
            waiting: Whether it is still open.
            history: Its own history; by default its start, and its end if it ended.
        """
        event_id = self._next_id
        asked = ev.ChildScheduled(event_id=event_id, name=name, instance_id=id, input=_given(args, {}))
        self.add(asked, ev.ChildStarted(event_id=event_id))
        if history is None:
            history = history_of(name, *args)
            if error is not None:
                history.failed(error)
            elif not waiting:
                history.completed(result)
        self.children[event_id] = history
        answer = _answer(event_id, history.end)
        return self if answer is None else self.add(answer)

    def signal(self, name: str, payload: Any = None) -> Self:
        """Add a signal that came in."""
        return self.add(ev.SignalReceived(name=name, payload=_json(payload)))

    def cancel_requested(self, reason: str = "") -> Self:
        """Add that somebody asked the workflow to stop."""
        return self.add(ev.CancelRequested(reason=reason))

    def completed(self, result: Any = None) -> Self:
        """End it: the workflow returned."""
        return self.add(ev.ExecutionCompleted(result=_json(result)))

    def failed(self, error: Error) -> Self:
        """End it: the workflow raised."""
        return self.add(ev.ExecutionFailed(failure=_failure(error) or Failure(type="WorkflowFailed")))

    def canceled(self) -> Self:
        """End it: the workflow let a cancel end it."""
        return self.add(ev.ExecutionCanceled())

    def terminated(self, reason: str = "") -> Self:
        """End it: an operator stopped it."""
        return self.add(ev.ExecutionTerminated(reason=reason))

    def continued(self, *args: Any) -> Self:
        """End it: the workflow continued as new with these arguments."""
        return self.add(ev.ExecutionContinued(input=_given(args, {})))


def history_of(workflow: str, /, *args: Any, **kwargs: Any) -> History:
    """Return the beginning of a history: a workflow was started with these arguments."""
    started = ev.ExecutionStarted(name=workflow, input=_given(args, kwargs), python=interpreter())
    return History(events=[started])


def timed(events: list[ev.Event], begun: float, step: float) -> list[ev.Event]:
    """Return events with the times at which they were recorded: timers fire in their time, the rest in steps.

    Args:
        events: The events.
        begun: When the first one was recorded, in seconds since 1970.
        step: How many seconds there are between two.
    """
    now, done = begun, list[ev.Event]()
    due: dict[int, float] = {}
    for event in events:
        at = max(now, due.get(event.event_id, now)) if isinstance(event, ev.TimerFired) else now
        dated = ev.replace(event, at=at)
        if isinstance(dated, ev.TimerStarted):
            dated = ev.replace(dated, fire_at=at + dated.fire_at)
            due[dated.event_id] = dated.fire_at
        done.append(dated)
        now = at + step
    return done


def _answer(event_id: int, end: ev.End | None) -> ev.Answer | None:
    match end:
        case ev.ExecutionCompleted(result=result):
            return ev.ChildCompleted(event_id=event_id, result=result)
        case ev.ExecutionFailed(failure=failure):
            return ev.ChildFailed(event_id=event_id, failure=failure)
        case ev.ExecutionTerminated(reason=reason):
            return ev.ChildFailed(event_id=event_id, failure=Failure(type="WorkflowTerminated", message=reason))
        case ev.ExecutionCanceled():
            return ev.ChildCanceled(event_id=event_id)
    return None


def _given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {"args": [_json(value) for value in args], "kwargs": {name: _json(value) for name, value in kwargs.items()}}


def _json(value: Any) -> Any:
    return conf.converter().encode(value, "history_of(...)")


def _failure(error: Error | None) -> Failure | None:
    if isinstance(error, str):
        return Failure(type="Exception", message=error, kinds=("Exception", "BaseException"))
    return None if error is None else Failure.of(error)
