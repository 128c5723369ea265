"""What the rows say of an instance: its tasks and leases, its inbox, its queues, and who is there to do something."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Min

from durable import conf
from durable.core import events as ev
from durable.core.errors import UndecodablePayload
from durable.core.failures import Failure
from durable.models import OPEN, ActivityTask, HistoryEvent, Status
from durable.store import clock, history, inbox, instances, tasks, workers

if TYPE_CHECKING:
    import uuid
    from datetime import datetime

    from durable.models import Instance, Worker

AT_MOST = 100
"""How many tasks are told of."""

_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseFacts:
    """Work that belongs to a worker.

    Attributes:
        event_id, name: The activity's.
        worker: The worker's host and process, or its id if nothing else is known of it.
        until: When the lease is up, unless the worker shows a sign of life.
        is_alive: Whether the lease holds.
        in_place: Whether it is on the instance: the worker that took a turn runs the activity itself.
    """

    event_id: int
    name: str
    worker: str
    until: datetime
    is_alive: bool
    in_place: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    """An activity that was handed out and has not ended.

    Attributes:
        state: ``ready``, ``held``, ``running`` or ``external``.
        attempt: The attempt that runs or is to come, from 1.
        created_at: When it was asked for.
        due: When its next attempt may begin.
        gives_up_at: When a timeout ends it or its attempt, or None.
        last_failure: How the attempt before failed, or None.
        lease: Who runs it, or None.
    """

    event_id: int
    name: str
    queue: str
    state: str
    attempt: int
    created_at: datetime
    due: datetime
    gives_up_at: datetime | None
    last_failure: Failure | None
    lease: LeaseFacts | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFacts:
    """A queue that the instance or a task of it is on.

    Attributes:
        backlog: How many activities are due on it, of all instances.
        oldest: Since when the oldest of them has been due, or None.
        workers: How many workers serve it and showed a sign of life lately.
    """

    name: str
    backlog: int
    oldest: datetime | None
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the rows say of an instance.

    Attributes:
        at: When they were read.
        head: How many events there are.
        last_turn: When the last event was recorded, or None.
        suspension: Why it is suspended, if somebody said so.
        starts_at: When it is to begin, if it has not.
        unread: What kinds of events wait to be seen by the code, and how many of each.
        unread_since: Since when the oldest of them waits, or None.
        tasks_omitted: How many more tasks there are.
        lease: The lease on the instance, or None.
        is_swept: Whether any worker looks for due work.
        children: The statuses of its open children, by id.
        timers: The event ids of timers that are to fire.
    """

    instance: Instance
    at: datetime
    head: int
    last_turn: datetime | None
    suspension: str
    starts_at: datetime | None
    unread: dict[str, int]
    unread_since: datetime | None
    tasks: tuple[TaskFacts, ...]
    tasks_omitted: int
    lease: LeaseFacts | None
    queues: tuple[QueueFacts, ...]
    is_swept: bool
    children: dict[str, str]
    timers: frozenset[int]


def gather(instance_id: str) -> Facts:
    """Read what is to be known of an instance.

    Raises:
        UnknownInstance: There is none of this id.
    """
    for _ in range(_TRIES):
        instance = instances.get(instance_id, payloads=False)
        facts = _of(instance)
        now = instances.get(instance_id, payloads=False)
        if (now.execution_id, now.head, now.status) == (instance.execution_id, instance.head, instance.status):
            break  # else a turn came in between, and the rows need not fit together
    return facts


