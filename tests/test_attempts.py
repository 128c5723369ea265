"""Attempts at activities: retries, timeouts, heartbeats, completion from outside, lost workers."""

from __future__ import annotations

import asyncio
import sys
import time as wall
import uuid
from itertools import pairwise

import pytest
from celery.worker import state
from django.db import transaction

from durable import (
    ActivityError,
    InvalidInput,
    RetryPolicy,
    UnknownToken,
    WorkflowFailed,
    activity,
    client,
    workflow,
)
from durable.engine import lost, presence
from durable.engine.perform import perform
from durable.models import ActivityTask, Instance, Worker
from durable.store import tasks, workers
from tests.driving import Together, answers, item, kinds, leftovers

ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture
def run(fresh):
    """Return a workflow that awaits the activity ``work`` and says how it ended."""

    @workflow.defn
    async def run() -> object:
        try:
            return await workflow.activity_by_name("work")()
        except ActivityError as error:
            return [error.activity, error.attempts, error.cause.type, error.cause.message]

    return run


@pytest.fixture
def worker(committing):
    """Make this process a worker that watches the time of what it runs in place."""
    return presence.start()


# --- retries


def test_history_has_one_scheduled_and_one_completed_with_the_attempts(engine, path, time, run):
    attempts = []

    @activity.defn(retry=RetryPolicy(max_attempts=3, initial_interval=1))
    def work() -> str:
        attempts.append(activity.info().attempt)
        if len(attempts) < 3:
            raise ValueError(f"attempt {len(attempts)}")
        return "done"

    handle = run.start()
    for _ in range(3):
        engine.run_until_quiet()
        time.forward(5)

    assert engine.result(handle) == "done"
    assert attempts == [1, 2, 3]
    assert kinds(handle) == ["ExecutionStarted", "ActivityScheduled", "ActivityCompleted", "ExecutionCompleted"]
    assert item(handle, "ActivityCompleted").data["attempts"] == 3
    assert leftovers() == []


def test_failed_for_good_has_the_attempts_and_the_last_failure(engine, path, time, run):
    attempts = []

    @activity.defn(retry=RetryPolicy(max_attempts=2, initial_interval=1))
    def work() -> None:
        attempts.append(1)
        raise KeyError(f"attempt {len(attempts)}")

    handle = run.start()
    engine.run_until_quiet()
    time.forward(2)

    assert engine.result(handle) == ["work", 2, "KeyError", "'attempt 2'"]
    data = item(handle, "ActivityFailed").data
    assert data["attempts"] == 2
    assert 'raise KeyError(f"attempt' in data["failure"]["traceback"]
    assert answers(handle)["ActivityScheduled"] == 1


def test_waits_grow_from_the_initial_interval(engine, path, time, run):
    begun = []

    @activity.defn(retry=RetryPolicy(max_attempts=4, initial_interval=10, backoff=3, max_interval=50))
    def work() -> None:
        begun.append(time.now())
        raise ValueError

    handle = run.start()
    for _ in range(130):
        engine.run_until_quiet()
        time.forward(1)

    assert handle.status == "completed"
    waits = [round((b - a).total_seconds()) for a, b in pairwise(begun)]
    assert waits == [pytest.approx(wait, abs=1) for wait in (10, 30, 50)]


@pytest.mark.parametrize("max_attempts", [1, 2])
def test_max_attempts_counts_the_first(engine, path, time, run, max_attempts):
    attempts = []

    @activity.defn(retry=RetryPolicy(max_attempts=max_attempts, initial_interval=1))
    def work() -> None:
        attempts.append(1)
        raise ValueError

    handle = run.start()
    for _ in range(4):
        engine.run_until_quiet()
        time.forward(5)

    assert len(attempts) == max_attempts
    assert handle.status == "completed"


def test_three_attempts_a_second_apart_are_the_default(engine, path, time, run):
    attempts = []

    @activity.defn
    def work() -> None:
        attempts.append(1)
        raise ValueError

    run.start()
    for _ in range(10):
        engine.run_until_quiet()
        time.forward(1)

    assert len(attempts) == 3


