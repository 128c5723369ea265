"""Do what sweepers and workers do, in this thread and without messages: whatever is due by the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Min, Q

from durable.engine.advance import advance
from durable.engine.lost import find_expired
from durable.engine.perform import perform
from durable.engine.sweep import LOOKS
from durable.models import OPEN, ActivityTask, Status
from durable.store import clock, inbox, instances, tasks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    Queues = Sequence[str] | None

_State = ActivityTask.State


def sweep() -> None:
    """Take care of what was left behind, as a sweeper does."""
    for look in (*LOOKS, find_expired):
        look()


def sweep_again() -> None:
    """Take care of what may have come up since a moment ago; what is looked for otherwise is older."""
    find_expired()


def advance_due(queues: Queues = None) -> int:
    """Give every instance that something waits for a turn; return how many there were."""
    due = due_instances(queues)
    for instance_id in due:
        advance(instance_id)
    return len(due)


def perform_due(queues: Queues = None) -> int:
    """Drain every queue that has a task ready; return how many there were."""
    due = due_queues(queues)
    for queue in due:
        perform(queue)
    return len(due)


def due_instances(queues: Queues = None) -> list[str]:
    """Return the ids of the instances that a worker should look at now."""
    now = clock.now()
    waiting = _moving(queues).filter(visible_at__lte=now).order_by("visible_at", "id")
    ids = list(waiting.values_list("execution__instance_id", flat=True))
    stalled = instances.rows().filter(_on(queues, "queue"), status=Status.STALLED, retry_at__lte=now)
    return list(dict.fromkeys([*ids, *stalled.values_list("pk", flat=True)]))


def due_queues(queues: Queues = None) -> list[str]:
    """Return the queues that have a task ready now."""
    ready = tasks.rows().filter(_on(queues, "queue"), state=_State.READY, available_at__lte=clock.now())
    return sorted(set(ready.values_list("queue", flat=True)))


def next_due(queues: Queues = None) -> datetime | None:
    """Return when something is due next, after now: a timer, a retry, a timeout or a lease; None if nothing is."""
    now = clock.now()
    waiting = tasks.rows().filter(_on(queues, "queue"))
    times = [
        _first(_moving(queues), "visible_at", now),
        _first(waiting.filter(state=_State.READY), "available_at", now),
        _first(waiting, "expires_at", now),
        _first(waiting.filter(state=_State.RUNNING), "lease_until", now),
        _first(instances.rows().filter(_on(queues, "queue"), status__in=OPEN), "lease_until", now),
    ]
    return min((at for at in times if at is not None), default=None)


def snapshot() -> list[Any]:
    """Return what changes whenever something was done."""
    fields = ("pk", "execution_id", "head", "status", "failed_turns", "retry_at")
    work = tasks.rows().values_list("pk", "attempt", "state", "available_at")
    rows = (instances.rows().values_list(*fields), work, inbox.rows().values_list("pk"))
    return [sorted(map(str, found)) for found in rows]


def _moving(queues: Queues) -> Any:
    """Return what waits in the inboxes of instances that can take it."""
    moving = Q(execution__instance__status__in=[Status.PENDING, Status.RUNNING])
    return inbox.rows().filter(moving, _on(queues, "execution__instance__queue"))


def _on(queues: Queues, field: str) -> Q:
    return Q() if queues is None else Q(**{f"{field}__in": list(queues)})


def _first(rows: Any, field: str, after: datetime) -> Any:
    return rows.filter(**{f"{field}__gt": after}).aggregate(at=Min(field))["at"]
