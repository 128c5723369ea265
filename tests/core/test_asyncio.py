"""What asyncio offers works in workflows, and does the same each time."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import pytest

from durable.core import calls, context
from durable.core import commands as cmd
from durable.core import events as ev
from durable.core.errors import ActivityError
from durable.core.replay import replay
from tests.core.histories import (
    STARTED,
    activity,
    begin,
    check_every_cut,
    completed,
    decide,
    failed,
    failure_of,
    fired,
    raised,
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
def a(n: int = 0) -> Any: ...


@activity
def b(n: int = 0) -> Any: ...


# --- sleep


@workflow
async def nap():
    await asyncio.sleep(5)
    return context.time()


NAP = [started(at=100.0), timer(0, 105.0), fired(0, at=107.0), returned(107.0)]


def test_sleep_is_a_timer():
    assert decide(nap, [], NAP[0]).commands == (timer(0, 105.0),)
    assert result_of(decide(nap, NAP)) == 107.0


def test_sleep_returns_its_result():
    @workflow
    async def rested():
        return await asyncio.sleep(5, "rested")

    assert result_of(decide(rested, [STARTED, timer(0, 5.0)], fired(0, at=5.0))) == "rested"


def test_sleep_of_zero_only_yields():
    @workflow
    async def polite():
        order = []

        async def other():
            order.append("other")

        task = asyncio.create_task(other())
        await asyncio.sleep(0)
        order.append("main")
        await task
        return order

    assert decide(polite, [], STARTED).commands == (returned(["other", "main"]),)


@pytest.mark.parametrize(
    "wait",
    [
        lambda: asyncio.sleep(-1),
        lambda: calls.wait_signal("go", timeout=-1),
        lambda: calls.wait_until(lambda: False, timeout=-1),
        lambda: asyncio.wait([asyncio.create_task(a())], timeout=-1),
    ],
    ids=["sleep", "wait_signal", "wait_until", "wait"],
)
def test_negative_timer_is_an_error(wait):
    @workflow
    async def backwards():
        await wait()

    failure = failure_of(decide(backwards, [], STARTED))

    assert failure.type == "InvalidInput"
    assert "cannot be -1 s" in failure.message


def test_endless_timer_is_an_error():
    @workflow
    async def endless():
        await asyncio.sleep(float("inf"))

    assert "cannot be inf s" in failure_of(decide(endless, [], STARTED)).message


def test_timer_created_and_cancelled_in_one_step_leaves_no_command():
    @workflow
    async def quick():
        async with asyncio.timeout(10):
            pass
        task = asyncio.create_task(asyncio.sleep(10))
        await asyncio.sleep(0)
        task.cancel()
        await a()

    assert decide(quick, [], STARTED).commands == (scheduled(2, "a"),)


def test_timer_of_an_earlier_step_that_is_cancelled_says_so():
    @workflow
    async def limited():
        async with asyncio.timeout(10):
            await a()
        await b()

    assert decide(limited, [STARTED, timer(0, 10.0), scheduled(1, "a")], completed(1)).commands == (
        timer_canceled(0),
        scheduled(2, "b"),
    )


def test_callback_of_the_loop_can_be_a_timer():
    @workflow
    async def called():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_later(5, future.set_result, "late")
        loop.call_at(loop.time() + 3, lambda: None)
        loop.call_at(loop.time() - 3, lambda: None)
        loop.call_soon(future.set_exception, ValueError("never")).cancel()
        return await future

    log = [STARTED, timer(0, 5.0), timer(1, 3.0), timer(2, 0.0), fired(2, at=0.1), fired(1, at=3.0)]

    assert result_of(decide(called, log, fired(0, at=5.0))) == "late"


# --- timeout, wait_for


@workflow
async def hurried():
    try:
        async with asyncio.timeout(10):
            return await a()
    except TimeoutError:
        return "too late"


HURRIED = [STARTED, timer(0, 10.0), scheduled(1, "a")]


def test_timeout_ends_the_wait_and_calls_the_activity_off():
    decision = decide(hurried, HURRIED, fired(0, at=10.0))

    assert decision.commands == (cmd.CancelActivity(event_id=1), returned("too late"))


def test_answer_in_time_cancels_the_timer():
    assert decide(hurried, HURRIED, completed(1, "ok")).commands == (timer_canceled(0), returned("ok"))


@workflow
async def waiting_for():
    try:
        return await asyncio.wait_for(a(), 10)
    except TimeoutError:
        return "too late"


def test_wait_for_ends_the_wait_and_calls_the_activity_off():
    log = [STARTED, *decide(waiting_for, [], STARTED).commands]
    ids = {type(event): event.event_id for event in log[1:]}

    late = decide(waiting_for, log, fired(ids[ev.TimerStarted], at=10.0))
    in_time = decide(waiting_for, log, completed(ids[ev.ActivityScheduled], "ok"))

    assert late.commands == (cmd.CancelActivity(event_id=ids[ev.ActivityScheduled]), returned("too late"))
    assert in_time.commands == (timer_canceled(ids[ev.TimerStarted]), returned("ok"))


def test_wait_for_without_time_leaves_no_command():
    @workflow
    async def at_once():
        try:
            await asyncio.wait_for(asyncio.sleep(5), 0)
        except TimeoutError:
            return "too late"

    assert decide(at_once, [], STARTED).commands == (returned("too late"),)


def test_timeout_can_be_moved():
    @workflow
    async def patient():
        async with asyncio.timeout(10) as limit:
            await a()
            limit.reschedule(context.time() + 8)
            await a()

    assert decide(patient, [STARTED, timer(0, 10.0), scheduled(1, "a")], completed(1, at=7.0)).commands == (
        timer_canceled(0),
        timer(2, 15.0),
        scheduled(3, "a"),
    )


# --- gather


@workflow
async def fan_out(n: int):
    return await asyncio.gather(*(a(i) for i in range(n)))


FAN_OUT = [
    started(3), scheduled(0, "a", 0), scheduled(1, "a", 1), scheduled(2, "a", 2),
    completed(2, "z"), completed(0, "x"), completed(1, "y"), returned(["x", "y", "z"]),
]  # fmt: skip


def test_gather_schedules_in_order_and_joins_in_order():
    assert decide(fan_out, [], FAN_OUT[0]).commands == tuple(FAN_OUT[1:4])
    assert result_of(decide(fan_out, FAN_OUT)) == ["x", "y", "z"]


def test_gather_raises_the_first_failure():
    failure = failure_of(decide(fan_out, FAN_OUT[:5], failed(1, "DeclinedError", "no money")))

    assert (failure.type, failure.cause.type) == ("ActivityError", "DeclinedError")


def test_gather_can_return_failures():
    @workflow
    async def tolerant():
        results = await asyncio.gather(a(), b(), return_exceptions=True)
        return [isinstance(result, ActivityError) for result in results]

    log = [STARTED, scheduled(0, "a"), scheduled(1, "b"), failed(1)]

    assert result_of(decide(tolerant, log, completed(0))) == [False, True]


# --- wait, as_completed


@workflow
async def first_of(n: int):
    tasks = [asyncio.create_task(a(i)) for i in range(n)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return [task.result() for task in done]


def test_wait_gives_its_tasks_in_order_of_creation():
    log = [started(5), *(scheduled(i, "a", i) for i in range(5))]

    assert decide(first_of, log, completed(2, "won")).commands == (
        *(cmd.CancelActivity(event_id=i) for i in (0, 1, 3, 4)),
        returned(["won"]),
    )


def test_wait_can_have_a_timeout():
    @workflow
    async def glance():
        done, pending = await asyncio.wait([asyncio.create_task(a()), asyncio.create_task(b())], timeout=5)
        return len(done), len(pending)

    log = [STARTED, timer(0, 5.0), scheduled(1, "a"), scheduled(2, "b"), completed(2)]

    assert result_of(decide(glance, log, fired(0, at=5.0))) == [1, 1]


@workflow
async def as_they_come(n: int):
    return [await result for result in asyncio.as_completed([a(i) for i in range(n)])]


def test_as_completed_starts_coroutines_in_the_order_given():
    log = [started(9), *decide(as_they_come, [], started(9)).commands]

    assert log[1:] == [scheduled(i, "a", i) for i in range(9)]
    log += [completed(i, i) for i in (5, 3, 8, 0, 1, 2, 4, 6)]
    assert result_of(decide(as_they_come, log, completed(7, 7))) == [5, 3, 8, 0, 1, 2, 4, 6, 7]


def test_as_completed_can_have_a_timeout():
    @workflow
    async def impatient():
        results = []
        try:
            for result in asyncio.as_completed([a(), b()], timeout=5):
                results.append(await result)  # noqa: PERF401 - what came before the timeout counts
        except TimeoutError:
            return results

    issued = decide(impatient, [], STARTED).commands
    assert sorted(issued, key=lambda event: event.event_id) == [timer(0, 5.0), scheduled(1, "a"), scheduled(2, "b")]
    assert result_of(decide(impatient, [STARTED, *issued, completed(2, "b")], fired(0, at=5.0))) == ["b"]


def test_as_completed_takes_one_awaitable_once():
    @workflow
    async def twice():
        task = asyncio.create_task(a())
        return [await result for result in asyncio.as_completed([task, task])]

    assert result_of(decide(twice, [STARTED, scheduled(0, "a")], completed(0, "once"))) == ["once"]


@pytest.mark.parametrize("wrong", [lambda: asyncio.get_running_loop().create_future(), lambda: 5])
def test_as_completed_refuses_what_it_always_refused(wrong):
    @workflow
    async def confused():
        list(asyncio.as_completed(wrong()))

    assert failure_of(decide(confused, [], STARTED)).type == "TypeError"


def test_outside_workflows_sleep_and_as_completed_are_what_they_were():
    async def script():
        async def number(n):
            await asyncio.sleep(-1)
            return n

        assert asyncio.iscoroutinefunction(asyncio.sleep)
        assert await asyncio.sleep(-1, "at once") == "at once"
        return sorted([await result for result in asyncio.as_completed([number(1), number(2)], timeout=5)])

    assert asyncio.run(script()) == [1, 2]


# --- TaskGroup, create_task, shield


@workflow
async def group(n: int):
    async with asyncio.TaskGroup() as tasks:
        for i in range(n):
            tasks.create_task(a(i))
    return "all done"


GROUP = [started(4), *(scheduled(i, "a", i) for i in range(4))]


def test_task_group_waits_for_all():
    log = [*GROUP, completed(3), completed(1), completed(0)]

    assert result_of(decide(group, log, completed(2))) == "all done"


def test_task_group_calls_the_others_off_in_order_when_one_fails():
    decision = decide(group, GROUP, failed(1, "DeclinedError"))

    assert decision.commands[:3] == tuple(cmd.CancelActivity(event_id=i) for i in (0, 2, 3))
    failure = failure_of(decision)
    assert failure.type == "ExceptionGroup"
    assert [member.type for member in failure.exceptions] == ["ActivityError"]


def test_task_goes_on_while_main_does_other_things():
    @workflow
    async def parallel():
        task = asyncio.create_task(a())
        first = await b()
        return [first, await task, task.done()]

    log = [STARTED, scheduled(0, "b"), scheduled(1, "a"), completed(1, "a")]

    assert result_of(decide(parallel, log, completed(0, "b"))) == ["b", "a", True]


def test_task_cancelled_before_it_starts_leaves_no_command():
    @workflow
    async def hasty():
        task = asyncio.create_task(a())
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            await b()

    assert decide(hasty, [], STARTED).commands == (scheduled(0, "b"),)


def test_activity_called_off_in_the_step_that_asked_for_it_leaves_no_command():
    @workflow
    async def undecided():
        task = asyncio.create_task(a())
        await asyncio.sleep(0)
        task.cancel()
        await b()

    assert decide(undecided, [], STARTED).commands == (scheduled(1, "b"),)


def test_shield_keeps_the_activity_when_the_wait_ends():
    @workflow
    async def shielded():
        work = asyncio.create_task(a())
        try:
            async with asyncio.timeout(5):
                return await asyncio.shield(work)
        except TimeoutError:
            return await work

    log = [STARTED, timer(0, 5.0), scheduled(1, "a")]

    assert decide(shielded, log, fired(0, at=5.0)).commands == ()
    assert result_of(decide(shielded, [*log, fired(0, at=5.0)], completed(1, "saved"))) == "saved"


def test_failure_that_nobody_looks_at_passes_silently():
    @workflow
    async def careless():
        task = asyncio.create_task(a())
        await b()
        return task.done()

    assert result_of(decide(careless, [STARTED, scheduled(0, "b"), scheduled(1, "a"), failed(1)], completed(0))) is True


# --- Queue, Event, Lock, Semaphore, Condition


@workflow
async def bench():
    """Uses each of asyncio's primitives of synchronisation."""
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
    lock, event, semaphore, condition = asyncio.Lock(), asyncio.Event(), asyncio.Semaphore(2), asyncio.Condition()
    said = []

    async def producer():
        for i in range(3):
            await queue.put(await a(i))
        event.set()

    async def consumer(name: str):
        await event.wait()
        async with semaphore, lock:
            said.append([name, await b()])
        async with condition:
            condition.notify_all()

    async def watcher():
        async with condition:
            await condition.wait_for(lambda: len(said) == 3)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(producer())
        tasks.create_task(watcher())
        for name in "xyz":
            tasks.create_task(consumer(name))
        got = [await queue.get() for _ in range(3)]
    return [got, said]


