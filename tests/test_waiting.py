"""Waiting for what a worker does: how often somebody looks, and what a look asks the database for."""

from __future__ import annotations

import asyncio
import importlib
from types import SimpleNamespace

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from durable import ResultTimeout, UnknownInstance, WorkflowFailed, client, workflow
from durable.client import change, patience, read, waiting
from durable.client.patience import Patience
from durable.client.waiting import Waiter
from durable.models import Instance
from durable.store import instances, updates
from tests.driving import Together, cost, eager


class Clock:
    """A clock that goes on when somebody sleeps, or looks."""

    def __init__(self, look: float = 0.0) -> None:
        self.now = 1000.0
        self.look = look
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    starting = importlib.import_module("durable.client.start")  # by attribute, that is the verb
    for module in (patience, read, change, starting, waiting):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def order(fresh):
    @workflow.defn
    async def order() -> str:
        return "done"

    return order


@pytest.fixture
def looks(clock, monkeypatch):
    """The times at which somebody looks for a result that is there at a time, told by ``due``."""
    found = SimpleNamespace(at=[], due=float("inf"))
    real = instances.closed

    def look(instance_id: str):
        found.at.append(clock.now - 1000.0)
        clock.now += clock.look
        return real(instance_id) if clock.now >= found.due + 1000.0 else None

    monkeypatch.setattr(instances, "closed", look)
    return found


@pytest.fixture
def ended(committing, order):
    """A handle on an instance that has ended, which others started."""
    handle = order.start()
    committing.run_until_quiet()
    return client.get(handle.id)


def test_pauses_are_a_share_of_the_time_that_has_passed_and_no_less_than_a_millisecond(clock):
    waiting = Patience(None)
    pauses = []
    for _ in range(100):
        pauses.append(waiting.pause())
        clock.sleep(pauses[-1])

    assert pauses[:3] == [0.001, 0.001, 0.001]
    assert pauses[30] == pytest.approx(0.15 * sum(pauses[:30]))
    assert pauses[-1] == 0.5


def test_last_pause_ends_at_the_deadline(clock):
    waiting = Patience(0.1)
    while (pause := waiting.pause()) is not None:
        clock.sleep(pause)

    assert clock.now == pytest.approx(1000.1)
    assert len(clock.sleeps) == 27


@pytest.mark.parametrize(
    ("timeout", "asked_at", "first"),
    [
        (None, None, 0.0),
        (None, 1000.0, 0.003),
        (None, 999.998, 0.001),
        (None, 999.0, 0.0),
        (0.001, 1000.0, 0.001),
        (0, 1000.0, 0.0),
        (-1, 1000.0, 0.0),
    ],
)
def test_first_look_waits_a_moment_for_what_was_asked_for_just_now(clock, timeout, asked_at, first):
    assert Patience(timeout).first(asked_at) == pytest.approx(first)


@pytest.mark.parametrize(("due", "count"), [(0.0, 1), (0.005, 3), (0.05, 17), (0.5, 33)])
def test_result_of_an_instance_that_was_just_started_takes_few_looks(ended, clock, looks, due, count):
    clock.look, looks.due = 0.0003, due
    handle = client.Handle(ended.id, asked_at=clock.now)

    assert handle.result() == "done"
    assert looks.at[0] == pytest.approx(0.003)
    assert len(looks.at) == count
    assert looks.at[-1] - due < max(0.0032, 0.16 * due), "and is there hardly late"


def test_result_of_an_instance_that_others_started_is_looked_for_at_once(ended, clock, looks):
    looks.due = 0.0

    assert ended.result() == "done"
    assert (looks.at, clock.sleeps) == ([0.0], [0.0])


def test_impatient_caller_has_one_look_at_what_it_just_started(committing, order, clock, looks):
    with pytest.raises(ResultTimeout):
        order.start().result(timeout=0)

    assert (looks.at, clock.sleeps) == ([0.0], [0.0])


def test_handle_knows_when_it_was_started_if_it_was(committing, order, clock):
    assert order.options(id="one").start()._asked_at == clock.now
    assert order.options(id="one", id_reuse="return_existing").start()._asked_at is None
    assert client.get("one")._asked_at is None


