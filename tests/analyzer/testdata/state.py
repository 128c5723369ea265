"""State that outlives a workflow, and queries that touch what they should look at."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from durable import activity, workflow

CACHE: dict[str, int] = {}
SEEN = []
COUNTS = defaultdict(int)
LIMITS = {"orders": 3}
TOTAL = 0


class Config:
    limit = 1


@activity.defn
def store(count: int) -> None:
    global TOTAL
    TOTAL += count
    CACHE["total"] = TOTAL


@workflow.defn
async def changes_what_lasts(name: str) -> int:
    global TOTAL  # want: DUR012 the global TOTAL outlives the workflow
    TOTAL += 1
    CACHE[name] = 1  # want: DUR012 CACHE[name]
    CACHE.update({name: 1})  # want: DUR012 CACHE
    SEEN.append(name)  # want: DUR012 SEEN
    COUNTS[name] += 1  # want: DUR012 COUNTS[name]
    del CACHE[name]  # want: DUR012 CACHE[name]
    Config.limit = 2  # want: DUR012 Config.limit
    return TOTAL


@workflow.defn
async def changes_its_own(name: str) -> int:
    global LIMITS
    cache: dict[str, int] = {}
    cache[name] = LIMITS["orders"]
    seen = list(SEEN)
    seen.append(name)
    total = 0
    config = Config()
    config.limit = 3

    def count() -> None:
        nonlocal total
        total += 1
        seen.append("x")

    count()
    CACHE.get(name)
    return total


@workflow.defn
async def asked_badly() -> None:
    count, orders = 0, []
    lines: list[int] = []

    @workflow.query
    def counted() -> int:
        nonlocal count  # want: DUR019 the query counted changes count
        count += 1
        lines.append(count)  # want: DUR019 the query counted changes lines
        workflow.set_status("asked")  # want: DUR019 calls workflow.set_status()
        store(count)  # want: DUR019 calls the activity store; DUR015 the activity store() is not awaited
        return count

    @workflow.query
    def drawn() -> float:
        asyncio.create_task(asyncio.sleep(1))  # want: DUR019 calls asyncio.create_task(); DUR019 asyncio.sleep()
        return workflow.random()  # want: DUR019 calls workflow.random()

    async def waiting() -> int:  # want: DUR019 the query waiting is an async def
        return await store(1)  # want: DUR019 awaits; DUR019 calls the activity

    workflow.query(waiting)

    def checked(number: int) -> None:
        workflow.set_progress(1, 2)  # want: DUR019 the validator checked calls workflow.set_progress()

    def change(number: int) -> None:
        orders.append(number)
        workflow.set_progress(1, 2)

    workflow.update(change, validator=checked)
    await workflow.wait_signal("done")


@workflow.defn
async def asked_well() -> None:
    count = 0
    lines: list[int] = []

    @workflow.query
    def counted(more: int = 0) -> int:
        result = [count, *lines]
        result.append(more)
        workflow.logger.info("asked")
        return len(result) + workflow.info().history_length

    def change(number: int) -> None:
        nonlocal count
        count += number
        lines.append(number)

    change(1)
    await workflow.wait_signal("done")
