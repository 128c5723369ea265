"""How instances end: return, raise, run out of time, are tried again; and what callers get."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest

from durable import (
    ResultTimeout,
    RetryPolicy,
    UnknownExecution,
    UnknownInstance,
    WorkflowCanceled,
    WorkflowFailed,
    WorkflowTerminated,
    activity,
    client,
    testing,
    workflow,
)
from durable.engine import advance
from durable.engine.perform import perform
from durable.models import ActivityTask, InboxEvent, Instance
from durable.store import clock
from tests.driving import cost, item, kinds


@pytest.fixture
def waiting(fresh):
    @workflow.defn
    async def waiting() -> str:
        return await workflow.wait_signal("go")

    return waiting


# --- return


def test_return_value_is_the_result(engine):
    @workflow.defn
    async def report() -> dict[str, list[int]]:
        return {"b": [1, 2], "a": [3]}

    handle = report.start()

    assert engine.result(handle) == {"b": [1, 2], "a": [3]}
    assert list(handle.instance.result) == ["b", "a"], "order of keys is kept"
    assert handle.instance.closed_at is not None


def test_activities_not_awaited_go_on_to_their_end(engine, settings, caplog):
    settings.DURABLE = {"RUN_INLINE": False}
    done = []

    @activity.defn
    def slow(number: int) -> None:
        done.append(number)

    @workflow.defn
    async def hasty() -> str:
        for number in range(3):
            asyncio.create_task(slow(number))
        await asyncio.sleep(0)
        return "bye"

    handle = hasty.start()
    with caplog.at_level(logging.WARNING, "durable"):
        assert engine.result(handle) == "bye"

    assert sorted(done) == [0, 1, 2]
    assert kinds(handle)[-1] == "ExecutionCompleted", "late results are dropped"
    assert "ActivityScheduled(slow)" in caplog.text, "a warning names them"
    assert not (InboxEvent.objects.exists() or ActivityTask.objects.exists())


def test_result_that_has_no_json_fails_the_instance(engine):
    @workflow.defn
    async def odd():
        return object()

    handle = odd.start()

    with pytest.raises(WorkflowFailed, match="result of odd: a value of type object"):
        engine.result(handle)


# --- raise


def test_exception_fails_the_instance_with_type_message_traceback_and_causes(engine):
    @workflow.defn
    async def broken() -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error

    handle = broken.start()

    with pytest.raises(WorkflowFailed) as failed:
        engine.result(handle)

    failure = failed.value.failure
    assert (failure.type, failure.message) == ("ValueError", "outer")
    assert 'raise ValueError("outer") from error' in failure.traceback
    assert (failure.cause.type, failure.cause.message) == ("KeyError", "'inner'")
    assert item(handle, "ExecutionFailed").data["failure"]["type"] == "ValueError"
    assert handle.instance.failure["message"] == "outer"


def test_exception_group_fails_the_instance_with_its_members(engine):
    @workflow.defn
    async def broken() -> None:
        async def fail(text: str) -> None:
            raise ValueError(text)

        async with asyncio.TaskGroup() as group:
            group.create_task(fail("one"))
            group.create_task(fail("two"))

    handle = broken.start()

    with pytest.raises(WorkflowFailed) as failed:
        engine.result(handle)

    assert failed.value.failure.type == "ExceptionGroup"
    assert [member.message for member in failed.value.failure.exceptions] == ["one", "two"]


def test_base_exception_fails_the_instance(engine):
    @workflow.defn
    async def leaving() -> None:
        raise SystemExit(3)

    handle = leaving.start()

    with pytest.raises(WorkflowFailed, match="SystemExit"):
        engine.result(handle)


@pytest.mark.lenient
def test_failed_workflow_is_not_retried_by_default(engine, time):
    runs = []

    @workflow.defn
    async def broken() -> None:
        runs.append(1)
        raise ValueError

    handle = broken.start()
    engine.run_until_quiet()
    time.forward(1000)
    engine.run_until_quiet()

    assert (handle.status, len(runs)) == ("failed", 1)


def test_failure_calls_off_activities_that_have_not_begun(engine, settings):
    settings.DURABLE = {"RUN_INLINE": False}
    ran = []

    @activity.defn
    def work(fail: bool) -> None:
        ran.append(fail)
        if fail:
            raise activity.NonRetryable("no")

    @workflow.defn
    async def broken() -> None:
        asyncio.create_task(work.options(queue="nobody")(False))
        await work(True)

    handle = broken.start()
    for _ in range(3):
        engine.advance_due()
        perform("default")

    assert handle.status == "failed"
    assert ran == [True]
    assert not ActivityTask.objects.exists()


# --- timeout


def test_instance_fails_when_its_time_is_up_without_running_its_code(engine, time):
    seen = []

    @workflow.defn(timeout=60)
    async def slow() -> None:
        try:
            await workflow.wait_signal("never")
        except BaseException as error:
            seen.append(type(error).__name__)
            raise

    handle = slow.start()
    engine.run_until_quiet()
    time.forward(59)
    engine.run_until_quiet()
    assert handle.status == "running"

    time.forward(2)
    with pytest.raises(WorkflowFailed, match="ExecutionTimeout"):
        engine.result(handle)

    assert kinds(handle) == ["ExecutionStarted", "ExecutionFailed"]
    assert "ExecutionTimeout" not in seen
    assert not InboxEvent.objects.exists()


def test_timeout_counts_from_the_start_of_a_delayed_instance(engine, time, waiting):
    handle = waiting.options(delay=100, timeout=60).start()

    time.forward(101)
    engine.run_until_quiet()
    assert handle.status == "running"

    time.forward(60)
    engine.run_until_quiet()
    assert handle.status == "failed"


def test_timeout_counts_over_all_executions(engine, time):
    @workflow.defn(timeout=60)
    async def ever(round_: int) -> None:
        await asyncio.sleep(25)
        workflow.continue_as_new(round_ + 1)

    handle = ever.start(0)
    engine.run_until_quiet()
    for _ in range(2):
        time.forward(26)
        engine.run_until_quiet()
    assert (handle.status, handle.instance.executions.count()) == ("running", 3)

    time.forward(10)
    engine.run_until_quiet()

    assert handle.instance.failure["type"] == "ExecutionTimeout"


def test_retry_of_an_execution_that_continued_begins_with_its_own_input(engine, time):
    ran: list[int] = []

    @activity.defn
    def page(number: int) -> None:
        ran.append(number)

    @workflow.defn(retry=RetryPolicy(max_attempts=2, initial_interval=1))
    async def pages(number: int) -> list[object]:
        await page(number)
        if number < 2:
            workflow.continue_as_new(number + 1)
        word = await workflow.wait_signal("word")
        if ran.count(2) == 1:
            raise ValueError("once")
        return [number, word]

    handle = pages.start(0)
    handle.signal("word", "kept")
    engine.run_until_quiet()
    time.forward(2)

    assert engine.result(handle) == [2, "kept"]
    assert ran == [0, 1, 2, 2]
    assert item(handle, "ExecutionStarted").data["input"] == {"args": [2], "kwargs": {}}


@pytest.mark.lenient
def test_timeout_ends_an_instance_that_waits_to_be_tried_again(engine, time):
    runs = []

    @workflow.defn(timeout=60, retry=RetryPolicy(initial_interval=100))
    async def broken() -> None:
        runs.append(1)
        raise ValueError

    handle = broken.start()
    engine.run_until_quiet()
    time.forward(61)
    engine.run_until_quiet()
    assert handle.instance.failure["type"] == "ExecutionTimeout"

    time.forward(100)
    engine.run_until_quiet()
    assert len(runs) == 1


def test_children_follow_parent_close_when_time_is_up(engine, time, waiting):
    @workflow.defn
    async def parent() -> None:
        for policy in ("terminate", "abandon"):
            waiting.options(id=policy, parent_close=policy).start_child()
        await workflow.wait_signal("never")

    handle = parent.options(timeout=60).start()
    engine.run_until_quiet()
    time.forward(61)
    engine.run_until_quiet()

    assert handle.status == "failed"
    assert (client.get("terminate").status, client.get("abandon").status) == ("terminated", "running")


# --- retry of an instance


@pytest.mark.lenient
def test_failed_instance_is_tried_again_in_a_new_execution(engine, time):
    runs = []

    @workflow.defn(retry=RetryPolicy(max_attempts=3, initial_interval=10))
    async def flaky(number: int) -> int:
        runs.append(workflow.info().execution_id)
        if len(runs) < 3:
            raise ValueError(f"run {len(runs)}")
        return number

    handle = flaky.start(7)
    engine.run_until_quiet()
    assert (handle.status, len(runs)) == ("running", 1)
    time.forward(11)
    engine.run_until_quiet()
    assert len(runs) == 2
    time.forward(19)
    engine.run_until_quiet()
    assert len(runs) == 2, "the second wait is twice the first"
    time.forward(2)

    assert engine.result(handle) == 7
    executions = list(handle.instance.executions.order_by("number"))
    assert [e.origin for e in executions] == ["start", "retry", "retry"]
    assert [e.status for e in executions] == ["failed", "failed", "completed"]
    assert executions[1].source_id == executions[0].pk
    assert kinds(handle, executions[0].pk) == ["ExecutionStarted", "ExecutionFailed"], "the failed one stays"
    assert [str(e.pk) for e in executions] == runs


def test_instance_fails_for_good_after_its_attempts(engine, time):
    @workflow.defn
    async def broken() -> None:
        raise ValueError

    handle = broken.options(retry=RetryPolicy(max_attempts=2, initial_interval=1)).start()
    engine.run_until_quiet()
    time.forward(2)

    with pytest.raises(WorkflowFailed):
        engine.result(handle)
    assert handle.instance.executions.count() == 2


@pytest.mark.lenient
def test_signals_that_wait_while_an_instance_is_to_be_tried_again_reach_the_next_execution(engine, time):
    runs = []

    @workflow.defn(retry=RetryPolicy(initial_interval=10))
    async def flaky() -> str:
        runs.append(1)
        if len(runs) == 1:
            raise ValueError
        return await workflow.wait_signal("go")

    handle = flaky.start()
    engine.run_until_quiet()
    handle.signal("go", "now")
    engine.run_until_quiet()
    time.forward(11)

    assert engine.result(handle) == "now"


@pytest.mark.lenient
def test_more_signals_than_a_turn_takes_keep_no_execution_from_beginning_or_ending(engine, time, monkeypatch):
    monkeypatch.setattr(advance, "_ROWS_A_TURN", 3)

    @workflow.defn
    async def counting() -> int:
        return sum([await workflow.wait_signal("go") for _ in range(5)])

    late, up = counting.options(delay=10).start(), counting.options(delay=20, timeout=5).start()
    canceled, stalled = counting.options(delay=1000).start(), counting.options(timeout=30).start()
    engine.run_until_quiet()
    Instance.objects.filter(pk=stalled.id).update(status="stalled", retry_at=clock.now() + timedelta(days=1))
    for handle in (late, up, canceled, stalled):
        for _ in range(5):
            handle.signal("go", 1)
    canceled.cancel()
    time.forward(11)
    engine.run_until_quiet()

    assert late.result(timeout=0) == 5
    assert (up.status, canceled.status, stalled.status) == ("pending", "canceled", "stalled")

    time.forward(21)
    engine.run_until_quiet()
    advance.advance(stalled.id)

    assert (up.status, stalled.status) == ("failed", "failed")


@pytest.mark.parametrize("simulated", [False, True])
def test_signals_that_nobody_read_reach_the_next_try(engine, time, simulated):
    reads = []

    @workflow.defn(retry=RetryPolicy(initial_interval=10))
    async def picky(begun: bool = False) -> list[int]:
        if not begun:
            await workflow.wait_signal("go on")
            workflow.continue_as_new(True)
        read = [await workflow.wait_signal("a") for _ in range(2)]
        if workflow.side_effect(lambda: reads.append(read) or len(reads)) == 1:
            await workflow.wait_signal("fail")
            raise ValueError
        return read

    signals = [("a", 1), ("go on", None), ("a", 2), ("a", 3), ("fail", None)]
    if simulated:
        simulation = testing.Simulation(picky)
        for signal in signals:
            simulation.at(0).signal(*signal)
        assert simulation.run().result() == [1, 3]
    else:
        handle = picky.start()
        for signal in signals:
            handle.signal(*signal)
            engine.run_until_quiet()
        time.forward(11)
        assert engine.result(handle) == [1, 3]

    assert reads[0] == [1, 2], "1 came before the first try began, so the second one begins with it, too"


@pytest.mark.lenient
def test_late_end_of_an_old_executions_activity_leaves_nothing_behind(engine, settings, time):
    settings.DURABLE = {"RUN_INLINE": False}
    runs, told = [], []

    @activity.defn
    def long() -> str:
        handle.signal("fail")
        engine.advance_due()
        told.append(activity.cancelled())
        return "late"

    @workflow.defn(retry=RetryPolicy(initial_interval=10))
    async def flaky() -> str:
        runs.append(1)
        if len(runs) == 2:
            return "second"
        asyncio.create_task(long())
        await workflow.wait_signal("fail")
        raise ValueError

    handle = flaky.start()
    engine.run_until_quiet()
    time.forward(11)

    assert engine.result(handle) == "second"
    assert told == [True]
    assert not (InboxEvent.objects.exists() or ActivityTask.objects.exists())


# --- what callers get


def test_result_waits_no_longer_than_its_timeout(engine, waiting):
    handle = waiting.start()
    engine.run_until_quiet()

    for timeout in (0, 0.02):
        with pytest.raises(ResultTimeout) as late:
            handle.result(timeout=timeout)
        assert (late.value.instance_id, late.value.status, late.value.timeout) == (handle.id, "running", timeout)
        assert isinstance(late.value, TimeoutError)


def test_result_of_each_end_is_its_own_error(engine, waiting):
    canceled, terminated = waiting.start(), waiting.start()
    engine.run_until_quiet()
    canceled.cancel()
    terminated.terminate(reason="obsolete")
    engine.run_until_quiet()

    with pytest.raises(WorkflowCanceled):
        canceled.result(timeout=0)
    with pytest.raises(WorkflowTerminated, match="obsolete"):
        terminated.result(timeout=0)


def test_unknown_instance_and_execution_are_errors(engine, waiting):
    handle = waiting.start()

    for call in (client.get, client.status, client.result, client.history, client.cancel, client.terminate):
        with pytest.raises(UnknownInstance):
            call("nobody")
    for execution in ("no uuid", "0190b0a0-0000-7000-8000-000000000000"):
        with pytest.raises(UnknownExecution):
            handle.history(execution)


def test_history_of_three_sequential_activities_has_eight_events(engine, path):
    @activity.defn
    def double(number: int) -> int:
        return 2 * number

    @workflow.defn
    async def sequence() -> int:
        return await double(await double(await double(1)))

    handle = sequence.start()
    assert engine.result(handle) == 8

    history = handle.history()
    assert [i.seq for i in history] == list(range(1, 9))
    assert [i.event_id for i in history] == [None, 0, 0, 1, 1, 2, 2, None]
    assert [i.kind for i in history[1:3]] == ["ActivityScheduled", "ActivityCompleted"]
    assert [i.name for i in history[1:3]] == ["double", "double"]
    assert [i.rerunnable for i in history] == [False, True, False, True, False, True, False, False]
    assert history[1].data["input"] == {"args": [1], "kwargs": {}}
    assert history[2].data["result"] == 2
    assert history[0].recorded_at <= history[-1].recorded_at


def test_looking_for_a_result_reads_no_payload_until_there_is_one(committing):
    @workflow.defn
    async def waiting() -> str:
        return await workflow.wait_signal("go")

    handle = waiting.start()
    committing.run_until_quiet()
    with cost() as waited, pytest.raises(ResultTimeout):
        handle.result(timeout=0)
    handle.signal("go", "done")
    committing.run_until_quiet()
    with cost() as ended:
        assert handle.result(timeout=0) == "done"

    assert "CASE WHEN closed_at IS NOT NULL THEN result END" in waited.statements[0]
    assert len(ended.statements) == 1
