"""What DurableTask and Durable Functions let one write and run: the patterns of their orchestrations."""

from __future__ import annotations

import asyncio
import logging
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from durable import (
    ActivityError,
    AlreadyExists,
    ChildFailed,
    InvalidInput,
    NotOpen,
    RetryPolicy,
    UnknownInstance,
    WorkflowFailed,
    WorkflowTerminated,
    activity,
    client,
    registry,
    workflow,
)
from durable.models import Instance
from tests.driving import answers, item, kinds, leftovers


@pytest.fixture
def waiting(engine):
    @workflow.defn
    async def waiting() -> str:
        return await workflow.wait_signal("go")

    return waiting


# --- the application patterns


def test_function_chaining_passes_each_result_to_the_next(engine, work, path):
    @workflow.defn
    async def chain(number: int) -> int:
        first = await work.double(number)
        second = await work.double(first)
        return await work.double(second)

    handle = chain.start(1)

    assert engine.result(handle) == 8
    assert work.ran == [1, 2, 4]
    assert [(each.kind, each.event_id) for each in handle.history()] == [
        ("ExecutionStarted", None),
        *[(kind, number) for number in range(3) for kind in ("ActivityScheduled", "ActivityCompleted")],
        ("ExecutionCompleted", None),
    ]


def test_fan_out_and_fan_in_runs_all_and_aggregates_in_the_order_of_the_calls(engine, work, path):
    @workflow.defn
    async def fan(count: int) -> list[int]:
        return list(await asyncio.gather(*(work.double(number) for number in range(count))))

    handle = fan.start(15)

    assert engine.result(handle) == [2 * number for number in range(15)]
    assert sorted(work.ran) == [*range(15)]
    assert kinds(handle)[1:16] == ["ActivityScheduled"] * 15


def test_fan_out_over_a_list_that_an_activity_returned(engine, work):
    @activity.defn
    def files(folder: str) -> list[str]:
        return [f"{folder}/{number}" for number in range(3)]

    @workflow.defn
    async def backup(folder: str) -> int:
        return sum(map(len, await asyncio.gather(*(work.note(name) for name in await files(folder)))))

    assert engine.result(backup.start("abc")) == 15
    assert sorted(work.ran) == ["abc/0", "abc/1", "abc/2"]


def test_fan_out_in_chunks_bounds_what_runs_at_once(engine, work):
    @workflow.defn
    async def chunks(count: int, size: int) -> list[int]:
        got: list[int] = []
        for begin in range(0, count, size):
            got += await asyncio.gather(*(work.double(number) for number in range(begin, min(begin + size, count))))
        return got

    handle = chunks.start(7, 3)

    assert engine.result(handle) == [0, 2, 4, 6, 8, 10, 12]
    open_, most = 0, 0
    for kind in kinds(handle):
        open_ += {"ActivityScheduled": 1, "ActivityCompleted": -1}.get(kind, 0)
        most = max(most, open_)
    assert most == 3


def test_one_failure_in_a_fan_out_fails_the_whole_unless_it_is_handled(engine, work):
    @workflow.defn
    async def fan(tolerant: bool) -> int:
        results = await asyncio.gather(work.double(1), work.fail(), work.double(2), return_exceptions=tolerant)
        return sum(each for each in results if isinstance(each, int))

    strict, tolerant = fan.start(False), fan.start(True)

    assert engine.result(tolerant) == 6
    with pytest.raises(WorkflowFailed, match="no"):
        strict.result(timeout=0)


def test_status_of_a_long_operation_can_be_polled_until_it_ends(engine, waiting):
    handle = waiting.options(delay=60).start()
    seen = [handle.status]
    engine.after(61)
    seen.append(handle.status)
    handle.signal("go", "done")
    engine.run_until_quiet()
    seen.append(handle.status)

    assert seen == ["pending", "running", "completed"]
    assert client.get(handle.id).result(timeout=0) == "done"


