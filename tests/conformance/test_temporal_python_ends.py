"""How work ends in Temporal's Python SDK: cancellation in all forms, exceptions, children, continue-as-new, patches."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from durable import ActivityError, ChildFailed, RetryPolicy, WorkflowFailed, activity, client, registry, workflow
from durable.core.replay import interpreter
from durable.models import HistoryEvent
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


# --- cancel, wherever the code waits


async def _activity(work, _):
    await work.later("a")


async def _timer(*_):
    await asyncio.sleep(1000)


async def _child(_, waiting):
    await waiting.options(id="kid")()


async def _signal(*_):
    await workflow.wait_signal("never")


async def _signal_with_timeout(*_):
    await workflow.wait_signal("never", timeout=1000)


async def _condition(*_):
    await workflow.wait_until(lambda: False)


async def _condition_with_timeout(*_):
    await workflow.wait_until(lambda: False, timeout=1000)


async def _gather(work, waiting):
    await asyncio.gather(work.later("a"), asyncio.sleep(1000), waiting.options(id="kid")())


async def _group(work, _):
    async with asyncio.TaskGroup() as group:
        group.create_task(work.later("a"))
        group.create_task(asyncio.sleep(1000))


async def _wait(work, _):
    tasks = [asyncio.create_task(work.later("a")), asyncio.create_task(asyncio.sleep(1000))]
    try:
        await asyncio.wait(tasks)
    finally:
        for task in tasks:  # asyncio.wait leaves them alone
            task.cancel()


async def _as_completed(work, _):
    tasks = [asyncio.create_task(work.later("a")), asyncio.create_task(asyncio.sleep(1000))]
    try:
        for each in asyncio.as_completed(tasks):
            await each
    finally:
        for task in tasks:
            task.cancel()


async def _wait_for(work, _):
    await asyncio.wait_for(work.later("a"), 1000)


async def _timeout(work, _):
    async with asyncio.timeout(1000):
        await work.later("a")


async def _queue(*_):
    await asyncio.Queue().get()


async def _full_queue(*_):
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    await queue.put(1)
    await queue.put(2)


async def _lock(*_):
    lock = asyncio.Lock()
    async with lock, lock:
        pass


async def _semaphore(*_):
    async with asyncio.Semaphore(0):
        pass


async def _event(*_):
    await asyncio.Event().wait()


async def _barrier(*_):
    await asyncio.Barrier(2).wait()


async def _asyncio_condition(*_):
    condition = asyncio.Condition()
    async with condition:
        await condition.wait()


async def _receive(*_):
    channel: workflow.Channel[int] = workflow.Channel()
    await channel.receive()


async def _send(*_):
    channel: workflow.Channel[int] = workflow.Channel()
    await channel.send(1)


async def _select(*_):
    await workflow.select(workflow.receive(workflow.signals("never"), lambda *_: None))


async def _future(*_):
    await asyncio.get_running_loop().create_future()


WAITS = [
    _activity, _timer, _child, _signal, _signal_with_timeout, _condition, _condition_with_timeout, _gather, _group,
    _wait, _as_completed, _wait_for, _timeout, _queue, _full_queue, _lock, _semaphore, _event, _barrier,
    _asyncio_condition, _receive, _send, _select, _future,
]  # fmt: skip
NAMES = {"ids": lambda wait: wait.__name__[1:].replace("_", " ")}


@pytest.mark.parametrize("wait", WAITS, **NAMES)
def test_cancel_ends_any_wait_and_the_code_may_clean_up(engine, work, waiting, wait):
    @workflow.defn
    async def outer() -> None:
        try:
            await wait(work, waiting)
        except asyncio.CancelledError:
            await work.note("cleaned up")
            raise

    handle = outer.start()
    engine.run_until_quiet()
    handle.cancel()
    engine.run_until_quiet()

    assert (handle.status, work.ran) == ("canceled", ["cleaned up"])
    assert leftovers() == []
    if "kid" in str(handle.history()):
        # It is asked to stop, and ended with its parent if that was quicker.
        assert client.status("kid") in ("canceled", "terminated")
    counted = answers(handle)
    assert counted["TimerCanceled"] == counted["TimerStarted"]
    assert counted["ActivityCanceled"] + counted["ActivityCompleted"] == counted["ActivityScheduled"]


@pytest.mark.parametrize("wait", WAITS, **NAMES)
def test_cancel_before_the_first_step_reaches_the_first_wait_and_asks_for_nothing(engine, work, waiting, wait):
    @workflow.defn
    async def outer() -> None:
        await wait(work, waiting)

    handle = outer.start()
    handle.cancel()
    engine.run_until_quiet()

    assert (handle.status, leftovers()) == ("canceled", [])
    assert not work.tokens, "no activity began"


@pytest.mark.parametrize("wait", WAITS, **NAMES)
def test_cancel_of_a_task_ends_its_wait_and_nothing_else(engine, work, waiting, wait):
    @workflow.defn
    async def outer() -> list:
        task = asyncio.create_task(wait(work, waiting))
        await workflow.wait_signal("stop")
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return [task.cancelled(), workflow.cancelled(), await work.double(1)]

    handle = outer.start()
    engine.run_until_quiet()
    handle.signal("stop")

    assert engine.result(handle) == [True, False, 2]
    assert leftovers() == []


@pytest.mark.parametrize("first", ["answer", "cancel"])
@pytest.mark.parametrize("kind", ["activity", "timer", "child", "signal", "condition"])
def test_cancel_and_answer_of_one_turn_are_taken_in_the_order_in_which_they_came(engine, work, waiting, kind, first):
    @workflow.defn
    async def outer() -> list[str]:
        said = []

        async def wait() -> None:
            match kind:
                case "activity":
                    await work.later("a")
                case "timer":
                    await asyncio.sleep(10)
                case "child":
                    await waiting.options(id="kid")()
                case "signal":
                    await workflow.wait_signal("answer")
                case _:
                    await workflow.wait_until(lambda: len(workflow.signals("answer")))

        for _ in range(2):
            try:
                await wait() if not said else await workflow.wait_signal("next")
                said.append("answer")
            except asyncio.CancelledError:
                said.append("cancel")
        return said

    def answer() -> None:
        match kind:
            case "activity":
                work.finish("a")
            case "timer":
                engine.forward(11)
            case "child":
                client.signal("kid", "go", "x")
                engine.advance_only("kid")
            case _:
                handle.signal("answer")

    handle = outer.start()
    engine.run_until_quiet()
    for act in (answer, handle.cancel) if first == "answer" else (handle.cancel, answer):
        act()
    handle.signal("next")

    assert engine.result(handle) == (["answer", "cancel"] if first == "answer" else ["cancel", "answer"])


def test_second_cancel_is_ignored_and_does_not_disturb_the_clean_up(engine, work):
    @workflow.defn
    async def cleaning() -> str:
        try:
            await workflow.wait_signal("never")
        finally:
            await work.note(await workflow.wait_signal("clean up"))

    handle = cleaning.start()
    engine.run_until_quiet()
    for _ in range(3):
        handle.cancel()
        engine.run_until_quiet()
    handle.signal("clean up", "done")
    engine.run_until_quiet()

    assert (handle.status, work.ran) == ("canceled", ["done"])
    assert answers(handle)["CancelRequested"] == 1


def test_cancel_does_not_reach_tasks_that_main_does_not_wait_for(engine, work):
    @workflow.defn
    async def outer() -> str:
        aside = asyncio.create_task(work.later("aside"))
        try:
            await workflow.wait_signal("never")
        except asyncio.CancelledError:
            return await aside

    handle = outer.start()
    engine.run_until_quiet()
    handle.cancel()
    engine.run_until_quiet()
    work.finish("aside", "undisturbed")

    assert engine.result(handle) == "undisturbed"


def test_canceled_activity_raises_cancelled_error_and_not_an_activity_error(engine, work):
    """Deviation: there an ``except Exception`` around an activity swallows the cancel."""

    @workflow.defn
    async def outer() -> None:
        try:
            await work.later("a")
        except Exception:
            await work.note("swallowed")

    handle = outer.start()
    engine.run_until_quiet()
    handle.cancel()
    engine.run_until_quiet()

    assert (handle.status, work.ran) == ("canceled", [])


def test_workflow_that_swallows_the_cancel_goes_on_to_complete(engine, work):
    @workflow.defn
    async def stubborn() -> list:
        with contextlib.suppress(asyncio.CancelledError):
            await workflow.wait_signal("never")
        return [workflow.cancelled(), await work.double(1)]

    handle = stubborn.start()
    engine.run_until_quiet()
    handle.cancel()

    assert engine.result(handle) == [True, 2]
    assert handle.status == "completed"


def test_cancelled_error_that_nobody_asked_for_fails_the_workflow(engine):
    @workflow.defn
    async def raising() -> None:
        raise asyncio.CancelledError("by myself")

    assert failure_of(engine, raising.start()).type == "CancelledError"


def test_error_raised_while_cleaning_up_fails_the_workflow_and_keeps_its_cause(engine):
    @workflow.defn
    async def clumsy() -> None:
        try:
            await workflow.wait_signal("never")
        except asyncio.CancelledError as error:
            raise ValueError("slipped") from error

    handle = clumsy.start()
    engine.run_until_quiet()
    handle.cancel()
    failure = failure_of(engine, handle)

    assert (failure.type, failure.cause.type) == ("ValueError", "CancelledError")


@pytest.mark.parametrize("first", ["timeout", "cancel"])
def test_cancel_and_timeout_of_one_turn_are_told_apart(engine, first):
    @workflow.defn
    async def outer() -> list[str]:
        said = []
        try:
            try:
                async with asyncio.timeout(10):
                    await workflow.wait_signal("never")
            except TimeoutError:
                said.append("timeout")
                await workflow.wait_signal("never")
        except asyncio.CancelledError:
            said.append("cancel")
        return said

    handle = outer.start()
    engine.run_until_quiet()
    if first == "timeout":
        engine.forward(11)
        handle.cancel()
    else:
        handle.cancel()
        engine.forward(11)

    assert engine.result(handle) == {"timeout": ["timeout", "cancel"], "cancel": ["cancel"]}[first]


def test_task_canceled_before_it_began_asks_for_nothing(engine, work):
    @workflow.defn
    async def hasty() -> list:
        task = asyncio.create_task(work.double(1))
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
        return [type(each).__name__ for each in results]

    handle = hasty.start()

    assert engine.result(handle) == ["CancelledError"]
    assert (work.ran, kinds(handle)) == ([], ["ExecutionStarted", "ExecutionCompleted"])


def test_activity_canceled_in_the_step_that_asked_for_it_never_runs(engine, work):
    @workflow.defn
    async def hasty() -> str:
        task = asyncio.create_task(work.double(1))
        await asyncio.sleep(0)
        task.cancel()
        return await work.note("other")

    handle = hasty.start()

    assert engine.result(handle) == "other"
    assert work.ran == ["other"]
    assert answers(handle)["ActivityScheduled"] == 1


def test_clean_up_in_an_async_generator_and_a_context_manager_runs_on_cancel(engine, work):
    @workflow.defn
    async def outer() -> None:
        class Managed:
            async def __aenter__(self) -> None: ...

            async def __aexit__(self, kind, *_) -> None:
                await work.note(f"manager saw {kind.__name__}")

        async def items():
            try:
                while True:
                    yield await workflow.wait_signal("item")
            finally:
                await work.note("generator closed")

        async with Managed():
            async for _ in items():
                pass

    handle = outer.start()
    handle.signal("item")
    engine.run_until_quiet()
    handle.cancel()
    engine.run_until_quiet()

    assert handle.status == "canceled"
    assert work.ran == ["generator closed", "manager saw CancelledError"]


def test_compensations_run_in_reverse_when_a_saga_is_canceled(engine, work, path):
    @workflow.defn
    async def trip() -> None:
        undo = []
        try:
            for what in ("car", "hotel"):
                await work.note(f"book {what}")
                undo.append(what)
            await workflow.wait_signal("paid")
        except asyncio.CancelledError:
            for what in reversed(undo):
                await work.note(f"cancel {what}")
            raise

    handle = trip.start()
    engine.run_until_quiet()
    handle.cancel()
    engine.run_until_quiet()

    assert handle.status == "canceled"
    assert work.ran == ["book car", "book hotel", "cancel hotel", "cancel car"]


def test_child_that_cancels_its_own_task_completes(engine, work):
    @workflow.defn
    async def child() -> str:
        task = asyncio.create_task(asyncio.sleep(1000))
        await work.double(1)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return "its own cancel"

    @workflow.defn
    async def parent() -> str:
        return await child()

    assert engine.result(parent.start()) == "its own cancel"


def test_child_canceled_by_somebody_else_raises_an_error_in_its_parent(engine, waiting):
    @workflow.defn
    async def parent() -> list:
        try:
            await waiting.options(id="kid")()
        except ChildFailed as error:
            return [error.cause.type, workflow.cancelled()]

    handle = parent.start()
    engine.run_until_quiet()
    client.cancel("kid")

    assert engine.result(handle) == ["WorkflowCanceled", False]


@pytest.mark.parametrize("end", ["return", "raise", "cancel", "terminate"])
@pytest.mark.parametrize("policy", ["terminate", "cancel", "abandon"])
def test_children_follow_the_policy_of_their_parents_end(engine, waiting, policy, end):
    @workflow.defn
    async def parent() -> None:
        waiting.options(id="kid", parent_close=policy).start_child()
        if await workflow.wait_signal("end") == "raise":
            raise ValueError

    handle = parent.start()
    engine.run_until_quiet()
    match end:
        case "cancel":
            handle.cancel()
        case "terminate":
            handle.terminate()
        case _:
            handle.signal("end", end)
    engine.run_until_quiet()

    assert client.status("kid") == {"terminate": "terminated", "cancel": "canceled", "abandon": "running"}[policy]


def test_cancel_of_a_child_that_has_not_begun_ends_it(engine, waiting):
    @workflow.defn
    async def parent() -> str:
        child = waiting.options(id="kid", delay=1000).start_child()
        await workflow.wait_signal("stop")
        child.cancel()
        try:
            return await child
        except ChildFailed as error:
            return error.cause.type

    handle = parent.start()
    engine.run_until_quiet()
    assert client.status("kid") == "pending"
    handle.signal("stop")

    assert engine.result(handle) == "WorkflowCanceled"


# --- exceptions


def test_failure_of_a_grandchilds_activity_reaches_the_root_with_all_causes(engine, work):
    @workflow.defn
    async def grandchild() -> None:
        await work.fail("the root of it")

    @workflow.defn
    async def child() -> None:
        await grandchild()

    @workflow.defn
    async def root() -> None:
        await child()

    failure = failure_of(engine, root.start())

    chain = []
    while failure is not None:
        chain.append((failure.type, failure.message))
        failure = failure.cause
    assert [kind for kind, _ in chain] == ["ChildFailed", "ChildFailed", "ActivityError", "ValueError"]
    assert chain[-1][1] == "the root of it"


def test_exception_keeps_the_one_it_was_raised_from_and_where(engine, work):
    @workflow.defn
    async def wrapping() -> None:
        try:
            await work.fail("inner")
        except ActivityError as error:
            raise LookupError("outer") from error

    failure = failure_of(engine, wrapping.start())

    assert (failure.type, failure.message) == ("LookupError", "outer")
    assert (failure.cause.type, failure.cause.cause.type) == ("ActivityError", "ValueError")
    assert "in wrapping" in failure.traceback


def test_any_exception_fails_the_instance_a_bug_as_well(engine):
    """Deviation: there a bug such as this one has the step tried again until somebody mends the code."""

    @workflow.defn
    async def buggy() -> int:
        return None + 1

    handle = buggy.start()

    assert failure_of(engine, handle).type == "TypeError"
    assert handle.status == "failed"


def test_exception_group_fails_the_instance_with_its_members(engine, work):
    """Deviation: there a group is a bug, and its step is tried again for ever."""

    @workflow.defn
    async def grouping() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(work.fail("one"))

    failure = failure_of(engine, grouping.start())

    assert failure.type == "ExceptionGroup"
    assert [member.cause.message for member in failure.exceptions] == ["one"]


def test_timeout_that_nobody_handles_fails_the_instance(engine):
    @workflow.defn
    async def late() -> None:
        async with asyncio.timeout(10):
            await workflow.wait_signal("never")

    handle = late.start()
    engine.run_until_quiet()
    engine.after(11)

    assert failure_of(engine, handle).type == "TimeoutError"


def test_failure_in_a_handler_that_nobody_awaits_passes(engine):
    """Deviation: there a failure in a signal's handler fails the workflow; here a task is a task."""

    @workflow.defn
    async def handling() -> str:
        async def handler() -> None:
            raise ValueError(await workflow.wait_signal("item"))

        asyncio.create_task(handler())
        return await workflow.wait_signal("go")

    handle = handling.start()
    handle.signal("item", "bad")
    engine.run_until_quiet()
    handle.signal("go", "unharmed")

    assert engine.result(handle) == "unharmed"


