"""Updates as in Temporal's Python SDK: validated, accepted, completed; told to the caller alone, once for each id."""

from __future__ import annotations

import asyncio

import pytest

from durable import InvalidInput, NotOpen, UpdateFailed, UpdateRejected, UpdateTimeout, workflow
from tests.driving import answers, item, kinds, leftovers


def ask(handle, name, *args, id="only", **kwargs):
    """Leave a request behind; return how far it was."""
    with pytest.raises(UpdateTimeout) as caught:
        handle.update(name, *args, update_id=id, timeout=0, **kwargs)
    return caught.value.state


def told(handle, name, *, id="only"):
    """Return the outcome of a request that is done."""
    return handle.update(name, update_id=id, timeout=0)


def call(engine, handle, name, *args, id="only", **kwargs):
    """Ask, let the workers do what there is to do, and return the outcome."""
    ask(handle, name, *args, id=id, **kwargs)
    engine.run_until_quiet()
    return told(handle, name, id=id)


@pytest.fixture
def counter(work):
    """A workflow whose state is a list of numbers."""

    @workflow.defn
    async def counter() -> list[int]:
        numbers: list[int] = []
        closed = False

        def is_positive(number: int) -> None:
            if number < 0:
                raise ValueError(f"{number} is negative")

        @workflow.update(validator=is_positive)
        def add(number: int) -> int:
            numbers.append(number)
            return sum(numbers)

        @workflow.update
        async def add_double(number: int) -> int:
            numbers.append(await work.double(number))
            return sum(numbers)

        @workflow.update
        async def add_later(key: str) -> int:
            numbers.append(await work.later(key))
            return sum(numbers)

        @workflow.update
        async def fail(message: str) -> None:
            await work.fail(message)

        @workflow.update
        def close() -> None:
            nonlocal closed
            closed = True

        @workflow.query
        def total() -> int:
            return sum(numbers)

        await workflow.wait_until(lambda: closed)
        return numbers

    return counter


@pytest.fixture
def handle(engine, counter):
    handle = counter.start()
    engine.run_until_quiet()
    return handle


def test_update_changes_the_state_and_its_caller_gets_the_value(engine, handle):
    assert [call(engine, handle, "add", number, id=str(number)) for number in (1, 2, 3)] == [1, 3, 6]

    assert handle.query("total") == 6
    call(engine, handle, "close")
    assert handle.result(timeout=0) == [1, 2, 3]


def test_accepted_and_completed_are_in_the_history(engine, handle):
    call(engine, handle, "add", 1, id="first")

    assert kinds(handle) == ["ExecutionStarted", "UpdateAccepted", "UpdateCompleted"]
    assert item(handle, "UpdateAccepted").data["update_id"] == "first"
    assert item(handle, "UpdateCompleted").data["result"] == 1


def test_handler_may_run_activities(engine, handle, work, path):
    assert call(engine, handle, "add_double", 4) == 8

    assert work.ran == [4]
    assert kinds(handle)[1:] == ["UpdateAccepted", "ActivityScheduled", "ActivityCompleted", "UpdateCompleted"]


def test_rejected_update_leaves_nothing_in_the_history(engine, handle):
    with pytest.raises(UpdateRejected) as caught:
        call(engine, handle, "add", -1)

    assert (caught.value.cause.type, caught.value.cause.message) == ("ValueError", "-1 is negative")
    assert kinds(handle) == ["ExecutionStarted"]


def test_rejected_update_lets_no_condition_go_on(engine):
    looks = []

    @workflow.defn
    async def looking() -> None:
        def refuse() -> None:
            raise ValueError("no")

        workflow.update(lambda: None, validator=refuse)
        await workflow.wait_until(lambda: looks.append(1))

    handle = looking.start()
    engine.run_until_quiet()
    before = len(looks)
    with pytest.raises(UpdateRejected):
        call(engine, handle, "<lambda>")

    # A replay looks as often as the history says; the rejection adds nothing to that.
    assert len(looks) in (before, 2 * before)


def test_arguments_that_do_not_fit_reject_the_update(engine, handle):
    with pytest.raises(UpdateRejected):
        call(engine, handle, "add", "many")

    assert call(engine, handle, "add", 1, id="next") == 1


def test_failure_of_an_activity_fails_the_update_and_not_the_workflow(engine, handle):
    with pytest.raises(UpdateFailed) as caught:
        call(engine, handle, "fail", "broken")

    assert caught.value.cause.type == "ActivityError"
    assert caught.value.cause.failure.cause.message == "broken"
    assert handle.status == "running"
    assert call(engine, handle, "add", 1, id="next") == 1


def test_same_id_is_run_once_and_told_as_often_as_it_is_asked(engine, handle):
    assert call(engine, handle, "add", 5, id="same") == 5

    assert [handle.update("add", 5, update_id="same", timeout=0) for _ in range(3)] == [5, 5, 5]
    assert answers(handle)["UpdateAccepted"] == 1
    with pytest.raises(InvalidInput):
        handle.update("close", update_id="same", timeout=0)


def test_updates_before_the_first_step_run_once_their_names_are_registered(engine, counter):
    handle = counter.start()
    for number in (1, 2, 3):
        ask(handle, "add", number, id=str(number))
    engine.run_until_quiet()

    assert [told(handle, "add", id=str(number)) for number in (1, 2, 3)] == [1, 3, 6]


