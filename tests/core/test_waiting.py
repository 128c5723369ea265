"""A live execution says what its tasks wait for, and where."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable.core import calls, frames, stepping
from durable.core.channels import Channel
from durable.core.execution import Execution
from durable.core.payloads import Converter
from tests.core.histories import STARTED, activity, signal, workflow


@activity
def charge() -> Any: ...


@pytest.fixture
def stand():
    """Bring a workflow to where it waits; put it away afterwards."""
    standing = []

    def bring(fn, *events):
        execution = Execution(workflow(fn), converter=Converter())
        standing.append(execution)
        for event in (STARTED, *events):
            stepping.step(execution, event)
        return execution

    yield bring
    for execution in standing:
        execution.close()


def waiting_in(execution):
    return [getattr(frames.waiting_in(task.get_coro()), "__qualname__", None) for task in execution.loop.tasks()]


def test_tasks_come_in_order_of_creation_without_those_that_ended(stand):
    async def ends() -> None: ...

    async def fan_out():
        parts = [
            asyncio.create_task(part, name=name) for part, name in ((charge(), "b"), (ends(), "c"), (charge(), "a"))
        ]
        await asyncio.wait(parts)

    assert [task.get_name() for task in stand(fan_out).loop.tasks()] == ["main", "b", "a"]


def test_task_waits_in_the_outermost_call_that_is_not_the_users(stand):
    async def listen():
        await calls.wait_signal("go")

    async def waits():
        await listen()

    assert waiting_in(stand(waits)) == ["wait_signal"]


def test_task_that_is_a_call_of_ours_waits_in_it(stand):
    async def fan_out():
        await asyncio.gather(charge(), asyncio.Event().wait())

    assert waiting_in(stand(fan_out)) == [None, "charge", "Event.wait"]


def test_what_an_object_awaits_for_its_caller_is_found(stand):
    @workflow
    async def kid(): ...

    async def waits():
        await kid.start_child()

    assert waiting_in(stand(waits)) == ["ChildHandle._wait"]


def test_unread_signals_are_counted_by_name(stand):
    async def waits():
        await calls.wait_signal("go")
        await calls.wait_signal("end")

    execution = stand(waits, signal("go"), signal("stop"), signal("stop"))

    assert execution.signals.unread() == {"stop": 2}
    assert execution.signals.name_of(execution.signals.channel("stop")) == "stop"
    assert execution.signals.name_of(Channel()) is None
