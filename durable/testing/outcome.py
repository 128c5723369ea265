"""What a simulation came to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from durable import conf
from durable.client.items import HistoryItem, of_events
from durable.core.errors import ResultTimeout, WorkflowCanceled, WorkflowFailed, WorkflowTerminated
from durable.core.failures import Failure

if TYPE_CHECKING:
    from durable.core.definitions import WorkflowDefinition
    from durable.testing.driving import Run
    from durable.testing.instances import Instance
    from durable.testing.tasks import Call
    from durable.testing.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedExecution:
    """One execution of a simulated instance.

    Attributes:
        number: Its place among the executions of the instance, from 1.
        origin: ``start``, ``continued`` or ``retry``.
        status: As of an instance, or ``continued``.
        history: Its events, as ``client.history`` returns them.
    """

    id: str
    number: int
    origin: str
    status: str
    history: list[HistoryItem]


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """How a simulated instance ended.

    Attributes:
        status: As of an instance; a child that was abandoned may be open.
        failure: What would be stored, or None.
        executions: All executions, the last one being the current one.
        calls: The attempts of activities, its own and its children's, in order.
        elapsed: How much virtual time it took.
        children: The children that it started, in order.
    """

    id: str
    type: str
    status: str
    failure: Failure | None
    executions: list[SimulatedExecution]
    calls: list[Call]
    custom_status: Any
    progress: dict[str, Any] | None
    tags: dict[str, Any]
    elapsed: timedelta
    children: list[Simulated]
    definition: WorkflowDefinition
    json: Any

    @property
    def history(self) -> list[HistoryItem]:
        """The events of the current execution."""
        return self.executions[-1].history

    def result(self) -> Any:
        """Return the result, or raise what ``Handle.result`` would.

        Raises:
            WorkflowFailed, WorkflowCanceled, WorkflowTerminated: It ended so.
        ResultTimeout: It is a child that has not ended.
        """
        match self.status:
            case "completed":
                signature = self.definition.signature
                return signature.decode_result(self.json, conf.converter(load=True), where=f"result of {self.id}")
            case "failed":
                raise WorkflowFailed(self.id, self.failure or Failure(type="WorkflowFailed"))
            case "canceled":
                raise WorkflowCanceled(self.id)
            case "terminated":
                raise WorkflowTerminated(self.id, reason=self.failure.message if self.failure else "")
            case _:
                raise ResultTimeout(self.id, 0.0, status=self.status)


def outcome(world: World, instance: Instance) -> Simulated:
    """Return how an instance ended."""
    children = [child for run in instance.runs for child in world.children(run)]
    until = world.agenda.now if instance.closed_at is None else instance.closed_at
    below = [outcome(world, child) for child in children]
    return Simulated(
        id=instance.id,
        type=instance.definition.type_name,
        status=instance.status,
        failure=instance.failure,
        executions=[_execution(run) for run in instance.runs],
        calls=[call for call in world.calls if call.instance_id in {instance.id, *_ids(below)}],
        custom_status=instance.custom_status,
        progress=instance.progress,
        tags=instance.tags,
        elapsed=timedelta(seconds=until - instance.created_at),
        children=below,
        definition=instance.definition,
        json=instance.result,
    )


def _ids(children: list[Simulated]) -> set[str]:
    return {name for child in children for name in (child.id, *_ids(child.children))}


def _execution(run: Run) -> SimulatedExecution:
    return SimulatedExecution(id=run.id, number=run.number, origin=run.origin, status=run.status, history=_items(run))


def _items(run: Run) -> list[HistoryItem]:
    return of_events(run.events(), status=run.instance.status)