@pytest.mark.parametrize("stop", [ValueError, "ValueError", Exception, "LookupError"])
def test_non_retryable_holds_classes_or_their_names(engine, path, time, run, stop):
    attempts = []

    @activity.defn(retry=RetryPolicy(max_attempts=2, initial_interval=1, non_retryable=(stop,)))
    def work() -> None:
        attempts.append(1)
        raise KeyError if stop == "LookupError" else ValueError("no")

    handle = run.start()
    engine.run_until_quiet()
    time.forward(5)
    engine.run_until_quiet()

    assert (len(attempts), handle.status) == (1, "completed")


def test_raising_non_retryable_stops_retries(engine, path, run):
    attempts = []

    @activity.defn
    def work() -> None:
        attempts.append(1)
        raise activity.NonRetryable("card is stolen")

    assert engine.result(run.start()) == ["work", 1, "NonRetryable", "card is stolen"]
    assert len(attempts) == 1


def test_options_of_the_call_win_over_the_definitions(engine, path, time):
    attempts = []

    @activity.defn(retry=RetryPolicy(max_attempts=5))
    def work() -> None:
        attempts.append(1)
        raise ValueError

    @workflow.defn
    async def outer() -> None:
        await work.options(retry=None)()

    handle = outer.start()
    with pytest.raises(WorkflowFailed, match="tried once"):
        engine.result(handle)
    assert len(attempts) == 1


def test_other_work_goes_on_while_a_retry_waits(engine, path):
    @activity.defn
    def failing() -> None:
        raise ValueError

    @workflow.defn
    async def outer() -> str:
        failed = asyncio.create_task(failing())
        answer = await workflow.wait_signal("go")
        failed.cancel()
        return answer

    handle = outer.start()
    engine.run_until_quiet()
    assert ActivityTask.objects.get().attempt == 2
    handle.signal("go", "now")

    assert engine.result(handle) == "now"
    assert leftovers() == [], "the retry is dropped"


def test_task_shows_its_last_failure_while_it_waits(engine, path, run):
    @activity.defn
    def work() -> None:
        raise ValueError("bank is closed")

    run.start()
    engine.run_until_quiet()

    task = ActivityTask.objects.get()
    assert (task.attempt, task.last_failure["message"]) == (2, "bank is closed")


# --- timeouts


def test_schedule_to_start_ends_an_activity_that_nobody_takes(engine, time, run):
    @activity.defn(queue="nobody-serves", schedule_to_start=10)
    def work() -> None: ...

    handle = run.start()
    engine.advance_due()
    time.forward(11)
    engine.run_until_quiet()

    assert handle.result(timeout=0) == ["work", 1, "TimeoutError", "schedule_to_start timeout"]
    assert leftovers() == []


def test_schedule_to_start_does_not_count_once_it_runs(engine, time, run, settings):
    settings.DURABLE = {"RUN_INLINE": False, "LEASE": 1000}

    @activity.defn(schedule_to_start=10)
    def work() -> str:
        time.forward(60)
        engine.run_until_quiet()
        return "slow"

    assert engine.result(run.start()) == "slow"


def test_start_to_close_counts_for_each_attempt(engine, time, run, settings):
    settings.DURABLE = {"RUN_INLINE": False}
    attempts = []

    @activity.defn(start_to_close=10, retry=RetryPolicy(max_attempts=2, initial_interval=1))
    def work() -> str:
        attempts.append(activity.info().attempt)
        time.forward(11)
        engine.run_until_quiet()
        return "too late"

    handle = run.start()
    engine.run_until_quiet()
    time.forward(2)

    assert engine.result(handle) == ["work", 2, "TimeoutError", "start_to_close timeout"]
    assert attempts == [1, 2]
    assert answers(handle)["ActivityCompleted"] == 0, "late results are dropped"


