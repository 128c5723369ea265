"""Spans are told once, by the workflow's time, and never on replay."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable.core import context, queries, spans, stepping
from durable.core.calls import continue_as_new
from durable.core.errors import InvalidInput, OutsideWorkflow, ReadOnly
from durable.core.execution import Execution
from durable.core.payloads import Converter
from durable.core.replay import catch_up
from tests.core.histories import (
    CANCEL,
    activity,
    completed,
    decide,
    failed,
    failure_of,
    fired,
    returned,
    scheduled,
    started,
    timer,
    workflow,
)


@activity
def a() -> Any: ...


@workflow
async def paying():
    with spans.span("pay", order=42):
        with spans.span("card"):
            await a()
        await asyncio.sleep(60)
    with spans.span("thank"):
        pass


def begun(definition=paying, *, at: float = 0.0) -> Execution:
    live = Execution(definition, converter=Converter())
    stepping.step(live, started(at=at))
    return live


def told(live: Execution) -> list[tuple[Any, ...]]:
    return [(s.name, s.number, s.outer, s.attributes, s.started_at, s.ended_at) for s in live.spans]


def test_span_lasts_over_steps_by_the_workflows_time():
    live = begun(at=10.0)
    assert live.spans == []

    stepping.step(live, completed(0, at=15.0))
    assert told(live) == [("card", 1, 0, {}, 10.0, 15.0)]

    stepping.step(live, fired(1, at=75.0))
    assert told(live)[1:] == [("pay", 0, None, {"order": 42}, 10.0, 75.0), ("thank", 2, None, {}, 75.0, 75.0)]
    assert [s.failure for s in live.spans] == [None] * 3


def test_replay_tells_nothing_and_knows_when_a_span_began():
    live = Execution(paying, converter=Converter())
    catch_up(live, [started(at=10.0), scheduled(0, "a"), completed(0, at=15.0), timer(1, 75.0)])
    assert live.spans == []

    stepping.step(live, fired(1, at=75.0))
    assert [each[:2] for each in told(live)] == [("pay", 0), ("thank", 2)]
    assert live.spans[0].started_at == 10.0


def test_span_leaves_no_trace_in_the_history():
    decision = decide(paying, [started(at=10.0), scheduled(0, "a"), completed(0, at=15.0), timer(1, 75.0)])

    assert decision.commands == ()


def test_tasks_are_in_the_span_that_they_were_begun_in():
    @workflow
    async def working():
        with spans.span("all"):
            await asyncio.gather(one("first"), one("second"))
        with spans.span("after"):
            pass

    async def one(name: str):
        with spans.span(name):
            await a()

    live = begun(working)
    stepping.step(live, completed(1))
    stepping.step(live, completed(0))

    assert [(s.name, s.outer) for s in live.spans] == [("second", 0), ("first", 0), ("all", None), ("after", None)]


def test_exception_that_leaves_the_block_is_told():
    @workflow
    async def failing():
        with spans.span("outer"):
            try:
                with spans.span("inner"):
                    await a()
            except Exception:
                pass

    live = begun(failing)
    stepping.step(live, failed(0))

    inner, outer = live.spans
    assert (inner.failure.type, outer.failure) == ("ActivityError", None)


def test_cancel_ends_a_span():
    @workflow
    async def waiting():
        with spans.span("wait"):
            await asyncio.sleep(60)

    live = begun(waiting)
    stepping.step(live, CANCEL)

    assert [s.failure.type for s in live.spans] == ["CancelledError"]


def test_continue_as_new_ends_a_span_well():
    @workflow
    async def again():
        with spans.span("round"):
            continue_as_new()

    assert [(s.name, s.failure) for s in begun(again).spans] == [("round", None)]


def test_span_that_is_put_away_is_not_told():
    live = begun()
    live.close()

    assert live.spans == []


def test_name_is_no_attribute():
    @workflow
    async def naming():
        with spans.span("outer", name="inner"):
            pass

    assert [(s.name, s.attributes) for s in begun(naming).spans] == [("outer", {"name": "inner"})]


@pytest.mark.parametrize(("name", "attributes"), [("", {}), (7, {}), ("x", {"thing": object()})])
def test_what_cannot_be_told_is_refused_at_the_start(name, attributes):
    @workflow
    async def naming():
        with spans.span(name, **attributes):
            await a()

    assert failure_of(decide(naming, [], started())).type == InvalidInput.__name__


def test_query_cannot_begin_a_span():
    @workflow
    async def asked():
        @queries.query
        def look() -> None:
            with spans.span("look"):
                pass

        await a()

    live = begun(asked)
    with pytest.raises(ReadOnly):
        queries.answer(live, "look", {"args": [], "kwargs": {}})
    assert live.spans == []


def test_span_outside_of_a_workflow_is_refused():
    with pytest.raises(OutsideWorkflow), spans.span("alone"):
        pass


def test_span_changes_nothing_for_what_follows():
    @workflow
    async def counting():
        with spans.span("x"):
            return context.uuid4().hex

    @workflow
    async def plain():
        return context.uuid4().hex

    one, other = (decide(each, [], started(seed="s")).outcome for each in (counting, plain))
    assert one == other == returned(one.result)