def test_input_that_does_not_fit_fails_the_instance_without_running_it(engine, settings):
    @workflow.defn(name="strict")
    async def loose(value: str) -> None: ...

    handle = client.start("strict", ("no number",))
    registry.unregister_workflow("strict", 0)

    @workflow.defn
    async def strict(value: int) -> int:
        return value

    assert failure_of(engine, handle).type == "InvalidInput"


def test_instance_with_a_retry_policy_begins_again_after_a_failure(engine):
    asked = []

    @activity.defn
    def ask() -> int:
        asked.append(1)
        return len(asked)

    @workflow.defn(retry=RetryPolicy(max_attempts=3, initial_interval=10))
    async def flaky() -> int:
        if (number := await ask()) < 3:
            raise ValueError(number)
        return number

    handle = flaky.start()
    engine.run_until_quiet()
    assert handle.status == "running"
    engine.after(11)
    engine.after(21)

    assert handle.result(timeout=0) == 3
    assert [(e.origin, e.status) for e in handle.instance.executions.all()] == [
        ("start", "failed"),
        ("retry", "failed"),
        ("retry", "completed"),
    ]


def test_error_that_a_policy_names_ends_the_retries_of_an_instance(engine, work):
    @workflow.defn(retry=RetryPolicy(max_attempts=5, initial_interval=0, non_retryable=("LookupError",)))
    async def hopeless() -> None:
        await work.note("tried")
        raise KeyError("no")

    handle = hopeless.start()

    assert failure_of(engine, handle).type == "KeyError"
    assert work.ran == ["tried"]


