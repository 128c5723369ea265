"""Calls that nobody awaits, and work that nobody waits for, do not go unnoticed in simulations."""

from __future__ import annotations

import asyncio
import sys
import warnings
from typing import Any

import pytest

from durable import activity, testing, workflow


@pytest.fixture(autouse=True)
def _fresh(fresh):
    @activity.defn
    def note(value: Any) -> Any:
        return value

    @workflow.defn
    async def ship() -> None:
        await workflow.wait_signal("arrived")

    globals().update(note=note, ship=ship)


note: Any = None
ship: Any = None


def line(definition: Any, after: int) -> str:
    return f"{__file__}:{definition.fn.__code__.co_firstlineno + after}"


def test_activity_that_is_not_awaited_fails_the_simulation():
    @workflow.defn
    async def forgets() -> str:
        note(1)
        return "done"

    with pytest.raises(testing.NeverAwaited) as caught:
        testing.simulate(forgets)

    assert caught.value.calls == (f"note(...), called at {line(forgets, 2)}",)
    assert "Write await in front of it" in str(caught.value)


def test_calls_that_are_kept_and_never_awaited_are_found_in_each_execution():
    async def helper() -> None: ...

    @workflow.defn
    async def keeps(again: bool = True) -> None:
        if again:
            kept = [ship(), helper()]
            assert kept
            kept.clear()
            workflow.continue_as_new(again=False)
        await note(1)

    with pytest.raises(testing.NeverAwaited) as caught:
        testing.simulate(keeps)

    helper_, ship_ = caught.value.calls  # a list lets go of its last one first
    assert ship_ == f"ship(...), called at {line(keeps, 3)}"
    assert "helper(...), called at" in helper_


def test_workflow_that_failed_is_warned_about_only():
    @workflow.defn
    async def fails() -> None:
        note(1)
        raise LookupError

    with pytest.warns(RuntimeWarning, match=r"'simulated' is failed, and note\(...\), called at .*, was never awaited"):
        simulated = testing.simulate(fails)
    assert simulated.failure.type == "LookupError"


def test_workflow_that_waits_for_ever_is_told_what_it_did_not_await():
    @workflow.defn
    async def forgets() -> None:
        note(1)
        await workflow.wait_signal("noted")

    with pytest.raises(testing.WorkflowBlocked) as caught:
        testing.simulate(forgets)

    call = f"simulated: note(...), called at {line(forgets, 2)}, was never awaited, so nothing came of it"
    assert caught.value.waits[1] == call


def test_calls_that_were_canceled_before_they_began_are_no_mistake():
    @workflow.defn
    async def cancels() -> None:
        tasks = [asyncio.create_task(note(1)), asyncio.create_task(ship())]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.gather(note(2), note(3))

    assert testing.simulate(cancels).status == "completed"


def test_what_another_simulation_left_to_the_collector_is_not_blamed_on_this_one():
    held: list[Any] = []

    @workflow.defn
    async def fails() -> None:
        held.append(note(1))
        raise LookupError

    @workflow.defn
    async def innocent() -> None:
        held.clear()
        await note(2)

    assert testing.simulate(fails).status == "failed"
    assert held
    assert testing.simulate(innocent).status == "completed"


def test_code_of_others_is_warned_about_as_ever(monkeypatch):
    told: list[Any] = []
    monkeypatch.setattr(warnings, "_warn_unawaited_coroutine", lambda coroutine: told.append(coroutine.__qualname__))
    elsewhere = [asyncio.sleep(0)]

    @workflow.defn
    async def lets_go() -> None:
        elsewhere.clear()
        await note(1)

    assert testing.simulate(lets_go).status == "completed"
    assert told == ["sleep"]
    assert sys.get_coroutine_origin_tracking_depth() == 0


def test_work_that_is_left_open_is_warned_about_at_the_line_of_the_test():
    @workflow.defn
    async def leaves() -> str:
        ship.start_child()
        asyncio.create_task(note(1))
        asyncio.create_task(asyncio.sleep(5))
        await asyncio.sleep(0)
        return "done"

    with pytest.warns(testing.LeftOpen, match="'simulated' returned and left open") as caught:
        simulated = testing.simulate(leaves)

    assert simulated.result() == "done"
    (warning,) = caught
    assert warning.filename == __file__
    # A coroutine that the loop runs by itself has nothing of the user's above it.
    left = f"ChildScheduled(ship), asked for at {line(leaves, 2)}; ActivityScheduled(note); TimerStarted(2). Await it"
    assert left in str(warning.message)


def test_abandoned_children_are_meant_to_stay_open():
    @workflow.defn
    async def leaves() -> str:
        ship.options(parent_close="abandon").start_child()
        await note(1)
        return "done"

    simulation = testing.Simulation(leaves)
    simulation.mock(ship).returns(None).takes(100)

    assert simulation.run().result() == "done"
