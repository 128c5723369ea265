"""Leases: workers that pause, take long, stop in order or run out of time."""

from __future__ import annotations

import itertools
import signal
import time

from durable import client
from durable.models import ActivityTask
from tests.acceptance import ledger
from tests.acceptance.checks import sound
from tests.acceptance.workers import wait_for


def begun(key, count=1):
    return wait_for(lambda: len(entries := ledger.entries("begin", key)) >= count and entries, "it has begun")


def test_paused_worker_loses_its_lease_in_place(site, launch, key):
    first = launch(pool="solo", queues=[key]).await_ready()
    handle = client.start("acceptance.wait_on_many", [key, 2, 1.5], queue=key)
    begun(key)
    first.send(signal.SIGSTOP, group=True)
    second = launch(pool="solo", queues=[key])
    begun(key, 2)
    first.send(signal.SIGCONT, group=True)  # its late result comes while the other attempt is under way
    wait_for(lambda: "a late ActivityCompleted" in first.text(), "the late result is dropped")

    assert handle.result(30) == 2
    sound(handle.id)
    assert [event.data["attempts"] for event in handle.history() if event.kind == "ActivityCompleted"] == [2, 1]
    assert ledger.counts("begin", key) == {f"{key}:0": 2, f"{key}:1": 1}
    assert second.process.pid in {entry.pid for entry in ledger.entries("end", f"{key}:0")}


def test_paused_worker_loses_its_lease_on_a_task(site, launch, crew, key):
    first = launch(pool="solo", queues=[key]).await_ready()
    handle = client.start("acceptance.wait_on", [key, 1.5, key])
    begun(key)
    first.send(signal.SIGSTOP, group=True)
    launch(pool="solo", queues=[key])
    begun(key, 2)
    first.send(signal.SIGCONT, group=True)
    wait_for(lambda: "a late ActivityCompleted" in first.text(), "the late result is dropped")

    assert handle.result(30) == 0
    sound(handle.id)
    assert [event.data["attempts"] for event in handle.history() if event.kind == "ActivityCompleted"] == [2]
    assert ledger.counts("begin", key) == {f"{key}:0": 2}


def test_worker_that_lives_keeps_long_activities(site, launch, crew, key):
    away = f"{key}-away"
    launch(pool="threads", queues=[away]).await_ready()
    in_place = client.start("acceptance.wait_on", [f"{key}a", 5.0])
    handed_out = client.start("acceptance.wait_on", [f"{key}b", 5.0, away])
    in_threads = client.start("acceptance.wait_on", [f"{key}c", 5.0], queue=away)

    assert [handle.result(30) for handle in (in_place, handed_out, in_threads)] == [0, 0, 0]
    for handle in (in_place, handed_out, in_threads):
        sound(handle.id)
        assert handle.history()[2].data["attempts"] == 1
    assert ledger.counts("begin", key) == {f"{key}a:0": 1, f"{key}b:0": 1, f"{key}c:0": 1}


def test_attempt_that_takes_too_long_in_place_is_retried(site, crew, key):
    handle = client.start("acceptance.hurry", [key, 4.0])

    assert handle.result(20) == "attempt 2"
    wait_for(lambda: ledger.entries("end", f"{key}:1"), "the late attempt has ended")
    time.sleep(0.3)
    sound(handle.id)
    completed = [event for event in handle.history() if event.kind == "ActivityCompleted"]
    assert [event.data["attempts"] for event in completed] == [2]
    first, second = ledger.entries("begin", key)
    assert 1.0 <= second.at - first.at < 2.5


def test_warm_shutdown_ends_a_chain_at_a_step(site, launch, key):
    pools = ("prefork", "threads", "solo")
    first = {pool: launch(pool=pool, queues=[f"{key}-{pool}"], durable={"LEASE": 30}) for pool in pools}
    second = launch(pool="threads", concurrency=4, queues=[f"{key}-{pool}" for pool in pools], durable={"LEASE": 30})
    for worker in first.values():
        worker.await_ready()
    second.send(signal.SIGSTOP)
    chains = {pool: f"{key}-{pool}" for pool in pools}
    handles = [client.start("acceptance.wait_on_many", [chain, 8, 0.4], queue=chain) for chain in chains.values()]
    for chain in chains.values():
        begun(chain)
    second.send(signal.SIGCONT)
    for worker in first.values():
        worker.send(signal.SIGTERM)
    asked_at = time.monotonic()
    wait_for(lambda: all(worker.dead for worker in first.values()), "they stop", pause=0.01)
    took = time.monotonic() - asked_at

    assert [handle.result(20) for handle in handles] == [8] * 3
    for handle, chain in zip(handles, chains.values(), strict=True):
        sound(handle.id)
        entries = ledger.entries("begin", chain)
        assert len(entries) == 8
        assert {entry.pid for entry in entries} > {second.process.pid}
        gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(entries)]
        assert max(gaps) < 5, "nobody waits for a lease to run out"
    assert took < 8


def test_soft_shutdown_gives_work_back_at_once(site, launch, crew, key):
    celery = {"worker_soft_shutdown_timeout": 1.0}
    first = launch(queues=[key], durable={"LEASE": 60}, celery=celery).await_ready()
    in_place = client.start("acceptance.wait_at_first", [f"{key}a", 60.0], queue=key)
    begun(f"{key}a")
    handed_out = client.start("acceptance.wait_at_first", [f"{key}b", 60.0, key])
    begun(f"{key}b")
    second = launch(queues=[key], durable={"LEASE": 60}).await_ready()
    first.send(signal.SIGQUIT)

    begun(key, 4)
    assert [handle.result(30) for handle in (in_place, handed_out)] == [2, 2]
    for handle in (in_place, handed_out):
        sound(handle.id)
    assert ledger.counts("begin", key) == {f"{key}a:0": 2, f"{key}b:0": 2}
    assert {entry.pid for entry in ledger.entries("end", key)} <= set(second.children())


def test_late_end_for_a_failed_execution_leaves_nothing(site, crew, key):
    handle = client.start("acceptance.abandon", [key, 1.5])
    wait_for(lambda: len(ledger.entries("end", key)) == 2, "both activities have ended")
    wait_for(lambda: len(ledger.entries("begun", key)) == 2, "the second execution")
    wait_for(lambda: not ActivityTask.objects.filter(execution__instance=handle.id).exists(), "no task is left")
    assert handle.status == "running"

    handle.signal("word", "over")

    assert handle.result(20) == "over"
    sound(handle.id)


def test_activity_that_spoils_its_transaction_fails(site, crew, key):
    handle = client.start("acceptance.stumble", [key])

    wait_for(lambda: handle.instance.closed_at, "it ends", seconds=20)

    assert handle.status == "failed"
    sound(handle.id)
    assert ledger.counts("begin", key)[key] == 5


def test_worker_of_another_queue_leaves_turns_to_those_that_serve_it(site, launch, crew, key):
    away = launch(pool="solo", queues=[key]).await_ready()
    handle = client.start("acceptance.elsewhere", [key, key, 5])

    assert handle.result(20) == list(range(5))
    sound(handle.id)
    assert {entry.pid for entry in ledger.entries("end", key)} == {away.process.pid}
    assert {entry.pid for entry in ledger.entries("turn", handle.id)}.isdisjoint({away.process.pid})