# --- children


def test_children_of_another_app_are_run_by_name(engine):
    @workflow.defn(name="shop.order", version=2)
    async def order(number: int) -> dict:
        return {"number": number, "version": workflow.version()}

    @workflow.defn
    async def parent() -> dict:
        return await workflow.child_by_name("shop.order2").options(id="kid")(7)

    assert engine.result(parent.start()) == {"number": 7, "version": 2}


def test_child_can_be_awaited_twice_and_with_others(engine, waiting):
    @workflow.defn
    async def parent() -> list[str]:
        child = waiting.options(id="kid").start_child()
        both = await asyncio.gather(child, child)
        return [*both, await child]

    handle = parent.start()
    engine.run_until_quiet()
    client.signal("kid", "go", "x")

    assert engine.result(handle) == ["x", "x", "x"]
    assert answers(handle)["ChildCompleted"] == 1


def test_timeout_around_a_child_asks_it_to_stop(engine, waiting):
    @workflow.defn
    async def parent() -> str:
        try:
            async with asyncio.timeout(10):
                return await waiting.options(id="kid")()
        except TimeoutError:
            return "too late"

    handle = parent.start()
    engine.run_until_quiet()
    engine.after(11)

    assert handle.result(timeout=0) == "too late"
    assert client.status("kid") in ("canceled", "terminated")


