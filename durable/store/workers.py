"""Workers: the processes that hold leases or look for due work, and their signs of life."""

from __future__ import annotations

import os
import socket
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.db.models import Case, DateTimeField, F, Q, When

from durable import conf
from durable.models import Worker
from durable.store import clock

if TYPE_CHECKING:
    from datetime import datetime

SWEEP_EACH = 12
"""Each how many looks for due work a process says that it does so."""

_ids: dict[int, str] = {}


def me() -> str:
    """Return this process's id; a forked child has one of its own."""
    pid = os.getpid()
    if pid not in _ids:
        _ids.clear()
        _ids[pid] = uuid.uuid4().hex
    return _ids[pid]


def beat(queues: list[str]) -> None:
    """Record a sign of life of this process."""
    now = clock.sync()
    _show(queues, now, heartbeat_at=now)


def sweep(queues: list[str]) -> None:
    """Record that this process looks for due work; one of ``SWEEP_EACH`` looks is enough."""
    now = clock.now()
    _show(queues, now, heartbeat_at=now, swept_at=now)


def _show(queues: list[str], now: datetime, **signs: datetime) -> None:
    mine = rows().filter(pk=me())
    if mine.update(queues=queues, **signs):
        return
    facts = {"hostname": socket.gethostname(), "pid": os.getpid(), "queues": queues, "started_at": now}
    try:
        with transaction.atomic(using=conf.settings.DATABASE):
            rows().create(id=me(), **facts, **{"heartbeat_at": now, **signs})
    except IntegrityError:
        mine.update(**signs)  # another thread of this process was quicker


def leave() -> None:
    """Forget this process: whatever it still holds is free."""
    rows().filter(pk=me()).delete()


def alive() -> Any:
    """Return the ids of the workers that showed a sign of life lately, as a subquery."""
    return rows().filter(_works()).values("pk")


def sweeping() -> Any:
    """Return the workers that look for due work, by what they said lately."""
    return rows().filter(_looks())


def living() -> Any:
    """Return the workers that work, or look for due work."""
    return rows().filter(_works() | _looks())


def listed() -> Any:
    """Return all workers, those alive first, and then whoever fell silent last.

    Each has ``silent_since``, None if it is alive, and ``looks``: whether it looks for due work.
    """
    silent = Case(When(_works() | _looks(), then=None), default=F("heartbeat_at"), output_field=DateTimeField())
    looks = Case(When(_looks(), then=True), default=False)
    found = rows().annotate(silent_since=silent, looks=looks)
    return found.order_by(F("silent_since").desc(nulls_first=True), "hostname", "pid", "pk")


def serving(queue: str) -> list[Worker]:
    """Return the workers that serve a queue and showed a sign of life lately: one that works, or one that looks."""
    return [worker for worker in living() if queue in worker.queues]


def served() -> set[str]:
    """Return the queues that such workers serve."""
    return {queue for worker in living() for queue in worker.queues}


def _works() -> Q:
    return Q(heartbeat_at__gt=clock.now() - timedelta(seconds=conf.settings.LEASE))


def _looks() -> Q:
    return Q(swept_at__gt=clock.now() - timedelta(seconds=3 * SWEEP_EACH * conf.settings.POLL))


def forget_dead() -> None:
    """Delete the rows of workers that have been silent for long."""
    rows().filter(heartbeat_at__lt=clock.now() - timedelta(seconds=20 * conf.settings.LEASE)).delete()


def rows() -> Any:
    """Return all workers, on the database of the settings."""
    return Worker.objects.using(conf.settings.DATABASE)
