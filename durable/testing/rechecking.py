"""Replays of what a simulation produced: each prefix of each history must lead the code where it led it live."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from durable import conf
from durable.core import events as ev
from durable.core import places, stepping
from durable.core.commands import Recordable, differs_at_all
from durable.core.errors import ForbiddenInWorkflow, NondeterminismError
from durable.core.execution import Execution
from durable.core.replay import replay, steps
from durable.testing import dropped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable.core.commands import Command
    from durable.testing.driving import Run
    from durable.testing.records import Step

EVERY = 100
"""Up to how many events every prefix is replayed by itself, the cost of which grows with the square of their number."""

SPREAD = 20
"""How many prefixes of a longer history are replayed by themselves, evenly spread up to the whole."""


def recheck(run: Run, *, every: bool) -> None:
    """Replay an execution's history, comparing after each step, and prefixes of it by themselves.

    Those that end within a step are what the latter add: there the code is live again halfway.

    Args:
        run: The execution.
        every: Whether every prefix of a long history as well is replayed by itself.

    Raises:
        NondeterminismError: The code decided otherwise than it did live.
    """
    with dropped.watch([]):  # of what it throws away again, it was told
        _recheck(run, every=every)


def _recheck(run: Run, *, every: bool) -> None:
    history = run.events()
    if isinstance(run.end, ev.ExecutionFailed) and run.end.failure.type == ForbiddenInWorkflow.__name__:
        return  # strictness ended it, which watches new steps only
    _whole(run, history)
    for cut in prefixes(len(history), every=every):
        _prefix(run, history, cut)


def prefixes(length: int, *, every: bool) -> list[int]:
    """Return where to cut a history of this length."""
    if every or length <= EVERY:
        return list(range(1, length + 1))
    return [round(length * part / SPREAD) for part in range(1, SPREAD + 1)]


def _whole(run: Run, history: Sequence[ev.Event]) -> None:
    """Replay all of a history, and compare all that the code asks for, arguments included."""
    execution = run.another()
    seq = 0
    ends = {step.last: step for step in run.steps}
    with closing(execution):
        for trigger, recorded, following in steps(history):
            by_id = {event.event_id: event for event in recorded if isinstance(event, ev.Asked)}
            try:
                issued = _recordable(stepping.step(execution, trigger, by_id, sealed=following is not None))
            except NondeterminismError as error:
                place = next((p for p, e in enumerate(recorded) if e is by_id.get(error.event_id or 0)), len(recorded))
                then = recorded[place] if place < len(recorded) else following
                seq += 2 + place
                raise _nondeterminism(run, seq, error.event_id, _said(then), error.got, error.location) from None
            _compare(run, execution, recorded, issued, after=seq + 1)
            seq = execution.head = seq + 1 + len(recorded)
            shown = (execution.status, execution.progress, execution.tags)
            _compare_state(run, ends[seq], seq, tuple(sorted(execution.open)), shown, execution.outcome)


def _prefix(run: Run, history: Sequence[ev.Event], cut: int) -> None:
    """Replay the events before a cut, and compare what the code decides with what it decided live."""
    step = next(step for step in run.steps if step.last >= cut)
    rest = history[cut : step.last]
    if any(isinstance(event, ev.SideEffectRecorded) for event in rest):
        return  # it would run again, and nothing says that it comes to the same
    options: dict[str, Any] = run.options()
    decision = replay(run.definition, history[:cut], converter=conf.converter(), **options)
    _compare(run, None, rest, _recordable(decision.commands), after=cut)
    shown = (decision.status, decision.progress, decision.tags)
    opened = tuple(asked.event_id for asked in decision.open)
    _compare_state(run, step, cut, opened, shown, decision.outcome)


def _compare_state(
    run: Run, step: Step, seq: int, opened: tuple[int, ...], shown: tuple[Any, ...], end: ev.End | None
) -> None:
    for what, then, now in (
        ("open", step.open, opened),
        ("status, progress and tags", step.shown, shown),
        ("at its end", step.ended, end is not None),
    ):
        if then != now:
            raise _nondeterminism(run, seq, None, f"{what}: {then}", f"{what}: {now}", "")


def _recordable(commands: Sequence[Command]) -> list[Recordable]:
    return [command for command in commands if isinstance(command, Recordable)]


def _compare(
    run: Run, execution: Execution | None, recorded: Sequence[ev.Event], issued: Sequence[Recordable], *, after: int
) -> None:
    for place in range(max(len(recorded), len(issued))):
        then = recorded[place] if place < len(recorded) else None
        now = issued[place] if place < len(issued) else None
        if not _same(then, now):
            event_id = getattr(then, "event_id", None)
            at = places.location(execution, getattr(now, "event_id", None)) if execution is not None else ""
            at = at or run.locations.get(-1 if event_id is None else event_id, "")
            differ = str(then) == str(now)
            raise _nondeterminism(
                run,
                after + 1 + place,
                event_id,
                _said(then, in_full=differ),
                None if now is None else _said(now, in_full=differ),
                at,
            )


def _same(then: ev.Event | None, now: Recordable | None) -> bool:
    if then is None or now is None:
        return then is now
    return isinstance(then, Recordable) and not differs_at_all(then, now)


def _said(event: ev.Event | None, *, in_full: bool = False) -> str:
    if event is None:
        return "nothing more"
    return f"{event} {event.to_json()}" if in_full else str(event)


def _nondeterminism(
    run: Run, seq: int, event_id: int | None, expected: object, got: str | None, location: str
) -> NondeterminismError:
    note = f"The code of {run.instance.id} decides otherwise when it is replayed"
    if asked := sorted({name for head, name in run.queries if head < seq}):
        which = f"query {asked[0]!r}" if len(asked) == 1 else f"one of the queries {', '.join(map(repr, asked))}"
        note += f". It had answered {which} before: does that change a variable? No replay knows of queries"
    return NondeterminismError(
        seq=seq,
        event_id=event_id,
        expected=str(expected),
        got=got,
        location=location,
        note=note,
    )
