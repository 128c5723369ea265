"""Replay: from a history to where the code stands, as a pure function."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable.core import commands as cmd
from durable.core import events as ev
from durable.core import places, stepping, texts
from durable.core.errors import DurableError, ForbiddenInWorkflow, NondeterminismError
from durable.core.execution import Execution
from durable.core.exits import BeyondRecord
from durable.core.failures import Failure
from durable.core.payloads import Converter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from durable.core.definitions import WorkflowDefinition


SAID = 300
"""How much of a value an error says."""

_TOGETHER = 25
"""How many steps are read ahead: so few that what they hold does not make the garbage collector run."""

_QUICK = frozenset(kind for kind in ev.KINDS.values() if issubclass(kind, ev.Answer)) | {ev.SignalReceived}
_Step = tuple[ev.Event, list[ev.Event], ev.Event | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the code decides, given a history.

    Attributes:
        commands: What it asks for that neither history nor new events record, in order.
        outcome: The event that ends the execution, or None while it waits.
        open: What is asked for and not answered, in order of event id.
        status, progress, tags: What it shows to operators.
    """

    commands: tuple[cmd.Command, ...]
    outcome: ev.End | None
    open: tuple[ev.Asked, ...]
    status: Any
    progress: dict[str, Any] | None
    tags: dict[str, Any]


def replay(
    workflow: WorkflowDefinition,
    history: Sequence[ev.Event],
    new: Sequence[ev.Event] = (),
    *,
    converter: Converter | None = None,
    instance_id: str = "",
    execution_id: str = "",
    whole: bool = False,
    **options: Any,
) -> Decision:
    """Return what ``workflow`` decides after ``history`` and the ``new`` events from outside.

    Args:
        workflow: The definition.
        history: The events so far.
        new: Events that the history does not hold yet.
        converter: What makes values of payloads.
        instance_id: Whose history it is: code may ask, and children's ids begin with it.
        execution_id: Likewise.
        whole: Whether the history's last step is recorded to its end, as it is in one from the database.
        options: What else an ``Execution`` takes.

    Raises:
        NondeterminismError: The code does not do what the history records.
    """
    execution = Execution(
        workflow, converter=converter or Converter(), instance_id=instance_id, execution_id=execution_id, **options
    )
    try:
        commands = catch_up(execution, history, whole=whole)
        for event in new:
            commands += stepping.step(execution, event)
        return Decision(
            commands=tuple(commands),
            outcome=execution.outcome,
            open=tuple(asked.event for _, asked in sorted(execution.open.items())),
            status=execution.status,
            progress=execution.progress,
            tags=execution.tags,
        )
    finally:
        execution.close()


def catch_up(
    execution: Execution,
    history: Iterable[ev.Event],
    *,
    whole: bool = False,
    differs: Callable[[Any, Any], bool] = cmd.differs,
) -> list[cmd.Command]:
    """Bring ``execution`` to the end of ``history``, which begins where it stands.

    Args:
        execution: What to bring on.
        history: The events after its head.
        whole: Whether the last step is recorded to its end, as turns store them:
            what the code asks for beyond it was not there when the step was taken.
        differs: Says whether the code did something else than what was recorded.

    Returns:
        What the code asks for in the last step that the history does not
        record: a history that was cut in the middle of a step has such a rest.

    Raises:
        NondeterminismError: The code does not do what the history records.
    """
    rest: list[cmd.Command] = []
    loop = execution.loop
    for group in _groups(history):
        if len(group) > 1:
            loop.enter()
        try:
            for step in group:
                rest = _retake(execution, *step, whole=whole, differs=differs)
        finally:
            if loop.entered:
                loop.leave()
    return rest


def retake(
    execution: Execution,
    history: Iterable[ev.Event],
    *,
    whole: bool = False,
    differs: Callable[[Any, Any], bool] = cmd.differs,
) -> Iterator[list[cmd.Command]]:
    """Do what ``catch_up`` does a step at a time: yield after each what the history does not record of it.

    Raises:
        NondeterminismError: The code does not do what the history records.
    """
    for step in steps(history):
        yield _retake(execution, *step, whole=whole, differs=differs)


def steps(history: Iterable[ev.Event]) -> Iterator[tuple[ev.Event, list[ev.Event], ev.Event | None]]:
    """Split a history into events from outside, each with what the code did on seeing it and what came next."""
    for group in _groups(history):
        yield from group


def _groups(history: Iterable[ev.Event]) -> Iterator[list[_Step]]:
    """Split a history into steps, those together that can be taken without leaving the loop between them.

    What begins with something else than an answer runs code of the user's before
    it enters the loop; what reads the history must not run in it.
    """
    trigger: ev.Event | None = None
    recorded: list[ev.Event] = []
    group: list[_Step] = []
    try:
        for event in history:
            if trigger is None:
                trigger = event
            elif event.by_code and not (event.ends and getattr(event, "imposed", False)):
                recorded.append(event)
            else:
                group.append((trigger, recorded, event))
                if type(event) not in _QUICK or type(trigger) not in _QUICK or len(group) == _TOGETHER:
                    yield group
                    group = []
                trigger, recorded = event, []
    except DurableError:  # the history cannot be read; what it began with may not fit before that
        yield group
        raise
    if trigger is not None:
        group.append((trigger, recorded, None))
    yield group


