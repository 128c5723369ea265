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

from django.db import InterfaceError, OperationalError, connections
from django.db.models import F, Q, Value

from durable import conf, dispatch, telemetry
from durable.engine import lost, retention, stalling
from durable.models import ActivityTask, InboxEvent, Status
from durable.store import clock, inbox, tasks, updates, workers

if TYPE_CHECKING:
    from collections.abc import Callable

AT_ONCE = 1000

_A_MESSAGE = 50
"""So many instances that are due together are one message at least: their turns are taken together."""


class Kind(IntEnum):
    """What can be due."""

    INBOX = 0
    TASK = 1
    TIMEOUT = 2


_SWEEPER = 3
"""The kind of the rows of a look that are no due things, but the workers that look."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a look found.

    Attributes:
        due: What is due, in order of time.
        more: Whether there may be more.
        sweepers: How many workers look for it.
    """

    due: list[Due]
    more: bool
    sweepers: int


def look(horizon: float) -> list[Due]:
    """Return what is due within ``horizon`` seconds and was not announced lately."""
    return look_around(horizon).due


def look_around(horizon: float) -> Seen:
    """Look for what is due within ``horizon`` seconds and was not announced lately, and for who else looks."""
    until = clock.now() + timedelta(seconds=horizon)
    events = (
        InboxEvent.objects.using(conf.settings.DATABASE)
        .filter(_unannounced(), visible_at__lte=until)
        .filter(execution__instance__status__in=[Status.PENDING, Status.RUNNING], execution__closed_at__isnull=True)
        .annotate(at=F("visible_at"))
        .values_list(Value(int(Kind.INBOX)), F("execution__instance_id"), F("execution__instance__queue"), "at")
    )
    work = (
        tasks.rows()
        .filter(_unannounced(), state=ActivityTask.State.READY, available_at__lte=until)
        .annotate(at=F("available_at"))
        .values_list(Value(int(Kind.TASK)), F("name"), F("queue"), "at")
    )
    timeouts = (
        tasks.rows()
        .filter(expires_at__lte=until)
        .annotate(at=F("expires_at"))
        .values_list(Value(int(Kind.TIMEOUT)), F("name"), F("queue"), "at")
    )
    sweepers = workers.sweeping().annotate(at=F("swept_at")).values_list(Value(_SWEEPER), F("id"), Value(""), "at")
    first, *others = [_some(query) for query in (events, work, timeouts, sweepers)]
    found: Any = list(first.union(*others, all=True).order_by("at")[: 2 * AT_ONCE])
    due = [Due(Kind(kind), target, queue, at) for kind, target, queue, at in found if kind != _SWEEPER]
    return Seen(due=due[:AT_ONCE], more=len(due) >= AT_ONCE, sweepers=len(found) - len(due))


def _unannounced() -> Q:
    return Q(dispatched_at__isnull=True) | Q(dispatched_at__lt=_stale())


def _stale() -> datetime:
    return clock.now() - timedelta(seconds=dispatch.patience())


def _some(query: Any) -> Any:
    """Return the first rows of a query, where the database can do so within another one."""
    if connections[conf.settings.DATABASE].features.supports_slicing_ordering_in_compound:
        return query.order_by("at")[:AT_ONCE]
    return query.order_by()


def announce(found: list[Due]) -> None:
    """Tell workers what is due, and note that they were told; end what ran out of time."""
    instances = {(due.queue, due.target) for due in found if due.kind is Kind.INBOX}
    queues = Counter(due.queue for due in found if due.kind is Kind.TASK)
    if any(due.kind is Kind.TIMEOUT for due in found):
        lost.find_expired()
    if instances:
        told = inbox.announce([instance_id for _, instance_id in instances], stale=_stale())
        dispatch.advance([each for each in instances if each[1] in told], at_least=_A_MESSAGE)
    if queues:
        now = clock.now()
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
