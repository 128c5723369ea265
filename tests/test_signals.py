"""Signals: recorded before delivery, in order, and none is lost."""

from __future__ import annotations

import asyncio

import pytest

from durable import InvalidInput, NotOpen, UnknownInstance, activity, client, registry, workflow
from durable.models import HistoryEvent, InboxEvent
from tests.driving import Together, item, kinds


@pytest.fixture
def collect(fresh):
    @workflow.defn
    async def collect(count: int, name: str = "item") -> list[int]:
        return [await workflow.wait_signal(name) for _ in range(count)]

    return collect


def test_signals_arrive_in_order(engine, collect):
    handle = collect.start(3)
    engine.run_until_quiet()

    for number in (1, 2, 3):
        handle.signal("item", number)

    assert engine.result(handle) == [1, 2, 3]
    assert kinds(handle) == ["ExecutionStarted", *["SignalReceived"] * 3, "ExecutionCompleted"]
    assert item(handle, "ExecutionStarted").event_id is None


def test_signals_are_fifo_per_name(engine):
    @workflow.defn
    async def two() -> list[str]:
        return [await workflow.wait_signal(name) for name in ("b", "a", "b", "a")]

    handle = two.start()
    for name, payload in (("a", "a1"), ("a", "a2"), ("b", "b1"), ("b", "b2")):
        handle.signal(name, payload)

    assert engine.result(handle) == ["b1", "a1", "b2", "a2"]


def test_name_is_compared_exactly(engine, collect):
    handle = collect.start(1)
    for name in ("Item", "item ", " item", "ITEM", "items"):
        handle.signal(name, 0)
    handle.signal("item", 1)

    assert engine.result(handle) == [1]


def test_signal_is_recorded_before_somebody_waits_for_it(engine):
    @workflow.defn
    async def late() -> str:
        await asyncio.sleep(60)
        return await workflow.wait_signal("go")

    handle = late.start()
    engine.run_until_quiet()
    handle.signal("go", "early")
    engine.run_until_quiet()

    assert kinds(handle)[-1] == "SignalReceived"
    assert (handle.status, item(handle, "SignalReceived").data["payload"]) == ("running", "early")


def test_signals_wait_while_the_instance_is_pending(engine, time, collect):
    handle = collect.options(delay=60).start(2)
    handle.signal("item", 1)
    engine.run_until_quiet()
    handle.signal("item", 2)
    engine.run_until_quiet()
    assert (handle.status, kinds(handle)) == ("pending", [])

    time.forward(61)
    assert engine.result(handle) == [1, 2]


def test_signals_wait_while_the_instance_is_suspended(engine, collect):
    handle = collect.start(2)
    engine.run_until_quiet()
    handle.suspend()
    for number in (1, 2):
        handle.signal("item", number)
        engine.run_until_quiet()
    assert "SignalReceived" not in kinds(handle)

    handle.resume()
    assert engine.result(handle) == [1, 2]


def test_signals_wait_while_the_instance_is_stalled(engine, time, collect):
    handle = collect.start(2)
    engine.run_until_quiet()
    engine.restart()
    registry.unregister_workflow("collect", 0)
    handle.signal("item", 1)
    engine.run_until_quiet()
    handle.signal("item", 2)
    engine.run_until_quiet()
    assert (handle.status, kinds(handle)) == ("stalled", ["ExecutionStarted"])

    registry.add_workflow(collect)
    time.forward(31)
    assert engine.result(handle) == [1, 2]


@pytest.mark.parametrize("end", ["completed", "failed", "canceled", "terminated"])
def test_closed_instance_refuses_signals_and_stores_nothing(engine, end):
    @workflow.defn
    async def ending() -> None:
        await workflow.wait_signal("fail" if end == "failed" else "go")
        if end == "failed":
            raise ValueError

    handle = ending.start()
    engine.run_until_quiet()
    match end:
        case "canceled":
            handle.cancel()
        case "terminated":
            handle.terminate()
        case _:
            handle.signal("fail" if end == "failed" else "go")
    engine.run_until_quiet()
    before = HistoryEvent.objects.count()

    with pytest.raises(NotOpen) as refused:
        handle.signal("go")

    assert (refused.value.instance_id, refused.value.status) == (handle.id, end)
    assert (HistoryEvent.objects.count(), InboxEvent.objects.count()) == (before, 0)


def test_signal_to_nobody_is_an_error(engine):
    with pytest.raises(UnknownInstance):
        client.signal("nobody", "go")


def test_name_has_1_to_200_characters(engine, collect):
    handle = collect.start(1, "n" * 200)
    for bad in ("", "n" * 201):
        with pytest.raises(InvalidInput, match="1 to 200"):
            handle.signal(bad, 1)

    handle.signal("n" * 200, 5)
    assert engine.result(handle) == [5]


