"""Cancel: the code is told once, where it waits, and may clean up."""

from __future__ import annotations

import asyncio

import pytest

from durable import NotOpen, UnknownInstance, WorkflowCanceled, activity, client, testing, workflow
from durable.models import ActivityTask
from tests.driving import answers, item, kinds, leftovers


@pytest.fixture
def waiting(fresh):
    @workflow.defn
    async def waiting() -> str:
        return await workflow.wait_signal("go")

    return waiting


@pytest.mark.lenient
def test_code_gets_cancelled_error_once_where_it_waits(engine):
    got = []

    @workflow.defn
    async def stubborn() -> str:
        for _ in range(2):
            try:
                await workflow.wait_signal("go")
            except asyncio.CancelledError:
                got.append(workflow.cancelled())
        return await workflow.wait_signal("end")

    handle = stubborn.start()
    engine.run_until_quiet()
    handle.cancel(reason="enough")
    engine.run_until_quiet()
    handle.cancel()
    engine.run_until_quiet()
    assert (handle.status, got) == ("running", [True])

    handle.signal("go")
    handle.signal("end", "bye")
    assert engine.result(handle) == "bye"
    assert item(handle, "CancelRequested").data["reason"] == "enough", "and it is recorded once"


def test_canceled_instance_that_re_raises_is_canceled(engine, waiting):
    handle = waiting.start()
    engine.run_until_quiet()
    handle.cancel()
    engine.run_until_quiet()

    assert handle.status == "canceled"
    assert kinds(handle) == ["ExecutionStarted", "CancelRequested", "ExecutionCanceled"]
    with pytest.raises(WorkflowCanceled):
        handle.result(timeout=0)


def test_canceled_instance_that_returns_is_completed(engine):
    @workflow.defn
    async def polite() -> str:
        try:
            await workflow.wait_signal("go")
        except asyncio.CancelledError:
            return "cleaned up"

    handle = polite.start()
    engine.run_until_quiet()
    handle.cancel()

    assert engine.result(handle) == "cleaned up"
    assert handle.status == "completed"


def test_instance_that_is_canceled_before_it_begins_gets_no_further_than_its_first_await(engine):
    ran = []

    @activity.defn
    def work() -> None:
        ran.append("work")

    @workflow.defn
    async def early() -> None:
        await work()
        ran.append("more")

    handle = early.start()
    handle.cancel()
    engine.run_until_quiet()

    assert (handle.status, ran, leftovers()) == ("canceled", [], [])
    assert kinds(handle)[-2:] == ["CancelRequested", "ExecutionCanceled"]


def test_cancel_does_not_wait_for_a_delayed_start(engine, waiting):
    handle = waiting.options(delay=3600).start()
    handle.cancel()
    engine.run_until_quiet()

    assert handle.status == "canceled"
    assert leftovers() == []


def test_clean_up_may_await_activities(engine, path):
    undone = []

    @activity.defn
    def undo(what: str) -> str:
        undone.append(what)
        return f"undid {what}"

    @workflow.defn
    async def careful() -> None:
        try:
            await workflow.wait_signal("go")
        finally:
            await undo("order")

    handle = careful.start()
    engine.run_until_quiet()
    handle.cancel()
    engine.run_until_quiet()

    assert (handle.status, undone) == ("canceled", ["order"])
    assert kinds(handle)[-3:] == ["ActivityScheduled", "ActivityCompleted", "ExecutionCanceled"]


def test_except_exception_does_not_swallow_a_cancel(engine, time):
    @workflow.defn
    async def swallowing() -> str:
        try:
            await asyncio.sleep(100)
        except Exception:
            return "swallowed"
        return "slept"

    handle = swallowing.start()
    engine.run_until_quiet()
    handle.cancel()
    engine.run_until_quiet()

    assert handle.status == "canceled"
    assert leftovers() == [], "its timer is gone"


def test_error_in_clean_up_fails_the_instance(engine):
    @workflow.defn
    async def clumsy() -> None:
        try:
            await workflow.wait_signal("go")
        finally:
            raise ValueError("slipped")

    handle = clumsy.start()
    engine.run_until_quiet()
    handle.cancel()
    engine.run_until_quiet()

    assert (handle.status, handle.instance.failure["type"]) == ("failed", "ValueError")


