"""The beginning of an execution from an edited history: its rows, and its first turn."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from durable.core import events as ev
from durable.core.loop import BeyondRecord
from durable.core.replay import catch_up
from durable.engine import advance, intercepting, watchdog
from durable.engine.turn import Turn
from durable.store import clock, history

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable.core.edit import Edit
    from durable.core.execution import Execution
    from durable.models import Instance


def check(instance: Instance, edited: Edit) -> None:
    """Replay what an edit keeps on the code at hand; nothing outside is touched.

    Raises:
        UnknownWorkflow, VersionNotAvailable: This process cannot run it.
        NondeterminismError: The code does not do what the history records.
    """
    execution = _fresh(instance, dry=True)
    try:
        with suppress(BeyondRecord), watchdog.watch(execution):
            catch_up(execution, edited.kept, whole=not edited.is_cut)
    finally:
        execution.close()


def _fresh(instance: Instance, *, dry: bool = False) -> Execution:
    execution_id = str(instance.execution_id)
    return advance.fresh(instance.name, instance.version, instance_id=instance.pk, execution_id=execution_id, dry=dry)


def write(instance: Instance, edited: Edit, start: ev.ExecutionStarted) -> None:
    """Store the kept events as the history of an instance's current execution.

    Args:
        instance: The instance; its head becomes the number of events.
        edited: What is kept.
        start: The first event, as it shall be recorded.
    """
    now = clock.now().timestamp()
    rearmed = {timer.event_id: replace(timer, fire_at=now + edited.time_left(timer)) for timer in edited.rearmed}
    events = [start, *edited.kept[1:]]
    events = [rearmed.get(event.event_id, event) if isinstance(event, ev.TimerStarted) else event for event in events]
    history.begin(instance.execution_id, events)


def take_first_turn(
    instance: Instance,
    edited: Edit,
    first: Sequence[ev.Event] = (),
    *,
    as_asked_now: bool = False,
    children: Sequence[ev.ChildScheduled] = (),
) -> None:
    """Bring the code to where the kept history ends, let it see what came later, and store what follows.

    Args:
        instance: The instance, its rows stored.
        edited: Its history.
        first: What the code sees before the edit's replies.
        as_asked_now: Whether what is handed out again has the input that the
            code gives it now, not the recorded one.
        children: Children to start.

    Raises:
        NondeterminismError: The code does not do what the history records.
    """
    execution = _fresh(instance)

    def take() -> Turn:
        with watchdog.watch(execution):
            rest = catch_up(execution, edited.kept, whole=not edited.is_cut)
        execution.head = instance.head
        turn = Turn(instance, execution, clock.now())
        turn.note(rest)
        _take_up(turn, edited, execution, as_asked_now=as_asked_now)
        for child in children:
            turn.take_up(child)
        for event in (*first, *edited.replies):
            if not (isinstance(event, ev.Answer) and event.event_id not in execution.open):
                turn.apply(event)
        turn.settle()
        turn.hand_out()
        turn.store()
        return turn

    try:
        intercepting.turn(instance, take)
    finally:
        execution.close()


def _take_up(turn: Turn, edited: Edit, execution: Execution, *, as_asked_now: bool) -> None:
    for asked in edited.rerun:
        live = execution.open.get(asked.event_id)
        if live is not None:
            turn.take_up(live.event if as_asked_now else asked)
    for timer in edited.rearmed:
        turn.take_up(timer, due=turn.at + timedelta(seconds=edited.time_left(timer)))
