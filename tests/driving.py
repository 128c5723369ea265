"""Drives the engine from a test: what sweepers and workers do, in the test's own thread and without Celery."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

from celery import current_app
from django.db import connection, connections

from durable import client, registry
from durable.core.definitions import ActivityDefinition, WorkflowDefinition
from durable.models import ActivityTask, InboxEvent
from durable.store import history, loading
from durable.testing import draining
from durable.testing.workers import Worker

_CONTROL = ("BEGIN", "SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK")


class Engine(Worker):
    """All workers of a project, in the test's thread: each does what is due when it is told to."""

    def run_until_quiet(self) -> None:
        """Take turns and run activities until nothing is due."""
        self.run()

    def advance_due(self) -> int:
        """Give every instance that something waits for a turn; return how many there were."""
        return draining.advance_due()

    def perform_due(self) -> int:
        """Drain every queue that has a task ready; return how many there were."""
        return draining.perform_due()


class Together:
    """Threads with database connections of their own, which begin at one moment."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], Any]] = []

    def add(self, call: Callable[[], Any], times: int = 1) -> Together:
        """Add a call, in as many threads as it shall be made in."""
        self._calls += [call] * times
        return self

    def run(self) -> list[Any]:
        """Make all calls at once; return what each returned or raised."""
        results: list[Any] = [None] * len(self._calls)
        gate = threading.Barrier(len(self._calls))

        def run(number: int, call: Callable[[], Any]) -> None:
            try:
                connection.ensure_connection()
                gate.wait(timeout=10)
                results[number] = call()
            except Exception as error:
                results[number] = error
            finally:
                connections.close_all()

        threads = [threading.Thread(target=run, args=(n, call), daemon=True) for n, call in enumerate(self._calls)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
            assert not thread.is_alive(), "a thread hangs"
        return results


class eager:  # noqa: N801 - reads like a function
    """Have Celery run tasks where they are sent."""

    def __enter__(self) -> None:
        self._before = current_app.conf.task_always_eager
        current_app.conf.task_always_eager = True

    def __exit__(self, *_: object) -> None:
        current_app.conf.task_always_eager = self._before


class Cost:
    """Counts the statements of this thread's connection, and the commits that wrote something."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.params: list[Any] = []
        self.commits = 0
        self._wrote = False

    def committed(self) -> None:
        """Note a commit."""
        self.commits += self._wrote
        self._wrote = False

    def _count(self, execute: Any, sql: str, params: Any, many: Any, context: Any) -> Any:
        if not sql.startswith(_CONTROL):
            self.statements.append(sql)
            self.params.append(params)
            self._wrote = self._wrote or not sql.startswith("SELECT")
            if not connection.in_atomic_block:
                self.committed()
        return execute(sql, params, many, context)


@contextmanager
def cost() -> Iterator[Cost]:
    """Count what the block asks of the database; transaction control is not a statement."""
    counted = Cost()
    commit = connection._commit

    def counting_commit() -> Any:
        counted.committed()
        return commit()

    connection._commit = counting_commit  # type: ignore[method-assign]
    try:
        with connection.execute_wrapper(counted._count):
            yield counted
    finally:
        del connection._commit


@contextmanager
def events_read() -> Iterator[list[int]]:
    """Note which events turns read, by their ``seq``."""
    noted: list[int] = []
    look, gather, read = loading.look, loading.read, history.read

    def looking(*args: Any, **options: Any) -> Any:
        looked = look(*args, **options)
        noted.extend(row[0] for row in (looked[1].rows or () if looked else ()))
        return looked

    def gathering(*args: Any, **options: Any) -> Any:
        found = gather(*args, **options)
        noted.extend(row[0] for each in found.values() for row in each.rows or ())
        return found

    def reading(execution_id: Any, *, after: int = 0, **options: Any) -> Any:
        for seq, event in enumerate(read(execution_id, after=after, **options), after + 1):
            noted.append(seq)
            yield event

    with (
        mock.patch.object(loading, "look", looking),
        mock.patch.object(loading, "read", gathering),
        mock.patch.object(history, "read", reading),
    ):
        yield noted


def kinds(handle: client.Handle, execution: Any = None) -> list[str]:
    """Return the kinds of a history's events, in order."""
    return [item.kind for item in handle.history(execution)]


def answers(handle: client.Handle) -> Counter[str]:
    """Return how often each kind of event is in a history."""
    return Counter(kinds(handle))


def item(handle: client.Handle, kind: str, event_id: int | None = None) -> client.HistoryItem:
    """Return the one event of a kind in a history."""
    found = [i for i in handle.history() if i.kind == kind and event_id in (None, i.event_id)]
    assert len(found) == 1, f"{len(found)} events {kind} in {kinds(handle)}"
    return found[0]


@contextmanager
def definitions() -> Iterator[None]:
    """Have the block begin without the demo's workflows and activities, and forget those that it defines."""
    before = [*registry.workflows(), *registry.activities()]
    for definition in before:
        if definition.fn.__module__.startswith("project."):
            forget(definition)
    try:
        yield
    finally:
        for definition in [*registry.workflows(), *registry.activities()]:
            forget(definition)
        for definition in before:
            register(definition)


def register(definition: WorkflowDefinition | ActivityDefinition) -> None:
    """Make a workflow or an activity known."""
    if isinstance(definition, WorkflowDefinition):
        registry.add_workflow(definition)
    else:
        registry.add_activity(definition)


def register_all(*modules: ModuleType) -> None:
    """Make known what these modules define: importing one again would do nothing."""
    for module in modules:
        for each in vars(module).values():
            if isinstance(each, WorkflowDefinition | ActivityDefinition):
                register(each)


def forget(definition: WorkflowDefinition | ActivityDefinition) -> None:
    """Make a workflow or an activity unknown."""
    if isinstance(definition, WorkflowDefinition):
        registry.unregister_workflow(definition.name, definition.version)
    else:
        registry.unregister_activity(definition.name)


def leftovers() -> list[str]:
    """Return what work is still stored: tasks and inbox rows, which are deleted when they are done."""
    return [str(row) for model in (ActivityTask, InboxEvent) for row in model.objects.all()]
