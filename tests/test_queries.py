"""Queries through the client: on any instance, in any process, without a trace."""

from __future__ import annotations

import asyncio
import threading
import time as wall
from functools import partial

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User

from durable import (
    ForbiddenInWorkflow,
    InvalidInput,
    NondeterminismError,
    ReadOnly,
    RunawayStep,
    UnknownInstance,
    UnknownWorkflow,
    activity,
    client,
    registry,
    workflow,
)
from durable.engine import cache
from durable.engine.advance import advance
from durable.models import HistoryEvent, InboxEvent, Instance
from tests.driving import Together, cost, events_read, kinds


def define_cart():
    @workflow.defn
    async def cart(rounds: int = 2) -> int:
        items = []

        @workflow.query
        def count(more: int = 0) -> int:
            return len(items) + more

        @workflow.query
        def touch() -> None:
            workflow.set_status("seen")

        @workflow.query
        def spin() -> None:
            while True:
                pass

        @workflow.query
        def users(swallow: bool = False) -> int:
            try:
                return User.objects.count()
            except Exception:
                if not swallow:
                    raise
            return -1

        @workflow.query
        def fail() -> None:
            raise LookupError("nothing there")

        @workflow.query
        def described(name: str, instance_id: str = "", self: str = "") -> str:
            return f"{name} {instance_id} {self}"

        for _ in range(rounds):
            items += [await workflow.wait_signal("item")]
        return len(items)

    return cart


@pytest.fixture
def cart(committing):
    return define_cart()


@pytest.fixture
def waiting(cart):
    """An instance that has one item and waits for another."""
    handle = cart.start()
    handle.signal("item", "pen")
    advance(handle.id)
    assert handle.status == "running"
    return handle


def stored(handle) -> list:
    """Return all that a query must leave alone."""
    instances = Instance.objects.filter(pk=handle.id).values()
    return [list(rows) for rows in (instances, HistoryEvent.objects.values(), InboxEvent.objects.values())]


@pytest.fixture(params=["live", "replayed"])
def where(request):
    """Where the execution is: in this process's memory, or to be replayed from its history."""
    return cache.clear if request.param == "replayed" else lambda: None


# --- asking


def test_waiting_instance_answers(waiting, where):
    where()

    assert client.query(waiting.id, "count") == 1
    assert waiting.query("count", 2) == 3
    assert waiting.query("count", more=3) == 4


def test_aquery_answers(waiting, where):
    where()

    assert async_to_sync(client.aquery)(waiting.id, "count", more=3) == 4


def test_queries_own_keywords_may_be_called_what_the_clients_are(waiting):
    own = {"name": "Ada", "instance_id": "7"}

    assert client.query(waiting.id, "described", **own) == "Ada 7 "
    assert waiting.query("described", **own, self="me") == "Ada 7 me"
    assert async_to_sync(client.aquery)(waiting.id, "described", **own) == "Ada 7 "
    assert async_to_sync(partial(waiting.aquery, "described", **own, self="me"))() == "Ada 7 me"


def test_query_writes_nothing(waiting, where):
    waiting.signal("item", "unread")
    where()
    before = stored(waiting)

    with cost() as counted:
        assert waiting.query("count") == 1
        with pytest.raises(ReadOnly):
            waiting.query("touch")

    assert stored(waiting) == before
    assert counted.commits == 0


@pytest.mark.lenient
def test_live_execution_is_used_and_stays_usable(committing, waiting):
    with cost() as asked:
        assert waiting.query("count") == 1
    waiting.signal("item", "ink")
    with events_read() as read:
        advance(waiting.id)

    assert len(asked.statements) == 1
    assert read == []
    assert committing.result(waiting) == 2


def test_replayed_execution_is_kept(waiting):
    cache.clear()
    with cost() as first:
        waiting.query("count")
    with cost() as second:
        waiting.query("count")

    assert (len(first.statements), len(second.statements)) == (2, 1)


def test_execution_that_another_process_brought_on_is_caught_up(waiting):
    mine = cache.take(waiting.instance.execution_id)
    waiting.signal("item", "ink")
    advance(waiting.id)  # as another process would, by replay
    cache.put(waiting.instance.execution_id, mine)

    assert waiting.query("count") == 2


# --- in any state


def test_suspended_instance_answers_as_it_stands(waiting, where):
    waiting.suspend()
    waiting.signal("item", "kept for later")
    advance(waiting.id)
    where()

    assert waiting.query("count") == 1


def test_completed_instance_answers(committing, waiting):
    waiting.signal("item", "ink")
    committing.run_until_quiet()

    assert waiting.status == "completed"
    assert waiting.query("count") == 2
    assert cache.take(waiting.instance.execution_id) is None  # nobody will need it again


def test_failed_instance_answers(committing):
    @workflow.defn
    async def failing() -> None:
        done = []

        @workflow.query
        def so_far() -> list[int]:
            return done

        done.append(1)
        raise ValueError("no")

    handle = failing.start()
    committing.run_until_quiet()

    assert handle.status == "failed"
    assert handle.query("so_far") == [1]


def test_terminated_instance_answers(committing, waiting, where):
    waiting.terminate()
    where()

    assert waiting.status == "terminated"
    assert waiting.query("count") == 1


