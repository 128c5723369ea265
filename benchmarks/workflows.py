"""What the workloads run: workflows of activities that do nothing."""

from __future__ import annotations

import asyncio
import random
import string
from collections import Counter
from functools import lru_cache
from typing import Any

from benchmarks.payload import PAYLOAD
from durable import activity, workflow

EACH: int = PAYLOAD["scheduled_id"]
"""What an activity adds to its workflow's sum, so that a lost or doubled result shows."""


RAN: Counter[str] = Counter()
"""How often each activity ran in this process."""


@activity.defn
def noop(number: int) -> dict[str, Any]:
    """Do nothing and return the payload."""
    RAN["noop"] += 1
    return PAYLOAD


@workflow.defn
async def sequential(activities: int) -> int:
    """Run activities one after the other."""
    total = 0
    for number in range(activities):
        total += (await noop(number))["scheduled_id"]
    return total


@workflow.defn
async def fan_out(activities: int) -> int:
    """Run activities all at once."""
    results = await asyncio.gather(*(noop(number) for number in range(activities)))
    return sum(result["scheduled_id"] for result in results)


@workflow.defn
async def nap(seconds: float) -> int:
    """Sleep."""
    await asyncio.sleep(seconds)
    return EACH


@workflow.defn
async def wait(activities: int) -> None:
    """Run activities one after the other, and then wait for what never comes."""
    for number in range(activities):
        await noop(number)
    await workflow.wait_signal("never")


@workflow.defn
async def tree_root(depth: int, fan_out: int, leaves: int, activities: int, size: int) -> int:
    """Begin a tree of workflows, and count what its activities return."""
    below = [tree_mid.start_child(depth - 1, fan_out, leaves, activities, size) for _ in range(fan_out)]
    return sum([await child for child in below])


@workflow.defn
async def tree_mid(depth: int, fan_out: int, leaves: int, activities: int, size: int) -> int:
    """Begin the next level of a tree, or its leaves."""
    if depth == 0:
        below = [tree_leaf.start_child(activities, size) for _ in range(leaves)]
    else:
        below = [tree_mid.start_child(depth - 1, fan_out, leaves, activities, size) for _ in range(fan_out)]
    return sum([await child for child in below])


@workflow.defn
async def tree_leaf(activities: int, size: int) -> int:
    """Run activities all at once."""
    results = await asyncio.gather(*(blob(size) for _ in range(activities)))
    return sum(len(result) for result in results)


@activity.defn
def blob(size: int) -> str:
    """Return so many characters that look random."""
    return _blob(size)


@lru_cache
def _blob(size: int) -> str:
    letters = random.Random(42)
    return "".join(letters.choices(string.ascii_letters, k=size))