def test_monitor_polls_at_intervals_until_a_condition_holds(engine):
    answers_ = iter(["rain", "rain", "clear", "rain"])
    asked = []

    @activity.defn
    def weather() -> str:
        asked.append(next(answers_))
        return asked[-1]

    @workflow.defn
    async def monitor(interval: float, until: float) -> str:
        deadline = workflow.time() + until
        while workflow.time() < deadline:
            if await weather() == "clear":
                return "clear"
            await asyncio.sleep(interval)
        return "gave up"

    handle = monitor.start(60, 3600)
    engine.run_until_quiet()
    for _ in range(3):
        engine.after(61)

    assert handle.result(timeout=0) == "clear"
    assert asked == ["rain", "rain", "clear"]
    assert answers(handle)["TimerFired"] == 2


def test_monitor_gives_up_at_its_deadline(engine):
    @activity.defn
    def weather() -> str:
        return "rain"

    @workflow.defn
    async def monitor() -> int:
        asked, deadline = 0, workflow.now() + timedelta(minutes=5)
        while workflow.now() < deadline:
            await weather()
            asked += 1
            await asyncio.sleep(120)
        return asked

    handle = monitor.start()
    engine.run_until_quiet()
    for _ in range(4):
        engine.after(121)

    assert handle.result(timeout=0) == 3


@pytest.mark.parametrize("decision", ["approved", "declined", None])
def test_human_decides_in_time_or_the_request_escalates(engine, work, decision):
    @workflow.defn
    async def approval() -> str:
        await work.note("ask")
        try:
            async with asyncio.timeout(72 * 3600):
                decided = await workflow.wait_signal("decision")
        except TimeoutError:
            return await work.note("escalate")
        return await work.note(decided)

    handle = approval.start()
    engine.run_until_quiet()
    if decision:
        engine.after(71 * 3600)
        handle.signal("decision", decision)
    else:
        engine.after(73 * 3600)

    assert engine.result(handle) == (decision or "escalate")
    assert work.ran == ["ask", decision or "escalate"]
    counted = answers(handle)
    assert (counted["TimerCanceled"], counted["TimerFired"]) == ((1, 0) if decision else (0, 1))


def test_verification_by_code_takes_a_few_tries_within_one_time_limit(engine):
    @workflow.defn
    async def verify() -> bool:
        code = workflow.random().randint(1000, 9999)
        workflow.set_status({"code": code})
        try:
            async with asyncio.timeout(90):
                for _ in range(3):
                    if await workflow.wait_signal("code") == code:
                        return True
        except TimeoutError:
            pass
        return False

    right, wrong, late = verify.start(), verify.start(), verify.start()
    engine.run_until_quiet()
    right.signal("code", 0)
    right.signal("code", right.instance.custom_status["code"])
    for _ in range(3):
        wrong.signal("code", 0)
    engine.run_until_quiet()
    engine.after(91)
    late.result(timeout=0)

    assert [each.result(timeout=0) for each in (right, wrong, late)] == [True, False, False]


def test_aggregator_folds_signals_into_its_state_and_answers_queries(engine):
    """Deviation: no entities; an aggregator is a workflow with signals, queries and continue-as-new."""

    @workflow.defn
    async def counter(value: int) -> int:
        @workflow.query
        def get() -> int:
            return value

        operations = workflow.signals("operation")
        for _ in range(5):
            match await operations.receive():
                case ["add", amount]:
                    value += amount
                case "reset":
                    value = 0
                case "stop":
                    return value
        workflow.continue_as_new(value)

    handle = counter.start(10)
    for operation in (["add", 5], "reset", *[["add", number] for number in range(1, 8)]):
        handle.signal("operation", operation)
    engine.run_until_quiet()

    assert handle.query("get") == 28
    assert handle.instance.executions.count() == 2
    handle.signal("operation", "stop")
    assert engine.result(handle) == 28


