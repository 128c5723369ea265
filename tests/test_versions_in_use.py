"""Which versions may be deleted: those that nothing open is on, and nothing kept could be rerun on."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, transaction

from durable import UnknownWorkflow, VersionNotAvailable, activity, client, registry, workflow
from durable.models import Execution, Instance
from durable.store import usage
from tests.driving import Together, cost


@pytest.fixture
def work(fresh):
    @activity.defn
    def work() -> str:
        return "done"

    return work


@pytest.fixture
def orders(work):
    """Versions 0, 2 and 3 of one workflow, which differ in nothing but that."""

    async def body() -> int:
        await work()
        await workflow.wait_signal("go")
        await work()
        return workflow.version()

    return {version: workflow.defn(name="order", version=version)(body) for version in (0, 2, 3)}


def safe(name: str = "order") -> set[int]:
    """Return which versions are safe to delete; the report says the same as trying would."""
    uses = client.versions()
    for use in uses:
        if use.safe_to_delete and use.registered:
            assert not _misses(use.name, use.version), f"{use.name}{use.version} is said to be safe to delete"
    return {use.version for use in uses if use.name == name and use.safe_to_delete}


def _misses(name: str, version: int) -> list[Any]:
    """Return which reruns and rewinds of what is kept would be refused without a version."""
    definition = registry.workflow(name, version)
    registry.unregister_workflow(name, version)
    try:
        previews = [preview for execution in Execution.objects.all() for preview in _tries(execution)]
    finally:
        registry.add_workflow(definition)
    return [p for p in previews if isinstance(p.refusal, UnknownWorkflow | VersionNotAvailable)]


def _tries(execution: Execution) -> list[Any]:
    instance_id = execution.instance_id
    steps = [item.event_id for item in client.history(instance_id, execution.pk) if item.rerunnable]
    reruns = [client.rerun_from_activity(instance_id, step, execution=execution.pk, dry_run=True) for step in steps]
    return [*reruns, client.rewind(instance_id, to=0, dry_run=True)]


def ended(engine, handle: client.Handle) -> client.Handle:
    handle.signal("go")
    engine.run_until_quiet()
    assert handle.status == "completed"
    return handle


def forget(*handles: client.Handle) -> None:
    """Delete instances as a purge does."""
    Instance.objects.filter(pk__in=[handle.id for handle in handles]).delete()


def test_what_is_registered_and_never_used_is_safe(engine, orders):
    assert safe() == {0, 2, 3}


def test_open_instance_and_then_its_record_need_their_version(engine, orders):
    handle = orders[0].start()
    engine.run_until_quiet()
    assert safe() == {2, 3}

    ended(engine, handle)
    assert safe() == {2, 3}, "it could be rerun"

    forget(handle)
    assert safe() == {0, 2, 3}


def test_rerun_is_pinned_to_the_version_of_what_it_begins_like(engine, orders, settings):
    settings.DURABLE = {"VERSIONING": {"EXCLUDE_TYPES": ["order2"]}}
    source = ended(engine, orders[2].start())
    again = client.rerun_from_activity(source.id, 0)
    engine.run_until_quiet()
    forget(source)

    assert safe() == {0, 3}

    forget(ended(engine, again))
    assert safe() == {0, 2, 3}


def test_upgraded_instance_needs_the_version_that_it_is_on_alone(engine, orders):
    handle = orders[0].start()
    engine.run_until_quiet()
    client.upgrade(handle.id, to=2)
    engine.run_until_quiet()
    assert safe() == {0, 3}

    ended(engine, handle)
    assert safe() == {0, 3}


def test_closed_instance_that_was_upgraded_needs_both(engine, orders):
    source = ended(engine, orders[0].start())
    client.upgrade(source.id, to=3)
    engine.run_until_quiet()

    assert safe() == {2}


def test_execution_that_continued_on_another_version_needs_the_one_that_it_had(engine, work, settings):
    settings.DURABLE = {"VERSIONING": {}}

    @workflow.defn
    async def loop(round_: int) -> None:
        await work()
        await workflow.wait_signal("go")
        if not round_:
            workflow.continue_as_new(1)

    handle = loop.start(0)
    engine.run_until_quiet()
    workflow.defn(name="loop2")(loop.fn)
    workflow.defn(name="loop3")(loop.fn)
    registry.unregister_workflow("loop", 3)
    handle.signal("go")
    engine.run_until_quiet()
    assert handle.instance.version == 2
    workflow.defn(name="loop3")(loop.fn)

    assert safe("loop") == {3}
    uses = {use.version: (use.open, use.closed) for use in client.versions() if use.name == "loop"}
    assert uses == {0: (0, 0), 2: (1, 0), 3: (0, 0)}
    ended(engine, handle)
    assert safe("loop") == {3}


def test_child_needs_its_version_while_it_is_kept(engine, orders):
    @workflow.defn
    async def parent() -> int:
        return await orders[2]()

    handle = parent.options(id="p").start()
    engine.run_until_quiet()
    child = client.get("p:0000")
    assert safe() == {0, 3}

    ended(engine, child)
    assert handle.status == "completed"
    assert (safe(), safe("parent")) == ({0, 3}, set())
    forget(handle, child)
    assert (safe(), safe("parent")) == ({0, 2, 3}, {0})


def test_instance_whose_id_was_taken_over_by_another_workflow_keeps_its_own(engine, orders, work):
    @workflow.defn
    async def invoice() -> str:
        return await work()

    first = ended(engine, orders[2].options(id="x").start())
    engine.result(invoice.options(id="x", id_reuse="replace_closed").start())

    assert (safe(), safe("invoice")) == ({0, 3}, set())
    old = first.instance.executions.get(number=1)
    assert client.rerun_from_activity("x", 0, execution=old.pk).instance.name == "order"


def test_version_without_code_is_listed_and_not_safe_while_something_needs_it(engine, orders):
    handle = ended(engine, orders[2].start())
    registry.unregister_workflow("order", 2)

    (use,) = [use for use in client.versions() if (use.name, use.version) == ("order", 2)]

    assert (use.registered, use.closed, use.safe_to_delete) == (False, 1, False)
    forget(handle)
    assert [use.version for use in client.versions() if use.name == "order"] == [0, 3]


@pytest.mark.parametrize("count", [1, 20])
def test_report_takes_so_many_statements_however_much_there_is(engine, orders, count):
    for _ in range(count):
        for definition in orders.values():
            definition.start()
    engine.run_until_quiet()

    with cost() as counted:
        uses = client.versions()

    assert len(counted.statements) == (3 if connection.vendor == "postgresql" else 4)
    assert [use.open for use in uses if use.name == "order"] == [count] * 3


def test_report_counts_so_far_and_says_of_what_there_is_more(engine, orders, monkeypatch):
    ended(engine, orders[2].start())
    for definition in (*[orders[0]] * 3, orders[2], *[orders[3]] * 2):
        definition.start()
    engine.run_until_quiet()
    monkeypatch.setattr(usage, "COUNTED", 2)

    uses = {use.version: use for use in client.versions() if use.name == "order"}

    assert [(uses[version].open, uses[version].closed) for version in (0, 2, 3)] == [(2, 0), (1, 1), (2, 0)]
    assert [uses[version].more for version in (0, 2, 3)] == [("open",), (), ()]


@pytest.fixture
def taken_over(engine, orders, work):
    """The name and version of an execution whose instance is another workflow's by now."""

    @workflow.defn
    async def invoice() -> str:
        return await work()

    ended(engine, orders[2].options(id="x").start())
    engine.result(invoice.options(id="x", id_reuse="replace_closed").start())
    return Execution.objects.get(number=1)


