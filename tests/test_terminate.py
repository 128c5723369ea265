"""Terminate: at once, without running the code, children by their policy."""

from __future__ import annotations

import asyncio

import pytest

from durable import NotOpen, WorkflowTerminated, activity, client, registry, workflow
from tests.driving import item, kinds, leftovers


@pytest.fixture
def waiting(fresh):
    @workflow.defn
    async def waiting() -> str:
        return await workflow.wait_signal("go")

    return waiting


def test_terminate_ends_at_once_without_running_code(engine):
    cleaned = []

    @workflow.defn
    async def careful() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cleaned.append("canceled")

    handle = careful.start()
    engine.run_until_quiet()
    handle.terminate(reason="obsolete")

    assert (handle.status, cleaned) == ("terminated", [])
    assert item(handle, "ExecutionTerminated").data["reason"] == "obsolete"
    with pytest.raises(WorkflowTerminated, match="obsolete"):
        handle.result(timeout=0)
    engine.run_until_quiet()
    assert (cleaned, leftovers()) == ([], [])


def test_terminate_is_idempotent(engine, waiting):
    handle = waiting.start()
    engine.run_until_quiet()
    handle.terminate(reason="first")
    before = kinds(handle)
    handle.terminate(reason="second")

    assert kinds(handle) == before
    assert handle.instance.failure["message"] == "first"


def test_terminate_loses_to_an_end_that_is_recorded(engine, waiting):
    handle = waiting.start()
    handle.signal("go", 1)
    engine.run_until_quiet()

    with pytest.raises(NotOpen):
        handle.terminate()
    assert kinds(handle)[-1] == "ExecutionCompleted"


def test_terminate_is_recursive_and_follows_parent_close(engine, waiting):
    @workflow.defn
    async def middle() -> None:
        await waiting.options(id="leaf")()

    @workflow.defn
    async def root() -> None:
        middle.options(id="middle").start_child()
        for policy in ("terminate", "cancel", "abandon"):
            waiting.options(id=policy, parent_close=policy).start_child()
        await workflow.wait_signal("never")

    handle = root.options(id="root").start()
    engine.run_until_quiet()
    handle.terminate()
    engine.run_until_quiet()

    statuses = {name: client.status(name) for name in ("root", "middle", "leaf", "terminate", "cancel", "abandon")}
    assert statuses == {
        "root": "terminated",
        "middle": "terminated",
        "leaf": "terminated",
        "terminate": "terminated",
        "cancel": "canceled",
        "abandon": "running",
    }
    assert "the parent root is terminated" in client.get("middle").instance.failure["message"]


@pytest.mark.parametrize("policy", ["terminate", "cancel", "abandon"])
def test_children_follow_parent_close_when_the_parent_returns(engine, waiting, policy):
    @workflow.defn
    async def parent() -> str:
        waiting.options(id="child", parent_close=policy).start_child()
        await asyncio.sleep(0)
        return "bye"

    handle = parent.start()

    assert engine.result(handle) == "bye"
    expected = {"terminate": "terminated", "cancel": "canceled", "abandon": "running"}
    assert client.status("child") == expected[policy]


def test_abandoned_child_goes_on_to_its_own_end(engine, waiting):
    @workflow.defn
    async def parent() -> None:
        waiting.options(id="child", parent_close="abandon").start_child()
        await asyncio.sleep(0)

    engine.result(parent.start())
    client.signal("child", "go", "free")

    assert engine.result(client.get("child")) == "free"
    assert leftovers() == []


def test_stalled_instance_can_be_terminated(engine, waiting):
    handle = waiting.start()
    engine.run_until_quiet()
    engine.restart()
    registry.unregister_workflow("waiting", 0)
    handle.signal("go")
    engine.run_until_quiet()
    assert handle.status == "stalled"

    handle.terminate()

    assert handle.status == "terminated"
    assert handle.instance.stall is None
    assert kinds(handle) == ["ExecutionStarted", "ExecutionTerminated"]


@pytest.mark.parametrize("state", ["pending", "suspended"])
def test_instance_that_has_not_begun_or_is_suspended_can_be_terminated(engine, waiting, state):
    handle = waiting.options(delay=60).start() if state == "pending" else waiting.start()
    if state == "suspended":
        engine.run_until_quiet()
        handle.suspend()
    assert handle.status == state

    handle.terminate()
    engine.run_until_quiet()

    assert (handle.status, leftovers()) == ("terminated", [])


def test_terminate_drops_activities_and_tells_those_that_run(engine, path):
    told, ran = [], []

    @activity.defn
    def work(first: bool) -> None:
        ran.append(first)
        client.terminate(activity.info().instance_id)
        told.append(activity.cancelled())

    @workflow.defn
    async def outer() -> None:
        await asyncio.gather(work(True), work(False))

    handle = outer.start()
    engine.run_until_quiet()

    assert (handle.status, ran, told) == ("terminated", [True], [True])
    assert kinds(handle)[-1] == "ExecutionTerminated", "nothing comes after the end"
    assert leftovers() == ["ActivityCompleted"], "kept in case of a rewind"


def test_terminate_beats_a_continue_as_new_that_is_not_stored_yet(engine):
    @workflow.defn
    async def again() -> None:
        await workflow.wait_signal("go")
        workflow.continue_as_new()

    handle = again.start()
    engine.run_until_quiet()
    handle.signal("go")
    handle.terminate()
    engine.run_until_quiet()

    assert (handle.status, handle.instance.executions.count()) == ("terminated", 1)


def test_parent_learns_that_its_child_was_terminated(engine, waiting):
    @workflow.defn
    async def parent() -> str:
        try:
            return await waiting.options(id="child")()
        except Exception as error:
            return f"{type(error).__name__}: {error.cause.message}"

    handle = parent.start()
    engine.run_until_quiet()
    client.terminate("child", reason="not needed")

    assert engine.result(handle) == "ChildFailed: not needed"


def test_id_of_a_terminated_instance_can_be_used_again(engine, waiting):
    handle = waiting.options(id="one").start()
    engine.run_until_quiet()
    handle.terminate()

    waiting.options(id="one", id_reuse="replace_closed").start()
    handle.signal("go", "second")

    assert engine.result(handle) == "second"
    assert handle.instance.failure is None
