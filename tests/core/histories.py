"""Short words for events, and the property that every history in these tests must have.

``decide`` is ``replay``, and checks on the way that the decision does not depend
on where a history happens to end: the rule that the whole engine rests on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from durable.core import commands as cmd
from durable.core import events as ev
from durable.core.definitions import define_activity, define_workflow
from durable.core.failures import Failure
from durable.core.replay import replay

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from durable.core.definitions import WorkflowDefinition
    from durable.core.replay import Decision

workflow = define_workflow
activity = define_activity


def given(*args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"args": list(args), "kwargs": kwargs}


def started(*args: Any, **fields: Any) -> ev.ExecutionStarted:
    return ev.ExecutionStarted(name="test", input=given(*args), **fields)


STARTED = started()
CANCEL = ev.CancelRequested()
CANCELED = ev.ExecutionCanceled()


def scheduled(event_id: int, name: str, *args: Any) -> ev.ActivityScheduled:
    return ev.ActivityScheduled(event_id=event_id, name=name, input=given(*args))


def completed(event_id: int, result: Any = None, *, at: float = 0.0) -> ev.ActivityCompleted:
    return ev.ActivityCompleted(event_id=event_id, result=result, at=at)


def failed(event_id: int, type: str = "ValueError", message: str = "no") -> ev.ActivityFailed:
    return ev.ActivityFailed(event_id=event_id, failure=Failure(type=type, message=message), attempts=3)


def timer(event_id: int, fire_at: float) -> ev.TimerStarted:
    return ev.TimerStarted(event_id=event_id, fire_at=fire_at)


def fired(event_id: int, *, at: float) -> ev.TimerFired:
    return ev.TimerFired(event_id=event_id, at=at)


def timer_canceled(event_id: int) -> ev.TimerCanceled:
    return ev.TimerCanceled(event_id=event_id)


def signal(name: str, payload: Any = None, *, at: float = 0.0) -> ev.SignalReceived:
    return ev.SignalReceived(name=name, payload=payload, at=at)


def returned(result: Any = None) -> ev.ExecutionCompleted:
    return ev.ExecutionCompleted(result=result)


def raised(failure_type: str, message: str = "") -> ev.ExecutionFailed:
    return ev.ExecutionFailed(failure=Failure(type=failure_type, message=message))


def decide(workflow: WorkflowDefinition, history: Sequence[ev.Event], *new: ev.Event) -> Any:
    """Return the Decision after ``history`` and then ``new`` events, having cut it everywhere."""
    log = [*history, *recordable(replay(workflow, history).commands)]
    for event in new:
        log += [event, *recordable(replay(workflow, log, [event]).commands)]
    check_every_cut(workflow, log)
    return replay(workflow, history, new)


def check_every_cut(workflow: WorkflowDefinition, log: Sequence[ev.Event]) -> None:
    """Assert that each beginning of ``log`` leads to just those commands that ``log`` holds next."""
    for cut in range(len(log) + 1):
        issued = replay(workflow, log[:cut]).commands
        following = _rest_of_step(log[cut:]) if cut else []
        assert len(issued) == len(following), f"cut at {cut}: {issued} instead of {following}"
        for one, other in zip(issued, following, strict=True):
            if isinstance(one, ev.ExecutionFailed) and isinstance(other, ev.ExecutionFailed):
                assert one.failure.type == other.failure.type
            else:
                assert one == other, f"cut at {cut}"


def _rest_of_step(events: Sequence[ev.Event]) -> list[ev.Event]:
    rest: list[ev.Event] = []
    for event in events:
        if not event.by_code or getattr(event, "imposed", False):
            break
        rest.append(event)
    return rest


def recordable(commands: Sequence[cmd.Command]) -> list[Any]:
    return [command for command in commands if isinstance(command, cmd.Recordable)]


def begin(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Begin a task that the test does not wait for; a workflow's loop keeps it alive."""
    return asyncio.create_task(coroutine)


def failure_of(decision: Decision) -> Any:
    """Return how the execution failed."""
    assert isinstance(decision.outcome, ev.ExecutionFailed)
    return decision.outcome.failure


def result_of(decision: Decision) -> Any:
    """Return what the workflow returned."""
    assert isinstance(decision.outcome, ev.ExecutionCompleted), decision.outcome
    return decision.outcome.result
