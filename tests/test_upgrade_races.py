"""Upgrades while others work on the instance: before a turn or after it, never within."""

from __future__ import annotations

import threading
from functools import partial

import pytest
from django.db import connection, connections, transaction

from durable import activity, client, workflow
from durable.core.errors import ConcurrencyConflict, InvalidInput
from durable.engine.advance import advance
from durable.engine.turn import Turn
from durable.models import Operation
from tests.driving import Together, kinds, leftovers
from tests.test_races import ROUNDS, is_whole


@pytest.fixture
def orders(fresh):
    """Two versions of a workflow that do the same up to a signal."""
    ran = []

    @activity.defn
    def work(number: int) -> int:
        ran.append(number)
        return number

    async def body() -> list[int]:
        results = [await work(0)]
        await workflow.wait_signal("go")
        return [*results, await work(1), workflow.version()]

    first, second = workflow.defn(name="order")(body), workflow.defn(name="order2")(body)
    return first, second, ran


class Halted:
    """A thread that takes a turn and waits, its transaction open, until it is let go."""

    def __init__(self, monkeypatch, instance_id: str) -> None:
        self.stands, self._go = threading.Event(), threading.Event()
        store = Turn.store

        def halting(turn, **options) -> None:
            store(turn, **options)
            if threading.current_thread() is self._thread:
                self.stands.set()
                assert self._go.wait(30)

        monkeypatch.setattr(Turn, "store", halting)
        self._thread = threading.Thread(target=self._run, args=(instance_id,))
        self._thread.start()
        assert self.stands.wait(30)

    def _run(self, instance_id: str) -> None:
        try:
            advance(instance_id)
        finally:
            connections.close_all()

    def let_go(self) -> None:
        self._go.set()
        self._thread.join(30)


def test_upgrade_waits_for_the_turn_that_another_worker_is_at(committing, monkeypatch, orders, settings):
    settings.DURABLE = {"RUN_INLINE": False}
    order, _, ran = orders
    handle = order.start()
    committing.run_until_quiet()
    handle.signal("go")
    halted = Halted(monkeypatch, handle.id)
    outcomes = []
    upgrading = threading.Thread(
        target=lambda: outcomes.extend(Together().add(partial(client.upgrade, handle.id)).run())
    )
    upgrading.start()
    upgrading.join(0.5)
    assert not outcomes, "it waits"

    halted.let_go()
    upgrading.join(30)

    assert outcomes[0].instance_id == handle.id
    assert kinds(handle)[3:] == ["SignalReceived", "ActivityScheduled", "ExecutionUpgraded"]
    assert committing.result(handle) == [0, 1, 2]
    assert (ran, is_whole(handle), leftovers()) == ([0, 1], True, [])


def test_upgrade_during_an_activity_in_place_loses_nothing(committing, orders):
    seen = []

    @activity.defn
    def slow() -> str:
        Together().add(partial(client.upgrade, handle.id)).run()
        seen.extend(kinds(handle))
        return "result"

    async def body() -> list:
        return [await slow(), workflow.version()]

    first, second = workflow.defn(name="job")(body), workflow.defn(name="job2")(body)
    handle = first.start()
    committing.run_until_quiet()

    assert seen == ["ExecutionStarted", "ActivityScheduled", "ExecutionUpgraded"]
    assert handle.result(timeout=0) == ["result", second.version]
    assert kinds(handle)[-2:] == ["ActivityCompleted", "ExecutionCompleted"]
    assert leftovers() == []


def test_worker_that_finds_an_upgrade_under_way_leaves_it_alone(committing, orders):
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("here, a transaction keeps all others out")
    order, _, _ = orders
    handle = order.start()
    committing.run_until_quiet()
    handle.signal("go")

    with transaction.atomic():
        client.upgrade(handle.id)
        assert Together().add(partial(advance, handle.id)).run() == [None]
        assert kinds(handle)[-1] == "ExecutionUpgraded", "the other wrote nothing in between"

    assert committing.result(handle) == [0, 1, 2]
    assert is_whole(handle)


def test_upgrades_that_race_turns_come_before_or_after_them(committing, orders):
    order, _, ran = orders
    for _ in range(ROUNDS):
        handle = order.start()
        committing.run_until_quiet()
        handle.signal("go")

        together = Together().add(partial(advance, handle.id), times=2).add(partial(client.upgrade, handle.id))
        *advanced, outcome = together.run()
        committing.run_until_quiet()

        came_in_time = outcome.instance_id == handle.id  # else it had ended, and was rerun from its last activity
        assert advanced == [None, None]
        assert handle.result(timeout=0) == [0, 1, 2 if came_in_time else 0]
        assert client.get(outcome.instance_id).result(timeout=0) == [0, 1, 2]
        assert is_whole(handle)
        assert ran == [0, 1] if came_in_time else [0, 1, 1]
        ran.clear()


def test_of_two_upgrades_at_once_one_wins_and_the_other_learns_of_it(committing, orders):
    order, second, _ = orders
    for _ in range(ROUNDS):
        handle = order.start()
        committing.run_until_quiet()

        outcomes = Together().add(partial(client.upgrade, handle.id), times=2).run()

        (lost,) = [each for each in outcomes if isinstance(each, Exception)]
        if isinstance(lost, InvalidInput):  # it began when the other one had been done
            continue
        assert isinstance(lost, ConcurrencyConflict), lost
        assert (lost.expected, lost.found) == (3, handle.instance.head) == (3, 4)
        assert (handle.instance.version, kinds(handle).count("ExecutionUpgraded")) == (second.version, 1)
        assert sorted(Operation.objects.filter(instance_id=handle.id).values_list("outcome", flat=True)) == [
            "done",
            "refused",
        ]
        return
    pytest.fail("they never came together")
