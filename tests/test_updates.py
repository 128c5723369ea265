"""Updates through the client: let in once, run once, and told to whoever asks."""

from __future__ import annotations

import asyncio
import threading
import time as wall
from datetime import timedelta
from functools import partial

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import transaction

from durable import (
    InTransaction,
    InvalidInput,
    LimitExceeded,
    NotOpen,
    PayloadTooLarge,
    ResultTimeout,
    RetryPolicy,
    UnknownInstance,
    UpdateFailed,
    UpdateRejected,
    UpdateTimeout,
    activity,
    client,
    registry,
    workflow,
)
from durable.client.patience import Patience
from durable.engine import cache
from durable.engine.advance import advance
from durable.engine.perform import perform
from durable.models import HistoryEvent, Instance, Update
from durable.store import updates as store
from durable.testing.draining import due_instances
from tests.driving import Together, answers, cost, item, kinds, leftovers

State = Update.State


def ask(handle, name: str, *args, id: str, **kwargs) -> str:
    """Leave a request behind, as a caller does whose patience is short; return how far it was."""
    with pytest.raises(UpdateTimeout) as caught:
        handle.update(name, *args, update_id=id, timeout=0, **kwargs)
    assert caught.value.update_id == id
    return caught.value.state


def told(handle, name: str, *, id: str):
    """Return the outcome of a request that is done."""
    return handle.update(name, update_id=id, timeout=0)


def call(engine, handle, name: str, *args, id: str = "only", **kwargs):
    """Ask, let the workers do what there is to do, and return the outcome."""
    ask(handle, name, *args, id=id, **kwargs)
    engine.run_until_quiet()
    return told(handle, name, id=id)


def state(id: str) -> str:
    return Update.objects.get(update_id=id).state


def define_basket():
    @activity.defn
    def price(sku: str) -> int:
        return len(sku)

    @workflow.defn
    async def basket() -> list[str]:
        items = []

        def check(sku: str, times: int = 1) -> None:
            if sku in items:
                raise ValueError(f"{sku} is in the basket")

        @workflow.update(validator=check)
        def add(sku: str, times: int = 1) -> int:
            items.extend([sku] * times)
            return len(items)

        @workflow.update
        async def total() -> int:
            return sum(await asyncio.gather(*map(price, items)))

        @workflow.update
        async def slow() -> str:
            await workflow.wait_signal("faster")
            return "done at last"

        @workflow.update
        def fail() -> None:
            raise LookupError("nothing there")

        @workflow.query
        def count() -> int:
            return len(items)

        await workflow.wait_signal("checkout")
        return items

    return basket


@pytest.fixture
def basket(committing):
    return define_basket()


@pytest.fixture
def open_basket(basket):
    handle = basket.start()
    advance(handle.id)
    return handle


@pytest.fixture(params=["live", "replayed"])
def where(request):
    """Where the execution is: in this process's memory, or to be replayed from its history."""
    return cache.clear if request.param == "replayed" else lambda: None


# --- asking


def test_update_changes_the_workflow_and_returns_its_value(committing, open_basket, where):
    where()
    assert call(committing, open_basket, "add", "pen", id="1") == 1
    where()
    assert call(committing, open_basket, "add", sku="ink", times=2, id="2") == 3
    where()
    assert call(committing, open_basket, "total", id="3") == 9

    assert open_basket.query("count") == 3
    open_basket.signal("checkout")
    assert committing.result(open_basket) == ["pen", "ink", "ink"]
    assert answers(open_basket)["UpdateAccepted"] == answers(open_basket)["UpdateCompleted"] == 3
    assert leftovers() == []


def test_history_holds_the_request_and_the_outcome(committing, open_basket):
    call(committing, open_basket, "add", "pen", id="1")

    request, outcome = item(open_basket, "UpdateAccepted"), item(open_basket, "UpdateCompleted")
    assert (request.seq, request.event_id, request.name) == (2, None, "add")
    assert request.data == {"update_id": "1", "input": {"args": ["pen"], "kwargs": {}}}
    assert (outcome.seq, outcome.event_id, outcome.name) == (3, None, "add")
    assert outcome.data == {"update_id": "1", "result": 1, "failure": None}
    assert not request.rerunnable and not outcome.rerunnable


def serve(handle, stop: threading.Event) -> None:
    """Do a worker's work for one instance until told to stop."""
    while not stop.is_set():
        advance(handle.id)
        perform("default")
        wall.sleep(0.002)


@pytest.mark.parametrize("caller", ["sync", "async"])
def test_caller_waits_for_a_worker_of_another_thread(committing, open_basket, caller):
    stop = threading.Event()

    def ask_all() -> list:
        update = open_basket.update if caller == "sync" else async_to_sync(open_basket.aupdate)
        try:
            return [update("add", "pen"), update("add", "ink", timeout=60), update("total")]
        finally:
            stop.set()

    answers, _ = Together().add(ask_all).add(partial(serve, open_basket, stop)).run()

    assert answers == [1, 2, 6]


