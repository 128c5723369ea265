"""What workflows and activities log: once, with its facts as fields, and nothing on replay."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from durable import RetryPolicy, activity, registry, workflow
from durable.core.replay import replay
from durable.store import history

FIELDS = ("instance_id", "execution_id", "workflow", "version", "queue", "event_id", "attempt", "activity")


@pytest.fixture
def heard(caplog):
    caplog.set_level(logging.INFO, logger="durable.workflow")
    caplog.set_level(logging.INFO, logger="durable.activity")
    return caplog


def said(heard) -> Counter[str]:
    return Counter(r.getMessage() for r in heard.records if r.name in ("durable.workflow", "durable.activity"))


def fields(heard, message: str) -> dict:
    [record] = [record for record in heard.records if record.getMessage() == message]
    return {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}


@pytest.fixture
def order(engine):
    @activity.defn
    def charge() -> None:
        activity.logger.info("charging")

    @activity.defn
    async def pack() -> None:
        activity.logger.info("packing")

    @workflow.defn
    async def order2() -> None:
        @workflow.query
        def look() -> None:
            workflow.logger.info("looked")

        workflow.logger.info("began")
        await charge()
        workflow.logger.info("charged")
        await workflow.wait_signal("go")
        await pack()
        workflow.logger.info("packed")

    return order2


def test_records_have_the_facts_as_fields(engine, path, order, heard):
    handle = order.options(id="order-1", queue="fast").start()
    handle.signal("go")
    engine.result(handle)

    common = {
        "instance_id": "order-1",
        "execution_id": str(handle.instance.execution_id),
        "workflow": "order2",
        "queue": "fast",
    }
    assert fields(heard, "charged") == {**common, "version": 2}
    assert fields(heard, "charging") == {**common, "activity": "charge", "event_id": 0, "attempt": 1}
    assert fields(heard, "packing") == {**common, "activity": "pack", "event_id": 1, "attempt": 1}


def test_each_attempt_says_which_it_is(engine, path, heard, time):
    @activity.defn(retry=RetryPolicy(max_attempts=2, initial_interval=1))
    def work() -> None:
        activity.logger.info("attempt %d", activity.info().attempt)
        if activity.info().attempt == 1:
            raise ValueError

    @workflow.defn
    async def outer() -> None:
        await work()

    handle = outer.start()
    engine.run_until_quiet()
    time.forward(2)
    engine.result(handle)

    assert [fields(heard, f"attempt {n}")["attempt"] for n in (1, 2)] == [1, 2]


def test_everything_is_said_once_however_often_it_is_replayed(engine, path, order, heard):
    handle = order.start()
    engine.run_until_quiet()
    engine.restart()
    handle.query("look")  # replays, and leaves the execution in the cache
    handle.query("look")
    handle.signal("go")
    engine.run_until_quiet()
    engine.restart()
    handle.query("look")  # replays what has ended

    assert said(heard) == {"began": 1, "charging": 1, "charged": 1, "looked": 3, "packing": 1, "packed": 1}


def test_step_after_a_replay_is_said(engine, path, order, heard):
    handle = order.start()
    engine.run_until_quiet()
    heard.clear()
    engine.restart()
    handle.signal("go")
    engine.result(handle)

    assert said(heard) == {"packing": 1, "packed": 1}


def test_dry_run_of_a_history_says_nothing(engine, path, order, heard):
    handle = order.start()
    handle.signal("go")
    engine.result(handle)
    events = list(history.read(handle.instance.execution_id))
    heard.clear()

    for cut in range(1, len(events) + 1):
        replay(registry.workflow("order", 2), events[:cut])

    assert said(heard) == {}


def test_fields_can_stand_in_a_format(engine, order, heard):
    handle = order.options(id="order-1").start()
    engine.run_until_quiet()
    formatter = logging.Formatter(
        "%(message)s %(instance_id)s/%(event_id)s by %(queue)s",
        defaults=dict.fromkeys(FIELDS, "-"),
    )

    lines = [formatter.format(record) for record in heard.records]

    assert {"charging order-1/0 by default", "charged order-1/- by default"} <= set(lines)
    assert handle.status == "running"
