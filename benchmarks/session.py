"""One run of the benchmarks: a counted pass, rounds that alternate limit and workload, the report."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from django.core.management import call_command
from django.db import connection

from benchmarks import in_process, instruments, limits, processes, profiling, report, scale, tasks, wal, workers
from benchmarks.report import progress
from benchmarks.rivals import Rivals
from benchmarks.workloads import WORKLOADS, Workload

if TYPE_CHECKING:
    from benchmarks.engines import Engine
    from benchmarks.instruments import Counts

_WARM_UP = 5
_LIMIT_SECONDS = 0.5
_LONGER = 5


@dataclass(slots=True)
class Rounds:
    """What the rounds of one workload gave.

    Attributes:
        metrics: By name, a value a round.
        limits: By client, a value a round.
    """

    metrics: dict[str, list[float]] = field(default_factory=dict)
    limits: dict[str, list[float]] = field(default_factory=dict)

    def add(self, limit: dict[str, float], measured: dict[str, float]) -> None:
        """Add a round; its ratios are to the limit of the same round."""
        limit_ms = measured.get("limit_ms", limit["transaction"])
        ratios = {"limit_ms": limit_ms, "ratio": measured["ms_per_step"] / limit_ms}
        if "stored_ms_per_step" in measured:
            ratios["stored_ratio"] = measured["stored_ms_per_step"] / limit_ms
        for name, value in {**measured, **ratios}.items():
            self.metrics.setdefault(name, []).append(value)
        for name, value in limit.items():
            self.limits.setdefault(name, []).append(value)


def run(options: argparse.Namespace, folder: Path) -> None:
    """Measure, or profile, what the options name."""
    progress(f"migrating a new {connection.vendor} database")
    call_command("migrate", run_syncdb=True, verbosity=0)
    limits.prepare()
    if "scale" in options.workloads:
        options.rounds = 1 if options.smoke else options.rounds
        scale.run(options, folder)
    chosen = [WORKLOADS[name] for name in options.workloads if name != "scale"]
    if not chosen:
        return
    if options.instances:
        chosen = [workload.smaller(instances=options.instances, steps=workload.steps) for workload in chosen]
    if options.smoke:
        options.rounds = 1
        chosen = [workload.smaller(instances=2, steps=3) for workload in chosen]
    if options.profile:
        _profile(chosen, options, folder)
        return
    # First, while the tables are new: vacuuming writes WAL as well.
    costs = _costs(chosen, options, folder)
    rivals = Rivals(options)
    rounds = _rounds(chosen, options, folder, rivals)
    rows = [report.row(each, rounds[each.name], costs[each.name], options=options) for each in chosen]
    others = rivals.rows(rows, {name: workload.name for name, workload in WORKLOADS.items()})
    for row in (*rows, *others):
        report.print_json(row)
    report.print_table(rows, options=options)
    report.print_peers(others)


def _rounds(chosen: list[Workload], options: argparse.Namespace, folder: Path, rivals: Rivals) -> dict[str, Rounds]:
    rounds = {workload.name: Rounds() for workload in chosen}
    seconds = 0.05 if options.smoke else _LIMIT_SECONDS
    with _engine(options, folder) as engine:
        for number in range(options.rounds):
            for workload in chosen:
                if workload.rounds is not None and number >= workload.rounds:
                    continue
                _warm_up(workload, engine)
                before = limits.measure(seconds, celery=not options.in_process)
                cpu = processes.seconds(engine)
                measured = workload.run(workload, engine)
                if engine.roots:
                    # What is still to be done belongs to the workload, not to the limit.
                    measured["settle_s"] = tasks.settle()
                # A workload knows better what belongs to its steps, where it says so itself.
                measured = processes.per_step(cpu, processes.seconds(engine), workload.total_steps) | measured
                after = limits.measure(seconds, celery=not options.in_process)
                # Both sides of the workload, since other work on the machine comes and goes.
                limit = {name: (before[name] + after[name]) / 2 for name in before}
                rounds[workload.name].add(limit, measured)
                limit_ms = rounds[workload.name].metrics["limit_ms"][-1]
                progress(
                    f"{workload.name} round {number + 1}/{options.rounds}: "
                    f"limit {limit_ms:.3g} ms, {measured['ms_per_step']:.3g} ms a step"
                )
            rivals.run()
    return rounds


def _costs(chosen: list[Workload], options: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    """Run each workload once, untimed, and return what a step costs the database."""
    costs: dict[str, dict[str, float]] = {workload.name: {} for workload in chosen}
    counted = [workload for workload in chosen if workload.counted and not options.no_count]
    if not counted:
        return costs
    with _counted_engine(options, folder) as (engine, count):
        for workload in counted:
            progress(f"{workload.name}: counting")
            if connection.vendor == "postgresql":
                # The first change of a page after a checkpoint stores the whole page; the warm-up has those.
                with connection.cursor() as cursor:
                    cursor.execute("CHECKPOINT")
            _warm_up(workload, engine)
            with count() as counts:
                before = wal.position()
                workload.run(workload, engine)
                written = wal.position() - before
            steps = workload.total_steps
            costs[workload.name] = {
                "statements_per_step": counts.statements / steps,
                "commits_per_step": counts.commits / steps,
                "cpu_ms_per_step": counts.cpu_seconds * 1000 / steps,
                "database_share": counts.database_seconds / counts.task_seconds,
            }
            if written:
                costs[workload.name]["wal_bytes_per_step"] = written / steps
    return costs


@contextmanager
def _engine(options: argparse.Namespace, folder: Path) -> Iterator[Engine]:
    if options.in_process:
        yield in_process.ENGINE
    else:
        progress("starting a Celery worker of two processes")
        with workers.worker(folder) as engine:
            yield engine


Count = Callable[[], AbstractContextManager["Counts"]]
"""Counts what the engine does in a block."""


@contextmanager
def _counted_engine(options: argparse.Namespace, folder: Path) -> Iterator[tuple[Engine, Count]]:
    if options.in_process:
        yield in_process.ENGINE, instruments.counting
        return
    with workers.worker(folder, env={instruments.COUNT: str(folder)}) as engine:
        yield engine, lambda: instruments.counting_workers(folder)


def _warm_up(workload: Workload, engine: Engine) -> None:
    if workload.warms_up:
        workload.run(workload.smaller(instances=_WARM_UP, steps=workload.steps), engine)


def _profile(chosen: list[Workload], options: argparse.Namespace, folder: Path) -> None:
    for workload in chosen:
        # More than a round, since samples are few; and no warm-up, which would be sampled as well.
        longer = workload if options.smoke else replace(workload, instances=_LONGER * workload.instances)
        progress(f"{workload.name}: sampling")
        if options.in_process:
            _warm_up(workload, in_process.ENGINE)
            with profiling.sampled(folder):
                longer.run(longer, in_process.ENGINE)
        else:
            with workers.worker(folder, processes=1, env={instruments.PROFILE: str(folder)}) as engine:
                longer.run(longer, engine)
        report.print_text(profiling.summary(folder, longer))
