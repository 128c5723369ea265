"""How punctual timers are, and what a worker costs that has nothing to do."""

from __future__ import annotations

import logging
import random
import statistics
import time

import pytest

from durable import client
from durable.models import ActivityTask, Instance
from tests.acceptance import ledger
from tests.acceptance.checks import lateness, sound
from tests.acceptance.workers import wait_for

pytestmark = pytest.mark.once("who waits for what is decided in Python")

logger = logging.getLogger(__name__)


@pytest.fixture
def quiet(site):
    """Nothing to do: what other tests left for workers that are gone is announced again and again."""
    for instance_id in Instance.objects.filter(closed_at=None).values_list("pk", flat=True):
        client.terminate(instance_id)
    wait_for(lambda: not ActivityTask.objects.exists(), "no task is left")


def test_timers_fire_in_time(site, launch, key):
    # With the pace that workers have by default, and nobody else to help.
    launch(pool="threads", queues=[key], durable={"POLL": 1.0}).await_ready()
    handles = [client.start("acceptance.naps", [[random.uniform(0.3, 4.0)]], queue=key) for _ in range(20)]

    assert [handle.result(20) for handle in handles] == [1] * 20
    late = sorted(lateness(handle)[0] for handle in handles)
    logger.info("timers are late by %.3f s in the median, %.3f s at most", statistics.median(late), late[-1])
    assert late[0] >= 0
    # A loaded machine is late by itself; one that looked once a second would have a median of half a second.
    assert statistics.median(late) < 0.25, late
    for handle in handles:
        sound(handle.id)


def test_idle_worker_asks_one_question_a_second(site, quiet, launch, key):
    own = {"ACCEPTANCE_COUNT": "1", ledger.VARIABLE: str(site.folder / f"ledger-{key}")}
    launch(queues=[key], durable={"POLL": 1.0}, **own).await_ready()
    time.sleep(1.5)  # what it does once, at its start
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    time.sleep(6)

    entries = ledger.entries("statement", path=own[ledger.VARIABLE])
    asked = [e.key for e in entries if before < e.at <= before + 6]
    assert 3 <= len(asked) <= 7, "\n".join(asked)


def test_worker_that_has_a_timer_to_wait_for_does_not_ask_more(site, quiet, launch, key):
    own = {"ACCEPTANCE_COUNT": "1", ledger.VARIABLE: str(site.folder / f"ledger-{key}")}
    launch(pool="threads", queues=[key], durable={"POLL": 1.0}, **own).await_ready()
    handles = [client.start("acceptance.naps", [[60.0]], queue=key) for _ in range(10)]
    time.sleep(2.5)
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    time.sleep(4)

    entries = ledger.entries("statement", path=own[ledger.VARIABLE])
    asked = [e.key for e in entries if before < e.at <= before + 4]
    for handle in handles:
        handle.terminate()
    assert len(asked) <= 5, "\n".join(asked)
