"""What workflow code may call: deterministic, and refused elsewhere."""

from __future__ import annotations

import asyncio
import functools
import os
import time
import uuid
from contextlib import nullcontext
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from durable.core import calls, context, marks, stepping
from durable.core import events as ev
from durable.core.errors import InvalidInput, LimitExceeded, NondeterminismError, OutsideWorkflow, SideEffectError
from durable.core.execution import Execution
from durable.core.payloads import Converter
from durable.core.replay import catch_up, replay
from tests.core.histories import (
    STARTED,
    activity,
    completed,
    decide,
    failure_of,
    given,
    result_of,
    returned,
    scheduled,
    signal,
    started,
    workflow,
)


@activity
def a() -> Any: ...


def run(fn: Any, *events: ev.Event) -> Any:
    """Return what ``fn`` returns in a workflow."""

    @workflow
    async def calls():
        return fn()

    return result_of(decide(calls, [], *(events or (STARTED,))))


# --- time


def test_now_and_time_are_those_of_the_event_at_hand():
    @workflow
    async def clock():
        seen = [context.time()]
        await a()
        return [*seen, context.time(), context.now(), asyncio.get_running_loop().time()]

    log = [started(at=1_700_000_000.5), scheduled(0, "a")]

    assert result_of(decide(clock, log, completed(0, at=1_700_000_060.0))) == [
        1_700_000_000.5,
        1_700_000_060.0,
        "2023-11-14T22:14:20+00:00",
        1_700_000_060.0,
    ]


def test_now_is_in_utc():
    @workflow
    async def clock():
        assert context.now() == datetime(1970, 1, 1, tzinfo=UTC)
        return str(context.now().tzinfo)

    assert result_of(decide(clock, [], STARTED)) == "UTC"


def test_time_never_goes_back():
    @workflow
    async def clock():
        await a()
        return context.time()

    assert result_of(decide(clock, [started(at=50.0), scheduled(0, "a")], completed(0, at=40.0))) == 50.0


# --- chance


@workflow
async def gambler():
    first = [context.random(), context.random(), str(context.uuid4()), context.random().randint(1, 1000)]
    await a()
    return [*first, str(context.uuid4()), context.random()]


GAMBLE = [started(seed="lucky"), scheduled(0, "a"), completed(0)]


def test_random_and_uuid4_give_the_same_on_replay():
    result = result_of(decide(gambler, GAMBLE))

    assert result == result_of(decide(gambler, GAMBLE))
    assert len({str(each) for each in result}) == len(result)
    assert uuid.UUID(result[2]).version == 4


def test_another_seed_gives_other_numbers():
    other = [started(seed="unlucky"), *GAMBLE[1:]]

    assert result_of(decide(gambler, GAMBLE)) != result_of(decide(gambler, other))


def test_numbers_are_the_same_in_every_release():
    assert run(lambda: [context.random(), str(context.uuid4())], started(seed="lucky")) == [
        0.90757533634403,
        "e7e835be-2f4d-4c2e-a0ff-5a348979758a",
    ]


def test_random_number_is_a_float_through_and_through():
    drawn = run(lambda: [context.random(), {"n": context.random() * 2}, context.random()])

    assert all(type(each) is float for each in (drawn[0], drawn[1]["n"], drawn[2]))
    assert 0 <= drawn[0] < 1
    assert type(run(context.random)) is float


def test_random_number_can_be_given_to_an_activity():
    @activity
    def draw(n: float) -> None: ...

    @workflow
    async def drawing():
        await draw(context.random())

    assert type(decide(drawing, [], STARTED).commands[0].input["args"][0]) is float


def test_random_number_offers_its_generators_methods():
    assert run(lambda: context.random().choice("a")) == "a"
    assert run(lambda: sorted(context.random().sample(range(3), 3))) == [0, 1, 2]
    assert run(lambda: isinstance(context.random().random(), float)) is True


@pytest.mark.parametrize("name", ["choose", "_private"])
def test_random_number_has_nothing_else(name):
    @workflow
    async def wrong():
        return getattr(context.random(), name)

    assert failure_of(decide(wrong, [], STARTED)).type == "AttributeError"


# --- knowing


def test_info_says_what_a_workflow_may_know_of_itself():
    start = ev.ExecutionStarted(
        name="order", version=2, input=given(), queue="slow", attempt=1, at=5.0,
        parent={"instance_id": "boss", "execution_id": "e", "event_id": 0}, headers={"user": 7},
    )  # fmt: skip
    seen = []

    @workflow
    async def order2():
        seen.append(context.info())
        return context.version()

    execution = Execution(order2, converter=Converter(), instance_id="i", execution_id="e")
    stepping.step(execution, start)

    assert execution.outcome == returned(2)
    assert seen == [
        context.Info(
            instance_id="i",
            execution_id="e",
            name="order",
            version=2,
            queue="slow",
            attempt=1,
            started_at=datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC),
            history_length=1,
            parent_id="boss",
            headers={"user": 7},
        )
    ]


def test_root_has_no_parent():
    assert run(lambda: context.info().parent_id) is None