def test_activity_that_no_worker_has_begun_is_dropped(engine, settings):
    settings.DURABLE = {"RUN_INLINE": False}
    ran = []

    @activity.defn
    def work() -> None:
        ran.append(1)

    @workflow.defn
    async def outer() -> None:
        await work()

    handle = outer.start()
    engine.advance_due()
    assert ActivityTask.objects.count() == 1
    handle.cancel()
    engine.run_until_quiet()

    assert (handle.status, ran, leftovers()) == ("canceled", [], [])
    assert kinds(handle) == ["ExecutionStarted", "ActivityScheduled", "CancelRequested", "ExecutionCanceled"]


def test_activity_that_runs_is_told_and_its_end_is_recorded(engine, path):
    told = []

    @activity.defn
    def work() -> str:
        told.append(activity.cancelled())
        client.cancel(activity.info().instance_id)
        engine.advance_due()
        told.append(activity.cancelled())
        return "finished anyway"

    @workflow.defn
    async def outer() -> None:
        try:
            await work()
        except asyncio.CancelledError:
            await workflow.wait_signal("go")
            raise

    handle = outer.start()
    engine.run_until_quiet()

    assert told == [False, True]
    assert item(handle, "ActivityCompleted").data["result"] == "finished anyway"
    assert handle.status == "running"

    handle.signal("go")
    engine.run_until_quiet()
    assert (handle.status, leftovers()) == ("canceled", [])


def test_called_off_activity_that_fails_is_not_tried_again(engine, path, time):
    attempts = []

    @activity.defn
    def work() -> None:
        attempts.append(1)
        client.cancel(activity.info().instance_id)
        engine.advance_due()
        raise ValueError("stopped")

    @workflow.defn
    async def outer() -> None:
        try:
            await work()
        except asyncio.CancelledError:
            await workflow.wait_signal("go")
            raise

    handle = outer.start()
    engine.run_until_quiet()
    time.forward(60)
    engine.run_until_quiet()

    assert attempts == [1]
    assert item(handle, "ActivityFailed").data["failure"]["message"] == "stopped"
    assert leftovers() == []


def test_called_off_activity_learns_of_it_by_its_heartbeat_row(engine, path):
    seen = []

    @activity.defn
    def work() -> None:
        activity.heartbeat("half")
        client.cancel(activity.info().instance_id)
        engine.advance_due()
        activity.heartbeat("more")
        seen.append((activity.cancelled(), activity.heartbeat_details()))
        raise asyncio.CancelledError

    @workflow.defn
    async def outer() -> None:
        try:
            await work()
        except asyncio.CancelledError:
            await workflow.wait_signal("go")

    handle = outer.start()
    engine.run_until_quiet()

    assert seen == [(True, ("more",))]
    assert answers(handle)["ActivityCanceled"] == 1
    assert leftovers() == []


def test_only_the_activities_of_the_canceled_awaits_are_called_off(engine, settings):
    settings.DURABLE = {"RUN_INLINE": False}
    ran = []

    @activity.defn
    def work(name: str) -> str:
        ran.append(name)
        return name

    @workflow.defn
    async def outer() -> str:
        kept = asyncio.create_task(work("kept"))
        dropped = asyncio.create_task(work("dropped"))
        await asyncio.sleep(0)
        dropped.cancel()
        return await kept

    handle = outer.start()

    assert engine.result(handle) == "kept"
    assert ran == ["kept"]


def test_children_get_the_cancel_and_the_await_ends_at_once(engine, waiting):
    @workflow.defn
    async def parent() -> str:
        try:
            await waiting.options(id="child")()
        except asyncio.CancelledError:
            return await workflow.wait_signal("go")

    handle = parent.start()
    engine.run_until_quiet()
    handle.cancel()
    handle.signal("go", "did not wait for the child")
    engine.run_until_quiet()

    assert handle.result(timeout=0) == "did not wait for the child"


def test_canceled_child_ends_as_canceled_while_its_parent_goes_on(engine, waiting):
    @workflow.defn
    async def parent() -> str:
        child = waiting.options(id="child").start_child()
        await workflow.wait_signal("enough")
        child.cancel()
        return await workflow.wait_signal("go")

    handle = parent.start()
    engine.run_until_quiet()
    handle.signal("enough")
    engine.run_until_quiet()

    assert (handle.status, client.status("child")) == ("running", "canceled")
    assert kinds(client.get("child")) == ["ExecutionStarted", "CancelRequested", "ExecutionCanceled"]
    assert kinds(handle)[-1] == "ChildCanceled"