def test_child_that_takes_too_long_as_a_whole_fails_with_a_timeout(engine, waiting):
    @workflow.defn
    async def parent() -> str:
        try:
            return await waiting.options(id="kid", timeout=10)()
        except ChildFailed as error:
            return error.cause.type

    handle = parent.start()
    engine.run_until_quiet()
    engine.after(11)

    assert handle.result(timeout=0) == "ExecutionTimeout"


def test_terminated_child_raises_an_error_that_says_so(engine, waiting):
    @workflow.defn
    async def parent() -> list[str]:
        try:
            await waiting.options(id="kid")()
        except ChildFailed as error:
            return [error.cause.type, error.cause.message]

    handle = parent.start()
    engine.run_until_quiet()
    client.terminate("kid", reason="enough")

    assert engine.result(handle) == ["WorkflowTerminated", "enough"]


# --- continue as new


def test_continue_as_new_never_returns_and_cannot_be_caught(engine):
    @workflow.defn
    async def again(round_: int) -> str:
        if round_:
            return "second"
        try:
            workflow.continue_as_new(1)
        except BaseException:
            await workflow.wait_signal("never")
        return "first"

    assert engine.result(again.start(0)) == "second"


@pytest.mark.parametrize("open_", ["activity", "child"])
def test_continue_as_new_with_open_work_is_an_error_the_code_can_handle(engine, work, waiting, open_):
    @workflow.defn
    async def again(round_: int) -> str:
        if round_:
            return "second"
        task = asyncio.create_task(work.later("a") if open_ == "activity" else waiting.options(id="kid")())
        await workflow.wait_signal("go")
        try:
            workflow.continue_as_new(1)
        except Exception as error:
            task.cancel()
            await workflow.wait_signal(type(error).__name__)
        await asyncio.gather(task, return_exceptions=True)
        workflow.continue_as_new(1)

    handle = again.start(0)
    engine.run_until_quiet()
    handle.signal("go")
    handle.signal("InvalidInput")
    if open_ == "child":
        engine.run_until_quiet()
        assert handle.status == "failed", "a child that was asked to stop is still open until it has"
    else:
        assert engine.result(handle) == "second"