def test_length_of_the_history_is_the_same_live_and_replayed():
    @workflow
    async def counting():
        lengths = []
        for _ in range(3):
            lengths.append(context.info().history_length)
            await calls.wait_signal("go")
        await asyncio.gather(a(), a())
        return [*lengths, context.info().history_length]

    # Live: several events of one turn, and nothing stored between them.
    live = Execution(counting, converter=Converter())
    for event in (STARTED, signal("go"), signal("go"), signal("go"), completed(0), completed(1)):
        stepping.step(live, event)

    assert live.outcome == returned([1, 2, 3, 8])
    log = [STARTED, signal("go"), signal("go"), signal("go"), scheduled(0, "a"), scheduled(1, "a"), completed(0)]
    assert decide(counting, log, completed(1)).outcome == live.outcome


# --- showing


def test_status_progress_and_tags_are_shown():
    @workflow
    async def showing():
        context.set_status({"step": Decimal(1)})
        context.set_progress(1, 3, "first")
        context.set_tags(customer="ann", old=None)
        await a()
        context.set_status("done")

    decision = decide(showing, [], started(tags={"old": 1, "kept": 2}))

    assert decision.status == {"step": "1"}
    assert decision.progress == {"done": 1, "total": 3, "note": "first"}
    assert decision.tags == {"customer": "ann", "kept": 2}
    assert decide(showing, [STARTED, scheduled(0, "a")], completed(0)).status == "done"


def test_execution_says_which_of_them_changed():
    @workflow
    async def showing():
        context.set_progress(0.5, 1)

    execution = Execution(showing, converter=Converter())
    stepping.step(execution, STARTED)

    assert execution.changed == {"progress"}


@pytest.mark.parametrize(
    ("show", "where"),
    [
        (lambda: context.set_status(object()), "set_status(obj)"),
        (lambda: context.set_progress(object(), 3), "set_progress(done)"),  # type: ignore[arg-type]
        (lambda: context.set_tags(a=object()), "set_tags(a)"),
    ],
)
def test_what_is_shown_must_be_json(show, where):
    @workflow
    async def showing():
        show()

    failure = failure_of(decide(showing, [], STARTED))

    assert (failure.type, where in failure.message) == ("InvalidInput", True)


def test_there_is_a_limit_to_the_number_of_tags():
    @workflow
    async def tagging():
        context.set_tags(**{f"t{n}": n for n in range(99)})
        context.set_tags(last=1, t0=None)
        with pytest.raises(LimitExceeded, match="tags: 101 is over the limit of 100"):
            context.set_tags(one=1, two=2)

    assert len(decide(tagging, [], STARTED).tags) == 99


# --- side effects


@workflow
async def lottery():
    numbers = [marks.side_effect(draw) for _ in range(2)]
    await a()
    return [*numbers, marks.side_effect(draw)]


drawn: list[int] = []


def draw() -> Decimal:
    drawn.append(1)
    return Decimal(len(drawn))


LOTTERY = [
    STARTED,
    ev.SideEffectRecorded(event_id=0, value="41"),
    ev.SideEffectRecorded(event_id=1, value="42"),
    scheduled(2, "a"),
    completed(0),
    completed(2),
    ev.SideEffectRecorded(event_id=3, value="43"),
    returned(["41", "42", "43"]),
]


def test_side_effect_runs_once_and_is_recorded():
    drawn.clear()

    assert replay(lottery, [], [STARTED]).commands == (
        ev.SideEffectRecorded(event_id=0, value="1"),
        ev.SideEffectRecorded(event_id=1, value="2"),
        scheduled(2, "a"),
    )
    assert len(drawn) == 2


def test_side_effect_is_not_run_again_on_replay():
    drawn.clear()

    decision = replay(lottery, LOTTERY)

    assert decision.outcome == LOTTERY[-1]
    assert drawn == []


def test_side_effect_returns_what_replay_will_return():
    seen: list[Any] = []

    @workflow
    async def exact():
        seen.append(marks.side_effect(draw))
        seen.append(marks.side_effect(lambda: (1, 2)))

    replay(exact, [], [STARTED])

    assert isinstance(seen[0], Decimal)
    assert seen[1] == [1, 2]


@pytest.mark.parametrize("fn", [time.time, os.getpid, functools.partial(max, 1, 2), dict])
def test_any_callable_can_be_a_side_effect(fn):
    @workflow
    async def calling():
        return marks.side_effect(fn)

    assert replay(calling, [STARTED, ev.SideEffectRecorded(event_id=0, value=5)]).commands == (returned(5),)
    assert result_of(replay(calling, [], [STARTED])) is not None


def test_side_effect_runs_as_if_no_workflow_ran():
    async def outside():
        await asyncio.sleep(0)
        return "looked around"

    def look():
        assert context.running() is None
        return asyncio.run(outside())

    assert run(lambda: marks.side_effect(look)) == "looked around"


