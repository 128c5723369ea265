"""What a process measures of itself while it works: statements and commits, or a profile.

A worker does so when the environment asks for it, and only while a task runs;
what it finds goes to a file, since none of its memory is ours.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from celery import signals
from django.db import connection
from django.db.backends.signals import connection_created

from benchmarks import profiling

COUNT, PROFILE = "BENCHMARKS_COUNT", "BENCHMARKS_PROFILE"
"""Environment variables: the folder that counts go to, and the one that profiles go to."""


@dataclass(slots=True)
class Counts:
    """What was done.

    Attributes:
        statements: SQL statements, savepoints included; BEGIN and COMMIT are none.
        commits: Transactions that wrote or locked something, so that PostgreSQL had to flush them.
        database_seconds: Time spent waiting for statements and commits, the driver's own included.
        task_seconds: Time spent in tasks.
        cpu_seconds: Time that the thread which runs the tasks computed in them.
    """

    statements: int = 0
    commits: int = 0
    database_seconds: float = 0.0
    task_seconds: float = 0.0
    cpu_seconds: float = 0.0

    def add(self, other: Counts) -> None:
        """Add another's."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def __sub__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, each.name) - getattr(other, each.name) for each in fields(self)))


class Counter:
    """Counts what goes through one database connection."""

    def __init__(self, database: Any) -> None:
        self.counts = Counts()
        self._database = database
        self._wrote = False
        self._commit: Callable[[], None] = database.commit
        database.execute_wrappers.append(self._execute)
        database.commit = self._count_commit

    def _execute(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        begun = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.counts.database_seconds += time.perf_counter() - begun
            self.counts.statements += 1
            if not _only_reads(str(sql)):
                self._wrote = self._database.in_atomic_block
                self.counts.commits += not self._wrote

    def _count_commit(self) -> None:
        begun = time.perf_counter()
        self._commit()
        self.counts.database_seconds += time.perf_counter() - begun
        self.counts.commits += self._wrote
        self._wrote = False


def _only_reads(sql: str) -> bool:
    # A lock on a row is a write: the commit that ends it is flushed like any other.
    return sql.startswith(("SELECT", "SAVEPOINT", "RELEASE", "ROLLBACK")) and " FOR " not in sql


@contextmanager
def counting() -> Iterator[Counts]:
    """Count what this thread does in the block."""
    connection.ensure_connection()
    commit = connection.commit
    counter = Counter(connection)
    begun, cpu_begun = time.perf_counter(), time.thread_time()
    try:
        yield counter.counts
    finally:
        counter.counts.task_seconds = time.perf_counter() - begun
        counter.counts.cpu_seconds = time.thread_time() - cpu_begun
        connection.execute_wrappers.remove(counter._execute)
        connection.commit = commit  # type: ignore[method-assign]


@contextmanager
def counting_workers(folder: Path) -> Iterator[Counts]:
    """Count what the tasks of the workers that count into ``folder`` do in the block."""
    before = _read(folder)
    counts = Counts()
    yield counts
    counts.add(_read(folder) - before)


def _read(folder: Path) -> Counts:
    text = _settled(folder)
    rows = [json.loads(line) for line in text.splitlines()]
    return Counts(*(sum(row[each.name] for row in rows) for each in fields(Counts)))


def _settled(folder: Path) -> str:
    # A result is there a moment before the task that stored it has ended.
    before: str | None = None
    while True:
        text = "".join(path.read_text() for path in sorted(folder.glob("counts-*.jsonl")))
        if text == before:
            return text
        before = text
        time.sleep(0.3)


def install_in_worker() -> None:
    """Begin to measure each task of this process, if the environment asks for it."""
    if folder := os.environ.get(COUNT):
        _count_tasks(Path(folder))
    if folder := os.environ.get(PROFILE):
        _profile_tasks(Path(folder))


def _count_tasks(folder: Path) -> None:
    counters: dict[int, Counter] = {}
    begun: dict[int, tuple[float, float]] = {}

    def connected(connection: Any, **_: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            counters[os.getpid()] = Counter(connection)

    def before(**_: Any) -> None:
        begun[os.getpid()] = time.perf_counter(), time.thread_time()

    def after(**_: Any) -> None:
        counter = counters.get(os.getpid())
        if counter is None:
            return
        at, cpu_at = begun[os.getpid()]
        counter.counts.task_seconds = time.perf_counter() - at
        counter.counts.cpu_seconds = time.thread_time() - cpu_at
        with (folder / f"counts-{os.getpid()}.jsonl").open("a") as file:
            file.write(json.dumps(asdict(counter.counts)) + "\n")
        counter.counts = Counts()

    connection_created.connect(connected, weak=False)
    signals.task_prerun.connect(before, weak=False)
    signals.task_postrun.connect(after, weak=False)


def _profile_tasks(folder: Path) -> None:
    samplers: dict[int, profiling.Sampler] = {}

    def before(**_: Any) -> None:
        samplers.setdefault(os.getpid(), profiling.Sampler()).start()

    def after(**_: Any) -> None:
        sampler = samplers[os.getpid()]
        sampler.stop()
        sampler.save(folder)

    signals.task_prerun.connect(before, weak=False)
    signals.task_postrun.connect(after, weak=False)
