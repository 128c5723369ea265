"""Queues and priorities: who runs what, and in which order."""

from __future__ import annotations

import asyncio
import logging
import socket
from time import monotonic

import pytest
from celery import Celery, current_app

from durable import RetryPolicy, activity, dispatch, worker, workflow
from durable.engine.advance import advance
from durable.engine.perform import perform
from durable.models import ActivityTask
from tests.driving import eager


@pytest.fixture
def ran(fresh):
    return []


@pytest.fixture
def fan_out(ran):
    @activity.defn
    def work(name: str) -> None:
        ran.append(name)

    @workflow.defn
    async def fan_out(calls: list) -> None:
        await asyncio.gather(*(work.options(**options)(name) for name, options in calls))

    return fan_out


def test_higher_priority_goes_first_and_equals_in_order(engine, settings, fan_out, ran):
    settings.DURABLE = {"RUN_INLINE": False}
    calls = [["low", {"priority": -5}], ["one", {}], ["two", {}], ["high", {"priority": 9}], ["three", {}]]

    engine.result(fan_out.start(calls))

    assert ran == ["high", "one", "two", "three", "low"]


def test_priority_holds_between_instances(engine, settings, fan_out, ran):
    settings.DURABLE = {"RUN_INLINE": False}
    for name, priority in (("a", 0), ("b", 5), ("c", 1)):
        fan_out.start([[name, {"priority": priority}]])

    engine.run_until_quiet()

    assert ran == ["b", "c", "a"]


def test_activity_goes_to_its_own_queue_else_to_its_workflows(engine, settings, ran):
    settings.DURABLE = {"RUN_INLINE": False}

    @activity.defn(queue="own")
    def owning() -> None: ...

    @activity.defn
    def following() -> None: ...

    @workflow.defn(queue="flow")
    async def outer() -> None:
        await asyncio.gather(owning(), following(), owning.options(queue="call")())

    outer.start()
    engine.advance_due()

    assert list(ActivityTask.objects.order_by("event_id").values_list("queue", flat=True)) == ["own", "flow", "call"]


def test_worker_takes_only_from_the_queue_that_it_is_told_of(engine, settings, fan_out, ran):
    settings.DURABLE = {"RUN_INLINE": False}
    fan_out.start([["here", {}], ["there", {"queue": "there"}]])
    engine.advance_due()

    perform("default")
    assert ran == ["here"]

    perform("there")
    assert ran == ["here", "there"]


def test_activity_of_a_queue_that_this_process_does_not_serve_is_handed_out(engine, fan_out, ran):
    handle = fan_out.start([["elsewhere", {"queue": "elsewhere"}]])
    advance(handle.id)

    assert ran == []
    assert ActivityTask.objects.get().queue == "elsewhere"


def test_retry_stays_on_its_queue_and_keeps_its_priority(engine, settings):
    settings.DURABLE = {"RUN_INLINE": False}

    @activity.defn(queue="own", priority=7, retry=RetryPolicy(initial_interval=1))
    def flaky() -> None:
        raise ValueError

    @workflow.defn
    async def outer() -> None:
        await flaky()

    outer.start()
    engine.run_until_quiet()

    task = ActivityTask.objects.get()
    assert (task.queue, task.priority, task.attempt) == ("own", 7, 2)


def test_messages_wake_workers_on_the_right_queues(committing, settings):
    """With Celery in eager mode every message is taken at once, so that the messages alone drive the work."""

    @activity.defn(queue="own")
    def double(number: int) -> int:
        return 2 * number

    @workflow.defn(queue="flow")
    async def outer() -> int:
        await workflow.wait_signal("go")
        return sum(await asyncio.gather(*(double(n) for n in range(5))))

    with eager():
        handle = outer.start()
        assert handle.status == "running"
        handle.signal("go")
        assert handle.result(timeout=0) == 20


def test_message_that_cannot_be_sent_is_left_to_the_sweep(committing, caplog):
    @workflow.defn
    async def outer() -> int:
        return 1

    with unreachable_broker():
        handle = outer.start()

    assert "could not announce work" in caplog.text
    assert committing.result(handle) == 1


def test_start_does_not_wait_for_a_broker_that_is_down(committing, caplog, monkeypatch):
    app = Celery("down", broker="amqp://127.0.0.1:1//", set_as_current=False)  # a port where nobody listens
    naps: list[float] = []
    monkeypatch.setattr("kombu.utils.functional.sleep", naps.append)

    @workflow.defn
    async def outer() -> int:
        return 1

    with monkeypatch.context() as patch:
        patch.setattr(dispatch, "current_app", app)
        handle = outer.start()
    dispatch._mute_until = float("-inf")

    assert "could not announce work on queue 'default' ([Errno 111] Connection refused)" in caplog.text
    assert sum(naps) == 0
    assert committing.result(handle) == 1


@pytest.fixture
def silent_port():
    """A port that takes connections, and nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_start_does_not_wait_for_ever_for_a_broker_that_never_answers(committing, silent_port, caplog, monkeypatch):
    monkeypatch.setattr(dispatch, "_mute_until", float("-inf"))
    monkeypatch.setattr(worker, "REDIS_ANSWERS", dict.fromkeys(worker.REDIS_ANSWERS, 0.05))
    own = {"visibility_timeout": 3600}
    app = Celery("silent", broker=f"redis://127.0.0.1:{silent_port}/0", set_as_current=False)
    app.conf.broker_transport_options = own
    worker.configure(app)
    caplog.set_level(logging.DEBUG, "durable.dispatch")

    @workflow.defn
    async def outer() -> int:
        return 1

    with monkeypatch.context() as patch:
        patch.setattr(dispatch, "current_app", app)
        handles = [outer.start(), outer.start()]  # the second at once: it is left alone for a while
        dispatch._mute_until = 0.0
        handles.append(outer.start())
    dispatch._mute_until = 0.0
    dispatch.advance([("default", handles[0].id)])

    told = [record.levelname for record in caplog.records if "could not announce" in record.message]
    assert told == ["WARNING", "DEBUG"], "once that it is down"
    assert caplog.records[-1].message == "the broker takes messages again"
    assert [committing.result(handle) for handle in handles] == [1, 1, 1]
    assert app.conf.broker_transport_options["visibility_timeout"] == 3600


def test_broker_that_took_long_to_fail_is_left_alone_for_a_minute_at_most(monkeypatch):
    monkeypatch.setattr(dispatch, "_mute_until", float("-inf"))
    before = monotonic()

    dispatch._note_fault("default", OSError("no answer"), 3600.0)

    assert before + 3 < dispatch._mute_until <= monotonic() + 60


def test_default_queue_is_celerys_default_queue(fresh):
    assert dispatch.DEFAULT_QUEUE in dispatch.served_queues()
    assert current_app.conf.task_default_queue not in dispatch.served_queues()


class unreachable_broker:  # noqa: N801 - reads like a function
    """Point Celery's messages at a port where nobody listens."""

    def __enter__(self) -> None:
        self._tasks = {name: current_app.tasks[name] for name in ("durable.advance", "durable.perform")}
        for task in self._tasks.values():
            task.apply_async = self._refuse

    def __exit__(self, *_: object) -> None:
        for task in self._tasks.values():
            del task.apply_async
        dispatch._mute_until = float("-inf")  # the next test's broker answers

    def _refuse(self, *_: object, **__: object) -> None:
        raise ConnectionRefusedError("nobody listens")
