"""Throughput by the number of worker processes and the kind of pool, and what the database does without any engine.

Printed as a line of JSON for each combination: ``workers`` is how many Celery
workers there are, ``processes`` how many processes or threads each has.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import connection

from benchmarks import limits, report, workers, workloads
from benchmarks.clients import steps_per_second
from benchmarks.engines import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS = 3.0
_CLIENTS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Some workers.

    Attributes:
        pool: Which of Celery's pools each has.
        workers: How many Celery workers.
        processes: How many processes or threads each has.
    """

    pool: str
    workers: int
    processes: int


_POSTGRES = (
    Crew(pool="prefork", workers=1, processes=1),
    Crew(pool="prefork", workers=1, processes=2),
    Crew(pool="prefork", workers=1, processes=4),
    Crew(pool="prefork", workers=2, processes=1),
    Crew(pool="threads", workers=1, processes=2),
    Crew(pool="threads", workers=1, processes=8),
    Crew(pool="solo", workers=1, processes=1),
)
_SQLITE = (
    Crew(pool="prefork", workers=1, processes=2),
    Crew(pool="threads", workers=1, processes=8),
    Crew(pool="prefork", workers=1, processes=8),
)


def run(options: argparse.Namespace, folder: Path) -> None:
    """Measure each combination as often as there are rounds, one after the other."""
    crews = _POSTGRES if connection.vendor == "postgresql" else _SQLITE
    if options.smoke:
        crews = (Crew(pool="threads", workers=1, processes=2),)
    found: dict[Crew, list[dict[str, Any]]] = {crew: [] for crew in crews}
    commits: dict[int, list[float]] = {}
    for number in range(options.rounds):
        for clients, rate in _commits(options):
            commits.setdefault(clients, []).append(rate)
        for crew in crews:
            found[crew].append(_measure(crew, options, folder))
            report.progress(f"round {number + 1}/{options.rounds}: {crew}: {found[crew][-1]}")
    for clients, rates in commits.items():
        report.print_json({"workload": "commits", "clients": clients, "per_second": round(statistics.median(rates))})
    for crew, rows in found.items():
        report.print_json(_row(crew, rows))


def _row(crew: Crew, rows: list[dict[str, Any]]) -> dict[str, Any]:
    rates = [row["per_second"] for row in rows]
    return {
        "workload": "W1_conc64",
        "pool": crew.pool,
        "workers": crew.workers,
        "processes": crew.processes,
        "per_second": round(statistics.median(rates), 1),
        "range": [round(min(rates), 1), round(max(rates), 1)],
        "locked": sum(row["locked"] for row in rows),
    }


def _measure(crew: Crew, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    workload = workloads.WORKLOADS["W1x64"]
    if options.instances:
        workload = workload.smaller(instances=options.instances, steps=workload.steps)
    if options.smoke:
        workload = workload.smaller(instances=8, steps=3)
    with ExitStack() as stack:
        engines = []
        for number in range(crew.workers):
            own = folder / f"worker-{number}"
            own.mkdir(exist_ok=True)
            given = {"processes": crew.processes, "pool": crew.pool}
            engines.append((own, stack.enter_context(workers.worker(own, **given))))
        together = Engine(
            finish=engines[0][1].finish,
            check=engines[0][1].check,
            roots=tuple(pid for _, engine in engines for pid in engine.roots),
        )
        workload.run(workload.smaller(instances=16, steps=workload.steps), together)
        measured = workload.run(workload, together)
        logs = [(own / "worker.log").read_text(errors="replace") for own, _ in engines]
    return {"per_second": measured["per_second"], "locked": sum(log.count("database is locked") for log in logs)}


def _commits(options: argparse.Namespace) -> Iterator[tuple[int, float]]:
    """Yield how many transactions of a step PostgreSQL commits in a second, by the number of clients."""
    if connection.vendor != "postgresql":
        return
    for clients in (1, 2) if options.smoke else _CLIENTS:
        seconds = 0.2 if options.smoke else _SECONDS
        with ProcessPoolExecutor(clients, mp_context=multiprocessing.get_context("spawn")) as pool:
            parameters = limits.parameters()
            rates = [pool.submit(steps_per_second, parameters, n, clients, seconds) for n in range(clients)]
            yield clients, sum(rate.result() for rate in rates)
