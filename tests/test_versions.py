"""Versions: recorded, missed, upgraded to, and counted."""

from __future__ import annotations

from typing import Any

import pytest

from durable import (
    InvalidInput,
    NondeterminismError,
    UnknownInstance,
    UnknownWorkflow,
    VersionNotAvailable,
    client,
    registry,
    workflow,
)
from durable.models import Execution, Operation
from tests.driving import item, kinds
from tests.test_rewind import World


@pytest.fixture
def world(fresh):
    return World()


@pytest.fixture
def orders(world):
    """Two versions of one workflow, the second of which does more at the end."""
    first, last = world.act("first"), world.act("last")

    @workflow.defn
    async def order() -> list[Any]:
        result = [await first(), workflow.version()]
        await workflow.wait_signal("go")
        return [*result, workflow.version()]

    @workflow.defn
    async def order2() -> list[Any]:
        result = [await first(), workflow.version()]
        await workflow.wait_signal("go")
        return [*result, workflow.version(), await last()]

    return order, order2


# --- upgrade


def test_open_instance_goes_on_with_the_latest_version_in_the_same_execution(engine, path, world, orders):
    order, _ = orders
    handle = order.start()
    engine.run_until_quiet()
    execution = handle.instance.execution_id

    outcome = client.upgrade(handle.id, reason="new tax", actor="ada")
    handle.signal("go")

    assert engine.result(handle) == ["first1", 0, 2, "last1"]
    assert (outcome.instance_id, outcome.execution_id) == (handle.id, execution)
    assert handle.instance.version == 2
    assert Execution.objects.get(pk=execution).version == 2
    upgraded = item(handle, "ExecutionUpgraded").data
    assert upgraded == {"version": 2, "reason": "new tax", "actor": "ada"}
    assert item(handle, "ExecutionStarted").data["version"] == 0, "what is recorded stays"
    assert world.ran["first"] == 1


def test_live_execution_of_the_old_version_is_not_used_any_more(engine, world, orders):
    order, _ = orders
    handle = order.start()
    engine.run_until_quiet()

    client.upgrade(handle.id)
    handle.signal("go")
    engine.run_until_quiet()
    result = handle.result(timeout=0)
    engine.restart()

    assert result[-1] == "last1"
    assert client.get(handle.id).result(timeout=0) == result


def test_pending_instance_begins_on_the_new_version(engine, time, world, orders):
    order, _ = orders
    handle = order.options(delay=100).start()

    client.upgrade(handle.id)
    time.forward(101)
    handle.signal("go")

    assert engine.result(handle) == ["first1", 2, 2, "last1"]
    assert item(handle, "ExecutionStarted").data["version"] == 2
    assert "ExecutionUpgraded" not in kinds(handle)


def test_suspended_instance_stays_suspended(engine, world, orders):
    order, _ = orders
    handle = order.start()
    engine.run_until_quiet()
    handle.suspend()

    client.upgrade(handle.id)
    handle.signal("go")
    engine.run_until_quiet()
    assert handle.status == "suspended"
    handle.resume()

    assert engine.result(handle)[-1] == "last1"


def test_instance_stalled_for_want_of_its_version_goes_on_with_another(engine, world, orders):
    order, _ = orders
    handle = order.start()
    engine.run_until_quiet()
    registry.unregister_workflow("order", 0)
    engine.restart()
    handle.signal("go")
    engine.run_until_quiet()
    assert (handle.status, handle.instance.stall["reason"]) == ("stalled", "version not available")

    client.upgrade(handle.id)

    assert engine.result(handle)[-1] == "last1"
    assert handle.instance.stall is None


def test_stalled_instance_recovers_by_itself_when_its_version_is_there_again(engine, time, world, orders):
    order, _ = orders
    handle = order.start()
    engine.run_until_quiet()
    registry.unregister_workflow("order", 0)
    engine.restart()
    handle.signal("go")
    engine.run_until_quiet()
    assert handle.status == "stalled"

    registry.add_workflow(order)
    time.forward(31)

    assert engine.result(handle) == ["first1", 0, 0]


@pytest.fixture
def misfit(world):
    """A version that does something else after the second of three activities."""
    a, b, c, other = (world.act(name) for name in ("a", "b", "c", "other"))

    @workflow.defn
    async def job() -> list[str]:
        results = [await a(), await b(), await c()]
        await workflow.wait_signal("go")
        return results

    @workflow.defn
    async def job2() -> list[str]:
        return [await a(), await b(), await other()]

    return job


