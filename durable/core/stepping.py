"""Steps: an event is applied to an execution, and its code runs until it waits again.

Each step resolves what the event answers, lets the code run, and returns what
it asked for. Same events, same commands: no clock is read, and nothing outside
is touched.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

from durable.core import answering, frames
from durable.core import events as ev
from durable.core.errors import DurableError, ForbiddenInWorkflow
from durable.core.failures import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from durable.core.commands import Command
    from durable.core.execution import Execution
    from durable.core.futures import Task

_ASIDE = frozenset({ev.ExecutionSuspended, ev.ExecutionResumed, ev.ExecutionUpgraded, ev.ExecutionRewound})


def step(
    execution: Execution, event: ev.Event, recorded: Mapping[int, ev.Event] | None = None, *, sealed: bool = False
) -> list[Command]:
    """Apply one event from outside and return what the code asks for on seeing it.

    Args:
        event: The event; its ``at`` becomes the workflow's time.
        recorded: When the step was taken before: what it asked for, by event id.
        sealed: Whether that is all that it asked for: the history goes on after it.

    Raises:
        NondeterminismError: The code ran into something that its history does not have.
        BaseException: What interrupted the step from outside. The execution
            is then of no use any more: discard it.
    """
    loop = execution.loop
    execution.length += 1
    execution.issued = {}
    if execution.places:
        execution.places = {}
    execution.gives_up = False
    if type(event) in _ASIDE and _is_aside(execution, event):
        execution.recordable = []
        return []
    execution.recorded = recorded or {}
    execution.replaying, execution.sealed = recorded is not None, sealed
    if event.at > loop.now:
        loop.now = event.at
    if execution.outcome is None:
        try:
            if isinstance(event, ev.ActivityCompleted):  # nearly all are
                answering.resolve(execution.open, event.event_id, event.result)
            else:
                _deliver(execution, event)
            loop.drain()
            if execution.conditions.waiting:
                _settle(execution)
        except (ForbiddenInWorkflow, SystemExit) as error:
            if isinstance(error, SystemExit) and frames.stops_the_worker(error):
                raise
            execution.issued.clear()
            execution.end(ev.ExecutionFailed(failure=Failure.of(error)))
    issued = recordable = list(execution.issued.values())
    if execution.gives_up:
        recordable = [c for c in issued if isinstance(c, ev.Event)]
    execution.recordable = recordable
    execution.length += len(recordable)
    return issued


def retake_refused(execution: Execution, event: ev.Event, end: ev.ExecutionFailed) -> None:
    """End where the code reached outside, without running it: what refused it need not be watching here."""
    execution.length += 2
    execution.loop.now = max(execution.loop.now, event.at)
    if isinstance(event, ev.ExecutionStarted):
        execution.started, execution.tags = event, dict(event.tags)
        execution.signals.carried = event.carried
    execution.outcome = end
    execution.loop.stopped = True


def _is_aside(execution: Execution, event: ev.Event) -> bool:
    """Note what is recorded while an instance is halted, where no code runs; say whether that is all."""
    match event:
        case ev.ExecutionSuspended():
            execution.suspended = True
        case ev.ExecutionResumed():
            execution.suspended = False
        case ev.ExecutionUpgraded(version=version) if execution.suspended:
            execution.version = version
        case ev.ExecutionRewound():
            return execution.suspended
        case _:
            return False
    return True


def _settle(execution: Execution) -> None:
    execution.conditions.begin_step()
    while not execution.loop.stopped and execution.conditions.look_again():
        execution.loop.drain()


def _deliver(execution: Execution, event: ev.Event) -> None:
    waiting = execution.open
    match event:
        case ev.ActivityFailed():
            answering.reject(waiting, event.event_id, answering.activity_error(waiting, event))
        case ev.TimerFired(event_id=event_id):
            if (timer := answering.close(waiting, event_id)) is not None:
                execution.loop.fire(timer)
        case ev.SignalReceived(name=name, payload=payload):
            execution.signals.arrive(name, payload)
        case ev.ExecutionStarted():
            _begin(execution, event)
        case ev.UpdateAccepted():
            execution.updates.begin(event)
        case ev.ChildStarted() | ev.ExecutionRewound() | ev.ExecutionWoken():
            pass
        case ev.ChildCompleted(event_id=event_id, result=result):
            answering.resolve(waiting, event_id, result)
        case ev.ChildFailed():
            answering.reject(waiting, event.event_id, answering.child_error(waiting, event.event_id, event.failure))
        case ev.ExecutionUpgraded(version=version):
            execution.version = version
        case ev.ActivityCanceled() | ev.ChildCanceled():
            answering.cancel(waiting, event.event_id)
        case ev.SignalDelivered(event_id=event_id):
            answering.resolve(waiting, event_id, None)
        case ev.SignalFailed():
            answering.reject(waiting, event.event_id, answering.signal_error(waiting, event))
        case ev.CancelRequested():
            _cancel(execution)
        case ev.End(imposed=True):
            execution.end(event)
        case _:
            raise TypeError(f"{event.kind} cannot be applied")


def _begin(execution: Execution, event: ev.ExecutionStarted) -> None:
    execution.started = event
    execution.version = event.version
    execution.tags = dict(event.tags)
    execution.limits = {**execution.limits, **event.limits}  # whatever they are elsewhere, and by now
    execution.random.seed(event.seed)
    execution.signals.carry(event.carried)
    try:
        args, kwargs = execution.workflow.signature.unbind(event.input, execution.converter)
    except DurableError as error:
        execution.end(ev.ExecutionFailed(failure=Failure.of(error)))
        return
    # A fresh context: language, time zone and the like must not come from whoever runs the first step.
    context = contextvars.Context()
    execution.main = execution.loop.create_task(_run(execution, args, kwargs), name="main", context=context)
    execution.main.add_done_callback(lambda main: execution.end(_outcome_of(execution, main)))
    if execution.cancel_requested:
        execution.loop.call_soon(execution.main.cancel)


async def _run(execution: Execution, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if execution.enter is not None:
        execution.enter()
    return await execution.workflow.fn(*args, **kwargs)


def _outcome_of(execution: Execution, main: Task) -> ev.End:
    try:
        where = f"result of {execution.workflow.type_name}"
        result = execution.workflow.signature.encode_result(main.result(), execution.converter, where=where)
        return ev.ExecutionCompleted(result=execution.within_limit(result, where))
    except asyncio.CancelledError as error:
        return ev.ExecutionCanceled() if execution.cancel_requested else ev.ExecutionFailed(failure=Failure.of(error))
    except BaseException as error:  # noqa: BLE001 - whatever leaves the coroutine fails the instance
        return ev.ExecutionFailed(failure=Failure.of(error))


def _cancel(execution: Execution) -> None:
    # Delivered once: later requests find a workflow that knows already.
    if not execution.cancel_requested:
        execution.cancel_requested = True
        if execution.main is not None:
            execution.loop.call_soon(execution.main.cancel)