def test_continue_as_new_from_another_task_ends_the_execution(engine):
    @workflow.defn
    async def again(round_: int) -> int:
        if round_ == 2:
            return round_

        async def watcher() -> None:
            await workflow.wait_signal("renew")
            workflow.continue_as_new(round_ + 1)

        async with asyncio.TaskGroup() as group:
            group.create_task(watcher())

    handle = again.start(0)
    engine.run_until_quiet()
    for _ in range(2):
        handle.signal("renew")

    assert engine.result(handle) == 2


def test_carried_signals_come_before_those_that_come_later(engine):
    @workflow.defn
    async def reading(round_: int) -> list[str]:
        if not round_:
            await workflow.wait_signal("renew")
            workflow.continue_as_new(1)
        return [await workflow.wait_signal("item") for _ in range(3)]

    handle = reading.start(0)
    engine.run_until_quiet()
    for name, payload in (("item", "a"), ("item", "b"), ("renew", None), ("item", "c")):
        handle.signal(name, payload)

    assert engine.result(handle) == ["a", "b", "c"]
    assert item(handle, "ExecutionStarted").data["carried"] == [["item", "a"], ["item", "b"]]


# --- patches and other interpreters


def test_new_instance_takes_the_new_path_and_records_it(engine, work):
    @workflow.defn
    async def patched() -> list:
        return [workflow.patched("new"), await work.double(1), workflow.patched("new")]

    handle = patched.start()

    assert engine.result(handle) == [True, 2, True]
    assert item(handle, "PatchMarked").name == "new"


