"""Continue-as-new ends the execution there and then, and loses nothing."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from durable.core import calls, marks, stepping
from durable.core import commands as cmd
from durable.core import events as ev
from durable.core.execution import Execution
from durable.core.exits import DurableExit
from durable.core.payloads import Converter
from tests.core.histories import (
    CANCEL,
    CANCELED,
    STARTED,
    activity,
    begin,
    completed,
    decide,
    failure_of,
    given,
    result_of,
    returned,
    scheduled,
    signal,
    started,
    timer,
    workflow,
)


@activity
def a() -> Any: ...


@workflow
async def ship() -> Any: ...


@workflow
async def loop(n: int, amount: Decimal = Decimal(0)):
    got = await calls.wait_signal("go")
    calls.continue_as_new(n + got, amount=Decimal("1.5"))


def continued(*args: Any, carried: Any = (), **kwargs: Any) -> ev.ExecutionContinued:
    return ev.ExecutionContinued(input=given(*args, **kwargs), carried=list(carried))


LOOP = [started(1), signal("go", 5), continued(6, amount="1.5")]


def test_ends_the_execution_with_the_next_ones_arguments():
    assert decide(loop, LOOP[:1], LOOP[1]).commands == (LOOP[2],)
    assert decide(loop, LOOP).outcome == LOOP[2]


@pytest.mark.parametrize("swallow", [Exception, BaseException])
def test_never_returns_even_inside_an_except(swallow):
    said = []

    @workflow
    async def swallower():
        try:
            calls.continue_as_new()
        except swallow:
            said.append("caught")
        await a()
        said.append("went on")

    assert decide(swallower, [], STARTED).commands == (continued(),)
    assert "went on" not in said
    assert ("caught" in said) == (swallow is BaseException)


def test_never_returns_even_if_everything_is_swallowed():
    @workflow
    async def swallower():
        asked: list[Any] = [calls.continue_as_new, lambda: marks.side_effect(list), lambda: a().send(None)]
        for do in asked:
            with pytest.raises(DurableExit):
                do()
        return "alive"

    assert decide(swallower, [], STARTED).outcome == continued()


def test_clean_up_on_the_way_out_asks_for_nothing_more():
    @workflow
    async def tidy():
        child = ship.start_child()
        try:
            async with asyncio.timeout(60):
                await calls.wait_signal("go")
                await child
                calls.continue_as_new()
        finally:
            child.cancel()
            await a()

    log = [STARTED, *decide(tidy, [], STARTED).commands, signal("go")]

    assert decide(tidy, log, ev.ChildCompleted(event_id=0)).commands == (continued(),)


def test_stops_an_activity_from_being_asked_for_or_called_off():
    @workflow
    async def tidy():
        task = asyncio.create_task(a())
        await asyncio.sleep(0)
        try:
            task.cancel()
            await asyncio.sleep(0)
            calls.continue_as_new()
        finally:
            await a()

    assert decide(tidy, [], STARTED).commands == (continued(),)


def test_ends_the_execution_from_within_a_task_group():
    @workflow
    async def grouped():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(turn())
            tasks.create_task(calls.wait_signal("never"))

    async def turn():
        calls.continue_as_new()

    assert decide(grouped, [], STARTED).commands == (continued(),)


def test_ends_the_execution_from_within_a_condition():
    @workflow
    async def conditional():
        await calls.wait_until(lambda: calls.continue_as_new() if answers.pop() else False)

    answers = [True, False] * 10

    decision = decide(conditional, [], STARTED)

    assert decision.outcome == continued()


# --- what is still open


@pytest.mark.parametrize(
    ("open_", "named"),
    [
        (lambda: asyncio.create_task(a()), "ActivityScheduled(a) (event 0) is still open; await or cancel it"),
        (ship.start_child, "ChildScheduled(ship) (event 0) is still open"),
        (
            lambda: asyncio.create_task(calls.signal_instance("other", "go")),
            "SignalSent(go) (event 0) is still open",
        ),
    ],
    ids=["activity", "child", "signal"],
)
def test_open_work_is_refused_and_named(open_, named):
    @workflow
    async def hasty():
        open_()
        await asyncio.sleep(0)
        calls.continue_as_new()

    failure = failure_of(decide(hasty, [], STARTED))

    assert failure.type == "InvalidInput"
    assert named in failure.message


@pytest.mark.parametrize("work", [a, lambda: calls.signal_instance("other", "go")])
def test_work_that_was_called_off_is_not_in_the_way(work):
    @workflow
    async def cancelling():
        task = asyncio.create_task(work())
        await calls.wait_signal("go")
        task.cancel()
        await asyncio.wait([task])
        calls.continue_as_new()

    log = [STARTED, *decide(cancelling, [], STARTED).commands]

    assert decide(cancelling, log, signal("go")).commands[-1] == continued()


def test_timers_are_not_in_the_way():
    @workflow
    async def timed():
        begin(asyncio.sleep(60))
        await calls.wait_signal("go")
        calls.continue_as_new()

    assert decide(timed, [STARTED, timer(0, 60.0)], signal("go")).commands == (continued(),)


def test_code_may_go_on_after_a_refusal():
    @workflow
    async def sorry():
        task = asyncio.create_task(a())
        await asyncio.sleep(0)
        try:
            calls.continue_as_new()
        except ValueError:
            raise
        except Exception:
            return await task

    assert result_of(decide(sorry, [STARTED, scheduled(0, "a")], completed(0, "ok"))) == "ok"


def test_arguments_that_do_not_fit_are_refused():
    @workflow
    async def strict(n: int):
        calls.continue_as_new(1, 2)

    failure = failure_of(decide(strict, [], started(1)))

    assert (failure.type, "too many positional arguments" in failure.message) == ("InvalidInput", True)


# --- signals


UNREAD = [started(1), signal("go", 1), signal("stop", 2), signal("go", 3)]


@workflow
async def carrying(n: int, carry: bool = True):
    await calls.wait_signal("begin")
    calls.continue_as_new(n, carry_signals=carry)


def test_unread_signals_move_on_in_order():
    decision = decide(carrying, UNREAD, signal("begin"))

    assert decision.outcome == continued(1, carried=[["go", 1], ["stop", 2], ["go", 3]])


def test_unread_signals_move_on_behind_those_that_were_carried_and_those_of_the_code():
    @workflow
    async def filling(n):
        calls.signals("go").send_now("own")
        calls.signals("go").send_now("more")
        await calls.wait_signal("go")
        await carrying.fn(n)

    log = [started(1, carried=[["go", 0], ["stop", 1]]), signal("stop", 2), signal("go", 3)]

    carried = [["go", "own"], ["go", "more"], ["stop", 1], ["stop", 2], ["go", 3]]
    assert decide(filling, log, signal("begin")).outcome == continued(1, carried=carried)


def test_unread_signals_stay_behind_if_told_to():
    log = [started(1, False), *UNREAD[1:]]

    assert decide(carrying, log, signal("begin")).outcome == continued(1)


def test_carried_signals_are_read_first():
    @workflow
    async def reader():
        return [await calls.wait_signal("go") for _ in range(3)]

    log = [started(carried=[["go", 1], ["stop", 0], ["go", 2]])]

    assert result_of(decide(reader, log, signal("go", 3))) == [1, 2, 3]


@pytest.mark.parametrize(
    ("reads", "again"),
    [
        (0, [["go", 1], ["go", 2], ["go", 3], ["stop", 4], ["go", 5]]),
        (1, [["go", 1], ["go", 2], ["go", 3], ["stop", 4], ["go", 5]]),
        (3, [["go", 1], ["go", 2], ["stop", 4], ["go", 5]]),
        (4, [["go", 1], ["go", 2], ["stop", 4]]),
    ],
)
def test_another_try_begins_with_what_came_before_and_with_what_nobody_read(reads, again):
    @workflow
    async def reader():
        for _ in range(reads):
            await calls.wait_signal("go")
        await calls.wait_signal("never")

    execution = Execution(reader, converter=Converter())
    for event in (started(carried=[["go", 1], ["go", 2]]), signal("go", 3), signal("stop", 4), signal("go", 5)):
        stepping.step(execution, event)

    assert execution.signals.carried_by_retry() == again
    execution.close()


def test_cancel_and_continue_do_not_mix():
    @workflow
    async def split():
        try:
            await a()
        except asyncio.CancelledError:
            calls.continue_as_new()

    assert decide(split, [STARTED, scheduled(0, "a")], CANCEL).commands == (cmd.CancelActivity(event_id=0), continued())
    assert decide(split, [STARTED, scheduled(0, "a")], completed(0)).outcome == returned()
    assert decide(loop, [started(1)], CANCEL).outcome == CANCELED
