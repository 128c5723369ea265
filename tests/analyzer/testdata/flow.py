"""Awaiting, looping, catching."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

from durable import activity, workflow


@activity.defn
def charge(amount: int) -> str: ...


@workflow.defn
async def child(amount: int) -> str:
    return await charge(amount)


async def helper() -> None:
    await charge(1)


def plain() -> None: ...


@workflow.defn
async def forgets_to_await() -> None:
    charge(1)  # want: DUR015 the activity charge() is not awaited, so it never runs
    child(1)  # want: DUR015 the child workflow child()
    charge.options(queue="slow")(1)  # want: DUR015 the activity
    helper()  # want: DUR015 helper() is not awaited
    asyncio.sleep(1)  # want: DUR015 asyncio.sleep() is not awaited
    workflow.wait_signal("x")  # want: DUR015 workflow.wait_signal()
    receipt = charge(2)  # want: DUR015 kept in receipt and never awaited
    workflow.activity_by_name("x")(1)  # want: DUR015 the activity
    slow = charge.options(queue="slow")
    slow(3)  # want: DUR015 the activity slow()


@workflow.defn
async def awaits_all() -> list[str]:
    await charge(1)
    later = charge(2)
    asyncio.create_task(helper())
    task = asyncio.create_task(charge(3))
    handle = child.start_child(1)
    child.start_child(2)
    charge.options(queue="slow")
    plain()
    async with asyncio.TaskGroup() as group:
        group.create_task(charge(4))
    results = await asyncio.gather(charge(5), child(6), *(charge(n) for n in range(3)))
    asyncio.gather(charge(7))
    results.append(await later)

    def charge_none(number: int) -> None: ...

    charge_none(1)
    return results


def plain_too() -> None:
    charge.run(3)  # want: DUR025 charge.run() runs the activity in the workflow itself


class Desk:
    @activity.defn(name="desk.call")
    def call(self, number: int) -> str: ...

    def run(self) -> None: ...


desk = Desk()


@workflow.defn
async def runs_past_the_history() -> None:
    charge.run(1)  # want: DUR025 charge.run() runs the activity in the workflow itself
    charge.options(queue="slow").run(2)  # want: DUR025 charge.options(queue='slow').run()
    list(map(charge.run, [1, 2]))  # want: DUR025 charge.run()
    asyncio.get_running_loop().call_soon(charge.run, 1)  # want: DUR025 charge.run()
    run = charge.run
    run(1)  # want: DUR025 charge.run()
    plain_too()
    child.start(1)  # want: DUR025 child.start() is for code outside of workflows
    child.options(id="x").start(1)  # want: DUR025 start() is for code outside
    desk.call.run(1)  # want: DUR025 desk.call.run()


@workflow.defn
async def runs_by_the_history() -> None:
    desk.run()
    await charge.options(queue="slow")(1)
    workflow.side_effect(charge.run)
    workflow.side_effect(lambda: charge.run(1))
    handle = child.start_child(1)
    await handle
    charge.name
    await asyncio.gather(*map(charge, [1, 2]))


@workflow.defn
async def swallows() -> None:
    try:
        await charge(1)
    except:  # want: DUR016 a bare except also swallows cancellation
        pass
    try:
        await charge(1)
    except BaseException as error:  # want: DUR016 except BaseException
        workflow.logger.info(error)
    try:
        await charge(1)
    except (ValueError, BaseException):  # want: DUR016 BaseException
        await charge(2)
    with contextlib.suppress(BaseException):  # want: DUR016 suppress(BaseException)
        await charge(1)


@workflow.defn
async def catches() -> None:
    try:
        await charge(1)
    except Exception:
        pass
    try:
        await charge(1)
    except BaseException:
        await charge(2)
        raise
    try:
        await charge(1)
    except asyncio.CancelledError:
        await charge(3)
    with contextlib.suppress(TimeoutError):
        await charge(1)


@workflow.defn
async def loops_for_ever() -> None:
    while True:  # want: DUR018 this loop has no end
        await charge(1)


@workflow.defn
async def counts_for_ever() -> None:
    for number in itertools.count():  # want: DUR018 this loop has no end
        for _ in range(3):
            break
        await charge(number)


@workflow.defn
async def listens_for_ever() -> None:
    async for word in workflow.signals("word"):  # want: DUR018 this loop has no end
        await charge(word)


@workflow.defn
async def spins(wanted: int) -> None:
    done = False

    async def work() -> None:
        nonlocal done
        await charge(1)
        done = True

    asyncio.create_task(work())
    while not done:  # want: DUR017 this loop never awaits
        pass
    while workflow.time() < wanted:  # want: DUR017 this loop never awaits
        continue
    while True:  # want: DUR017 this loop never awaits
        plain()


def _go_on(number: int) -> None:
    workflow.continue_as_new(number)


@workflow.defn
async def loops_with_an_end(number: int, queue: list[int]) -> None:
    while True:
        if await charge(1) == "done":
            break
    while True:
        if not queue:
            return
        await charge(queue.pop())


@workflow.defn
async def goes_on(number: int, queue: list[int]) -> None:
    async def tick() -> None:
        while True:
            await asyncio.sleep(60)

    ticking = asyncio.create_task(tick())
    while queue:
        plain()
        queue.pop()
    while number < 10:
        number += 1
    while workflow.info().history_length < 1000:
        await charge(number)
    async for word in workflow.signals("word"):
        if word == "stop":
            break
    ticking.cancel()
    while True:
        await charge(number)
        if workflow.info().history_length > 1000:
            _go_on(number)


@workflow.defn
async def goes_on_itself(number: int) -> None:
    while True:
        await charge(number)
        workflow.continue_as_new(number + 1)
