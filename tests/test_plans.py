"""PostgreSQL finds what is due by index, however many instances sleep."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from durable import activity, workflow
from durable.core import events as ev
from durable.engine import sweep
from durable.engine.advance import advance
from durable.models import ActivityTask, InboxEvent, Instance, Status
from durable.store import clock, gathered, history, inbox, instances, loading, prepared, tasks, turns
from tests import clones

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="plans of PostgreSQL")

SLEEPERS = 5_000
MANY = {"durable_instance", "durable_execution", "durable_historyevent", "durable_inboxevent", "durable_activitytask"}


@pytest.fixture
def sleeping(transactional_db, fresh):
    """Many instances that sleep, and an activity task each that is not due yet."""

    @workflow.defn
    async def nap(seconds: int) -> None:
        await asyncio.sleep(seconds)

    handle = nap.start(10_000_000)
    advance(handle.id)
    template = handle.instance
    clones.clone(template, SLEEPERS, prefix="sleeper-")
    later = InboxEvent.objects.values_list("visible_at", flat=True)[0]
    ActivityTask.objects.bulk_create(
        ActivityTask(
            execution_id=execution_id, event_id=1, name="a", input={}, queue="default", created_at=later,
            available_at=later, expires_at=later,
        )
        for execution_id in Instance.objects.values_list("execution_id", flat=True)
    )  # fmt: skip
    clones.analyze()
    yield template
    clones.empty()


class Plans:
    """Asks PostgreSQL for the plans of each statement of a block, before it runs.

    Attributes:
        nodes: Of the plans with the values at hand.
        kept: Of those for any values, which are kept of statements that are prepared.
    """

    def __init__(self) -> None:
        self.nodes: list[tuple[str, dict[str, Any]]] = []
        self.kept: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("SELECT", "UPDATE", "DELETE", "(SELECT", "WITH")):
            self.nodes += explained(sql, params)
            if connection.pg_version >= 160_000 and isinstance(context["cursor"].cursor, prepared.preparing(psycopg)):
                numbers = itertools.count(1)
                self.kept += explained(re.sub("%s", lambda _: f"${next(numbers)}", sql), None, "GENERIC_PLAN")
        return execute(sql, params, many, context)

    @property
    def scans(self) -> set[str]:
        """The tables with many rows that are read from one end to the other."""
        read = (node["Relation Name"] for _, node in self.nodes + self.kept if node["Node Type"] == "Seq Scan")
        return set(read) & MANY


def explained(sql: str, params: Any, *options: str) -> list[tuple[str, dict[str, Any]]]:
    with connection.connection.cursor() as cursor:
        (plan,) = cursor.execute(f"EXPLAIN ({', '.join(['FORMAT JSON', *options])}) {sql}", params).fetchone()
    plan = json.loads(plan) if isinstance(plan, str) else plan
    return [(sql, node) for node in walk(plan[0]["Plan"])]


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from walk(child)


@pytest.fixture
def plans():
    asked = Plans()
    with connection.execute_wrapper(asked):
        yield asked


def test_the_plans_show_a_scan_where_there_is_one(sleeping, plans):
    list(Instance.objects.filter(input="nothing"))

    assert plans.scans == {"durable_instance"}


def test_what_is_due_soon_is_found_by_index(sleeping, plans):
    assert sweep.look(2.0) == []

    assert plans.nodes
    assert plans.scans == set()


def test_what_else_a_sweep_looks_for_is_found_by_index(sleeping, plans, settings):
    settings.DURABLE = {"RETENTION": {"completed": 3600.0, "failed": 7200.0}}

    for look in sweep.LOOKS:
        look()

        assert plans.scans == set(), look
    assert plans.nodes


def test_what_is_announced_is_noted_by_index(sleeping, plans):
    due = sweep.Due(sweep.Kind.INBOX, sleeping.pk, "default", sleeping.created_at)
    work = sweep.Due(sweep.Kind.TASK, "a", "default", sleeping.created_at)
    expired = sweep.Due(sweep.Kind.TIMEOUT, "a", "default", sleeping.created_at)

    sweep.announce([due, work, expired])

    assert plans.nodes
    assert plans.scans == set()


def test_a_turn_finds_its_rows_by_index(sleeping, plans):
    with transaction.atomic():
        assert loading.lock([sleeping.pk])
        loading.read([(sleeping.execution_id, 0)], limit=1000)
        inbox.has_due(sleeping.execution_id)
        assert list(history.read(sleeping.execution_id))
        inbox.delete_timers([(sleeping.execution_id, 7)])

    assert len({sql for sql, _ in plans.nodes}) == 5
    assert plans.scans == set()


@pytest.mark.parametrize("count", [1, 50])
def test_turns_that_are_taken_together_find_their_rows_by_index(sleeping, plans, count):
    some = list(Instance.objects.filter(pk__in=[f"sleeper-{number}" for number in range(1, count + 1)]))
    plans.nodes.clear()
    ended = [history.record(ev.ExecutionCompleted(result=None))]
    with transaction.atomic():
        locked = loading.lock([each.pk for each in some])
        found = loading.read([(each.execution_id, 0) for each in locked], limit=100)
        gathered.with_open_children(locked)
        gathered.write(
            [
                gathered.Part(
                    instance=each,
                    values={"head": each.head + 1, "status": Status.COMPLETED},
                    records=ended,
                    at=each.created_at,
                    consumed=[],
                    ended=True,
                    tasks=[],
                    inbox=[],
                )
                for each in locked
            ]
        )

    assert {len(one.rows) for one in found.values()} == {2}
    assert len({sql for sql, _ in plans.nodes}) == 6
    assert plans.kept or connection.pg_version < 160_000
    assert plans.scans == set()


def test_the_end_of_an_instance_finds_its_rows_by_index(sleeping, plans):
    values = {"head": sleeping.head + 1, "status": Status.COMPLETED, "closed_at": clock.now()}
    records = [history.record(ev.ExecutionCompleted(result=None))]

    assert turns.write(sleeping, values, records, head=sleeping.head, at=clock.now(), ends=True)

    assert plans.nodes
    assert plans.scans == set()


def test_what_is_due_and_told_to_nobody_is_found_by_index(sleeping, plans):
    ids = [f"sleeper-{number}" for number in range(1, 100)]
    InboxEvent.objects.filter(execution__instance__in=ids).update(visible_at=sleeping.created_at)
    plans.nodes.clear()

    assert inbox.announce(ids, stale=sleeping.created_at) == set(ids)

    assert plans.nodes
    assert plans.scans == set()
    assert inbox.announce(ids, stale=sleeping.created_at) == set()


def test_what_a_late_message_is_still_about_is_found_by_index(sleeping, plans):
    assert instances.due_among([f"sleeper-{number}" for number in range(1, 100)]) == {}

    assert plans.nodes
    assert plans.scans == set()


def test_a_worker_finds_the_next_task_by_index(sleeping, plans):
    with transaction.atomic():
        assert tasks.next_ready("default", 1) == []
        tasks.in_flight(sleeping.execution_id)

    assert plans.nodes
    assert plans.scans == set()


def test_histories_can_be_partitioned_by_execution(engine, plans):
    @activity.defn
    def double(number: int) -> int:
        return 2 * number

    @workflow.defn
    async def doubling() -> int:
        first = await double(3)
        await asyncio.sleep(0)
        return await double(first)

    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE durable_historyevent RENAME TO whole")
        cursor.execute("CREATE TABLE durable_historyevent (LIKE whole) PARTITION BY HASH (execution_id)")
        cursor.execute("ALTER TABLE durable_historyevent ADD PRIMARY KEY (execution_id, seq)")
        for number in range(4):
            bounds = f"FOR VALUES WITH (MODULUS 4, REMAINDER {number})"
            cursor.execute(f"CREATE TABLE part_{number} PARTITION OF durable_historyevent {bounds}")
    handles = [doubling.start() for _ in range(10)]
    engine.run_until_quiet()

    assert {handle.result(timeout=0) for handle in handles} == {12}
    plans.nodes.clear()
    assert len(list(history.read(handles[0].instance.execution_id))) == 6
    parts = {node["Relation Name"] for _, node in plans.nodes if node.get("Relation Name", "").startswith("part_")}
    assert len(parts) == 1