def test_side_effect_may_fail_and_replay_has_it_fail_again():
    tried = []

    @workflow
    async def failing():
        try:
            marks.side_effect(lambda: tried.append(1) or 1 / 0)
        except SideEffectError as error:
            await a()
            return [context.running() is not None, error.event_id, error.cause.type, str(error)]

    asked = replay(failing, [], [STARTED]).commands
    decision = replay(failing, [STARTED, *asked, completed(1)])

    assert [type(command) for command in asked] == [ev.SideEffectRecorded, ev.ActivityScheduled]
    assert result_of(decision) == [
        True,
        0,
        "ZeroDivisionError",
        "side_effect failed: ZeroDivisionError: division by zero",
    ]
    assert tried == [1], "it must not run again"


def test_side_effect_does_not_run_if_what_comes_before_it_fails():
    ran = []

    @workflow
    async def swallowing():
        try:
            marks.side_effect(lambda: ran.append(1))
        except Exception:
            return "swallowed"

    for fails in (True, False):
        execution = Execution(swallowing, converter=Converter())
        execution.before_effect = lambda fails=fails: 1 / 0 if fails else ran.append(context.running())
        with pytest.raises(ZeroDivisionError) if fails else nullcontext():
            stepping.step(execution, STARTED)

    assert ran == [None, 1]


def test_side_effect_that_returns_what_waits_has_failed():
    async def later() -> None: ...

    @workflow
    async def waiting():
        marks.side_effect(lambda: later() or None)

    assert "what waits belongs in an activity" in failure_of(decide(waiting, [], STARTED)).message


def test_side_effect_must_be_json():
    @workflow
    async def wrong():
        marks.side_effect(object)

    failure = failure_of(decide(wrong, [], STARTED))

    assert (failure.type, failure.cause.type) == ("SideEffectError", "InvalidInput")
    assert "value of side_effect" in failure.message


def test_side_effect_where_the_history_has_something_else_is_a_mismatch():
    @workflow
    async def swallowing():
        await a()
        try:
            marks.side_effect(lambda: 5)
        except Exception:
            return "swallowed"

    log = [STARTED, scheduled(0, "a"), completed(0), scheduled(1, "a")]

    with pytest.raises(NondeterminismError) as caught:
        replay(swallowing, log)

    assert (caught.value.seq, caught.value.event_id) == (4, 1)
    assert (caught.value.expected, caught.value.got) == ("ActivityScheduled(a)", "SideEffectRecorded(1)")
    assert caught.value.location.startswith(f"{__file__}:")


def test_side_effect_that_the_history_does_not_have_is_a_mismatch_and_not_run():
    drawn.clear()

    with pytest.raises(NondeterminismError) as caught:
        replay(lottery, [STARTED, ev.SideEffectRecorded(event_id=0, value="1"), signal("go")])

    assert (caught.value.seq, caught.value.event_id) == (3, None)
    assert (caught.value.expected, caught.value.got) == ("SignalReceived(go)", "SideEffectRecorded(1)")
    assert drawn == []


def test_recorded_value_must_fit_the_annotation():
    changed = [STARTED, ev.SideEffectRecorded(event_id=0, value="much")]

    assert "value of side_effect" in failure_of(replay(lottery, changed)).message


# --- elsewhere


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (context.now, "workflow.now()"),
        (context.time, "workflow.time()"),
        (context.random, "workflow.random()"),
        (context.uuid4, "workflow.uuid4()"),
        (context.info, "workflow.info()"),
        (context.version, "workflow.version()"),
        (context.cancelled, "workflow.cancelled()"),
        (lambda: context.set_status(1), "workflow.set_status()"),
        (lambda: context.set_progress(1, 2), "workflow.set_progress()"),
        (lambda: context.set_tags(a=1), "workflow.set_tags()"),
        (lambda: marks.side_effect(int), "workflow.side_effect()"),
        (calls.continue_as_new, "workflow.continue_as_new()"),
        (lambda: calls.wait_signal("go").send(None), "workflow.wait_signal()"),
        (lambda: calls.wait_until(bool).send(None), "workflow.wait_until()"),
        (lambda: calls.signal_instance("a", "b").send(None), "workflow.signal_instance()"),
    ],
)
def test_outside_a_workflow_the_call_is_refused_by_name(call, name):
    with pytest.raises(OutsideWorkflow, match=r"call it from an async function marked with @workflow.defn") as caught:
        call()

    assert caught.value.call == name


def test_another_loop_is_no_workflow():
    async def script():
        assert context.running() is None
        context.now()

    with pytest.raises(OutsideWorkflow):
        asyncio.run(script())


def test_arguments_are_refused_at_the_call_naming_the_argument():
    @activity
    def charge(amount: Decimal) -> None: ...

    @workflow
    async def wrong():
        with pytest.raises(InvalidInput, match=r"charge\(amount\)"):
            _ = charge(object())
        with pytest.raises(InvalidInput, match="missing a required argument: 'amount'"):
            _ = charge()
        with pytest.raises(InvalidInput, match="signal go"):
            await calls.signal_instance("other", "go", object())

    assert decide(wrong, [], STARTED).commands == (returned(),)


def test_live_execution_can_be_brought_up_to_a_longer_history():
    execution = Execution(gambler, converter=Converter())

    assert catch_up(execution, GAMBLE[:2]) == []
    assert execution.head == 2
    assert len(catch_up(execution, GAMBLE[2:])) == 1
    assert execution.head == 3