def test_update_can_be_awaited_in_async_code(committing, open_basket):
    with pytest.raises(UpdateTimeout):
        async_to_sync(client.aupdate)(open_basket.id, "add", "pen", update_id="1", timeout=0.01)
    committing.run_until_quiet()

    assert async_to_sync(client.aupdate)(open_basket.id, "add", "pen", update_id="1") == 1
    assert async_to_sync(open_basket.aquery)("count") == 1


def test_each_call_is_a_request_of_its_own(committing, open_basket):
    for sku in ("pen", "ink"):
        with pytest.raises(UpdateTimeout):
            open_basket.update("add", sku, timeout=0)
    committing.run_until_quiet()

    assert open_basket.query("count") == 2
    first, second = Update.objects.values_list("update_id", flat=True)
    assert first != second


def test_caller_runs_out_of_patience_and_the_update_goes_on(committing, open_basket):
    began = wall.monotonic()
    with pytest.raises(ResultTimeout) as caught:
        client.update(open_basket.id, "slow", update_id="s", timeout=0.05)
    assert 0.05 <= wall.monotonic() - began < 30

    error = caught.value
    assert isinstance(error, UpdateTimeout) and isinstance(error, TimeoutError)
    assert (error.instance_id, error.name, error.timeout) == (open_basket.id, "slow", 0.05)
    assert (error.state, error.status, error.registered) == ("requested", "running", None)

    committing.run_until_quiet()
    assert ask(open_basket, "slow", id="s") == "accepted"
    open_basket.signal("faster")
    committing.run_until_quiet()
    assert told(open_basket, "slow", id="s") == "done at last"


# --- the same request again


def test_same_id_gives_the_same_outcome_and_runs_nothing_again(committing, open_basket):
    ask(open_basket, "add", "pen", id="1")
    ask(open_basket, "add", "pen", id="1")
    committing.run_until_quiet()

    assert [told(open_basket, "add", id="1") for _ in range(3)] == [1, 1, 1]
    committing.run_until_quiet()
    assert open_basket.query("count") == 1
    assert answers(open_basket)["UpdateAccepted"] == 1


def test_same_id_in_flight_waits_for_the_one_that_runs(committing, open_basket, where):
    ask(open_basket, "slow", id="s")
    committing.run_until_quiet()
    where()
    assert ask(open_basket, "slow", id="s") == "accepted"
    assert due_instances() == []
    open_basket.signal("faster")
    committing.run_until_quiet()

    assert told(open_basket, "slow", id="s") == "done at last"
    assert answers(open_basket)["UpdateAccepted"] == 1


def test_outcomes_other_than_a_value_are_the_same_again_too(committing, open_basket):
    ask(open_basket, "fail", id="f")
    call(committing, open_basket, "add", "pen", id="1")
    ask(open_basket, "add", "pen", id="r")
    committing.run_until_quiet()

    for _ in range(2):
        with pytest.raises(UpdateFailed):
            told(open_basket, "fail", id="f")
        with pytest.raises(UpdateRejected):
            told(open_basket, "add", id="r")
    assert answers(open_basket)["UpdateAccepted"] == 2


def test_outcome_can_be_had_after_the_end(committing, open_basket):
    call(committing, open_basket, "add", "pen", id="1")
    open_basket.signal("checkout")
    committing.run_until_quiet()

    assert open_basket.status == "completed"
    assert told(open_basket, "add", id="1") == 1


def test_id_of_another_update_is_refused(committing, open_basket):
    ask(open_basket, "add", "pen", id="1")

    with pytest.raises(InvalidInput, match="add"):
        open_basket.update("total", update_id="1", timeout=0)


def test_id_of_another_instance_is_no_hindrance(committing, basket):
    for handle in (basket.start(), basket.start()):
        assert call(committing, handle, "add", "pen", id="same") == 1


def test_many_callers_with_one_id_get_one_outcome(committing, open_basket):
    stop = threading.Event()
    done = []

    def caller() -> int:
        try:
            return open_basket.update("add", "pen", update_id="same", timeout=60)
        finally:
            done.append(1)
            if len(done) == 4:
                stop.set()

    *outcomes, _, _ = Together().add(caller, times=4).add(partial(serve, open_basket, stop), times=2).run()

    assert outcomes == [1, 1, 1, 1]
    assert open_basket.query("count") == 1
    assert answers(open_basket)["UpdateAccepted"] == answers(open_basket)["UpdateCompleted"] == 1


def test_updates_of_many_callers_are_each_run_once(committing, open_basket):
    stop = threading.Event()
    done = []

    def caller(number: int) -> list[int]:
        try:
            return [open_basket.update("add", f"{number}.{n}", timeout=60) for n in range(5)]
        finally:
            done.append(1)
            if len(done) == 3:
                stop.set()

    together = Together()
    for number in range(3):
        together.add(partial(caller, number))
    *outcomes, _, _ = together.add(partial(serve, open_basket, stop), times=2).run()

    assert sorted(number for each in outcomes for number in each) == list(range(1, 16))
    open_basket.signal("checkout")
    assert len(set(committing.result(open_basket))) == 15


