"""Versions: recorded, missed, upgraded to, and counted."""

from __future__ import annotations

import asyncio
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


def test_version_that_asks_for_more_where_the_instance_stands_gets_it_at_once(engine, path, world):
    first, more = world.act("first"), world.act("more")

    @workflow.defn
    async def job() -> list[Any]:
        return [await first(), await workflow.wait_signal("go")]

    @workflow.defn
    async def job2() -> list[Any]:
        return [await first(), await more(), await workflow.wait_signal("go")]

    handle = job.start()
    engine.run_until_quiet()

    assert client.upgrade(handle.id, dry_run=True).warnings == ["goes on at once: ActivityScheduled(more)"]
    client.upgrade(handle.id)
    engine.run_until_quiet()

    assert world.ran["more"] == 1
    assert kinds(handle)[3:] == ["ActivityScheduled", "ExecutionUpgraded", "ActivityCompleted"]
    handle.signal("go", "x")
    engine.restart()
    assert engine.result(handle) == ["first1", "more1", "x"]


def test_version_that_ends_where_the_instance_stands_ends_it(engine, world):
    first = world.act("first")

    @workflow.defn
    async def job() -> Any:
        await first()
        await workflow.wait_signal("go")

    @workflow.defn
    async def job2() -> Any:
        return await first()

    handle = job.start()
    engine.run_until_quiet()

    client.upgrade(handle.id)

    assert (handle.status, handle.result(timeout=0)) == ("completed", "first1")
    assert kinds(handle)[-1] == "ExecutionCompleted"


def test_condition_that_goes_by_the_version_holds_at_once(engine):
    async def body() -> int:
        await workflow.wait_until(lambda: workflow.version() >= 2)
        return workflow.version()

    workflow.defn(name="job")(body)
    workflow.defn(name="job2")(body)
    handle = client.start("job")
    engine.run_until_quiet()
    assert handle.status == "running"

    client.upgrade(handle.id)

    assert handle.result(timeout=0) == 2


def test_suspended_instance_is_not_made_to_go_on(engine, world):
    first, more = world.act("first"), world.act("more")

    @workflow.defn
    async def job() -> Any:
        await first()
        await workflow.wait_signal("go")

    @workflow.defn
    async def job2() -> Any:
        await first()
        await more()

    handle = job.start()
    engine.run_until_quiet()
    handle.suspend()

    with pytest.raises(NondeterminismError) as caught:
        client.upgrade(handle.id)

    assert (caught.value.expected, caught.value.got) == ("ExecutionSuspended", "ActivityScheduled(more)")
    assert (handle.status, handle.instance.version, caught.value.offer) == ("suspended", 0, 0)


def test_instance_stalled_by_a_change_of_its_code_goes_on_with_a_version_that_fits(engine, world):
    a, b, other = world.act("a"), world.act("b"), world.act("other")

    async def before() -> list[Any]:
        results = [await a(), await workflow.wait_signal("go")]
        return [*results, await b()]

    async def broken() -> list[Any]:
        return [await other()]

    workflow.defn(name="job")(before)
    handle = client.start("job")
    engine.run_until_quiet()
    registry.unregister_workflow("job", 0)
    workflow.defn(name="job")(broken)
    workflow.defn(name="job2")(before)
    engine.restart()
    handle.signal("go", "x")
    engine.run_until_quiet()
    assert (handle.status, handle.instance.stall["reason"]) == ("stalled", "nondeterminism")

    client.upgrade(handle.id)

    assert (handle.status, handle.instance.stall) == ("running", None)
    assert engine.result(handle) == ["a1", "x", "b1"]


def test_instance_stalled_before_it_began_goes_on(engine, world, orders):
    order, _ = orders
    handle = order.start()
    registry.unregister_workflow("order", 0)
    engine.run_until_quiet()
    assert (handle.status, handle.instance.head) == ("stalled", 0)

    client.upgrade(handle.id)
    handle.signal("go")

    assert engine.result(handle) == ["first1", 2, 2, "last1"]


def test_pending_instance_whose_arguments_do_not_fit_is_refused(engine, orders):
    @workflow.defn
    async def order3(number: int) -> None: ...

    order, _ = orders
    handle = order.options(delay=100).start()

    with pytest.raises(InvalidInput):
        client.upgrade(handle.id)
    assert (handle.status, handle.instance.version) == ("pending", 0)


