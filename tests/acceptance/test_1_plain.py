"""Workflows of every shape, on workers of every kind."""

from __future__ import annotations

import pytest

from durable import client
from tests.acceptance import ledger
from tests.acceptance.checks import effects, sound
from tests.acceptance.workers import wait_for

POOLS = ("prefork", "threads", "solo")


@pytest.fixture(scope="module", params=POOLS)
def pool(request, acceptance_site):
    """A queue served by one worker with a pool of this kind."""
    if request.param == "prefork":
        request.getfixturevalue("crew")
        yield "default"
        return
    worker = acceptance_site.launch(pool=request.param, queues=(f"plain-{request.param}",)).await_ready()
    yield f"plain-{request.param}"
    worker.stop()


def test_every_shape_of_workflow_completes(site, pool, key):
    sequence = client.start("acceptance.relay", [f"{key}a", 10], queue=pool)
    fan_out = client.start("acceptance.spread", [f"{key}b", 20], queue=pool)
    family = client.start("acceptance.family", [f"{key}c", 3, 2], queue=pool)
    timers = client.start("acceptance.naps", [[0.05, 0.2, 0.4]], queue=pool)
    retries = client.start("acceptance.persist", [f"{key}d"], queue=pool)
    signals = client.start("acceptance.listen", [3], queue=pool)
    for word in ("a", "b", "c"):
        signals.signal("word", word)

    assert sequence.result(20) == list(range(10))
    assert fan_out.result(20) == list(range(20))
    assert family.result(20) == [[0, 1]] * 3
    assert timers.result(20) == 3
    assert retries.result(20) == 3
    assert signals.result(20) == ["a", "b", "c"]
    for handle in (sequence, fan_out, family, timers, retries, signals):
        sound(handle.id)
    assert set(ledger.counts("end", key).values()) == {1}
    assert len(ledger.counts("end", key)) == 10 + 20 + 6


def test_all_of_them_in_one_workflow(site, pool, key):
    handle = client.start("acceptance.everything", [key], queue=pool)
    wait_for(lambda: len(ledger.entries("begin", f"{key}:flaky")) == 3, "the third attempt")
    handle.signal("word", "go")

    result = handle.result(20)

    assert result == {
        "first": 0,
        "saved": 1,
        "tries": 3,
        "word": "go",
        "spread": [2, 3, 4, 5, 6, 7],
        "child": [0, 1],
    }
    sound(handle.id)
    sound(f"{handle.id}:{10:04x}")  # the child: the eleventh thing asked for
    assert effects(key) == {f"{key}:1": 1}
    assert set(ledger.counts("end", key).values()) == {1}


def test_hundred_instances_at_once(site, pool, key):
    handles = [client.start("acceptance.relay", [f"{key}-{number}", 3], queue=pool) for number in range(100)]

    assert [handle.result(30) for handle in handles] == [[0, 1, 2]] * 100
    counts = ledger.counts("end", key)
    assert len(counts) == 300
    assert set(counts.values()) == {1}


def test_coroutine_beats_its_heart(site, pool, key):
    handle = client.start("acceptance.throb", [key, 3], queue=pool)

    assert handle.result(20) == 1
    assert len(ledger.entries("beat", key)) == 3
    sound(handle.id)
