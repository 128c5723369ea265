"""Simulations that cannot go on, or would go on for ever, say why."""

from __future__ import annotations

import asyncio
import inspect
import re
from datetime import timedelta
from typing import Any

import pytest

from durable import RetryPolicy, RunawayStep, activity, testing, workflow


@pytest.fixture(autouse=True)
def _fresh(fresh):
    pass


def blocked(simulation: testing.Simulation, *args: Any) -> testing.WorkflowBlocked:
    with pytest.raises(testing.WorkflowBlocked) as caught:
        simulation.run(*args)
    return caught.value


def place(definition: Any, offset: int) -> str:
    """Return the place of a line, counted from the decorator of a workflow."""
    return f"{__file__}:{definition.fn.__code__.co_firstlineno + offset}"


def test_blocked_workflow_says_what_it_waits_for_and_where():
    @workflow.defn
    async def asks() -> None:
        await asyncio.sleep(90)
        await workflow.wait_signal("approve")

    simulation = testing.Simulation(asks)
    simulation.at(5).signal("approved")

    error = blocked(simulation)

    assert isinstance(error, AssertionError)
    assert (error.instance_id, error.elapsed) == ("simulated", timedelta(seconds=90))
    assert error.waits == (
        f"simulated: main waits for signal 'approve' at {place(asks, 3)}",
        "simulated: 1 signal(s) 'approved' came and were not read",
    )
    assert "0:01:30 after its start" in str(error)


def test_blocked_workflow_names_all_tasks_and_what_each_waits_for():
    @activity.defn
    def later() -> None:
        activity.complete_later()

    @workflow.defn
    async def many() -> None:
        channel: workflow.Channel[int] = workflow.Channel()
        event = asyncio.Event()

        async def waits(awaitable: Any) -> None:
            await awaitable

        asks: list[Any] = [
            workflow.wait_until(lambda: False),
            channel.receive(),
            event.wait(),
            workflow.signals("a").receive(),
        ]
        asks += [asyncio.get_running_loop().create_future(), workflow.select(workflow.on(later(), print))]
        await asyncio.gather(later(), *map(waits, asks))

    error = blocked(testing.Simulation(many))

    end, inner = place(many, len(inspect.getsourcelines(many.fn)[0]) - 1), place(many, 6)
    assert [re.sub(r"simulated: (task-\d+ )?", "", wait) for wait in error.waits] == [
        f"main waits for asyncio.gather() at {end}",
        f"waits for activity 'later' at {end}",
        f"waits for activity 'later' at {end}",
        f"waits for a condition (wait_until) at {inner}",
        f"waits for a channel at {inner}",
        f"waits for Event.wait() at {inner}",
        f"waits for signal 'a' at {inner}",
        f"waits for a future at {inner}",
        f"waits for select() at {inner}",
        f"activity later, called at {end}, left its completion to somebody else",
        f"activity later, called at {end}, left its completion to somebody else",
    ]


def test_blocked_children_are_named_with_their_parents():
    @workflow.defn
    async def kid() -> None:
        await workflow.wait_signal("go")

    @workflow.defn
    async def parent() -> None:
        await kid()

    @workflow.defn
    async def handles() -> None:
        handle = kid.start_child()
        await handle

    assert blocked(testing.Simulation(parent)).waits == (
        f"simulated: main waits for child 'simulated:0000' at {place(parent, 2)}",
        f"simulated:0000: main waits for signal 'go' at {place(kid, 2)}",
    )
    assert blocked(testing.Simulation(handles)).waits == (
        f"simulated: main waits for child 'simulated:0000' at {place(handles, 3)}",
        f"simulated:0000: main waits for signal 'go' at {place(kid, 2)}",
    )


def test_task_that_waits_for_another_says_so():
    @workflow.defn
    async def waits() -> None:
        other = asyncio.create_task(workflow.wait_signal("go"), name="listener")
        await other

    assert blocked(testing.Simulation(waits)).waits == (
        f"simulated: main waits for task listener at {place(waits, 3)}",
        f"simulated: listener waits for signal 'go' at {place(waits, 3)}",
    )


def test_workflow_that_polls_without_end_is_stopped():
    @workflow.defn
    async def polls() -> None:
        while True:
            await asyncio.sleep(86400)

    with pytest.raises(testing.RunawaySimulation, match="over its max_time of 3652 days") as caught:
        testing.simulate(polls)

    assert caught.value.limit == "max_time"
    assert f"a timer of simulated, started at {place(polls, 3)}" in caught.value.due
    assert f"simulated took 3,653 steps and stands at {place(polls, 3)}" in str(caught.value)


def test_limit_of_time_is_an_option():
    @workflow.defn
    async def naps() -> None:
        await asyncio.sleep(60)

    assert testing.Simulation(naps, max_time=timedelta(minutes=1)).run().status == "completed"
    with pytest.raises(testing.RunawaySimulation, match="max_time of 0:00:59"):
        testing.Simulation(naps, max_time=timedelta(seconds=59)).run()


def test_workflow_that_takes_steps_without_end_is_stopped():
    @workflow.defn
    async def continues() -> None:
        workflow.continue_as_new()

    with pytest.raises(testing.RunawaySimulation, match=r"max_steps of 50 .* next would come nothing"):
        testing.Simulation(continues, max_steps=50).run()


def test_workflow_that_continues_as_new_without_end_is_stopped_at_the_line():
    @workflow.defn
    async def continues(number: int) -> None:
        workflow.continue_as_new(number + 1)

    with pytest.raises(testing.RunawaySimulation) as caught:
        testing.Simulation(continues, max_executions=50).run(1)

    error, at = caught.value, f"{__file__}:{continues.fn.__code__.co_firstlineno + 2}"
    assert (error.limit, error.busiest) == ("max_executions", f"simulated continues as new at {at}, for the 50th time")


def test_workflow_that_is_tried_again_without_end_is_stopped():
    @workflow.defn(retry=RetryPolicy(max_attempts=0))
    async def fails() -> None:
        raise LookupError

    with pytest.raises(testing.RunawaySimulation, match="ends as failed and is tried again, for the 5th time"):
        testing.Simulation(fails, max_executions=5).run()


def test_step_without_end_is_stopped(settings):
    @workflow.defn
    async def spins() -> None:
        while True:
            pass

    settings.DURABLE = {"STEP_TIMEOUT": 0.2}
    with pytest.raises(RunawayStep):
        testing.simulate(spins)