def test_critical_section_of_two_instances_is_a_workflow_that_hands_out_a_lock(engine):
    """Deviation: no entity locks; the same with signals."""

    @workflow.defn
    async def mutex() -> int:
        served = 0
        while served < 2:
            await workflow.signal_instance(await workflow.wait_signal("acquire"), "granted")
            await workflow.wait_signal("release")
            served += 1
        return served

    inside = []

    @activity.defn
    def enter(name: str) -> None:
        inside.append(f"+{name}")

    @activity.defn
    def leave(name: str) -> None:
        inside.append(f"-{name}")

    @workflow.defn
    async def user() -> None:
        name = workflow.info().instance_id
        await workflow.signal_instance("mutex", "acquire", name)
        await workflow.wait_signal("granted")
        await enter(name)
        await asyncio.sleep(10)
        await leave(name)
        await workflow.signal_instance("mutex", "release")

    lock = mutex.options(id="mutex").start()
    for name in ("a", "b"):
        user.options(id=name).start()
    engine.run_until_quiet()
    engine.after(11)
    engine.after(11)

    assert lock.result(timeout=0) == 2
    assert inside in (["+a", "-a", "+b", "-b"], ["+b", "-b", "+a", "-a"])


# --- eternal orchestrations


def test_eternal_workflow_runs_in_rounds_each_with_a_history_of_its_own(engine, work):
    @workflow.defn
    async def cleanup(round_: int) -> None:
        await work.double(round_)
        await asyncio.sleep(3600)
        workflow.continue_as_new(round_ + 1)

    handle = cleanup.start(0)
    engine.run_until_quiet()
    for _ in range(4):
        engine.after(3601)

    assert (handle.status, work.ran) == ("running", [0, 1, 2, 3, 4])
    executions = list(handle.instance.executions.order_by("number"))
    assert [each.status for each in executions] == ["continued"] * 4 + ["running"]
    assert {len(handle.history(each.pk)) for each in executions[:-1]} == {6}


def test_eternal_workflow_can_be_terminated(engine):
    @workflow.defn
    async def eternal() -> None:
        await asyncio.sleep(60)
        workflow.continue_as_new()

    handle = eternal.start()
    engine.run_until_quiet()
    engine.after(61)
    handle.terminate(reason="enough")
    engine.after(120)

    assert (handle.status, leftovers()) == ("terminated", [])
    assert handle.instance.executions.count() == 2


def test_terminate_beats_a_continue_as_new_of_the_same_moment(engine):
    @workflow.defn
    async def eternal(round_: int) -> None:
        await workflow.wait_signal("renew")
        workflow.continue_as_new(round_ + 1)

    handle = eternal.start(0)
    engine.run_until_quiet()
    handle.signal("renew")
    handle.terminate()
    engine.run_until_quiet()

    assert (handle.status, handle.instance.executions.count()) == ("terminated", 1)


@pytest.mark.parametrize("carry", [True, False])
def test_events_not_taken_before_a_renewal_are_kept_on_request(engine, carry):
    @workflow.defn
    async def rounds(round_: int) -> list:
        if not round_:
            await workflow.wait_signal("renew")
            workflow.continue_as_new(1, carry_signals=carry)
        return [await workflow.wait_signal("item"), await workflow.wait_signal("item", timeout=60)]

    handle = rounds.start(0)
    engine.run_until_quiet()
    for name, payload in (("item", "early"), ("renew", None), ("item", "late"), ("item", "later")):
        handle.signal(name, payload)

    assert engine.result(handle) == (["early", "late"] if carry else ["late", "later"])


# --- sub-orchestrations


def test_sub_orchestrations_of_three_levels_pass_results_up(engine, work):
    @workflow.defn
    async def leaf(number: int) -> int:
        return await work.double(number)

    @workflow.defn
    async def middle(number: int) -> int:
        return sum(await asyncio.gather(leaf(number), leaf(number + 1)))

    @workflow.defn
    async def root() -> int:
        return sum(await asyncio.gather(middle(0), middle(10)))

    handle = root.options(id="r").start()

    assert engine.result(handle) == 2 * (0 + 1 + 10 + 11)
    assert sorted(Instance.objects.values_list("id", flat=True))[:3] == ["r", "r:0000", "r:0000:0000"]


def test_sub_orchestration_with_a_given_id_can_be_signaled_by_it(engine, waiting):
    @workflow.defn
    async def parent() -> str:
        return await waiting.options(id="device-7")()

    handle = parent.start()
    engine.run_until_quiet()
    client.signal("device-7", "go", "ready")

    assert engine.result(handle) == "ready"


