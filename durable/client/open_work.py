"""The activities of an instance that have not ended: who runs them, and how their attempts went."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from durable import conf
from durable.core.errors import UndecodablePayload
from durable.models import CLOSED, ActivityTask
from durable.store import clock, history, tasks, workers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from durable.models import Instance, Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWork:
    """An activity that was asked for and has not ended.

    Attributes:
        event_id: Its number.
        state: ``ready``, ``held``, ``running`` or ``external``.
        attempt: The attempt that runs or is to come, from 1.
        created_at: When it was asked for; None of one in place.
        due: When its next attempt may begin; None while one runs.
        started_at: When the attempt began, or None if that is not known.
        gives_up_at: When a timeout ends it or its attempt, or None.
        heartbeat_at: When it last gave a sign of life by itself, or None.
        heartbeat_details: What it said then; a payload.
        last_failure: How the attempt before failed, or None; a payload.
        worker: The worker's host and process, or its id if nothing else is known of it; empty without one.
        is_alive: Whether the worker showed a sign of life lately; None without one.
        in_place: Whether the worker that took a turn runs it itself.
        cancel_requested: Whether it was asked to stop.
    """

    event_id: int
    name: str
    queue: str
    state: str
    attempt: int
    created_at: datetime | None
    due: datetime | None
    started_at: datetime | None
    gives_up_at: datetime | None
    heartbeat_at: datetime | None
    heartbeat_details: Any
    last_failure: Any
    worker: str
    is_alive: bool | None
    in_place: bool
    cancel_requested: bool


def rows(found: Instance, *, payloads: bool) -> Any:
    """Return the query for the tasks of an instance.

    Args:
        found: The instance.
        payloads: Whether to read their payloads as well, and not only when they are asked for.
    """
    current = tasks.rows().filter(execution_id=found.execution_id)
    unread = ("input",) if payloads else tasks.PAYLOADS
    return (current.none() if found.status in CLOSED else current).defer(*unread)


def of_tasks(some: Sequence[ActivityTask], *, payloads: bool) -> list[OpenWork]:
    """Return tasks as callers see them.

    Args:
        some: The tasks.
        payloads: Whether to tell of their payloads; else those are None.
    """
    known = _workers({task.worker for task in some})
    return [_of_task(task, known, payloads=payloads) for task in some]


def in_place(found: Instance) -> OpenWork | None:
    """Return what the worker that took an instance's last turn runs itself, or None."""
    if found.lease is None or found.lease_event_id is None or found.lease_until is None:
        return None
    known = _workers({found.lease_worker})
    return OpenWork(
        event_id=found.lease_event_id,
        name=history.name_of(found.execution_id, found.lease_event_id),
        queue=found.queue,
        state=ActivityTask.State.RUNNING,
        attempt=1,  # what fails is handed out
        created_at=None,
        due=None,
        started_at=None,
        gives_up_at=None,
        heartbeat_at=None,
        heartbeat_details=None,
        last_failure=None,
        worker=_name(found.lease_worker, known),
        is_alive=_is_alive(found.lease_worker, found.lease_until, known),
        in_place=True,
        cancel_requested=False,
    )


def _workers(ids: set[str]) -> dict[str, Worker]:
    wanted = ids - {""}
    return dict(workers.rows().in_bulk(wanted)) if wanted else {}


def _of_task(task: ActivityTask, known: dict[str, Worker], *, payloads: bool) -> OpenWork:
    until = task.lease_until if task.state == ActivityTask.State.RUNNING else None
    return OpenWork(
        event_id=task.event_id,
        name=task.name,
        queue=task.queue,
        state=task.state,
        attempt=task.attempt,
        created_at=task.created_at,
        due=task.available_at if task.state in (ActivityTask.State.READY, ActivityTask.State.HELD) else None,
        started_at=task.started_at,
        gives_up_at=task.expires_at,
        heartbeat_at=task.heartbeat_at,
        heartbeat_details=_payload(task, "heartbeat_details") if payloads else None,
        last_failure=_payload(task, "last_failure") if payloads else None,
        worker=_name(task.worker, known) if until else "",
        is_alive=_is_alive(task.worker, until, known) if until else None,
        in_place=False,
        cancel_requested=task.cancel_requested,
    )


def _payload(task: ActivityTask, name: str) -> Any:
    """Return a payload; what is damaged keeps nobody from seeing the rest."""
    try:
        return getattr(task, name)
    except UndecodablePayload as error:
        return {"type": "UndecodablePayload", "message": str(error)}


def _name(worker_id: str, known: dict[str, Worker]) -> str:
    return str(known.get(worker_id, worker_id))


def _is_alive(worker_id: str, until: datetime, known: dict[str, Worker]) -> bool:
    now = clock.now()
    worker = known.get(worker_id)
    breathed = worker is not None and worker.heartbeat_at > now - timedelta(seconds=conf.settings.LEASE)
    return breathed or until > now