def test_schedule_to_close_counts_over_all_attempts(engine, path, time, run):
    attempts = []

    @activity.defn(schedule_to_close=25, retry=RetryPolicy(max_attempts=0, initial_interval=10, backoff=1))
    def work() -> None:
        attempts.append(time.now())
        raise ValueError

    handle = run.start()
    for _ in range(40):
        engine.run_until_quiet()
        time.forward(1)

    assert engine.result(handle)[2:] == ["TimeoutError", "schedule_to_close timeout"]
    assert len(attempts) == 3


def test_schedule_to_close_counts_from_the_first_attempt_in_place(worker, committing, time, run):
    attempts = []

    @activity.defn(schedule_to_close=25, retry=RetryPolicy(max_attempts=0, initial_interval=10, backoff=1))
    def work() -> None:
        attempts.append(1)
        raise ValueError

    handle = run.start()
    for _ in range(40):
        committing.run_until_quiet()
        time.forward(1)

    assert committing.result(handle)[2:] == ["TimeoutError", "schedule_to_close timeout"]
    assert len(attempts) == 3


def test_activity_that_runs_in_place_for_too_long_is_given_up(worker, committing, run):
    told = []

    @activity.defn(start_to_close=0.05, retry=ONCE)
    def work() -> str:
        until = wall.monotonic() + 10
        while not activity.cancelled() and wall.monotonic() < until:
            wall.sleep(0.01)
        told.append(activity.cancelled())
        return "too late"

    handle = run.start()

    assert committing.result(handle) == ["work", 1, "TimeoutError", "start_to_close timeout"]
    assert told == [True]


def test_deadline_is_shown_to_the_activity(engine, time, run, settings):
    settings.DURABLE = {"RUN_INLINE": False}
    seen = []

    @activity.defn(start_to_close=60, schedule_to_close=30)
    def work() -> None:
        seen.append((activity.info().deadline - time.now()).total_seconds())

    engine.result(run.start())

    assert seen == [pytest.approx(30, abs=2)]


def test_heartbeat_timeout_ends_a_silent_attempt(engine, time, run):
    attempts = []

    @activity.defn(heartbeat=10, retry=RetryPolicy(max_attempts=2, initial_interval=1))
    def work() -> str:
        attempts.append(1)
        time.forward(11)
        engine.run_until_quiet()
        return "silent"

    handle = run.start()
    engine.run_until_quiet()
    time.forward(2)

    assert engine.result(handle) == ["work", 2, "TimeoutError", "heartbeat timeout"]
    assert len(attempts) == 2


def test_heartbeats_keep_an_attempt_alive(engine, time, run, settings):
    settings.DURABLE = {"LEASE": 1000}

    @activity.defn(heartbeat=10)
    def work() -> str:
        for _ in range(5):
            time.forward(8)
            activity.heartbeat()
            engine.run_until_quiet()
        return "alive"

    assert engine.result(run.start()) == "alive"


def test_heartbeats_do_not_stretch_start_to_close(engine, time, run):
    @activity.defn(heartbeat=10, start_to_close=20, retry=ONCE)
    def work() -> str:
        for _ in range(5):
            time.forward(8)
            activity.heartbeat()
            engine.run_until_quiet()
        return "alive"

    assert engine.result(run.start())[2:] == ["TimeoutError", "start_to_close timeout"]


# --- heartbeat details


def test_next_attempt_finds_the_details_of_the_last_heartbeat(engine, path, time, run):
    seen = []

    @activity.defn
    def work() -> list:
        seen.append(activity.heartbeat_details())
        activity.heartbeat({"row": 10 * len(seen)}, "more")
        if len(seen) < 3:
            raise ValueError
        return list(activity.heartbeat_details())

    handle = run.start()
    for _ in range(3):
        engine.run_until_quiet()
        time.forward(5)

    assert engine.result(handle) == [{"row": 30}, "more"]
    assert seen == [(), ({"row": 10}, "more"), ({"row": 20}, "more")]


def test_async_activity_can_beat_and_look_for_a_cancel(committing, path, run):
    @activity.defn
    async def work() -> list:
        activity.heartbeat(5)
        return [activity.cancelled(), list(activity.heartbeat_details())]

    assert committing.result(run.start()) == [False, [5]]


