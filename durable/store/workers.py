"""Workers: the processes that hold leases, and their signs of life."""

from __future__ import annotations

import os
import socket
import uuid
from datetime import timedelta
from typing import Any

from durable import conf
from durable.models import Worker
from durable.store import clock

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
    if not rows().filter(pk=me()).update(heartbeat_at=now, queues=queues):
        rows().create(
            id=me(), hostname=socket.gethostname(), pid=os.getpid(), queues=queues, started_at=now, heartbeat_at=now
        )


def leave() -> None:
    """Forget this process: whatever it still holds is free."""
    rows().filter(pk=me()).delete()


def alive() -> Any:
    """Return the ids of the workers that showed a sign of life lately, as a subquery."""
    return rows().filter(heartbeat_at__gt=clock.now() - timedelta(seconds=conf.settings.LEASE)).values("pk")


def forget_dead() -> None:
    """Delete the rows of workers that have been silent for long."""
    rows().filter(heartbeat_at__lt=clock.now() - timedelta(seconds=20 * conf.settings.LEASE)).delete()


def rows() -> Any:
    """Return all workers, on the database of the settings."""
    return Worker.objects.using(conf.settings.DATABASE)
