"""Updates in a simulation are let in, refused and answered as the engine does it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import (
    InvalidInput,
    NotOpen,
    RetryPolicy,
    UpdateFailed,
    UpdateRejected,
    UpdateTimeout,
    testing,
    workflow,
)
from durable.testing.clocks import Clock
from tests.driving import Engine


@pytest.fixture(autouse=True)
def _fresh(fresh):
    pass


def make_cart() -> Any:
    @workflow.defn
    async def cart() -> list[Any]:
        lines: list[Any] = []

        def no_bricks(line: str) -> None:
            if line == "brick":
                raise ValueError("no bricks")
            if line == "change":
                lines.append("changed by the validator")
                workflow.set_status("changed")

        @workflow.update(validator=no_bricks)
        async def add(line: str) -> int:
            await asyncio.sleep(1)
            if line == "broken":
                raise LookupError(line)
            lines.append(line)
            return len(lines)

        await asyncio.sleep(10)

        @workflow.update
        def checkout() -> str:
            workflow.set_status("paid")
            return "bye"

        await workflow.wait_until(lambda: "end" in lines)
        return lines

    return cart


@pytest.fixture
def simulation():
    return testing.Simulation(make_cart())


def test_update_changes_the_workflow_and_has_an_outcome(simulation):
    first = simulation.at(2).update("add", "milk")
    simulation.at(5).update("add", line="end")

    simulated = simulation.run()

    assert (first.value, simulated.result()) == (1, ["milk", "end"])
    assert [item.kind for item in simulated.history][2:6] == [
        "UpdateAccepted",
        "TimerStarted",
        "TimerFired",
        "UpdateCompleted",
    ]


def test_update_that_is_rejected_leaves_no_event(simulation):
    validated = simulation.at(2).update("add", "brick")
    misfit = simulation.at(3).update("add", 1, 2)
    simulation.at(5).update("add", "end")

    simulated = simulation.run()

    with pytest.raises(UpdateRejected, match="ValueError: no bricks"):
        validated.value  # noqa: B018 - looking is what raises
    with pytest.raises(UpdateRejected, match="too many positional arguments"):
        misfit.value  # noqa: B018
    assert [item.kind for item in simulated.history].count("UpdateAccepted") == 1


def test_update_whose_validator_changes_something_is_rejected_and_nothing_is_changed(simulation):
    simulation.at(1).update("add", "milk")
    changing = simulation.at(3).update("add", "change")
    simulation.at(5).update("add", "end")

    assert simulation.run().result() == ["milk", "end"]
    with pytest.raises(UpdateRejected, match="ReadOnly"):
        changing.value  # noqa: B018


def test_update_whose_handler_raises_has_failed(simulation):
    broken = simulation.at(2).update("add", "broken")
    simulation.at(5).update("add", "end")

    assert simulation.run().result() == ["end"]
    with pytest.raises(UpdateFailed, match="LookupError: broken"):
        broken.value  # noqa: B018


def test_update_waits_for_its_name_to_be_registered(simulation):
    paid = simulation.at(0).update("checkout")
    simulation.at(2).call(lambda: pytest.fail("done too early") if _ended(paid) else None)
    simulation.at(12).update("add", "end")

    assert simulation.run().custom_status == "paid"
    assert paid.value == "bye"


def _ended(answer: Any) -> bool:
    with pytest.raises(testing.SimulationError, match=r"is not done: it is waiting"):
        return bool(answer.value)
    return False


def test_update_that_nobody_registers_is_in_the_report_of_a_blocked_workflow(simulation):
    simulation.at(2).update("ad", "milk")

    with pytest.raises(testing.WorkflowBlocked) as caught:
        simulation.run()

    wait = "simulated: update 'ad' waits for its name to be registered; there are: add, checkout; did you mean add?"
    assert wait in caught.value.waits


def test_update_is_asked_for_once_by_its_id(simulation):
    def ask() -> None:
        first = simulation.update("add", "end", update_id="x")
        assert simulation.update("add", "end", update_id="x") is first
        with pytest.raises(InvalidInput, match="is the id of an update 'add'"):
            simulation.update("checkout", update_id="x")

    simulation.at(2).call(ask)

    assert simulation.run().result() == ["end"]


@pytest.mark.filterwarnings("ignore::durable.testing.LeftOpen")
def test_updates_that_the_workflow_ended_before_fail_or_are_refused():
    @workflow.defn
    async def ends() -> None:
        @workflow.update
        async def slow() -> None:
            await asyncio.sleep(60)

        await asyncio.sleep(10)

    @workflow.defn
    async def parent() -> None:
        await ends.options(id="kid")()
        await asyncio.sleep(10)

    simulation = testing.Simulation(parent)
    accepted = simulation.at(1).update("slow", to="kid")
    waiting = simulation.at(1).update("slwo", to="kid")
    simulation.at(15).call(lambda: refused(simulation))

    simulation.run()

    with pytest.raises(UpdateFailed, match="the workflow ended before the update did"):
        accepted.value  # noqa: B018
    with pytest.raises(NotOpen) as caught:
        waiting.value  # noqa: B018
    assert str(caught.value) == (
        "instance 'kid' is completed and cannot take update 'slwo': "
        "it has registered no such update; there are: slow; did you mean slow?"
    )


def refused(simulation: testing.Simulation) -> None:
    with pytest.raises(NotOpen, match=r"take update 'slow'$"):
        simulation.update("slow", to="kid")


def test_update_waits_for_the_next_execution():
    @workflow.defn
    async def cart(number: int = 0) -> str:
        if not number:
            await asyncio.sleep(10)
            workflow.continue_as_new(number + 1)

        @workflow.update
        def late() -> str:
            return "in time"

        await asyncio.sleep(1)
        return "done"

    simulation = testing.Simulation(cart)
    answer = simulation.at(3).update("late")

    assert len(simulation.run().executions) == 2
    assert answer.value == "in time"


def test_update_that_was_accepted_fails_with_its_execution():
    tries: list[int] = []

    def count() -> int:
        tries.append(1)
        return len(tries)

    @workflow.defn(retry=RetryPolicy(initial_interval=5, max_attempts=2))
    async def cart() -> None:
        @workflow.update
        async def slow() -> None:
            await asyncio.sleep(60)

        await asyncio.sleep(10)
        if workflow.side_effect(count) == 1:
            raise ValueError("again")

    simulation = testing.Simulation(cart)
    cut = simulation.at(3).update("slow")
    seen: list[Any] = []
    simulation.at(12).call(lambda: seen.append(_outcome(lambda: cut.value)))

    assert [each.origin for each in simulation.run().executions] == ["start", "retry"]
    assert seen == [(UpdateFailed, "NotOpen", "the workflow ended before the update did")]


def test_simulation_and_engine_agree_on_updates(engine: Engine, time: Clock):
    asked: list[tuple[float, str, tuple[Any, ...]]] = [
        (1, "checkout", ()),
        (2, "add", ("milk",)),
        (3, "add", ("brick",)),
        (4, "add", ("broken",)),
        (12, "add", ("end",)),
    ]
    handle = make_cart().options(id="simulated").start()
    begun = time.now()
    for at, name, args in asked:
        engine.run_until_quiet()
        time.forward(at - (time.now() - begun).total_seconds() + 0.01)
        engine.run_until_quiet()
        with pytest.raises(UpdateTimeout):
            handle.update(name, *args, update_id=f"u{at}", timeout=0)
        engine.run_until_quiet()
    time.forward(2)
    engine.run_until_quiet()

    simulation = testing.Simulation(make_cart())
    answers = {at: simulation.at(at).update(name, *args, update_id=f"u{at}") for at, name, args in asked}
    simulated = simulation.run()

    assert simulated.result() == handle.result(timeout=0)
    assert [(i.kind, i.data.get("update_id")) for i in simulated.history] == [
        (i.kind, i.data.get("update_id")) for i in handle.history()
    ]
    for at, name, args in asked:
        assert _outcome(lambda at=at: answers[at].value) == _outcome(
            lambda at=at, name=name, args=args: handle.update(name, *args, update_id=f"u{at}", timeout=0)
        )


def _outcome(look: Any) -> tuple[Any, ...]:
    try:
        return ("value", look())
    except (UpdateRejected, UpdateFailed) as error:
        return (type(error), error.cause.type, error.cause.message)