# --- completion from outside


def test_activity_is_completed_from_outside(engine, path, run):
    tokens = []

    @activity.defn
    def work() -> str:
        tokens.append(activity.complete_later())
        return "ignored"

    handle = run.start()
    engine.run_until_quiet()
    assert handle.status == "running"
    client.complete_activity(tokens[0], {"by": "hand"})

    assert engine.result(handle) == {"by": "hand"}
    assert leftovers() == []


def test_activity_is_failed_from_outside_and_tried_again(engine, path, time, run):
    tokens = []

    @activity.defn(retry=RetryPolicy(max_attempts=2, initial_interval=1))
    def work() -> None:
        tokens.append(activity.complete_later())

    handle = run.start()
    engine.run_until_quiet()
    client.fail_activity(tokens[0], "the bank said no")
    time.forward(2)
    engine.run_until_quiet()
    assert len(set(tokens)) == 2
    client.fail_activity(tokens[1], ValueError("again"))

    assert engine.result(handle) == ["work", 2, "ValueError", "again"]


def test_activity_that_is_failed_by_a_message_has_it_as_its_failure(engine, path, run):
    @activity.defn(retry=ONCE)
    def work() -> None:
        tokens.append(activity.complete_later())

    tokens = []
    handle = run.start()
    engine.run_until_quiet()
    client.fail_activity(tokens[0], "the bank said no")

    assert engine.result(handle)[3] == "the bank said no"


def test_token_cannot_be_made_of_what_others_know(engine, path, fresh):
    """Idempotency keys go to other companies, ids are on pages, and who got one token may not use another one's."""
    tokens, keys = [], []

    @activity.defn
    def approve(who: str) -> str:
        keys.append(activity.info().idempotency_key)
        tokens.append(activity.complete_later())
        return ""

    @workflow.defn
    async def approvals() -> list[str]:
        return await asyncio.gather(*(approve(who) for who in ("ada", "bob", "eve")))

    handle = approvals.start()
    engine.run_until_quiet()
    *parts, secret = tokens[0].split(":")
    ids = ActivityTask.objects.order_by("pk").values_list("pk", flat=True)
    mine = [token for token in tokens if token.endswith(secret)]
    forged = [f"{key}:1:{pk}:{known}" for key in keys for pk in ids for known in (secret, "0" * 32, "")]

    assert len(mine) == 1
    assert len({token.split(":")[-1] for token in tokens}) == 3
    for token in set(forged) - set(tokens):
        with pytest.raises(UnknownToken):
            client.complete_activity(token, "granted")
    with pytest.raises(InvalidInput):
        client.complete_activity(":".join(parts), "granted")
    assert set(forged) & set(tokens) == {tokens[0]}
    for token in tokens:
        client.complete_activity(token, "signed")
    assert engine.result(handle) == ["signed"] * 3


def test_stale_token_is_an_error(engine, path, time, run):
    tokens = []

    @activity.defn(retry=RetryPolicy(max_attempts=2, initial_interval=1))
    def work() -> None:
        tokens.append(activity.complete_later())

    handle = run.start()
    engine.run_until_quiet()
    client.fail_activity(tokens[0], "no")
    for stale in (tokens[0], f"{uuid.uuid4()}:0:1:1:5f3c"):
        with pytest.raises(UnknownToken):
            client.complete_activity(stale, 1)
    time.forward(2)
    engine.run_until_quiet()
    with pytest.raises(UnknownToken):
        client.complete_activity(tokens[0], "stale")
    client.complete_activity(tokens[1], "fresh")
    with pytest.raises(UnknownToken):
        client.complete_activity(tokens[1], "twice")

    assert engine.result(handle) == "fresh"


@pytest.mark.parametrize("token", ["", "x", "a:b:c", "1:2:3"])
def test_text_that_is_no_token_is_refused(db, token):
    with pytest.raises(InvalidInput, match="token"):
        client.complete_activity(token, 1)


