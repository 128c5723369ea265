"""A history says of each event whether a rerun can begin there, and why not."""

from __future__ import annotations

import asyncio

import pytest

from durable import activity, client, workflow


@pytest.fixture
def mixed(fresh):
    """A workflow with an activity, a timer, a signal, a side effect and a child."""

    @activity.defn
    def act() -> None: ...

    @workflow.defn
    async def child() -> None: ...

    @workflow.defn
    async def mixed() -> None:
        await act()
        await asyncio.sleep(60)
        workflow.side_effect(lambda: 1)
        await child()
        await workflow.wait_signal("go")

    return mixed


def whys(handle):
    return {(item.kind, item.event_id): item.why_not for item in handle.history()}


def test_each_event_of_a_closed_instance_says_why_no_rerun_can_begin_there(engine, time, mixed):
    handle = mixed.start()
    engine.run_until_quiet()
    time.forward(60)
    engine.run_until_quiet()
    client.signal(handle.id, "go")
    engine.run_until_quiet()
    assert handle.status == "completed"

    control = "it is a control event; a rerun begins with an activity"
    assert whys(handle) == {
        ("ExecutionStarted", None): control,
        ("ActivityScheduled", 0): "",
        ("ActivityCompleted", 0): "it answers event 0; a rerun begins with an activity, where that was scheduled",
        ("TimerStarted", 1): "it is no activity but TimerStarted",
        ("TimerFired", 1): "it answers event 1; a rerun begins with an activity, where that was scheduled",
        ("SideEffectRecorded", 2): "it is no activity but SideEffectRecorded",
        ("ChildScheduled", 3): "it is no activity but ChildScheduled",
        ("ChildStarted", 3): "it answers event 3; a rerun begins with an activity, where that was scheduled",
        ("ChildCompleted", 3): "it answers event 3; a rerun begins with an activity, where that was scheduled",
        ("SignalReceived", None): control,
        ("ExecutionCompleted", None): control,
    }
    assert [item.event_id for item in handle.history() if item.rerunnable] == [0]


def test_nothing_of_an_open_instance_can_be_rerun(engine, mixed):
    handle = mixed.start()
    engine.run_until_quiet()
    assert handle.status == "running"

    assert not any(item.rerunnable for item in handle.history())
    assert whys(handle)["ActivityScheduled", 0] == "the instance is running; only a closed one can be rerun"


def test_what_says_that_it_can_be_rerun_can(engine, time, mixed):
    handle = mixed.start()
    engine.run_until_quiet()
    client.terminate(handle.id)

    asked = [item for item in handle.history() if item.kind in ("ActivityScheduled", "TimerStarted")]
    previews = [client.rerun_from_activity(handle.id, item.event_id, dry_run=True) for item in asked]
    assert [preview.allowed for preview in previews] == [item.rerunnable for item in asked] == [True, False]