@pytest.fixture
def asked(monkeypatch):
    """The ids that each look of async callers asks about."""
    waiting._companies.clear()  # a test that failed keeps its own
    asked: list[list[str]] = []
    real = instances.ends

    def ends(ids):
        asked.append(sorted(ids))
        return real(ids)

    monkeypatch.setattr(instances, "ends", ends)
    return asked


@pytest.fixture
def sleeping(clock, monkeypatch):
    """Have tasks sleep by the clock."""

    async def sleep(seconds: float) -> None:
        clock.sleep(seconds)

    for module in (read, waiting):
        monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=sleep))


def test_async_caller_waits_a_moment_as_well(committing, order, clock, sleeping, asked):
    handle = order.start()
    committing.run_until_quiet()
    handle._asked_at = clock.now

    assert async_to_sync(handle.aresult)() == "done"
    assert (asked, clock.sleeps) == ([[handle.id]], [pytest.approx(0.003)])


def waiter(instance_id: str, timeout: float | None = None) -> Waiter:
    """Return somebody who has looked for an instance once."""
    waiter = Waiter(instance_id, Patience(timeout))
    waiter.look_now()
    return waiter


@pytest.fixture
def started(committing, order):
    """The ids of instances that have not ended."""
    return [order.options(id=name).start().id for name in "abc"]


def test_look_asks_for_all_who_have_waited_for_half_of_their_pause(committing, started, clock, asked):
    first, second = waiter("a"), waiter("b")
    clock.sleep(0.0004)
    third = waiter("c")
    clock.sleep(0.0006)
    committing.run_until_quiet()
    asked.clear()
    with cost() as counted:
        first.look_now()

    assert (asked, len(counted.statements), counted.commits) == ([["a", "b", "c"]], 1, 0)
    assert [bool(each.end) for each in (first, second, third)] == [True, True, True]
    assert async_to_sync(second.look)()
    assert len(asked) == 1, "who has an end does not look"


def test_who_waits_for_long_is_not_looked_for_as_often_as_who_has_just_begun(started, clock, asked):
    old = waiter("a")
    clock.sleep(10)
    old.look_now()  # the next is due in half a second
    new = waiter("b")
    asked.clear()
    for pause in (0.001, 0.2, 0.1):
        clock.sleep(pause)
        new.look_now()

    assert asked == [["b"], ["b"], ["a", "b"]]
    clock.sleep(0.25)
    old.look_now()
    assert len(asked) == 3, "who was looked for by another need not look"


def test_look_asks_for_nobody_who_is_gone(started, clock, asked):
    gone, given_up, stays = waiter("a"), waiter("b"), waiter("c")
    del gone
    given_up.due = None
    clock.sleep(0.001)
    asked.clear()
    stays.look_now()

    assert asked == [["c"]]


def test_look_that_fails_leaves_the_others_as_they_were(started, clock, monkeypatch):
    first, second = waiter("a"), waiter("b")
    before = second.due
    clock.sleep(0.001)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(instances, "ends", lambda ids: 1 / 0)
        first.look_now()

    assert second.due == before
    second.look_now()
    assert second.due == pytest.approx(before + 0.001)


def test_instance_that_is_gone_is_told_to_whoever_waits_for_it(started, clock):
    first, second = waiter("a"), waiter("b")
    Instance.objects.filter(pk="b").delete()
    clock.sleep(0.001)
    first.look_now()
    clock.sleep(0.001)

    with pytest.raises(UnknownInstance, match="'b'"):
        second.look_now()
    for unknown in ("nobody", "no\x00body"):
        with pytest.raises(UnknownInstance):
            waiter(unknown)


def test_look_through_another_connection_is_not_shared(started, clock, asked):
    first = waiter("a")
    clock.sleep(0.001)
    asked.clear()
    (other,) = Together().add(lambda: waiter("b")).run()
    first.look_now()

    assert isinstance(other, Waiter)
    assert asked == [["b"], ["a"]]


def test_waiter_that_another_looked_for_after_its_deadline_is_done(started, clock):
    first, second = waiter("a"), waiter("b", timeout=0.0015)
    clock.sleep(0.0016)
    first.look_now()

    assert (second.due, second.end) == (None, None)


