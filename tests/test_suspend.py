"""Suspend and resume: what comes is kept, nothing advances, nothing begins."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from durable import InvalidInput, NotOpen, RetryPolicy, activity, client, workflow
from tests.driving import item, kinds, leftovers


@pytest.fixture
def handed_out(settings):
    settings.DURABLE = {"RUN_INLINE": False}


@pytest.fixture
def collect(fresh):
    @workflow.defn
    async def collect(count: int) -> list[int]:
        return [await workflow.wait_signal("item") for _ in range(count)]

    return collect


def test_reasons_are_recorded(engine, collect):
    handle = collect.start(1)
    engine.run_until_quiet()
    handle.suspend(reason="bank is closed")
    handle.resume(reason="bank is open")
    handle.signal("item", 1)

    assert engine.result(handle) == [1]
    assert item(handle, "ExecutionSuspended").data["reason"] == "bank is closed"
    assert item(handle, "ExecutionResumed").data["reason"] == "bank is open"
    with pytest.raises(NotOpen):
        handle.suspend()


def test_too_long_a_reason_is_refused(engine, collect):
    handle = collect.start(1)
    engine.run_until_quiet()

    with pytest.raises(InvalidInput, match="1,001 characters"):
        handle.suspend(reason="x" * 1001)
    assert handle.status == "running"


def test_suspending_and_resuming_twice_does_nothing(engine, collect):
    handle = collect.start(1)
    engine.run_until_quiet()
    for verb in (handle.resume, handle.suspend, handle.suspend, handle.resume, handle.resume):
        verb()

    assert kinds(handle) == ["ExecutionStarted", "ExecutionSuspended", "ExecutionResumed"]
    assert handle.status == "running"


def test_suspended_before_its_start_begins_at_resume(engine, collect):
    handle = collect.start(1)
    handle.suspend(reason="not yet")
    handle.signal("item", 1)
    engine.run_until_quiet()
    assert (handle.status, kinds(handle)) == ("suspended", [])

    handle.resume()
    assert engine.result(handle) == [1]


def test_no_new_activity_starts_while_suspended(engine, handed_out):
    ran = []

    @activity.defn
    def work(number: int) -> int:
        ran.append(number)
        return number

    @workflow.defn
    async def fan_out() -> list[int]:
        return list(await asyncio.gather(*(work(n) for n in range(3))))

    handle = fan_out.start()
    engine.advance_due()
    handle.suspend()
    engine.run_until_quiet()
    assert ran == []

    handle.resume()
    assert engine.result(handle) == [0, 1, 2]
    assert ran == [0, 1, 2]


def test_no_retry_starts_while_suspended(engine, path, time):
    attempts = []

    @activity.defn
    def flaky() -> str:
        attempts.append(activity.info().attempt)
        if len(attempts) == 1:
            client.suspend(activity.info().instance_id)
            raise ValueError
        return "done"

    @workflow.defn
    async def outer() -> str:
        return await flaky()

    handle = outer.start()
    engine.run_until_quiet()
    time.forward(10)
    engine.run_until_quiet()
    assert (handle.status, attempts) == ("suspended", [1])

    handle.resume()
    assert engine.result(handle) == "done"
    assert attempts == [1, 2]


def test_results_are_kept_in_the_inbox_and_taken_in_order_at_resume(engine, path):
    @activity.defn
    def work() -> str:
        client.suspend(activity.info().instance_id)
        return "result"

    @workflow.defn
    async def outer() -> list[str]:
        order = []

        async def one() -> None:
            order.append(await work())

        async def other() -> None:
            order.append(await workflow.wait_signal("go"))

        await asyncio.gather(one(), other())
        return order

    handle = outer.start()
    engine.run_until_quiet()
    handle.signal("go", "signal")
    engine.run_until_quiet()
    assert (handle.status, kinds(handle)[-1]) == ("suspended", "ExecutionSuspended")

    handle.resume()
    assert engine.result(handle) == ["result", "signal"]


def test_timer_due_meanwhile_fires_at_resume(engine, time):
    @workflow.defn
    async def sleeper() -> str:
        await asyncio.sleep(60)
        return "rested"

    handle = sleeper.start()
    engine.run_until_quiet()
    handle.suspend()
    time.forward(100)
    engine.run_until_quiet()
    assert "TimerFired" not in kinds(handle)

    handle.resume()
    assert engine.result(handle) == "rested"
    assert kinds(handle)[-4:] == ["ExecutionSuspended", "ExecutionResumed", "TimerFired", "ExecutionCompleted"]


def test_children_are_suspended_on_request_only(engine, collect):
    @workflow.defn
    async def parent(name: str) -> list[int]:
        return await collect.options(id=f"child of {name}")(1)

    alone, together = parent.options(id="alone").start("alone"), parent.options(id="together").start("together")
    engine.run_until_quiet()
    alone.suspend()
    together.suspend(children=True)

    assert [client.status(f"child of {name}") for name in ("alone", "together")] == ["running", "suspended"]

    for name in ("alone", "together"):
        client.signal(f"child of {name}", "item", 5)
    engine.run_until_quiet()
    assert [client.status(f"child of {name}") for name in ("alone", "together")] == ["completed", "suspended"]

    alone.resume()
    together.resume(children=True)
    assert (engine.result(alone), engine.result(together)) == ([5], [5])
    assert leftovers() == []


def test_suspend_survives_that_the_turn_is_lost_from_memory(engine, collect):
    handle = collect.start(2)
    engine.run_until_quiet()
    handle.signal("item", 1)
    engine.run_until_quiet()
    handle.suspend()
    engine.restart()
    handle.resume()
    handle.signal("item", 2)

    assert engine.result(handle) == [1, 2]


@pytest.fixture
def waiting(fresh):
    @workflow.defn
    async def waiting() -> list[bool | int]:
        until = workflow.now() + timedelta(seconds=50)
        await workflow.wait_until(lambda: workflow.now() >= until)
        late = workflow.now() > until + timedelta(seconds=20)
        return [late, await workflow.wait_signal("item")]

    return waiting


def test_condition_that_comes_true_while_halted_is_looked_at_at_resume(engine, time, waiting):
    handle = waiting.start()
    engine.run_until_quiet()
    handle.suspend()
    time.forward(60)
    engine.run_until_quiet()
    assert kinds(handle)[-1] == "ExecutionSuspended"

    handle.resume()
    engine.run_until_quiet()
    assert kinds(handle)[-2:] == ["ExecutionResumed", "ExecutionWoken"]
    time.forward(60)
    handle.signal("item", 1)
    assert engine.result(handle) == [False, 1], "it went on at the resume"
    assert leftovers() == []


@pytest.mark.parametrize("wait", ["condition", "signal"])
def test_wakes_nobody_who_waits_for_no_condition_or_sees_it_anyhow(engine, time, collect, waiting, wait):
    handle = (collect if wait == "signal" else waiting).start(*([2] if wait == "signal" else []))
    engine.run_until_quiet()
    handle.suspend()
    if wait == "condition":
        handle.signal("any")
    handle.resume()
    engine.run_until_quiet()

    assert "ExecutionWoken" not in kinds(handle)
    assert leftovers() == []


def test_resumed_and_halted_again_at_once_is_woken_once(engine, time, waiting):
    handle = waiting.start()
    engine.run_until_quiet()
    for verb in (handle.suspend, handle.resume, handle.suspend):
        verb()
    time.forward(60)
    engine.run_until_quiet()
    assert "ExecutionWoken" not in kinds(handle)
    handle.resume()
    engine.run_until_quiet()
    engine.restart()
    handle.signal("item", 1)

    assert engine.result(handle) == [False, 1]
    assert kinds(handle).count("ExecutionWoken") == 1


def test_condition_that_an_upgrade_while_halted_makes_true_is_looked_at_at_resume(engine):
    async def code() -> int:
        await workflow.wait_until(lambda: workflow.info().version == 2)
        return workflow.info().version

    first = workflow.defn(name="flow1")(code)
    workflow.defn(name="flow2")(code)
    handle = first.start()
    engine.run_until_quiet()
    handle.suspend()
    client.upgrade(handle.id, to=2)
    engine.run_until_quiet()
    assert kinds(handle)[-1] == "ExecutionUpgraded"

    handle.resume()
    assert engine.result(handle) == 2


@pytest.mark.parametrize("halted", ["before", "after"])
def test_rerun_of_what_was_halted_is_not_halted(engine, handed_out, time, halted):
    @activity.defn
    def work(number: int) -> int:
        return number

    @workflow.defn
    async def outer() -> list[int]:
        until = workflow.now() + timedelta(seconds=50)
        first = await work(1)
        await workflow.wait_until(lambda: workflow.now() >= until)
        return [first, await work(2)]

    handle = outer.start()
    engine.advance_due()
    if halted == "before":  # the first activity ends between
        engine.perform_due()
    else:
        engine.run_until_quiet()
    handle.suspend()
    time.forward(60)
    engine.run_until_quiet()
    handle.resume()
    assert engine.result(handle) == [1, 2]

    again = [client.rerun_from_activity(handle.id, event_id) for event_id in (0, 1)]
    assert [each.status for each in again] == ["running", "running"]
    assert [engine.result(each) for each in again] == [[1, 2], [1, 2]]
    assert ["ExecutionSuspended" in kinds(each) for each in again] == [False, True]


@pytest.fixture
def family(fresh):
    """A child that is halted, and the activity beside it that fails the parent, and with it the child."""
    broken = [True]

    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def beside() -> str:
        if broken.pop():
            raise ValueError("broken")
        return "beside"

    @activity.defn
    def pay() -> str:
        return "paid"

    @workflow.defn
    async def kid() -> list[Any]:
        paying = asyncio.ensure_future(pay())
        sent = [await workflow.wait_signal("word"), await workflow.wait_signal("word")]
        return [*sent, await paying]

    @workflow.defn
    async def parent() -> list[Any]:
        handle = kid.options(id="kid").start_child()
        await workflow.wait_signal("go")
        return [await beside(), await handle]

    broken.insert(0, False)
    return parent


def test_child_that_was_halted_before_it_began_is_so_after_the_rewind(engine, fresh):
    broken = [True]

    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def beside() -> None:
        if broken:
            raise ValueError(broken.pop())

    @workflow.defn
    async def kid() -> str:
        return await workflow.wait_signal("word")

    @workflow.defn
    async def parent() -> Any:
        child = kid.options(id="kid", delay=60).start_child()
        await workflow.wait_signal("go")
        await beside()
        return await child

    handle = parent.options(id="parent").start()
    engine.run_until_quiet()
    client.suspend("kid", reason="bank is closed")
    client.signal("kid", "word", "late")
    handle.signal("go")
    engine.run_until_quiet()
    assert (handle.status, client.status("kid")) == ("failed", "terminated")

    preview = client.rewind("parent", dry_run=True).children[0]
    client.rewind("parent")
    engine.run_until_quiet()
    child = client.get("kid")
    assert "it was suspended, and stays so until it is resumed" in preview.warnings
    assert (handle.status, child.status, kinds(child)) == ("running", "suspended", [])
    child.resume()

    assert engine.result(handle) == "late"
    assert leftovers() == []


def test_child_that_was_halted_when_its_parent_failed_is_so_after_the_rewind(engine, handed_out, family):
    handle = family.options(id="parent").start()
    engine.advance_due()
    client.signal("kid", "word", "early")
    engine.advance_due()
    client.suspend("kid", reason="bank is closed")
    client.signal("kid", "word", "late")
    handle.signal("go")
    engine.run_until_quiet()
    assert (handle.status, client.status("kid")) == ("failed", "terminated")

    preview = client.rewind("parent", dry_run=True).children[0]
    client.rewind("parent")
    assert "it was suspended, and stays so until it is resumed" in preview.warnings
    assert [step.name for step in preview.rerun] == ["pay"]
    engine.run_until_quiet()
    kid = client.get("kid")
    assert (handle.status, kid.status) == ("running", "suspended")
    assert kinds(kid)[-1] == "ExecutionRewound", "no code ran, and no activity"
    kid.resume()

    assert engine.result(handle) == ["beside", ["early", "late", "paid"]]
    assert leftovers() == []
