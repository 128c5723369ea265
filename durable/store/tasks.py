"""Activity tasks: work that is handed from worker to worker."""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.db import connections

from durable import conf
from durable.core.errors import UndecodablePayload
from durable.models import ActivityTask, Status
from durable.store import clock, driver, instances, many, workers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from durable.core.events import Asked

State = ActivityTask.State

PAYLOADS = ("input", "heartbeat_details", "last_failure")
"""The columns that pass through the codec."""

_FREE = {"state": State.READY, "worker": "", "lease": None, "lease_until": None, "started_at": None}


def rows() -> Any:
    """Return all tasks, on the database of the settings."""
    return ActivityTask.objects.using(conf.settings.DATABASE)


def row(execution_id: uuid.UUID, asked: Asked, **values: Any) -> ActivityTask:
    """Return a new task, not saved, that is ready now unless ``values`` say otherwise."""
    now = clock.now()
    due = values.get("available_at", now)
    # Announced by whoever writes it; what is due later, by whoever sees that it is.
    given = {"available_at": due, "created_at": now, "dispatched_at": now if due <= now else None, **values}
    return ActivityTask(execution_id=execution_id, event_id=asked.event_id, **given)


def insert(tasks: Sequence[ActivityTask]) -> None:
    """Store tasks, in one statement; of many, none learns its key."""
    many.insert(tasks)


def next_ready(queue: str, count: int) -> list[ActivityTask]:
    """Lock the next tasks of a queue that are due, and return them; call it in a transaction.

    One whose payloads cannot be decoded comes without them, and raises when they are asked for.

    Args:
        queue: Whose.
        count: How many at most.
    """
    features = connections[conf.settings.DATABASE].features
    ready = rows().filter(queue=queue, state=State.READY, available_at__lte=clock.now())
    ready = ready.exclude(execution__instance__status=Status.SUSPENDED)
    if features.has_select_for_update:
        of = ("self",) if features.has_select_for_update_of else ()
        ready = ready.select_for_update(skip_locked=features.has_select_for_update_skip_locked, of=of)
    ready = ready.order_by("-priority", "available_at", "id")
    try:
        # What runs it needs nothing else of its instance.
        return list(_with_instance(ready, but=("headers",))[:count])
    except UndecodablePayload:
        return list(without_payloads(ready)[:1])


def without_payloads(query: Any) -> Any:
    """Return a query that reads tasks with their instances, and no payload of either unless it is asked for.

    One that cannot be decoded would keep all others from being read.
    """
    return _with_instance(query).defer(*PAYLOADS)


def _with_instance(query: Any, but: Sequence[str] = ()) -> Any:
    unread = [f"execution__instance__{name}" for name in instances.PAYLOADS if name not in but]
    return query.select_related("execution__instance").defer(*unread)


def take(found: Sequence[ActivityTask], *, worker: str, expiries: Sequence[datetime | None]) -> list[ActivityTask]:
    """Lease ready tasks to a worker, and return those that were still ready.

    Of several it is not known when each begins, so their rows do not say that they have.

    Args:
        found: The tasks.
        worker: Whose they are.
        expiries: When each of them is given up.
    """
    now, lease = clock.now(), uuid.uuid4()
    values = {
        "state": State.RUNNING,
        "worker": worker,
        "lease": lease,
        "lease_until": now + timedelta(seconds=conf.settings.LEASE),
        "started_at": now if len(found) == 1 else None,
    }
    taken: set[int] = set()
    for expires_at in set(expiries):
        alike = [task for task, until in zip(found, expiries, strict=True) if until == expires_at]
        still = rows().filter(pk__in=[task.pk for task in alike], state=State.READY)
        taken |= _lease(alike, still, {**values, "expires_at": expires_at})
    return [task for task in found if task.pk in taken]


def _lease(those: Sequence[ActivityTask], query: Any, values: dict[str, Any]) -> set[int]:
    leased = {task.pk for task in those}
    if query.update(**values) != len(leased):
        leased &= set(rows().filter(lease=values["lease"]).values_list("pk", flat=True))
    for task in those:
        for name, value in values.items():
            setattr(task, name, value)
    return leased


def finish_all(leased: Sequence[ActivityTask]) -> bool:
    """Delete leased tasks; False, with only some deleted, if the lease of one is lost or a rewind took one along."""
    executions = {task.execution_id for task in leased}
    connection: Any = connections[conf.settings.DATABASE]
    if len(executions) > 1 and driver.is_at_hand(connection):
        keys = [(task.pk, task.lease, task.execution_id) for task in leased]
        with driver.cursor(connection) as client:
            client.execute(_finishing(), [*map(list, zip(*keys, strict=True)), [task.pk for task in leased]])
            return int(client.rowcount) == len(leased)
    deleted = 0
    for execution_id in executions:
        of_it = [task for task in leased if task.execution_id == execution_id]
        query = rows().filter(pk__in=[task.pk for task in of_it], lease__in={task.lease for task in of_it})
        deleted += query.filter(execution_id=execution_id).delete()[0]
    return deleted == len(leased)


@lru_cache
def _finishing() -> str:
    return _FINISHED.format(task=f'"{ActivityTask._meta.db_table}"').strip()


_FINISHED = """
DELETE FROM {task} AS t USING unnest(%s::bigint[], %s::uuid[], %s::uuid[]) AS held (id, lease, execution_id)
WHERE t.id = ANY(%s) AND t.id = held.id AND t.lease = held.lease AND t.execution_id = held.execution_id
"""