BENCH: list[Any] = [
    STARTED,
    scheduled(0, "a", 0), completed(0, 10),
    scheduled(1, "a", 1), completed(1, 11),
    scheduled(2, "a", 2), completed(2, 12),
    scheduled(3, "b"), completed(3, 13),
    scheduled(4, "b"), completed(4, 14),
    scheduled(5, "b"), completed(5, 15),
    returned([[10, 11, 12], [["x", 13], ["y", 14], ["z", 15]]]),
]  # fmt: skip


def test_queue_event_lock_semaphore_and_condition_work():
    assert result_of(decide(bench, BENCH)) == BENCH[-1].result


def test_loop_answers_what_libraries_ask_it():
    @workflow
    async def curious():
        loop = asyncio.get_running_loop()
        await loop.shutdown_asyncgens()
        return [
            loop.get_debug(),
            loop.is_running(),
            loop.is_closed(),
            loop.get_task_factory(),
            loop.get_exception_handler(),
            loop.default_exception_handler({}),
            [task.get_name() for task in asyncio.all_tasks()],
            asyncio.create_task(asyncio.sleep(0)).get_name(),
            asyncio.create_task(asyncio.sleep(0), name="mine").get_name(),
        ]

    assert result_of(decide(curious, [], STARTED)) == [
        False, True, False, None, None, None, ["main"], "task-2", "mine",
    ]  # fmt: skip