def test_signals_and_updates_come_in_the_order_in_which_they_were_sent(engine):
    @workflow.defn
    async def ordered() -> list:
        seen: list = []

        async def read() -> None:
            async for payload in workflow.signals("note"):
                seen.append(payload)  # noqa: PERF401 - the condition below looks at each as it comes

        @workflow.update
        def note(text: str) -> None:
            seen.append(text)

        reading = asyncio.create_task(read())
        await workflow.wait_until(lambda: len(seen) == 4)
        reading.cancel()
        return seen

    handle = ordered.start()
    engine.run_until_quiet()
    handle.signal("note", "a")
    ask(handle, "note", "b", id="b")
    handle.signal("note", "c")
    ask(handle, "note", "d", id="d")

    assert engine.result(handle) == ["a", "b", "c", "d"]


def test_handlers_run_side_by_side(engine, handle, work):
    for key in ("slow", "fast"):
        ask(handle, "add_later", key, id=key)
    engine.run_until_quiet()
    work.finish("fast", 1)
    engine.run_until_quiet()
    assert told(handle, "add_later", id="fast") == 1
    assert ask(handle, "add_later", "slow", id="slow") == "accepted"
    work.finish("slow", 2)
    engine.run_until_quiet()

    assert told(handle, "add_later", id="slow") == 3


def test_lock_keeps_handlers_from_running_side_by_side(engine, work):
    @workflow.defn
    async def careful() -> list[str]:
        lock, seen = asyncio.Lock(), []

        @workflow.update
        async def use(key: str) -> None:
            async with lock:
                seen.append(f"{key} begins")
                await work.later(key)
                seen.append(f"{key} ends")

        await workflow.wait_until(lambda: len(seen) == 4)
        return seen

    handle = careful.start()
    for key in ("a", "b"):
        ask(handle, "use", key, id=key)
    engine.run_until_quiet()
    assert list(work.tokens) == ["a"]
    work.finish("a")
    engine.run_until_quiet()
    work.finish("b")

    assert engine.result(handle) == ["a begins", "a ends", "b begins", "b ends"]


def test_worker_that_dies_in_the_middle_of_a_handler_is_no_loss(engine, handle, work):
    ask(handle, "add_later", "x")
    engine.run_until_quiet()
    engine.restart()
    work.finish("x", 7)
    engine.restart()

    assert told(handle, "add_later") == 7
    assert answers(handle)["ActivityScheduled"] == 1


def test_update_that_lets_the_workflow_return_is_told_its_outcome(engine, handle):
    assert call(engine, handle, "close") is None

    assert handle.status == "completed"
    assert kinds(handle)[-2:] == ["UpdateCompleted", "ExecutionCompleted"]


def test_workflow_that_returns_over_a_handler_fails_its_update(engine, handle, work):
    ask(handle, "add_later", "x", id="cut off")
    engine.run_until_quiet()
    call(engine, handle, "close")

    with pytest.raises(UpdateFailed) as caught:
        told(handle, "add_later", id="cut off")
    assert caught.value.cause.type == "NotOpen"


def test_workflow_can_wait_for_its_handlers(engine, work):
    @workflow.defn
    async def polite() -> list:
        done = []

        @workflow.update
        async def slow() -> str:
            done.append(await work.later("slow"))
            return "through"

        await workflow.wait_signal("end")
        await workflow.wait_until(workflow.all_handlers_finished)
        return done

    handle = polite.start()
    engine.run_until_quiet()
    ask(handle, "slow")
    handle.signal("end")
    engine.run_until_quiet()
    assert handle.status == "running"
    work.finish("slow", 1)

    assert engine.result(handle) == [1]
    assert told(handle, "slow") == "through"


def test_cancel_does_not_reach_handlers(engine, work):
    @workflow.defn
    async def patient() -> None:
        @workflow.update
        async def slow() -> str:
            return await work.later("slow")

        try:
            await workflow.wait_signal("never")
        finally:
            await workflow.wait_until(workflow.all_handlers_finished)

    handle = patient.start()
    engine.run_until_quiet()
    ask(handle, "slow")
    engine.run_until_quiet()
    handle.cancel()
    engine.run_until_quiet()
    work.finish("slow", "through")
    engine.run_until_quiet()

    assert (handle.status, told(handle, "slow")) == ("canceled", "through")


def test_update_after_the_end_is_refused_and_leaves_nothing(engine, handle):
    call(engine, handle, "close")

    with pytest.raises(NotOpen):
        handle.update("add", 1, timeout=0)
    assert leftovers() == []


def test_update_waits_for_its_name_to_be_registered(engine):
    @workflow.defn
    async def late() -> str:
        said = []
        await workflow.wait_signal("open")
        workflow.update(said.append, validator=None)
        await workflow.wait_until(lambda: said)
        return said[0]

    handle = late.start()
    engine.run_until_quiet()
    ask(handle, "append", "hello")
    engine.run_until_quiet()
    assert kinds(handle) == ["ExecutionStarted"]
    handle.signal("open")

    assert engine.result(handle) == "hello"
    assert told(handle, "append") is None


def test_requests_move_on_with_continue_as_new_and_ids_stay_known(engine):
    @workflow.defn
    async def rounds(number: int) -> int:
        @workflow.update
        def which() -> int:
            return number

        await workflow.wait_signal("next")
        if number == 2:
            return number
        workflow.continue_as_new(number + 1)

    handle = rounds.start(1)
    engine.run_until_quiet()
    assert call(engine, handle, "which", id="first") == 1
    handle.signal("next")
    ask(handle, "which", id="second")
    engine.run_until_quiet()

    assert handle.instance.executions.count() == 2
    assert (told(handle, "which", id="first"), told(handle, "which", id="second")) == (1, 2)
