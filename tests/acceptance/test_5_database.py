"""A database that hangs up, and clocks that do not agree with it."""

from __future__ import annotations

import time

import pytest
from django.db import connection

from durable import client
from tests.acceptance import faults, ledger
from tests.acceptance.checks import effects, lateness, sound
from tests.acceptance.workers import wait_for


@pytest.mark.parametrize(
    ("shape", "skip"),
    [("relay", 0), ("relay", 1), ("relay", 3), ("spread", 0), ("spread", 1), ("spread", 2), ("save_all", 2)],
)
def test_commit_whose_answer_got_lost_does_not_lose_its_lease(site, launch, key, shape, skip):
    launch(pool="threads", queues=[key]).await_ready()
    busy = client.start("acceptance.wait_on", [f"{key}busy", 9.0], queue=key)  # the worker lives on and says so
    wait_for(lambda: ledger.entries("begin", f"{key}busy"), "the worker is busy")
    faults.arm("commit.lost", skip=skip)
    began = time.monotonic()
    handle = client.start(f"acceptance.{shape}", [key, 4], queue=key)

    assert handle.result(8) == [0, 1, 2, 3]
    assert ledger.entries("lost")[-1].at > began
    assert busy.status == "running"
    sound(handle.id)
    assert sum(ledger.counts("begin", f"{key}:").values()) <= 5
    assert set(effects(key).values()) <= {1}


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connections to drop")
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_all_connections_dropped_again_and_again(site, launch, key, pool):
    worker = launch(pool=pool, queues=[key]).await_ready()
    handles = [client.start("acceptance.wait_on_many", [f"{key}a{n}", 10, 0.05], queue=key) for n in range(4)]
    handles += [client.start("acceptance.save_all", [f"{key}b{n}", 8], queue=key) for n in range(4)]
    wait_for(lambda: ledger.entries("begin", key), "work is under way")
    drops = 0
    while any(handle.instance.closed_at is None for handle in handles) and drops < 8:
        drops += 1
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        time.sleep(0.4)

    assert [handle.result(30) for handle in handles] == [10] * 4 + [list(range(8))] * 4
    assert drops > 1
    assert not worker.dead
    for handle in handles:
        sound(handle.id)
    assert set(effects(f"{key}b").values()) == {1}
    in_flight = 3 if pool == "prefork" else 2
    assert sum(ledger.counts("begin", f"{key}a").values()) <= 40 + in_flight * drops


@pytest.mark.parametrize("hours", [2, -2])
def test_worker_whose_clock_is_wrong(site, launch, key, hours):
    launch(pool="threads", queues=[key], ACCEPTANCE_SKEW_HOURS=str(hours)).await_ready()
    timers = client.start("acceptance.naps", [[0.3, 0.6, 1.5]], queue=key)
    retries = client.start("acceptance.persist", [f"{key}r"], queue=key)
    delayed = client.start("acceptance.relay", [f"{key}d", 1], queue=key, delay=1)
    limited = client.start("acceptance.hurry", [f"{key}l", 2.5], queue=key)

    assert timers.result(20) == 3
    assert retries.result(20) == 3
    assert delayed.result(20) == [0]
    assert limited.result(20) == "attempt 2"
    late = lateness(timers)
    assert min(late) >= 0
    assert max(late) < 1
    for handle in (timers, retries, delayed):
        sound(handle.id)
        assert all(
            abs((event.recorded_at - delayed.instance.created_at).total_seconds()) < 60 for event in handle.history()
        )
    waited = delayed.instance.started_at - delayed.instance.created_at
    assert 1 <= waited.total_seconds() < 3
