"""Replay compares what the code does with what its history holds, and says where they part."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any

import pytest

from durable.core import calls, context, marks
from durable.core import events as ev
from durable.core.errors import NondeterminismError, UndecodableEvent
from durable.core.execution import Execution
from durable.core.payloads import Converter
from durable.core.replay import catch_up, interpreter, replay
from tests.core.histories import (
    STARTED,
    activity,
    check_every_cut,
    completed,
    decide,
    failure_of,
    fired,
    given,
    returned,
    scheduled,
    signal,
    started,
    timer,
    workflow,
)


@activity
def charge(amount: int = 0) -> Any: ...


@activity
def reserve() -> Any: ...


@activity
def ship() -> Any: ...


@workflow
async def child() -> Any: ...


@workflow
async def order():
    await reserve()
    await charge(5)
    await asyncio.gather(ship(), asyncio.sleep(60))
    return "sent"


LOG = [
    STARTED,
    scheduled(0, "reserve"),
    completed(0),
    scheduled(1, "charge", 5),
    completed(1),
    scheduled(2, "ship"),
    timer(3, 60.0),
    fired(3, at=60.0),
    completed(2, at=61.0),
    returned("sent"),
]


def line_of(text: str) -> str:
    """Return ``file:line`` of the one line in this file that ends in ``text``."""
    with open(__file__) as source:
        numbers = [number for number, line in enumerate(source, 1) if line.rstrip().endswith(text)]
    assert len(numbers) == 1, numbers
    return f"{__file__}:{numbers[0]}"


def mismatch(definition: Any, log: Any = LOG) -> NondeterminismError:
    with pytest.raises(NondeterminismError) as caught:
        replay(definition, log)
    return caught.value


def facts(error: NondeterminismError) -> tuple[Any, ...]:
    return (error.seq, error.event_id, error.expected, error.got)


def test_replay_of_a_whole_history_leads_to_its_end():
    decision = decide(order, LOG)

    assert (decision.commands, decision.outcome, decision.open) == ((), LOG[-1], ())


@pytest.mark.parametrize("cut", [place for place, event in enumerate(LOG) if not event.by_code])
def test_decision_does_not_depend_on_where_the_history_ends(cut):
    new = [event for event in LOG[cut:] if not event.by_code]

    decision = replay(order, LOG[:cut], new)

    assert decision.outcome == LOG[-1]
    assert list(decision.commands) == [event for event in LOG[cut:] if event.by_code]


def test_replay_changes_nothing_outside_itself():
    assert replay(order, LOG[:4]) == replay(order, LOG[:4])


def test_empty_history_leads_to_nothing():
    assert replay(order, []).commands == ()


# --- the code changed


def test_renamed_activity_is_a_mismatch():
    @workflow
    async def order():
        await reserve()
        await ship()  # instead of charge

    error = mismatch(order)

    assert facts(error) == (4, 1, "ActivityScheduled(charge)", "ActivityScheduled(ship)")
    assert error.location == line_of("await ship()  # instead of charge")


def test_inserted_activity_is_a_mismatch():
    @workflow
    async def order():
        await charge(1)  # inserted
        await reserve()

    error = mismatch(order)

    assert facts(error) == (2, 0, "ActivityScheduled(reserve)", "ActivityScheduled(charge)")
    assert error.location == line_of("await charge(1)  # inserted")


def test_inserted_command_in_the_middle_of_a_step_is_a_mismatch():
    @workflow
    async def order():
        await reserve()
        await charge()
        await asyncio.gather(ship(), reserve(), asyncio.sleep(60))

    assert facts(mismatch(order)) == (7, 3, "TimerStarted(3)", "ActivityScheduled(reserve)")


def test_inserted_command_at_the_end_of_a_step_is_a_mismatch():
    @workflow
    async def order():
        task = asyncio.create_task(reserve())
        await asyncio.sleep(0)
        await charge()  # more than was recorded
        await task

    error = mismatch(order)

    assert facts(error) == (3, 0, "ActivityCompleted(0)", "ActivityScheduled(charge)")
    assert error.location == line_of("await charge()  # more than was recorded")


def test_removed_activity_is_a_mismatch():
    @workflow
    async def order():
        await reserve()
        await asyncio.gather(ship(), asyncio.sleep(60))

    assert facts(mismatch(order)) == (4, 1, "ActivityScheduled(charge)", "ActivityScheduled(ship)")


def test_reordered_activities_are_a_mismatch():
    @workflow
    async def order():
        await reserve()
        await charge()
        await asyncio.gather(asyncio.sleep(60), ship())

    error = mismatch(order)

    assert facts(error) == (6, 2, "ActivityScheduled(ship)", "TimerStarted(2)")


def test_another_kind_under_the_same_number_is_a_mismatch():
    @workflow
    async def order():
        await child()

    assert facts(mismatch(order)) == (2, 0, "ActivityScheduled(reserve)", "ChildScheduled(child)")


def test_another_number_of_the_same_activity_is_a_mismatch():
    @workflow
    async def order():
        async with asyncio.timeout(60):
            pass
        await reserve()

    error = mismatch(order)

    assert facts(error) == (2, 0, "ActivityScheduled(reserve)", "ActivityScheduled(reserve)")
    assert error.note == "It has the number 0 in the history and 1 now"
    assert "1 now. It began on Python 3.7" in mismatch(order, [started(python="3.7"), *LOG[1:]]).note


def test_code_that_ends_early_is_a_mismatch():
    @workflow
    async def order():
        await reserve()
        return "sent"

    error = mismatch(order)

    assert facts(error) == (4, 1, "ActivityScheduled(charge)", "ExecutionCompleted")
    assert error.location == ""


def test_code_that_does_nothing_is_a_mismatch_located_where_it_waits():
    async def dawdle():
        await calls.wait_signal("go")  # for ever

    @workflow
    async def order():
        await reserve()
        await dawdle()

    error = mismatch(order)

    assert facts(error) == (4, 1, "ActivityScheduled(charge)", None)
    assert "workflow did nothing" in str(error)
    assert error.location == line_of('await calls.wait_signal("go")  # for ever')


def test_code_that_goes_on_after_the_recorded_end_is_a_mismatch():
    @workflow
    async def order():
        await reserve()
        await charge()
        await asyncio.gather(ship(), asyncio.sleep(60))
        await reserve()

    error = mismatch(order)

    assert facts(error) == (10, None, "ExecutionCompleted", "ActivityScheduled(reserve)")


def test_other_end_than_recorded_is_a_mismatch():
    @workflow
    async def order():
        raise ValueError("no")

    assert facts(mismatch(order, [STARTED, returned()])) == (2, None, "ExecutionCompleted", "ExecutionFailed")


def test_code_that_ended_before_a_later_step_is_a_mismatch():
    @workflow
    async def order():
        return "sent"

    assert facts(mismatch(order, [STARTED, signal("go"), scheduled(0, "reserve")])) == (
        2,
        None,
        "SignalReceived(go)",
        "ExecutionCompleted",
    )


def test_command_of_a_task_is_located_in_its_own_code():
    async def part():
        await ship()  # in a task

    @workflow
    async def order():
        await asyncio.gather(part(), part())

    assert mismatch(order).location == line_of("await ship()  # in a task")


def test_command_of_a_bare_activity_in_gather_is_located_where_main_waits():
    @workflow
    async def order():
        await asyncio.gather(ship(), ship())  # both

    assert mismatch(order).location == line_of("await asyncio.gather(ship(), ship())  # both")


def test_statement_over_several_lines_is_located_at_its_call():
    @workflow
    async def order():
        await asyncio.wait_for(
            asyncio.sleep(5),
            timeout=None,
        )

    assert mismatch(order).location.startswith(f"{__file__}:")


def test_arguments_and_options_may_change():
    @workflow
    async def order():
        await reserve.options(queue="slow")()
        await charge(amount=7)
        await asyncio.gather(ship(), asyncio.sleep(120))
        return "sent, at last"

    assert replay(order, LOG).commands == ()


def test_doubled_record_is_a_mismatch():
    assert facts(mismatch(order, [*LOG[:2], LOG[1], *LOG[2:]])) == (3, 0, "ActivityScheduled(reserve)", None)


# --- the interpreter


@workflow
async def other():
    await ship()


def test_mismatch_on_another_interpreter_says_so():
    error = mismatch(other, [started(python="3.7"), *LOG[1:]])

    assert error.note.startswith(f"It began on Python 3.7 and this is {interpreter()}")
    assert str(error).endswith(error.note)


@pytest.mark.parametrize("python", ["", f"{sys.version_info.major}.{sys.version_info.minor}"])
def test_mismatch_on_the_same_interpreter_says_nothing(python):
    assert mismatch(other, [started(python=python), *LOG[1:]]).note == ""


def test_mismatch_of_a_side_effect_has_the_note_too():
    @workflow
    async def effect():
        marks.side_effect(list)

    assert mismatch(effect, [started(python="3.7"), *LOG[1:]]).note.startswith("It began on Python 3.7")


# --- histories that are cut or odd


def test_history_cut_in_the_middle_of_a_step_leads_to_the_rest():
    assert replay(order, LOG[:6]).commands == (LOG[6],)


def test_rest_of_a_step_must_be_recorded_before_anything_else():
    error = mismatch(order, [*LOG[:6], completed(2)])

    assert facts(error) == (7, 2, "ActivityCompleted(2)", "TimerStarted(3)")


def test_imposed_end_is_no_deed_of_the_code():
    log = [*LOG[:2], ev.ExecutionTerminated(reason="no use")]

    decision = replay(order, log)

    assert decision.commands == ()
    assert decision.outcome == log[-1]
    check_every_cut(order, log)


def test_input_is_decoded_as_annotated():
    @workflow
    async def typed(n: int, *, name: str):
        return [n, name]

    log = [ev.ExecutionStarted(name="typed", input=given(1, name="a")), returned([1, "a"])]

    assert decide(typed, log).outcome == log[1]


def test_replay_takes_what_an_execution_takes():
    @workflow
    async def tags_itself():
        context.set_tags(a=1, b=2)

    decision = replay(tags_itself, [STARTED], limits={"payload": 100, "tags": 1})

    assert failure_of(decision).type == "LimitExceeded"


# --- histories that are read while they are replayed


@workflow
async def counting():
    for number in range(250):
        await charge(number)


def long_log() -> list[ev.Event]:
    asked = [[scheduled(number, "charge", number), completed(number)] for number in range(250)]
    return [STARTED, *itertools.chain.from_iterable(asked), returned(None)]


def caught_up(code: Any, history: Iterable[ev.Event]) -> Execution:
    execution = Execution(code, converter=Converter())
    with closing(execution):
        assert catch_up(execution, history, whole=True) == []
    return execution


def test_history_is_read_outside_the_loop():
    around: list[Any] = []

    def read() -> Iterator[ev.Event]:
        for event in long_log():
            around.append((asyncio._get_running_loop(), context.running()))
            yield event

    execution = caught_up(counting, read())

    assert (execution.head, execution.outcome) == (502, returned(None))
    assert set(around) == {(None, None)}


def test_history_is_read_little_by_little():
    execution, behind = Execution(counting, converter=Converter()), []

    def read() -> Iterator[ev.Event]:
        for seq, event in enumerate(long_log(), 1):
            behind.append(seq - execution.head)
            yield event

    with closing(execution):
        catch_up(execution, read(), whole=True)

    assert 40 < max(behind) < 80


def test_what_is_asked_for_runs_in_the_loop_step_after_step():
    seen = []

    @workflow
    async def looking():
        for number in range(250):
            seen.append((asyncio.get_running_loop(), context.running()))
            await charge(number)

    execution = caught_up(looking, long_log())

    assert set(seen) == {(execution.loop, execution)}
    assert (asyncio._get_running_loop(), context.running()) == (None, None)


def broken(*events: ev.Event) -> Iterator[ev.Event]:
    yield from events
    raise UndecodableEvent(len(events) + 1, "ActivityScheduled", "it is broken")


def test_history_that_cannot_be_read_is_replayed_up_to_there():
    execution = Execution(counting, converter=Converter())

    with closing(execution), pytest.raises(UndecodableEvent):
        catch_up(execution, broken(*long_log()[:23]), whole=True)

    assert (execution.head, execution.length) == (22, 22)
    assert (asyncio._get_running_loop(), context.running()) == (None, None)


def test_mismatch_comes_before_what_cannot_be_read_after_it():
    log = long_log()
    log[21] = ev.replace(log[21], name="other")

    with pytest.raises(NondeterminismError) as caught:
        caught_up(counting, broken(*log[:25]))

    assert caught.value.seq == 22


class Point:
    """A type that only a converter knows."""


def test_arguments_of_the_start_are_read_outside_the_loop():
    seen = []

    class Mine(Converter):
        def decode_other(self, data: Any, kind: Any) -> Any:
            seen.append(context.running())
            return Point()

    @workflow
    async def placed(point: Point):
        await charge()
        await charge()

    log = [ev.ExecutionStarted(name="placed", input=given(1)), scheduled(0, "charge", 0), completed(0)]
    replay(placed, log, converter=Mine())

    assert seen == [None]
