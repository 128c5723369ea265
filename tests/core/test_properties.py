"""Whatever a workflow is made of, its replay from anywhere comes to the same."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from durable.core import calls, context, marks
from durable.core import commands as cmd
from durable.core import events as ev
from durable.core.errors import ActivityError, ChildFailed
from durable.core.failures import Failure
from durable.core.replay import replay
from tests.core.histories import activity, check_every_cut, completed, failed, fired, signal, started, workflow

# A plan is a little program: a tree of lists whose first member says what to do with the others.
LEAVES = st.one_of(
    st.tuples(st.just("activity"), st.integers(0, 9)),
    st.tuples(st.just("sleep"), st.integers(0, 5)),
    st.tuples(st.just("signal"), st.sampled_from("ab")),
    st.tuples(st.just("effect"), st.integers(0, 9)),
    st.tuples(st.just("random")),
    st.tuples(st.just("child"), st.integers(0, 9)),
)


def _branches(plans: Any) -> Any:
    parts = st.lists(plans, min_size=1, max_size=3)
    return st.one_of(
        st.tuples(st.sampled_from(["sequence", "gather", "group", "wait", "completed"]), parts),
        st.tuples(st.just("timeout"), st.integers(0, 5), plans),
    )


PLANS = st.recursive(LEAVES, _branches, max_leaves=8)


@activity
def work(n: int) -> Any: ...


@workflow
async def kid(n: int) -> Any: ...


@workflow
async def interpreter(plan: Any):
    return await run(plan)


async def run(plan: Any) -> Any:
    match plan:
        case ["activity", n]:
            try:
                return await work(n)
            except ActivityError as error:
                return error.cause.type
        case ["child", n]:
            try:
                return await kid(n)
            except ChildFailed as error:
                return error.cause.type
        case ["sleep", n]:
            return await asyncio.sleep(n, n)
        case ["signal", name]:
            return await calls.wait_signal(name)
        case ["effect", n]:
            return marks.side_effect(lambda: n)
        case ["random"]:
            return context.random().randint(0, 1000)
        case ["sequence", parts]:
            return [await run(part) for part in parts]
        case ["gather", parts]:
            return await asyncio.gather(*map(run, parts))
        case ["group", parts]:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(run(part)) for part in parts]
            return [task.result() for task in tasks]
        case ["wait", parts]:
            tasks = [asyncio.create_task(run(part)) for part in parts]
            done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            return [task.result() for task in done]
        case ["completed", parts]:
            return [await result for result in asyncio.as_completed([run(part) for part in parts])]
        case ["timeout", n, part]:
            try:
                async with asyncio.timeout(n):
                    return await run(part)
            except TimeoutError:
                return "too late"
    raise AssertionError(plan)


def answers(asked: tuple[ev.Asked, ...], now: float) -> list[ev.Event]:
    """Return what may happen next, given what is open."""
    possible: list[ev.Event] = [signal("a", 1, at=now), signal("b", 2, at=now)]
    for event in asked:
        match event:
            case ev.ActivityScheduled(event_id=event_id):
                possible += [completed(event_id, event_id, at=now), failed(event_id), completed(event_id, None, at=now)]
            case ev.ChildScheduled(event_id=event_id):
                possible += [ev.ChildCompleted(event_id=event_id, result=event_id, at=now)] * 2
                possible += [ev.ChildStarted(event_id=event_id, at=now), ev.ChildCanceled(event_id=event_id, at=now)]
                failure = Failure(type="ValueError", message="no")
                possible.append(ev.ChildFailed(event_id=event_id, failure=failure, at=now))
            case ev.TimerStarted(event_id=event_id, fire_at=fire_at):
                possible += [fired(event_id, at=max(now, fire_at))] * 2
    return possible


@settings(max_examples=150)
@given(PLANS, st.data())
def test_replay_from_every_beginning_decides_the_same(plan, data):
    log: list[Any] = []
    event: ev.Event = started(plan, seed="x", at=1.0)

    for _ in range(12):
        decision = replay(interpreter, log, [event])
        log += [event, *(c for c in decision.commands if isinstance(c, cmd.Recordable))]
        if decision.outcome is not None:
            break
        kinds = answers(decision.open, event.at + 1)
        event = data.draw(st.sampled_from([*kinds, ev.CancelRequested()]))

    assert all(not event.ends for event in log[:-1])
    ids = [event.event_id for event in log if isinstance(event, ev.Asked)]
    assert len(set(ids)) == len(ids)
    check_every_cut(interpreter, log)
    assert replay(interpreter, log) == replay(interpreter, log)
