"""What Temporal's Python SDK lets one write and run: activities, asyncio, signals, queries, conditions, children."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from durable import (
    ActivityError,
    InvalidInput,
    RetryPolicy,
    WorkflowFailed,
    activity,
    client,
    workflow,
)
from tests.driving import answers, item, kinds, leftovers


@pytest.fixture
def waiting(engine):
    @workflow.defn
    async def waiting() -> str:
        return await workflow.wait_signal("go")

    return waiting


def failure_of(engine, handle):
    """Run until nothing is due and return how the instance failed."""
    with pytest.raises(WorkflowFailed) as failed:
        engine.result(handle)
    return failed.value.failure


# --- activities


@dataclass
class Order:
    number: int
    lines: list[str]


def test_arguments_and_results_are_values_of_their_annotations(engine, path):
    @activity.defn
    def price(order: Order, day: datetime) -> Order:
        return Order(order.number + 1, [*order.lines, str(day.year)])

    @workflow.defn
    async def pricing(order: Order) -> Order:
        priced = await price(order, workflow.now())
        assert isinstance(priced, Order)
        return priced

    year = str(datetime.now(UTC).year)
    assert engine.result(pricing.start(Order(1, ["a"]))) == Order(2, ["a", year])


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_activity_may_be_a_plain_or_an_async_function(engine, path, kind):
    if kind == "async":

        @activity.defn
        async def act(number: int) -> int:
            await asyncio.sleep(0)
            return number + 1
    else:

        @activity.defn
        def act(number: int) -> int:
            return number + 1

    @workflow.defn
    async def calls() -> int:
        return await act(1)

    assert engine.result(calls.start()) == 2


def test_failed_activity_raises_an_error_with_type_message_and_causes(engine, path):
    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def broken() -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error

    @workflow.defn
    async def calls() -> list[str]:
        try:
            await broken()
        except ActivityError as error:
            cause = error.cause
            return [error.activity, cause.type, cause.message, cause.failure.cause.type]

    assert engine.result(calls.start()) == ["broken", "ValueError", "outer", "KeyError"]


@pytest.mark.parametrize("given", ["class", "name", "base class"])
def test_errors_named_as_non_retryable_are_not_tried_again(engine, path, given):
    names = {"class": KeyError, "name": "KeyError", "base class": LookupError}
    ran = []

    @activity.defn(retry=RetryPolicy(max_attempts=5, non_retryable=(names[given],)))
    def broken() -> None:
        ran.append(1)
        raise KeyError("no")

    @workflow.defn
    async def calls() -> int:
        try:
            await broken()
        except ActivityError as error:
            return error.attempts

    assert engine.result(calls.start()) == 1
    assert ran == [1]


def test_retries_back_off_up_to_the_longest_interval(engine, path):
    ran = []

    @activity.defn(retry=RetryPolicy(initial_interval=1, backoff=10, max_interval=20, max_attempts=4))
    def broken() -> None:
        ran.append(1)
        raise ValueError

    @workflow.defn
    async def calls() -> None:
        await broken()

    calls.start()
    engine.run_until_quiet()
    seen = []
    for seconds in (2, 8, 3, 18, 3):
        engine.after(seconds)
        seen.append(len(ran))

    assert seen == [2, 2, 3, 3, 4]


def test_activity_that_is_not_done_in_its_time_fails_with_a_timeout(engine, work):
    @workflow.defn
    async def calls() -> list:
        try:
            await work.later.options(schedule_to_close=10)("never")
        except ActivityError as error:
            return [error.cause.type, error.attempts]

    handle = calls.start()
    engine.run_until_quiet()
    engine.after(11)

    assert "Timeout" in handle.result(timeout=0)[0]
    assert answers(handle)["ActivityFailed"] == 1


def test_attempt_that_takes_too_long_is_tried_again(engine, work):
    """``start_to_close`` bounds an attempt, ``schedule_to_close`` all of them."""

    @workflow.defn
    async def calls() -> str:
        policy = RetryPolicy(max_attempts=3, initial_interval=1)
        return await work.later.options(start_to_close=10, retry=policy)("slow")

    handle = calls.start()
    engine.run_until_quiet()
    engine.after(11)
    engine.after(2)
    work.finish("slow", "second attempt")

    assert engine.result(handle) == "second attempt"
    assert item(handle, "ActivityCompleted").data["attempts"] == 2


def test_task_that_no_worker_takes_in_its_time_fails(engine):
    @workflow.defn
    async def calls() -> str:
        try:
            await workflow.activity_by_name("nowhere").options(schedule_to_start=5, queue="empty")()
        except ActivityError as error:
            return error.cause.type

    handle = calls.start()
    engine.run_until_quiet()
    engine.after(6)

    assert "Timeout" in handle.result(timeout=0)


def test_next_attempt_finds_the_details_of_the_last_heartbeat(engine, path):
    seen = []

    @activity.defn(retry=RetryPolicy(initial_interval=1), heartbeat=30)
    def resuming() -> int:
        seen.append(activity.heartbeat_details())
        if len(seen) == 1:
            activity.heartbeat("row", 500)
            raise ConnectionError
        return activity.info().attempt

    @workflow.defn
    async def calls() -> int:
        return await resuming()

    handle = calls.start()
    engine.run_until_quiet()
    engine.after(2)

    assert handle.result(timeout=0) == 2
    assert seen == [(), ("row", 500)]


def test_key_for_other_services_is_the_same_in_every_attempt(engine, path):
    keys = []

    @activity.defn(retry=RetryPolicy(initial_interval=0))
    def paying() -> None:
        keys.append(activity.info().idempotency_key)
        if len(keys) < 3:
            raise ConnectionError

    @workflow.defn
    async def calls() -> None:
        await paying()
        await paying()

    handle = calls.start()
    engine.run_until_quiet()

    assert handle.status == "completed"
    assert len(keys) == 4
    assert len(set(keys[:3])) == 1
    assert len(set(keys)) == 2


@pytest.mark.parametrize("end", ["completed", "failed"])
def test_activity_can_be_ended_from_elsewhere(engine, work, path, end):
    @workflow.defn
    async def calls() -> str:
        try:
            return await work.later("x")
        except ActivityError as error:
            return error.cause.message

    handle = calls.start()
    engine.run_until_quiet()
    assert handle.status == "running"
    if end == "completed":
        work.finish("x", "done")
    else:
        work.break_("x", "declined")

    assert engine.result(handle) == {"completed": "done", "failed": "declined"}[end]


def test_activity_started_and_never_awaited_runs_once(engine, work):
    @workflow.defn
    async def careless() -> str:
        asyncio.create_task(work.double(1))
        return await workflow.wait_signal("go")

    handle = careless.start()
    engine.run_until_quiet()
    handle.signal("go", "on")

    assert engine.result(handle) == "on"
    assert (work.ran, answers(handle)["ActivityCompleted"]) == ([1], 1)


def test_failure_of_an_activity_that_nobody_awaits_passes(engine, work):
    @workflow.defn
    async def careless() -> str:
        asyncio.create_task(work.fail())
        return await workflow.wait_signal("go")

    handle = careless.start()
    engine.run_until_quiet()
    handle.signal("go", "on")

    assert engine.result(handle) == "on"
    assert answers(handle)["ActivityFailed"] == 1


def test_task_can_be_awaited_twice(engine, work):
    @workflow.defn
    async def twice() -> list:
        good, bad = asyncio.create_task(work.double(1)), asyncio.create_task(work.fail())
        got = [await good, await good]
        for _ in range(2):
            try:
                await bad
            except ActivityError as error:
                got.append(error.cause.type)
        return got

    assert engine.result(twice.start()) == [2, 2, "ValueError", "ValueError"]
    assert work.ran.count(1) == 1


def test_call_of_an_activity_can_be_awaited_once(engine, work):
    """Deviation: there it is a handle; here it is a coroutine, as in plain asyncio."""

    @workflow.defn
    async def twice() -> list:
        call = work.double(1)
        got: list = [await call]
        try:
            await call
        except RuntimeError as error:
            got.append(type(error).__name__)
        return got

    assert engine.result(twice.start()) == [2, "RuntimeError"]


@pytest.mark.parametrize("order", [*itertools.permutations("abc")], ids="".join)
def test_results_of_one_turn_are_taken_in_the_order_in_which_they_came(engine, work, order):
    @workflow.defn
    async def all_three() -> list:
        came: list[str] = []

        async def one(key: str) -> str:
            came.append(await work.later(key))
            return key

        return [await asyncio.gather(*map(one, "abc")), came]

    handle = all_three.start()
    engine.run_until_quiet()
    for key in order:
        work.finish(key, key)

    assert engine.result(handle) == [["a", "b", "c"], [*order]]


def test_result_that_comes_after_its_workflow_gave_up_is_dropped(engine, work, path):
    ended = []

    @activity.defn
    def slow() -> str:
        client.signal(activity.info().instance_id, "stop")
        engine.advance_due()
        ended.append(1)
        return "late"

    @workflow.defn
    async def hasty() -> str:
        task = asyncio.create_task(slow())
        await workflow.wait_signal("stop")
        task.cancel()
        return await workflow.wait_signal("go")

    handle = hasty.start()
    engine.run_until_quiet()
    handle.signal("go", "went on")

    assert engine.result(handle) == "went on"
    assert (ended, leftovers()) == ([1], [])
    assert answers(handle)["ActivityCompleted"] == 1, "its end is recorded, and changes nothing"


def test_activities_of_another_app_are_called_by_name(engine, path):
    @activity.defn(name="shop.price")
    def price(number: int) -> dict:
        return {"price": number}

    @workflow.defn
    async def calls() -> dict:
        return await workflow.activity_by_name("shop.price")(5)

    assert engine.result(calls.start()) == {"price": 5}


# --- time, random numbers and ids


def test_time_stands_still_within_a_step_and_is_the_recorded_one(engine, work):
    @workflow.defn
    async def clock() -> list:
        seen = [workflow.now().isoformat()]
        await asyncio.sleep(0)
        seen += [workflow.now().isoformat()]
        await asyncio.sleep(100)
        loop_time = asyncio.get_running_loop().time()
        return [*seen, workflow.now().isoformat(), loop_time == workflow.time()]

    handle = clock.start()
    engine.run_until_quiet()
    engine.after(101)

    first, again, later, same = handle.result(timeout=0)
    assert first == again == item(handle, "ExecutionStarted").recorded_at.isoformat()
    assert later == item(handle, "TimerFired").recorded_at.isoformat()
    assert same
    assert datetime.fromisoformat(later) - datetime.fromisoformat(first) >= timedelta(seconds=100)


def test_random_numbers_and_ids_are_the_same_on_replay(engine, work):
    @workflow.defn
    async def drawing() -> list:
        drawn = []
        for _ in range(3):
            number = workflow.random().randint(0, 10**9)
            drawn.append([number, await work.double(number), await work.note(str(workflow.uuid4()))])
        return drawn

    one, other = drawing.start(), drawing.start()
    drawn = engine.result(one)

    assert [2 * number for number, _, _ in drawn] == [doubled for _, doubled, _ in drawn]
    texts = [text for text in work.ran if isinstance(text, str)]
    assert {text for _, _, text in drawn} < set(texts)
    assert len(texts) == len(set(texts)) == 6
    assert len({number for number, _, _ in drawn}) == 3
    assert engine.result(other) != drawn, "each instance has numbers of its own"


def test_workflow_knows_its_ids_and_its_parent(engine):
    @workflow.defn
    async def child() -> list:
        info = workflow.info()
        return [info.instance_id, info.parent_id, info.name, info.version, info.queue, info.attempt]

    @workflow.defn
    async def parent() -> list:
        return await child.options(id="kid")()

    handle = parent.options(id="p", queue="q").start()

    assert engine.result(handle) == ["kid", "p", "child", 0, "q", 0]


# --- signals and queries


def test_signal_that_comes_with_the_start_is_there_from_the_beginning(engine, waiting):
    handle = client.start("waiting", signal=("go", "at once"))

    assert engine.result(handle) == "at once"
    assert kinds(handle) == ["ExecutionStarted", "SignalReceived", "ExecutionCompleted"]


def test_run_begins_before_signals_that_came_earlier_are_delivered(engine):
    """Deviation: there handlers of such signals run first."""

    @workflow.defn
    async def looking() -> list:
        first = len(workflow.signals("item"))
        await workflow.wait_until(lambda: len(workflow.signals("item")) == 2)
        return [first, len(workflow.signals("item"))]

    handle = looking.start()
    for number in (1, 2):
        handle.signal("item", number)

    assert engine.result(handle) == [0, 2]


def test_handler_of_signals_is_a_task_that_changes_the_state_main_waits_for(engine, work):
    @workflow.defn
    async def basket() -> list[str]:
        items: list[str] = []

        async def adding() -> None:
            async for name in workflow.signals("add"):
                items.append(await work.note(name))  # noqa: PERF401 - the condition is to see each

        handler = asyncio.create_task(adding())
        await workflow.wait_signal("pay")
        await workflow.wait_until(lambda: not len(workflow.signals("add")) and len(items) == 3)
        handler.cancel()
        return items

    handle = basket.start()
    for name in ("pen", "ink"):
        handle.signal("add", name)
    engine.run_until_quiet()
    handle.signal("pay")
    handle.signal("add", "paper")

    assert engine.result(handle) == ["pen", "ink", "paper"]


def test_query_sees_the_state_of_the_last_step_and_records_nothing(engine):
    @workflow.defn
    async def counting() -> int:
        count = 0

        @workflow.query
        def state(factor: int = 1) -> int:
            return factor * count

        while count < 2:
            count += await workflow.wait_signal("add")
        return count

    handle = counting.start()
    engine.run_until_quiet()
    assert handle.query("state") == 0
    handle.signal("add", 1)
    engine.run_until_quiet()
    before = kinds(handle)

    assert (handle.query("state"), handle.query("state", 10), kinds(handle)) == (1, 10, before)
    handle.signal("add", 1)
    assert engine.result(handle) == 2
    assert handle.query("state") == 2, "and also after the end"


def test_query_lets_no_condition_go_on(engine):
    """A query is not in the history, so a condition that it meets must not be looked at."""

    @workflow.defn
    async def tempted() -> str:
        state = {"asked": False}

        @workflow.query
        def ask() -> bool:
            state["asked"] = True
            return True

        await workflow.wait_until(lambda: state["asked"])
        return "went on"

    handle = tempted.start()
    engine.run_until_quiet()
    handle.query("ask")
    engine.run_until_quiet()

    assert handle.status == "running"
    assert kinds(handle) == ["ExecutionStarted"]
    engine.unfit.add(handle.id)


def test_unknown_query_is_an_error_that_names_those_there_are(engine, waiting):
    handle = waiting.start()
    engine.run_until_quiet()

    with pytest.raises(InvalidInput, match="no such query"):
        handle.query("nothing")


def test_signal_for_a_workflow_that_has_been_handed_out_is_taken_in_its_order(engine, work, path):
    @workflow.defn
    async def mixing() -> list[str]:
        got = []
        for _ in range(2):
            got += [await workflow.wait_signal("item"), await work.note("between")]
        return got

    handle = mixing.start()
    engine.run_until_quiet()
    for name in ("first", "second"):
        handle.signal("item", name)

    assert engine.result(handle) == ["first", "between", "second", "between"]


# --- conditions


def test_condition_that_holds_does_not_wait(engine):
    @workflow.defn
    async def at_once() -> str:
        await workflow.wait_until(lambda: True, timeout=10)
        return "went on"

    handle = at_once.start()

    assert engine.result(handle) == "went on"
    assert kinds(handle) == ["ExecutionStarted", "ExecutionCompleted"]


def test_conditions_that_help_each_other_on_are_met_in_one_step(engine):
    @workflow.defn
    async def ping_pong() -> list[int]:
        state, said = {"n": 0}, []

        async def player(parity: int) -> None:
            for _ in range(3):
                await workflow.wait_until(lambda: state["n"] % 2 == parity and state["n"] > 0)
                said.append(state["n"])
                state["n"] += 1

        players = [asyncio.create_task(player(parity)) for parity in (0, 1)]
        await workflow.wait_signal("serve")
        state["n"] = 1
        await asyncio.gather(*players)
        return said

    handle = ping_pong.start()
    engine.run_until_quiet()
    handle.signal("serve")

    assert engine.result(handle) == [1, 2, 3, 4, 5, 6]


def test_error_in_a_condition_goes_to_whoever_waits(engine):
    @workflow.defn
    async def dividing() -> str:
        state = {"divisor": 1}

        async def change() -> None:
            state["divisor"] = await workflow.wait_signal("divisor")

        asyncio.create_task(change())
        try:
            await workflow.wait_until(lambda: 1 / state["divisor"] > 1)
        except ZeroDivisionError:
            return "divided by zero"

    handle = dividing.start()
    engine.run_until_quiet()
    handle.signal("divisor", 0)

    assert engine.result(handle) == "divided by zero"


# --- timers


def test_sleep_of_zero_is_no_timer(engine, work):
    @workflow.defn
    async def yielding() -> list[str]:
        said = []

        async def other() -> None:
            said.append("other")

        asyncio.create_task(other())
        await asyncio.sleep(0)
        return [*said, "main"]

    handle = yielding.start()

    assert engine.result(handle) == ["other", "main"]
    assert "TimerStarted" not in kinds(handle)


def test_negative_sleep_is_an_error(engine):
    @workflow.defn
    async def backwards() -> None:
        await asyncio.sleep(-1)

    assert failure_of(engine, backwards.start()).type == "InvalidInput"


async def _with_timeout(seconds):
    async with asyncio.timeout(seconds):
        return await workflow.wait_signal("go")


async def _with_timeout_at(seconds):
    async with asyncio.timeout_at(asyncio.get_running_loop().time() + seconds):
        return await workflow.wait_signal("go")


async def _with_wait_for(seconds):
    return await asyncio.wait_for(workflow.wait_signal("go"), seconds)


async def _with_wait_signal(seconds):
    return await workflow.wait_signal("go", timeout=seconds)


async def _with_wait_until(seconds):
    channel = workflow.signals("go")
    await workflow.wait_until(lambda: len(channel), timeout=timedelta(seconds=seconds))
    return await channel.receive()


async def _with_wait(seconds):
    task = asyncio.create_task(workflow.wait_signal("go"))
    done, _ = await asyncio.wait([task], timeout=seconds)
    if not done:
        raise TimeoutError
    return task.result()


TIMEOUTS = [_with_timeout, _with_timeout_at, _with_wait_for, _with_wait_signal, _with_wait_until, _with_wait]


@pytest.mark.parametrize("end", ["in time", "late", "in time and late at once", "late and in time at once"])
@pytest.mark.parametrize("limited", TIMEOUTS, ids=lambda form: form.__name__[6:])
def test_each_form_of_timeout_is_one_timer_with_one_end(engine, limited, end):
    @workflow.defn
    async def waits() -> str:
        try:
            return await limited(10)
        except TimeoutError:
            return "too late"

    handle = waits.start()
    engine.run_until_quiet()
    if end == "late and in time at once":
        engine.forward(11)
    if end != "late":
        handle.signal("go", "in time")
    if end != "in time":
        engine.forward(11)

    in_time = end.startswith("in time")
    assert engine.result(handle) == ("in time" if in_time else "too late")
    counted = answers(handle)
    assert [counted[kind] for kind in ("TimerStarted", "TimerFired", "TimerCanceled")] == [1, not in_time, in_time]
    assert leftovers() == []


@pytest.mark.parametrize("limited", TIMEOUTS, ids=lambda form: form.__name__[6:])
def test_timeout_of_zero_takes_what_is_there_and_only_asyncio_wait_makes_a_timer_of_it(engine, limited):
    @workflow.defn
    async def waits() -> list[str]:
        got = []
        await workflow.wait_signal("begin")
        for _ in range(2):
            try:
                got.append(await limited(0))
            except TimeoutError:
                got.append("nothing")
        return got

    handle = waits.start()
    handle.signal("go", "something")
    handle.signal("begin")
    result = engine.result(handle)

    # Before 3.12, wait_for makes a task of its own, which has no chance to begin.
    early = limited is _with_wait_for and sys.version_info < (3, 12)
    assert result == ["nothing" if early else "something", "nothing"]
    assert answers(handle)["TimerStarted"] == (1 if limited is _with_wait else 0)


def test_timed_out_wait_consumes_nothing_and_its_stale_timer_hurts_nobody(engine):
    @workflow.defn
    async def twice() -> list:
        got = []
        for seconds in (10, 20):
            try:
                got.append(await workflow.wait_signal("go", timeout=seconds))
            except TimeoutError:
                got.append("nothing")
        return [*got, await workflow.wait_signal("go")]

    handle = twice.start()
    engine.run_until_quiet()
    engine.after(11)
    handle.signal("go", 1)
    engine.run_until_quiet()
    engine.after(30)
    handle.signal("go", 2)

    assert engine.result(handle) == ["nothing", 1, 2]


def test_timeout_can_be_moved_while_it_runs(engine):
    @workflow.defn
    async def patient() -> str:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(10) as limit:

                async def extend() -> None:
                    limit.reschedule(loop.time() + await workflow.wait_signal("extend"))

                task = asyncio.create_task(extend())
                await workflow.wait_signal("go")
        except TimeoutError:
            return f"too late {limit.expired()} {task.done()}"

    handle = patient.start()
    engine.run_until_quiet()
    engine.after(8)
    handle.signal("extend", 100)
    engine.run_until_quiet()
    engine.after(90)
    assert handle.status == "running"
    engine.after(20)

    assert handle.result(timeout=0) == "too late True True"
    counted = answers(handle)
    assert (counted["TimerStarted"], counted["TimerCanceled"], counted["TimerFired"]) == (2, 1, 1)


@pytest.mark.parametrize("shorter", ["inner", "outer"])
def test_of_nested_timeouts_the_shorter_one_ends_the_wait(engine, shorter):
    inner, outer = {"inner": (5, 10), "outer": (10, 5)}[shorter]

    @workflow.defn
    async def nested() -> str:
        try:
            async with asyncio.timeout(outer):
                try:
                    async with asyncio.timeout(inner):
                        await workflow.wait_signal("never")
                except TimeoutError:
                    return "inner"
        except TimeoutError:
            return "outer"

    handle = nested.start()
    engine.run_until_quiet()
    engine.after(6)

    assert handle.result(timeout=0) == shorter
    assert (answers(handle)["TimerFired"], answers(handle)["TimerCanceled"]) == (1, 1)


def test_both_nested_timeouts_that_are_due_in_one_turn_have_one_end_each(engine):
    @workflow.defn
    async def nested() -> str:
        try:
            async with asyncio.timeout(10):
                try:
                    async with asyncio.timeout(5):
                        await workflow.wait_signal("never")
                except TimeoutError:
                    await workflow.wait_signal("never")
        except TimeoutError:
            return "both"

    handle = nested.start()
    engine.run_until_quiet()
    engine.after(20)

    assert handle.result(timeout=0) == "both"
    assert answers(handle)["TimerFired"] == 2


def test_callbacks_of_the_loop_are_timers_and_can_be_canceled(engine):
    @workflow.defn
    async def called() -> list[str]:
        loop, said = asyncio.get_running_loop(), []
        loop.call_later(20, said.append, "second")
        loop.call_at(loop.time() + 10, said.append, "first")
        never = loop.call_later(15, said.append, "never")
        await asyncio.sleep(5)
        never.cancel()
        await asyncio.sleep(20)
        return said

    handle = called.start()
    for _ in range(6):
        engine.after(6)

    assert handle.result(timeout=0) == ["first", "second"]


# --- gather, wait, as_completed, shield, groups


def test_gather_raises_the_first_failure_and_lets_the_others_go_on(engine, work):
    @workflow.defn
    async def gathering() -> list:
        tasks = [asyncio.create_task(work.later(key)) for key in "abc"]
        try:
            await asyncio.gather(*tasks)
        except ActivityError as error:
            return [error.cause.message, await tasks[0], await tasks[2]]

    handle = gathering.start()
    engine.run_until_quiet()
    work.break_("b", "b broke")
    engine.run_until_quiet()
    work.finish("c", "c")
    work.finish("a", "a")

    assert engine.result(handle) == ["b broke", "a", "c"]


def test_gather_can_return_failures(engine, work):
    @workflow.defn
    async def gathering() -> list[str]:
        got = await asyncio.gather(work.double(1), work.fail(), asyncio.sleep(5, "slept"), return_exceptions=True)
        return [type(each).__name__ if isinstance(each, Exception) else str(each) for each in got]

    handle = gathering.start()
    engine.run_until_quiet()
    engine.after(6)

    assert handle.result(timeout=0) == ["2", "ActivityError", "slept"]


@pytest.mark.parametrize("when", ["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"])
def test_wait_ends_when_it_is_told_to(engine, work, when):
    @workflow.defn
    async def waits() -> list[int]:
        tasks = [asyncio.create_task(work.later(key)) for key in "abc"]
        done, pending = await asyncio.wait(tasks, return_when=when)
        for task in pending:
            task.cancel()
        return [len(done), len(pending)]

    handle = waits.start()
    engine.run_until_quiet()
    work.finish("a")
    engine.run_until_quiet()
    if when != "FIRST_COMPLETED":
        work.break_("b")
        engine.run_until_quiet()
    if when == "ALL_COMPLETED":
        work.finish("c")

    assert (
        engine.result(handle) == {"FIRST_COMPLETED": [1, 2], "FIRST_EXCEPTION": [2, 1], "ALL_COMPLETED": [3, 0]}[when]
    )
    assert leftovers() == []


@pytest.mark.parametrize("batch", ["one turn each", "one turn"])
def test_as_completed_gives_results_in_the_order_in_which_they_came(engine, work, batch):
    @workflow.defn
    async def collecting() -> list[str]:
        return [await each for each in asyncio.as_completed([work.later(key) for key in "abcd"])]

    handle = collecting.start()
    engine.run_until_quiet()
    for key in "cadb":
        work.finish(key, key)
        if batch == "one turn each":
            engine.run_until_quiet()

    assert engine.result(handle) == [*"cadb"]


def test_shield_keeps_what_it_shields_when_the_wait_is_canceled(engine, work):
    @workflow.defn
    async def shielding() -> str:
        inner = asyncio.create_task(work.later("a"))
        try:
            await asyncio.shield(inner)
        except asyncio.CancelledError:
            return f"kept: {await inner}"

    handle = shielding.start()
    engine.run_until_quiet()
    handle.cancel()
    engine.run_until_quiet()
    assert handle.status == "running"
    work.finish("a", "a")

    assert engine.result(handle) == "kept: a"
    assert answers(handle)["ActivityCanceled"] == 0


def test_shielded_clean_up_is_not_disturbed_by_a_timeout(engine, work):
    @workflow.defn
    async def cleaning() -> list[str]:
        said = []
        clean_up = None
        try:
            async with asyncio.timeout(10):
                try:
                    await workflow.wait_signal("never")
                finally:
                    clean_up = asyncio.create_task(work.note("cleaned"))
                    said.append(await asyncio.shield(clean_up))
        except TimeoutError:
            said.append("timeout")
        return said

    handle = cleaning.start()
    engine.run_until_quiet()
    engine.after(11)

    assert handle.result(timeout=0) == ["cleaned", "timeout"]


def test_group_that_aborts_calls_its_activities_off_in_the_order_they_were_started(engine, work):
    @workflow.defn
    async def grouping() -> list:
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(8):
                    group.create_task(work.later(str(number)))
        except* ActivityError as failed:
            names = [each.cause.message for each in failed.exceptions]
        await workflow.wait_signal("go")
        return names

    handle = grouping.start()
    engine.run_until_quiet()
    work.break_("3", "three")
    engine.run_until_quiet()
    handle.signal("go")

    assert engine.result(handle) == ["three"]
    ended = [each.event_id for each in handle.history() if each.kind == "ActivityCanceled"]
    assert ended == [0, 1, 2, 4, 5, 6, 7]


def test_two_failures_of_one_turn_are_one_and_the_rest_is_called_off(engine, work):
    """Each event is a step of its own: the group aborts at the first failure, and the second comes too late."""

    @workflow.defn
    async def grouping() -> list[str]:
        try:
            async with asyncio.TaskGroup() as group:
                for key in "abc":
                    group.create_task(work.later(key))
        except* ActivityError as failed:
            said = [each.cause.message for each in failed.exceptions]
        return said

    handle = grouping.start()
    engine.run_until_quiet()
    work.break_("b", "b")
    work.break_("a", "a")

    assert engine.result(handle) == ["b"]


def test_nested_groups_fail_as_a_tree_of_groups(engine, work):
    @workflow.defn
    async def nested() -> None:
        async def inner() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(work.fail("deep"))
                group.create_task(workflow.wait_signal("never"))

        async with asyncio.TaskGroup() as group:
            group.create_task(inner())
            group.create_task(asyncio.sleep(1000))

    handle = nested.start()
    failure = failure_of(engine, handle)

    assert failure.type == "ExceptionGroup"
    (member,) = failure.exceptions
    assert (member.type, [each.type for each in member.exceptions]) == ("ExceptionGroup", ["ActivityError"])
    assert member.exceptions[0].cause.message == "deep"
    assert (answers(handle)["TimerCanceled"], leftovers()) == (1, [])


def test_group_whose_body_fails_cancels_its_tasks_and_lets_them_clean_up(engine, work):
    @workflow.defn
    async def grouping() -> list:
        said = []

        async def careful() -> None:
            try:
                await workflow.wait_signal("never")
            finally:
                said.append(await work.note("cleaned"))

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(careful())
                await work.double(1)
                raise LookupError("body")
        except* LookupError as failed:
            said += [str(each) for each in failed.exceptions]
        return said

    assert engine.result(grouping.start()) == ["cleaned", "body"]


# --- queues, locks and the like


def test_queue_hands_items_to_its_consumers_in_turn(engine, work):
    @workflow.defn
    async def distributing() -> list:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)
        taken = []

        async def consumer(name: str) -> None:
            while True:
                number = await queue.get()
                taken.append([name, await work.double(number)])
                queue.task_done()

        consumers = [asyncio.create_task(consumer(name)) for name in "ab"]
        for number in range(6):
            await queue.put(number)
        await queue.join()
        for each in consumers:
            each.cancel()
        return taken

    handle = distributing.start()
    result = engine.result(handle)

    assert sorted(doubled for _, doubled in result) == [0, 2, 4, 6, 8, 10]
    assert {name for name, _ in result} == {"a", "b"}
    assert sorted(work.ran) == [0, 1, 2, 3, 4, 5]


def test_priority_queue_gives_the_smallest_first(engine):
    @workflow.defn
    async def sorting() -> list[int]:
        queue: asyncio.PriorityQueue[int] = asyncio.PriorityQueue()
        for _ in range(3):
            await queue.put(await workflow.wait_signal("item"))
        return [await queue.get() for _ in range(3)]

    handle = sorting.start()
    for number in (3, 1, 2):
        handle.signal("item", number)

    assert engine.result(handle) == [1, 2, 3]


def test_lock_goes_to_whoever_waited_longest(engine, work):
    @workflow.defn
    async def taking_turns() -> list[str]:
        lock, said = asyncio.Lock(), []

        async def one(name: str) -> None:
            for number in range(2):
                async with lock:
                    said.append(await work.note(f"{name}{number}"))

        await asyncio.gather(*map(one, "abc"))
        return said

    assert engine.result(taking_turns.start()) == ["a0", "b0", "c0", "a1", "b1", "c1"]


def test_lock_whose_waiter_is_canceled_goes_to_the_next(engine, work):
    @workflow.defn
    async def taking_turns() -> list[str]:
        lock, said = asyncio.Lock(), []

        async def one(name: str) -> None:
            async with lock:
                said.append(name)
                await workflow.wait_signal(name)

        tasks = [asyncio.create_task(one(name)) for name in "abc"]
        await workflow.wait_signal("drop b")
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return said

    handle = taking_turns.start()
    engine.run_until_quiet()
    for name in ("drop b", "a", "c"):
        handle.signal(name)

    assert engine.result(handle) == ["a", "c"]


def test_semaphore_bounds_how_many_activities_are_open(engine, work):
    @workflow.defn
    async def bounded() -> list[str]:
        semaphore = asyncio.Semaphore(2)

        async def one(key: str) -> str:
            async with semaphore:
                return await work.later(key)

        return list(await asyncio.gather(*map(one, "abcde")))

    handle = bounded.start()
    open_ = []
    for key in "abcde":
        engine.run_until_quiet()
        open_.append(answers(handle)["ActivityScheduled"] - answers(handle)["ActivityCompleted"])
        work.finish(key, key)

    assert engine.result(handle) == [*"abcde"]
    assert open_ == [2, 2, 2, 2, 1]


def test_event_condition_and_barrier_let_all_go_on_in_order(engine, work):
    @workflow.defn
    async def meeting() -> list[str]:
        event, condition, barrier, said = asyncio.Event(), asyncio.Condition(), asyncio.Barrier(3), []

        async def one(name: str) -> None:
            await event.wait()
            said.append(f"event {name}")
            async with barrier:
                said.append(f"barrier {name}")
            async with condition:
                await condition.wait()
                said.append(f"condition {name}")

        tasks = [asyncio.create_task(one(name)) for name in "abc"]
        await work.double(1)
        event.set()
        await work.double(2)
        async with condition:
            condition.notify_all()
        await asyncio.gather(*tasks)
        return said

    result = engine.result(meeting.start())
    assert result[:3] == ["event a", "event b", "event c"]
    assert sorted(result[3:6]) == ["barrier a", "barrier b", "barrier c"]
    assert result[6:] == [f"condition {each[-1]}" for each in result[3:6]]


def test_context_variables_belong_to_the_tasks_of_one_instance(engine, work):
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    @workflow.defn
    async def contexts(name: str) -> list[str]:
        before = variable.get()
        variable.set(name)

        async def inner() -> str:
            seen = variable.get()
            variable.set("changed inside")
            await work.double(1)
            return seen

        return [before, await asyncio.create_task(inner()), variable.get()]

    variable.set("the worker's")
    one, other = contexts.start("one"), contexts.start("other")

    assert engine.result(one) == ["unset", "one", "one"]
    assert other.result(timeout=0) == ["unset", "other", "other"]


def test_async_generators_and_context_managers_may_await_durable_things(engine, work):
    @workflow.defn
    async def composed() -> list:
        said = []

        class Managed:
            async def __aenter__(self) -> str:
                return await work.note("enter")

            async def __aexit__(self, *_) -> None:
                said.append(await work.note("exit"))

        async def numbers():
            for number in range(3):
                yield await work.double(number)

        async with Managed() as entered:
            said.append(entered)
            said += [number async for number in numbers()]
        return said

    assert engine.result(composed.start()) == ["enter", 0, 2, 4, "exit"]


@pytest.mark.parametrize("call", ["to_thread", "open_connection", "run_in_executor", "create_subprocess_exec"])
def test_what_reaches_outside_fails_the_instance_even_if_it_is_caught(engine, call):
    """Deviation: there it raises, and the task is tried again for ever."""

    async def reach() -> None:
        match call:
            case "to_thread":
                await asyncio.to_thread(print)
            case "open_connection":
                await asyncio.open_connection("localhost", 1)
            case "run_in_executor":
                await asyncio.get_running_loop().run_in_executor(None, print)
            case _:
                await asyncio.create_subprocess_exec("true")

    @workflow.defn
    async def reaching() -> str:
        try:
            await reach()
        except Exception:
            return "caught"

    assert failure_of(engine, reaching.start()).type == "ForbiddenInWorkflow"