@pytest.mark.parametrize("ending", ["cancel", "timeout", "terminate"])
@pytest.mark.parametrize("simulated", [False, True])
def test_child_that_was_asked_to_stop_cleans_up_though_its_parent_has_ended(engine, time, ending, simulated):
    undone = []

    @activity.defn
    def undo() -> None:
        undone.append(ending)

    @workflow.defn
    async def child() -> None:
        try:
            await workflow.wait_signal("go")
        finally:
            await undo()

    @workflow.defn
    async def parent() -> None:
        handle = child.options(id="child").start_child()
        async with asyncio.timeout(5 if ending == "timeout" else None):
            await handle

    if simulated:
        simulation = testing.Simulation(parent)
        if ending != "timeout":
            getattr(simulation.at(1), ending)()
        found = simulation.run()
        ends = found.status, found.children[0].status
    else:
        handle = parent.start()
        engine.run_until_quiet()
        time.forward(6) if ending == "timeout" else getattr(handle, ending)()
        engine.run_until_quiet()
        ends = handle.status, client.status("child")

    clean = {"cancel": ("canceled", "canceled"), "timeout": ("failed", "canceled")}
    assert ends == clean.get(ending, ("terminated", "terminated"))
    assert undone == ([ending] if ending in clean else [])


@pytest.mark.parametrize("simulated", [False, True])
def test_child_that_was_asked_to_stop_is_terminated_with_its_parent(engine, simulated):
    @workflow.defn
    async def child() -> None:
        try:
            await workflow.wait_signal("go")
        finally:
            await workflow.wait_signal("cleaned up")

    @workflow.defn
    async def parent() -> None:
        child.options(id="child").start_child().cancel()
        await workflow.wait_signal("never")

    if simulated:
        simulation = testing.Simulation(parent)
        simulation.at(1).terminate()
        found = simulation.run()
        ends = found.status, found.children[0].status
    else:
        handle = parent.start()
        engine.run_until_quiet()
        assert client.status("child") == "running", "it cleans up"
        handle.terminate()
        engine.run_until_quiet()
        ends = handle.status, client.status("child")

    assert ends == ("terminated", "terminated")


def test_rewind_takes_a_child_along_that_cleaned_up_behind_its_parent(engine):
    @workflow.defn
    async def child() -> str:
        return await workflow.wait_signal("go")

    @workflow.defn
    async def parent() -> str:
        await asyncio.sleep(0)
        handle = child.options(id="child").start_child()
        before = await workflow.wait_signal("begin")
        return before + await handle

    handle = parent.start()
    handle.signal("begin", "be")
    engine.run_until_quiet()
    handle.cancel()
    engine.run_until_quiet()
    assert (handle.status, client.status("child")) == ("canceled", "canceled")

    handle.rewind(to=0)
    engine.run_until_quiet()
    client.get("child").signal("go", "gun")

    assert engine.result(handle) == "begun"


def test_awaiting_a_canceled_child_again_gives_its_real_outcome(engine):
    @workflow.defn
    async def child(finish: bool) -> str:
        try:
            await workflow.wait_signal("go")
        except asyncio.CancelledError:
            if finish:
                return "finished"
            raise

    @workflow.defn
    async def parent(finish: bool) -> str:
        handle = child.start_child(finish)
        try:
            return await handle
        except asyncio.CancelledError:
            try:
                return f"child {await handle}"
            except Exception as error:
                return f"{type(error).__name__}: {error.cause.type}"

    finishing, canceled = parent.start(True), parent.start(False)
    engine.run_until_quiet()
    for handle in (finishing, canceled):
        handle.cancel()

    assert engine.result(finishing) == "child finished"
    assert engine.result(canceled) == "ChildFailed: WorkflowCanceled"


def test_cancel_of_a_suspended_instance_waits_for_the_resume(engine, waiting):
    handle = waiting.start()
    engine.run_until_quiet()
    handle.suspend()
    handle.cancel()
    engine.run_until_quiet()
    assert handle.status == "suspended"

    handle.resume()
    engine.run_until_quiet()
    assert handle.status == "canceled"


def test_cancel_reaches_a_continued_execution_that_has_not_begun(engine):
    @workflow.defn
    async def again(round_: int) -> None:
        if round_ == 0:
            await workflow.wait_signal("go")
            workflow.continue_as_new(1)
        await workflow.wait_signal("never")

    handle = again.start(0)
    engine.run_until_quiet()
    handle.signal("go")
    handle.cancel()
    engine.run_until_quiet()

    assert handle.status == "canceled"


def test_closed_or_unknown_instance_cannot_be_canceled(engine, waiting):
    handle = waiting.start()
    handle.signal("go", "done")
    engine.run_until_quiet()

    with pytest.raises(NotOpen, match="completed and cannot be canceled"):
        handle.cancel()
    with pytest.raises(UnknownInstance):
        client.cancel("nobody")
