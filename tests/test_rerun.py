"""Rerun from an activity: a new instance that begins with what another one had done before it."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from durable import (
    AlreadyExists,
    InvalidId,
    InvalidInput,
    NondeterminismError,
    NotAnActivity,
    NotClosed,
    PayloadTooLarge,
    RetryPolicy,
    UnknownEvent,
    UnknownExecution,
    UnknownInstance,
    VersionNotAvailable,
    activity,
    client,
    registry,
    workflow,
)
from durable.client import Args
from durable.models import HistoryEvent, Instance, Operation
from tests.driving import item, kinds, leftovers
from tests.test_rewind import World


@pytest.fixture
def world(fresh):
    return World()


@pytest.fixture
def three(world):
    """A workflow of three activities, one after the other."""
    acts = [world.act(name) for name in ("first", "second", "third")]

    @workflow.defn
    async def three(number: int = 0) -> list[str]:
        return [await act(number) for act in acts]

    return three


def rerun(engine: Any, handle: client.Handle, event_id: int, **options: Any) -> client.Handle:
    again = client.rerun_from_activity(handle.id, event_id, **options)
    engine.run_until_quiet()
    return again


def test_keeps_what_came_before_and_runs_the_rest(engine, path, world, three):
    handle = three.options(id="a", tags={"colour": "red"}).start(5)
    assert engine.result(handle) == ["first1", "second1", "third1"]
    before = list(HistoryEvent.objects.filter(execution__instance_id="a").values_list("seq", "kind", "data"))

    again = rerun(engine, handle, 1, new_instance_id="b")

    assert again.result(timeout=0) == ["first1", "second2", "third2"]
    assert world.ran == {"first": 1, "second": 2, "third": 2}
    instance = again.instance
    assert (instance.id, instance.attempt, instance.rerun_from, instance.rerun_event_id) == ("b", 1, "a", 1)
    assert (instance.tags, instance.parent_id, instance.version) == ({"colour": "red"}, None, 0)
    assert instance.input == {"args": [5], "kwargs": {}}
    assert [e.origin for e in instance.executions.all()] == ["rerun"]
    target = next(i for i in again.history() if i.event_id == 1)
    assert target.data["rerun_of"] == {"instance": "a", "event_id": 1}
    assert kinds(again) == kinds(handle)
    after = list(HistoryEvent.objects.filter(execution__instance_id="a").values_list("seq", "kind", "data"))
    assert after == before, "the source stays as it is"


def test_instance_id_is_made_if_none_is_given(engine, three):
    handle = three.start()
    engine.run_until_quiet()

    again = rerun(engine, handle, 0)

    assert uuid.UUID(again.id).version == 7
    assert again.status == "completed"


@pytest.mark.parametrize("end", ["completed", "failed", "canceled", "terminated"])
def test_any_closed_instance_can_be_rerun(engine, world, end):
    act = world.act("act")

    @workflow.defn
    async def flow() -> str:
        result = await act()
        if end == "failed":
            raise ValueError
        if end != "completed" and world.ran["act"] == 1:
            await workflow.wait_signal("never")
        return result

    handle = flow.start()
    engine.run_until_quiet()
    {"canceled": handle.cancel, "terminated": handle.terminate}.get(end, lambda: None)()
    engine.run_until_quiet()
    assert handle.status == end

    again = rerun(engine, handle, 0)

    assert again.status == ("failed" if end == "failed" else "completed")
    assert world.ran["act"] == 2


# --- input


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({}, [1, "a"]),
        ({"input": Args(2, text="b")}, [2, "b"]),
        ({"input": Args(3)}, [3, "x"]),
    ],
)
def test_input_of_the_target_can_be_given_and_nothing_else_changes(engine, given, arguments):
    seen = []

    @activity.defn
    def act(number: int, text: str = "x") -> None:
        seen.append([number, text])

    @workflow.defn
    async def flow() -> None:
        await act(1, "a")
        await act(9, "z")

    handle = flow.start()
    engine.run_until_quiet()
    seen.clear()

    rerun(engine, handle, 0, **given)

    assert seen == [arguments, [9, "z"]]


@pytest.mark.parametrize("value", [None, 7, {"args": [1], "kwargs": {}}, [1, 2]])
def test_any_other_value_is_the_single_argument(engine, value):
    seen = []

    @activity.defn
    def act(one: Any) -> None:
        seen.append(one)

    @workflow.defn
    async def flow() -> None:
        await act("original")

    handle = flow.start()
    engine.run_until_quiet()

    rerun(engine, handle, 0, input=value)

    assert seen == ["original", value]


# --- fan-out


@pytest.fixture
def fan(world):
    """Three activities at once, then one more."""
    acts = [world.act(name) for name in ("a", "b", "c")]
    last = world.act("last")

    @workflow.defn
    async def fan() -> list[str]:
        return [*await asyncio.gather(*(act() for act in acts)), await last()]

    return fan


def test_every_member_of_a_fan_out_runs_again(engine, path, world, fan):
    handle = fan.start()
    engine.run_until_quiet()

    again = rerun(engine, handle, 1)

    assert again.result(timeout=0) == ["a2", "b2", "c2", "last2"]


def test_siblings_can_keep_their_results(engine, path, world, fan):
    handle = fan.start()
    engine.run_until_quiet()

    again = rerun(engine, handle, 1, siblings="keep")

    assert again.result(timeout=0) == ["a1", "b2", "c1", "last2"]
    assert world.ran == {"a": 1, "b": 2, "c": 1, "last": 2}


@pytest.fixture
def pipelines(world):
    """Two branches of three activities, side by side, and one more activity when both are done."""
    left, right = ([world.act(f"{side}{n}") for n in "123"] for side in ("left", "right"))
    last = world.act("last")

    @workflow.defn
    async def pipelines() -> list[Any]:
        async def branch(acts: list[Any]) -> list[str]:
            return [await act() for act in acts]

        return [*await asyncio.gather(branch(left), branch(right)), await last()]

    return pipelines


@pytest.mark.parametrize(
    ("target", "ran"),
    [
        ("left1", {"left1", "left2", "left3", "last"}),
        ("left2", {"left2", "left3", "last"}),
        ("right1", {"right1", "right2", "right3", "last"}),
        ("right3", {"right3", "last"}),
    ],
)
def test_with_kept_siblings_only_the_target_and_what_follows_from_it_run(engine, path, world, pipelines, target, ran):
    handle = pipelines.start()
    before = engine.result(handle)
    (event_id,) = (i.event_id for i in handle.history() if (i.kind, i.name) == ("ActivityScheduled", target))
    world.ran.clear()

    preview = client.rerun_from_activity(handle.id, event_id, siblings="keep", dry_run=True)
    again = rerun(engine, handle, event_id, siblings="keep")

    assert again.result(timeout=0) == before, "the counts of those that ran began anew"
    assert world.ran == dict.fromkeys(ran, 1)
    assert {step.name for step in preview.kept} == {step.name for step in _steps(handle)} - ran
    assert [step.name for step in preview.rerun] == [target]
    assert {step.name for step in preview.dropped} == ran - {target}
    assert leftovers() == []


def _steps(handle: client.Handle) -> list[client.HistoryItem]:
    return [item for item in handle.history() if item.kind == "ActivityScheduled"]


def test_branches_beside_the_target_may_be_longer_than_a_fan_out(engine, world, settings):
    settings.DURABLE = {"LIMITS": {"fan_out": 5}}
    first, other = world.act("first"), world.act("other")

    @workflow.defn
    async def flow() -> list[Any]:
        async def branch() -> list[str]:
            return [await other(number) for number in range(10)]

        return list(await asyncio.gather(first(), branch()))

    handle = flow.start()
    engine.run_until_quiet()

    again = rerun(engine, handle, 0, siblings="keep")

    assert (again.status, world.ran) == ("completed", {"first": 2, "other": 10})


# --- signals, timers, children


def test_earlier_signals_are_kept_and_later_ones_are_to_be_sent_again(engine, world):
    act = world.act("act")

    @workflow.defn
    async def flow() -> list[Any]:
        first = await workflow.wait_signal("go")
        await act()
        return [first, await workflow.wait_signal("go")]

    handle = flow.start()
    handle.signal("go", 1)
    engine.run_until_quiet()
    handle.signal("go", 2)
    assert engine.result(handle) == [1, 2]

    preview = client.rerun_from_activity(handle.id, 0, dry_run=True)
    again = rerun(engine, handle, 0)

    assert preview.signals_dropped == ["go"]
    assert again.status == "running"
    again.signal("go", 3)
    assert engine.result(again) == [1, 3]


def test_timer_open_at_the_fork_has_the_time_that_was_left(engine, time, world):
    act = world.act("act")

    @workflow.defn
    async def flow() -> str:
        async with asyncio.timeout(100):
            await asyncio.sleep(40)
            result = await act()
            await workflow.wait_signal("go")
            return result

    handle = flow.start()
    engine.run_until_quiet()
    time.forward(41)
    engine.run_until_quiet()
    handle.signal("go")
    assert engine.result(handle) == "act1"
    time.forward(500)

    again = rerun(engine, handle, 2)
    time.forward(55)
    engine.run_until_quiet()
    assert again.status == "running"
    time.forward(6)
    engine.run_until_quiet()

    assert again.status == "failed"
    assert again.instance.failure["type"] == "TimeoutError"
    third = rerun(engine, again, 2)
    time.forward(55)
    engine.run_until_quiet()
    assert third.status == "running", "a rerun of a rerun counts from its own fork"
    time.forward(6)
    engine.run_until_quiet()
    assert third.status == "failed"


@pytest.fixture
def family(world):
    """A child, an activity, and another child beside one more activity."""
    act, late = world.act("act"), world.act("late")

    @workflow.defn
    async def kid(name: str) -> str:
        world.ran[name] += 1
        return name

    @workflow.defn
    async def family() -> list[Any]:
        first = await kid("early")
        middle = await act()
        return [first, middle, *await asyncio.gather(kid("beside"), late())]

    return family


@pytest.mark.lenient
def test_finished_children_are_inherited_and_others_are_made_anew(engine, world, family):
    handle = family.options(id="a").start()
    assert engine.result(handle) == ["early", "act1", "beside", "late1"]

    again = rerun(engine, handle, 1, new_instance_id="b")

    assert again.result(timeout=0) == ["early", "act2", "beside", "late2"]
    assert world.ran["early"] == 1
    early, beside = (i for i in again.history() if i.kind == "ChildScheduled")
    assert (early.data["inherited"], early.data["instance_id"]) == (True, "a:0000")
    assert (beside.data["inherited"], beside.data["instance_id"]) == (False, "b:0002")
    assert set(Instance.objects.filter(parent_id="b").values_list("pk", flat=True)) == {"b:0002"}


def test_child_that_had_not_finished_gets_a_child_of_its_own(engine, world, family):
    handle = family.options(id="a").start()
    engine.run_until_quiet()

    again = rerun(engine, handle, 3, new_instance_id="b")

    assert again.result(timeout=0) == ["early", "act1", "beside", "late2"]
    beside = [i for i in again.history() if i.kind == "ChildScheduled"][1]
    assert beside.data["instance_id"] == "b:0002"
    assert client.get("b:0002").status == "completed"
    assert client.get("a:0002").instance.executions.count() == 1


def test_warns_of_a_child_whose_id_is_taken(engine, world):
    act = world.act("act")

    @workflow.defn
    async def kid() -> None: ...

    @workflow.defn
    async def flow() -> None:
        await act()
        await kid.options(id="the-kid")()

    handle = flow.start()
    engine.run_until_quiet()

    preview = client.rerun_from_activity(handle.id, 0, dry_run=True)

    assert preview.warnings == ["a child with the id 'the-kid' exists: starting it again will fail"]


# --- lineage


def test_rerun_of_a_rerun_and_of_an_old_execution(engine, world, three):
    handle = three.options(id="a").start(1)
    engine.run_until_quiet()
    second = rerun(engine, handle, 1, new_instance_id="b")
    third = rerun(engine, second, 2, new_instance_id="c")

    assert third.result(timeout=0) == ["first1", "second2", "third3"]
    assert (third.instance.attempt, third.instance.rerun_from) == (2, "b")
    marks = [i.data["rerun_of"] for i in third.history() if i.kind == "ActivityScheduled"]
    assert marks == [None, {"instance": "a", "event_id": 1}, {"instance": "b", "event_id": 2}]


def test_any_kept_execution_can_be_rerun(engine, world):
    act = world.act("act")

    @workflow.defn
    async def flow(number: int) -> str:
        result = await act(number)
        if number < 3:
            workflow.continue_as_new(number + 1)
        return f"{number}{result}"

    handle = flow.start(1)
    engine.run_until_quiet()
    second = handle.instance.executions.order_by("number")[1]

    again = rerun(engine, handle, 0, execution=str(second.pk))

    assert again.result(timeout=0) == "3act5"
    assert again.instance.input == {"args": [2], "kwargs": {}}


def test_execution_of_another_life_is_rerun_where_it_ran(engine, world):
    act = world.act("act")

    @workflow.defn(queue="slow", timeout=60, retry=RetryPolicy(max_attempts=2))
    async def old(number: int) -> str:
        return f"old {number} {await act()}"

    @workflow.defn(timeout=5)
    async def new(number: int) -> str:
        return f"new {number} {await act()}"

    first = old.options(id="x", tags={"life": 1}, headers={"tenant": "a"}).start(1)
    engine.run_until_quiet()
    execution, options = first.instance.execution_id, first.instance.options
    new.options(id="x", id_reuse="replace_closed", headers={"tenant": "b"}).start(2)
    engine.run_until_quiet()

    again = rerun(engine, first, 0, execution=execution)

    assert again.result(timeout=0) == "old 1 act3"
    instance = again.instance
    assert (instance.name, instance.queue, instance.tags) == ("old", "slow", {"life": 1})
    assert instance.headers == {"tenant": "a"}
    assert (instance.options["timeout"], instance.options["retry"]) == (options["timeout"], options["retry"])


def test_code_that_changed_after_the_target_is_fine(engine, world, three):
    handle = three.start()
    engine.run_until_quiet()
    registry.unregister_workflow("three", 0)
    first, other = registry.activity("first"), world.act("other")

    @workflow.defn(name="three")
    async def changed(number: int = 0) -> list[str]:
        return [await first(number), await other(number)]

    again = rerun(engine, handle, 0)

    assert again.result(timeout=0) == ["first2", "other1"]


def test_version_can_be_given(engine, world, three):
    first, other = registry.activity("first"), world.act("other")

    @workflow.defn
    async def three2(number: int = 0) -> list[str]:
        return [await first(number), await other(number)]

    handle = three.start()
    engine.run_until_quiet()

    again = rerun(engine, handle, 0, version=2)

    assert again.result(timeout=0) == ["first2", "other1"]
    assert (again.instance.version, item(again, "ExecutionStarted").data["version"]) == (2, 2)
    assert rerun(engine, handle, 0).instance.version == 0, "else the recorded one"


# --- refusals, in order


def test_refuses_in_the_promised_order(engine, world, three):
    three.options(id="a").start()
    engine.run_until_quiet()

    @workflow.defn
    async def mixed() -> None:
        await asyncio.sleep(0.001)
        workflow.side_effect(lambda: 1)
        await workflow.wait_signal("never")

    still_open = mixed.options(id="open").start()
    engine.run_until_quiet()

    def refused(error: type[Exception], *args: Any, match: str | None = None, **options: Any) -> None:
        with pytest.raises(error, match=match):
            client.rerun_from_activity(*args, **options)

    refused(InvalidId, "", 99)
    refused(InvalidId, "nobody", 0, new_instance_id="nobody")
    refused(UnknownInstance, "nobody", 0)
    refused(NotClosed, "open", 99, match="running")
    refused(UnknownEvent, "a", 99)
    refused(UnknownExecution, "a", 0, execution=str(still_open.instance.execution_id))
    refused(UnknownExecution, "a", 0, execution="no uuid")
    still_open.terminate()
    refused(NotAnActivity, "open", 0, match="TimerStarted", input=object())
    refused(InvalidInput, "a", 0, input=object())
    refused(InvalidInput, "a", 0, input=1, siblings="both")
    refused(VersionNotAvailable, "a", 0, version=9, new_instance_id="open", match="there are: 0")
    refused(AlreadyExists, "a", 0, new_instance_id="open")
    assert Instance.objects.count() == 2
    assert set(Operation.objects.filter(verb="rerun").values_list("outcome", flat=True)) == {"refused"}


def test_input_that_does_not_fit_names_the_parameter(engine):
    @activity.defn
    def act(number: int, more: Any = None) -> None: ...

    @workflow.defn
    async def flow() -> None:
        await act(1)

    handle = flow.start()
    engine.run_until_quiet()

    with pytest.raises(InvalidInput, match=r"act\(number\)"):
        client.rerun_from_activity(handle.id, 0, input="seven")
    with pytest.raises(InvalidInput, match="act"):
        client.rerun_from_activity(handle.id, 0, input=Args(1, 2, 3))
    with pytest.raises(PayloadTooLarge):
        client.rerun_from_activity(handle.id, 0, input=Args(1, "x" * 3_000_000))


def test_code_that_does_something_else_before_the_target_is_refused(engine, world, three):
    handle = three.start()
    engine.run_until_quiet()
    registry.unregister_workflow("three", 0)

    @workflow.defn(name="three")
    async def changed(number: int = 0) -> None:
        await asyncio.sleep(1)

    with pytest.raises(NondeterminismError) as caught:
        client.rerun_from_activity(handle.id, 1)
    assert (caught.value.seq, caught.value.expected) == (2, "ActivityScheduled(first)")

    preview = client.rerun_from_activity(handle.id, 1, dry_run=True)
    assert (preview.allowed, type(preview.refusal)) == (False, NondeterminismError)


def test_says_before_what_it_will_do(engine, world, three):
    handle = three.start()
    engine.run_until_quiet()

    preview = client.rerun_from_activity(handle.id, 1, dry_run=True)

    assert preview.allowed
    assert [step.event_id for step in preview.kept] == [0]
    assert [step.event_id for step in preview.rerun] == [1]
    assert [step.event_id for step in preview.dropped] == [2]
    assert Instance.objects.count() == 1


def test_source_s_idempotency_key_is_offered_to_what_runs_again(engine, path):
    seen: list[tuple[str, str, str | None]] = []

    @activity.defn
    def charge(what: str) -> None:
        info = activity.info()
        seen.append((what, info.idempotency_key, info.source_idempotency_key))

    @workflow.defn
    async def pay() -> None:
        await charge("first")
        await charge("second")
        await charge("third")

    handle = pay.options(id="a").start()
    engine.run_until_quiet()
    keys = [key for _, key, _ in seen]
    assert [source for *_, source in seen] == [None, None, None]

    seen.clear()
    rerun(engine, handle, 1)

    assert [(what, source) for what, _, source in seen] == [("second", keys[1]), ("third", None)]
    assert not {key for _, key, _ in seen} & set(keys)


def test_checkpoint_returns_its_input_and_takes_another_in_a_rerun(engine, path):
    @workflow.defn
    async def price(cents: int) -> int:
        return int(await activity.checkpoint(cents * 2)) + 1

    handle = price.options(id="a").start(5)
    assert engine.result(handle) == 11
    assert item(handle, "ActivityScheduled").name == "durable.checkpoint"

    assert engine.result(rerun(engine, handle, 0, input=20)) == 21
