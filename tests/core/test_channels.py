"""Channels and ``select``: deterministic, first in first out, closed for good."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import workflow
from durable.core import events as ev
from durable.core.channels import Channel
from durable.core.definitions import define_workflow
from durable.core.errors import ChannelClosed, InvalidInput
from durable.core.replay import replay
from durable.core.selecting import default, on, receive, select, send

STARTED = ev.ExecutionStarted(name="flow", input={"args": [], "kwargs": {}}, at=1.0)


def outcome(fn: Any, *new: ev.Event) -> Any:
    """Return what a workflow ends with, or None while it waits."""
    end = replay(define_workflow(fn), [], [STARTED, *new]).outcome
    if isinstance(end, ev.ExecutionFailed):
        return f"{end.failure.type}: {end.failure.message}"
    return None if end is None else end.result  # type: ignore[attr-defined]


def signal(name: str, payload: Any) -> ev.Event:
    return ev.SignalReceived(name=name, payload=payload, at=2.0)


def test_send_on_unbuffered_channel_waits_for_its_receiver() -> None:
    async def flow() -> list[str]:
        channel: Channel[int] = Channel()
        seen = []

        async def producer() -> None:
            await channel.send(1)
            seen.append("sent")

        task = asyncio.create_task(producer())
        await asyncio.sleep(0)
        seen.append("before")
        seen.append(f"got {await channel.receive()}")
        await task
        return seen

    assert outcome(flow) == ["before", "got 1", "sent"]


def test_buffered_channel_holds_as_many_as_it_has_room_for() -> None:
    async def flow() -> list[Any]:
        channel: Channel[int] = Channel(2)
        await channel.send(1)
        await channel.send(2)
        third = asyncio.create_task(channel.send(3))
        await asyncio.sleep(0)
        waited = not third.done()
        got = [await channel.receive() for _ in range(3)]
        return [waited, got, len(channel)]

    assert outcome(flow) == [True, [1, 2, 3], 0]


def test_waiting_receivers_are_served_first_come_first_served() -> None:
    async def flow() -> list[list[int]]:
        channel: Channel[int] = Channel()
        seen: list[list[int]] = []

        async def consumer(number: int) -> None:
            seen.append([number, await channel.receive()])

        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(consumer(number))
            await asyncio.sleep(0)
            for value in (10, 11, 12):
                await channel.send(value)
        return seen

    assert outcome(flow) == [[0, 10], [1, 11], [2, 12]]


def test_closed_channel_gives_what_it_holds_and_then_says_that_it_is_closed() -> None:
    async def flow() -> list[Any]:
        channel: Channel[int] = Channel(2)
        await channel.send(1)
        channel.close()
        channel.close()
        first, last = await channel.receive_ok(), await channel.receive_ok()
        return [list(first), list(last), channel.closed]

    assert outcome(flow) == [[1, True], [None, False], True]


def test_receive_and_send_on_closed_channel_raise() -> None:
    async def flow() -> list[str]:
        channel: Channel[int] = Channel()
        channel.close()
        errors = []
        for call in (channel.receive(), channel.send(1)):
            try:
                await call
            except ChannelClosed as error:
                errors.append(str(error))
        return errors

    assert outcome(flow) == ["cannot receive: the channel is closed", "cannot send: the channel is closed"]


def test_close_wakes_those_who_wait() -> None:
    async def flow() -> list[str]:
        empty: Channel[int] = Channel()
        full: Channel[int] = Channel()
        receiver = asyncio.create_task(empty.receive_ok())
        sender = asyncio.create_task(full.send(1))
        await asyncio.sleep(0)
        empty.close()
        full.close()
        done = await asyncio.gather(receiver, sender, return_exceptions=True)
        return [str(each) for each in done]

    assert outcome(flow) == ["(None, False)", "cannot send: the channel is closed"]


def test_iteration_ends_when_the_channel_is_closed() -> None:
    async def flow() -> list[int]:
        channel: Channel[int] = Channel(5)
        for value in range(3):
            await channel.send(value)
        channel.close()
        return [value async for value in channel]

    assert outcome(flow) == [0, 1, 2]


def test_canceled_sender_and_receiver_leave_no_trace() -> None:
    async def flow() -> list[Any]:
        channel: Channel[int] = Channel()
        sender = asyncio.create_task(channel.send(1))
        await asyncio.sleep(0)
        sender.cancel()
        await asyncio.sleep(0)
        receiver = asyncio.create_task(channel.receive())
        await asyncio.sleep(0)
        waited = not receiver.done()
        receiver.cancel()
        await asyncio.sleep(0)
        second = asyncio.create_task(channel.receive())
        await asyncio.sleep(0)
        await channel.send(2)
        return [waited, await second]

    assert outcome(flow) == [True, 2]


def test_value_of_a_receiver_canceled_on_waking_goes_to_the_next_one() -> None:
    async def flow() -> int:
        channel: Channel[int] = Channel()
        first, second = asyncio.create_task(channel.receive()), asyncio.create_task(channel.receive())
        await asyncio.sleep(0)
        await channel.send(7)
        first.cancel()
        return await second

    assert outcome(flow) == 7


def test_channel_with_negative_size_is_refused() -> None:
    with pytest.raises(InvalidInput, match="Channel"):
        Channel(-1)


def test_select_runs_the_first_ready_case_in_the_order_given() -> None:
    async def flow() -> list[str]:
        a: Channel[int] = Channel(1)
        b: Channel[int] = Channel(1)
        await a.send(1)
        await b.send(2)
        cases = receive(b, lambda value, ok: f"b{value}{ok}"), receive(a, lambda value, ok: f"a{value}{ok}")
        return [await select(*cases), await select(*cases)]

    assert outcome(flow) == ["b2True", "a1True"]


def test_select_takes_default_when_nothing_is_ready() -> None:
    async def flow() -> list[str]:
        channel: Channel[int] = Channel(1)
        first = await select(receive(channel, lambda value, ok: "got"), default(lambda: "nothing"))
        await channel.send(1)
        return [first, await select(receive(channel, lambda value, ok: "got"), default(lambda: "nothing"))]

    assert outcome(flow) == ["nothing", "got"]


def test_select_waits_until_a_signal_comes() -> None:
    async def flow() -> str:
        go, stop = workflow.signals("go"), workflow.signals("stop")
        return await select(
            receive(go, lambda value, ok: f"go {value}"),
            receive(stop, lambda value, ok: f"stop {value}"),
        )

    assert outcome(flow) is None
    assert outcome(flow, signal("other", 0)) is None
    assert outcome(flow, signal("stop", 1), signal("go", 2)) == "stop 1"


def test_select_gives_the_finished_awaitable_to_its_handler() -> None:
    async def flow() -> str:
        async def fails() -> None:
            raise ValueError("boom")

        return await select(on(fails(), lambda done: f"failed with {done.exception()}"))

    assert outcome(flow) == "failed with boom"


def test_resolved_future_stays_ready() -> None:
    async def flow() -> list[str]:
        first = asyncio.get_running_loop().create_future()
        second = asyncio.get_running_loop().create_future()
        first.set_result("first")
        second.set_result("second")
        cases = on(first, lambda done: done.result()), on(second, lambda done: done.result())
        return [await select(*cases), await select(*cases)]

    assert outcome(flow) == ["first", "first"]


def test_select_sends_when_a_receiver_waits() -> None:
    async def flow() -> list[Any]:
        channel: Channel[int] = Channel()
        none_waits = await select(send(channel, 1, lambda: "sent"), default(lambda: "full"))
        receiver = asyncio.create_task(channel.receive())
        await asyncio.sleep(0)
        return [none_waits, await select(send(channel, 2, lambda: "sent"), default(lambda: "full")), await receiver]

    assert outcome(flow) == ["full", "sent", 2]


def test_two_selects_meet_on_an_unbuffered_channel() -> None:
    async def flow() -> list[Any]:
        channel: Channel[int] = Channel()
        sender = asyncio.create_task(select(send(channel, 5, lambda: "sent")))
        receiver = asyncio.create_task(select(receive(channel, lambda value, ok: value)))
        return [await sender, await receiver]

    assert outcome(flow) == ["sent", 5]


def test_handler_may_be_async() -> None:
    async def flow() -> int:
        channel: Channel[int] = Channel(1)
        await channel.send(20)

        async def handle(value: int, ok: bool) -> int:
            await asyncio.sleep(0)
            return value + 1

        return await select(receive(channel, handle))

    assert outcome(flow) == 21


def test_select_of_nothing_is_refused() -> None:
    async def flow() -> None:
        await select()

    assert "at least one case" in outcome(flow)


def test_hundred_unread_signals_stay_in_order_and_one_that_comes_before_its_channel_is_kept() -> None:
    async def flow() -> list[int]:
        await workflow.wait_signal("ready")
        return [await workflow.signals("number").receive() for _ in range(100)]

    early = [signal("number", value) for value in range(100)]

    assert outcome(flow, *early, signal("ready", None)) == list(range(100))
