"""Virtual time: waits, retries and timeouts play out at once, and exactly."""

from __future__ import annotations

import asyncio
import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from durable import ActivityError, RetryPolicy, UnknownToken, activity, testing, workflow

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _fresh(fresh):
    pass


def calling(definition: Any) -> Any:
    """Return a workflow that calls an activity and says how it ended and when."""

    @workflow.defn
    async def calls() -> list[Any]:
        begun = workflow.time()
        try:
            came: Any = await definition()
        except ActivityError as error:
            came = [error.cause.type, error.cause.message, error.attempts]
        return [came, workflow.time() - begun]

    return calls


def limited(**options: Any) -> Any:
    @activity.defn(**options)
    def work() -> Any:
        raise AssertionError("the real one")

    return work


# --- the clock


def test_clock_starts_where_the_test_says_and_stands_still_while_code_runs():
    @workflow.defn
    async def looks() -> list[str]:
        first = workflow.now()
        await asyncio.sleep(0)
        return [first.isoformat(), workflow.now().isoformat()]

    simulation = testing.Simulation(looks, start=datetime(2030, 2, 3, 4, tzinfo=UTC))

    assert simulation.run().result() == ["2030-02-03T04:00:00+00:00"] * 2
    assert simulation.now == datetime(2030, 2, 3, 4, tzinfo=UTC)


