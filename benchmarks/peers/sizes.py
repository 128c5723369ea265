"""How much a script does, and how it says what it measured: the definitions of the workloads, for all peers alike."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.payload import PAYLOAD

SMOKE = bool(os.environ.get("PEER_SMOKE"))
DATABASE = os.environ.get("PEER_DATABASE", "")

SEQUENTIAL = {"W1": (30, 10), "W2": (5, 100)}
"""How many workflows, one at a time, and how many activities each has."""

IN_FLIGHT = {"W1x16": 16, "W1x64": 64}
"""How many of a crowd are open at a time."""

CROWD = (200, 10)
"""How many workflows a crowd is, and how many activities each has."""

FAN_OUT = 100
"""How many activities W3 runs at once."""

LATENCIES = 200
"""How many workflows of one activity W4 runs, one at a time."""

BURST = (1000, 3)
"""How many workflows W5 starts as fast as it can, and how many activities each has."""

REPLAYED = {"W6": ("sequential", 10_000), "W6fan": ("fan_out", 10_000), "W6long": ("sequential", 100_000)}
"""What is replayed, and how many activities it has."""


def sized(count: int) -> int:
    """Return how many of something there are to be."""
    return min(count, 3) if SMOKE else count


def check(result: Any, activities: int) -> None:
    """See that a workflow has added up what its activities returned."""
    assert result == activities * PAYLOAD["scheduled_id"], f"{activities} activities came to {result}"


def say(workload: str, **metrics: float) -> None:
    """Print what a workload came to."""
    print(json.dumps({"workload": workload, **metrics}), flush=True)


def timed(call: Callable[[], Any]) -> float:
    """Return the seconds that a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def say_sequential(workload: str, seconds: float, *, workflows: int, activities: int) -> None:
    """Print what workflows of sequential activities came to."""
    steps = workflows * activities
    say(workload, ms_per_step=seconds * 1000 / steps, per_second=steps / seconds)


def say_latency(latencies: Sequence[float], workload: str = "W4") -> None:
    """Print what workflows of one activity came to."""
    ordered = sorted(latencies)
    p50, p95 = (ordered[round((len(ordered) - 1) * share)] * 1000 for share in (0.5, 0.95))
    say(workload, ms_per_step=sum(ordered) * 1000 / len(ordered), p50_ms=p50, p95_ms=p95)


def say_burst(enqueued: float, seconds: float, *, workflows: int, activities: int) -> None:
    """Print what a burst of workflows came to."""
    say("W5", ms_per_step=seconds * 1000 / workflows / activities, per_second=workflows / seconds, enqueue_s=enqueued)
