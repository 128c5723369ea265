"""Look at instances; nothing here changes anything."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from durable import conf, registry
from durable.client.patience import Patience
from durable.core import events as ev
from durable.core.errors import (
    ResultTimeout,
    UnknownExecution,
    UnknownWorkflow,
    VersionNotAvailable,
    WorkflowCanceled,
    WorkflowFailed,
    WorkflowTerminated,
)
from durable.core.failures import Failure
from durable.models import Execution, HistoryEvent, Instance, Status
from durable.store import instances

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryItem:
    """An event of a history, as callers see it.

    Attributes:
        seq: Its place, from 1.
        event_id: The number of the thing asked for, from 0; None for control events.
        rerunnable: Whether a rerun can begin here.
    """

    seq: int
    kind: str
    event_id: int | None
    name: str
    recorded_at: datetime
    data: dict[str, Any]
    rerunnable: bool


def instance(instance_id: str) -> Instance:
    """Return the model of an instance.

    Raises:
        UnknownInstance: There is none of this id.
    """
    return instances.get(instance_id)


def status(instance_id: str) -> str:
    """Return an instance's status, fresh from the database."""
    return instances.get(instance_id).status


def history(instance_id: str, execution: str | uuid.UUID | None = None) -> list[HistoryItem]:
    """Return all events of an execution, control events included.

    Args:
        instance_id: The instance.
        execution: The execution's id; None is the current one.

    Raises:
        UnknownInstance: There is none of this id.
        UnknownExecution: It has no execution of this id.
    """
    found = instances.get(instance_id)
    execution_id = found.execution_id if execution is None else _execution(instance_id, execution).pk
    rows = HistoryEvent.objects.using(conf.settings.DATABASE).filter(execution_id=execution_id).order_by("seq")
    names: dict[int, str] = {}
    items = []
    for row in rows:
        # An answer goes by the name of what it answers.
        name = row.name if row.event_id is None else names.setdefault(row.event_id, row.name)
        items.append(
            HistoryItem(
                seq=row.seq,
                kind=row.kind,
                event_id=row.event_id,
                name=name,
                recorded_at=row.recorded_at,
                data=ev.complete(row.kind, row.data),
                rerunnable=row.kind == ev.ActivityScheduled.__name__,
            )
        )
    return items


def _execution(instance_id: str, execution: str | uuid.UUID) -> Execution:
    try:
        key = uuid.UUID(str(execution))
    except ValueError:
        raise UnknownExecution(instance_id, str(execution)) from None
    found: Execution | None = instances.executions().filter(instance_id=instance_id, pk=key).first()
    if found is None:
        raise UnknownExecution(instance_id, str(execution))
    return found


def result(instance_id: str, timeout: float | None = None) -> Any:
    """Wait until an instance ends and return its result.

    Looks often at first and then less often, up to twice a second.

    Args:
        instance_id: The instance.
        timeout: How long to wait, in seconds; None is for ever, 0 does not wait.

    Raises:
        WorkflowFailed, WorkflowCanceled, WorkflowTerminated: It ended so.
        ResultTimeout: It did not end in time.
        UnknownInstance: There is none of this id.
    """
    patience = Patience(timeout)
    while (found := instances.get(instance_id)).closed_at is None:
        time.sleep(_pause(patience, found))
    return _outcome(found)


async def aresult(instance_id: str, timeout: float | None = None) -> Any:
    """Wait in async code until an instance ends and return its result; see ``result``.

    Looks through the thread that Django keeps for synchronous code, and does
    not hold it between looks: a thread of its own would leave a database
    connection open that nobody closes.
    """
    patience = Patience(timeout)
    while (found := await sync_to_async(instances.get)(instance_id)).closed_at is None:
        await asyncio.sleep(_pause(patience, found))
    return await sync_to_async(_outcome)(found)


def _pause(patience: Patience, found: Instance) -> float:
    pause = patience.pause()
    if pause is None:
        raise ResultTimeout(found.pk, patience.timeout, status=found.status)
    return pause


def _outcome(found: Instance) -> Any:
    match found.status:
        case Status.COMPLETED:
            return _decoded(found)
        case Status.FAILED:
            raise WorkflowFailed(found.pk, Failure.from_json(found.failure or {"type": "WorkflowFailed"}))
        case Status.CANCELED:
            raise WorkflowCanceled(found.pk)
        case _:
            raise WorkflowTerminated(found.pk, reason=(found.failure or {}).get("message", ""))


def _decoded(found: Instance) -> Any:
    try:
        signature = registry.workflow(found.name, found.version).signature
    except (UnknownWorkflow, VersionNotAvailable):
        return found.result
    return signature.decode_result(found.result, conf.converter(load=True), where=f"result of {found.pk}")
