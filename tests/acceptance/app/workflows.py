"""Workflows that the tests start, by name."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from durable import RetryPolicy, workflow
from tests.acceptance import ledger
from tests.acceptance.app import activities as do


@workflow.defn(name="acceptance.relay")
async def relay(key: str, steps: int) -> list[int]:
    """One activity after the other."""
    return [await do.step(key, number) for number in range(steps)]


@workflow.defn(name="acceptance.spread")
async def spread(key: str, width: int) -> list[int]:
    """Many activities at once."""
    return list(await asyncio.gather(*(do.step(key, number) for number in range(width))))


@workflow.defn(name="acceptance.save")
async def save(key: str, steps: int) -> list[int]:
    """One atomic activity after the other."""
    return [await do.deposit(key, number) for number in range(steps)]


@workflow.defn(name="acceptance.save_all")
async def save_all(key: str, width: int) -> list[int]:
    """Many atomic activities at once."""
    return list(await asyncio.gather(*(do.deposit(key, number) for number in range(width))))


@workflow.defn(name="acceptance.family")
async def family(key: str, children: int, steps: int) -> list[list[int]]:
    """Children that have steps of their own."""
    return list(await asyncio.gather(*(relay(f"{key}.{child}", steps) for child in range(children))))


@workflow.defn(name="acceptance.naps")
async def naps(seconds: list[float]) -> int:
    """Many timers at once."""
    await asyncio.gather(*(asyncio.sleep(duration) for duration in seconds))
    return len(seconds)


@workflow.defn(name="acceptance.listen")
async def listen(count: int) -> list[Any]:
    """Collect signals."""
    return [await workflow.wait_signal("word") for _ in range(count)]


@workflow.defn(name="acceptance.persist")
async def persist(key: str) -> int:
    """Try until it works."""
    return await do.flaky(key)


@workflow.defn(name="acceptance.everything")
async def everything(key: str) -> dict[str, Any]:
    """A bit of all there is."""
    first = await do.step(key, 0)
    saved = await do.deposit(key, 1)
    tries = await do.flaky(f"{key}:flaky")
    word = await workflow.wait_signal("word")
    await asyncio.sleep(0.1)
    spread_out = await asyncio.gather(*(do.step(key, number) for number in range(2, 8)))
    child = await relay(f"{key}.child", 2)
    return {"first": first, "saved": saved, "tries": tries, "word": word, "spread": spread_out, "child": child}


@workflow.defn(name="acceptance.storm")
async def storm(key: str, rounds: int) -> list[int]:
    """A long loop in which signals, timers and results meet."""
    heard = []
    for number in range(rounds):
        work = asyncio.ensure_future(do.step(key, number))
        nap = asyncio.ensure_future(asyncio.sleep(0.001 + (number % 3) * 0.002))
        heard.append(await workflow.wait_signal("word"))
        await asyncio.gather(work, nap)
    return heard


@workflow.defn(name="acceptance.wait_on")
async def wait_on(key: str, seconds: float, queue: str | None = None) -> int:
    """A long activity, handed out if a queue is named."""
    lasting = do.linger if queue is None else do.linger.options(queue=queue)
    return await lasting(key, 0, seconds)


@workflow.defn(name="acceptance.wait_at_first")
async def wait_at_first(key: str, seconds: float, queue: str | None = None) -> int:
    """An activity that is long when it is begun for the first time, handed out if a queue is named."""
    lasting = do.linger_at_first if queue is None else do.linger_at_first.options(queue=queue)
    return await lasting(key, seconds)


@workflow.defn(name="acceptance.wait_on_many")
async def wait_on_many(key: str, count: int, seconds: float) -> int:
    """Long activities, one after the other."""
    for number in range(count):
        await do.linger(key, number, seconds)
    return count


@workflow.defn(name="acceptance.hurry")
async def hurry(key: str, seconds: float) -> str:
    """An activity whose first attempt takes too long."""
    return await do.linger_once(key, seconds)


@workflow.defn(name="acceptance.need")
async def need(group: str, key: str) -> str:
    """Fail until the group is mended."""
    return await do.brittle(group, key)


@workflow.defn(name="acceptance.stumble")
async def stumble(key: str) -> None:
    """An activity that spoils its own transaction."""
    await do.clumsy(key)


@workflow.defn(name="acceptance.throb")
async def throb(key: str, beats: int) -> int:
    """An activity with heartbeats."""
    return await do.pulse(key, beats)


@workflow.defn(
    name="acceptance.abandon",
    retry=RetryPolicy(initial_interval=timedelta(seconds=0.1), backoff=1.0, max_attempts=2),
)
async def abandon(key: str, seconds: float) -> str:
    """Fail while activities still run; the instance is tried again and waits for a signal."""
    if workflow.side_effect(lambda: _times_begun(key)) == 1:
        asyncio.ensure_future(do.linger(key, 0, seconds))
        asyncio.ensure_future(do.linger(key, 1, seconds))
        await asyncio.sleep(0.2)
        raise RuntimeError("the first time fails")
    return str(await workflow.wait_signal("word"))


def _times_begun(key: str) -> int:
    ledger.note("begun", key)
    return len(ledger.entries("begun", key))


@workflow.defn(name="acceptance.elsewhere")
async def elsewhere(key: str, queue: str, steps: int) -> list[int]:
    """Activities that only workers of another queue run."""
    away = do.step.options(queue=queue)
    return [await away(key, number) for number in range(steps)]


@workflow.defn(name="acceptance.leaf")
async def leaf(key: str) -> list[int]:
    """One activity that is well beside two that may fail; all of them end."""
    return await _all(do.step(key, 0), do.fragile(key, 1), do.fragile(key, 2))


@workflow.defn(name="acceptance.branch")
async def branch(key: str) -> list[Any]:
    """An activity that is well, then a leaf."""
    return [await do.step(key, 0), await leaf(f"{key}.leaf")]


@workflow.defn(name="acceptance.tree")
async def tree(key: str) -> list[Any]:
    """Two branches between activities that are well."""
    return await _all(do.step(key, 0), branch(f"{key}.b1"), branch(f"{key}.b2"), do.step(key, 1))


async def _all(*waiting: Any) -> list[Any]:
    results = await asyncio.gather(*waiting, return_exceptions=True)
    if failed := [result for result in results if isinstance(result, Exception)]:
        raise failed[0]
    return list(results)


@workflow.defn(name="acceptance.hasty")
async def hasty(key: str, seconds: float) -> list[int]:
    """A long activity beside one that may fail, whose failure does not wait for it."""
    return list(await asyncio.gather(do.linger(key, 0, seconds), do.fragile(key, 1)))


async def _march(key: str, steps: int) -> list[int]:
    done = [await do.step(key, number) for number in range(steps)]
    await workflow.wait_signal("halt")
    return [*done, workflow.version()]


march1 = workflow.defn(name="acceptance.march", version=1)(_march)
march2 = workflow.defn(name="acceptance.march", version=2)(_march)
