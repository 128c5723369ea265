"""Answers find what they answer by its number, wherever they lie."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from durable.core import answering, calls, context, stepping
from durable.core import events as ev
from durable.core.errors import ActivityError, ChildFailed
from durable.core.execution import Execution
from durable.core.failures import Failure
from durable.core.payloads import Converter
from tests.core.histories import (
    STARTED,
    activity,
    begin,
    completed,
    decide,
    failed,
    failure_of,
    fired,
    given,
    raised,
    result_of,
    returned,
    scheduled,
    signal,
    started,
    timer,
    workflow,
)


@activity
def charge(order_id: int, amount: Decimal) -> Decimal: ...  # type: ignore[empty-body]


@activity
def a(n: int = 0) -> Any: ...


@workflow
async def ship2(order_id: int, *, to: str = "") -> Decimal: ...  # type: ignore[empty-body]


@workflow
async def order(order_id: int):
    paid = await charge(order_id, amount=Decimal("9.99"))
    return {"paid": paid * 2}


ORDER = [
    started(5),
    ev.ActivityScheduled(event_id=0, name="charge", input=given(5, amount="9.99")),
    completed(0, "9.99"),
    returned({"paid": "19.98"}),
]


def test_workflow_is_scheduled_answered_and_done():
    assert decide(order, [], ORDER[0]).commands == (ORDER[1],)
    assert decide(order, ORDER[:2], ORDER[2]).commands == (ORDER[3],)
    assert decide(order, ORDER).outcome == ORDER[3]


def test_result_comes_back_as_the_annotation_says():
    @workflow
    async def typed():
        return type(await charge(1, Decimal(2))).__name__

    log = [STARTED, ev.ActivityScheduled(event_id=0, name="charge", input=given(1, "2"))]

    assert result_of(decide(typed, log, completed(0, "9.99"))) == "Decimal"


def test_result_that_does_not_fit_the_annotation_fails_at_the_await():
    failure = failure_of(decide(order, ORDER[:2], completed(0, "much")))

    assert failure.type == "InvalidInput"
    assert "result of charge" in failure.message


def test_decision_says_what_is_open_in_order():
    @workflow
    async def three():
        await asyncio.gather(a(1), asyncio.sleep(5), a(2))

    log = [STARTED, *decide(three, [], STARTED).commands]

    assert [asked.event_id for asked in decide(three, log).open] == [0, 1, 2]
    assert [str(asked) for asked in decide(three, log, completed(0)).open] == [
        "TimerStarted(1)",
        "ActivityScheduled(a)",
    ]


def test_failure_is_raised_at_the_await_with_its_facts():
    @workflow
    async def cautious():
        try:
            await a()
        except ActivityError as error:
            return [error.activity, error.event_id, error.attempts, error.cause.type, error.cause.message]

    log = [STARTED, scheduled(0, "a")]

    assert result_of(decide(cautious, log, failed(0, "DeclinedError", "no"))) == ["a", 0, 3, "DeclinedError", "no"]


def test_failure_that_is_not_caught_fails_the_workflow_with_its_cause():
    failure = failure_of(decide(order, ORDER[:2], failed(0, "DeclinedError", "no money")))

    assert failure.message == "activity charge was tried 3 times and failed: DeclinedError: no money"
    assert failure.cause == Failure(type="DeclinedError", message="no money")


@workflow
async def pair():
    first, second = await asyncio.gather(a(1), a(2))
    last = await a(3)
    return [first, second, last]


PAIR = [STARTED, scheduled(0, "a", 1), scheduled(1, "a", 2)]


def test_answers_may_come_in_any_order():
    forwards = [*PAIR, completed(0, "x"), completed(1, "y"), scheduled(2, "a", 3)]
    backwards = [*PAIR, completed(1, "y"), completed(0, "x"), scheduled(2, "a", 3)]

    assert result_of(decide(pair, forwards, completed(2, "z"))) == ["x", "y", "z"]
    assert result_of(decide(pair, backwards, completed(2, "z"))) == ["x", "y", "z"]


def test_answer_recorded_before_an_unrelated_command_is_no_mismatch():
    @workflow
    async def background():
        task = asyncio.create_task(a(1))
        await asyncio.sleep(5)
        await a(2)
        return await task

    log = [
        STARTED, timer(0, 5.0), scheduled(1, "a", 1), completed(1, "early"), fired(0, at=5.0), scheduled(2, "a", 2),
    ]  # fmt: skip

    assert result_of(decide(background, log, completed(2))) == "early"


@pytest.mark.parametrize(
    "late",
    [
        completed(0, "again"),
        failed(0),
        ev.ActivityCanceled(event_id=0),
        completed(99),
        failed(99),
        fired(99, at=1.0),
        ev.ChildCompleted(event_id=99),
        ev.ChildFailed(event_id=99, failure=Failure(type="ValueError")),
        ev.ChildCanceled(event_id=99),
        ev.SignalDelivered(event_id=99),
        ev.SignalFailed(event_id=99, failure=Failure(type="ValueError")),
    ],
    ids=str,
)
def test_late_and_doubled_answers_are_ignored(late):
    log = [*PAIR, completed(0, "x"), late]

    assert decide(pair, log).commands == ()
    assert decide(pair, log, completed(1, "y")).commands == (scheduled(2, "a", 3),)


@pytest.mark.parametrize(
    "event", [ev.ExecutionSuspended(), ev.ExecutionResumed(), ev.ChildStarted(event_id=0)], ids=str
)
def test_what_concerns_operators_only_changes_nothing(event):
    log = [*PAIR, event, completed(0, "x")]

    assert decide(pair, log).commands == ()


def test_event_that_nobody_outside_can_cause_is_refused():
    with pytest.raises(TypeError, match="ActivityScheduled cannot be applied"):
        decide(pair, [], STARTED, scheduled(5, "a"))


# --- ends


@pytest.mark.parametrize(
    "end",
    [ev.ExecutionTerminated(reason="no use"), ev.ExecutionFailed(failure=Failure(type="Timeout"), imposed=True)],
    ids=str,
)
def test_imposed_end_stops_the_code_where_it_stands(end):
    decision = decide(pair, PAIR, end)

    assert decision.commands == ()
    assert decision.outcome == end
    assert decide(pair, [*PAIR, end], completed(0), completed(1)).outcome == end


def test_exception_group_is_recorded_with_its_members():
    @workflow
    async def many():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(broken(ValueError("x")))
            tasks.create_task(broken(KeyError("y")))

    async def broken(error):
        raise error

    failure = failure_of(decide(many, [], STARTED))

    assert failure.type == "ExceptionGroup"
    assert [member.type for member in failure.exceptions] == ["ValueError", "KeyError"]


def test_result_that_cannot_be_stored_fails_the_workflow():
    @workflow
    async def proud():
        return object()

    failure = failure_of(decide(proud, [], STARTED))

    assert failure.type == "InvalidInput"
    assert "result of proud" in failure.message


def test_result_that_is_too_large_fails_the_workflow():
    @workflow
    async def large():
        return "x" * 3_000_000

    assert failure_of(decide(large, [], STARTED)).type == "PayloadTooLarge"
    assert decide(large, [], ev.replace(STARTED, limits={"payload": 10_000_000})).outcome.kind == "ExecutionCompleted"


def test_input_that_does_not_fit_fails_the_workflow_without_running_it():
    failure = failure_of(decide(order, [], started("five")))

    assert failure.type == "InvalidInput"
    assert "order(order_id)" in failure.message


def test_returning_while_work_is_open_leaves_the_work_open():
    @workflow
    async def hasty():
        begin(a())
        await asyncio.sleep(0)
        return "gone"

    decision = decide(hasty, [], STARTED)

    assert decision.commands == (scheduled(0, "a"), returned("gone"))
    assert [asked.event_id for asked in decision.open] == [0]


def test_nothing_of_the_code_runs_after_its_end():
    said = []

    @workflow
    async def haunted():
        async def ghost():
            await asyncio.sleep(5)
            said.append("boo")

        begin(ghost())
        return "dead"

    decide(haunted, [STARTED, timer(0, 5.0), returned("dead")], signal("go"), fired(0, at=5.0))

    assert said == []


def test_history_that_ends_in_a_failure_is_replayed_to_it():
    @workflow
    async def doomed():
        raise LookupError("x")

    assert failure_of(decide(doomed, [STARTED, raised("LookupError")])).type == "LookupError"


# --- children


@workflow
async def parent():
    child = await ship2.options(queue="slow", tags={"n": 1}, parent_close="abandon")(5, to="me")
    other = ship2.options(id="mine").start_child(6)
    return [child, other.id, await other, await other]


PARENT = [
    STARTED,
    ev.ChildScheduled(
        event_id=0, name="ship", version=2, instance_id=":0000", input=given(5, to="me"), tags={"n": 1},
        options={"queue": "slow", "parent_close": "abandon"},
    ),
    ev.ChildStarted(event_id=0),
    ev.ChildCompleted(event_id=0, result="1.5"),
    ev.ChildScheduled(event_id=1, name="ship", version=2, instance_id="mine", input=given(6)),
]  # fmt: skip


def test_child_is_asked_for_with_all_that_it_needs_and_can_be_awaited_twice():
    assert decide(parent, [], STARTED).commands == (PARENT[1],)

    decision = decide(parent, PARENT, ev.ChildCompleted(event_id=1, result="2"))

    assert result_of(decision) == ["1.5", "mine", "2", "2"]


def test_child_of_a_later_generation_has_another_id():
    assert decide(parent, [], started(generation=26)).commands[0].instance_id == ":1a.0000"


def test_failure_of_a_child_is_raised_at_the_await_with_its_facts():
    @workflow
    async def cautious():
        try:
            await ship2(5)
        except ChildFailed as error:
            return [error.workflow, error.instance_id, error.cause.type]

    log = [STARTED, ev.ChildScheduled(event_id=0, name="ship", version=2, instance_id=":0000", input=given(5))]
    broken = ev.ChildFailed(event_id=0, failure=Failure(type="ValueError", message="no"))

    assert result_of(decide(cautious, log, broken)) == ["ship", ":0000", "ValueError"]


def test_child_can_be_signalled():
    @workflow
    async def bossy():
        child = ship2.start_child(5)
        await child.signal("go", 1)

    child, sent = decide(bossy, [], STARTED).commands

    assert sent == ev.SignalSent(event_id=1, name="go", instance_id=child.instance_id, payload=1)


def test_headers_of_a_child_are_recorded_with_its_options():
    @workflow
    async def carrying():
        await ship2.options(headers={"user": 7}, queue="fast")(5)

    [child] = decide(carrying, [], STARTED).commands

    assert child.options == {"headers": {"user": 7}, "queue": "fast"}


def test_headers_of_a_child_must_be_json():
    @workflow
    async def carrying():
        await ship2.options(headers={"a": object()})(5)

    failure = failure_of(decide(carrying, [], STARTED))

    assert (failure.type, "headers of ship2" in failure.message) == ("InvalidInput", True)


def test_tags_of_a_child_must_be_json():
    @workflow
    async def tagging():
        await ship2.options(tags={"a": object()})(5)

    failure = failure_of(decide(tagging, [], STARTED))

    assert (failure.type, "tags of ship2" in failure.message) == ("InvalidInput", True)


@pytest.mark.parametrize("upgraded", [False, True])
def test_no_code_runs_on_what_is_recorded_while_an_instance_is_halted(upgraded):
    @workflow
    async def flow():
        await calls.wait_until(lambda: context.now().timestamp() >= 100 or context.info().version == 2)
        return context.info().version

    aside = [ev.ExecutionSuspended(at=150.0), ev.ExecutionUpgraded(version=2, at=160.0), ev.ExecutionResumed(at=170.0)]
    aside.insert(1, ev.ExecutionRewound(at=155.0))
    log = [STARTED, *(aside if upgraded else aside[::3])]

    assert (decide(flow, log).commands, decide(flow, log).outcome) == ((), None)
    assert decide(flow, log, ev.ExecutionWoken(at=180.0)).outcome == returned(2 if upgraded else 0)
    assert decide(flow, log, signal("any", at=180.0)).outcome == returned(2 if upgraded else 0)


@pytest.mark.parametrize("version", [0, 2])
def test_knows_whether_the_code_waits_for_a_condition(version):
    @workflow
    async def flow():
        await calls.wait_until(lambda: context.info().version == 2)
        await calls.wait_signal("go")

    execution = Execution(flow, converter=Converter())
    stepping.step(execution, started(version=version))

    assert bool(execution.conditions) == (version == 0)
    execution.close()


def test_what_nobody_waits_for_at_the_end_is_left():
    @workflow
    async def ship(): ...

    @workflow
    async def leaves():
        ship.start_child()
        ship.options(parent_close="abandon").start_child()
        asyncio.create_task(charge(1, Decimal(2)))
        given_up = asyncio.create_task(charge(3, Decimal(4)))
        await calls.wait_signal("go")
        given_up.cancel()
        await asyncio.wait([given_up])

    execution = Execution(leaves, converter=Converter())
    stepping.step(execution, STARTED)
    stepping.step(execution, signal("go"))

    assert execution.outcome == returned()
    assert [str(event) for event in answering.left(execution.open)] == [
        "ChildScheduled(ship)",
        "ActivityScheduled(charge)",
    ]