def test_instance_that_passed_a_patch_before_it_was_there_keeps_the_old_path(engine, work):
    async def before() -> list:
        await work.note("old")
        return [await workflow.wait_signal("go")]

    async def after() -> list:
        first = workflow.patched("new")
        await work.note("new" if first else "old")
        await workflow.wait_signal("go")
        return [first, workflow.patched("new"), workflow.patched("another")]

    workflow.defn(name="changing")(before)
    handle = client.start("changing")
    engine.run_until_quiet()
    registry.unregister_workflow("changing", 0)
    workflow.defn(name="changing")(after)
    engine.unfit.add(handle.id)
    engine.restart()
    handle.signal("go")

    assert engine.result(handle) == [False, False, True], "and what was said once stays so"
    assert work.ran == ["old"]


def test_deprecated_patch_lets_the_call_go(engine, work):
    async def patched() -> int:
        workflow.deprecate_patch("new")
        return await work.double(await workflow.wait_signal("go"))

    async def clean() -> int:
        return await work.double(await workflow.wait_signal("go"))

    workflow.defn(name="changing")(patched)
    handle = client.start("changing")
    engine.run_until_quiet()
    assert item(handle, "PatchMarked").data["deprecated"]
    registry.unregister_workflow("changing", 0)
    workflow.defn(name="changing")(clean)
    engine.unfit.add(handle.id)
    engine.restart()
    handle.signal("go", 2)

    assert engine.result(handle) == 4


