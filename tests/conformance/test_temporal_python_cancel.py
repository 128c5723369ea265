"""Cancellation that meets clean-up, shields, children, groups and results, as in Temporal's Python SDK."""

from __future__ import annotations

import asyncio

import pytest

from durable import ChildFailed, UnknownToken, WorkflowFailed, activity, client, workflow
from tests.driving import answers, kinds, leftovers


@pytest.fixture
def tidy(engine, work):
    """A child that cleans up when it is canceled."""

    @workflow.defn
    async def tidy() -> str:
        try:
            return await workflow.wait_signal("go")
        except asyncio.CancelledError:
            await work.later("clean up")
            raise

    return tidy


def canceled(engine, handle):
    """Cancel an instance, and let what follows from it happen."""
    engine.run_until_quiet()
    handle.cancel(reason="enough")
    engine.run_until_quiet()
    return handle


# --- before the first step


def test_code_begins_and_may_clean_up_when_it_was_canceled_before_its_first_step(engine, work):
    @workflow.defn
    async def outer() -> None:
        await work.note("never asked for")

    @workflow.defn
    async def careful() -> str:
        try:
            return await work.note("never asked for")
        except asyncio.CancelledError:
            return await work.note("cleaned up")

    handles = [outer.start(), careful.start()]
    for handle in handles:
        handle.cancel()
    engine.run_until_quiet()

    assert [handle.status for handle in handles] == ["canceled", "completed"]
    assert work.ran == ["cleaned up"]
    assert leftovers() == []


def test_cancel_before_a_delayed_start_ends_it_without_waiting_for_its_time(engine, work):
    @workflow.defn
    async def outer() -> None:
        await work.note("late")

    handle = outer.options(delay=3600).start()
    canceled(engine, handle)

    assert (handle.status, work.ran) == ("canceled", [])


# --- clean-up


@pytest.mark.parametrize("restart", [False, True], ids=["same worker", "new worker"])
def test_clean_up_of_several_steps_goes_on_whoever_does_it(engine, work, path, restart):
    @workflow.defn
    async def outer() -> None:
        try:
            await work.later("work")
        finally:
            await work.note("one")
            await asyncio.sleep(60)
            await asyncio.gather(work.note("two"), work.note("three"))

    handle = canceled(engine, outer.start())
    assert (handle.status, work.ran) == ("running", ["one"])
    if restart:
        engine.restart()
    engine.after(61)

    assert (handle.status, sorted(work.ran)) == ("canceled", ["one", "three", "two"])
    assert answers(handle)["CancelRequested"] == 1


def test_clean_up_may_run_a_child_to_its_end(engine, work):
    @workflow.defn
    async def sweeper() -> str:
        return await work.note("swept")

    @workflow.defn
    async def outer() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await sweeper.options(id="sweeper")()

    handle = canceled(engine, outer.start())

    assert (handle.status, client.status("sweeper"), work.ran) == ("canceled", "completed", ["swept"])


def test_activity_that_fails_in_the_clean_up_fails_the_instance(engine, work):
    @workflow.defn
    async def outer() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await work.fail("in the clean-up")

    handle = canceled(engine, outer.start())

    with pytest.raises(WorkflowFailed) as caught:
        handle.result(timeout=0)
    assert caught.value.failure.type == "ActivityError"


def test_timeout_in_the_clean_up_is_a_timeout(engine, work):
    @workflow.defn
    async def outer() -> str:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            try:
                async with asyncio.timeout(10):
                    await work.later("slow")
            except TimeoutError:
                return "gave up cleaning"

    handle = canceled(engine, outer.start())
    engine.after(11)

    assert handle.result(timeout=0) == "gave up cleaning"


# --- shields


async def _activity(work, _):
    return await work.later("x")


async def _timer(*_):
    return await asyncio.sleep(10, "x")


async def _signal(*_):
    return await workflow.wait_signal("x")


async def _child(_, tidy):
    return await tidy.options(id="kid")()