def test_result_from_outside_without_json_is_refused_and_can_be_given_again(engine, path, run):
    tokens = []

    @activity.defn
    def work() -> None:
        tokens.append(activity.complete_later())

    handle = run.start()
    engine.run_until_quiet()
    with pytest.raises(InvalidInput):
        client.complete_activity(tokens[0], object())
    client.complete_activity(tokens[0], 5)

    assert engine.result(handle) == 5


def test_completion_that_races_the_end_of_the_function_counts(committing, path, run):
    @activity.defn
    def work() -> str:
        token = activity.complete_later()
        Together().add(lambda: client.complete_activity(token, "quick")).run()
        return "ignored"

    assert committing.result(run.start()) == "quick"


def test_two_completions_at_once_give_one_result(committing, path, run):
    tokens = []

    @activity.defn
    def work() -> None:
        tokens.append(activity.complete_later())

    for _ in range(5):
        handle = run.start()
        committing.run_until_quiet()
        token = tokens[-1]

        outcomes = Together().add(lambda token=token: client.complete_activity(token, 1), times=3).run()

        assert sorted(type(o).__name__ for o in outcomes) == ["NoneType", "UnknownToken", "UnknownToken"]
        assert committing.result(handle) == 1
        assert answers(handle)["ActivityCompleted"] == 1


def test_start_to_close_counts_for_activities_completed_from_outside(engine, path, time, run, settings):
    @activity.defn(start_to_close=60, retry=ONCE)
    def work() -> None:
        tokens.append(activity.complete_later())

    tokens = []
    handle = run.start()
    engine.run_until_quiet()
    time.forward(61)

    assert engine.result(handle)[2] == "TimeoutError"
    with pytest.raises(UnknownToken):
        client.complete_activity(tokens[0], 1)


def test_activity_completed_in_the_callers_transaction_is_rolled_back_with_it(committing, path, run):
    @activity.defn
    def work() -> None:
        tokens.append(activity.complete_later())

    tokens = []
    handle = run.start()
    committing.run_until_quiet()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        client.complete_activity(tokens[0], "rolled back")
        raise ZeroDivisionError
    client.complete_activity(tokens[0], "kept")

    assert committing.result(handle) == "kept"


# --- lost workers


def abandon():
    """Make what runs look as if its worker had been killed in the middle."""
    past = {"lease": uuid.uuid4(), "lease_until": "2020-01-01T00:00:00Z"}
    ActivityTask.objects.update(state="running", worker="dead", **past)
    Instance.objects.filter(lease__isnull=False).update(lease_worker="dead", **past)


def test_worker_lost_in_the_middle_counts_as_an_attempt(committing, path, time, run):
    attempts = []

    @activity.defn
    def work() -> str:
        attempts.append(activity.info().attempt)
        if len(attempts) == 1:
            abandon()
            return "lost"
        return "found"

    handle = run.start()
    committing.advance_due()
    committing.perform_due()
    time.forward(1)
    committing.run_until_quiet()
    time.forward(5)

    assert committing.result(handle) == "found"
    assert attempts == [1, 2]
    assert item(handle, "ActivityCompleted").data["attempts"] == 2


def test_worker_lost_at_the_last_attempt_fails_the_activity(committing, path, time, run):
    @activity.defn(retry=ONCE)
    def work() -> str:
        abandon()
        return "lost"

    handle = run.start()
    committing.advance_due()
    committing.perform_due()
    time.forward(1)

    assert committing.result(handle)[:3] == ["work", 1, "WorkerLost"]


def test_schedule_to_close_counts_on_when_a_worker_is_lost(committing, worker, time, run):
    @activity.defn(schedule_to_close=100, retry=RetryPolicy(initial_interval=1))
    def work() -> str:
        if activity.info().attempt == 1:
            time.forward(60)
            abandon()
            return "lost"
        return str(round((activity.info().deadline - time.now()).total_seconds(), -1))

    handle = run.start()
    committing.advance_due()
    committing.run_until_quiet()
    time.forward(5)

    assert committing.result(handle) in ("30.0", "40.0")


