"""Messages: how many are sent, to whom, and that as few wake as many workers as there are."""

from __future__ import annotations

import asyncio
import queue
import threading
import traceback

import pytest
from celery import current_app
from celery.signals import before_task_publish
from celery.utils.saferepr import saferepr
from django.db import connections, transaction
from kombu import Exchange

from durable import activity, client, dispatch, workflow
from durable.engine.advance import advance
from durable.engine.perform import perform
from durable.models import ActivityTask
from durable.store import turns
from tests.driving import eager

pytestmark = pytest.mark.lenient


@pytest.fixture
def sent(committing, monkeypatch):
    """The messages that are sent, as (task, its arguments); nobody gets them."""
    messages: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(dispatch, "_send", lambda task, args, queue: messages.append((task, args)))
    return messages


@pytest.fixture
def order(fresh):
    @workflow.defn
    async def order() -> None:
        pass

    return order


def fan_out(leaf, width: int) -> client.Handle:
    """Start a workflow that runs ``leaf`` many times at once, and take its first turn."""

    @workflow.defn
    async def fan_out() -> int:
        return len(await asyncio.gather(*(leaf(n) for n in range(width))))

    handle = fan_out.start()
    advance(handle.id)
    assert ActivityTask.objects.count() == width
    return handle


@pytest.mark.parametrize(("width", "messages"), [(1, 1), (2, 2), (100, 2)])
def test_fan_out_is_announced_by_two_messages(sent, settings, width, messages):
    settings.DURABLE = {"RUN_INLINE": False}

    @activity.defn
    def leaf(number: int) -> int:
        return number

    fan_out(leaf, width)

    assert [task for task, _ in sent].count("durable.perform") == messages


@pytest.mark.parametrize("width", [1, 2, 100])
def test_worker_wakes_one_other_if_there_is_more_than_it_leased(sent, settings, width):
    settings.DURABLE = {"RUN_INLINE": False}
    told = []

    @activity.defn
    def leaf(number: int) -> int:
        told.append(list(sent))
        return number

    handle = fan_out(leaf, width)
    sent.clear()
    perform("default")

    one = [("durable.perform", ["default"])]
    assert told[0] == (one if width > 1 else []), "before the first began"
    assert sent == told[0], "and no other after that"
    assert handle.result(timeout=0) == width


def test_messages_wake_as_many_workers_as_there_are(committing, settings, monkeypatch):
    settings.DURABLE = {"RUN_INLINE": False}
    workers = 6
    messages: queue.Queue[str | None] = queue.Queue()
    monkeypatch.setattr(
        dispatch, "_send", lambda task, args, _: messages.put(args[0]) if task == "durable.perform" else None
    )
    together = threading.Barrier(workers)

    @activity.defn
    def leaf(number: int) -> int:
        together.wait(timeout=20)  # breaks, unless all workers run one
        return number

    def work() -> None:
        try:
            while (name := messages.get()) is not None:
                perform(name)
        finally:
            connections.close_all()

    fan_out(leaf, workers)
    assert messages.qsize() == 2
    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    wait_until_all_ran()
    for _ in threads:
        messages.put(None)
    for thread in threads:
        thread.join(timeout=30)

    assert not together.broken
    assert not ActivityTask.objects.exists()


def wait_until_all_ran() -> None:
    gone = threading.Event()
    for _ in range(600):
        if not ActivityTask.objects.exists():
            return
        gone.wait(0.05)


def test_worker_wakes_nobody_where_messages_are_taken_at_once(committing, settings):
    settings.DURABLE = {"RUN_INLINE": False}

    drains = []

    @activity.defn
    def leaf(number: int) -> int:
        drains.append(sum(frame.filename == perform.__code__.co_filename for frame in traceback.extract_stack()))
        return number

    @workflow.defn
    async def fan_out() -> int:
        return len(await asyncio.gather(*(leaf(n) for n in range(20))))

    with eager():
        handle = fan_out.start()

    assert handle.result(timeout=0) == 20
    assert len(set(drains)) == 1, "none within another"


def test_starts_of_one_transaction_are_announced_together(sent, order):
    with transaction.atomic():
        ids = [order.start().id for _ in range(100)]
        assert sent == []

    assert len(sent) == (8 if turns.in_one_statement() else 100), "elsewhere each has a savepoint of its own"
    assert [pk for _, args in sent for pk in args] == ids


def test_start_in_a_test_case_is_announced_by_itself(engine, order, django_capture_on_commit_callbacks, monkeypatch):
    told = []
    monkeypatch.setattr(dispatch, "_send", lambda task, args, queue: told.extend(args))
    order.start()
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        handle = order.start()

    assert len(callbacks) == 1
    assert told == [handle.id]


def test_starts_of_other_transactions_are_announced_by_themselves(sent, order):
    ids = []
    for _ in range(2):
        ids.append(order.start().id)
        with transaction.atomic():
            ids.append(order.start().id)

    assert sent == [("durable.advance", [pk]) for pk in ids]


def test_what_is_rolled_back_is_not_announced_and_the_rest_is(sent, order):
    kept = []
    with transaction.atomic():
        kept.append(order.start().id)
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            order.start()
            order.start()
            raise ZeroDivisionError
        kept.append(order.start().id)
        with transaction.atomic():
            kept.append(order.start().id)
        kept.append(order.start().id)

    assert sorted(pk for _, args in sent for pk in args) == sorted(kept)


def test_instances_of_several_queues_are_announced_each_on_its_own(committing, order, monkeypatch):
    told = []
    monkeypatch.setattr(dispatch, "_send", lambda task, args, queue: told.append((queue, args)))
    with transaction.atomic():
        ids = {name: order.options(queue=name).start().id for name in ("a", "b")}

    assert told == [(name, [pk]) for name, pk in ids.items()]


@pytest.mark.parametrize("args", [["one"], [f"instance-{n}" for n in range(200)]])
def test_messages_show_their_arguments_as_celerys_do(fresh, args):
    headers = []

    def receiver(**sent) -> None:
        headers.append(sent["headers"])

    before_task_publish.connect(receiver, weak=False)
    try:
        dispatch._send("durable.advance", args, dispatch.DEFAULT_QUEUE)
    finally:
        before_task_publish.disconnect(receiver)

    shown = saferepr(tuple(args), 1024)
    assert headers[0]["argsrepr"][:900] == shown[:900]
    assert len(headers[0]["argsrepr"]) <= 1024
    assert headers[0]["kwargsrepr"] == "{}"


def test_broker_need_not_write_messages_to_its_disk(fresh):
    queue_name = "passing"
    dispatch._send("durable.advance", ["one"], queue_name)

    with current_app.connection_for_read() as connection, connection.SimpleQueue(queue_name) as messages:
        message = messages.get(timeout=5)
        message.ack()

    assert message.properties["delivery_mode"] == Exchange.TRANSIENT_DELIVERY_MODE
