"""Rechecking replays what just happened and finds what a replay alone does not compare."""

from __future__ import annotations

import asyncio
import itertools
import sys
from typing import Any

import pytest

from durable.core import context, stepping
from durable.core import events as ev
from durable.core.definitions import define_workflow
from durable.core.errors import NondeterminismError
from durable.core.execution import Execution
from durable.core.marks import side_effect
from durable.core.payloads import Converter
from durable.core.rechecking import recheck
from durable.core.replay import catch_up
from tests.core.histories import (
    STARTED,
    activity,
    begin,
    completed,
    fired,
    recordable,
    scheduled,
    workflow,
)


@activity
def charge(amount: Any = 0, note: str = "") -> Any: ...


@activity
def refund() -> Any: ...


NUMBERS = itertools.count()
SEEN: list[Any] = []


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "NUMBERS", itertools.count())
    SEEN.clear()


def live(definition, *events):
    """Take steps; return the execution and its history."""
    execution, history = Execution(definition, converter=Converter()), []
    for event in (STARTED, *events):
        history += [event, *recordable(stepping.step(execution, event))]
    return execution, history


def found(definition, *events):
    execution, history = live(definition, *events)
    with pytest.raises(NondeterminismError) as caught:
        recheck(execution, execution.anew(), [], history)
    return caught.value


@workflow
async def counting():
    await charge(next(NUMBERS), note="the same")


@workflow
async def remembering():
    SEEN.append(1)
    if len(SEEN) % 2:
        await charge(1)
    else:
        await refund()


@workflow
async def mutable(log: list[int] = []):  # noqa: B006 - that is the point
    log.append(1)
    return len(log)


@workflow
async def telling():
    context.set_status(f"number {next(NUMBERS)}")
    context.set_tags(run=next(NUMBERS))
    await charge()


@workflow
async def progressing():
    context.set_progress(next(NUMBERS), 10)
    await charge()


@workflow
async def tagging():
    context.set_tags(run=next(NUMBERS))
    await charge()


@workflow
async def sleeping():
    await asyncio.sleep(1 + next(NUMBERS))


@workflow
async def eager():
    await charge()
    for _ in range(len(SEEN)):
        SEEN.clear()
        return
    SEEN.append(1)
    await refund()


def test_argument_that_differs_is_found_and_both_sides_are_told():
    error = found(counting)

    assert error.expected == "ActivityScheduled(charge) input={'args': [0], 'kwargs': {'note': 'the same'}}"
    assert error.got == "ActivityScheduled(charge) input={'args': [1], 'kwargs': {'note': 'the same'}}"
    assert (error.seq, error.event_id) == (2, 0)
    assert error.location == f"{__file__}:{counting.fn.__code__.co_firstlineno + 2}"
    assert error.note.startswith("The code is not deterministic: replayed right after the turn")


def test_note_of_the_replay_is_kept():
    @workflow
    async def counting() -> None:
        for _ in range(next(NUMBERS)):
            asyncio.get_running_loop().call_later(1, print).cancel()
        await charge()

    assert ". It has the number 0 in the history and 1 now" in found(counting).note


def test_other_command_is_found():
    error = found(remembering)

    assert (error.expected, error.got) == ("ActivityScheduled(charge)", "ActivityScheduled(refund)")


def test_result_that_differs_is_found():
    error = found(mutable)

    assert (error.expected, error.got) == ("ExecutionCompleted result=1", "ExecutionCompleted result=2")


def test_command_beyond_the_history_is_found():
    @workflow
    async def more():
        SEEN.append(1)
        if len(SEEN) > 1:
            begin(refund())
        await charge()

    execution, history = live(more)
    again = execution.anew()

    with pytest.raises(NondeterminismError) as caught:
        recheck(execution, again, [], history)

    assert caught.value.expected == "nothing more"
    assert caught.value.got == "ActivityScheduled(refund)"
    assert caught.value.seq == 3


def test_end_in_place_of_a_command_is_found():
    error = found(eager, completed(0))

    assert error.expected == "ActivityScheduled(refund)"
    assert error.got == "ExecutionCompleted"


