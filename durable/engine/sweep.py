"""Finds what is due and was not announced, or whose announcement was lost, and what nobody works on any more.

Each look is one statement, so that an idle worker asks the database one
question a second.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from django.db import InterfaceError, OperationalError
from django.db.models import F, Q, Value

from durable import conf, dispatch, telemetry
from durable.engine import lost, retention, stalling
from durable.models import ActivityTask, InboxEvent, Status
from durable.store import clock, inbox, tasks, updates

if TYPE_CHECKING:
    from collections.abc import Callable

AT_ONCE = 1000


class Kind(IntEnum):
    """What can be due."""

    INBOX = 0
    TASK = 1
    TIMEOUT = 2


@dataclass(frozen=True, slots=True)
class Due:
    """Something that is due now or soon: an instance's inbox, a queue's task, or a task's timeout.

    Attributes:
        target: The instance's id, or the activity's name.
    """

    kind: Kind
    target: str
    queue: str
    at: datetime


def look(horizon: float) -> list[Due]:
    """Return what is due within ``horizon`` seconds and was not announced lately."""
    until = clock.now() + timedelta(seconds=horizon)
    stale = clock.now() - timedelta(seconds=dispatch.patience())
    unannounced = Q(dispatched_at__isnull=True) | Q(dispatched_at__lt=stale)
    events = (
        InboxEvent.objects.using(conf.settings.DATABASE)
        .filter(unannounced, visible_at__lte=until)
        .filter(execution__instance__status__in=[Status.PENDING, Status.RUNNING], execution__closed_at__isnull=True)
        .order_by()
        .annotate(at=F("visible_at"))
        .values_list(Value(int(Kind.INBOX)), F("execution__instance_id"), F("execution__instance__queue"), "at")
    )
    work = (
        tasks.rows()
        .filter(unannounced, state=ActivityTask.State.READY, available_at__lte=until)
        .order_by()
        .annotate(at=F("available_at"))
        .values_list(Value(int(Kind.TASK)), F("name"), F("queue"), "at")
    )
    timeouts = (
        tasks.rows()
        .filter(expires_at__lte=until)
        .order_by()
        .annotate(at=F("expires_at"))
        .values_list(Value(int(Kind.TIMEOUT)), F("name"), F("queue"), "at")
    )
    found: Any = events.union(work, timeouts, all=True).order_by("at")[:AT_ONCE]
    return [Due(Kind(kind), target, queue, at) for kind, target, queue, at in found]


def announce(found: list[Due]) -> None:
    """Tell workers what is due, and note that they were told; end what ran out of time."""
    now = clock.now()
    instances = {(due.queue, due.target) for due in found if due.kind is Kind.INBOX}
    queues = Counter(due.queue for due in found if due.kind is Kind.TASK)
    if any(due.kind is Kind.TIMEOUT for due in found):
        lost.find_expired()
    if instances:
        ids = [instance_id for _, instance_id in instances]
        InboxEvent.objects.using(conf.settings.DATABASE).filter(
            execution__instance__in=ids, visible_at__lte=now
        ).update(dispatched_at=now)
        dispatch.advance(instances)
    if queues:
        ready = tasks.rows().filter(queue__in=queues, state=ActivityTask.State.READY, available_at__lte=now)
        ready.update(dispatched_at=now)
        dispatch.perform(queues)


LOOKS: tuple[Callable[[], Any], ...] = (
    lost.find_dead_in_place,
    lost.find_dead_tasks,
    stalling.retry_stalled,
    inbox.forget_late,
    updates.forget_old,
    retention.purge_old,
    clock.sync,
)
"""What is looked for now and then, besides what is due; one statement each when there is nothing."""


def sweep() -> int:
    """Announce all that is due now and take care of what was left behind.

    Returns:
        How many due things were announced.
    """
    for look_for in LOOKS:
        try:
            look_for()
        except (OperationalError, InterfaceError):
            raise  # the database is away, or migrating
        except Exception:  # noqa: BLE001 - one look's trouble must not keep the others from being taken
            telemetry.logger.exception("could not %s", look_for.__name__)
    found = look(0)
    announce(found)
    return len(found)
