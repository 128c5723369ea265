"""What workflow code asks of its execution: each thing gets a number, and is issued in the step at hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from durable.core import events as ev
from durable.core import frames
from durable.core.answering import Open
from durable.core.commands import CancelActivity, CancelChild
from durable.core.errors import PatchReused
from durable.core.exits import DurableExit

if TYPE_CHECKING:
    from durable.core.execution import Execution
    from durable.core.frames import Place
    from durable.core.futures import Timer


def next_id(execution: Execution) -> int:
    """Return the number of the next thing asked for."""
    loop, event_id = execution.loop, execution.next_id
    if loop.looking or loop.closing or execution.outcome is not None:
        go_on(execution)
    if type(execution.recorded.get(event_id)) is ev.PatchMarked:
        _skip_markers(execution)
        event_id = execution.next_id
    execution.next_id = event_id + 1
    return event_id


def go_on(execution: Execution) -> None:
    """Let the code ask for more, unless it has ended or is put away: then unwind it."""
    loop = execution.loop
    if loop.looking or loop.closing or execution.outcome is not None:
        loop.only_look("asking for anything")
        raise DurableExit


def ask(
    execution: Execution, event: ev.Asked, waiter: asyncio.Future[Any] | Timer | None, *, place: Place | None
) -> None:
    """Issue a command that will be answered."""
    event_id = event.event_id
    execution.issued[event_id] = event
    execution.places[event_id] = place
    execution.open[event_id] = Open(event, waiter)


def ask_and_wait(execution: Execution, event: ev.Asked) -> asyncio.Future[Any]:
    """Issue a command and return its answer, for the code to await at once, where it asked."""
    event_id, waiter = event.event_id, execution.loop.create_wait()
    execution.issued[event_id] = event
    execution.open[event_id] = Open(event, waiter)
    return waiter


def record(execution: Execution, event: ev.Asked, *, place: Place | None) -> None:
    """Issue a command that is its own answer."""
    execution.issued[event.event_id] = event
    execution.places[event.event_id] = place


def tell(execution: Execution, outcome: ev.UpdateCompleted) -> None:
    """Have an update's outcome recorded and told to whoever asked for it."""
    execution.issued[outcome.update_id] = outcome


def call_off(execution: Execution, event_id: int) -> None:
    """Give up on an activity, or ask a child to stop, because the code does not wait any more."""
    execution.loop.only_look("cancelling a child")
    asked = execution.open.get(event_id)
    if asked is None or execution.loop.closing or execution.outcome is not None:
        return
    child = isinstance(asked.event, ev.ChildScheduled)
    if event_id in execution.issued and not child:
        del execution.issued[event_id], execution.open[event_id]  # asked for in this very step: it never was
        return
    asked.called_off = execution.gives_up = True
    if child:
        execution.issued[-2 - event_id] = CancelChild(event_id=event_id)
    else:
        asked.waiter = None
        execution.issued[-2 - event_id] = CancelActivity(event_id=event_id)


def patch(execution: Execution, patch_id: str, *, deprecated: bool, place: Place | None) -> bool:
    """Say whether this execution takes the new path of a patch; once said, it stays so.

    The first time the code asks, live, the answer is yes and is recorded.
    A step that was taken before goes by the record.

    Raises:
        PatchReused: The code deprecates the patch and asks for it as well.
    """
    go_on(execution)
    try:
        taken = execution.patches.known(patch_id, deprecated=deprecated, place=place)
    except PatchReused as error:
        raise execution.interrupt(error) from None
    if taken is None:
        _skip_markers(execution, until=patch_id)
        marker = execution.recorded.get(execution.next_id)
        # Past the record of a step that was cut short, the code is live again.
        live = not execution.replaying or not (
            execution.sealed or any(i >= execution.next_id for i in execution.recorded)
        )
        taken = live or (isinstance(marker, ev.PatchMarked) and marker.name == patch_id)
        if taken:
            marked = ev.PatchMarked(event_id=execution.next_id, name=patch_id, deprecated=deprecated)
            execution.next_id += 1
            record(execution, marked, place=place)
        execution.patches.keep(patch_id, taken=taken, deprecated=deprecated, place=place)
    return taken


def _skip_markers(execution: Execution, *, until: str | None = None) -> None:
    """Pass the numbers of deprecated patch markers, which code need not ask for any more."""
    while (
        isinstance(marker := execution.recorded.get(execution.next_id), ev.PatchMarked)
        and marker.deprecated
        and marker.name != until
    ):
        execution.next_id += 1


def start_timer(execution: Execution, timer: Timer, fire_at: float) -> int:
    """Issue a timer and return its number."""
    event_id = next_id(execution)
    ask(execution, ev.TimerStarted(event_id=event_id, fire_at=fire_at), timer, place=frames.place())
    return event_id


def cancel_timer(execution: Execution, event_id: int) -> None:
    """Give up on a timer, unless it has fired."""
    if execution.open.pop(event_id, None) is None:
        return
    if event_id in execution.issued:
        del execution.issued[event_id]
    elif execution.outcome is None:  # nothing comes after the end, the clean-up of ``asyncio.timeout`` included
        execution.issued[-2 - event_id] = ev.TimerCanceled(event_id=event_id)
