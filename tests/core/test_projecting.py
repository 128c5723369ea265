"""What would come of an edited history: with recorded answers where nothing changed, and mocks for the rest."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import Any

import pytest

from durable.core import calls, context, edit, marks, projecting
from durable.core import events as ev
from durable.core.execution import Execution
from durable.core.failures import Failure
from durable.core.payloads import Converter
from tests.core.histories import (
    activity,
    completed,
    failed,
    failure_of,
    fired,
    given,
    returned,
    scheduled,
    signal,
    started,
    timer,
    timer_canceled,
    workflow,
)

NOW = 1000.0


@activity
def act(number: int = 0) -> Any: ...


@activity
def other() -> Any: ...


@workflow
async def child(number: int = 0) -> Any: ...


def nothing(asked: ev.Asked, first: bool) -> None:
    return None


def mocked(**results: Any) -> Any:
    """Return mocks that answer by name, after the record."""

    def mock(asked: ev.Asked, first: bool) -> Any:
        if first or asked.name not in results:
            return None
        done = ev.ChildCompleted if isinstance(asked, ev.ChildScheduled) else ev.ActivityCompleted
        return done(event_id=asked.event_id, result=results[asked.name])

    return mock


def play(definition: Any, history: Any, event_id: int, mock: Any = nothing, **options: Any) -> projecting.Projection:
    execution = Execution(definition, converter=Converter(), dry=True, instance_id="i")
    keep = options.pop("keep_siblings", False)
    try:
        return projecting.project(
            execution,
            edit.fork(history, event_id, keep_siblings=keep),
            history,
            at=NOW,
            mock=mock,
            **options,
        )
    finally:
        execution.close()


def result(projection: projecting.Projection) -> Any:
    assert isinstance(projection.outcome, ev.ExecutionCompleted), projection
    return projection.outcome.result


@workflow
async def three(*_: Any) -> Any:
    first = await act(1)
    second = await act(first)
    return [first, second, await other()]


THREE = [
    started(at=10.0),
    scheduled(0, "act", 1),
    completed(0, 2, at=11.0),
    scheduled(1, "act", 2),
    completed(1, 3, at=12.0),
    scheduled(2, "other"),
    completed(2, "o", at=13.0),
    returned([2, 3, "o"]),
]


@pytest.mark.parametrize("event_id", [0, 1, 2])
def test_unchanged_history_comes_to_the_same_end(event_id):
    projection = play(three, THREE, event_id)

    assert result(projection) == [2, 3, "o"]
    assert list(projection.history) == THREE
    assert (projection.missing, projection.waits, projection.stopped) == ((), (), "")
    assert projection.kept == 2 + 2 * event_id


def test_what_comes_later_has_the_time_of_now():
    times = [event.at for event in play(three, THREE, 1).history]

    assert times[:4] == [10.0, 0.0, 11.0, 0.0]
    assert min(times[4:]) >= NOW


def test_mock_before_the_record_changes_what_follows():
    def mock(asked: ev.Asked, first: bool) -> Any:
        return completed(0, 7) if asked.event_id == 0 and first else None

    projection = play(three, THREE, 0, mock)

    assert [asked.event_id for asked in projection.missing] == [1]
    assert projection.outcome is None
    assert [wait.text for wait in projection.waits] == ["activity 'act'"]
    assert result(play(three, THREE, 0, lambda a, first: mock(a, first) or mocked(act=8)(a, first))) == [7, 8, "o"]


def test_record_that_a_mock_stands_for_is_not_used_by_somebody_else():
    @workflow
    async def repeats(*_: Any) -> Any:
        return [await act(1), await act(1)]

    history = [started(), scheduled(0, "act", 1), completed(0, "r"), scheduled(1, "act", 1), completed(1, "s")]

    def mock(asked: ev.Asked, first: bool) -> Any:
        return completed(asked.event_id, "m") if asked.event_id == 0 and first else None

    assert result(play(repeats, [*history, returned()], 0, mock)) == ["m", "s"]
    assert play(repeats, [*history[:3], returned()], 0, mock).missing[0].event_id == 1


def test_recorded_failures_fail_again():
    @workflow
    async def fails(*_: Any) -> Any:
        await act(1)

    history = [started(), scheduled(0, "act", 1), failed(0), ev.ExecutionFailed(failure=Failure(type="ActivityError"))]

    assert failure_of(play(fails, history, 0)).type == "ActivityError"


@workflow
async def gathers(*_: Any) -> Any:
    return await asyncio.gather(act(0), act(1), act(2))


FAN_OUT = [
    started(at=0.0),
    *(scheduled(number, "act", number) for number in range(3)),
    completed(2, "c", at=1.0),
    completed(0, "a", at=2.0),
    completed(1, "b", at=3.0),
    returned(["a", "b", "c"]),
]


@pytest.mark.parametrize("keep_siblings", [True, False])
def test_siblings_get_their_answers_after_as_long_as_it_took(keep_siblings):
    projection = play(gathers, FAN_OUT, 1, keep_siblings=keep_siblings)

    assert result(projection) == ["a", "b", "c"]
    answers = [event.event_id for event in projection.history if isinstance(event, ev.ActivityCompleted)]
    assert answers == [2, 0, 1]


def test_timers_fire_after_their_time_and_those_left_open_after_what_was_left():
    @workflow
    async def sleeps(*_: Any) -> Any:
        limit = asyncio.create_task(asyncio.sleep(100))
        await act(1)
        await act(2)
        began = context.time()
        await asyncio.sleep(30)
        middle = context.time()
        await limit
        return [began, middle, context.time()]

    history = [
        started(at=0.0),
        scheduled(0, "act", 1),
        timer(1, 100.0),
        completed(0, at=20.0),
        ev.replace(scheduled(2, "act", 2), at=20.0),
        completed(2, at=25.0),
        ev.replace(timer(3, 55.0), at=25.0),
        fired(3, at=55.0),
        fired(1, at=100.0),
        returned(),
    ]

    projection = play(sleeps, history, 2)

    assert result(projection) == [NOW + 5, NOW + 35, NOW + 80]
    assert [e.fire_at for e in projection.history if isinstance(e, ev.TimerStarted)] == [NOW + 80, NOW + 35]


def test_signals_come_again_as_long_after_the_cut():
    @workflow
    async def waits(*_: Any) -> Any:
        await act(1)
        began = context.time()
        return [await calls.wait_signal("go", timeout=50), context.time() - began]

    history = [
        started(at=0.0),
        scheduled(0, "act", 1),
        completed(0, at=5.0),
        timer(1, 55.0),
        signal("go", "yes", at=20.0),
        timer_canceled(1),
        returned(),
    ]

    assert result(play(waits, history, 0)) == ["yes", 15.0]


def test_side_effects_use_the_record_or_a_given_value_and_never_run():
    ran = []

    @workflow
    async def draws(*_: Any) -> Any:
        number = await act(1)
        value = marks.side_effect(lambda: ran.append(1))
        return [value, marks.side_effect(lambda: ran.append(2)) if number else None]

    history = [
        started(),
        scheduled(0, "act", 1),
        completed(0, 0),
        ev.SideEffectRecorded(event_id=1, value=7),
        returned([7, None]),
    ]

    assert result(play(draws, history, 0)) == [7, None]
    projection = play(draws, history, 0, lambda asked, first: completed(0, 1) if first else None)
    assert projection.stopped == "the side effect of event 2 is not recorded: give its value as a mock"
    assert (projection.outcome, projection.waits, ran) == (None, (), [])


def test_patch_that_is_used_twice_stops_it():
    @workflow
    async def reuses(*_: Any) -> Any:
        await act(1)
        marks.patched("one")
        marks.deprecate_patch("one")

    history = [started(), scheduled(0, "act", 1), completed(0), returned()]

    assert "one" in play(reuses, history, 0).stopped


def test_children_and_signals_to_others_are_answered_from_the_record():
    @workflow
    async def parent(*_: Any) -> Any:
        await act(1)
        await calls.signal_instance("somebody", "hello")
        return await child(3)

    asked = ev.ChildScheduled(event_id=2, name="child", version=0, instance_id="i:0002", input=given(3))
    history = [
        started(),
        scheduled(0, "act", 1),
        completed(0),
        ev.SignalSent(event_id=1, name="hello", instance_id="somebody"),
        ev.SignalDelivered(event_id=1),
        asked,
        ev.ChildStarted(event_id=2),
        ev.ChildCompleted(event_id=2, result=30),
        returned(30),
    ]

    projection = play(parent, history, 0)

    assert result(projection) == 30
    assert [event.kind for event in projection.history] == [event.kind for event in history]
    cut = [*history[:3], returned()]
    assert [asked.kind for asked in play(parent, cut, 0, mocked(act=1)).missing] == ["ChildScheduled"]
    assert result(play(parent, cut, 0, mocked(child=4))) == 4


def test_what_is_called_off_is_not_answered():
    @workflow
    async def gives_up(*_: Any) -> Any:
        await act(1)
        task = asyncio.create_task(act(2))
        handle = calls.start_child(child, given(1))
        late = asyncio.create_task(other())
        await asyncio.sleep(5)
        task.cancel()
        late.cancel()
        handle.cancel()
        await asyncio.wait([task, late])
        try:
            await handle
        except Exception as error:
            return str(type(error).__name__)

    history = [started(), scheduled(0, "act", 1), completed(0), returned()]

    def mock(asked: ev.Asked, first: bool) -> Any:
        return completed(asked.event_id) if asked.name == "act" and not first else None

    projection = play(gives_up, history, 0, mock)

    assert result(projection) == "ChildFailed"
    assert projection.missing == ()


def test_activity_that_was_given_up_before_its_answer_gets_none():
    @workflow
    async def limits(*_: Any) -> Any:
        await act(1)
        try:
            await asyncio.wait_for(act(2), 5)
        except TimeoutError:
            return "late"

    history = [
        started(at=0.0),
        scheduled(0, "act", 1),
        completed(0, at=1.0),
        scheduled(1, "act", 2),
        timer(2, 100.0),
        completed(1, at=50.0),
        returned(),
    ]

    assert result(play(limits, history, 0)) == "late"


def test_answer_that_came_before_its_question_was_given_up_counts():
    @workflow
    async def races(*_: Any) -> Any:
        sibling = asyncio.create_task(act(0))
        await act(1)
        sibling.cancel()
        return await other()

    history = [
        started(at=0.0),
        scheduled(0, "act", 1),
        scheduled(1, "act", 0),
        completed(1, at=1.0),
        completed(0, at=2.0),
        scheduled(2, "other"),
        completed(2, "o", at=3.0),
        returned("o"),
    ]

    def mock(asked: ev.Asked, first: bool) -> Any:
        return completed(0) if first and asked.event_id == 0 else None

    projection = play(races, history, 0, mock, keep_siblings=True)

    assert result(projection) == "o"
    assert "ActivityCanceled" not in {event.kind for event in projection.history}


def test_loop_without_an_end_is_stopped(monkeypatch):
    monkeypatch.setattr(projecting, "AT_MOST", 50)

    @workflow
    async def loops(*_: Any) -> Any:
        while True:
            await act(1)
            await asyncio.sleep(1)

    projection = play(loops, [started(), scheduled(0, "act", 1), completed(0), returned()], 0, mocked(act=1))

    assert projection.stopped == "it goes on for longer than 50 events"


def test_watch_is_around_each_step():
    seen = []

    @contextmanager
    def watch(execution):
        seen.append(execution.head)
        yield

    play(three, THREE, 1, watch=watch)

    assert len(seen) == 3


def test_values_of_the_record_are_not_shared_with_the_code():
    @workflow
    async def changes(*_: Any) -> Any:
        found = await act(1)
        found.append("changed")
        return found

    history = [started(), scheduled(0, "act", 1), completed(0, ["r"]), returned()]

    assert result(play(changes, history, 0)) == ["r", "changed"]
    assert history[2] == completed(0, ["r"])