def test_offer_is_an_activity_from_which_a_rerun_does_fit(engine, world):
    """The last activity before the first difference will not do: the step that it is in has the difference."""
    a, b = world.act("a"), world.act("b")

    @workflow.defn
    async def job() -> None:
        await a()
        await b()
        await workflow.wait_signal("go")

    @workflow.defn
    async def job2() -> Any:
        await a()
        task = asyncio.create_task(b())
        await asyncio.sleep(0)
        mark = workflow.side_effect(lambda: 7)
        await task
        return mark

    handle = job.start()
    engine.run_until_quiet()

    with pytest.raises(NondeterminismError) as caught:
        client.upgrade(handle.id)

    assert caught.value.offer == 0
    handle.terminate()
    with pytest.raises(NondeterminismError):
        client.rerun_from_activity(handle.id, 1, version=2)
    assert engine.result(client.rerun_from_activity(handle.id, 0, version=2)) == 7


def test_version_without_anything_in_common_has_no_offer(engine, world, misfit):
    other = world.act("other")

    @workflow.defn
    async def job3() -> None:
        await other()

    handle = misfit.start()
    engine.run_until_quiet()

    with pytest.raises(NondeterminismError) as caught:
        client.upgrade(handle.id)
    assert caught.value.offer is None
    handle.signal("go")
    engine.run_until_quiet()
    with pytest.raises(NondeterminismError):
        client.upgrade(handle.id)


def test_child_is_upgraded_under_its_parent_and_the_parent_over_its_child(engine, world, orders):
    order, _ = orders

    async def family() -> list[Any]:
        return [await order(), workflow.version()]

    first, second = workflow.defn(name="family")(family), workflow.defn(name="family2")(family)
    parent = first.options(id="p").start()
    engine.run_until_quiet()
    child = client.get("p:0000")

    client.upgrade("p")
    assert (parent.instance.version, child.instance.version) == (2, 0), "children have versions of their own"
    client.upgrade("p:0000")
    child.signal("go")

    assert engine.result(parent) == [["first1", 0, 2, "last1"], 2]
    assert (first.version, second.version) == (0, 2)
    outcome = client.upgrade("p:0000", to=0)
    again = client.get(outcome.instance_id)
    assert again.instance.parent_id is None, "the rerun of a child is nobody's"
    assert (again.instance.version, parent.status) == (0, "completed")


def test_rerun_and_rewind_of_an_upgraded_instance_are_on_the_version_that_it_had_in_the_end(engine, world, orders):
    order, _ = orders
    handle = order.start()
    engine.run_until_quiet()
    client.upgrade(handle.id)
    handle.signal("go")
    engine.result(handle)
    registry.unregister_workflow("order", 0)

    later = client.rerun_from_activity(handle.id, 1)
    earlier = client.rerun_from_activity(handle.id, 0)
    earlier.signal("go")

    assert engine.result(later) == ["first1", 0, 2, "last2"], "what it keeps was recorded on version 0"
    assert engine.result(earlier) == ["first2", 2, 2, "last3"]
    assert {later.instance.version, earlier.instance.version} == {2}
    execution = handle.instance.execution_id
    client.rewind(handle.id, to=0)
    handle.signal("go")
    assert engine.result(handle) == ["first3", 2, 2, "last4"]
    past = client.rerun_from_activity(handle.id, 1, execution=execution)
    assert engine.result(past)[-1] == "last5"


def test_preview_of_a_rerun_on_another_version_says_what_the_rerun_does(engine, world):
    """The code goes by the version from its beginning, in both."""
    a, b, c = world.act("a"), world.act("b"), world.act("c")

    async def job() -> list[Any]:
        return [await a(), await (b() if workflow.version() else c()), await a()]

    workflow.defn(name="job")(job)
    workflow.defn(name="job2")(job)
    handle = client.start("job")
    engine.run_until_quiet()

    assert client.rerun_from_activity(handle.id, 0, version=2, dry_run=True).allowed
    assert not client.rerun_from_activity(handle.id, 2, version=2, dry_run=True).allowed
    with pytest.raises(NondeterminismError):
        client.rerun_from_activity(handle.id, 2, version=2)


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