def test_lease_holds_for_as_long_as_its_worker_beats(engine, path, time, run, settings):
    settings.DURABLE = {**settings.DURABLE, "LEASE": 10}

    @activity.defn
    def work() -> str:
        for _ in range(4):
            time.forward(8)
            workers.beat(["default"])
            engine.run_until_quiet()
        return "alive"

    handle = run.start()

    assert engine.result(handle) == "alive"
    assert item(handle, "ActivityCompleted").data["attempts"] == 1
    assert Worker.objects.get().queues == ["default"]


def test_activity_that_calls_exit_fails_like_any_other(engine, path, run):
    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def work() -> str:
        sys.exit("done with it")

    handle = run.start()

    assert engine.result(handle) == ["work", 1, "SystemExit", "done with it"]


def test_worker_that_is_told_to_stop_gives_its_work_back_and_no_attempt_counts(committing, path, run, monkeypatch):
    monkeypatch.setattr(state, "should_stop", None)
    attempts = []

    @activity.defn
    def work() -> str:
        attempts.append(activity.info().attempt)
        if len(attempts) == 1:
            state.should_stop = 0
            state.maybe_shutdown()  # what Celery does in the middle of a task when it is told to stop
        return "done"

    handle = run.start()
    with pytest.raises(SystemExit):
        committing.run_until_quiet()
    task = ActivityTask.objects.get()
    assert (task.state, task.attempt) == ("ready", 1)

    assert committing.result(handle) == "done"
    assert attempts == [1, 1]


@pytest.mark.parametrize("came_through", [True, False])
@pytest.mark.parametrize("beats", [True, False])
def test_second_try_to_give_work_back_takes_nothing_from_who_has_it(
    committing, worker, run, monkeypatch, came_through, beats
):
    later = []
    monkeypatch.setattr(worker, "call_at", lambda when, call: later.append(call))

    @activity.defn
    def work() -> None:
        if beats:
            activity.heartbeat(1)
        raise KeyboardInterrupt

    first = (tasks, "put_back") if beats else (lost, "hand_over")
    run.start()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if not came_through:
            patch.setattr(*first, lambda *_, **__: False)  # as if its commit were still on its way
        committing.advance_due()
    if came_through:
        with transaction.atomic():
            tasks.take(tasks.next_ready("default", 1), worker="another", expiries=[None])
    for call in later:
        call()

    task = ActivityTask.objects.get()
    assert (task.state, task.worker) == (("running", "another") if came_through else ("ready", ""))
    assert not Instance.objects.filter(lease__isnull=False).exists()


def test_work_that_is_given_back_waits_without_a_time_to_end(committing, path, run, monkeypatch):
    monkeypatch.setattr(state, "should_stop", None)

    @activity.defn(start_to_close=60)
    def work() -> None:
        state.should_stop = 0
        state.maybe_shutdown()

    run.start()
    with pytest.raises(SystemExit):
        committing.run_until_quiet()

    task = ActivityTask.objects.get()
    assert (task.state, task.expires_at) == ("ready", None)


def test_unknown_activity_waits_for_a_worker_that_knows_it_and_says_so(engine, path, time, run):
    handle = run.start()
    engine.run_until_quiet()

    task = ActivityTask.objects.get()
    assert (handle.status, task.state, task.attempt) == ("running", "ready", 1)
    assert "no worker so far knows the activity 'work'" in task.last_failure["message"]

    @activity.defn
    def work() -> str:
        return "known now"

    time.forward(10)
    assert engine.result(handle) == "known now"
    assert item(handle, "ActivityCompleted").data["attempts"] == 1


def test_unknown_activity_does_not_hold_up_those_behind_it(engine, settings, run):
    settings.DURABLE = {"RUN_INLINE": False}

    @activity.defn
    def known() -> str:
        return "ran"

    @workflow.defn
    async def other() -> str:
        return await known()

    first, second = run.start(), other.start()
    engine.advance_due()
    perform("default")
    engine.run_until_quiet()

    assert (first.status, second.status) == ("running", "completed")