def _retake(
    execution: Execution,
    trigger: ev.Event,
    recorded: list[ev.Event],
    following: ev.Event | None,
    *,
    whole: bool,
    differs: Callable[[Any, Any], bool],
) -> list[cmd.Command]:
    """Take one recorded step again and return what the code asks for beyond the record."""
    first = execution.head + 1
    if recorded and recorded[0].ends and (end := _refusal(recorded)) is not None:
        stepping.retake_refused(execution, trigger, end)
        execution.head = first + 1
        return []
    by_id = {}
    for asked in recorded:
        if type(asked) in ev.ASKED:  # asking ``isinstance`` takes five times as long
            by_id[asked.event_id] = asked  # type: ignore[attr-defined]  # as mypy does not know
    try:
        stepping.step(execution, trigger, by_id, sealed=whole or following is not None)
    except NondeterminismError as error:
        if error.seq:
            raise  # it knows its place
        place, event = next(
            ((place, event) for place, event in enumerate(recorded) if event is by_id.get(error.event_id or 0)),
            (len(recorded), following),
        )
        raise NondeterminismError(
            seq=first + 1 + place,
            event_id=getattr(event, "event_id", None),
            expected="nothing more" if event is None else str(event),
            got=error.got,
            location=error.location,
            note=_notes(execution),
        ) from None
    except BeyondRecord:
        _compare_by_number(execution, recorded, first=first, differs=differs)
        raise
    issued = execution.recordable
    if len(recorded) == 1 == len(issued) and not differs(recorded[0], issued[0]):  # nearly all are so
        execution.head = first + 1
        return []
    return _compare(execution, recorded, following, first=first, differs=differs)


def _compare(
    execution: Execution,
    recorded: list[ev.Event],
    following: ev.Event | None,
    *,
    first: int,
    differs: Callable[[Any, Any], bool],
) -> list[cmd.Command]:
    """Say where a step differs from its record, unless in what may, and return what it asks for beyond that."""
    rest = execution.recordable
    matched = 0
    for event in recorded:
        first += 1
        got = rest[matched] if matched < len(rest) else None
        if got is not None and not differs(event, got):
            matched += 1
        elif not (isinstance(event, ev.PatchMarked) and event.deprecated):
            raise mismatch(execution, event, got, seq=first)
    execution.head = first
    if matched == len(rest):
        return []
    if following is not None:
        raise mismatch(execution, following, rest[matched], seq=first + 1)
    return rest[matched:]


def _compare_by_number(
    execution: Execution, recorded: list[ev.Event], *, first: int, differs: Callable[[Any, Any], bool]
) -> None:
    """Compare what a look ahead asked for before it ended in the middle of a step.

    Not in order: it may still hold what the code gives up on later in the step.
    """
    for place, event in enumerate(recorded):
        if not isinstance(event, ev.Asked) or (isinstance(event, ev.PatchMarked) and event.deprecated):
            continue
        got = execution.issued.get(event.event_id)
        if got is None or differs(event, got):
            raise mismatch(execution, event, got, seq=first + 1 + place)


def _refusal(recorded: list[ev.Event]) -> ev.ExecutionFailed | None:
    """Return the end of a step in which the code reached outside; such a step holds nothing else."""
    match recorded:
        case [ev.ExecutionFailed(failure=Failure(type=ForbiddenInWorkflow.__name__)) as end]:
            return end
    return None


def mismatch(execution: Execution, event: ev.Event | None, got: cmd.Command | None, *, seq: int) -> NondeterminismError:
    """Return the error that says that the code did ``got`` where the history has ``event``."""
    event_id, other_id = getattr(event, "event_id", None), getattr(got, "event_id", None)
    number = ""
    if str(event) == str(got) and event_id != other_id:
        # Something before it took a number, or took none, and left no event: a timer that was cancelled at once.
        number = f"It has the number {event_id} in the history and {other_id} now"
    return NondeterminismError(
        seq=seq,
        event_id=event_id,
        expected="nothing more" if event is None else _said(event, got),
        got=None if got is None else _said(got, event),
        location=places.location(execution, other_id),
        note=_notes(execution, number),
    )


def _said(event: Any, other: Any) -> str:
    """Return an event as text, with what tells it from another that reads alike."""
    if str(event) != str(other) or type(event) is not type(other):
        return str(event)
    differ = (f"{name}={getattr(event, name)!r}" for name in cmd.differing(event, other) if name != "event_id")
    return texts.cut(" ".join((str(event), *differ)), SAID)


def _notes(execution: Execution, *more: str) -> str:
    return ". ".join(filter(None, (*more, execution.patches.note(), _interpreter_note(execution))))


def interpreter() -> str:
    """Return the running Python's minor version, e.g. ``3.12``."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _interpreter_note(execution: Execution) -> str:
    then = execution.started.python if execution.started else ""
    if not then or then == interpreter():
        return ""
    return f"It began on Python {then} and this is {interpreter()}, whose asyncio may take steps in another order"