# --- outcomes


def test_error_of_the_handler_goes_to_the_caller_alone(committing, open_basket):
    with pytest.raises(UpdateFailed, match="LookupError: nothing there") as caught:
        call(committing, open_basket, "fail")

    error = caught.value
    assert (error.instance_id, error.name, error.update_id) == (open_basket.id, "fail", "only")
    assert (error.cause.type, error.cause.message, error.failure.type) == (
        "LookupError",
        "nothing there",
        "LookupError",
    )
    assert "raise LookupError" in error.failure.traceback
    assert open_basket.status == "running"
    open_basket.signal("checkout")
    assert committing.result(open_basket) == []


def test_validator_rejects_and_nothing_is_recorded(committing, open_basket, where):
    call(committing, open_basket, "add", "pen", id="1")
    where()
    before = HistoryEvent.objects.count(), open_basket.instance.head

    with pytest.raises(UpdateRejected, match="ValueError: pen is in the basket") as caught:
        call(committing, open_basket, "add", "pen", id="2")

    assert (caught.value.cause.type, caught.value.update_id) == ("ValueError", "2")
    assert (HistoryEvent.objects.count(), open_basket.instance.head) == before
    assert leftovers() == []
    assert call(committing, open_basket, "add", "ink", id="3") == 2


@pytest.mark.parametrize("args", [(), (1,), ("pen", "twice"), ("pen", 1, 2)])
def test_arguments_that_do_not_fit_are_rejected(committing, open_basket, args):
    with pytest.raises(UpdateRejected, match="add") as caught:
        call(committing, open_basket, "add", *args)

    assert caught.value.cause.type == "InvalidInput"
    assert kinds(open_basket) == ["ExecutionStarted"]


def define_sly(spin_for: float = 60):
    @workflow.defn
    async def sly() -> int:
        count = 0

        def check(how: str, swallow: bool) -> None:
            tries = {
                "status": lambda: workflow.set_status("seen"),
                "future": lambda: asyncio.get_running_loop().create_future(),
                "database": User.objects.count,
                "exit": lambda: exit(3),
                "none": lambda: None,
                "spin": spin,
            }
            try:
                tries[how]()
            except Exception:
                if not swallow:
                    raise

        def spin() -> None:
            while True:
                pass

        @workflow.update(validator=check)
        def touch(how: str, swallow: bool) -> int:
            nonlocal count
            count += 1
            return count

        first = await workflow.wait_signal("first")
        assert first == "one"
        await workflow.wait_signal("end")
        return count

    return sly


@pytest.mark.parametrize("swallow", [False, True], ids=["raised", "swallowed"])
@pytest.mark.parametrize(
    ("how", "type"),
    [
        ("status", "ReadOnly"),
        ("future", "ReadOnly"),
        ("database", "ForbiddenInWorkflow"),
        ("spin", "RunawayStep"),
        ("exit", "SystemExit"),
    ],
)
def test_validator_that_does_what_it_may_not_rejects_and_does_no_harm(committing, settings, how, type, swallow, where):
    settings.DURABLE = {"STEP_TIMEOUT": 0.3}
    handle = define_sly().start()
    committing.run_until_quiet()
    handle.signal("first", "one")
    ask(handle, "touch", how, swallow, id="bad")
    ask(handle, "touch", "none", False, id="good")
    where()
    committing.run_until_quiet()

    with pytest.raises(UpdateRejected) as caught:
        told(handle, "touch", id="bad")
    assert caught.value.cause.type == type
    assert told(handle, "touch", id="good") == 1
    assert (handle.status, handle.instance.custom_status) == ("running", None)
    handle.signal("end")
    assert committing.result(handle) == 1
    assert leftovers() == []


def test_validator_that_does_harm_to_a_request_that_waited_rejects(committing):
    handle = define_sly().start()
    ask(handle, "touch", "status", False, id="bad")
    ask(handle, "touch", "none", False, id="good")
    committing.run_until_quiet()

    with pytest.raises(UpdateRejected, match="ReadOnly"):
        told(handle, "touch", id="bad")
    assert told(handle, "touch", id="good") == 1


def test_database_in_a_handler_fails_the_update_and_not_the_workflow(committing):
    @workflow.defn
    async def reaching() -> str:
        @workflow.update
        def users() -> int:
            return User.objects.count()

        await workflow.wait_signal("end")
        return "fine"

    handle = reaching.start()
    advance(handle.id)

    with pytest.raises(UpdateFailed, match="the database"):
        call(committing, handle, "users")
    handle.signal("end")
    assert committing.result(handle) == "fine"


def test_worker_that_is_told_to_stop_in_a_validator_stops(committing, monkeypatch):
    def stopped(*_: object) -> bool:
        return True

    handle = define_sly().start()
    committing.run_until_quiet()
    ask(handle, "touch", "exit", False, id="e")
    monkeypatch.setattr("durable.engine.updates.stops_the_worker", stopped)

    with pytest.raises(SystemExit):
        advance(handle.id)
    assert state("e") == "requested"
    assert handle.instance.head == 1


