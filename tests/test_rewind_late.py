"""Rewind, and what was still under way: results that come late count if they answer what is kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from durable import RetryPolicy, UnknownToken, activity, client, workflow
from durable.core.events import ActivityCanceled, ActivityCompleted
from durable.engine.advance import advance
from durable.engine.perform import perform
from durable.models import ActivityTask, Worker
from durable.store import clock, inbox
from tests.driving import answers, cost, item, kinds, leftovers

ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture
def ran(fresh) -> Counter[str]:
    return Counter()


@pytest.fixture
def meanwhile() -> dict[str, Callable[[], Any]]:
    """What happens while ``slow`` runs, once."""
    return {}


@pytest.fixture(params=["in place", "handed out"])
def slowly(request, settings):
    """How ``slow`` runs: where the turn ended, or as a task of a queue of its own."""
    settings.DURABLE = {"RUN_INLINE": request.param == "in place"}
    return request.param


@pytest.fixture
def run_slow(slowly) -> Callable[[], None]:
    """Have ``slow`` run, and with it what happens meanwhile."""
    return lambda: advance("f") if slowly == "in place" else perform("slow")


@pytest.fixture
def flow(engine, slowly, ran, meanwhile):
    """Two activities at once: ``quick`` fails the first time."""

    @activity.defn(retry=ONCE)
    def quick() -> str:
        ran["quick"] += 1
        if ran["quick"] == 1:
            raise ValueError("quick is broken")
        return "quick"

    @activity.defn(
        queue=None if slowly == "in place" else "slow", retry=RetryPolicy(max_attempts=3, initial_interval=0)
    )
    def slow(*given: Any) -> str:
        ran["slow"] += 1
        return meanwhile.pop("slow", lambda: None)() or "slow"

    @workflow.defn
    async def flow() -> list[str]:
        return await asyncio.gather(slow(), quick())

    return flow


@pytest.fixture
def handle(flow, slowly):
    handle = flow.options(id="f").start()
    if slowly == "handed out":
        advance("f")
    return handle


def fail() -> None:
    """Have the instance fail, while ``slow`` is at whatever it is at."""
    perform("default")
    advance("f")
    assert client.get("f").status == "failed"


def rewind() -> None:
    client.rewind("f")


def finish(engine: Any, handle: client.Handle) -> None:
    """See that it ends as it should, with each result recorded once, and nothing left over."""
    assert engine.result(handle) == ["slow", "quick"]
    assert answers(handle)["ActivityCompleted"] == 2
    assert leftovers() == []


def test_result_that_came_with_the_failure_counts(engine, flow, settings, ran):
    settings.DURABLE = {"RUN_INLINE": False}
    handle = flow.options(id="f").start()
    advance("f")
    ActivityTask.objects.filter(name="slow").update(queue="slow")
    perform("default")
    perform("slow")
    advance("f")
    assert handle.status == "failed"
    assert "ActivityCompleted" not in kinds(handle)

    preview = client.rewind("f", dry_run=True)
    assert [step.name for step in preview.rerun] == ["quick"]
    rewind()

    finish(engine, handle)
    assert ran == {"slow": 1, "quick": 2}


def test_result_that_came_after_the_failure_counts(engine, handle, ran, meanwhile, run_slow):
    meanwhile["slow"] = fail
    run_slow()
    engine.run_until_quiet()
    assert handle.status == "failed"

    rewind()

    finish(engine, handle)
    assert ran == {"slow": 1, "quick": 2}


def test_result_that_comes_after_the_rewind_counts(engine, handle, ran, meanwhile, run_slow):
    def meanwhile_all() -> None:
        fail()
        preview = client.rewind("f", dry_run=True)
        assert any("slow (0) still runs" in warning for warning in preview.warnings)
        rewind()
        engine.advance_due()
        assert ActivityTask.objects.filter(name="slow").count() == 1, "it is not handed out a second time"

    meanwhile["slow"] = meanwhile_all
    run_slow()

    finish(engine, handle)
    assert ran == {"slow": 1, "quick": 2}


def test_failure_that_comes_after_the_rewind_is_tried_again(engine, handle, ran, meanwhile, run_slow):
    def breaks() -> None:
        fail()
        rewind()
        raise ValueError("slow is broken")

    meanwhile["slow"] = breaks
    run_slow()

    finish(engine, handle)
    assert ran == {"slow": 2, "quick": 2}
    assert item(handle, "ActivityCompleted", 0).data["attempts"] == 2


def test_last_failure_that_comes_after_the_rewind_fails_the_new_execution(engine, handle, ran, meanwhile, run_slow):
    def breaks() -> None:
        fail()
        rewind()
        raise activity.NonRetryable("slow is broken for good")

    meanwhile["slow"] = breaks
    run_slow()
    engine.run_until_quiet()

    assert (handle.status, "for good" in str(handle.instance.failure)) == ("failed", True)
    rewind()
    finish(engine, handle)


def test_activity_that_stopped_because_its_execution_failed_runs_again(engine, handle, ran, meanwhile, run_slow):
    def stops() -> None:
        fail()
        assert activity.cancelled()
        rewind()
        assert not activity.cancelled()
        raise asyncio.CancelledError

    meanwhile["slow"] = stops
    run_slow()

    finish(engine, handle)
    assert ran["slow"] == 2
    assert "ActivityCanceled" not in kinds(handle)


def test_worker_that_dies_after_the_rewind_leaves_nothing_hanging(engine, settings, flow, ran, time):
    settings.DURABLE = {"RUN_INLINE": False}
    handle = flow.options(id="f").start()
    advance("f")
    task = ActivityTask.objects.get(name="slow")
    ActivityTask.objects.filter(pk=task.pk).update(
        state="running", worker="gone", lease="00000000-0000-0000-0000-000000000001", lease_until=clock.now()
    )
    fail()
    rewind()
    assert not Worker.objects.filter(pk="gone").exists()
    time.forward(60)

    finish(engine, handle)
    assert ran["slow"] == 1


def test_activity_completed_from_outside_after_the_rewind(engine, handle, meanwhile, run_slow):
    tokens: list[str] = []

    def leaves() -> None:
        fail()
        rewind()
        tokens.append(activity.complete_later())

    meanwhile["slow"] = leaves
    run_slow()
    engine.run_until_quiet()
    client.complete_activity(tokens[0], "slow")

    finish(engine, handle)


@pytest.fixture
def outside(engine, handle, meanwhile, run_slow):
    """The token of an activity that was to be completed from outside when its workflow failed."""
    tokens: list[str] = []
    meanwhile["slow"] = lambda: tokens.append(activity.complete_later())
    run_slow()
    fail()
    engine.run_until_quiet()
    assert handle.status == "failed"
    return tokens[0]


@pytest.mark.parametrize("when", ["before the rewind", "after the rewind", "after the second rewind"])
def test_activity_left_to_somebody_outside_before_the_failure_is_completed(engine, handle, outside, ran, when):
    if when == "before the rewind":
        client.complete_activity(outside, "slow")
        engine.run_until_quiet()
        inbox.forget_late()
    rewind()
    if when == "after the rewind":
        client.complete_activity(outside, "slow")
    if when == "after the second rewind":
        engine.run_until_quiet()
        client.terminate("f")
        client.rewind("f", to=1)
        client.complete_activity(outside, "slow")

    finish(engine, handle)
    assert ran["slow"] == 1
    with pytest.raises(UnknownToken):
        client.complete_activity(outside, "twice")


def test_activity_that_fails_outside_after_the_failure_runs_again_with_the_rewind(engine, handle, outside, ran):
    client.fail_activity(outside, "no")
    engine.run_until_quiet()
    rewind()

    finish(engine, handle)
    assert ran["slow"] == 2


def test_token_is_void_once_a_rewind_does_without_its_activity(engine, handle, outside, meanwhile, ran):
    again: list[str] = []
    meanwhile["slow"] = lambda: again.append(activity.complete_later())
    client.rewind("f", to=0)
    engine.run_until_quiet()

    with pytest.raises(UnknownToken):
        client.complete_activity(outside, "of old")
    client.complete_activity(again[0], "slow")

    finish(engine, handle)


def test_token_goes_with_the_instance_that_is_replaced(engine, handle, outside):
    client.start("flow", id="f", id_reuse="replace_closed")

    with pytest.raises(UnknownToken):
        client.complete_activity(outside, "slow")


def test_activity_that_would_run_with_another_input_now_is_not_taken_along(engine, settings, ran, meanwhile):
    settings.DURABLE = {"RUN_INLINE": False}
    number = [1]

    @activity.defn(queue="slow")
    def numbered(given: int) -> int:
        ran[f"numbered {given}"] += 1
        if ran.total() == 1:
            fail()
            number[0] = 2
            engine.restart()
            rewind()
        return given

    @activity.defn(retry=ONCE)
    def breaks() -> None:
        if number[0] == 1:
            raise ValueError

    @workflow.defn
    async def flow() -> int:
        results = await asyncio.gather(numbered(number[0]), breaks())
        return results[0]

    handle = flow.options(id="f").start()
    advance("f")
    perform("slow")

    assert engine.result(handle) == 2
    assert ran == {"numbered 1": 1, "numbered 2": 1}
    assert leftovers() == []


def test_atomic_activity_takes_effect_once_through_a_rewind(engine, settings):
    settings.DURABLE = {"RUN_INLINE": False}
    up: list[bool] = []

    @activity.defn(queue="slow", atomic=True)
    def beat() -> str:
        Worker.objects.create(
            id=f"w{Worker.objects.count()}", hostname="h", pid=1, started_at=clock.now(), heartbeat_at=clock.now()
        )
        if not up:
            up.append(True)
            fail()
            rewind()
        return "beat"

    @activity.defn(retry=ONCE)
    def breaks() -> None:
        if len(up) and not Worker.objects.filter(pk="again").exists():
            Worker.objects.create(id="again", hostname="h", pid=1, started_at=clock.now(), heartbeat_at=clock.now())
            raise ValueError

    @workflow.defn
    async def flow() -> str:
        results = await asyncio.gather(beat(), breaks())
        return results[0]

    handle = flow.options(id="f").start()
    advance("f")
    perform("slow")

    assert engine.result(handle) == "beat"
    assert Worker.objects.filter(pk__startswith="w").count() == 1


def test_signal_that_came_with_the_failure_counts(engine, settings):
    settings.DURABLE = {"RUN_INLINE": False}
    up: list[bool] = []

    @activity.defn(retry=ONCE)
    def act() -> str:
        if not up:
            raise ValueError
        return "act"

    @workflow.defn
    async def flow() -> list[Any]:
        return [await act(), await workflow.wait_signal("go")]

    handle = flow.options(id="f").start()
    advance("f")
    perform("default")
    handle.signal("go", 5)
    advance("f")
    assert handle.status == "failed"
    engine.run_until_quiet()
    up.append(True)

    rewind()

    assert engine.result(handle) == ["act", 5]


def test_what_came_late_for_what_is_not_kept_is_dropped(engine, settings, ran):
    settings.DURABLE = {"RUN_INLINE": False}

    @activity.defn(retry=ONCE)
    def first() -> str:
        ran["first"] += 1
        if ran["first"] == 1:
            raise ValueError
        return "first"

    @activity.defn(queue="slow")
    def about_it() -> str:
        ran["about it"] += 1
        if ran["about it"] == 1:
            client.terminate("f")
            client.rewind("f", to=0)
        return "about it"

    @workflow.defn
    async def flow() -> str:
        try:
            return await first()
        except Exception:
            return await about_it()

    handle = flow.options(id="f").start()
    advance("f")
    perform("default")
    advance("f")
    perform("slow")

    assert engine.result(handle) == "first"
    assert ran == {"first": 2, "about it": 1}
    assert leftovers() == []


def test_what_waits_for_a_rewind_is_not_due_and_goes_with_the_instance(engine, handle, meanwhile, run_slow):
    meanwhile["slow"] = fail
    run_slow()
    for _ in range(2):
        engine.run_until_quiet()
    assert len(leftovers()) == 1

    client.start("flow", id="f", id_reuse="replace_closed")
    finish_ids = engine.result("f")

    assert finish_ids == ["slow", "quick"]


def test_completed_instance_takes_along_what_still_runs(engine, settings, ran):
    settings.DURABLE = {"RUN_INLINE": False}

    @activity.defn(queue="slow")
    def slow() -> str:
        ran["slow"] += 1
        return "slow"

    @activity.defn
    def quick() -> str:
        ran["quick"] += 1
        return "quick"

    waits: list[bool] = []

    @workflow.defn
    async def flow() -> str:
        task = asyncio.ensure_future(slow())
        await asyncio.sleep(0)
        result = await quick()
        return await task if waits else result

    handle = flow.options(id="f").start()
    advance("f")
    perform("default")
    advance("f")
    assert handle.status == "completed"
    waits.append(True)
    engine.restart()

    client.rewind("f", to=1)

    assert engine.result(handle) == "slow"
    assert ran == {"slow": 1, "quick": 2}
    assert leftovers() == []


def test_task_that_nobody_wants_any_more_is_dropped(engine, settings, ran):
    settings.DURABLE = {"RUN_INLINE": False}
    number = [1]

    @activity.defn(queue="slow")
    def slow(given: int) -> int:
        ran[f"slow {given}"] += 1
        return given

    @activity.defn
    def quick() -> str:
        return "quick"

    @workflow.defn
    async def flow() -> Any:
        task = asyncio.ensure_future(slow(number[0]))
        await asyncio.sleep(0)
        result = await quick()
        return result if number[0] == 1 else await task

    handle = flow.options(id="f").start()
    advance("f")
    perform("default")
    advance("f")
    assert handle.status == "completed"
    number[0] = 2
    engine.restart()

    client.rewind("f", to=1)

    assert engine.result(handle) == 2
    assert ran == {"slow 2": 1}


def test_sweep_keeps_what_a_rewind_would_want_and_looks_at_it_once(engine, flow, settings, ran):
    settings.DURABLE = {"RUN_INLINE": False}
    handle = flow.options(id="f").start()
    advance("f")
    ActivityTask.objects.filter(name="slow").delete()
    perform("default")
    advance("f")
    execution_id = handle.instance.execution_id
    late = [ActivityCompleted(event_id=0, result="slow"), ActivityCompleted(event_id=7), ActivityCanceled(event_id=0)]
    inbox.insert([inbox.row(execution_id, event) for event in late])

    inbox.forget_late()
    with cost() as counted:
        inbox.forget_late()
    assert len(counted.statements) == 1
    rewind()

    finish(engine, handle)
    assert ran == {"quick": 2}


def test_signals_are_kept_of_what_was_ended_before_it_began(engine, time):
    @workflow.defn
    async def waiting() -> str:
        return str(await workflow.wait_signal("go"))

    handle = waiting.options(timeout=60).start()
    handle.signal("go", "gone")
    time.forward(61)
    engine.run_until_quiet()
    assert (handle.status, kinds(handle)) == ("failed", ["ExecutionFailed"])

    client.rewind(handle.id)
    engine.run_until_quiet()

    assert handle.result(timeout=0) == "gone"
