"""How much the processes of a run compute: client, workers, database, broker."""

from __future__ import annotations

import contextlib
from functools import lru_cache
from typing import TYPE_CHECKING

import psutil
from django.conf import settings
from django.db import connection

from benchmarks import tasks

if TYPE_CHECKING:
    from benchmarks.engines import Engine

Seconds = dict[str, float]
"""Of computing, by who did it."""


def seconds(engine: Engine) -> Seconds:
    """Return how long everybody has computed so far; who runs on another machine is left out."""
    spent = {"client": _own(psutil.Process())}
    if engine.roots:
        spent["workers"] = sum(_tree(pid) for pid in engine.roots)
    for name, pid in (("database", _database()), ("broker", _broker())):
        if pid is not None:
            spent[name] = _tree(pid)
    return spent


def per_step(before: Seconds, after: Seconds, steps: int) -> dict[str, float]:
    """Return the milliseconds of computing for each step, as metrics."""
    return {f"{name}_cpu_ms": (after[name] - before[name]) * 1000 / steps for name in before if name in after}


def _own(process: psutil.Process) -> float:
    times = process.cpu_times()
    # With the processes that measured something for this one and have ended.
    return float(times.user + times.system + times.children_user + times.children_system)


def _tree(pid: int) -> float:
    """Return what a process and its children computed, those that have ended included."""
    total = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


@lru_cache
def _database() -> int | None:
    """Return PostgreSQL's main process, if it runs on this machine."""
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    with contextlib.suppress(psutil.Error):
        backend = psutil.Process(pid)
        if backend.name().startswith("postgres") and (parent := backend.parent()) is not None:
            return int(parent.pid)
    return None


@lru_cache
def _broker() -> int | None:
    """Return Redis's process, if it runs on this machine."""
    if not str(settings.CELERY_BROKER_URL).startswith("redis"):
        return None
    pid = int(tasks.broker().info("server")["process_id"])
    with contextlib.suppress(psutil.Error):
        if "redis" in psutil.Process(pid).name():
            return pid
    return None