FINISH = {
    "activity": (_activity, lambda engine, work: work.finish("x", "x")),
    "timer": (_timer, lambda engine, work: engine.forward(11)),
    "signal": (_signal, lambda engine, work: client.signal("outer", "x", "x")),
    "child": (_child, lambda engine, work: client.signal("kid", "go", "x")),
}


@pytest.mark.parametrize("what", FINISH)
def test_shielded_wait_goes_on_and_can_be_awaited_again(engine, work, tidy, what):
    wait, finish = FINISH[what]

    @workflow.defn
    async def outer() -> list:
        inner = asyncio.ensure_future(wait(work, tidy))
        try:
            await asyncio.shield(inner)
        except asyncio.CancelledError:
            return ["canceled", inner.done(), await inner]

    handle = canceled(engine, outer.options(id="outer").start())
    assert handle.status == "running"
    finish(engine, work)
    engine.run_until_quiet()

    assert handle.result(timeout=0) == ["canceled", False, "x"]
    counted = answers(handle)
    assert counted["ActivityCanceled"] + counted["TimerCanceled"] + counted["ChildCanceled"] == 0


def test_shielded_activity_that_nobody_awaits_again_runs_to_its_end(engine, work, handed_out):
    @workflow.defn
    async def outer() -> None:
        await asyncio.shield(work.note("shielded"))

    handle = outer.start()
    engine.advance_only(handle.id)
    handle.cancel()
    engine.run_until_quiet()

    assert handle.status == "canceled"
    assert answers(handle)["ActivityCanceled"] == 0


# --- children


def test_parent_may_wait_for_the_clean_up_of_its_child(engine, work, tidy):
    @workflow.defn
    async def outer() -> str:
        kid = tidy.options(id="kid").start_child()
        try:
            return await kid
        except asyncio.CancelledError:
            try:
                await kid
            except ChildFailed as error:
                return f"the child is {error.cause.type}"
            except asyncio.CancelledError:
                return "the child is canceled"

    handle = canceled(engine, outer.start())
    assert (handle.status, client.status("kid")) == ("running", "running")
    work.finish("clean up")
    engine.run_until_quiet()

    assert handle.result(timeout=0).startswith("the child is ")
    assert client.status("kid") == "canceled"


def test_cancel_goes_down_three_levels(engine, work, tidy):
    @workflow.defn
    async def middle() -> None:
        kid = tidy.options(id="leaf").start_child()
        try:
            await kid
        finally:
            await asyncio.wait([asyncio.ensure_future(kid)])

    @workflow.defn
    async def root() -> None:
        kid = middle.options(id="middle").start_child()
        try:
            await kid
        finally:
            await asyncio.wait([asyncio.ensure_future(kid)])

    handle = canceled(engine, root.start())
    assert [client.status(each) for each in ("leaf", "middle", handle.id)] == ["running"] * 3
    work.finish("clean up")
    engine.run_until_quiet()

    assert [client.status(each) for each in ("leaf", "middle", handle.id)] == ["canceled"] * 3
    assert leftovers() == []


def test_child_that_was_abandoned_does_not_hear_of_a_cancel_that_nobody_awaits_it_in(engine, tidy):
    @workflow.defn
    async def outer() -> None:
        tidy.options(id="kid", parent_close="abandon").start_child()
        await workflow.wait_signal("never")

    handle = canceled(engine, outer.start())

    assert (handle.status, client.status("kid")) == ("canceled", "running")
    client.signal("kid", "go", "on its own")
    engine.run_until_quiet()
    assert client.get("kid").result(timeout=0) == "on its own"


# --- gather and TaskGroup


@pytest.mark.parametrize("how", ["gather", "group"])
def test_members_clean_up_side_by_side_before_their_instance_ends(engine, work, how):
    @workflow.defn
    async def outer() -> None:
        async def member(name: str) -> None:
            try:
                await work.later(name)
            finally:
                await work.note(f"{name} cleaned")

        if how == "gather":
            members = [asyncio.create_task(member(name)) for name in "ab"]
            try:
                await asyncio.gather(*members)
            finally:  # gather does not wait for those that it cancels
                await asyncio.wait(members)
        else:
            async with asyncio.TaskGroup() as group:
                for name in "ab":
                    group.create_task(member(name))

    handle = canceled(engine, outer.start())

    assert (handle.status, work.ran) == ("canceled", ["a cleaned", "b cleaned"])