def _of(instance: Instance) -> Facts:
    now = clock.now()
    execution_id, is_open = instance.execution_id, instance.status in OPEN
    events = HistoryEvent.objects.using(conf.settings.DATABASE).filter(execution_id=execution_id)
    # What ends goes from here into the inbox, so that is read last.
    # By the parent as well: only of that there is an index.
    children = instances.rows().filter(parent=instance, parent_execution_id=execution_id, status__in=OPEN)
    open_children = dict(children.values_list("pk", "status"))
    rows = _tasks(execution_id) if is_open else []
    found = tuple(_task(row, now) for row in rows[:AT_MOST])
    waiting = inbox.rows().filter(execution_id=execution_id)
    starts = waiting.filter(kind=ev.ExecutionStarted.__name__).values_list("visible_at", flat=True)
    due = waiting.filter(visible_at__lte=now).order_by()
    unread = {row["kind"]: row for row in due.values("kind").annotate(count=Count("pk"), since=Min("visible_at"))}
    return Facts(
        instance=instance,
        at=now,
        head=instance.head,
        last_turn=events.order_by("-seq").values_list("recorded_at", flat=True).first(),
        suspension=_suspension(events) if instance.status == Status.SUSPENDED else "",
        starts_at=starts.first(),
        unread={kind: row["count"] for kind, row in unread.items()},
        unread_since=min((row["since"] for row in unread.values()), default=None),
        tasks=found,
        tasks_omitted=0 if len(rows) <= AT_MOST else tasks.rows().filter(execution_id=execution_id).count() - AT_MOST,
        lease=_lease(instance, now),
        queues=tuple(_queue(name, now) for name in sorted({instance.queue, *(task.queue for task in found)})),
        is_swept=workers.sweeping().exists(),
        children=open_children,
        timers=frozenset(waiting.filter(kind=ev.TimerFired.__name__).values_list("event_id", flat=True)),
    )


def _tasks(execution_id: uuid.UUID) -> list[ActivityTask]:
    found = tasks.rows().filter(execution_id=execution_id).defer("input", "heartbeat_details")
    try:
        return list(found[: AT_MOST + 1])
    except UndecodablePayload:
        return list(found.defer(*tasks.PAYLOADS)[: AT_MOST + 1])


def _suspension(events: Any) -> str:
    last = events.filter(kind=ev.ExecutionSuspended.__name__).order_by("-seq").first()
    return str(last.data.get("reason", "")) if last else ""


def _task(row: ActivityTask, now: datetime) -> TaskFacts:
    lease = None
    if row.state == tasks.State.RUNNING and row.lease_until is not None:
        lease = _held(row.event_id, row.name, row.worker, row.lease_until, now)
    return TaskFacts(
        event_id=row.event_id,
        name=row.name,
        queue=row.queue,
        state=row.state,
        attempt=row.attempt,
        created_at=row.created_at,
        due=row.available_at,
        gives_up_at=row.expires_at,
        last_failure=_last_failure(row),
        lease=lease,
    )


def _last_failure(row: ActivityTask) -> Failure | None:
    try:
        return Failure.from_json(row.last_failure) if row.last_failure else None
    except UndecodablePayload as error:
        return Failure.of(error)


def _lease(instance: Instance, now: datetime) -> LeaseFacts | None:
    if instance.lease is None or instance.lease_until is None or instance.lease_event_id is None:
        return None
    event_id = instance.lease_event_id
    name = history.name_of(instance.execution_id, event_id)
    held = _held(event_id, name, instance.lease_worker, instance.lease_until, now)
    return replace(held, in_place=True)


def _held(event_id: int, name: str, worker_id: str, until: datetime, now: datetime) -> LeaseFacts:
    worker: Worker | None = workers.rows().filter(pk=worker_id).first()
    breathed = worker is not None and worker.heartbeat_at > now - timedelta(seconds=conf.settings.LEASE)
    return LeaseFacts(
        event_id=event_id,
        name=name,
        worker=worker_id if worker is None else str(worker),
        until=until,
        is_alive=breathed or until > now,
        in_place=False,
    )


def _queue(name: str, now: datetime) -> QueueFacts:
    ready = tasks.rows().filter(queue=name, state=tasks.State.READY, available_at__lte=now).order_by()
    found = ready.aggregate(backlog=Count("pk"), oldest=Min("available_at"))
    return QueueFacts(name=name, workers=len(workers.serving(name)), **found)