def record_elsewhere(handle, *, swap: bool) -> str:
    """Make a history look as one that another minor version of Python recorded; return that version."""
    other = "3.11" if interpreter() != "3.11" else "3.12"
    rows = HistoryEvent.objects.filter(execution=handle.instance.execution_id)
    started = rows.get(kind="ExecutionStarted")
    rows.filter(seq=started.seq).update(data={**started.data, "python": other})
    if swap:
        one, two = rows.filter(kind="ActivityScheduled").order_by("seq")
        for row, source in ((one, two), (two, one)):
            rows.filter(seq=row.seq).update(
                name=source.name,
                data={**source.data, "event_id": row.event_id} if source.data.get("event_id") else source.data,
            )
    return other


@pytest.mark.parametrize("differs", [True, False], ids=["another order", "the same order"])
def test_history_of_another_python_goes_on_if_its_order_is_the_same_and_else_says_why(engine, differs):
    """``wait_for`` makes a task of its own in 3.11 and none in 3.12, so ``b`` comes before ``a``, or after."""

    @workflow.defn
    async def both() -> list:
        a, b = workflow.activity_by_name("a"), workflow.activity_by_name("b")
        done = asyncio.gather(asyncio.wait_for(a(), 1000), b())
        await workflow.wait_signal("go")
        done.cancel()
        return ["went on"]

    handle = both.start()
    engine.run_until_quiet()
    other = record_elsewhere(handle, swap=differs)
    engine.restart()
    handle.signal("go")
    engine.run_until_quiet()

    if differs:
        engine.unfit.add(handle.id)
        assert handle.status == "stalled"
        message = handle.instance.stall["message"]
        assert f"Python {other}" in message and interpreter() in message
    else:
        assert handle.result(timeout=0) == ["went on"]