def test_execution_that_was_stored_without_a_name_still_needs_its_version(taken_over):
    Execution.objects.update(name="")

    assert (safe(), safe("invoice")) == ({0, 3}, set())
    assert [(use.closed, use.version) for use in client.versions() if use.name == "invoice"] == [(1, 0), (0, 2)]


def test_migration_names_executions_after_what_they_began_with(taken_over, monkeypatch):
    before = dict(Execution.objects.values_list("pk", "name"))
    assert set(before.values()) == {"order", "invoice"}
    Execution.objects.update(name="")
    migration = import_module("durable.migrations.0020_versions_in_use")
    monkeypatch.setattr(migration, "AT_ONCE", 1)

    migration.name_executions(apps, SimpleNamespace(connection=connection))

    assert dict(Execution.objects.values_list("pk", "name")) == before


@pytest.mark.skipif(connection.vendor != "postgresql", reason="nobody can tell what somebody else has locked")
def test_migration_does_not_wait_for_what_somebody_ends_just_now(committing, orders):
    for _ in range(2):
        orders[2].start()
    Execution.objects.update(name="")
    busy = Execution.objects.order_by("pk").first()
    migration = import_module("durable.migrations.0020_versions_in_use")

    def migrate() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = 1000")
        migration.name_executions(apps, SimpleNamespace(connection=connection))

    with transaction.atomic():
        Execution.objects.filter(pk=busy.pk).update(status="completed")
        (result,) = Together().add(migrate).run()

    assert result is None
    assert dict(Execution.objects.values_list("name", "pk"))[""] == busy.pk
    assert Execution.objects.filter(name="order").count() == 1
    assert safe() == {0, 3}
