"""Look at instances; nothing here changes anything."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from durable import conf, registry
from durable.client.items import HistoryItem, items
from durable.client.patience import Patience
from durable.client.waiting import Waiter
from durable.core.errors import (
    ResultTimeout,
    UnknownWorkflow,
    VersionNotAvailable,
    WorkflowCanceled,
    WorkflowFailed,
    WorkflowTerminated,
)
from durable.core.failures import Failure
from durable.models import HistoryEvent, Instance, Status
from durable.store import instances

if TYPE_CHECKING:
    import uuid


def instance(instance_id: str) -> Instance:
    """Return the model of an instance.

    Raises:
        UnknownInstance: There is none of this id.
    """
    return instances.get(instance_id)


def status(instance_id: str) -> str:
    """Return an instance's status, fresh from the database.

    Raises:
        UnknownInstance: There is none of this id.
    """
    return instances.status(instance_id)


def history(instance_id: str, execution: str | uuid.UUID | None = None) -> list[HistoryItem]:
    """Return all events of an execution, control events included, each saying whether a rerun can begin there.

    Args:
        instance_id: The instance.
        execution: The execution's id; None is the current one.

    Raises:
        UnknownInstance: There is none of this id.
        UnknownExecution: It has no execution of this id.
    """
    found = instances.get(instance_id, payloads=False)
    execution_id = instances.execution(found, execution).pk
    rows = HistoryEvent.objects.using(conf.settings.DATABASE).filter(execution_id=execution_id).order_by("seq")
    found_rows = ((row.kind, row.event_id, row.name, row.recorded_at, row.data) for row in rows)
    return items(found_rows, status=found.status)


def result(instance_id: str, timeout: float | None = None) -> Any:
    """Wait until an instance ends and return its result.

    Looks often at first and then less often, up to twice a second.

    Args:
        instance_id: The instance.
        timeout: How long to wait, in seconds; None is for ever, 0 does not wait.

    Raises:
        WorkflowFailed, WorkflowCanceled, WorkflowTerminated: It ended so.
        ResultTimeout: It did not end in time.
        InvalidInput: The timeout is no number, or the result does not fit the code at hand.
        UnknownInstance: There is none of this id.
    """
    return result_of(instance_id, timeout)


def result_of(instance_id: str, timeout: float | None, *, asked_at: float | None = None) -> Any:
    """Do what ``result`` does.

    Args:
        instance_id: The instance.
        timeout: How long to wait.
        asked_at: When it was started, by the monotonic clock, if this process did it: the first look
            waits a moment if that was just now.
    """
    patience = Patience(timeout)
    time.sleep(patience.first(asked_at))
    while (found := instances.closed(instance_id)) is None:
        if (pause := patience.pause()) is None:
            raise _too_late(instance_id, patience)
        time.sleep(pause)
    return _outcome(instance_id, found)


async def aresult_of(instance_id: str, timeout: float | None, *, asked_at: float | None = None) -> Any:
    """Do what ``result_of`` does, in async code.

    Looks through the thread that Django keeps for synchronous code, and does
    not hold it between looks: a thread of its own would leave a database
    connection open that nobody closes.
    """
    patience = Patience(timeout)
    await asyncio.sleep(patience.first(asked_at))
    waiter = Waiter(instance_id, patience)
    try:
        while not await waiter.look():
            if waiter.due is None:
                raise await sync_to_async(_too_late)(instance_id, patience)
            await waiter.rest()
    finally:
        waiter.due = None
    return await sync_to_async(_decoded_end)(waiter)


def _decoded_end(waiter: Waiter) -> Any:
    return _outcome(waiter.instance_id, instances.decoded(waiter.end or ()))


def _too_late(instance_id: str, patience: Patience) -> ResultTimeout:
    return ResultTimeout(instance_id, patience.timeout, status=status(instance_id))


def _outcome(instance_id: str, found: instances.Closed) -> Any:
    match found.status:
        case Status.COMPLETED:
            return _decoded(instance_id, found)
        case Status.FAILED:
            raise WorkflowFailed(instance_id, Failure.from_json(found.failure or {"type": "WorkflowFailed"}))
        case Status.CANCELED:
            raise WorkflowCanceled(instance_id)
        case _:
            raise WorkflowTerminated(instance_id, reason=(found.failure or {}).get("message", ""))


def _decoded(instance_id: str, found: instances.Closed) -> Any:
    try:
        signature = registry.workflow(found.name, found.version).signature
    except (UnknownWorkflow, VersionNotAvailable):
        return found.result
    return signature.decode_result(found.result, conf.converter(load=True), where=f"result of {instance_id}")
