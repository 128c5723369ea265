"""Many sleeping instances: what they cost while nothing is due, and how fast they wake when all is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
from django.db import connection

from benchmarks import crowds, processes, wal, workflows
from benchmarks.percentiles import percentile
from durable.models import InboxEvent, Instance
from durable.store import clock
from tests import clones

if TYPE_CHECKING:
    from datetime import datetime

    from benchmarks.engines import Engine
    from benchmarks.workloads import Workload

_FAR_SECONDS = 1_000_000_000
_BURST = 10_000
_BURST_SECONDS = 1.0
_SPARSE = 20
_SPARSE_SECONDS = 0.25
_AHEAD_SECONDS = 3.0
_IDLE_SECONDS = 15.0


def run(workload: Workload, engine: Engine) -> dict[str, float]:
    """Let instances sleep, then wake a few now and then, and then many within a second."""
    burst = min(workload.instances, _BURST)
    clones.empty()
    _sleep(workload.instances, prefix="far-", seconds=_FAR_SECONDS)
    clones.analyze()
    metrics = _idle(_IDLE_SECONDS if burst == _BURST else 1.0, engine)
    few = min(_SPARSE, burst)
    metrics |= _lags("lag", _wake(few, few * _SPARSE_SECONDS, engine, prefix="few-").lags)
    woken = _wake(burst, _BURST_SECONDS, engine, prefix="many-")
    metrics |= _lags("burst_lag", woken.lags)
    clones.empty()
    timing = {"ms_per_step": woken.seconds * 1000 / burst, "per_second": burst / woken.seconds}
    return {**timing, "seconds": woken.seconds, **metrics, **woken.costs}


@dataclass(frozen=True, slots=True, kw_only=True)
class Woken:
    """What came of waking instances.

    Attributes:
        lags: How late each of them ended, in seconds.
        seconds: From the first one's time until the last one's end.
        costs: What each of them took, as metrics.
    """

    lags: list[float]
    seconds: float
    costs: dict[str, float]


def _sleep(count: int, *, prefix: str, seconds: float, due: tuple[datetime, datetime] | None = None) -> None:
    """Store instances that sleep, as they are when a worker has begun them."""
    handle = workflows.nap.start(seconds)
    while not InboxEvent.objects.filter(execution__instance=handle.id, kind="TimerFired").exists():
        time.sleep(0.01)
    template = Instance.objects.get(pk=handle.id)
    clones.clone(template, count, prefix=prefix, due=due)


def _wake(count: int, within: float, engine: Engine, *, prefix: str) -> Woken:
    """Have instances wake soon, evenly within some seconds."""
    # Storing them takes a while: they are to be there before the first one is due.
    first = clock.sync() + timedelta(seconds=_AHEAD_SECONDS + count / 2000)
    _sleep(count, prefix=prefix, seconds=_FAR_SECONDS, due=(first, first + timedelta(seconds=within)))
    assert clock.now() < first, "storing them took longer than expected: no figure of this round counts"
    ids = [f"{prefix}{number}" for number in range(1, count + 1)]
    spent, written = processes.seconds(engine), wal.position()
    crowds.await_all(ids, engine, result=workflows.EACH)
    costs = processes.per_step(spent, processes.seconds(engine), count)
    costs["wal_bytes_per_step"] = (wal.position() - written) / count
    pause = within / count
    ended = dict(Instance.objects.filter(pk__startswith=prefix).values_list("pk", "closed_at"))
    lags = [(ended[pk] - first).total_seconds() - number * pause for number, pk in enumerate(ids, 1)]
    return Woken(lags=lags, seconds=(max(ended.values()) - first).total_seconds(), costs=costs)


def _lags(name: str, lags: list[float]) -> dict[str, float]:
    ordered = sorted(lag * 1000 for lag in lags)
    return {f"{name}_p50_ms": percentile(ordered, 50), f"{name}_p95_ms": percentile(ordered, 95)}


def _idle(seconds: float, engine: Engine) -> dict[str, float]:
    """Watch while nothing is due, and return what a second of that costs."""
    if connection.vendor != "postgresql":
        return {}
    # From another database: what we ask does not count in this one.
    settings = connection.settings_dict
    parameters = {"host": settings["HOST"], "port": settings["PORT"] or None, "user": settings["USER"]}
    name = settings["NAME"]
    with psycopg.connect(
        **parameters, password=settings["PASSWORD"] or None, dbname="postgres", autocommit=True
    ) as client:
        # What a session did is counted with a delay.
        time.sleep(min(2.0, seconds))
        spent = processes.seconds(engine)
        before, begun = _transactions(client, name), time.perf_counter()
        time.sleep(seconds)
        after, passed = _transactions(client, name), time.perf_counter() - begun
    computed = processes.per_step(spent, processes.seconds(engine), 1)
    idle = {f"idle_{name}_per_second": value / passed for name, value in computed.items() if name != "client_cpu_ms"}
    return {"idle_queries_per_second": (after - before) / passed, **idle}


def _transactions(client: psycopg.Connection, name: str) -> int:
    query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"
    ((count,),) = client.execute(query, [name]).fetchall()
    return int(count)