def test_timers_fire_in_order_of_time_then_of_creation():
    @workflow.defn
    async def naps() -> list[str]:
        woken: list[str] = []

        async def nap(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            woken.append(name)

        await asyncio.gather(nap("c", 0.2), nap("a", 0.1), nap("d", 0.2), nap("b", 0.1))
        return woken

    simulated = testing.simulate(naps)

    assert simulated.result() == ["a", "b", "c", "d"]
    assert simulated.elapsed == timedelta(seconds=0.2)


def test_same_simulation_comes_to_the_same():
    @workflow.defn
    async def draws() -> list[Any]:
        return [str(workflow.uuid4()), workflow.random()]

    assert testing.simulate(draws).result() == testing.simulate(draws).result()


# --- retries


def test_failing_mock_is_retried_by_the_policy_in_virtual_time():
    work = limited(retry=RetryPolicy(initial_interval=10, backoff=3, max_attempts=4))
    simulation = testing.Simulation(calling(work))
    simulation.mock(work).raises(ValueError("no")).times(3)
    simulation.mock(work).returns("yes")

    simulated = simulation.run()

    assert simulated.result() == ["yes", 10 + 30 + 90]
    waits = [(call.at - simulated.calls[0].at).total_seconds() for call in simulated.calls]
    assert waits == [0, 10, 40, 130]
    assert [call.attempt for call in simulated.calls] == [1, 2, 3, 4]
    assert [call.outcome for call in simulated.calls] == ["failed"] * 3 + ["completed"]
    assert [item.data["attempts"] for item in simulated.history if item.kind == "ActivityCompleted"] == [4]


def test_failure_that_is_not_to_be_retried_ends_the_attempts():
    work = limited(retry=RetryPolicy(max_attempts=9, non_retryable=(LookupError,)))
    simulation = testing.Simulation(calling(work))
    simulation.mock(work).raises(KeyError("x"))

    assert simulation.run().result() == [["KeyError", "'x'", 1], 0]


def test_real_activity_is_retried_and_finds_its_last_heartbeat():
    seen: list[Any] = []

    @activity.defn(retry=RetryPolicy(initial_interval=60))
    async def work() -> str:
        seen.append((activity.info().attempt, activity.heartbeat_details(), activity.cancelled()))
        activity.heartbeat(activity.info().attempt, "rows")
        if activity.info().attempt < 3:
            raise ValueError("again")
        return activity.info().idempotency_key[-2:]

    assert testing.simulate(calling(work)).result() == [":0", 60 + 100]
    assert seen == [(1, (), False), (2, (1, "rows"), False), (3, (2, "rows"), False)]


# --- timeouts


def test_attempt_that_takes_too_long_is_given_up_and_retried():
    work = limited(start_to_close=30, retry=RetryPolicy(initial_interval=5, max_attempts=2))
    simulation = testing.Simulation(calling(work))
    simulation.mock(work).returns("late").takes(31).once()
    simulation.mock(work).returns("in time").takes(30)

    assert simulation.run().result() == ["in time", 30 + 5 + 30]


def test_attempts_that_take_too_long_fail_with_the_timeout():
    work = limited(start_to_close=30, retry=RetryPolicy(max_attempts=1))
    simulation = testing.Simulation(calling(work))
    simulation.mock(work).takes(HOUR)

    assert simulation.run().result() == [["TimeoutError", "start_to_close timeout", 1], 30]


def test_schedule_to_close_ends_a_running_attempt_for_good():
    work = limited(schedule_to_close=100, start_to_close=60, retry=RetryPolicy(initial_interval=10, max_attempts=9))
    simulation = testing.Simulation(calling(work))
    simulation.mock(work).takes(HOUR)

    assert simulation.run().result() == [["TimeoutError", "schedule_to_close timeout", 2], 100]


def test_schedule_to_close_ends_a_wait_between_attempts():
    work = limited(schedule_to_close=15, retry=RetryPolicy(initial_interval=10, max_attempts=9))
    simulation = testing.Simulation(calling(work))
    simulation.mock(work).raises(ValueError)

    simulated = simulation.run()

    assert simulated.result() == [["TimeoutError", "schedule_to_close timeout", 3], 15]
    assert len(simulated.calls) == 2


def test_attempt_without_heartbeats_is_given_up():
    work = limited(heartbeat=20, retry=RetryPolicy(max_attempts=1))
    simulation = testing.Simulation(calling(work))
    simulation.mock(work).takes(60)

    assert simulation.run().result() == [["TimeoutError", "heartbeat timeout", 1], 20]


def test_attempt_with_heartbeats_goes_on():
    work = limited(heartbeat=20)
    simulation = testing.Simulation(calling(work))
    simulation.mock(work).returns("done").takes(60, heartbeats=True)

    assert simulation.run().result() == ["done", 60]


def test_activity_that_no_worker_takes_fails_for_good():
    work = limited(schedule_to_start=20, retry=RetryPolicy(max_attempts=9))
    simulation = testing.Simulation(calling(work))
    simulation.mock(work).starts_after(21)

    simulated = simulation.run()

    assert simulated.result() == [["TimeoutError", "schedule_to_start timeout", 1], 20]
    assert simulated.calls == []


def test_activity_that_a_worker_takes_late_runs():
    work = limited(schedule_to_start=20)
    simulation = testing.Simulation(calling(work))
    simulation.mock(work).returns("late").starts_after(20).takes(5)

    assert simulation.run().result() == ["late", 25]


def test_workflows_own_timeout_calls_off_what_runs():
    work = limited()

    @workflow.defn
    async def gives_up() -> str:
        try:
            async with asyncio.timeout(60):
                return await work()
        except TimeoutError:
            await asyncio.sleep(120)
            return "gave up"

    simulation = testing.Simulation(gives_up)
    simulation.mock(work).returns("late").takes(100)

    simulated = simulation.run()

    assert simulated.result() == "gave up"
    # It was told to stop and went on, so its end is in the history.
    assert [item.kind for item in simulated.history][-4:] == [
        "TimerStarted",
        "ActivityCompleted",
        "TimerFired",
        "ExecutionCompleted",
    ]


def test_workflows_own_timeout_drops_what_waits_for_its_next_attempt():
    work = limited(retry=RetryPolicy(initial_interval=100))

    @workflow.defn
    async def gives_up() -> str:
        try:
            return await asyncio.wait_for(work(), 60)
        except TimeoutError:
            await asyncio.sleep(120)
            return "gave up"

    simulation = testing.Simulation(gives_up)
    simulation.mock(work).raises(ValueError).once()

    simulated = simulation.run()

    assert simulated.result() == "gave up"
    assert [item.kind for item in simulated.history].count("ActivityCanceled") == 1


def test_running_activity_that_was_called_off_is_not_retried():
    work = limited(retry=RetryPolicy(max_attempts=9))

    @workflow.defn
    async def gives_up() -> str:
        task = asyncio.create_task(work())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.sleep(HOUR.total_seconds())
        return "gave up"

    simulation = testing.Simulation(gives_up)
    simulation.mock(work).raises(ValueError).takes(60)

    simulated = simulation.run()

    assert [item.data["attempts"] for item in simulated.history if item.kind == "ActivityFailed"] == [1]


@pytest.mark.parametrize("duration", [-1, float("nan"), "long"])
def test_duration_must_be_one(duration):
    simulation = testing.Simulation(calling(limited()))

    with pytest.raises(Exception, match=r"takes\(duration\)"):
        simulation.mock("work").takes(duration)
    with pytest.raises(Exception, match=r"at\(elapsed\)"):
        simulation.at(duration)


# --- completed from elsewhere


@pytest.fixture
def later():
    tokens: list[str] = []

    @activity.defn(start_to_close=HOUR, retry=RetryPolicy(initial_interval=60, max_attempts=2))
    def later() -> Any:
        tokens.append(activity.complete_later())

    simulation = testing.Simulation(calling(later))
    simulation.tokens = tokens
    return simulation


def test_activity_is_completed_from_elsewhere(later):
    later.at(600).call(lambda: later.complete_activity(later.tokens[0], {"ok": True}))

    assert later.run().result() == [{"ok": True}, 600]


def test_activity_fails_from_elsewhere_and_is_retried(later):
    later.at(600).call(lambda: later.fail_activity(later.tokens[0], "not now"))
    later.at(700).call(lambda: later.fail_activity(later.tokens[1], ValueError("never")))

    assert later.run().result() == [["ValueError", "never", 2], 700]


def test_activity_that_nobody_completes_runs_into_its_timeout(later):
    assert later.run().result() == [["TimeoutError", "start_to_close timeout", 2], 3600 + 60 + 3600]


def test_activity_is_completed_once(later):
    later.at(600).call(lambda: later.complete_activity(later.tokens[0]))
    later.at(600).call(lambda: later.complete_activity(later.tokens[0]))

    with pytest.raises(UnknownToken):
        later.run()


@pytest.mark.parametrize("ends", ["failed", "completed"])
def test_token_may_be_used_once_after_a_failure_as_a_rewind_would_need_it(ends):
    tokens: list[str] = []

    @activity.defn(start_to_close=HOUR)
    def asked() -> Any:
        tokens.append(activity.complete_later())

    @workflow.defn
    async def asking() -> None:
        answer = asyncio.create_task(asked())
        await asyncio.sleep(60)
        if ends == "failed":
            raise ValueError(str(answer.done()))

    @workflow.defn
    async def parent() -> None:
        await asyncio.wait([asyncio.ensure_future(asking())])
        await asyncio.sleep(7200)

    refused: list[int] = []

    def complete(at: int) -> None:
        try:
            simulation.complete_activity(tokens[0], at)
        except UnknownToken:
            refused.append(at)

    simulation = testing.Simulation(parent)
    for at in (600, 700):
        simulation.at(at).call(lambda at=at: complete(at))

    with warnings.catch_warnings(action="ignore", category=testing.LeftOpen):
        simulated = simulation.run()

    assert [child.status for child in simulated.children] == [ends]
    assert refused == ([700] if ends == "failed" else [600, 700])
    assert [call.outcome for call in simulated.calls] == (["completed"] if ends == "failed" else ["canceled"])


def test_token_is_of_no_use_once_the_activity_was_given_up(later):
    later.at(2 * HOUR).call(lambda: later.complete_activity(later.tokens[0]))

    with pytest.raises(UnknownToken):
        later.run()


def test_cancel_that_comes_too_late_changes_nothing(later):
    later.at(600).call(lambda: later.complete_activity(later.tokens[0]))
    later.at(600).call(later.cancel)

    assert [call.outcome for call in later.run().calls] == ["completed"]