def test_retried_sub_orchestration_gives_up_after_its_attempts(engine, work):
    """Deviation: one child with several executions, where there each try is another child."""

    @workflow.defn
    async def child() -> None:
        await work.fail("always")

    @workflow.defn
    async def parent() -> str:
        try:
            await child.options(id="kid", retry=RetryPolicy(max_attempts=3, initial_interval=5, backoff=1))()
        except ChildFailed as error:
            return error.cause.failure.cause.message

    handle = parent.start()
    engine.run_until_quiet()
    for _ in range(2):
        engine.after(6)

    assert handle.result(timeout=0) == "always"
    assert client.get("kid").instance.executions.count() == 3
    assert "TimerStarted" not in kinds(handle), "no retry timers in the parent's history"


def test_sub_orchestration_can_be_started_and_forgotten(engine, waiting):
    @workflow.defn
    async def parent() -> str:
        child = waiting.options(id="kid", parent_close="abandon").start_child()
        return child.id

    handle = parent.start()

    assert engine.result(handle) == "kid"
    client.signal("kid", "go", "on its own")
    assert engine.result(client.get("kid")) == "on its own"


def test_retries_of_an_activity_leave_one_request_and_one_answer_in_the_history(engine, path):
    """Deviation: there every try and every delay is in the history."""
    tried = []

    @activity.defn(retry=RetryPolicy(max_attempts=4, initial_interval=5, backoff=1))
    def flaky() -> int:
        tried.append(1)
        if len(tried) < 3:
            raise ConnectionError
        return len(tried)

    @workflow.defn
    async def calls() -> int:
        return await flaky()

    handle = calls.start()
    engine.run_until_quiet()
    for _ in range(2):
        engine.after(6)

    assert handle.result(timeout=0) == 3
    assert kinds(handle) == ["ExecutionStarted", "ActivityScheduled", "ActivityCompleted", "ExecutionCompleted"]
    assert item(handle, "ActivityCompleted").data["attempts"] == 3


def test_handler_decides_which_failures_are_tried_again(engine, path):
    """Deviation: by the class or its name, not by a function."""
    tried = []

    @activity.defn(retry=RetryPolicy(max_attempts=5, initial_interval=0, non_retryable=(PermissionError,)))
    def flaky() -> None:
        tried.append(1)
        raise ConnectionError if len(tried) < 3 else PermissionError("stop")

    @workflow.defn
    async def calls() -> str:
        try:
            await flaky()
        except ActivityError as error:
            return error.cause.type

    handle = calls.start()
    for _ in range(3):
        engine.after(1)

    assert handle.result(timeout=0) == "PermissionError"
    assert len(tried) == 3


# --- external events


def test_events_raised_before_anybody_waits_are_buffered(engine, work):
    @workflow.defn
    async def late() -> list[str]:
        await asyncio.sleep(60)
        return [await workflow.wait_signal("b"), await workflow.wait_signal("a"), await workflow.wait_signal("a")]

    handle = late.start()
    for name, payload in (("a", "a1"), ("b", "b1"), ("a", "a2")):
        handle.signal(name, payload)
    engine.run_until_quiet()
    engine.after(61)

    assert handle.result(timeout=0) == ["b1", "a1", "a2"]


def test_name_of_an_event_is_compared_exactly(engine, waiting):
    """Deviation: there the case of letters does not count."""
    handle = waiting.start()
    handle.signal("GO", "wrong")
    engine.run_until_quiet()
    assert handle.status == "running"
    handle.signal("go", "right")

    assert engine.result(handle) == "right"


def test_any_of_several_events_lets_the_workflow_go_on(engine):
    @workflow.defn
    async def either() -> str:
        tasks = {name: asyncio.create_task(workflow.wait_signal(name)) for name in ("approve", "deny", "defer")}
        done, pending = await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return next(name for name, task in tasks.items() if task in done)

    handle = either.start()
    engine.run_until_quiet()
    handle.signal("deny")

    assert engine.result(handle) == "deny"


