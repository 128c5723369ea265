"""A broker that loses everything, is away, or delivers nonsense."""

from __future__ import annotations

import random
import time

import pytest
from celery import current_app
from django.db import transaction

from durable import client
from durable.models import Instance
from tests.acceptance import ledger
from tests.acceptance.checks import effects, sound
from tests.acceptance.workers import wait_for

pytestmark = pytest.mark.usefixtures("crew")


def test_broker_flushed_again_and_again(site, key):
    handles = [client.start("acceptance.family", [f"{key}-{number}", 2, 4]) for number in range(8)]
    handles += [client.start("acceptance.save_all", [f"{key}-s{number}", 6]) for number in range(4)]
    deadline = time.monotonic() + 30
    while any(handle.instance.closed_at is None for handle in handles) and time.monotonic() < deadline:
        site.broker.flush()
        time.sleep(random.uniform(0, 0.3))

    assert [handle.result(20) for handle in handles] == [[[0, 1, 2, 3]] * 2] * 8 + [list(range(6))] * 4
    for handle in handles:
        sound(handle.id)
    assert set(ledger.counts("end", key).values()) == {1}
    assert set(effects(key).values()) == {1}


def test_broker_down_at_start_does_no_harm_to_the_caller(site, key):
    site.broker.stop()
    began = time.monotonic()
    try:
        with transaction.atomic():
            handle = client.start("acceptance.relay", [key, 3], id=key)
            client.signal(key, "word", 1)
        took = time.monotonic() - began
        assert Instance.objects.filter(pk=key).exists()
        assert handle.status == "pending"
    finally:
        site.broker.start()

    assert handle.result(30) == [0, 1, 2]
    sound(key)
    assert took < 1.5


def test_broker_down_while_workers_work(site, key):
    handles = [client.start("acceptance.wait_on_many", [f"{key}-{number}", 6, 0.2]) for number in range(4)]
    wait_for(lambda: ledger.entries("begin", key), "work is under way")
    site.broker.stop()
    time.sleep(1)
    site.broker.start()

    assert [handle.result(60) for handle in handles] == [6] * 4
    for handle in handles:
        sound(handle.id)
    assert set(ledger.counts("begin", key).values()) == {1}


def test_every_message_lost(site, launch, key):
    # A broker in the worker's own memory: what the client publishes reaches nobody.
    launch(pool="threads", queues=[key], BROKER_URL="memory://").await_ready()
    handle = client.start("acceptance.everything", [key], queue=key)
    wait_for(lambda: ledger.entries("begin", f"{key}:flaky"), "flaky was tried")
    handle.signal("word", "go")

    assert handle.result(30)["word"] == "go"
    sound(handle.id)
    assert set(ledger.counts("end", key).values()) == {1}


def test_messages_doubled_and_forged_are_harmless(site, key):
    handles = [client.start("acceptance.save_all", [f"{key}-{number}", 8]) for number in range(4)]
    advance, perform = current_app.tasks["durable.advance"], current_app.tasks["durable.perform"]
    for _ in range(50):
        advance.apply_async([handle.id for handle in handles])
        perform.apply_async(["default"])
    for nonsense in ("nobody", "", "x" * 10_000, "nul\0", "'; DROP TABLE durable_instance; --", 7, None, ["a"], {}):
        advance.apply_async([nonsense])
        perform.apply_async([nonsense])
    advance.apply_async([])
    advance.apply_async(["nobody", handles[0].id])

    assert [handle.result(60) for handle in handles] == [list(range(8))] * 4
    for handle in handles:
        sound(handle.id)
    assert set(ledger.counts("begin", key).values()) == {1}
    assert set(effects(key).values()) == {1}
    assert client.start("acceptance.relay", [f"{key}-after", 2]).result(20) == [0, 1]


def test_messages_for_what_has_ended_are_harmless(site, key):
    handle = client.start("acceptance.relay", [key, 2])
    assert handle.result(20) == [0, 1]
    before = handle.history()

    for _ in range(20):
        current_app.tasks["durable.advance"].apply_async([handle.id])
    assert client.start("acceptance.relay", [f"{key}-after", 2]).result(20) == [0, 1]

    assert handle.history() == before
    assert set(ledger.counts("begin", key).values()) == {1}