def test_timer_of_another_length_is_found():
    error = found(sleeping)

    assert error.expected.startswith("TimerStarted(0) fire_at=")


@pytest.mark.parametrize(
    ("definition", "field"),
    [(telling, "status"), (progressing, "progress"), (tagging, "tags")],
    ids=["status", "progress", "tags"],
)
def test_what_is_shown_to_operators_is_compared(definition, field):
    error = found(definition)

    assert error.expected.startswith(f"{field} ")
    assert error.expected != error.got
    assert error.location.startswith(__file__)
    assert error.seq == 2


def test_long_values_are_cut():
    @workflow
    async def long():
        await charge(str(next(NUMBERS)).zfill(3) + "x" * 1000)

    @workflow
    async def long_status():
        context.set_status(str(next(NUMBERS)).zfill(3) + " x" * 1000)
        await charge()

    for definition in (long, long_status):
        error = found(definition)
        assert len(error.expected) == len(error.got) == 300
        assert error.expected.endswith("...")


def test_failures_are_compared_by_their_type():
    @workflow
    async def failing():
        raise ValueError(f"no {object()} {next(NUMBERS)}")

    execution, history = live(failing)
    recheck(execution, execution.anew(), [], history)

    @workflow
    async def failing_otherwise():
        raise (ValueError if next(NUMBERS) % 2 else KeyError)("no")

    assert "ExecutionFailed failure=" in found(failing_otherwise).expected


@workflow
async def steady():
    context.set_status("begun")
    secret = side_effect(lambda: next(NUMBERS))
    await charge(secret)
    await charge(context.random().random(), str(context.uuid4()))
    await asyncio.sleep(1)
    context.set_progress(1, 2)
    await asyncio.gather(*(charge(n) for n in range(3)))


def test_deterministic_code_passes():
    steps = [completed(1), completed(2), fired(3, at=1.0), completed(4), completed(5), completed(6)]

    for end in range(len(steps) + 1):
        execution, history = live(steady, *steps[:end])
        recheck(execution, execution.anew(), [], history)

    assert execution.outcome is not None


def test_refused_step_passes():
    @workflow
    async def reaching():
        await charge()
        context.set_status("reaching")
        await asyncio.to_thread(print)

    execution, history = live(reaching, completed(0))

    assert execution.outcome.failure.type == "ForbiddenInWorkflow"
    recheck(execution, execution.anew(), [], history)


def test_anew_has_seen_nothing():
    execution, _ = live(steady)

    again = execution.anew()

    assert (again.head, again.length, again.status, again.open) == (0, 0, None, {})
    assert (again.workflow, again.converter, again.limits) == (steady, execution.converter, execution.limits)


def test_arguments_of_what_is_stored_may_have_changed():
    @workflow
    async def changed():
        await charge(2)
        await refund()

    stored = [STARTED, scheduled(0, "charge", 1)]
    execution = Execution(changed, converter=Converter())
    catch_up(execution, stored)
    new = [completed(0), *recordable(stepping.step(execution, completed(0)))]

    recheck(execution, execution.anew(), stored, new)

    with pytest.raises(NondeterminismError):
        recheck(execution, execution.anew(), [], [*stored, *new])


def test_commands_of_what_is_stored_may_not():
    execution, history = live(steady)

    with pytest.raises(NondeterminismError):
        recheck(execution, execution.anew(), [STARTED, scheduled(0, "refund")], history[2:])


def test_version_and_app_of_a_child_are_not_the_codes():
    """Who records them chose them: code asks for what it names."""

    @workflow
    async def parent():
        await define_workflow(_child, name="kid").start_child(1)

    execution, history = live(parent)
    history = [ev.replace(e, version=7, app_id="b") if isinstance(e, ev.ChildScheduled) else e for e in history]

    recheck(execution, execution.anew(), [], history)

    history = [ev.replace(e, tags={"a": 1}) if isinstance(e, ev.ChildScheduled) else e for e in history]
    with pytest.raises(NondeterminismError):
        recheck(execution, execution.anew(), [], history)


async def _child(number: int) -> None: ...
