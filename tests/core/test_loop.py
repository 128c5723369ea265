"""The loop keeps to itself: its own contexts, its own turn as the running loop, its own end."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
from typing import Any

import pytest

from durable.core import calls, context, marks, stepping
from durable.core import events as ev
from durable.core.execution import Execution
from durable.core.exits import DurableExit
from durable.core.loop import DeterministicLoop
from durable.core.payloads import Converter
from tests.core.histories import (
    STARTED,
    activity,
    begin,
    completed,
    decide,
    result_of,
    returned,
    scheduled,
    workflow,
)

LANGUAGE = contextvars.ContextVar("LANGUAGE", default="en")


@activity
def a() -> Any: ...


def live(definition: Any, *events: Any, **options: Any) -> Execution:
    """Return an execution that saw these events."""
    execution = Execution(definition, converter=Converter(), **options)
    for event in events or (STARTED,):
        stepping.step(execution, event)
    return execution


@pytest.fixture
def german():
    token = LANGUAGE.set("de")
    yield
    LANGUAGE.reset(token)


# --- contexts


@pytest.mark.usefixtures("german")
def test_context_is_fresh_and_not_that_of_whoever_runs_the_step():
    @workflow
    async def speaking():
        async def child():
            return LANGUAGE.get()

        seen = [LANGUAGE.get(), await asyncio.create_task(child())]
        await a()
        return [*seen, LANGUAGE.get()]

    assert result_of(decide(speaking, [STARTED, scheduled(0, "a")], completed(0))) == ["en", "en", "en"]


@pytest.mark.usefixtures("german")
def test_workflow_keeps_what_it_sets_and_nobody_else_sees_it():
    @workflow
    async def speaking():
        LANGUAGE.set("fr")
        await a()
        return LANGUAGE.get()

    assert live(speaking, STARTED, completed(0)).outcome == returned("fr")
    assert LANGUAGE.get() == "de"


@pytest.mark.usefixtures("german")
def test_condition_is_looked_at_in_the_context_of_whoever_waits():
    @workflow
    async def choosy():
        seen: list[str] = []
        LANGUAGE.set("fr")
        await calls.wait_until(lambda: [seen.append(LANGUAGE.get()), len(seen) == 2][1])  # type: ignore[func-returns-value]
        return seen

    assert result_of(decide(choosy, [], STARTED)) == ["fr", "fr"]


def test_task_can_be_given_a_context():
    @workflow
    async def giving():
        async def child():
            return LANGUAGE.get()

        LANGUAGE.set("fr")
        given = contextvars.Context()
        given.run(LANGUAGE.set, "es")
        loop = asyncio.get_running_loop()
        empty = contextvars.Context()
        return [await loop.create_task(child(), context=c) for c in (given, empty, None)]

    assert result_of(decide(giving, [], STARTED)) == ["es", "en", "fr"]


def test_execution_can_prepare_its_context_from_inside():
    @workflow
    async def speaking():
        return LANGUAGE.get()

    execution = live(speaking, enter=lambda: LANGUAGE.set("it"))

    assert execution.outcome == returned("it")
    assert LANGUAGE.get() == "en"


# --- the running loop


def test_running_loop_is_restored_after_a_step():
    assert asyncio._get_running_loop() is None

    @workflow
    async def looking():
        assert isinstance(asyncio.get_running_loop(), DeterministicLoop)

    assert live(looking).outcome == returned()
    assert asyncio._get_running_loop() is None


@pytest.mark.skipif("sys.version_info >= (3, 14)", reason="3.14 lets no task enter while another one is at work")
def test_steps_can_be_taken_inside_another_loop():
    @workflow
    async def looking():
        await asyncio.sleep(0)
        return await asyncio.gather(a(), a())

    async def outer():
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        result = result_of(decide(looking, [STARTED, scheduled(0, "a"), scheduled(1, "a"), completed(0)], completed(1)))
        assert (asyncio.get_running_loop(), asyncio.current_task()) == (loop, task)
        await asyncio.sleep(0)
        return result

    assert asyncio.run(outer()) == [None, None]


def told_to_stop():
    """Raise what a pool raises from a signal handler, from a frame of its own."""
    exec(compile("raise SystemExit", "pool.py", "exec"), {"__name__": "billiard.common"})


def interrupted():
    raise KeyboardInterrupt


@pytest.mark.parametrize(("interruption", "interrupt"), [(SystemExit, told_to_stop), (KeyboardInterrupt, interrupted)])
def test_interruption_comes_out_of_the_step(interruption, interrupt):
    @workflow
    async def stopping():
        try:
            interrupt()
        except Exception:
            return "swallowed"

    execution = Execution(stopping, converter=Converter())

    with pytest.raises(interruption):
        stepping.step(execution, STARTED)

    assert execution.outcome is None
    assert asyncio._get_running_loop() is None
    execution.close()


def test_exit_called_by_the_code_itself_fails_the_execution():
    @workflow
    async def leaving():
        sys.exit(3)

    execution = live(leaving)

    assert isinstance(execution.outcome, ev.ExecutionFailed)
    assert execution.outcome.failure.type == "SystemExit"
    execution.close()


def test_step_that_is_interrupted_from_outside_ends_with_the_reason():
    class TooSlowError(BaseException):
        pass

    @workflow
    async def busy():
        execution.interrupt(TooSlowError("2 s"))
        try:
            await a()
        except BaseException:
            return "swallowed"

    execution = Execution(busy, converter=Converter())

    with pytest.raises(TooSlowError, match="2 s"):
        stepping.step(execution, STARTED)

    execution.close()


# --- callbacks


class Telling(DeterministicLoop):
    """Keeps what asyncio reports."""

    def __init__(self) -> None:
        super().__init__(owner=None, start_timer=lambda *_: 0, cancel_timer=lambda _: None)
        self.told: list[dict[str, Any]] = []

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.told.append(context)


def telling() -> Any:
    return Telling()  # type: ignore[abstract]


def test_cancelled_callback_is_not_run():
    loop = telling()
    said: list[int] = []

    loop.call_soon(said.append, 1)
    ready = loop.call_soon(said.append, 2)
    ready.cancel()
    timer = loop.call_later(5, said.append, 3)
    loop.fire(timer)
    timer.cancel()
    loop.drain()

    assert (said, loop.told, ready.cancelled(), timer.cancelled()) == ([1], [], True, True)


def test_callbacks_run_in_order_and_nothing_runs_once_it_is_stopped():
    loop = telling()
    said: list[int] = []

    def stop():
        loop.stopped = True

    loop.call_soon(said.append, 1)
    loop.call_soon(stop)
    loop.call_soon(said.append, 2)
    loop.drain()

    assert said == [1]


def test_futures_and_tasks_are_hashed_by_their_order_and_equal_only_themselves():
    loop, other = telling(), telling()

    async def nothing():
        pass

    futures = [loop.create_future(), loop.create_task(nothing()), loop.create_future(), loop.create_task(nothing())]

    assert [hash(each) for each in futures] == [1, 2, 3, 4]
    assert futures[0] != other.create_future()
    backwards = futures[::-1]
    assert list(set(backwards)) == futures
    loop.drain()


# --- putting away


@workflow
async def tidy():
    token = LANGUAGE.set("fr")
    try:
        await a()
    except asyncio.CancelledError:
        memory.append("compensated")
    finally:
        LANGUAGE.reset(token)
        memory.append("closed")


memory: list[Any] = []


@pytest.fixture(autouse=True)
def _forget():
    memory.clear()


def test_closing_runs_finally_and_not_the_compensation():
    execution = live(tidy)

    execution.close()

    assert memory == ["closed"]
    assert execution.loop.is_closed()


def test_closing_runs_here_with_the_running_loop_set_and_restored():
    @workflow
    async def looking():
        try:
            await a()
        finally:
            memory.append(asyncio.get_running_loop())

    execution = live(looking)

    execution.close()

    assert memory == [execution.loop]
    assert asyncio._get_running_loop() is None


def test_closing_unwinds_every_task_the_youngest_first():
    @workflow
    async def family():
        async def child(n: int):
            token = LANGUAGE.set(str(n))
            try:
                await a()
            finally:
                LANGUAGE.reset(token)
                memory.append(n)

        try:
            await asyncio.gather(*(child(n) for n in range(3)))
        finally:
            memory.append("parent")

    live(family).close()

    assert memory == [2, 1, 0, "parent"]


def test_closing_lets_nothing_be_asked_for():
    @workflow
    async def insistent():
        task = asyncio.create_task(a())
        child = family.start_child()
        try:
            async with asyncio.timeout(60):
                await calls.wait_signal("go")
        finally:
            task.cancel()
            child.cancel()
            coroutine = a()
            asks: list[Any] = [lambda: coroutine.send(None), lambda: begin(a()), lambda: marks.side_effect(list)]
            for ask in asks:
                try:
                    ask()
                except BaseException as error:
                    memory.append(type(error))

    @workflow
    async def family() -> None: ...

    execution = live(insistent)
    before = dict(execution.open)

    execution.close()

    assert memory == [DurableExit, RuntimeError, DurableExit]
    assert execution.open == before


def test_closing_goes_through_a_finally_that_waits():
    @workflow
    async def slow():
        try:
            try:
                try:
                    await a()
                finally:
                    await asyncio.sleep(0)
            finally:
                await calls.wait_signal("go")
        finally:
            memory.append("closed")

    execution = live(slow)

    execution.close()

    assert memory == ["closed"]


def test_closing_goes_through_a_task_group():
    @workflow
    async def group():
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(tidy.fn())
                tasks.create_task(tidy.fn())
        finally:
            memory.append("parent")

    live(group).close()

    assert memory == ["closed", "closed", "parent"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_closing_cannot_be_held_up_by_code_that_swallows_everything():
    @workflow
    async def immortal():
        while True:
            try:
                await a()
            except BaseException:
                await asyncio.sleep(0)

    execution = live(immortal)

    execution.close()

    del execution
    gc.collect()


def test_closing_unwinds_an_async_generator_that_waits():
    @workflow
    async def iterating():
        async def items():
            try:
                yield await a()
            finally:
                memory.append(context.running() is not None)
                await a()

        async for _ in items():
            pass

    live(iterating).close()

    assert memory == [True], "on this thread, in its own loop, and without a word on stderr"


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
def test_error_in_a_finally_does_not_stop_the_closing(error):
    @workflow
    async def clumsy():
        try:
            await tidy.fn()
        finally:
            raise error

    live(clumsy).close()

    assert memory == ["closed"]


def test_closing_twice_and_after_the_end_does_nothing():
    execution = live(tidy, STARTED, completed(0))
    assert memory == ["closed"]

    execution.close()
    execution.close()

    assert memory == ["closed"]


def test_closing_leaves_tasks_alone_that_have_ended_or_never_began():
    @workflow
    async def leaving():
        await asyncio.create_task(asyncio.sleep(0))
        begin(tidy.fn())
        calls.continue_as_new()

    live(leaving, STARTED).close()

    assert memory == []


def test_step_after_the_end_changes_nothing():
    execution = live(tidy, STARTED, completed(0))

    assert stepping.step(execution, completed(0)) == []
    assert execution.outcome == returned()
