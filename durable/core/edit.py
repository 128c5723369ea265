"""Edits of a history: from one that ended to the beginning of another, as pure functions.

No recorded event is changed. An edit keeps a beginning of the history, and of
what came later from outside that which still counts; the rest the code decides anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from durable.core import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

Failed = ev.ActivityFailed | ev.ChildFailed | ev.ChildCanceled | ev.SignalFailed
Succeeded = ev.ActivityCompleted | ev.ChildCompleted | ev.SignalDelivered

_INLINE = (ev.SideEffectRecorded, ev.PatchMarked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """The beginning of a new history, and what is to be done about what it leaves open.

    Attributes:
        kept: The events that the new history begins with.
        replies: What came from outside after them and still counts; the new
            execution gets it again, in this order.
        rerun: What of ``kept`` is handed out again, in order of event id; the target, if there is one, first.
        rearmed: The timers of ``kept`` that are still to fire.
        children: The children of ``kept`` whose end is not known.
        dropped: What the code asked for and is not carried over: it decides anew.
        signals_dropped: Signals to be sent again by whoever wants them.
        is_cut: Whether ``kept`` ends within a step: what else the code asks for in it comes anew.
        cut_at: When what comes after ``kept`` began, in seconds since 1970: timers have the time that was left then.
        source: The whole history, if branches beside the target go on with what came of them there; else empty.
        was_halted: Whether an operator had halted it before it began, and it ended so.
    """

    kept: tuple[ev.Event, ...]
    replies: tuple[ev.Event, ...]
    rerun: tuple[ev.ActivityScheduled | ev.SignalSent, ...]
    rearmed: tuple[ev.TimerStarted, ...]
    children: tuple[ev.ChildScheduled, ...]
    dropped: tuple[ev.Asked, ...]
    signals_dropped: tuple[ev.SignalReceived, ...]
    is_cut: bool
    cut_at: float
    source: tuple[ev.Event, ...] = ()
    was_halted: bool = False

    @property
    def is_halted(self) -> bool:
        """Whether an operator had halted the execution at the end of ``kept``."""
        if not self.kept:
            return self.was_halted
        marks = [event for event in self.kept if isinstance(event, ev.ExecutionSuspended | ev.ExecutionResumed)]
        return bool(marks) and isinstance(marks[-1], ev.ExecutionSuspended)

    def time_left(self, timer: ev.TimerStarted) -> float:
        """Return the seconds that a timer had left at the cut."""
        # One that an earlier edit set again ran from then on.
        return max(0.0, timer.fire_at - max(self.cut_at, timer.at))

    def set_again(self, now: float) -> dict[int, ev.TimerStarted]:
        """Return the timers that are still to fire, by event id, as they are recorded when they are set again."""
        return {
            timer.event_id: ev.replace(timer, at=now, fire_at=now + self.time_left(timer)) for timer in self.rearmed
        }


def fork(history: Sequence[ev.Event], event_id: int, *, keep_siblings: bool = False) -> Edit:
    """Begin anew at an activity: what was asked for before it is kept, with the results it had by then.

    Args:
        history: The whole history of an execution that ended.
        event_id: The activity's.
        keep_siblings: Whether what was scheduled before or with the target, and
            succeeded later, keeps its result; see ``branches`` for what followed from it.
    """
    place = _place_of(history, event_id) + 1
    if keep_siblings:
        place = _end_of_step(history, place)

    def counts(event: ev.Event, asked: Collection[int]) -> bool:
        return keep_siblings and isinstance(event, Succeeded) and event.event_id in asked and event.event_id != event_id

    edited = _edit(history, place, counts, target=event_id)
    return replace(edited, source=tuple(history)) if keep_siblings else edited


def rewind(history: Sequence[ev.Event], culprits: Collection[int]) -> Edit:
    """Begin anew before the first step that delivered one of these failures; without any, before the end alone.

    Args:
        history: The whole history of an execution that failed.
        culprits: Event ids of the failures that are to be undone.
    """
    blamed = [i for i, event in enumerate(history) if isinstance(event, Failed) and event.event_id in culprits]
    return _edit(history, min(blamed, default=_place_of_end(history)), _still_counts)


def rewind_to(history: Sequence[ev.Event], event_id: int) -> Edit:
    """Begin anew before something that the code asked for: that, and all that was asked for later, is dropped."""
    return _edit(history, _place_of(history, event_id), _still_counts)


def reopen(history: Sequence[ev.Event]) -> Edit:
    """Begin anew before the execution was told to stop, or, if it was not asked, before its end."""
    stops = (i for i, event in enumerate(history) if isinstance(event, ev.CancelRequested))
    return _edit(history, next(stops, _place_of_end(history)), _still_counts)


def on_version(edited: Edit, version: int) -> Edit:
    """Have an edit begin on a version of the workflow, unless what it keeps goes by that one in the end anyhow."""
    versions = [event.version for event in edited.kept if isinstance(event, ev.ExecutionStarted | ev.ExecutionUpgraded)]
    if not versions or versions[-1] == version:
        return edited
    start, *others = edited.kept
    assert isinstance(start, ev.ExecutionStarted)  # noqa: S101 - every history begins so
    rest = (event for event in others if not isinstance(event, ev.ExecutionUpgraded))
    return replace(edited, kept=(ev.replace(start, version=version), *rest))


def on_limits(edited: Edit, limits: Mapping[str, int]) -> Edit:
    """Have an edit begin with limits that are no lower than these, so that what was too large by its own may pass."""
    if not edited.kept:
        return edited
    start, *others = edited.kept
    assert isinstance(start, ev.ExecutionStarted)  # noqa: S101 - every history begins so
    raised = {name: max(value, limits.get(name, value)) for name, value in start.limits.items()}
    return replace(edited, kept=(ev.replace(start, limits=raised), *others))


def without(edited: Edit, called_off: Collection[int]) -> Edit:
    """Return an edit that answers what the code had called off by its place, instead of handing it out again."""
    answers: list[ev.Event] = [
        ev.ActivityCanceled(event_id=a.event_id) for a in edited.rerun if a.event_id in called_off
    ]
    answers += [ev.ChildCanceled(event_id=c.event_id) for c in edited.children if c.event_id in called_off]
    return replace(
        edited,
        replies=(*answers, *edited.replies),
        rerun=tuple(asked for asked in edited.rerun if asked.event_id not in called_off),
        children=tuple(asked for asked in edited.children if asked.event_id not in called_off),
    )


def with_late(edited: Edit, late: Sequence[ev.Event]) -> Edit:
    """Return an edit that also counts what came after the history had ended: signals, and answers to what is kept."""
    waiting = {asked.event_id for asked in edited.rerun}
    replies: list[ev.Event] = []
    for event in late:
        if isinstance(event, ev.SignalReceived):
            replies.append(event)
        elif isinstance(event, Succeeded) and event.event_id in waiting:
            waiting.remove(event.event_id)
            replies.append(event)
    rerun = tuple(asked for asked in edited.rerun if asked.event_id in waiting)
    return replace(edited, replies=(*edited.replies, *replies), rerun=rerun)


def unresolved(history: Sequence[ev.Event]) -> frozenset[int]:
    """Return the event ids of failures that no success of the same thing follows."""
    asked = {event.event_id: event for event in history if isinstance(event, ev.Asked)}
    failed: dict[int, tuple[object, ...]] = {}
    for event in history:
        if isinstance(event, Failed):
            failed[event.event_id] = _identity(asked[event.event_id])
        elif isinstance(event, Succeeded):
            done = _identity(asked[event.event_id])
            failed = {event_id: what for event_id, what in failed.items() if what != done}
    return frozenset(failed)


def just_before(history: Sequence[ev.Event], culprits: Collection[int]) -> frozenset[int]:
    """Return the event ids of unresolved failures that came before the first of these, with nothing asked for since."""
    first = next(i for i, event in enumerate(history) if isinstance(event, Failed) and event.event_id in culprits)
    found: set[int] = set()
    for event in history[:first]:
        if isinstance(event, ev.Asked):
            found.clear()
        elif isinstance(event, Failed):
            found.add(event.event_id)
    return unresolved(history) & found


def last_failure(history: Sequence[ev.Event]) -> frozenset[int]:
    """Return the event id of the failure on whose delivery the execution ended, if it was one."""
    trigger = next((e for e in reversed(history) if not e.by_code or getattr(e, "imposed", False)), None)
    return frozenset({trigger.event_id}) if isinstance(trigger, Failed) else frozenset()


def _identity(asked: ev.Asked) -> tuple[object, ...]:
    return asked.kind, asked.name, repr(getattr(asked, "input", getattr(asked, "payload", None)))


def _still_counts(event: ev.Event, asked: Collection[int]) -> bool:
    if isinstance(event, Succeeded | ev.TimerFired | ev.ChildStarted):
        return event.event_id in asked
    return isinstance(event, ev.SignalReceived | ev.UpdateAccepted)


def _edit(
    history: Sequence[ev.Event],
    place: int,
    counts: Callable[[ev.Event, Collection[int]], bool],
    *,
    target: int | None = None,
) -> Edit:
    kept, later = history[:place], history[place:]
    waiting = _open(kept)
    replies = tuple(event for event in later if counts(event, waiting))
    for event in replies:
        if isinstance(event, ev.Answer) and not isinstance(event, ev.ChildStarted):
            del waiting[event.event_id]
    left = sorted(waiting.values(), key=lambda asked: (asked.event_id != target, asked.event_id))
    return Edit(
        kept=tuple(kept),
        replies=replies,
        rerun=tuple(asked for asked in left if isinstance(asked, ev.ActivityScheduled | ev.SignalSent)),
        rearmed=tuple(asked for asked in left if isinstance(asked, ev.TimerStarted)),
        children=tuple(asked for asked in left if isinstance(asked, ev.ChildScheduled)),
        dropped=tuple(event for event in later if isinstance(event, ev.Asked)),
        signals_dropped=tuple(e for e in later if isinstance(e, ev.SignalReceived) and not counts(e, ())),
        is_cut=bool(later) and later[0].by_code and not getattr(later[0], "imposed", False),
        cut_at=(later[0] if later and target is None else kept[-1]).at,
        was_halted=any(isinstance(event, ev.ExecutionTerminated) and event.suspended for event in later),
    )


def _open(kept: Sequence[ev.Event]) -> dict[int, ev.Asked]:
    """Return what is asked for and not answered, by event id."""
    waiting: dict[int, ev.Asked] = {}
    for event in kept:
        if isinstance(event, ev.Asked) and not isinstance(event, _INLINE):
            waiting[event.event_id] = event
        elif isinstance(event, ev.Answer) and not isinstance(event, ev.ChildStarted):
            waiting.pop(event.event_id, None)
    return waiting


def _place_of(history: Sequence[ev.Event], event_id: int) -> int:
    return next(i for i, event in enumerate(history) if isinstance(event, ev.Asked) and event.event_id == event_id)


def _place_of_end(history: Sequence[ev.Event]) -> int:
    return next((i for i, event in enumerate(history) if event.ends), len(history))


def _end_of_step(history: Sequence[ev.Event], place: int) -> int:
    """Return where the step at hand stops asking for things that siblings could be."""
    while place < len(history) and isinstance(history[place], ev.Asked):
        place += 1
    return place
