"""Groups of failures: what failed for the same cause is counted together."""

from __future__ import annotations

import importlib
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from durable import InvalidInput, RetryPolicy, activity, client, registry, workflow
from durable.models import Instance
from durable.store import clock
from durable.testing.factories import InstanceFactory
from tests.driving import cost

ONCE = RetryPolicy(max_attempts=1)
broken: dict[str, Exception | None] = {}


@pytest.fixture(autouse=True)
def mended():
    broken.clear()


@pytest.fixture
def order(engine):
    @activity.defn(retry=ONCE)
    def charge(key: str) -> str:
        error = broken.get(key)
        if error is not None:
            raise error
        return key

    @workflow.defn
    async def order(key: str) -> str:
        return await charge(key)

    return order


def fail(engine: Any, order: Any, **errors: Exception) -> None:
    broken.update(errors)
    for key in errors:
        order.options(id=key).start(key)
    engine.run()
    assert set(Instance.objects.filter(pk__in=errors).values_list("status", flat=True)) == {"failed"}
    broken.clear()


def test_counts_what_failed_for_the_same_cause(engine, order):
    fail(engine, order, a=ValueError("order 1 is late"), b=ValueError("order 22 is late"), c=KeyError("x"))
    order.options(id="fine").start("fine")
    engine.run()

    late, key = client.failure_groups()

    assert (late.workflow, late.status, late.error, late.message) == (
        "order",
        "failed",
        "ValueError",
        "order <n> is late",
    )
    assert (late.count, late.example) == (2, "b")
    file, function, line = late.place.split(":")
    assert (file, function, line.isdecimal()) == ("tests/test_failure_groups.py", "charge", True)
    assert late.ages == {"hour": 2, "day": 0, "week": 0, "older": 0}
    seen = sorted(Instance.objects.filter(pk__in="ab").values_list("failed_at", flat=True))
    assert [late.first_seen, late.last_seen] == seen
    assert (key.error, key.count, key.example) == ("KeyError", 1, "c")
    assert Instance.objects.get(pk="fine").fingerprint == ""


def test_a_group_is_what_a_batch_can_be_for(engine, order):
    fail(engine, order, a=ValueError("order 1"), b=ValueError("order 2"), c=KeyError("x"))
    (group, _) = client.failure_groups()
    fail(engine, order, later=ValueError("order 3"))

    handle = client.batch("rewind", group)
    engine.run()

    assert {item.instance_id for item in client.batch_report(handle).items} == {"a", "b"}
    assert {client.status(each) for each in "ab"} == {"completed"}
    assert {each.error: each.example for each in client.failure_groups()} == {"KeyError": "c", "ValueError": "later"}
    assert set(Instance.objects.filter(pk__in="ab").values_list("failed_at", "fingerprint")) == {(None, "")}


def test_stalled_instances_are_groups_of_their_own_until_they_go_on(engine, time):
    def define(first: str) -> Any:
        @activity.defn(name=first)
        def act() -> None: ...

        @workflow.defn(name="flow")
        async def flow() -> None:
            await act()
            await workflow.wait_signal("word")
            await act()
            await workflow.wait_signal("word")

        return flow

    define("one").options(id="a").start()
    engine.run()
    engine.restart()
    client.signal("a", "word")
    registry.unregister_workflow("flow", 0)
    define("two")
    engine.run()
    assert client.status("a") == "stalled"

    (group,) = client.failure_groups(status="stalled")
    assert (group.workflow, group.error, group.count) == ("flow", "NondeterminismError", 1)
    assert group.place.startswith("tests/test_failure_groups.py:")
    assert client.failure_groups(status="failed") == []
    time.forward(timedelta(minutes=10))
    engine.run()  # tried again, and stalled as before
    assert client.failure_groups() == [group]

    registry.unregister_workflow("flow", 0)
    define("one")
    time.forward(timedelta(minutes=10))
    engine.run()
    assert client.failure_groups() == []
    assert Instance.objects.values_list("status", "failed_at", "fingerprint").get(pk="a") == ("running", None, "")


def test_failure_by_the_settings_choice_has_a_group(engine, settings):
    made = InstanceFactory(status="failed", error=ValueError("x"))
    InstanceFactory(status="terminated")
    InstanceFactory(status="stalled")

    found = client.failure_groups()

    assert sorted((each.status, each.error) for each in found) == [
        ("failed", "ValueError"),
        ("stalled", "NondeterminismError"),
    ]
    assert {each.example for each in found} > {made.pk}


def test_narrowed(engine, order):
    fail(engine, order, a=ValueError("x"), b=KeyError("x"), c=ValueError("y"))
    now = clock.now()
    days = {"a": 0.5, "b": 3, "c": 30}
    for key, age in days.items():
        Instance.objects.filter(pk=key).update(failed_at=now - timedelta(days=age))

    def found(**options: Any) -> list[str]:
        return sorted(group.example for group in client.failure_groups(**options))

    assert found() == ["a", "b", "c"]
    assert found(workflow="order") == ["a", "b", "c"]
    assert found(workflow="other") == []
    assert found(since=now - timedelta(days=7)) == ["a", "b"]
    assert found(until=now - timedelta(days=7)) == ["c"]
    assert len(found(limit=2)) == 2
    assert [group.ages for group in sorted(client.failure_groups(), key=lambda group: group.example)] == [
        {"hour": 0, "day": 1, "week": 0, "older": 0},
        {"hour": 0, "day": 0, "week": 1, "older": 0},
        {"hour": 0, "day": 0, "week": 0, "older": 1},
    ]
    with pytest.raises(InvalidInput):
        client.failure_groups(status="completed")


@pytest.mark.parametrize("groups", [1, 5])
def test_three_statements_for_any_number_of_groups(engine, order, groups):
    fail(engine, order, **{f"o{n}": type(f"Error{n}", (Exception,), {})() for n in range(groups)})
    clock.now()

    with cost() as counted:
        assert len(client.failure_groups()) == groups

    assert len(counted.statements) == 3


def test_groups_are_of_those_that_failed_last(engine, order, monkeypatch):
    monkeypatch.setattr("durable.operations.failing.LOOKED", 2)
    fail(engine, order, a=ValueError("long ago"), b=KeyError("x"), c=KeyError("y"))
    early = clock.now() - timedelta(days=1)
    Instance.objects.filter(pk="a").update(failed_at=early)

    assert [group.error for group in client.failure_groups()] == ["KeyError"]
    assert [group.count for group in client.failure_groups()] == [2]
    assert [group.error for group in client.failure_groups(until=early + timedelta(hours=1))] == ["ValueError"]


def test_those_that_failed_before_the_upgrade_get_their_groups(engine, order, monkeypatch):
    fail(engine, order, a=ValueError("order 1"), b=ValueError("order 2"))
    stalled = InstanceFactory(status="stalled")
    before = client.failure_groups()
    kept = dict(Instance.objects.values_list("pk", "fingerprint"))
    Instance.objects.update(failed_at=None, fingerprint="")
    assert client.failure_groups() == []
    migration = importlib.import_module("durable.migrations.0009_fingerprints")
    monkeypatch.setattr(migration, "AT_ONCE", 2)

    migration.fingerprints(apps, SimpleNamespace(connection=connection))

    assert dict(Instance.objects.values_list("pk", "fingerprint")) == kept
    assert Instance.objects.get(pk="a").failed_at == Instance.objects.get(pk="a").closed_at
    assert {g.fingerprint: g.count for g in client.failure_groups()} == {g.fingerprint: g.count for g in before}
    assert stalled.pk in kept