def test_version_that_does_not_fit_is_refused_with_an_offer(engine, world, misfit):
    handle = misfit.start()
    engine.run_until_quiet()
    before = kinds(handle)

    with pytest.raises(NondeterminismError) as caught:
        client.upgrade(handle.id)

    error = caught.value
    assert (error.expected, error.got, error.offer) == ("ActivityScheduled(c)", "ActivityScheduled(other)", 1)
    assert (kinds(handle), handle.instance.version) == (before, 0)
    handle.terminate()
    again = client.rerun_from_activity(handle.id, error.offer, version=2)
    assert engine.result(again) == ["a1", "b2", "other1"]


def test_closed_instance_becomes_a_rerun_on_the_version(engine, world, misfit):
    handle = misfit.start()
    handle.signal("go")
    assert engine.result(handle) == ["a1", "b1", "c1"]

    outcome = client.upgrade(handle.id)

    again = client.get(outcome.instance_id)
    assert again.id != handle.id
    assert engine.result(again) == ["a1", "b2", "other1"]
    assert (again.instance.version, again.instance.rerun_from) == (2, handle.id)
    assert handle.instance.version == 0


def test_upgrade_says_before_what_it_will_do(engine, world, orders, misfit):
    order, _ = orders
    fits, does_not = order.start(), misfit.start()
    engine.run_until_quiet()

    preview = client.upgrade(fits.id, dry_run=True)
    refused = client.upgrade(does_not.id, dry_run=True)

    assert (preview.allowed, preview.version, [step.name for step in preview.kept]) == (True, 2, ["first"])
    assert (refused.allowed, refused.refusal.offer) == (False, 1)
    assert fits.instance.version == 0


def test_upgrade_refuses_what_makes_no_sense(engine, world, orders):
    order, order2 = orders
    old, new = order.start(), order2.start()
    engine.run_until_quiet()

    with pytest.raises(InvalidInput, match="version 2 already"):
        client.upgrade(new.id)
    with pytest.raises(VersionNotAvailable, match="there are: 0, 2"):
        client.upgrade(old.id, to=9)
    with pytest.raises(UnknownInstance):
        client.upgrade("nobody")
    registry.unregister_workflow("order", 0)
    registry.unregister_workflow("order", 2)
    with pytest.raises(UnknownWorkflow):
        client.upgrade(old.id)
    assert set(Operation.objects.values_list("verb", "outcome")) == {("upgrade", "refused")}


def test_downgrade_is_an_upgrade_to_an_older_version(engine, world, orders):
    _, order2 = orders
    handle = order2.start()
    engine.run_until_quiet()

    client.upgrade(handle.id, to=0)
    handle.signal("go")

    assert engine.result(handle) == ["first1", 2, 0]


def test_closed_instance_without_activities_cannot_be_upgraded(engine):
    @workflow.defn
    async def idle() -> None: ...

    @workflow.defn
    async def idle2() -> None: ...

    handle = idle.start()
    engine.run_until_quiet()

    with pytest.raises(InvalidInput, match="no activity"):
        client.upgrade(handle.id)


# --- which are in use


def test_says_which_versions_are_in_use(engine, world, orders):
    order, _ = orders
    done, waiting = order.start(), order.start()
    done.signal("go")
    engine.run_until_quiet()

    @workflow.defn
    async def order10() -> None: ...

    uses = {use.version: use for use in client.versions() if use.name == "order"}

    assert list(uses) == [0, 2, 10]
    assert (uses[0].open, uses[0].closed, uses[0].registered, uses[0].safe_to_delete) == (1, 1, True, False)
    assert uses[0].oldest_open == waiting.instance.created_at
    assert (uses[10].open, uses[10].last_start, uses[10].safe_to_delete) == (0, None, True)
    client.upgrade(waiting.id, to=2)
    assert {use.version: use.open for use in client.versions() if use.name == "order"} == {0: 0, 2: 1, 10: 0}
    registry.unregister_workflow("order", 0)
    gone = next(use for use in client.versions() if (use.name, use.version) == ("order", 0))
    assert (gone.registered, gone.safe_to_delete) == (False, False), "what ended on it could be rerun"


def test_numbers_compare_as_numbers(engine, orders):
    @workflow.defn
    async def order10() -> None: ...

    assert registry.latest("order").version == 10
