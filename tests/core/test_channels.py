"""Channels and ``select``: deterministic, first in first out, closed for good."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import workflow
from durable.core import events as ev
from durable.core.channels import Channel
from durable.core.definitions import define_workflow
from durable.core.errors import ChannelClosed, InvalidInput, ReadOnly
from durable.core.replay import replay
from durable.core.selecting import default, on, receive, select, send
from tests.core import histories
from tests.core.histories import activity, begin, decide, result_of

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


def test_receiver_that_waits_is_not_overtaken_by_one_that_comes_later() -> None:
    async def flow() -> list[Any]:
        channel: Channel[int] = Channel()
        first = begin(channel.receive())
        await asyncio.sleep(0)
        second = begin(select(receive(channel, lambda value, ok: value)))
        await asyncio.sleep(0)
        sent = [channel.send_now(1), channel.send_now(2), channel.send_now(3)]
        third = begin(channel.receive())
        await channel.send(4)
        return [sent, await first, await second, await third, len(channel)]

    assert outcome(flow) == [[True, True, False], 1, 2, 4, 0]


def test_sender_that_waits_is_not_overtaken_by_one_that_comes_later() -> None:
    async def flow() -> list[Any]:
        channel: Channel[int] = Channel(1)
        await channel.send(1)
        waiting = begin(channel.send(2))
        await asyncio.sleep(0)
        got = await channel.receive()
        overtakes = channel.send_now(3)
        await waiting
        return [got, overtakes, await channel.receive()]

    assert outcome(flow) == [1, False, 2]


def test_value_handed_to_a_canceled_receiver_stays_first_when_nobody_else_waits() -> None:
    async def flow() -> list[Any]:
        channel: Channel[int] = Channel()
        receiver = begin(channel.receive())
        await asyncio.sleep(0)
        sent = channel.send_now(1)
        receiver.cancel()
        late = begin(channel.send(2))
        await asyncio.sleep(0)
        return [sent, len(channel), await channel.receive(), await channel.receive(), await late, len(channel)]

    assert outcome(flow) == [True, 1, 1, 2, None, 0]


def test_receiver_canceled_when_the_channel_closes_gives_nothing_back() -> None:
    async def flow() -> list[Any]:
        channel: Channel[int] = Channel()
        receiver, chooser = begin(channel.receive_ok()), begin(select(receive(channel, lambda *got: list(got))))
        await asyncio.sleep(0)
        channel.close()
        receiver.cancel()
        chooser.cancel()
        await asyncio.sleep(0)
        return [receiver.cancelled(), chooser.cancelled(), len(channel), list(await channel.receive_ok())]

    assert outcome(flow) == [True, True, 0, [None, False]]


def test_value_of_a_sender_canceled_after_it_was_taken_is_neither_lost_nor_doubled() -> None:
    async def flow() -> list[Any]:
        channel: Channel[int] = Channel()
        sender, chooser = begin(channel.send(1)), begin(select(send(channel, 2, lambda: "sent")))
        await asyncio.sleep(0)
        got = [channel.take()[0], channel.take()[0]]
        sender.cancel()
        chooser.cancel()
        await asyncio.sleep(0)
        return [got, channel.can_receive(), sender.cancelled(), chooser.cancelled()]

    assert outcome(flow) == [[1, 2], False, True, True]


def test_canceled_select_leaves_no_trace() -> None:
    async def flow() -> list[Any]:
        full: Channel[int] = Channel()
        empty: Channel[int] = Channel()
        never = asyncio.get_running_loop().create_future()
        chooser = begin(
            select(send(full, 1, str), receive(empty, lambda value, ok: value), on(never, lambda done: "never"))
        )
        await asyncio.sleep(0)
        before = [full.can_receive(), empty.can_send()]
        chooser.cancel()
        at_once = [full.can_receive(), empty.can_send(), full.send_now(1)]
        await asyncio.sleep(0)
        return [before, at_once, chooser.cancelled(), never.cancelled()]

    assert outcome(flow) == [[True, True], [False, False, False], True, False]


def test_select_canceled_while_being_handed_a_value_gives_it_to_the_next_one() -> None:
    async def flow() -> int:
        channel: Channel[int] = Channel()
        chooser = begin(select(receive(channel, lambda value, ok: value)))
        await asyncio.sleep(0)
        second = begin(channel.receive())
        await asyncio.sleep(0)
        await channel.send(7)
        chooser.cancel()
        return await second

    assert outcome(flow) == 7


def test_select_canceled_while_being_woken_leaves_no_trace() -> None:
    async def flow() -> list[bool]:
        channel: Channel[int] = Channel()
        event = asyncio.get_running_loop().create_future()
        chooser = begin(select(on(event, lambda done: "event"), receive(channel, lambda value, ok: value)))
        await asyncio.sleep(0)
        event.set_result(None)
        await asyncio.sleep(0)
        chooser.cancel()
        await asyncio.sleep(0)
        return [chooser.cancelled(), channel.can_send()]

    assert outcome(flow) == [True, False]


def test_selects_that_wait_for_the_same_channel_take_turns() -> None:
    async def flow() -> list[Any]:
        channel: Channel[int] = Channel()
        choosers = [begin(select(receive(channel, lambda value, ok: [value, ok]))) for _ in range(3)]
        await asyncio.sleep(0)
        await channel.send(1)
        await channel.send(2)
        channel.close()
        return [await chooser for chooser in choosers]

    assert outcome(flow) == [[1, True], [2, True], [None, False]]


def test_value_for_a_select_that_has_chosen_already_is_not_sent() -> None:
    async def flow() -> list[Any]:
        a: Channel[int] = Channel()
        b: Channel[int] = Channel()
        chooser = begin(select(receive(a, lambda value, ok: f"a{value}"), receive(b, lambda value, ok: f"b{value}")))
        await asyncio.sleep(0)
        sent = [b.send_now(1), a.can_send(), a.send_now(2)]
        return [sent, await chooser, len(a), len(b)]

    assert outcome(flow) == [[True, False, False], "b1", 0, 0]


def test_selects_that_would_both_send_and_receive_meet_once() -> None:
    async def flow() -> list[Any]:
        channel: Channel[str] = Channel()

        def either(me: str) -> Any:
            return select(receive(channel, lambda value, ok: f"got {value}"), send(channel, me, lambda: "sent"))

        first, second = begin(either("first")), begin(either("second"))
        met = [await first, await second]
        return [*met, channel.can_send(), channel.can_receive()]

    assert outcome(flow) == ["sent", "got first", False, False]


def test_select_does_not_meet_itself() -> None:
    async def flow() -> None:
        channel: Channel[str] = Channel()
        await select(receive(channel, lambda value, ok: "got"), send(channel, "me", lambda: "sent"))

    assert outcome(flow) is None


def test_sender_that_waits_is_met_by_select_and_select_that_waits_by_sender() -> None:
    async def flow() -> list[Any]:
        channel: Channel[int] = Channel()
        sender = begin(channel.send(1))
        await asyncio.sleep(0)
        first = await select(receive(channel, lambda value, ok: value))
        chooser = begin(select(send(channel, 2, lambda: "sent")))
        await asyncio.sleep(0)
        return [first, await sender, await channel.receive(), await chooser]

    assert outcome(flow) == [1, None, 2, "sent"]


def test_select_raises_when_the_channel_that_it_would_send_to_is_closed() -> None:
    async def flow() -> list[str]:
        channel: Channel[int] = Channel()
        chooser = begin(select(send(channel, 1, lambda: "sent")))
        await asyncio.sleep(0)
        channel.close()
        done = await asyncio.gather(chooser, select(send(channel, 1, lambda: "sent")), return_exceptions=True)
        return [str(each) for each in done]

    assert outcome(flow) == ["cannot send: the channel is closed"] * 2


def test_select_that_waits_hears_of_the_end_of_its_awaitable_and_leaves_the_channel() -> None:
    async def flow() -> list[Any]:
        channel: Channel[int] = Channel()
        soon = asyncio.get_running_loop().create_future()
        chooser = begin(select(on(soon, lambda done: done.result()), receive(channel, lambda value, ok: value)))
        await asyncio.sleep(0)
        soon.set_result("soon")
        return [channel.can_send(), await chooser, channel.can_send()]

    assert outcome(flow) == [True, "soon", False]


def test_value_is_chosen_when_it_comes_just_before_the_end_of_an_awaitable() -> None:
    async def flow() -> list[Any]:
        channel: Channel[int] = Channel()
        soon = asyncio.get_running_loop().create_future()
        cases = on(soon, lambda done: done.result()), receive(channel, lambda value, ok: value)
        chooser = begin(select(*cases))
        await asyncio.sleep(0)
        soon.set_result("soon")
        channel.send_now(1)
        return [await chooser, await select(*cases)]

    assert outcome(flow) == [1, "soon"]


def test_waiting_again_and_again_leaves_nothing_behind() -> None:
    async def flow() -> list[int]:
        busy: Channel[int] = Channel()
        idle: Channel[int] = Channel()
        never = asyncio.get_running_loop().create_future()
        cases = receive(idle, print), on(never, print), receive(busy, lambda value, ok: value)
        for number in range(3):
            task = begin(select(*cases))
            await asyncio.sleep(0)
            await busy.send(number)
            await task
        return [len(idle._receivers), len(busy._receivers), len(never._callbacks)]

    assert outcome(flow) == [0, 0, 1]


def test_canceled_activity_reaches_its_handler_as_a_canceled_future() -> None:
    async def flow() -> bool:
        task = begin(asyncio.sleep(100))
        task.cancel()
        return await select(on(task, lambda done: done.cancelled()))

    assert outcome(flow) is True


def test_select_between_signal_timer_and_activity_is_the_same_wherever_the_history_is_cut() -> None:
    work = activity(lambda: None, name="work")

    async def flow() -> list[str]:
        stop, seen = workflow.signals("stop"), list[str]()
        working = on(work(), lambda done: f"worked {done.result()}")
        limit = on(asyncio.sleep(60), lambda done: "late")
        while len(seen) < 3:
            seen.append(await select(receive(stop, lambda value, ok: f"stop {value}"), limit, working))
        return seen

    new = [histories.signal("stop", 1), histories.signal("stop", 2), histories.completed(0, "it")]
    decision = decide(define_workflow(flow), [], histories.STARTED, *new)

    assert result_of(decision) == ["stop 1", "stop 2", "worked it"]
    in_time = decide(define_workflow(flow), [], histories.STARTED, histories.fired(1, at=60.0))
    assert in_time.outcome is not None


def test_signal_that_meets_a_cancel_is_kept_for_the_clean_up() -> None:
    async def flow() -> Any:
        try:
            await select(receive(workflow.signals("a"), lambda value, ok: value))
        except asyncio.CancelledError:
            return await workflow.wait_signal("a")

    decision = decide(define_workflow(flow), [], histories.STARTED, histories.CANCEL, histories.signal("a", 5))

    assert result_of(decision) == 5


def test_unread_signals_of_a_channel_that_was_selected_on_move_on() -> None:
    async def flow() -> None:
        await select(receive(workflow.signals("go"), lambda value, ok: value))
        workflow.continue_as_new()

    early = [histories.signal("more", 1), histories.signal("more", 2), histories.signal("go")]
    decision = decide(define_workflow(flow), [], histories.STARTED, *early)

    assert decision.outcome.carried == [["more", 1], ["more", 2]]


@pytest.mark.parametrize(
    ("call", "refused"),
    [
        (lambda channel: channel.send_now(2), "channel.send"),
        (lambda channel: channel.take(), "channel.receive"),
        (lambda channel: channel.close(), "channel.close"),
    ],
)
def test_query_cannot_change_a_channel(call: Any, refused: str) -> None:
    async def flow() -> list[Any]:
        channel: Channel[int] = Channel(2)
        channel.send_now(1)
        loop: Any = asyncio.get_running_loop()
        loop.looking = True
        try:
            call(channel)
        except ReadOnly as error:
            return [error.call, len(channel), channel.can_receive(), channel.closed]
        finally:
            loop.looking = False

    assert outcome(flow) == [refused, 1, True, False]


def test_default_is_never_waited_for() -> None:
    with pytest.raises(AssertionError, match="always ready"):
        default(print).watch(None)  # type: ignore[arg-type]