def test_all_of_several_events_are_waited_for(engine):
    @workflow.defn
    async def permits() -> list[str]:
        return list(await asyncio.gather(*(workflow.wait_signal(name) for name in ("city", "fire", "safety"))))

    handle = permits.start()
    for name in ("safety", "city"):
        handle.signal(name, name.upper())
        engine.run_until_quiet()
    assert handle.status == "running"
    handle.signal("fire", "FIRE")

    assert engine.result(handle) == ["CITY", "FIRE", "SAFETY"]


def test_two_waits_for_one_name_take_one_event_each(engine):
    @workflow.defn
    async def two() -> list[str]:
        return list(await asyncio.gather(workflow.wait_signal("item"), workflow.wait_signal("item")))

    handle = two.start()
    engine.run_until_quiet()
    handle.signal("item", "first")
    engine.run_until_quiet()
    assert handle.status == "running"
    handle.signal("item", "second")

    assert engine.result(handle) == ["first", "second"]


def test_wait_for_an_event_that_timed_out_does_not_take_it_later(engine):
    @workflow.defn
    async def twice() -> list:
        try:
            await workflow.wait_signal("item", timeout=10)
        except TimeoutError:
            await asyncio.sleep(10)
        return [await workflow.wait_signal("item")]

    handle = twice.start()
    engine.run_until_quiet()
    engine.after(11)
    handle.signal("item", "late")
    engine.run_until_quiet()
    engine.after(11)

    assert handle.result(timeout=0) == ["late"]


def test_event_for_an_instance_that_is_unknown_or_has_ended_is_refused(engine, waiting):
    """Deviation: there it is dropped in silence."""
    handle = waiting.start()
    handle.signal("go", "x")
    engine.run_until_quiet()

    with pytest.raises(NotOpen):
        handle.signal("go")
    with pytest.raises(UnknownInstance):
        client.signal("nobody", "go")


# --- timers


def test_timers_fire_in_the_order_in_which_they_are_due(engine):
    @workflow.defn
    async def three() -> list[int]:
        fired = []

        async def one(seconds: int) -> None:
            await asyncio.sleep(seconds)
            fired.append(seconds)

        await asyncio.gather(*map(one, (30, 10, 20)))
        return fired

    one_by_one, at_once = three.start(), three.start()
    engine.run_until_quiet()
    engine.after(60)

    assert one_by_one.result(timeout=0) == at_once.result(timeout=0) == [10, 20, 30]


def test_timers_of_one_moment_fire_in_the_order_in_which_they_were_made(engine):
    @workflow.defn
    async def same() -> list[str]:
        fired = []

        async def one(name: str) -> None:
            await asyncio.sleep(10)
            fired.append(name)

        await asyncio.gather(*map(one, "abcdef"))
        return fired

    handle = same.start()
    engine.run_until_quiet()
    engine.after(11)

    assert handle.result(timeout=0) == [*"abcdef"]


def test_timer_of_many_days_is_one_timer(engine):
    """Deviation: there a timer longer than six days is made of several."""

    @workflow.defn
    async def long() -> str:
        await asyncio.sleep(timedelta(days=400).total_seconds())
        return "at last"

    handle = long.start()
    engine.run_until_quiet()
    engine.after(timedelta(days=399).total_seconds())
    assert handle.status == "running"
    engine.after(timedelta(days=2).total_seconds())

    assert handle.result(timeout=0) == "at last"
    assert answers(handle)["TimerStarted"] == 1


def test_activity_with_a_time_limit_is_raced_against_a_timer(engine, work):
    @workflow.defn
    async def limited() -> str:
        activity_, timer = asyncio.create_task(work.later("a")), asyncio.create_task(asyncio.sleep(30))
        done, _ = await asyncio.wait([activity_, timer], return_when=asyncio.FIRST_COMPLETED)
        if activity_ in done:
            timer.cancel()
            return activity_.result()
        activity_.cancel()
        return "too slow"

    quick, slow = limited.start(), limited.start()
    engine.advance_only(quick.id)
    engine.perform_due()
    work.finish("a", "quick")
    engine.run_until_quiet()
    engine.after(31)

    assert (quick.result(timeout=0), slow.result(timeout=0)) == ("quick", "too slow")
    assert (answers(quick)["TimerCanceled"], answers(slow)["TimerFired"]) == (1, 1)
    assert leftovers() == []


