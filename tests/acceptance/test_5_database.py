"""A database that hangs up, and clocks that do not agree with it."""

from __future__ import annotations

import time

import pytest

from durable import client
from tests.acceptance import faults, ledger
from tests.acceptance.checks import effects, sound
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