def finish(task: ActivityTask) -> bool:
    """Delete a leased task; False if the lease is lost, so that its result counts no more.

    A task that a rewind took along names, after this, the execution that it went to.
    """
    deleted, _ = fenced(task).filter(execution_id=task.execution_id).delete()
    if not deleted and (moved := without_payloads(fenced(task)).first()) is not None:
        task.execution = moved.execution
        deleted, _ = fenced(task).delete()
    return bool(deleted)


def has_moved(task: ActivityTask) -> bool:
    """Say whether a rewind took a leased task along."""
    return bool(fenced(task).exclude(execution_id=task.execution_id).exists())


def in_flight(execution_id: uuid.UUID) -> dict[int, ActivityTask]:
    """Lock and return an execution's tasks, by event id."""
    return {task.event_id: task for task in locked().filter(execution_id=execution_id)}


def take_along(task: ActivityTask, execution_id: uuid.UUID) -> bool:
    """Give a locked task to the execution that goes on for its own; say whether it waits for a worker."""
    waits = task.state in (State.READY, State.HELD)
    state = State.READY if waits else task.state
    rows().filter(pk=task.pk).update(execution_id=execution_id, cancel_requested=False, state=state)
    return waits


def put_back(task: ActivityTask, *, expires_at: datetime | None, **values: Any) -> bool:
    """Make a leased task ready again; False if the lease is lost.

    Args:
        task: As it was leased.
        expires_at: By when it is to begin; while it was leased it had to end by its deadline.
        values: What else changes.
    """
    return _change(task, fenced(task), {**_FREE, "expires_at": expires_at, **values})


def try_again(task: ActivityTask, **values: Any) -> bool:
    """Make a leased task ready for another attempt; False if the lease is lost, or it was called off."""
    return _change(task, fenced(task).filter(cancel_requested=False), {**_FREE, **values})


def keep(task: ActivityTask, **values: Any) -> bool:
    """Change a leased task; False if the lease is lost."""
    return _change(task, fenced(task), values)


def secret(task: ActivityTask) -> str:
    """Return what nobody can work out who was not told: of a task as it was leased, and of no other one."""
    return hashlib.sha256(f"{task.lease}:{task.pk}".encode()).hexdigest()[:32]


def fenced(task: ActivityTask) -> Any:
    """Return the query for a task as it was leased: same lease, same attempt."""
    return rows().filter(pk=task.pk, lease=task.lease, attempt=task.attempt)


def _change(task: ActivityTask, query: Any, values: dict[str, Any]) -> bool:
    if not query.update(**values):
        return False
    for name, value in values.items():
        setattr(task, name, value)
    return True


def call_off(
    execution_id: uuid.UUID, event_ids: Iterable[int] | None = None, *, keep_external: bool = False
) -> set[int]:
    """Drop what no worker has begun and tell what runs to stop.

    Args:
        execution_id: Whose tasks.
        event_ids: Which; None is all.
        keep_external: Whether what somebody outside is to complete is not dropped, as that may count after all.

    Returns:
        The event ids of the dropped ones.
    """
    chosen = rows().filter(execution_id=execution_id)
    if event_ids is not None:
        chosen = chosen.filter(event_id__in=list(event_ids))
    unbegun = [State.READY, State.HELD, *([] if keep_external else [State.EXTERNAL])]
    waiting = chosen.filter(state__in=unbegun)
    if connections[conf.settings.DATABASE].features.has_select_for_update:
        waiting = waiting.select_for_update()
    dropped = dict(waiting.values_list("pk", "event_id"))
    rows().filter(pk__in=list(dropped)).delete()
    chosen.exclude(pk__in=list(dropped)).update(cancel_requested=True)
    return set(dropped.values())


def running(execution_id: uuid.UUID) -> list[tuple[str, int]]:
    """Return the name and event id of the activities that somebody runs, or is to complete from outside.

    Locks all tasks of the execution, so that nobody begins another one in the transaction at hand.
    """
    found = locked().filter(execution_id=execution_id).defer(*PAYLOADS).order_by("id")

    def runs(task: ActivityTask) -> bool:
        # What was left to somebody outside when its execution failed may stay so for ever.
        return task.state == State.RUNNING or (task.state == State.EXTERNAL and not task.cancel_requested)

    return [(task.name, task.event_id) for task in found if runs(task)]


def drop_external(execution_id: uuid.UUID) -> None:
    """Drop what waits to be completed from outside: nobody waits for it any more."""
    rows().filter(execution_id=execution_id, state=State.EXTERNAL).delete()


def hold(execution_id: uuid.UUID) -> None:
    """Keep workers from beginning an execution's tasks."""
    rows().filter(execution_id=execution_id, state=State.READY).update(state=State.HELD)


def unhold(execution_id: uuid.UUID) -> dict[str, int]:
    """Undo ``hold``, and return how many tasks may begin, by queue."""
    held = rows().filter(execution_id=execution_id, state=State.HELD)
    counts = Counter(held.values_list("queue", flat=True))
    held.update(state=State.READY)
    return counts


def orphans(limit: int) -> list[ActivityTask]:
    """Return tasks whose worker shows no sign of life any more."""
    lost = rows().filter(state=State.RUNNING, lease_until__lt=clock.now()).exclude(worker__in=workers.alive())
    return list(without_payloads(lost)[:limit])


def expired(limit: int) -> list[ActivityTask]:
    """Return tasks that ran into one of their timeouts."""
    return list(without_payloads(rows().filter(expires_at__lte=clock.now()))[:limit])


def locked() -> Any:
    """Return a query that locks the tasks it finds."""
    features = connections[conf.settings.DATABASE].features
    if not features.has_select_for_update:
        return rows()
    return rows().select_for_update(of=("self",) if features.has_select_for_update_of else ())