def test_payload_without_json_is_refused_and_named(engine, collect):
    handle = collect.start(1)

    with pytest.raises(InvalidInput, match="signal item"):
        handle.signal("item", {"deep": [object()]})
    assert InboxEvent.objects.filter(kind="SignalReceived").count() == 0


def test_timed_out_wait_consumes_nothing(engine, time):
    @workflow.defn
    async def patient() -> list[str]:
        got = []
        try:
            got.append(await workflow.wait_signal("go", timeout=10))
        except TimeoutError:
            got.append("timeout")
        got.append(await workflow.wait_signal("go"))
        return got

    handle = patient.start()
    engine.run_until_quiet()
    time.forward(11)
    engine.run_until_quiet()
    handle.signal("go", "late")

    assert engine.result(handle) == ["timeout", "late"]


def test_signal_and_timeout_that_come_together_lose_nothing(engine, time):
    @workflow.defn
    async def patient() -> list[str]:
        got = []
        while len(got) < 2:
            try:
                got.append(await workflow.wait_signal("go", timeout=10))
            except TimeoutError:
                got.append("timeout")
        return got

    handle = patient.start()
    engine.run_until_quiet()
    time.forward(11)
    handle.signal("go", "late")

    assert engine.result(handle) == ["timeout", "late"], "the timer was due first"


def test_stale_timeout_does_not_cancel_a_later_waiter(engine, time):
    @workflow.defn
    async def patient() -> list[str]:
        first = await workflow.wait_signal("go", timeout=10)
        second = await workflow.wait_signal("go", timeout=100)
        return [first, second]

    handle = patient.start()
    engine.run_until_quiet()
    handle.signal("go", "one")
    engine.run_until_quiet()
    time.forward(50)
    engine.run_until_quiet()
    handle.signal("go", "two")

    assert engine.result(handle) == ["one", "two"]


def test_signals_from_many_threads_are_each_recorded_once(committing, collect):
    handle = collect.start(12)
    together = Together().add(committing.run_until_quiet)
    for number in range(12):
        together.add(lambda number=number: handle.signal("item", number))

    assert together.run() == [None] * 13
    assert sorted(committing.result(handle)) == list(range(12))
    assert kinds(handle).count("SignalReceived") == 12


def test_workflow_signals_another_instance(engine, path, collect):
    @workflow.defn
    async def sender(target: str) -> str:
        await workflow.signal_instance(target, "item", 5)
        return "sent"

    target = collect.options(id="target").start(1)
    handle = sender.start("target")

    assert (engine.result(handle), engine.result(target)) == ("sent", [5])
    assert kinds(handle) == ["ExecutionStarted", "SignalSent", "SignalDelivered", "ExecutionCompleted"]


def test_signal_to_an_unknown_or_closed_instance_is_an_error_in_the_workflow(engine, collect):
    @workflow.defn
    async def sender(target: str) -> str:
        try:
            await workflow.signal_instance(target, "item", 5)
        except Exception as error:
            return f"{type(error).__name__} {error.cause.type}"
        return "sent"

    closed = collect.options(id="closed").start(0)
    engine.result(closed)
    handles = [sender.start("nobody"), sender.start("closed")]

    assert [engine.result(h) for h in handles] == ["SignalError UnknownInstance", "SignalError NotOpen"]
    assert kinds(handles[0])[2] == "SignalFailed"


def test_signal_to_itself_is_delivered(engine):
    @workflow.defn
    async def narcissus() -> str:
        await workflow.signal_instance(workflow.info().instance_id, "mirror", "me")
        return await workflow.wait_signal("mirror")

    assert engine.result(narcissus.start()) == "me"


def test_wait_until_is_looked_at_after_each_step(engine):
    @workflow.defn
    async def counter() -> int:
        seen: list[int] = []

        async def listen() -> None:
            while True:
                seen.append(await workflow.wait_signal("item"))

        asyncio.create_task(listen())
        await workflow.wait_until(lambda: sum(seen) >= 6)
        return len(seen)

    handle = counter.start()
    engine.run_until_quiet()
    for number in (1, 2, 3):
        assert handle.status == "running"
        handle.signal("item", number)
        engine.run_until_quiet()

    assert handle.result(timeout=0) == 3


def test_activity_signals_its_own_workflow_while_it_runs(engine, path):
    @activity.defn
    def caller() -> str:
        client.signal(activity.info().instance_id, "progress", 1)
        return "done"

    @workflow.defn
    async def listener() -> list:
        done = asyncio.create_task(caller())
        return [await workflow.wait_signal("progress"), await done]

    assert engine.result(listener.start()) == [1, "done"]
