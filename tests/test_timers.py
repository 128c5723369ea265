"""Timers: due by the database's clock, and each ends in one record."""

from __future__ import annotations

import asyncio

import pytest

from durable import activity, workflow
from durable.engine import sweep
from durable.models import InboxEvent
from tests.driving import answers, item, kinds, leftovers


def test_sleep_ends_when_it_is_due(engine, time):
    @workflow.defn
    async def sleeper() -> float:
        before = workflow.time()
        await asyncio.sleep(60)
        return workflow.time() - before

    handle = sleeper.start()
    engine.run_until_quiet()
    time.forward(59)
    engine.run_until_quiet()
    assert kinds(handle) == ["ExecutionStarted", "TimerStarted"]

    time.forward(1.5)
    assert 60 <= engine.result(handle) < 65
    assert kinds(handle)[2:] == ["TimerFired", "ExecutionCompleted"]
    assert leftovers() == []


def test_timer_is_due_at_the_recorded_time(engine, time):
    @workflow.defn
    async def sleeper() -> None:
        await asyncio.sleep(3600)

    handle = sleeper.start()
    engine.run_until_quiet()

    row = InboxEvent.objects.get()
    assert row.visible_at.timestamp() == pytest.approx(item(handle, "TimerStarted").data["fire_at"], abs=1e-6)
    assert (row.visible_at - time.now()).total_seconds() == pytest.approx(3600, abs=5)


def test_timer_created_and_cancelled_in_one_turn_leaves_no_event(engine):
    @workflow.defn
    async def quick() -> str:
        async with asyncio.timeout(3600):
            return "at once"

    handle = quick.start()

    assert engine.result(handle) == "at once"
    assert kinds(handle) == ["ExecutionStarted", "ExecutionCompleted"]


def test_timer_that_is_needed_no_more_is_canceled_and_its_row_is_gone(engine):
    @workflow.defn
    async def patient() -> str:
        async with asyncio.timeout(3600):
            first = await workflow.wait_signal("go")
        return first + await workflow.wait_signal("more")

    handle = patient.start()
    engine.run_until_quiet()
    handle.signal("go", "a")
    engine.run_until_quiet()

    assert kinds(handle) == ["ExecutionStarted", "TimerStarted", "SignalReceived", "TimerCanceled"]
    assert leftovers() == []
    handle.signal("more", "b")
    assert engine.result(handle) == "ab"


@pytest.mark.parametrize("first", ["signal", "timer"])
def test_cancel_against_fire_leaves_one_terminal_record(engine, time, first):
    @workflow.defn
    async def racing() -> str:
        try:
            async with asyncio.timeout(60):
                await workflow.wait_signal("go")
        except TimeoutError:
            return "timer"
        return "signal" + await workflow.wait_signal("end")

    handle = racing.start()
    engine.run_until_quiet()
    if first == "signal":
        handle.signal("go")
    time.forward(61)
    if first == "timer":
        handle.signal("go")
    handle.signal("end", "")

    assert engine.result(handle) == first
    ends = answers(handle)["TimerFired"] + answers(handle)["TimerCanceled"]
    assert ends == 1


def test_negative_sleep_is_an_error(engine):
    @workflow.defn
    async def wrong() -> str:
        try:
            await asyncio.sleep(-1)
        except Exception as error:
            return type(error).__name__

    assert engine.result(wrong.start()) == "InvalidInput"


def test_sleep_of_0_only_yields(engine):
    @workflow.defn
    async def yielding() -> list[str]:
        seen = []

        async def other() -> None:
            seen.append("other")

        asyncio.create_task(other())
        await asyncio.sleep(0)
        return [*seen, "main"]

    handle = yielding.start()

    assert engine.result(handle) == ["other", "main"]
    assert kinds(handle) == ["ExecutionStarted", "ExecutionCompleted"]


def test_timers_fire_in_the_order_they_are_due(engine, time):
    @workflow.defn
    async def race() -> list[int]:
        order = []

        async def sleep(seconds: int) -> None:
            await asyncio.sleep(seconds)
            order.append(seconds)

        await asyncio.gather(*(sleep(s) for s in (30, 10, 20)))
        return order

    handle = race.start()
    engine.run_until_quiet()
    time.forward(31)

    assert engine.result(handle) == [10, 20, 30]


def test_wait_for_ends_the_activity_that_takes_too_long(engine, settings, time):
    settings.DURABLE = {"RUN_INLINE": False}

    @activity.defn(queue="nobody-serves")
    def never() -> None: ...

    @workflow.defn
    async def impatient() -> str:
        try:
            await asyncio.wait_for(never(), 60)
        except TimeoutError:
            return "gave up"

    handle = impatient.start()
    engine.advance_due()
    time.forward(61)
    engine.advance_due()

    assert handle.result(timeout=0) == "gave up"
    assert leftovers() == []


def test_sweep_announces_a_timer_that_is_due(committing, time):
    @workflow.defn
    async def sleeper() -> None:
        await asyncio.sleep(60)

    handle = sleeper.start()
    committing.run_until_quiet()
    assert sweep.look(0) == []
    assert [due.target for due in sweep.look(61)] == [handle.id], "what comes due soon is known beforehand"

    time.forward(61)
    assert [due.target for due in sweep.look(0)] == [handle.id]
    assert sweep.sweep() == 1
    assert sweep.look(0) == [], "and is not announced again at once"


def test_many_timers_due_together_are_found_in_one_look(engine, time, django_assert_num_queries):
    @workflow.defn
    async def sleeper() -> None:
        await asyncio.sleep(60)

    for _ in range(30):
        sleeper.start()
    engine.run_until_quiet()
    time.forward(61)
    time.now()

    with django_assert_num_queries(1):
        assert len(sweep.look(0)) == 30
