"""Signals are kept until somebody reads them, in order, and none is lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from durable.core import calls
from durable.core import events as ev
from durable.core.failures import Failure
from tests.core.histories import (
    STARTED,
    activity,
    begin,
    completed,
    decide,
    failure_of,
    fired,
    result_of,
    returned,
    scheduled,
    signal,
    started,
    timer,
    timer_canceled,
    workflow,
)


@activity
def a() -> Any: ...


@workflow
async def reader(n: int):
    return [await calls.wait_signal("go") for _ in range(n)]


def test_waits_until_the_signal_comes():
    assert decide(reader, [], started(1)).commands == ()
    assert decide(reader, [started(1)], signal("go", {"a": 1})).commands == (returned([{"a": 1}]),)


def test_hundred_unread_signals_are_read_in_order():
    @workflow
    async def busy():
        await a()
        return [await calls.wait_signal("go") for _ in range(100)]

    log = [STARTED, scheduled(0, "a"), *(signal("go", n) for n in range(100))]

    assert result_of(decide(busy, log, completed(0))) == list(range(100))


def test_signals_before_the_start_are_kept():
    assert result_of(decide(reader, [signal("go", 1), signal("go", 2)], started(2))) == [1, 2]


def test_names_are_compared_exactly():
    log = [started(1), signal("Go", 1), signal("go ", 2), signal("g", 3)]

    assert decide(reader, log).commands == ()
    assert result_of(decide(reader, log, signal("go", 4))) == [4]


def test_names_do_not_get_in_each_others_way():
    @workflow
    async def two():
        return [await calls.wait_signal("b"), await calls.wait_signal("a")]

    assert result_of(decide(two, [STARTED, signal("a", 1)], signal("b", 2))) == [2, 1]


def test_waiters_are_served_in_order():
    @workflow
    async def pair():
        return await asyncio.gather(calls.wait_signal("go"), calls.wait_signal("go"))

    assert result_of(decide(pair, [STARTED, signal("go", 1)], signal("go", 2))) == [1, 2]


# --- timeouts


@workflow
async def patient():
    try:
        return await calls.wait_signal("go", timeout=timedelta(seconds=5))
    except TimeoutError:
        return ["too late", await calls.wait_signal("go")]


PATIENT = [STARTED, timer(0, 5.0)]


def test_signal_in_time_cancels_the_timer():
    assert decide(patient, PATIENT, signal("go", 1)).commands == (timer_canceled(0), returned(1))


def test_wait_that_timed_out_consumes_nothing():
    log = [*PATIENT, fired(0, at=5.0), signal("stop")]

    assert decide(patient, log).commands == ()
    assert result_of(decide(patient, log, signal("go", 1))) == ["too late", 1]


def test_signal_that_is_there_is_read_without_a_timer():
    assert decide(patient, [signal("go", 1)], STARTED).commands == (returned(1),)


@workflow
async def again():
    first = await calls.wait_signal("go", timeout=5)
    second = await calls.wait_signal("go")
    return [first, second]


AGAIN = [STARTED, timer(0, 5.0), signal("go", 1), timer_canceled(0)]


def test_stale_timeout_never_cancels_a_later_waiter():
    log = [*AGAIN, fired(0, at=5.0)]

    assert decide(again, log).commands == ()
    assert result_of(decide(again, log, signal("go", 2))) == [1, 2]


def test_no_time_at_all_reads_only_what_is_there():
    @workflow
    async def glance():
        try:
            return await calls.wait_signal("go", timeout=0)
        except TimeoutError:
            return "nothing"

    assert decide(glance, [], STARTED).commands == (returned("nothing"),)
    assert decide(glance, [signal("go", 1)], STARTED).commands == (returned(1),)


# --- wait_until


@workflow
async def condition():
    seen = []

    async def listen():
        while True:
            seen.append(await calls.wait_signal("go"))

    task = asyncio.create_task(listen())
    await calls.wait_until(lambda: len(seen) == 2)
    task.cancel()
    return seen


def test_condition_is_looked_at_after_each_step():
    log = [STARTED, signal("go", 1)]

    assert decide(condition, log).outcome is None
    assert result_of(decide(condition, log, signal("go", 2))) == [1, 2]


def test_condition_that_holds_already_does_not_wait():
    @workflow
    async def ready():
        await calls.wait_until(lambda: True, timeout=5)
        return "at once"

    assert decide(ready, [], STARTED).commands == (returned("at once"),)


def test_conditions_that_wait_for_each_other_are_met_in_one_step():
    @workflow
    async def relay():
        reached = [0]

        async def leg(n: int):
            await calls.wait_until(lambda: reached[0] == n)
            reached[0] += 1

        legs = [asyncio.create_task(leg(n)) for n in (3, 2, 1)]
        await calls.wait_signal("go")
        reached[0] = 1
        await asyncio.gather(*legs)
        return reached[0]

    assert result_of(decide(relay, [STARTED], signal("go"))) == 4


def test_condition_that_is_met_too_late_times_out():
    @workflow
    async def limited():
        try:
            await calls.wait_until(lambda: False, timeout=5)
        except TimeoutError:
            return "too late"

    assert decide(limited, [], STARTED).commands == (timer(0, 5.0),)
    assert result_of(decide(limited, [STARTED, timer(0, 5.0)], fired(0, at=5.0))) == "too late"


def test_condition_that_is_met_in_time_cancels_the_timer():
    @workflow
    async def met():
        seen = []

        async def listen():
            seen.append(await calls.wait_signal("go"))

        begin(listen())
        await calls.wait_until(lambda: seen, timeout=5)
        return seen

    assert decide(met, [STARTED, timer(0, 5.0)], signal("go", 1)).commands == (timer_canceled(0), returned([1]))


@pytest.mark.parametrize("when", ["at once", "later"])
def test_error_in_a_condition_goes_to_whoever_waits(when):
    @workflow
    async def faulty():
        left = [0 if when == "at once" else 1]

        def predicate():
            left[0] -= 1
            if left[0] < 0:
                raise LookupError("gone")

        try:
            await calls.wait_until(predicate)
        except LookupError as error:
            return str(error)

    assert result_of(decide(faulty, [], STARTED)) == "gone"


def test_condition_is_dropped_with_its_waiter():
    @workflow
    async def fickle():
        looks = []

        def predicate():
            looks.append(1)

        async def both():
            # The second is cancelled while the first one's predicate holds: it is not looked at again.
            first = asyncio.create_task(calls.wait_until(lambda: second.cancel() if looks else False))
            second = asyncio.create_task(calls.wait_until(predicate))
            await asyncio.wait([second])
            first.cancel()

        await both()
        return len(looks)

    assert result_of(decide(fickle, [], STARTED)) == 1


# --- to other instances


@workflow
async def caller():
    await calls.signal_instance("other", "go", {"a": 1})
    return "said"


SENT = ev.SignalSent(event_id=0, name="go", instance_id="other", payload={"a": 1})


def test_signal_to_another_instance_ends_when_it_is_recorded_there():
    assert decide(caller, [], STARTED).commands == (SENT,)
    assert result_of(decide(caller, [STARTED, SENT], ev.SignalDelivered(event_id=0))) == "said"


def test_signal_that_cannot_be_delivered_is_an_error():
    refused = ev.SignalFailed(event_id=0, failure=Failure(type="UnknownInstance", message="no instance 'other'"))

    failure = failure_of(decide(caller, [STARTED, SENT], refused))

    assert failure.type == "SignalError"
    assert failure.message == "signal 'go' to 'other' was not delivered: UnknownInstance: no instance 'other'"
    assert failure.cause.type == "UnknownInstance"
