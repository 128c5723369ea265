"""Project what would come of an edited history: played on in memory, with answers from the record and from mocks."""

from __future__ import annotations

import copy
from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable.core import commands as cmd
from durable.core import events as ev
from durable.core import stepping, waits
from durable.core.agenda import Agenda
from durable.core.errors import PatchReused
from durable.core.exits import BeyondRecord
from durable.core.replay import catch_up

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durable.core.agenda import Entry
    from durable.core.edit import Edit
    from durable.core.execution import Execution
    from durable.core.waits import Wait

    Watch = Callable[[Execution], AbstractContextManager[None]]
    Mock = Callable[[ev.Asked, bool], ev.Answer | None]

AT_MOST = 10_000
"""How many events may be added to what is kept."""

_ENDS = (
    ev.ActivityCompleted,
    ev.ActivityFailed,
    ev.ChildCompleted,
    ev.ChildFailed,
    ev.ChildCanceled,
    ev.SignalDelivered,
    ev.SignalFailed,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """What would come of an edited history.

    Attributes:
        history: All events, the kept ones first.
        kept: How many those are.
        outcome: The event that would end it, or None.
        missing: What was asked for, and has neither a recorded answer nor a mock.
        waits: What the code would still wait for, if it would not end.
        stopped: Why no more is known, or an empty text.
    """

    history: tuple[ev.Event, ...]
    kept: int
    outcome: ev.End | None
    missing: tuple[ev.Asked, ...]
    waits: tuple[Wait, ...]
    stopped: str


def project(
    execution: Execution,
    edited: Edit,
    source: Sequence[ev.Event],
    *,
    at: float,
    mock: Mock,
    watch: Watch = lambda _: nullcontext(),
) -> Projection:
    """Play an edited history on, in virtual time, until it ends or lacks an answer.

    What is asked for just as in the source, by kind, name and arguments, gets
    the answer that it got there, after as long a time. Signals come again as
    long after the cut as they did then. Nothing outside is touched.

    Args:
        execution: It has seen nothing, and is ``dry``.
        edited: What the history begins with.
        source: The whole history that was edited.
        at: The time at which it would go on, in seconds since 1970.
        mock: Returns the answer to something asked for, or None; asked before
            the record with True, and after it with False.
        watch: What surrounds whatever runs the user's code.
    """
    played = _Played(execution, edited, source, at=at, mock=mock, watch=watch)
    try:
        played.begin()
        played.go_on()
    except BeyondRecord as error:
        played.stopped = f"the side effect of event {error.args[0]} is not recorded: give its value as a mock"
    except PatchReused as error:
        played.stopped = str(error)
    outcome = execution.outcome
    return Projection(
        history=tuple(played.history),
        kept=len(edited.kept),
        outcome=outcome,
        missing=tuple(played.missing),
        waits=() if outcome or played.stopped else tuple(waits.of(execution)),
        stopped=played.stopped,
    )


class _Played:
    """An execution that goes on in memory."""

    def __init__(
        self,
        execution: Execution,
        edited: Edit,
        source: Sequence[ev.Event],
        *,
        at: float,
        mock: Mock,
        watch: Watch,
    ) -> None:
        self._execution, self._edited, self._mock, self._watch = execution, edited, mock, watch
        self._agenda = Agenda(at)
        self._recorded = _Recorded(source, after=len(edited.kept))
        self._entries: dict[int, Entry] = {}
        self.history: list[ev.Event] = []
        self.missing: list[ev.Asked] = []
        self.stopped = ""
        execution.imagined = {**self._recorded.effects, **execution.imagined}

    def begin(self) -> None:
        """Replay what is kept, and see to what it leaves open."""
        edited, now = self._edited, self._agenda.now
        rearmed = edited.set_again(now)
        self.history = [
            rearmed.get(event.event_id, event) if isinstance(event, ev.TimerStarted) else event for event in edited.kept
        ]
        with self._watch(self._execution):
            rest = catch_up(self._execution, edited.kept, whole=not edited.is_cut)
        for asked in (*edited.rerun, *edited.children):
            self._ask(asked)
        for timer in edited.rearmed:
            self._await(ev.TimerFired(event_id=timer.event_id), edited.time_left(timer))
        for reply in edited.replies:
            self._plan(reply, 0.0)
        for signal in edited.signals_dropped:
            self._plan(signal, max(0.0, signal.at - edited.cut_at))
        self._do(rest)

    def go_on(self) -> None:
        """Let happen what is due, in order, until the end or until nothing is."""
        while self._execution.outcome is None and (entry := self._agenda.take()) is not None:
            if len(self.history) - len(self._edited.kept) > AT_MOST:
                self.stopped = f"it goes on for longer than {AT_MOST:,} events"
                return
            entry.act()

    def _see(self, event: ev.Event) -> None:
        """Take a step."""
        execution = self._execution
        if isinstance(event, ev.Answer) and event.event_id not in execution.open:
            return
        self._record(event)
        with self._watch(execution):
            issued = stepping.step(execution, self.history[-1])
        self._do(issued)

    def _record(self, event: ev.Event) -> None:
        self.history.append(ev.replace(copy.deepcopy(event), at=self._agenda.now))
        self._execution.head = len(self.history)

    def _do(self, issued: Sequence[cmd.Command]) -> None:
        for command in issued:
            if isinstance(command, cmd.Recordable):
                self._record(command)
        for command in issued:
            self._ask(command)

    def _ask(self, command: cmd.Command) -> None:
        """See to the answer of what the code asks for."""
        match command:
            case ev.ActivityScheduled() | ev.SignalSent():
                self._find(command)
            case ev.ChildScheduled():
                self._plan(ev.ChildStarted(event_id=command.event_id), 0.0)
                self._find(command)
            case ev.TimerStarted():
                self._await(ev.TimerFired(event_id=command.event_id), command.fire_at - self._agenda.now)
            case ev.TimerCanceled():
                self._entries[command.event_id].cancel()
            case cmd.CancelActivity():
                self._call_off(ev.ActivityCanceled(event_id=command.event_id))
            case cmd.CancelChild():
                self._call_off(ev.ChildCanceled(event_id=command.event_id))

    def _find(self, asked: ev.Asked) -> None:
        wait = 0.0
        answer = self._mock(asked, True)
        if answer is not None:
            self._recorded.drop(asked)  # lest a later call takes it for its own
        elif (known := self._recorded.take(asked)) is not None:
            answer, wait = known
        else:
            answer = self._mock(asked, False)
        if answer is None and isinstance(asked, ev.SignalSent):
            answer = ev.SignalDelivered(event_id=asked.event_id)
        if answer is None:
            self.missing.append(asked)
        else:
            self._await(answer, wait)

    def _await(self, answer: ev.Answer, wait: float) -> None:
        self._entries[answer.event_id] = self._plan(answer, wait)

    def _call_off(self, answer: ev.Answer) -> None:
        if answer.event_id in self._entries:
            self._entries[answer.event_id].cancel()
        self.missing = [asked for asked in self.missing if asked.event_id != answer.event_id]
        self._await(answer, 0.0)

    def _plan(self, event: ev.Event, wait: float) -> Entry:
        return self._agenda.add(lambda: self._see(event), str(event), wait=wait)


class _Recorded:
    """The answers that a history holds after a place, for whoever asks for the same again; each is given once.

    Attributes:
        effects: The values of side effects, by event id.
    """

    def __init__(self, source: Sequence[ev.Event], *, after: int) -> None:
        asked = {event.event_id: event for event in source if isinstance(event, ev.Asked)}
        self._answers: dict[tuple[str, ...], dict[int, tuple[ev.Answer, float]]] = defaultdict(dict)
        for event in source[after:]:
            if isinstance(event, _ENDS):
                of = asked[event.event_id]
                self._answers[_identity(of)][event.event_id] = (event, max(0.0, event.at - of.at))
        later = [e for e in source[after:] if isinstance(e, ev.SideEffectRecorded) and e.failure is None]
        self.effects: dict[int, Any] = {event.event_id: copy.deepcopy(event.value) for event in later}

    def take(self, asked: ev.Asked) -> tuple[ev.Answer, float] | None:
        """Return the answer to the same question, by its number if there are several, and how long it took."""
        known = self._answers.get(_identity(asked))
        if not known:
            return None
        answer, wait = known.pop(asked.event_id if asked.event_id in known else next(iter(known)))
        return ev.replace(answer, event_id=asked.event_id), wait

    def drop(self, asked: ev.Asked) -> None:
        """Forget the answer of the same number to the same question."""
        self._answers[_identity(asked)].pop(asked.event_id, None)


def _identity(asked: ev.Asked) -> tuple[str, ...]:
    target = asked.instance_id if isinstance(asked, ev.SignalSent) else ""
    return asked.kind, asked.name, target, repr(getattr(asked, "input", getattr(asked, "payload", None)))