# --- waiting for the name


def test_update_waits_until_the_instance_begins(committing, basket, time):
    handle = basket.options(delay=60).start()
    ask(handle, "add", "pen", id="1")
    ask(handle, "add", "ink", id="2")
    committing.run_until_quiet()
    assert due_instances() == []
    assert state("1") == "waiting"

    time.forward(61)
    committing.run_until_quiet()

    assert (told(handle, "add", id="1"), told(handle, "add", id="2")) == (1, 2)
    assert kinds(handle) == ["ExecutionStarted", *["UpdateAccepted", "UpdateCompleted"] * 2]


@pytest.fixture
def late(committing):
    @workflow.defn
    async def late() -> list[int]:
        seen = []

        @workflow.update
        def early(n: int) -> None:
            seen.append(n)

        await workflow.wait_signal("register")

        @workflow.update(validator=lambda n: 1 // n)
        def note(n: int) -> int:
            seen.append(n)
            return len(seen)

        await workflow.wait_signal("end")
        return seen

    return late


def test_update_waits_until_its_name_is_registered_and_is_not_due_meanwhile(committing, late, where):
    handle = late.start()
    advance(handle.id)
    for number in (1, 0, 2):
        ask(handle, "note", number, id=f"n{number}")
    committing.run_until_quiet()
    where()

    assert [state(f"n{number}") for number in (1, 0, 2)] == ["waiting"] * 3
    assert due_instances() == []
    assert leftovers() == []
    assert kinds(handle) == ["ExecutionStarted"]

    handle.signal("register")
    committing.run_until_quiet()
    assert (told(handle, "note", id="n1"), told(handle, "note", id="n2")) == (1, 2)
    with pytest.raises(UpdateRejected, match="ZeroDivisionError"):
        told(handle, "note", id="n0")


def test_updates_come_in_the_order_in_which_they_were_asked_for(committing, late):
    handle = late.start()
    advance(handle.id)
    ask(handle, "note", 1, id="1")
    advance(handle.id)
    handle.signal("register")
    ask(handle, "note", 2, id="2")  # in the inbox, while the first one waits outside
    committing.run_until_quiet()
    ask(handle, "note", 3, id="3")
    handle.signal("end")

    assert committing.result(handle) == [1, 2, 3]


def test_update_of_another_name_does_not_wait_behind_one(committing, late):
    handle = late.start()
    advance(handle.id)
    ask(handle, "note", 1, id="1")

    assert call(committing, handle, "early", 5, id="2") is None
    assert state("1") == "waiting"


def test_update_that_a_handler_registers_is_served(committing):
    @workflow.defn
    async def growing() -> None:
        @workflow.update
        def grow() -> str:
            @workflow.update
            def grown() -> str:
                return "tall"

            return "small"

        await workflow.wait_signal("end")

    handle = growing.start()
    advance(handle.id)
    ask(handle, "grown", id="2")
    advance(handle.id)

    assert call(committing, handle, "grow", id="1") == "small"
    assert told(handle, "grown", id="2") == "tall"


def test_name_registered_after_an_activity_in_place_is_served(committing):
    @activity.defn
    def work() -> None:
        ask(handle, "note", id="during")
        Together().add(partial(advance, handle.id)).run()  # another worker finds no such update

    @workflow.defn
    async def working() -> list[str]:
        seen = []
        await work()

        @workflow.update
        def note() -> str:
            seen.append("noted")
            return "noted"

        await workflow.wait_signal("end")
        return seen

    handle = working.start()
    ask(handle, "note", id="before")
    advance(handle.id)

    assert told(handle, "note", id="before") == told(handle, "note", id="during") == "noted"
    assert answers(handle)["ActivityCompleted"] == 1


def test_first_request_that_waits_while_an_activity_runs_in_place_is_seen(committing):
    @activity.defn
    def work() -> None:
        ask(handle, "note", id="during")
        Together().add(partial(advance, handle.id)).run()
        assert state("during") == "waiting"

    @workflow.defn
    async def working() -> None:
        await work()

    handle = working.start()
    advance(handle.id)

    assert handle.status == "completed"
    with pytest.raises(NotOpen):
        told(handle, "note", id="during")


def test_code_that_has_the_name_by_now_serves_what_waits(committing, late):
    handle = late.start()
    committing.run_until_quiet()
    ask(handle, "newer", 1, id="1")
    committing.run_until_quiet()
    assert state("1") == "waiting"
    registry.unregister_workflow("late", 0)

    @workflow.defn(name="late")
    async def newer_late() -> None:
        @workflow.update
        def newer(n: int) -> str:
            return f"new {n}"

        await workflow.wait_signal("register")
        await workflow.wait_signal("end")

    committing.restart()
    ask(handle, "newer", 2, id="1")  # asking again has the code looked at again
    committing.run_until_quiet()

    assert told(handle, "newer", id="1") == "new 1"


def test_turn_of_newer_code_serves_what_waits(committing, late):
    handle = late.start()
    committing.run_until_quiet()
    ask(handle, "newer", id="1")
    committing.run_until_quiet()
    registry.unregister_workflow("late", 0)

    @workflow.defn(name="late")
    async def newer_late() -> None:
        workflow.update(lambda: None)

        @workflow.update
        def newer() -> str:
            return "new"

        await workflow.wait_signal("register")
        await workflow.wait_signal("end")

    committing.restart()
    handle.signal("register")
    committing.run_until_quiet()

    assert told(handle, "newer", id="1") == "new"


def meanwhile(monkeypatch, happens) -> None:
    """Have something happen while a caller waits, whose patience then is at its end."""

    class Impatience(Patience):
        def pause(self) -> float | None:
            if happened:
                return None
            happened.append(happens())
            return 0.0

    happened: list[object] = []
    monkeypatch.setattr("durable.client.change.Patience", Impatience)


def test_timeout_says_what_the_workflow_has_instead(committing, late, basket, monkeypatch):
    handle = late.start()
    advance(handle.id)
    meanwhile(monkeypatch, lambda: advance(handle.id))
    with pytest.raises(UpdateTimeout, match=r"'nota'.*there are: early\)") as caught:
        handle.update("nota", update_id="1", timeout=5)
    assert (caught.value.state, caught.value.registered) == ("waiting", ("early",))

    pending = basket.options(delay=60).start()
    with pytest.raises(UpdateTimeout, match="is pending, is still waiting") as caught:
        pending.update("add", "pen", timeout=0.01)
    assert caught.value.registered == ()


def test_timeout_of_a_client_without_the_code_says_what_it_can(committing, late, monkeypatch):
    handle = late.start()
    advance(handle.id)

    def lose_code() -> None:
        advance(handle.id)
        committing.restart()
        registry.unregister_workflow("late", 0)

    meanwhile(monkeypatch, lose_code)
    with pytest.raises(UpdateTimeout) as caught:
        handle.update("nota", timeout=5)
    assert (caught.value.state, caught.value.registered) == ("waiting", None)


# --- in any state


def test_suspended_instance_keeps_it_for_later(committing, open_basket):
    open_basket.suspend()
    assert ask(open_basket, "add", "pen", id="1") == "requested"
    committing.run_until_quiet()
    assert due_instances() == []
    assert kinds(open_basket)[-1] == "ExecutionSuspended"

    open_basket.resume()
    committing.run_until_quiet()
    assert told(open_basket, "add", id="1") == 1


def test_stalled_instance_keeps_it_for_later(committing, open_basket, time):
    definition = registry.workflow("basket", 0)
    registry.unregister_workflow("basket", 0)
    committing.restart()
    ask(open_basket, "add", "pen", id="1")
    committing.run_until_quiet()
    assert open_basket.status == "stalled"
    assert due_instances() == []
    assert state("1") == "requested"

    registry.add_workflow(definition)
    time.forward(31)
    committing.run_until_quiet()
    assert told(open_basket, "add", id="1") == 1


@pytest.mark.parametrize("end", ["completed", "terminated", "canceled"])
def test_closed_instance_refuses_and_stores_nothing(committing, open_basket, end):
    ways = {"completed": lambda: open_basket.signal("checkout"), "terminated": open_basket.terminate}
    ways.get(end, open_basket.cancel)()
    committing.run_until_quiet()

    with pytest.raises(NotOpen) as caught:
        open_basket.update("add", "pen", timeout=0)
    assert (caught.value.status, caught.value.verb) == (end, "take update 'add'")
    assert not Update.objects.exists() and leftovers() == []


def test_unknown_instance_is_refused(committing):
    with pytest.raises(UnknownInstance):
        client.update("nobody", "add", timeout=0)
    assert not Update.objects.exists()


@pytest.mark.parametrize("end", ["completed", "terminated", "failed", "timed out"])
def test_requests_that_were_not_accepted_before_the_end_are_not_open(committing, time, end):
    @workflow.defn
    async def ending() -> None:
        if await workflow.wait_signal("end") == "failed":
            raise LookupError

    handle = ending.options(timeout=60).start()
    advance(handle.id)
    ask(handle, "unknown", id="waiting")
    committing.run_until_quiet()
    if end == "timed out":
        time.forward(61)
    handle.signal("end", end)
    ask(handle, "unknown", id="requested")
    if end == "terminated":
        handle.terminate()
    committing.run_until_quiet()

    for request in ("waiting", "requested"):
        with pytest.raises(NotOpen) as caught:
            told(handle, "unknown", id=request)
        assert caught.value.status == handle.status == {"timed out": "failed"}.get(end, end)
        assert caught.value.note == "it has registered no such update; there are: none"
    # A signal that came too late is kept in case of a rewind.
    assert leftovers() == (["SignalReceived"] if end in ("terminated", "timed out") else [])


@pytest.mark.parametrize("end", ["completed", "terminated", "canceled"])
def test_update_that_the_end_cut_off_says_so(committing, open_basket, end):
    ask(open_basket, "slow", id="s")
    committing.run_until_quiet()
    ways = {"completed": lambda: open_basket.signal("checkout"), "terminated": open_basket.terminate}
    ways.get(end, open_basket.cancel)()
    committing.run_until_quiet()

    assert open_basket.status == end
    with pytest.raises(UpdateFailed, match="the workflow ended before the update did") as caught:
        told(open_basket, "slow", id="s")
    assert caught.value.cause.type == "NotOpen"


def test_update_that_lets_the_workflow_return_is_told(committing):
    @workflow.defn
    async def brief() -> str:
        event = asyncio.Event()

        @workflow.update
        async def finish() -> str:
            event.set()
            return "finished"

        await event.wait()
        return "over"

    handle = brief.start()
    advance(handle.id)
    ask(handle, "finish", id="1")
    ask(handle, "finish", id="2")

    assert committing.result(handle) == "over"
    assert told(handle, "finish", id="1") == "finished"
    with pytest.raises(NotOpen, match=r"cannot take update 'finish'$"):
        told(handle, "finish", id="2")


def test_canceled_workflow_may_wait_for_its_handlers(committing):
    @workflow.defn
    async def patient() -> None:
        @workflow.update
        async def slow() -> str:
            await workflow.wait_signal("faster")
            return "done"

        try:
            await workflow.wait_signal("end")
        finally:
            await workflow.wait_until(workflow.all_handlers_finished)

    handle = patient.start()
    advance(handle.id)
    ask(handle, "slow", id="s")
    committing.run_until_quiet()
    handle.cancel()
    committing.run_until_quiet()
    assert handle.status == "running"
    handle.signal("faster")
    committing.run_until_quiet()

    assert handle.status == "canceled"
    assert told(handle, "slow", id="s") == "done"


def test_purged_instance_takes_its_updates_with_it(committing, open_basket):
    call(committing, open_basket, "add", "pen", id="1")
    open_basket.terminate()
    Instance.objects.filter(pk=open_basket.id).delete()

    assert not Update.objects.exists()
    with pytest.raises(UnknownInstance):
        told(open_basket, "add", id="1")


def test_caller_whose_instance_is_purged_meanwhile_does_not_wait_for_ever(committing, open_basket, monkeypatch):
    meanwhile(monkeypatch, lambda: Instance.objects.filter(pk=open_basket.id).delete())

    with pytest.raises(UnknownInstance):
        open_basket.update("add", "pen", timeout=60)


def test_caller_whose_instance_is_replaced_meanwhile_does_not_wait_for_ever(committing, basket, monkeypatch):
    handle = basket.options(id="again").start()

    def replace() -> None:
        handle.terminate()
        basket.options(id="again", id_reuse="replace_closed").start()

    meanwhile(monkeypatch, replace)

    with pytest.raises(NotOpen, match="replaced"):
        handle.update("add", "pen", timeout=60)


def test_replaced_instance_takes_the_same_id_anew(committing, basket):
    handle = basket.options(id="again").start()
    advance(handle.id)
    assert call(committing, handle, "add", "pen", id="1") == 1
    handle.signal("checkout")
    committing.run_until_quiet()
    again = basket.options(id="again", id_reuse="replace_closed").start()
    committing.run_until_quiet()
    assert not Update.objects.exists()

    assert call(committing, again, "add", "ink", times=5, id="1") == 5


# --- continue-as-new and retries


@pytest.fixture
def generations(committing):
    @workflow.defn
    async def generations(number: int) -> int:
        @workflow.update
        async def which(wait: bool = False) -> int:
            if wait:
                await workflow.wait_signal("go")
            return number

        if number == 3:

            @workflow.update
            def third() -> str:
                return "the third"

        what = await workflow.wait_signal("what")
        if what == "wait":
            await workflow.wait_until(workflow.all_handlers_finished)
        if what == "end":
            return number
        try:
            workflow.continue_as_new(number + 1)
        except InvalidInput as error:
            workflow.set_status(str(error))
            await workflow.wait_until(workflow.all_handlers_finished)
            workflow.continue_as_new(number + 1)

    return generations


def test_requests_that_wait_move_on_and_outcomes_stay(committing, generations):
    handle = generations.start(1)
    advance(handle.id)
    ask(handle, "third", id="t")
    assert call(committing, handle, "which", id="1") == 1
    for number in (2, 3):
        handle.signal("what", "on")
        committing.run_until_quiet()
        assert told(handle, "which", id="1") == 1
        assert call(committing, handle, "which", id=str(number)) == number

    assert told(handle, "third", id="t") == "the third"
    assert due_instances() == []


def test_request_that_comes_with_the_end_of_an_execution_moves_on(committing, generations):
    handle = generations.start(1)
    advance(handle.id)
    handle.signal("what", "on")
    ask(handle, "which", id="1")
    ask(handle, "which", id="2")
    committing.run_until_quiet()

    assert (told(handle, "which", id="1"), told(handle, "which", id="2")) == (2, 2)
    assert leftovers() == []


def test_continue_as_new_is_refused_while_an_update_is_handled(committing, generations):
    handle = generations.start(1)
    advance(handle.id)
    ask(handle, "which", True, id="named")
    committing.run_until_quiet()
    handle.signal("what", "on")
    committing.run_until_quiet()

    assert "update which (named)" in handle.instance.custom_status
    handle.signal("go")
    committing.run_until_quiet()
    assert told(handle, "which", id="named") == 1
    assert call(committing, handle, "which", id="next") == 2


def test_retry_of_an_instance_takes_requests_along_and_cuts_off_updates(committing, time):
    @workflow.defn
    async def shaky() -> None:
        @workflow.update
        async def slow() -> str:
            await workflow.wait_signal("faster")
            return "slow"

        if workflow.info().history_length and workflow.info().attempt == 0:
            await workflow.wait_signal("fail")
            raise LookupError("once more")

    handle = shaky.options(retry=RetryPolicy(max_attempts=3, initial_interval=60)).start()
    advance(handle.id)
    ask(handle, "slow", id="s")
    ask(handle, "unknown", id="u")
    committing.run_until_quiet()
    handle.signal("fail")
    committing.run_until_quiet()

    with pytest.raises(UpdateFailed, match="the workflow ended before"):
        told(handle, "slow", id="s")
    assert state("u") == "waiting"
    ask(handle, "slow", id="between")
    assert due_instances() == []
    time.forward(61)
    committing.run_until_quiet()
    assert ask(handle, "slow", id="between") == "accepted"


# --- transactions


def test_update_that_would_wait_inside_a_transaction_is_refused(committing, open_basket):
    for timeout in (None, 5):
        with pytest.raises(InTransaction, match="add"), transaction.atomic():
            open_basket.update("add", "pen", timeout=timeout)
    assert not Update.objects.exists()


def test_what_could_not_be_asked_outside_either_says_so_inside_a_transaction(committing, open_basket):
    with pytest.raises(UnknownInstance), transaction.atomic():
        client.update("nobody", "add", "pen")
    open_basket.terminate()
    with pytest.raises(NotOpen), transaction.atomic():
        open_basket.update("add", "pen")


def test_outcome_that_is_there_can_be_had_inside_a_transaction(committing, open_basket):
    call(committing, open_basket, "add", "pen", id="1")

    with transaction.atomic():
        assert open_basket.update("add", "pen", update_id="1") == 1


def test_request_without_waiting_is_part_of_the_transaction(committing, open_basket):
    with transaction.atomic():
        ask(open_basket, "add", "pen", id="1")
    with pytest.raises(LookupError), transaction.atomic():
        ask(open_basket, "add", "ink", id="2")
        raise LookupError
    committing.run_until_quiet()

    assert told(open_basket, "add", id="1") == 1
    assert open_basket.query("count") == 1
    assert not Update.objects.filter(update_id="2").exists()


def test_tests_in_a_transaction_can_drive_it_themselves(engine):
    handle = define_basket().start()
    engine.run_until_quiet()

    assert call(engine, handle, "add", "pen") == 1


# --- bad input


@pytest.mark.parametrize(("name", "id"), [("", "1"), ("add", ""), ("x" * 201, "1"), ("add", "x" * 201), ("a\n", "1")])
def test_names_that_cannot_be_stored_are_refused(committing, open_basket, name, id):
    with pytest.raises(InvalidInput):
        open_basket.update(name, update_id=id, timeout=0)
    assert not Update.objects.exists()


def test_arguments_that_cannot_be_stored_are_refused(committing, open_basket, settings):
    with pytest.raises(InvalidInput, match="update add"):
        open_basket.update("add", object(), timeout=0)
    settings.DURABLE = {"LIMITS": {"payload": 100}}
    with pytest.raises(PayloadTooLarge, match="update add"):
        open_basket.update("add", "x" * 200, timeout=0)
    assert not Update.objects.exists()


def test_full_inbox_refuses(committing, basket, settings):
    settings.DURABLE = {"LIMITS": {"inbox": 3}}
    handle = basket.options(delay=60).start()
    ask(handle, "add", "pen", id="1")
    ask(handle, "add", "ink", id="2")

    with pytest.raises(LimitExceeded, match="inbox"):
        handle.update("add", "paper", timeout=0)
    assert Update.objects.count() == 2


# --- crashes


def test_turn_that_is_lost_before_its_commit_is_taken_again(committing, open_basket, monkeypatch):
    ask(open_basket, "add", "pen", id="1")
    change = store.change

    def killed(*args, **kwargs) -> None:
        change(*args, **kwargs)
        raise SystemExit

    monkeypatch.setattr(store, "change", killed)
    with pytest.raises(SystemExit):
        advance(open_basket.id)
    assert state("1") == "requested" and open_basket.instance.head == 1

    monkeypatch.setattr(store, "change", change)
    committing.run_until_quiet()
    assert told(open_basket, "add", id="1") == 1
    assert open_basket.query("count") == 1


def test_worker_that_dies_with_the_handler_halfway_is_no_loss(committing, open_basket, path):
    call(committing, open_basket, "add", "pen", id="1")
    ask(open_basket, "slow", id="s")
    ask(open_basket, "total", id="t")
    committing.run_until_quiet()
    committing.restart()
    open_basket.signal("faster")
    committing.run_until_quiet()

    assert (told(open_basket, "slow", id="s"), told(open_basket, "total", id="t")) == ("done at last", 3)
    assert answers(open_basket)["UpdateAccepted"] == 3


def test_update_is_served_while_an_activity_runs_in_place(committing):
    served = []

    @activity.defn
    def work() -> str:
        ask(handle, "knock", "who", id="1")
        Together().add(partial(advance, handle.id)).run()
        served.append(told(handle, "knock", id="1"))
        return "worked"

    @workflow.defn
    async def outer() -> list[str]:
        heard = []

        @workflow.update
        def knock(who: str) -> str:
            heard.append(who)
            return f"{who} is there"

        heard.append(await work())
        return heard

    handle = outer.start()
    advance(handle.id)

    assert served == ["who is there"]
    assert handle.result(timeout=0) == ["who", "worked"]
    assert answers(handle)["ActivityCompleted"] == 1
    assert leftovers() == []


def test_rejection_while_an_activity_runs_in_place_does_not_get_in_its_way(committing):
    @activity.defn
    def work() -> str:
        ask(handle, "knock", id="1")
        Together().add(partial(advance, handle.id)).run()
        return state("1")

    @workflow.defn
    async def outer() -> str:
        workflow.update(lambda: None, validator=lambda: 1 / 0)

        @workflow.update(validator=lambda: 1 / 0)
        def knock() -> None: ...

        return await work()

    handle = outer.start()
    advance(handle.id)

    assert handle.result(timeout=0) == "rejected"
    assert kinds(handle) == ["ExecutionStarted", "ActivityScheduled", "ActivityCompleted", "ExecutionCompleted"]


# --- what it costs


def test_workflow_that_nobody_updates_costs_the_same_with_handlers(committing):
    def turns(register: bool) -> int:
        @activity.defn(name=f"tick{register}")
        def tick() -> None: ...

        @workflow.defn(name=f"plain {register}")
        async def plain() -> None:
            if register:
                workflow.update(lambda: 1)
            await tick()
            if register:

                @workflow.update
                def later() -> None: ...

            await tick()

        handle = plain.start()
        with cost() as counted:
            advance(handle.id)
        assert handle.status == "completed"
        return len(counted.statements)

    assert turns(True) == turns(False)


def test_turn_of_an_update_reads_no_history_while_the_execution_is_live(committing, open_basket):
    call(committing, open_basket, "add", "a", id="a")
    costs = []
    for number in range(20):
        ask(open_basket, "add", str(number), id=str(number))
        with cost() as counted:
            advance(open_basket.id)
        costs.append((len(counted.statements), counted.commits))

    assert len(set(costs)) == 1
    assert costs[0][1] == 1


# --- keeping outcomes


def test_rejections_are_forgotten_after_a_while(committing, open_basket, time, settings):
    settings.DURABLE = {"UPDATE_OUTCOMES": 3600}
    call(committing, open_basket, "add", "pen", id="kept")
    ask(open_basket, "add", "pen", id="rejected")
    ask(open_basket, "slow", id="in flight")
    ask(open_basket, "unknown", id="waiting")
    committing.run_until_quiet()
    time.forward(3500)
    committing.run_until_quiet()
    assert Update.objects.count() == 4

    time.forward(200)
    committing.run_until_quiet()

    assert set(Update.objects.values_list("update_id", flat=True)) == {"kept", "in flight", "waiting"}


def test_outcomes_of_ended_executions_are_forgotten_after_a_while(committing, generations, time):
    handle = generations.start(1)
    advance(handle.id)
    call(committing, handle, "which", id="1")
    handle.signal("what", "on")
    committing.run_until_quiet()
    call(committing, handle, "which", id="2")
    time.forward(timedelta(days=1.1).total_seconds())
    committing.run_until_quiet()

    assert list(Update.objects.values_list("update_id", flat=True)) == ["2"]


def test_request_is_let_in_though_its_name_is_registered_later_in_the_same_turn(engine):
    @workflow.defn
    async def late() -> str:
        await workflow.wait_signal("ready")

        @workflow.update
        def greet() -> str:
            return "hello"

        return await workflow.wait_signal("go")

    handle = late.start()
    advance(handle.id)
    ask(handle, "greet", id="u")
    handle.signal("ready")
    advance(handle.id)

    assert (state("u"), told(handle, "greet", id="u")) == ("completed", "hello")