def test_waiter_that_is_due_while_another_looks_rests_once_more(started, clock, sleeping):
    first, second = waiter("a"), waiter("b")
    first._company.is_looking = True
    async_to_sync(second.rest)()

    assert first._company is second._company
    assert clock.sleeps == pytest.approx([0.001, 0.001])


def test_waiter_that_is_cancelled_holds_up_nobody(committing, started, order):
    async def caller():
        tasks = [asyncio.ensure_future(client.Handle(each).aresult(timeout=20)) for each in started]
        while len({id(each) for each in waiting._companies.values()}) == 0:
            await asyncio.sleep(0)
        tasks[0].cancel()
        await sync_to_async(committing.run_until_quiet)()
        return await asyncio.gather(*tasks, return_exceptions=True)

    cancelled, *results = async_to_sync(caller)()

    assert isinstance(cancelled, asyncio.CancelledError)
    assert results == ["done", "done"]


def test_many_async_callers_get_their_own_results(committing, asked, fresh):
    @workflow.defn
    async def echo(number: int) -> int:
        if number == 13:
            raise ValueError("unlucky")
        return number

    handles = [echo.start(number) for number in range(15)]

    async def work():
        while len(asked) < 40 and max((len(ids) for ids in asked), default=0) < 15:
            await asyncio.sleep(0.005)
        await sync_to_async(committing.run_until_quiet)()

    async def caller():
        waits = [handle.aresult(timeout=30) for handle in handles]
        *results, _ = await asyncio.gather(*waits, work(), return_exceptions=True)
        return results

    results = async_to_sync(caller)()

    assert isinstance(results.pop(13), WorkflowFailed)
    assert results == [*range(13), 14]
    assert max(len(ids) for ids in asked) > 1


def test_status_is_one_small_question(ended, django_assert_num_queries):
    with django_assert_num_queries(1) as asked:
        assert ended.status == "completed"

    assert '"result"' not in asked.captured_queries[0]["sql"]
    with pytest.raises(UnknownInstance):
        client.status("nobody")
    with pytest.raises(UnknownInstance):
        client.status("no\x00body")


@pytest.fixture
def basket(committing, fresh):
    """A handle on an instance that takes updates."""

    @workflow.defn
    async def basket() -> None:
        things: list[str] = []

        @workflow.update
        def add(thing: str) -> list[str]:
            things.append(thing)
            return things

        await workflow.wait_signal("end")

    handle = basket.start()
    committing.run_until_quiet()
    return handle


def test_look_at_an_update_is_one_statement(committing, basket, clock, monkeypatch):
    costs = []
    real = updates.is_open

    def look(instance_id: str, update_id: str) -> bool:
        with cost() as counted:
            found = real(instance_id, update_id)
        costs.append((found, len(counted.statements), counted.commits))
        if len(costs) == 2:
            committing.run_until_quiet()
        return found

    monkeypatch.setattr(updates, "is_open", look)

    assert basket.update("add", "pen", update_id="1") == ["pen"]
    assert costs == [(True, 1, 0), (True, 1, 0), (False, 1, 0)]
    assert clock.sleeps == pytest.approx([0.003, 0.001, 0.001])


def test_update_that_ends_at_the_last_moment_is_told(committing, basket, clock, monkeypatch):
    real = updates.is_open

    def look(instance_id: str, update_id: str) -> bool:
        found = real(instance_id, update_id)
        committing.run_until_quiet()
        return found

    monkeypatch.setattr(updates, "is_open", look)

    assert basket.update("add", "pen", update_id="1", timeout=0) == ["pen"]


def test_nothing_is_waited_for_where_tasks_run_where_they_are_sent(committing, order, basket, clock, monkeypatch):
    real = clock.monotonic

    def turns_take_time() -> float:
        clock.now += 0.01
        return real()

    monkeypatch.setattr(clock, "monotonic", turns_take_time)
    with eager():
        assert order.start().result() == "done"
        assert basket.update("add", "pen") == ["pen"]

    assert clock.sleeps == [0.0, 0.0]