def test_canceled_timer_does_not_hold_the_end_of_its_workflow_up(engine):
    @workflow.defn
    async def hasty() -> str:
        timer = asyncio.create_task(asyncio.sleep(10**6))
        await workflow.wait_signal("go")
        timer.cancel()
        return "ended"

    handle = hasty.start()
    engine.run_until_quiet()
    handle.signal("go")

    assert engine.result(handle) == "ended"
    assert leftovers() == []


# --- deterministic replay


def test_current_time_and_new_ids_are_the_same_on_replay(engine, work):
    @workflow.defn
    async def stamped() -> list[str]:
        stamps = [workflow.now().isoformat(), str(workflow.uuid4())]
        await work.double(1)
        return [*stamps, workflow.now().isoformat(), str(workflow.uuid4())]

    handle = stamped.start()
    now, one, later, other = engine.result(handle)

    assert datetime.fromisoformat(now).tzinfo == UTC
    assert datetime.fromisoformat(now) <= datetime.fromisoformat(later)
    assert len({uuid.UUID(one), uuid.UUID(other)}) == 2


def test_history_is_read_again_by_another_worker_without_running_anything_twice(engine, work, path):
    @workflow.defn
    async def long() -> list[int]:
        got = []
        for number in range(3):
            got.append(await work.double(number))
            await workflow.wait_signal("next")
        return got

    handle = long.start()
    engine.run_until_quiet()
    for _ in range(3):
        engine.restart()
        handle.signal("next")
        engine.run_until_quiet()

    assert handle.result(timeout=0) == [0, 2, 4]
    assert work.ran == [0, 1, 2]


def test_log_is_silent_while_history_is_replayed(engine, work, caplog):
    @workflow.defn
    async def logging_() -> None:
        workflow.logger.info("begun")
        await work.double(1)
        await workflow.wait_signal("go")
        workflow.logger.info("going")

    with caplog.at_level(logging.INFO, "durable.workflow"):
        handle = logging_.start()
        engine.run_until_quiet()
        engine.restart()
        handle.signal("go")
        engine.run_until_quiet()

    said = [record.getMessage() for record in caplog.records if record.name == "durable.workflow"]
    assert said == ["begun", "going"]


# --- custom status


def test_custom_status_progress_and_tags_are_there_for_operators(engine, work):
    @workflow.defn
    async def shown() -> None:
        workflow.set_status({"step": "one"})
        workflow.set_progress(1, 3, "of three")
        workflow.set_tags(customer=7, old=None)
        await workflow.wait_signal("go")
        workflow.set_status("done")

    handle = shown.options(tags={"old": 1}).start()
    engine.run_until_quiet()
    instance = handle.instance
    assert (instance.custom_status, instance.tags) == ({"step": "one"}, {"customer": 7})
    assert instance.progress == {"done": 1, "total": 3, "note": "of three"}

    handle.signal("go")
    engine.run_until_quiet()
    assert handle.instance.custom_status == "done", "also after the end"


def test_custom_status_is_kept_over_a_renewal_until_it_is_set_again(engine):
    @workflow.defn
    async def rounds(round_: int) -> None:
        if not round_:
            workflow.set_status("first")
            workflow.continue_as_new(1)
        await workflow.wait_signal("go")

    handle = rounds.start(0)
    engine.run_until_quiet()

    assert (handle.instance.custom_status, handle.instance.executions.count()) == ("first", 2)


def test_custom_status_that_cannot_be_stored_is_an_error_in_the_code(engine):
    @workflow.defn
    async def careless() -> str:
        try:
            workflow.set_status(object())
        except InvalidInput as error:
            return error.where

    assert "set_status" in engine.result(careless.start())


# --- terminate, suspend, resume