def test_member_of_a_group_that_swallows_the_cancel_holds_its_end_up(engine, work):
    @workflow.defn
    async def outer() -> None:
        async def stubborn() -> None:
            try:
                await workflow.wait_signal("never")
            except asyncio.CancelledError:
                await work.later("stubborn")

        async with asyncio.TaskGroup() as group:
            group.create_task(stubborn())
            group.create_task(asyncio.sleep(1000))

    handle = canceled(engine, outer.start())
    assert handle.status == "running"
    work.finish("stubborn")
    engine.run_until_quiet()

    assert handle.status == "canceled"


def test_gather_that_returns_failures_is_canceled_all_the_same(engine, work):
    @workflow.defn
    async def outer() -> list:
        return await asyncio.gather(work.later("a"), work.fail("b"), return_exceptions=True)

    handle = canceled(engine, outer.start())

    assert handle.status == "canceled"
    assert leftovers() == []


# --- races


@pytest.mark.parametrize("first", ["failure", "cancel"])
def test_failure_and_cancel_of_one_turn_are_taken_in_their_order(engine, work, first):
    @workflow.defn
    async def outer() -> None:
        await work.later("a")

    handle = outer.start()
    engine.run_until_quiet()
    acts = [lambda: work.break_("a"), handle.cancel]
    for act in acts if first == "failure" else reversed(acts):
        act()
    engine.run_until_quiet()

    assert handle.status == {"failure": "failed", "cancel": "canceled"}[first]


@pytest.mark.parametrize("first", ["last result", "cancel"])
def test_last_result_of_a_gather_and_cancel_of_one_turn(engine, work, first):
    @workflow.defn
    async def outer() -> list:
        return await asyncio.gather(work.later("a"), work.later("b"))

    handle = outer.start()
    engine.run_until_quiet()
    work.finish("a", 1)
    engine.run_until_quiet()
    acts = [lambda: work.finish("b", 2), handle.cancel]
    for act in acts if first == "last result" else reversed(acts):
        act()
    engine.run_until_quiet()

    assert handle.status == {"last result": "completed", "cancel": "canceled"}[first]


def test_cancel_after_the_result_that_ends_the_workflow_comes_too_late(engine, work):
    @workflow.defn
    async def outer() -> str:
        return await work.later("a")

    handle = outer.start()
    engine.run_until_quiet()
    work.finish("a", "in time")
    handle.cancel()
    engine.run_until_quiet()

    assert handle.result(timeout=0) == "in time"
    assert kinds(handle)[-1] == "ExecutionCompleted"


def test_result_of_an_activity_that_was_called_off_does_not_reach_the_code(engine, work):
    @workflow.defn
    async def outer() -> str:
        task = asyncio.create_task(work.later("a"))
        try:
            await task
        except asyncio.CancelledError:
            await workflow.wait_signal("look")
            return "canceled" if task.cancelled() else task.result()

    handle = canceled(engine, outer.start())
    with pytest.raises(UnknownToken):
        work.finish("a", "too late")
    handle.signal("look")
    engine.run_until_quiet()

    assert handle.result(timeout=0) == "canceled"


def test_running_activity_learns_of_the_cancel_and_its_answer_is_recorded_once(engine, handed_out):
    seen = []

    @activity.defn
    def watching() -> str:
        handle.cancel()
        engine.advance_only(handle.id)
        seen.append(activity.cancelled())
        return "stopped"

    @workflow.defn
    async def outer() -> None:
        await watching()

    handle = outer.start()
    engine.run_until_quiet()

    assert (seen, handle.status) == ([True], "canceled")
    assert leftovers() == ["ActivityCompleted"], "kept in case of a rewind"
