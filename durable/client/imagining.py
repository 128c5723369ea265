"""Say what would come of a rerun, without starting one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable import conf, registry
from durable.client import comparing
from durable.client.comparing import Compared, Comparison
from durable.client.items import HistoryItem, of_events
from durable.core import events as ev
from durable.core import given
from durable.core.errors import UnknownActivity, UnknownWorkflow, VersionNotAvailable
from durable.core.failures import Failure
from durable.core.projecting import project
from durable.engine import living, watchdog
from durable.operations import arguments, rerun
from durable.operations.shapes import UNSET, Step, steps
from durable.store import clock, history

if TYPE_CHECKING:
    import uuid

    from durable.core.definitions import ActivityDefinition, WorkflowDefinition
    from durable.core.execution import Execution
    from durable.core.projecting import Projection
    from durable.core.waits import Wait

Mocks = Mapping[int | str, Any]

_STATUSES: dict[type[ev.End], str] = {
    ev.ExecutionCompleted: "completed",
    ev.ExecutionFailed: "failed",
    ev.ExecutionCanceled: "canceled",
    ev.ExecutionContinued: "continued",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """What would come of a rerun.

    Attributes:
        status: How it would end, ``continued`` included, or ``running``.
        result: What it would return, as JSON.
        failure: How it would fail, or None.
        history: Its events, the ones kept from the source first.
        comparison: The source and it, side by side.
        missing: What it would ask for, and nobody knows the answer to: give mocks.
        waits: What it would still wait for.
        stopped: Why no more is known, or an empty text.
        unused: The mocks that nothing asked for.
    """

    status: str
    result: Any
    failure: Failure | None
    history: list[HistoryItem]
    comparison: Comparison
    missing: list[Step]
    waits: tuple[Wait, ...]
    stopped: str
    unused: list[int | str]


def what_if(
    instance_id: str,
    event_id: int,
    *,
    input: Any = UNSET,
    version: int | None = None,
    mocks: Mocks | None = None,
    execution: str | uuid.UUID | None = None,
    siblings: str = "rerun",
) -> WhatIf:
    """Play a rerun in memory: nothing is written, and no activity, child or side effect runs.

    What the code asks for as it did in the source gets the answer that it got
    there; the rest gets what the mocks say. A mock is a value to return, an
    exception to raise, or a function that is called with the arguments. It is
    for an event id, and then goes before the record; or for the name of an
    activity or a child workflow, and then goes before it only where the rerun
    begins. Signals come again as long after the step as they did then.

    Args:
        instance_id, event_id, input, version, execution, siblings: As for ``rerun_from_activity``.
        mocks: By event id or by name; of a side effect the value, by event id.

    Raises:
        InvalidId, UnknownInstance, UnknownExecution, UnknownEvent, NotClosed, NotAnActivity, InvalidInput,
        VersionNotAvailable, UnknownWorkflow, NondeterminismError: What the rerun itself would raise.
        RunawayStep: The code took too long.
    """
    arguments.check(event_id=event_id, version=version)
    mocks = _checked(mocks)
    planned = rerun.plan(
        instance_id, event_id, input=input, execution=execution, siblings=siblings, version=version, is_read_only=True
    )
    _, edited = rerun.begun(planned)
    source = list(history.read(planned.source_execution))
    mocked = _Mocked(mocks, target=event_id)
    with closing(_fresh(planned)) as played:
        played.imagined = mocked.effects()
        projected = project(
            played,
            edited,
            source,
            at=clock.now().timestamp(),
            mock=mocked.answer,
            watch=watchdog.watch,
        )
    return _shown(planned, source, projected, mocked)


def _checked(mocks: Any) -> Mocks:
    if mocks is None:
        return {}
    if not isinstance(mocks, Mapping) or not all(isinstance(key, int | str) for key in mocks):
        raise given.unfit(mocks, "mocks", "a dict of answers by event id or by name")
    return mocks


def _fresh(planned: rerun.Plan) -> Execution:
    instance = planned.instance
    execution_id = str(instance.execution_id)
    return living.fresh(instance.name, instance.version, instance_id=instance.pk, execution_id=execution_id, dry=True)


def _shown(planned: rerun.Plan, source: list[ev.Event], projected: Projection, mocked: _Mocked) -> WhatIf:
    end = projected.outcome
    status = "running" if end is None else _STATUSES[type(end)]
    was = Compared(instance_id=planned.source.pk, execution_id=planned.source_execution, status=planned.source.status)
    would_be = Compared(instance_id=planned.instance.pk, execution_id=None, status=status)
    recorded = {event.event_id for event in projected.history if isinstance(event, ev.SideEffectRecorded)}
    return WhatIf(
        status=status,
        result=end.result if isinstance(end, ev.ExecutionCompleted) else None,
        failure=end.failure if isinstance(end, ev.ExecutionFailed) else None,
        history=of_events(projected.history, status=status),
        comparison=comparing.of((was, source), (would_be, projected.history)),
        missing=steps(projected.missing),
        waits=projected.waits,
        stopped=projected.stopped,
        unused=mocked.unused(recorded),
    )


class _Mocked:
    """What the caller says of answers."""

    def __init__(self, mocks: Mocks, *, target: int) -> None:
        self._mocks, self._target = mocks, target
        self._used: set[int | str] = set()

    def answer(self, asked: ev.Asked, first: bool) -> ev.Answer | None:
        """Return the answer that the caller gives, if there is one."""
        goes_first = asked.event_id in self._mocks or asked.event_id == self._target
        if first is not goes_first or isinstance(asked, ev.SignalSent):
            return None
        for key in (asked.event_id, asked.name):
            if key in self._mocks:
                self._used.add(key)
                return _answer(asked, self._mocks[key])
        return None

    def effects(self) -> dict[int, Any]:
        """Return what could be the values of side effects."""
        plain = {key: value for key, value in self._mocks.items() if isinstance(key, int) and not _is_act(value)}
        converter = conf.converter()
        return {key: converter.encode(value, f"mocks[{key}]") for key, value in plain.items()}

    def unused(self, effects: set[int]) -> list[int | str]:
        """Return the mocks that nothing asked for, nor any of these side effects."""
        return [key for key in self._mocks if key not in self._used and key not in effects]


def _is_act(value: Any) -> bool:
    return callable(value) or isinstance(value, BaseException)


def _answer(asked: ev.Asked, mock: Any) -> ev.Answer:
    failed, completed = (
        (ev.ChildFailed, ev.ChildCompleted)
        if isinstance(asked, ev.ChildScheduled)
        else (ev.ActivityFailed, ev.ActivityCompleted)
    )
    try:
        value = _come_of(asked, mock)
    except Exception as error:  # noqa: BLE001 - what the mock raises is how what it stands for fails
        return failed(event_id=asked.event_id, failure=Failure.of(error))
    return completed(event_id=asked.event_id, result=_encoded(asked, value))


def _come_of(asked: ev.Asked, mock: Any) -> Any:
    if isinstance(mock, BaseException) or (isinstance(mock, type) and issubclass(mock, BaseException)):
        raise mock
    if not callable(mock):
        return mock
    given: dict[str, Any] = getattr(asked, "input", {})
    definition = _definition(asked)
    args, kwargs = (
        (given["args"], given["kwargs"]) if definition is None else definition.signature.unbind(given, conf.converter())
    )
    return mock(*args, **kwargs)


def _encoded(asked: ev.Asked, value: Any) -> Any:
    definition, converter, where = _definition(asked), conf.converter(), f"mock of {asked.name}"
    if definition is None:
        return converter.encode(value, where)
    return definition.signature.encode_result(value, converter, where=where)


def _definition(asked: ev.Asked) -> ActivityDefinition | WorkflowDefinition | None:
    """Return what was asked for, if it is known here."""
    try:
        if isinstance(asked, ev.ChildScheduled):
            return registry.workflow(asked.name, asked.version or 0)
        return registry.activity(asked.name)
    except (UnknownActivity, UnknownWorkflow, VersionNotAvailable):
        return None