def test_terminate_ends_at_once_without_running_any_code(engine, work):
    @workflow.defn
    async def careful() -> None:
        try:
            await workflow.wait_signal("never")
        finally:
            await work.note("cleaned up")

    handle = careful.start()
    engine.run_until_quiet()
    handle.terminate(reason="enough")
    engine.run_until_quiet()

    assert (handle.status, work.ran) == ("terminated", [])
    assert kinds(handle)[-1] == "ExecutionTerminated"
    with pytest.raises(WorkflowTerminated, match="enough"):
        handle.result(timeout=0)


def test_terminate_reaches_all_descendants(engine, waiting):
    @workflow.defn
    async def middle() -> None:
        await asyncio.gather(*(waiting.options(id=f"leaf-{number}")() for number in range(2)))

    @workflow.defn
    async def root() -> None:
        await middle.options(id="middle")()

    handle = root.start()
    engine.run_until_quiet()
    handle.terminate()
    engine.run_until_quiet()

    assert {client.status(name) for name in ("middle", "leaf-0", "leaf-1")} == {"terminated"}


def test_terminate_of_an_instance_that_has_not_begun_keeps_it_from_beginning(engine, work):
    @workflow.defn
    async def never() -> None:
        await work.note("began")

    handle = never.options(delay=60).start()
    handle.terminate()
    engine.after(61)

    assert (handle.status, work.ran, leftovers()) == ("terminated", [], [])


def test_terminate_twice_does_nothing_and_of_a_completed_instance_is_refused(engine, waiting):
    terminated, completed = waiting.start(), waiting.start()
    completed.signal("go", "x")
    engine.run_until_quiet()
    terminated.terminate()
    terminated.terminate()

    assert answers(terminated)["ExecutionTerminated"] == 1
    with pytest.raises(NotOpen):
        completed.terminate()
    assert completed.result(timeout=0) == "x"


def test_suspended_instance_keeps_what_comes_and_takes_it_in_order_when_it_resumes(engine, work):
    @workflow.defn
    async def steps() -> list:
        timer = asyncio.create_task(asyncio.sleep(10))
        got = [await workflow.wait_signal("item"), await workflow.wait_signal("item")]
        await timer
        return [*got, await work.double(1)]

    handle = steps.start()
    engine.run_until_quiet()
    handle.suspend(reason="audit")
    before = kinds(handle)
    for number in (1, 2):
        handle.signal("item", number)
        engine.run_until_quiet()
    engine.after(11)
    assert (handle.status, kinds(handle), work.ran) == ("suspended", before, [])

    handle.resume()
    assert engine.result(handle) == [1, 2, 2]
    assert item(handle, "ExecutionSuspended").data["reason"] == "audit"
    assert answers(handle)["ExecutionResumed"] == 1


def test_suspended_instance_begins_no_activity_and_takes_the_end_of_one_that_runs(engine, work, handed_out):
    @workflow.defn
    async def two() -> list:
        return list(await asyncio.gather(work.later("external"), work.double(1)))

    handle = two.start()
    engine.run_until_quiet()
    work.ran.clear()
    handle.suspend()
    work.finish("external", "answer")
    engine.run_until_quiet()
    assert handle.status == "suspended"
    handle.resume()

    assert engine.result(handle) == ["answer", 2]


def test_suspending_and_resuming_twice_is_recorded_once(engine, waiting):
    handle = waiting.start()
    engine.run_until_quiet()
    for _ in range(2):
        handle.suspend()
    for _ in range(2):
        handle.resume()
    handle.signal("go", "x")

    assert engine.result(handle) == "x"
    counted = answers(handle)
    assert (counted["ExecutionSuspended"], counted["ExecutionResumed"]) == (1, 1)


def test_suspend_reaches_children_on_request(engine, waiting):
    @workflow.defn
    async def parent() -> str:
        return await waiting.options(id="kid")()

    handle = parent.start()
    engine.run_until_quiet()
    handle.suspend(children=True)
    assert (handle.status, client.status("kid")) == ("suspended", "suspended")
    handle.resume(children=True)
    client.signal("kid", "go", "on")

    assert engine.result(handle) == "on"


