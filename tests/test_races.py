"""Several workers at once: one winner, nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import suppress
from functools import partial

import pytest
from django.db import transaction

from durable import ConcurrencyConflict, NotOpen, activity, client, workflow
from durable.core import events as ev
from durable.engine import cache, in_place
from durable.engine.advance import advance
from durable.engine.perform import perform
from durable.engine.turn import Turn
from durable.models import HistoryEvent
from durable.store import clock
from tests.driving import Together, answers, kinds, leftovers

ROUNDS = 8


@pytest.fixture
def handed_out(settings):
    settings.DURABLE = {"RUN_INLINE": False}


def is_whole(handle) -> bool:
    """Say whether a history is numbered without gaps and ends once, at its end."""
    history = handle.history()
    ends = [i.seq for i in history if i.kind in ("ExecutionCompleted", "ExecutionFailed", "ExecutionTerminated")]
    return [i.seq for i in history] == list(range(1, len(history) + 1)) and ends in ([], [len(history)])


def test_two_workers_race_for_one_instance_and_one_wins(committing, handed_out):
    ran = Counter()

    @activity.defn
    def work(key: str) -> None:
        ran[key] += 1

    @workflow.defn
    async def steps(key: str) -> str:
        for number in range(3):
            await work(f"{key}.{number}")
        return key

    for round_ in range(ROUNDS):
        handle = steps.start(str(round_))
        for _ in range(4):
            together = Together().add(partial(advance, handle.id), times=2).add(partial(perform, "default"), times=2)
            assert together.run() == [None] * 4
        assert committing.result(handle) == str(round_)
        assert is_whole(handle)
        assert answers(handle)["ActivityScheduled"] == 3

    assert set(ran.values()) == {1}, "no worker died, so no activity ran twice"
    assert leftovers() == []


def test_workers_with_caches_of_their_own_agree(committing):
    """Threads share a cache; taking it away between turns is what another process would see."""

    @workflow.defn
    async def collect(count: int) -> list[int]:
        return [await workflow.wait_signal("item") for _ in range(count)]

    handle = collect.start(30)
    stop = threading.Event()

    def forget() -> None:
        while not stop.is_set():
            cache.clear()
            stop.wait(0.002)

    def send(numbers: range) -> None:
        for number in numbers:
            handle.signal("item", number)
            advance(handle.id)

    forgetting = threading.Thread(target=forget)
    forgetting.start()
    try:
        outcomes = Together().add(partial(send, range(15))).add(partial(send, range(15, 30))).run()
    finally:
        stop.set()
        forgetting.join()

    assert outcomes == [None, None]
    result = committing.result(handle)
    assert sorted(result) == list(range(30))
    assert [n for n in result if n < 15] == list(range(15)), "each sender's are in its order"
    assert is_whole(handle)


def test_results_that_arrive_while_a_turn_runs_are_not_lost(committing, handed_out):
    @activity.defn
    def leaf(number: int) -> int:
        return number

    @workflow.defn
    async def fan_out(width: int) -> int:
        return sum(await asyncio.gather(*(leaf(n) for n in range(width))))

    for _ in range(3):
        handle = fan_out.start(24)
        advance(handle.id)

        outcomes = Together().add(partial(perform, "default"), times=4).run()

        assert outcomes == [None] * 4
        assert handle.status == "completed", "no wake-up was lost: nobody swept"
        assert handle.result(timeout=0) == sum(range(24))
        assert answers(handle)["ActivityCompleted"] == 24
        assert is_whole(handle)
    assert leftovers() == []


def test_signals_while_turns_run_are_not_lost(committing):
    @workflow.defn
    async def collect(count: int) -> int:
        for _ in range(count):
            await workflow.wait_signal("item")
        return count

    for _ in range(3):
        handle = collect.start(16)

        def send(count: int, handle=handle) -> None:
            for _ in range(count):
                handle.signal("item")
                advance(handle.id)

        assert Together().add(partial(send, 4), times=4).run() == [None] * 4

        assert handle.status == "completed", "no wake-up was lost: nobody swept"
        assert is_whole(handle)


def test_signal_during_an_activity_in_place_is_served_by_another_worker(committing):
    served = []

    @activity.defn
    def slow() -> str:
        # Another worker, with a connection of its own, while this one is busy.
        handle.signal("knock", "who is there")
        Together().add(partial(advance, handle.id)).run()
        served.extend(kinds(handle))
        return "slow result"

    @workflow.defn
    async def outer() -> list[str]:
        done = asyncio.create_task(slow())
        heard = await workflow.wait_signal("knock")
        workflow.set_status(heard)
        return [heard, await done]

    handle = outer.start()
    advance(handle.id)

    assert served[-1] == "SignalReceived", "it was in the history while the activity still ran"
    assert handle.instance.custom_status == "who is there"
    assert handle.result(timeout=0) == ["who is there", "slow result"]
    assert kinds(handle)[-2:] == ["ActivityCompleted", "ExecutionCompleted"]
    assert is_whole(handle)
    assert leftovers() == []


def test_result_of_an_activity_in_place_goes_through_the_inbox_when_the_instance_moved_on(committing, monkeypatch):
    delivered = []
    deliver = in_place.InPlaceAttempt.deliver

    def watched(self, ended):
        delivered.append(str(ended))
        return deliver(self, ended)

    monkeypatch.setattr(in_place.InPlaceAttempt, "deliver", watched)

    @activity.defn
    def slow(knock: bool) -> bool:
        if knock:
            handle.signal("knock")
            Together().add(partial(advance, handle.id)).run()
        return knock

    @workflow.defn
    async def outer() -> list[bool]:
        return [await slow(False), await slow(True), await slow(False)]

    handle = outer.start()
    committing.run_until_quiet()

    assert handle.result(timeout=0) == [False, True, False]
    assert delivered == ["ActivityCompleted(1)"]


def test_terminate_during_a_turn_or_an_activity_wins_or_loses_whole(committing):
    @activity.defn
    def work() -> None: ...

    @workflow.defn
    async def steps() -> str:
        for _ in range(5):
            await work()
        return "done"

    for _ in range(ROUNDS):
        handle = steps.start()
        Together().add(partial(advance, handle.id)).add(partial(client.terminate, handle.id)).run()
        committing.run_until_quiet()

        assert handle.status in ("completed", "terminated")
        assert is_whole(handle)
    assert set(leftovers()) <= {"ActivityCompleted"}, "kept in case of a rewind"


def test_parent_and_child_that_end_together_do_not_block_each_other(committing):
    @workflow.defn
    async def kid() -> str:
        return await workflow.wait_signal("go")

    @workflow.defn
    async def parent(name: str) -> str:
        child = kid.options(id=name).start_child()
        await workflow.wait_signal("go")
        return child.id

    for round_ in range(ROUNDS):
        handle = parent.start(f"kid {round_}")
        committing.run_until_quiet()
        handle.signal("go")
        client.signal(f"kid {round_}", "go", "x")
        outcomes = Together().add(partial(advance, handle.id)).add(partial(advance, f"kid {round_}")).run()
        committing.run_until_quiet()

        assert outcomes == [None, None]
        assert handle.status == "completed"
        assert client.status(f"kid {round_}") in ("completed", "terminated")


def test_two_workers_that_sweep_find_everything_once(committing, handed_out):
    done = Counter()

    @activity.defn
    def work(key: int) -> int:
        done[key] += 1
        return key

    @workflow.defn
    async def one(key: int) -> int:
        return await work(key)

    handles = [one.start(key) for key in range(12)]

    assert Together().add(committing.run_until_quiet, times=3).run() == [None] * 3
    committing.run_until_quiet()

    assert [handle.result(timeout=0) for handle in handles] == list(range(12))
    assert set(done.values()) == {1}
    assert HistoryEvent.objects.filter(kind="ActivityCompleted").count() == 12


def test_suspend_that_races_turns_stops_at_a_whole_turn(committing):
    @activity.defn
    def work() -> None: ...

    @workflow.defn
    async def steps() -> str:
        for _ in range(4):
            await work()
        return "done"

    for _ in range(ROUNDS):
        handle = steps.start()

        def suspend(handle=handle) -> None:
            with suppress(NotOpen):
                handle.suspend()

        assert Together().add(partial(advance, handle.id)).add(suspend).run() == [None, None]
        committing.run_until_quiet()
        if handle.status == "suspended":
            handle.resume()
        assert committing.result(handle) == "done"
        assert is_whole(handle)
        assert answers(handle)["ActivityCompleted"] == 4


def test_result_in_place_comes_after_what_came_before_it(committing):
    @activity.defn
    def slow() -> str:
        handle.signal("knock")  # and no other worker is there to serve it
        return "result"

    @workflow.defn
    async def outer() -> list[str]:
        order: list[str] = []

        async def listen() -> None:
            await workflow.wait_signal("knock")
            order.append("signal")

        async def work() -> None:
            order.append(await slow())

        await asyncio.gather(work(), listen())
        return order

    handle = outer.start()

    assert committing.result(handle) == ["signal", "result"]
    assert kinds(handle)[-3:] == ["SignalReceived", "ActivityCompleted", "ExecutionCompleted"]


def test_stale_writer_changes_nothing(committing):
    @workflow.defn
    async def waiting() -> str:
        return await workflow.wait_signal("go")

    handle = waiting.start()
    committing.run_until_quiet()
    stale = handle.instance
    handle.signal("other")
    committing.run_until_quiet()
    before = kinds(handle)
    live = cache.take(stale.execution_id)
    turn = Turn(stale, live, clock.now())
    turn.apply(ev.SignalReceived(name="go", payload="stale"))
    turn.settle()

    with pytest.raises(ConcurrencyConflict) as refused, transaction.atomic():
        turn.store()

    assert refused.value.expected == 1
    assert (kinds(handle), handle.status) == (before, "running")
    live.close()
    handle.signal("go", "fresh")
    assert committing.result(handle) == "fresh"