def test_canceled_instance_answers(committing, waiting):
    waiting.cancel()
    committing.run_until_quiet()

    assert waiting.status == "canceled"
    assert waiting.query("count") == 1


def test_instance_that_was_terminated_before_it_began_has_no_query(committing, cart):
    handle = cart.options(delay=3600).start()
    handle.terminate()

    with pytest.raises(InvalidInput):
        handle.query("count")


def test_continued_instance_answers_from_its_new_execution(committing):
    @workflow.defn
    async def generation(number: int) -> None:
        @workflow.query
        def which() -> int:
            return number

        await workflow.wait_signal("next")
        workflow.continue_as_new(number + 1)

    handle = generation.start(1)
    committing.run_until_quiet()
    assert handle.query("which") == 1
    handle.signal("next")
    committing.run_until_quiet()

    assert handle.query("which") == 2


def test_pending_instance_is_refused(cart):
    handle = cart.options(delay=3600).start()

    with pytest.raises(InvalidInput, match="not begun"):
        handle.query("count")


def test_unknown_instance_is_refused(committing):
    with pytest.raises(UnknownInstance):
        client.query("nobody", "count")


def test_instance_whose_code_is_missing_says_so(committing, waiting):
    registry.unregister_workflow("cart", 0)
    committing.restart()
    waiting.signal("item", "ink")
    advance(waiting.id)

    assert waiting.status == "stalled"
    with pytest.raises(UnknownWorkflow):
        waiting.query("count")


def test_instance_whose_code_does_not_fit_says_so(committing, waiting):
    registry.unregister_workflow("cart", 0)

    @workflow.defn
    async def cart(rounds: int = 2) -> None:
        await workflow.activity_by_name("other")()

    waiting.signal("item", "ink")
    committing.restart()
    before = stored(waiting)

    with pytest.raises(NondeterminismError):
        waiting.query("count")
    assert stored(waiting) == before


def test_instance_answers_while_its_activity_runs(committing, path):
    seen = []

    @activity.defn
    def work() -> None:
        seen.append(client.query("busy", "doing_what"))

    @workflow.defn
    async def busy() -> str:
        doing = "nothing"

        @workflow.query
        def doing_what() -> str:
            return doing

        doing = "work"
        await work()
        doing = "rest"
        return doing

    handle = busy.options(id="busy").start()

    assert committing.result(handle) == "rest"
    assert seen == ["work"]
    assert handle.query("doing_what") == "rest"


# --- what is refused


def test_unknown_query_and_wrong_arguments_are_refused(waiting):
    with pytest.raises(InvalidInput, match="count, described, fail, spin, touch, users"):
        waiting.query("total")
    with pytest.raises(InvalidInput, match=r"count\(more\)"):
        waiting.query("count", "three")
    with pytest.raises(InvalidInput):
        waiting.query("count", object())
    with cost() as counted:
        assert waiting.query("count") == 1
    assert len(counted.statements) == 1  # the live execution has not been thrown away


def test_error_of_a_query_is_the_callers(waiting):
    with pytest.raises(LookupError, match="nothing there"):
        waiting.query("fail")
    assert waiting.status == "running"


@pytest.mark.parametrize("swallow", [False, True], ids=["raised", "swallowed"])
def test_database_in_a_query_is_refused(committing, waiting, where, swallow):
    where()

    with pytest.raises(ForbiddenInWorkflow, match="the database"):
        waiting.query("users", swallow)

    waiting.signal("item", "ink")
    assert committing.result(waiting) == 2


def test_execution_whose_query_was_refused_is_thrown_away(committing, waiting):
    with pytest.raises(ReadOnly):
        waiting.query("touch")

    assert cache.take(waiting.instance.execution_id) is None
    waiting.signal("item", "ink")
    assert committing.result(waiting) == 2


def test_runaway_query_does_not_hang_the_caller(committing, waiting, where, settings):
    settings.DURABLE = {"STEP_TIMEOUT": 0.2}
    where()
    began = wall.monotonic()

    with pytest.raises(RunawayStep, match="spin"):
        waiting.query("spin")

    assert wall.monotonic() - began < 5
    assert asyncio._get_running_loop() is None
    assert waiting.query("count") == 1
    waiting.signal("item", "ink")
    assert committing.result(waiting) == 2
    assert "ExecutionCompleted" in kinds(waiting)


# --- at once


def test_two_threads_may_ask_at_once(committing, waiting, where):
    where()

    def ask() -> list[int]:
        return [waiting.query("count") for _ in range(10)]

    assert Together().add(ask, times=4).run() == [[1] * 10] * 4
    waiting.signal("item", "ink")
    assert committing.result(waiting) == 2


def test_asking_does_not_get_in_the_way_of_turns(committing, cart):
    handle = cart.start(20)
    advance(handle.id)
    stop = threading.Event()

    def ask() -> list[int]:
        seen = []
        while not stop.is_set():
            seen.append(handle.query("count"))
        return seen

    def go_on() -> None:
        try:
            for number in range(20):
                handle.signal("item", number)
                advance(handle.id)
        finally:
            stop.set()

    *seen, _ = Together().add(ask, times=2).add(go_on).run()

    assert committing.result(handle) == 20
    assert all(each == sorted(each) for each in seen)