def test_suspended_instance_can_be_terminated(engine, waiting):
    handle = waiting.start()
    engine.run_until_quiet()
    handle.suspend()
    handle.terminate()

    assert handle.status == "terminated"


# --- singletons and ids


def test_singleton_is_an_instance_with_an_id_of_its_own(engine, waiting):
    first = waiting.options(id="singleton").start()
    with pytest.raises(AlreadyExists):
        waiting.options(id="singleton").start()
    same = waiting.options(id="singleton", id_reuse="return_existing").start()
    same.signal("go", "one")

    assert engine.result(first) == "one"
    assert (first == same, Instance.objects.count()) == (True, 1)


def test_instance_that_ended_makes_room_for_another_of_its_id_on_request(engine, waiting):
    first = waiting.options(id="again").start()
    engine.run_until_quiet()
    first.terminate()
    second = waiting.options(id="again", id_reuse="replace_closed").start()
    second.signal("go", "second")

    assert engine.result(second) == "second"
    assert [each.status for each in second.instance.executions.order_by("number")] == ["terminated", "completed"]


# --- values and errors


@pytest.mark.parametrize("what", ["input", "result", "activity input", "activity result", "signal"])
def test_value_that_has_no_json_is_refused_where_it_is_given(engine, work, waiting, what):
    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def careless() -> object:
        return object()

    @workflow.defn
    async def carrying(value: object = None) -> object:
        match what:
            case "result":
                return object()
            case "activity input":
                await work.note(object())
            case "activity result":
                await careless()

    if what in ("input", "signal"):
        handle = waiting.start()
        with pytest.raises(InvalidInput):
            carrying.start(object()) if what == "input" else handle.signal("go", object())
        assert Instance.objects.count() == 1
    else:
        handle = carrying.start()
        with pytest.raises(WorkflowFailed) as failed:
            engine.result(handle)
        chain = [failed.value.failure]
        while chain[-1].cause:
            chain.append(chain[-1].cause)
        assert chain[-1].type in ("InvalidInput", "TypeError")


def test_failure_of_an_activity_can_be_compensated(engine, work):
    @workflow.defn
    async def transfer() -> str:
        await work.note("debit")
        try:
            await work.fail("credit")
        except ActivityError:
            await work.note("refund")
            return "compensated"
        return "done"

    assert engine.result(transfer.start()) == "compensated"
    assert work.ran == ["debit", "fail credit", "refund"]


def test_failure_that_is_not_handled_fails_the_instance_with_its_details(engine, work):
    @workflow.defn
    async def failing() -> None:
        await work.fail("no money")

    handle = failing.start()
    engine.run_until_quiet()

    failure = handle.instance.failure
    assert (handle.status, failure["type"], failure["cause"]["type"]) == ("failed", "ActivityError", "ValueError")
    assert "no money" in failure["cause"]["message"]
    assert "Traceback" in failure["cause"]["traceback"]


def test_failure_of_a_child_can_be_handled_and_another_one_tried(engine, work):
    @workflow.defn
    async def supplier(name: str) -> str:
        if name == "first":
            await work.fail("sold out")
        return f"bought from {name}"

    @workflow.defn
    async def buying() -> str:
        for name in ("first", "second"):
            try:
                return await supplier(name)
            except ChildFailed:
                continue

    handle = buying.start()

    assert engine.result(handle) == "bought from second"
    assert (answers(handle)["ChildFailed"], answers(handle)["ChildCompleted"]) == (1, 1)


def test_instance_of_an_unknown_version_waits_until_it_is_deployed(engine, work):
    """Deviation: there an orchestration without code fails."""

    @workflow.defn
    async def deployed() -> int:
        await workflow.wait_signal("go")
        return await work.double(1)

    handle = deployed.start()
    engine.run_until_quiet()
    registry.unregister_workflow("deployed", 0)
    engine.restart()
    handle.signal("go")
    engine.run_until_quiet()
    assert handle.status == "stalled"

    registry.add_workflow(deployed)
    engine.after(31)
    assert handle.result(timeout=0) == 2
