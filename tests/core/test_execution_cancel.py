"""A cancel reaches the main task once, wherever it waits, and the code may clean up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable.core import calls, context
from durable.core import commands as cmd
from durable.core import events as ev
from tests.core.histories import (
    CANCEL,
    CANCELED,
    STARTED,
    activity,
    completed,
    decide,
    failed,
    failure_of,
    fired,
    result_of,
    returned,
    scheduled,
    signal,
    timer,
    timer_canceled,
    workflow,
)


@activity
def a() -> Any: ...


@activity
def b() -> Any: ...


@workflow
async def ship() -> Any: ...


CHILD = ev.ChildScheduled(event_id=0, name="ship", version=0, instance_id=":0000", input={"args": [], "kwargs": {}})
SENT = ev.SignalSent(event_id=0, name="go", instance_id="other")


def waiting(wait):
    @workflow
    async def waits():
        await wait()

    return waits


@pytest.mark.parametrize(
    ("wait", "asked", "commands"),
    [
        (a, [scheduled(0, "a")], [cmd.CancelActivity(event_id=0)]),
        (lambda: asyncio.sleep(5), [timer(0, 5.0)], [timer_canceled(0)]),
        (lambda: calls.wait_signal("go"), [], []),
        (lambda: calls.wait_signal("go", timeout=5), [timer(0, 5.0)], [timer_canceled(0)]),
        (lambda: calls.wait_until(lambda: False), [], []),
        (lambda: calls.wait_until(lambda: False, timeout=5), [timer(0, 5.0)], [timer_canceled(0)]),
        (ship, [CHILD], [cmd.CancelChild(event_id=0)]),
        (lambda: calls.signal_instance("other", "go"), [SENT], []),
        (
            lambda: asyncio.gather(a(), asyncio.sleep(5)),
            [scheduled(0, "a"), timer(1, 5.0)],
            [cmd.CancelActivity(event_id=0), timer_canceled(1)],
        ),
        (
            lambda: asyncio.wait_for(a(), None),
            [scheduled(0, "a")],
            [cmd.CancelActivity(event_id=0)],
        ),
        (lambda: asyncio.Event().wait(), [], []),
        (lambda: asyncio.shield(a()), [scheduled(0, "a")], []),
    ],
    ids=[
        "activity", "sleep", "signal", "signal with timeout", "condition", "condition with timeout", "child",
        "signal sent", "gather", "wait_for", "event", "shield",
    ],
)  # fmt: skip
def test_cancel_ends_any_kind_of_wait(wait, asked, commands):
    decision = decide(waiting(wait), [STARTED, *asked], CANCEL)

    assert decision.commands == (*commands, CANCELED)
    assert decision.outcome == CANCELED


def test_cancel_ends_a_task_group_and_calls_its_activities_off_in_order():
    @workflow
    async def group():
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(a())

    log = [STARTED, *(scheduled(i, "a") for i in range(3))]

    assert decide(group, log, CANCEL).commands == (*(cmd.CancelActivity(event_id=i) for i in range(3)), CANCELED)


@workflow
async def careful():
    try:
        await a()
    except asyncio.CancelledError:
        await b()
        raise
    finally:
        context.set_status("cleaned up")


CAREFUL = [STARTED, scheduled(0, "a"), CANCEL, scheduled(1, "b"), completed(1), CANCELED]


def test_code_may_clean_up_and_let_the_cancel_end_it():
    decision = decide(careful, CAREFUL)

    assert decide(careful, CAREFUL[:2], CANCEL).commands == (cmd.CancelActivity(event_id=0), scheduled(1, "b"))
    assert (decision.outcome, decision.status) == (CANCELED, "cleaned up")


def test_cancel_is_delivered_once():
    decision = decide(careful, CAREFUL[:4], CANCEL)

    assert decision.commands == ()
    assert decision.outcome is None


def test_cancel_before_the_start_reaches_the_code_at_its_first_await():
    decision = decide(careful, [CANCEL], STARTED)

    assert decision.commands == (scheduled(1, "b"),)
    assert decide(careful, [CANCEL, STARTED, scheduled(1, "b")], completed(1)).outcome == CANCELED


def test_cancel_right_after_the_start_reaches_the_code_at_its_first_await():
    @workflow
    async def prompt():
        try:
            await asyncio.sleep(5)
        finally:
            context.set_status("cleaned up")

    decision = decide(prompt, [], STARTED, CANCEL)

    assert (decision.outcome, decision.status) == (CANCELED, "cleaned up")


def test_workflow_that_swallows_the_cancel_completes():
    @workflow
    async def stubborn():
        try:
            await a()
        except asyncio.CancelledError:
            return [await b(), context.cancelled()]

    log = [STARTED, scheduled(0, "a"), CANCEL, scheduled(1, "b")]

    assert result_of(decide(stubborn, log, completed(1, "done"))) == ["done", True]


def test_except_exception_does_not_swallow_the_cancel():
    @workflow
    async def broad():
        try:
            await a()
        except Exception:
            return "swallowed"

    assert decide(broad, [STARTED, scheduled(0, "a")], CANCEL).outcome == CANCELED


def test_error_in_the_clean_up_fails_the_workflow():
    @workflow
    async def clumsy():
        try:
            await a()
        except asyncio.CancelledError:
            raise ValueError("oops") from None

    assert failure_of(decide(clumsy, [STARTED, scheduled(0, "a")], CANCEL)).type == "ValueError"


def test_cancelled_error_that_nobody_asked_for_fails_the_workflow():
    @workflow
    async def odd():
        assert not context.cancelled()
        raise asyncio.CancelledError

    assert failure_of(decide(odd, [], STARTED)).type == "CancelledError"


def test_activity_that_was_called_off_by_others_raises_cancelled_error():
    @workflow
    async def surprised():
        try:
            await a()
        except asyncio.CancelledError:
            return "called off"

    decision = decide(surprised, [STARTED, scheduled(0, "a")], ev.ActivityCanceled(event_id=0))

    assert decision.commands == (returned("called off"),)
    assert decision.open == ()


@pytest.mark.parametrize("end", [ev.ActivityCanceled(event_id=0), completed(0, "too late"), failed(0)])
def test_end_of_an_activity_that_was_called_off_closes_it_and_changes_nothing(end):
    log = [STARTED, scheduled(0, "a"), CANCEL, scheduled(1, "b")]
    assert [asked.event_id for asked in decide(careful, log).open] == [0, 1]

    decision = decide(careful, log, end)

    assert decision.commands == ()
    assert [asked.event_id for asked in decision.open] == [1]


def test_open_timer_of_the_cancelled_wait_that_was_never_stored_leaves_no_trace():
    @workflow
    async def brief():
        async with asyncio.timeout(5):
            await asyncio.sleep(3)

    decision = decide(brief, [CANCEL], STARTED)

    assert decision.commands == (CANCELED,)


def test_cancel_after_the_end_is_ignored():
    log = [*CAREFUL, CANCEL]

    assert decide(careful, log).commands == ()


def test_signal_and_cancel_of_one_moment_are_both_seen():
    @workflow
    async def reading():
        try:
            first = await calls.wait_signal("go")
            await a()
        except asyncio.CancelledError:
            return first

    assert result_of(decide(reading, [STARTED, signal("go", 1), scheduled(0, "a")], CANCEL)) == 1


# --- children


@workflow
async def parent():
    child = ship.start_child()
    try:
        return await child
    except asyncio.CancelledError:
        return ["after all", await child]


PARENT = [STARTED, CHILD, ev.ChildStarted(event_id=0), CANCEL]


def test_awaiting_a_child_again_after_the_cancel_gives_its_real_outcome():
    assert decide(parent, PARENT[:3], CANCEL).commands == (cmd.CancelChild(event_id=0),)

    decision = decide(parent, PARENT, ev.ChildCompleted(event_id=0, result="shipped"))

    assert result_of(decision) == ["after all", "shipped"]


def test_child_that_was_canceled_raises_child_failed():
    failure = failure_of(decide(parent, PARENT, ev.ChildCanceled(event_id=0)))

    assert failure.type == "ChildFailed"
    assert failure.cause.type == "WorkflowCanceled"


def test_child_asked_to_stop_in_the_step_that_asked_for_it_is_started_and_stopped():
    @workflow
    async def undecided():
        child = ship.start_child()
        child.cancel()
        child.cancel()
        return await child

    assert decide(undecided, [], STARTED).commands == (CHILD, cmd.CancelChild(event_id=0))


def test_stopping_a_child_that_has_ended_does_nothing():
    @workflow
    async def late():
        child = ship.start_child()
        result = await child
        child.cancel()
        return [result, await child]

    assert decide(late, [STARTED, CHILD], ev.ChildCompleted(event_id=0, result=5)).commands == (returned([5, 5]),)


def test_timeout_around_a_child_asks_it_to_stop():
    @workflow
    async def impatient():
        async with asyncio.timeout(5):
            await ship()

    log = [STARTED, *decide(impatient, [], STARTED).commands]
    decision = decide(impatient, log, fired(0, at=5.0))

    assert decision.commands[0] == cmd.CancelChild(event_id=1)
    assert failure_of(decision).type == "TimeoutError"
