"""What would come of a rerun: played in memory, with recorded answers and mocks, and nothing is written."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import (
    InvalidInput,
    NondeterminismError,
    NotAnActivity,
    NotClosed,
    UnknownEvent,
    UnknownInstance,
    activity,
    client,
    workflow,
)
from durable.client import Args
from durable.models import Execution, HistoryEvent, Instance, Operation
from tests.driving import cost
from tests.test_rewind import World


@pytest.fixture
def world(fresh):
    return World()


@pytest.fixture
def sums(fresh):
    ran: list[int] = []

    @activity.defn
    def double(number: int) -> int:
        ran.append(number)
        if number == 13:
            raise activity.NonRetryable("unlucky")
        return 2 * number

    @activity.defn
    def note(text: str) -> str:
        ran.append(-1)
        return f"noted {text}"

    @workflow.defn
    async def sums(number: int) -> str:
        first = await double(number)
        second = await double(first + 1)
        return await note(str(second))

    return sums, ran


@pytest.fixture
def ran(engine, sums):
    """An instance that completed, and a list to see whether anything ran since."""
    definition, calls = sums
    definition.options(id="a").start(1)
    engine.run_until_quiet()
    assert client.get("a").result(timeout=0) == "noted 6"
    calls.clear()
    return calls


def rows() -> list[int]:
    return [model.objects.count() for model in (Instance, Execution, HistoryEvent, Operation)]


def test_unchanged_rerun_comes_to_what_was(ran):
    found = client.what_if("a", 1)

    assert (found.status, found.result, found.missing, found.stopped) == ("completed", "noted 6", [], "")
    assert [item.kind for item in found.history] == [item.kind for item in client.history("a")]
    changed = [event.fields for event in found.comparison.events if event.change != "same"]
    assert changed == [("attempt",), ("rerun_of",)]


def test_what_changes_asks_for_mocks(ran):
    found = client.what_if("a", 1, input=10)

    assert found.status == "running"
    assert [(step.event_id, step.name) for step in found.missing] == [(1, "double")]
    assert [wait.text for wait in found.waits] == ["activity 'double'"]

    found = client.what_if("a", 1, input=10, mocks={"double": 20})
    assert [(step.event_id, step.name) for step in found.missing] == [(2, "note")]

    found = client.what_if("a", 1, input=10, mocks={"double": 20, "note": lambda text: f"mock {text}"})
    assert (found.status, found.result) == ("completed", "mock 20")
    assert found.comparison.counts == {"same": 2, "changed": 6, "only_a": 0, "only_b": 0}


def test_nothing_is_written_and_nothing_runs(ran):
    before = rows()

    with cost() as counted:
        client.what_if("a", 1, input=10, mocks={"double": 20, "note": "n"})

    assert all(statement.startswith("SELECT") for statement in counted.statements)
    assert not any("FOR " in statement for statement in counted.statements)
    assert (rows(), ran) == (before, [])


def test_projection_is_what_the_rerun_comes_to(ran, engine):
    found = client.what_if("a", 0, input=5, mocks={"double": lambda n: 2 * n, "note": lambda text: f"noted {text}"})

    again = client.rerun_from_activity("a", 0, input=5)
    engine.run_until_quiet()
    assert (found.status, found.result) == (again.status, again.result(timeout=0))
    assert [(i.kind, i.name, i.event_id) for i in found.history] == [
        (i.kind, i.name, i.event_id) for i in again.history()
    ]


def test_mock_of_the_step_itself_goes_before_its_record(ran):
    assert client.what_if("a", 1, mocks={"double": 100}).missing[0].name == "note"
    assert client.what_if("a", 0, mocks={"double": 2}).result == "noted 6", "the second one is as it was recorded"


def test_mock_of_an_event_goes_before_the_record(ran):
    assert client.what_if("a", 0, mocks={2: "other"}).result == "other"


@pytest.mark.parametrize("error", [ValueError("no"), ValueError, lambda text: (_ for _ in ()).throw(ValueError("no"))])
def test_mock_can_fail(ran, error):
    found = client.what_if("a", 2, mocks={"note": error})

    assert found.status == "failed"
    assert found.failure.type == "ActivityError"
    assert found.failure.cause.type == "ValueError"
    assert found.result is None


def test_failure_that_was_recorded_fails_again_unless_it_is_mocked(engine, sums):
    definition, _ = sums
    handle = definition.start(6)
    engine.run_until_quiet()

    assert handle.what_if(1).status == "failed"
    assert handle.what_if(1, mocks={"double": 1, "note": "fine"}).result == "fine"


def test_mock_that_nothing_asked_for_is_told(ran):
    assert client.what_if("a", 1, mocks={"nothing": 1, 99: 2, "note": "x"}).unused == ["nothing", 99, "note"]


def test_mock_whose_value_has_no_json_is_refused(ran):
    with pytest.raises(InvalidInput, match="mock of double"):
        client.what_if("a", 1, mocks={"double": object()})


def test_arguments_are_given_as_for_a_rerun(ran):
    assert client.what_if("a", 1, input=Args(3)).result == "noted 6"


def test_refusals_are_those_of_the_rerun(ran, engine, sums):
    with pytest.raises(UnknownInstance):
        client.what_if("nobody", 0)
    with pytest.raises(UnknownEvent):
        client.what_if("a", 7)
    with pytest.raises(InvalidInput):
        client.what_if("a", 0, input="no number")
    with pytest.raises(NotClosed):
        sums[0].options(id="b", delay=60).start(1)
        client.what_if("b", 0)


def test_timers_fire_in_virtual_time_and_signals_come_again(engine, time, fresh):
    @activity.defn
    def act(number: int = 0) -> int:
        return number

    @workflow.defn
    async def waits() -> Any:
        await act()
        began = workflow.now()
        await asyncio.sleep(3600)
        answer = await workflow.wait_signal("go", timeout=86_400)
        return [answer, (workflow.now() - began).total_seconds() // 60]

    handle = waits.options(id="w").start()
    engine.run_until_quiet()
    time.forward(3600)
    engine.run_until_quiet()
    time.forward(600)
    handle.signal("go", "yes")
    engine.run_until_quiet()
    assert handle.result(timeout=0)[0] == "yes"

    found = handle.what_if(0)

    assert found.result == ["yes", 70]
    assert not found.missing
    with pytest.raises(NotAnActivity):
        handle.what_if(1)


def test_side_effects_do_not_run(engine, fresh):
    drawn = []

    @activity.defn
    def act(number: int = 0) -> int:
        return number

    @workflow.defn
    async def draws() -> int:
        await act()

        def draw() -> int:
            drawn.append(1)
            return len(drawn)

        value = workflow.side_effect(draw)
        if await act(value) > 1:
            value += 10 * workflow.side_effect(draw)
        return value

    handle = draws.start()
    assert engine.result(handle) == 1

    assert handle.what_if(0).result == 1
    found = handle.what_if(2, mocks={"act": 5})
    assert found.stopped == "the side effect of event 3 is not recorded: give its value as a mock"
    assert found.status == "running"
    found = handle.what_if(2, mocks={"act": 5, 3: 4})
    assert (found.result, found.unused) == (41, [])
    assert drawn == [1]


def test_children_are_answered_from_the_record_or_by_mocks(engine, fresh):
    @activity.defn
    def act(number: int = 1) -> int:
        return number

    @workflow.defn
    async def child(number: int) -> int:
        return 10 * number

    @workflow.defn
    async def parent() -> int:
        number = await act(1)
        return await child(number)

    handle = parent.start()
    assert engine.result(handle) == 10

    assert handle.what_if(0).result == 10
    assert [step.kind for step in handle.what_if(0, mocks={"act": 2}).missing] == ["ChildScheduled"]
    found = handle.what_if(0, mocks={"act": 2, "child": lambda number: number + 5})
    assert found.result == 7
    failed = handle.what_if(0, mocks={"act": 2, "child": ValueError("no")})
    assert failed.failure.type == "ChildFailed"
    assert Instance.objects.count() == 2


def test_other_version_is_played_with_what_was_recorded(engine, sums, ran):
    @activity.defn
    def check(number: int) -> bool: ...

    @workflow.defn(name="sums", version=1)
    async def sums1(number: int) -> str:
        first = await activity_named("double")(number)
        await check(first)
        second = await activity_named("double")(first + 1)
        return "new " + await activity_named("note")(str(second))

    activity_named = workflow.activity_by_name

    found = client.what_if("a", 0, version=1, mocks={"check": True})

    assert found.result == "new noted 6"
    assert [(e.b.name, e.change) for e in found.comparison.events if e.change == "only_b"] == [("check", "only_b")] * 2
    with pytest.raises(NondeterminismError):
        client.what_if("a", 2, version=1)


def test_loop_without_an_end_is_stopped(engine, fresh):
    @activity.defn
    def act() -> bool:
        return True

    @workflow.defn
    async def loops() -> None:
        while not await act():
            await asyncio.sleep(1)

    handle = loops.start()
    engine.run_until_quiet()

    found = handle.what_if(0, mocks={"act": lambda: False})

    assert found.stopped == "it goes on for longer than 10,000 events"
