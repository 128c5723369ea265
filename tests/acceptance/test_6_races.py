"""Workers that race for one instance."""

from __future__ import annotations

import itertools
import os
import random

import pytest
from celery import current_app

from durable import client
from tests.acceptance import ledger
from tests.acceptance.checks import sound

ROUNDS = int(os.environ.get("ACCEPTANCE_ROUNDS", "60"))
"""Of signal, timer and result, for each of three instances."""


@pytest.fixture
def rivals(site, crew, launch, key):
    """Two workers of two threads and the crew's own two processes, all on one queue."""
    for pool in ("threads", "prefork"):
        launch(pool=pool, queues=[key])
    for worker in site.all[-2:]:
        worker.await_ready()
    return key


@pytest.mark.timeout(120 + 2 * ROUNDS)
def test_signals_timers_and_results_at_once(site, rivals, key):
    handles = [client.start("acceptance.storm", [f"{key}-{n}", ROUNDS], queue=rivals) for n in range(3)]
    for number in range(ROUNDS):
        for handle in random.sample(handles, len(handles)):
            handle.signal("word", number)
            if number % 5 == 0:
                current_app.tasks["durable.advance"].apply_async([handle.id] * 2, queue=rivals)

    for handle in handles:
        assert handle.result(60 + ROUNDS) == list(range(ROUNDS))
        sound(handle.id)
        kinds = [event.kind for event in handle.history()]
        assert kinds.count("SignalReceived") == ROUNDS
        assert kinds.count("TimerFired") == ROUNDS
        assert kinds.count("ActivityCompleted") == ROUNDS
    counts = ledger.counts("begin", key)
    assert len(counts) == 3 * ROUNDS
    assert set(counts.values()) == {1}
    # They did race: several processes took turns of each.
    assert all(len({entry.pid for entry in ledger.entries("turn", handle.id)}) > 1 for handle in handles)


def test_signals_from_a_crowd_arrive_in_order_and_once(site, rivals, key):
    handles = [client.start("acceptance.listen", [60], queue=rivals) for _ in range(10)]
    for number, handle in itertools.product(range(60), handles):
        handle.signal("word", number)

    for handle in handles:
        assert handle.result(60) == list(range(60))
        sound(handle.id)


def test_eight_threads_never_find_the_database_locked(launch, key):
    worker = launch(pool="threads", concurrency=8, queues=[key]).await_ready()
    shapes = {"relay": 10, "spread": 20, "save_all": 5, "family": 3}
    handles = [
        client.start(f"acceptance.{shape}", [f"{key}-{n}{shape}", size, *([2] if shape == "family" else [])], queue=key)
        for n in range(8)
        for shape, size in shapes.items()
    ]

    for handle in handles:
        handle.result(60)
        sound(handle.id)
    assert "database is locked" not in worker.text()
    assert set(ledger.counts("begin", key).values()) == {1}
