"""Continue-as-new: the same instance, the next execution."""

from __future__ import annotations

import asyncio

import pytest

from durable import WorkflowFailed, activity, client, dispatch, workflow
from durable.engine import advance
from tests.driving import kinds, leftovers


@pytest.fixture
def count(fresh):
    @workflow.defn
    async def count(number: int, until: int) -> int:
        await asyncio.sleep(10)
        if number < until:
            workflow.continue_as_new(number + 1, until)
        return number

    return count


def test_next_execution_has_a_fresh_history_and_event_ids_from_0(engine, time, count):
    handle = count.start(1, 3)
    for _ in range(3):
        engine.run_until_quiet()
        time.forward(11)

    assert engine.result(handle) == 3
    executions = list(handle.instance.executions.order_by("number"))
    assert [(e.origin, e.status) for e in executions] == [
        ("start", "continued"),
        ("continued", "continued"),
        ("continued", "completed"),
    ]
    for number, execution in enumerate(executions, 1):
        history = handle.history(execution=execution.pk)
        assert [(i.kind, i.event_id) for i in history[:3]] == [
            ("ExecutionStarted", None),
            ("TimerStarted", 0),
            ("TimerFired", 0),
        ]
        assert history[0].data["input"]["args"] == [number, 3]
    assert kinds(handle, executions[0].pk)[-1] == "ExecutionContinued"
    assert executions[1].source_id == executions[0].pk
    assert [i.seq for i in handle.history()] == [1, 2, 3, 4]


def test_instance_runs_on_while_its_execution_ends(engine, time, count):
    handle = count.start(1, 2)
    engine.run_until_quiet()
    time.forward(11)
    engine.run_until_quiet()

    assert (handle.status, handle.instance.closed_at) == ("running", None)
    assert handle.instance.input == {"args": [1, 2], "kwargs": {}}


def test_unread_signals_move_on_in_order(engine):
    @workflow.defn
    async def drain(round_: int) -> list[int]:
        await workflow.wait_signal("go")
        if round_ == 0:
            workflow.continue_as_new(1)
        return [await workflow.wait_signal("item") for _ in range(3)]

    handle = drain.start(0)
    engine.run_until_quiet()
    for number in (1, 2):
        handle.signal("item", number)
    engine.run_until_quiet()
    handle.signal("go")
    handle.signal("item", 3)
    handle.signal("go")

    assert engine.result(handle) == [1, 2, 3]


def test_unread_signals_stay_behind_on_request(engine):
    @workflow.defn
    async def drain(round_: int) -> int:
        await workflow.wait_signal("go")
        if round_ == 0:
            workflow.continue_as_new(1, carry_signals=False)
        return await workflow.wait_signal("item")

    handle = drain.start(0)
    engine.run_until_quiet()
    handle.signal("item", 1)
    engine.run_until_quiet()
    handle.signal("go")
    engine.run_until_quiet()
    handle.signal("go")
    handle.signal("item", 2)

    assert engine.result(handle) == 2


@pytest.mark.parametrize("open_work", ["activity", "child"])
def test_open_work_is_refused_with_an_error_that_names_it(engine, open_work, settings):
    settings.DURABLE = {"RUN_INLINE": False}

    @activity.defn
    def work() -> None: ...

    @workflow.defn
    async def child() -> None:
        await workflow.wait_signal("never")

    @workflow.defn
    async def hasty() -> None:
        asyncio.create_task(work() if open_work == "activity" else child())
        await workflow.wait_signal("go")
        workflow.continue_as_new()

    handle = hasty.start()
    engine.advance_due()
    handle.signal("go")
    engine.advance_due()

    with pytest.raises(WorkflowFailed) as failed:
        engine.result(handle)
    failure = failed.value.failure
    assert failure.type == "InvalidInput"
    assert {"activity": "ActivityScheduled(work)", "child": "ChildScheduled(child)"}[open_work] in failure.message


def test_timers_do_not_hold_a_continue_as_new_up(engine, time):
    @workflow.defn
    async def hasty(round_: int) -> str:
        if round_ == 1:
            return "done"
        asyncio.create_task(asyncio.sleep(60))
        await workflow.wait_signal("go")
        workflow.continue_as_new(1)

    handle = hasty.start(0)
    engine.run_until_quiet()
    handle.signal("go")

    assert engine.result(handle) == "done"
    assert leftovers() == []


def test_arguments_that_do_not_fit_are_refused_where_the_code_continues(engine):
    @workflow.defn
    async def picky(number: int) -> str:
        try:
            workflow.continue_as_new("one", "two")
        except Exception as error:
            return str(error)

    assert "too many positional arguments" in engine.result(picky.start(1))


def test_code_cannot_catch_its_way_out_of_a_continue_as_new(engine):
    @workflow.defn
    async def stubborn(round_: int) -> str:
        if round_ == 1:
            return "second"
        try:
            workflow.continue_as_new(1)
        except BaseException:
            return "caught"

    assert engine.result(stubborn.start(0)) == "second"


def test_state_that_operators_see_and_tags_are_kept(engine):
    @workflow.defn
    async def showing(round_: int) -> None:
        if round_ == 0:
            workflow.set_status({"round": 0})
            workflow.set_tags(customer=7)
            workflow.continue_as_new(1)
        await workflow.wait_signal("never")

    handle = showing.options(tags={"region": "north"}).start(0)
    engine.run_until_quiet()

    assert handle.instance.tags == {"region": "north", "customer": 7}
    assert handle.instance.custom_status == {"round": 0}


def test_child_ids_do_not_repeat_over_executions(engine):
    @workflow.defn
    async def child() -> str:
        return workflow.info().instance_id

    @workflow.defn
    async def parent(seen: list[str]) -> list[str]:
        seen = [*seen, await child()]
        if len(seen) < 3:
            workflow.continue_as_new(seen)
        return seen

    handle = parent.options(id="p").start([])

    ids = engine.result(handle)
    assert len(set(ids)) == 3
    assert ids[0] == "p:0000"


def test_result_of_a_continued_child_reaches_its_parent(engine, time, count):
    @workflow.defn
    async def parent() -> int:
        return await count(1, 2)

    handle = parent.start()
    for _ in range(2):
        engine.run_until_quiet()
        time.forward(11)

    assert engine.result(handle) == 2


def test_continue_as_new_is_found_again_after_a_crash_of_its_worker(engine, time, count):
    handle = count.start(1, 2)
    for _ in range(2):
        engine.run_until_quiet()
        engine.restart()
        time.forward(11)

    assert engine.result(handle) == 2
    assert client.get(handle.id).instance.executions.count() == 2


@pytest.mark.lenient
def test_continue_as_new_at_once_and_for_ever_does_not_hold_the_worker(engine):
    rounds = []

    @workflow.defn
    async def spinning(round_: int) -> None:
        rounds.append(round_)
        if round_ < 20:
            workflow.continue_as_new(round_ + 1)

    handle = spinning.start(0)
    engine.run_until_quiet()

    assert (handle.status, rounds) == ("completed", list(range(21)))


def test_one_without_end_lets_others_have_their_turn(engine, monkeypatch):
    @workflow.defn(queue="busy")
    async def endless() -> None:
        workflow.continue_as_new()

    announced = []
    monkeypatch.setattr(advance, "STAYS_SECONDS", -1.0)
    monkeypatch.setattr(dispatch, "advance", announced.extend)
    handle = endless.start()

    advance.advance(handle.id)

    assert handle.instance.executions.count() == 2
    assert announced == [("busy", handle.id)]
