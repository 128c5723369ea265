"""Workflows that use what asyncio offers, so that another Python may run them another way."""

from __future__ import annotations

import asyncio
from typing import Any

from durable.core import calls, context, marks
from durable.core.definitions import WorkflowDefinition, define_activity, define_workflow


async def _work(number: int) -> int: ...  # type: ignore[empty-body]


work = define_activity(_work, name="work")


async def groups() -> list[Any]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work(n)) for n in range(3)]
        tasks.append(group.create_task(chain(5)))
    return [task.result() for task in tasks]


async def chain(number: int) -> int:
    return await work(await work(number))


async def gathers() -> list[Any]:
    return await asyncio.gather(work(1), asyncio.sleep(5, "slept"), chain(2), asyncio.shield(work(3)))


async def limits() -> list[Any]:
    seen: list[Any] = []
    for seconds in (1, 100):
        try:
            async with asyncio.timeout(seconds):
                seen.append(await asyncio.gather(work(1), asyncio.sleep(10)))
        except TimeoutError:
            seen.append("late")
    return seen


async def first_come() -> list[Any]:
    tasks = [asyncio.create_task(work(n)) for n in range(4)]
    done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in left:
        task.cancel()
    await asyncio.wait(left)
    return [task.result() for task in done]


async def as_they_come() -> list[Any]:
    return [await each for each in asyncio.as_completed([work(n) for n in range(4)])]


async def shares() -> list[Any]:
    queue: asyncio.Queue[int] = asyncio.Queue(2)
    lock, turns, seen = asyncio.Lock(), asyncio.Semaphore(2), []

    async def puts() -> None:
        for number in range(5):
            await queue.put(number)

    async def takes() -> None:
        while True:
            number = await queue.get()
            async with turns, lock:
                seen.append(await work(number))
            queue.task_done()

    takers = [asyncio.create_task(takes()) for _ in range(3)]
    await puts()
    await queue.join()
    for taker in takers:
        taker.cancel()
    await asyncio.gather(*takers, return_exceptions=True)
    return seen


async def meets() -> list[Any]:
    gate, barrier = asyncio.Event(), asyncio.Barrier(3)

    async def comes(number: int) -> int:
        await gate.wait()
        await work(number)
        return await barrier.wait()

    tasks = [asyncio.create_task(comes(n)) for n in range(3)]
    await work(9)
    gate.set()
    return sorted(await asyncio.gather(*tasks))


async def draws() -> list[Any]:
    generator = context.random()
    drawn = [generator.choice(range(100)), generator.sample(range(9), 3), str(context.uuid4()), generator.gauss(0, 1)]
    await work(generator.randint(1, 6))
    return [*drawn, marks.patched("p"), marks.side_effect(lambda: 4), await calls.wait_signal("go")]


async def waits_for() -> list[Any]:
    return await asyncio.gather(asyncio.wait_for(work(1), 60), work(2))


WORKFLOWS: dict[str, WorkflowDefinition] = {
    fn.__name__: define_workflow(fn)
    for fn in (groups, gathers, limits, first_come, as_they_come, shares, meets, draws, waits_for)
}