def test_callback_that_raises_fails_nobody():
    @workflow
    async def unlucky():
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        return await a()

    assert result_of(decide(unlucky, [STARTED, scheduled(0, "a")], completed(0, "ok"))) == "ok"


# --- another process


@workflow
async def shuffled():
    """Goes through every set that asyncio keeps, and asks for something at each member."""
    tasks = [asyncio.create_task(a(i)) for i in range(8)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in [*done, *pending]:
        task.cancel()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        await b(int(task.get_name().removeprefix("task-")))
    for result in asyncio.as_completed({asyncio.create_task(b(i)) for i in range(8)}):
        await result
        break
    for future in {asyncio.get_running_loop().create_future() for _ in range(8)}:
        begin(b(hash(future)))
    try:
        async with asyncio.TaskGroup() as together:
            for i in range(8):
                together.create_task(cleaning(i))
            together.create_task(a(-1))
    except ExceptionGroup:
        pass
    return [await result for result in asyncio.as_completed([a(200 + i) for i in range(8)])]


async def cleaning(n: int):
    try:
        await a(n)
    except asyncio.CancelledError:
        await b(1000 + n)
        raise


def story() -> list[str]:
    """Run ``shuffled`` to its end, answering what it asks for, and return all that it asked for."""
    log: list[ev.Event] = []
    said: list[str] = []
    answers: list[ev.Event] = [STARTED]
    while answers:
        event = answers.pop(0)
        decision = replay(shuffled, log, [event])
        log += [event, *(c for c in decision.commands if isinstance(c, cmd.Recordable))]
        said += [f"{c!r}" for c in decision.commands]
        for command in decision.commands:
            if isinstance(command, ev.ActivityScheduled):
                refused = command.name == "a" and command.input["args"] == [-1]
                answers.append(failed(command.event_id) if refused else completed(command.event_id))
            elif isinstance(command, cmd.CancelActivity):
                answers.append(ev.ActivityCanceled(event_id=command.event_id))
    check_every_cut(shuffled, log)
    return said


def test_sets_of_tasks_have_one_order_in_every_process():
    here = story()

    assert here[-1] == repr(returned([None] * 8))
    for seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-m", "tests.core.test_asyncio", seed],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.splitlines() == here


def test_signal_arrives_while_others_wait():
    @workflow
    async def either():
        tasks = [asyncio.create_task(calls.wait_signal("go")), asyncio.create_task(a())]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return [task.result() for task in done]

    assert result_of(decide(either, [STARTED, scheduled(0, "a")], signal("go", "now"))) == ["now"]


def test_exception_of_a_task_is_recorded_with_its_class():
    @workflow
    async def broken():
        raise LookupError("nothing there")

    assert decide(broken, [STARTED, raised("LookupError")]).outcome is not None
    assert failure_of(decide(broken, [], STARTED)).message == "nothing there"


if __name__ == "__main__":
    # Another heap, so that addresses fall otherwise.
    ballast = [bytearray(int(sys.argv[1]) * n) for n in range(5_000)]
    sys.stdout.write("\n".join(story()) + "\n")
