"""The workflows of the golden histories. Never changed: the histories were recorded on this code."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from durable import RetryPolicy, activity, workflow
from durable.activity import NonRetryable
from durable.client import batching
from durable.core.definitions import ActivityDefinition, WorkflowDefinition, define_activity, define_workflow
from durable.errors import ActivityError, ChildFailed, SideEffectError, SignalError

WORKFLOWS: dict[str, WorkflowDefinition] = {}
ACTIVITIES: dict[str, ActivityDefinition] = {}

# Our own: whoever upgrades may have batches that are open.
WORKFLOWS[batching.run.type_name] = batching.run

_ONCE = RetryPolicy(max_attempts=1)


def _workflow(**options: Any) -> Any:
    def define(fn: Any) -> WorkflowDefinition:
        made = define_workflow(fn, **options)
        WORKFLOWS[made.type_name] = made
        return made

    return define


def _activity(**options: Any) -> Any:
    def define(fn: Any) -> ActivityDefinition:
        made = define_activity(fn, **options)
        ACTIVITIES[made.name] = made
        return made

    return define


# --- activities


@_activity()
def double(number: int) -> int:
    return 2 * number


@_activity(retry=RetryPolicy(initial_interval=1, max_attempts=5))
def flaky(times: int) -> str:
    """Fail as often as it is told to."""
    if activity.info().attempt <= times:
        raise ConnectionError(f"failure {activity.info().attempt}")
    return f"after {times} failures"


@_activity()
def decline(reason: str) -> None:
    raise NonRetryable(reason) from ValueError("limit")


@_activity(queue="nobody", schedule_to_start=30, retry=_ONCE)
def unserved() -> None: ...


BROKEN: list[str] = []
"""What a scenario has broken for the time being."""


@_activity(retry=_ONCE)
def fragile(number: int) -> int:
    if BROKEN:
        raise ConnectionError(BROKEN[-1])
    return -number


# --- workflows


@_workflow()
async def attempts(times: int) -> list[Any]:
    """Activities: retried, failed for good, with options of the call."""
    seen: list[Any] = [await flaky(times)]
    try:
        await decline("no money")
    except ActivityError as error:
        seen.append([error.activity, error.attempts, error.cause.type, error.cause.message])
    seen.append(await double.options(queue="default", start_to_close=60)(21))
    try:
        await unserved()
    except ActivityError as error:
        seen.append(error.cause.type)
    return seen


@_workflow()
async def several() -> list[Any]:
    """Activities side by side: all, those that are called off, and the first that ends."""
    seen: list[Any] = [await asyncio.gather(*(double(n) for n in range(3)))]
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(unserved())
            group.create_task(decline("in a group"))
            group.create_task(asyncio.sleep(600))
    except* ActivityError as errors:
        seen.append([error.activity for error in errors.exceptions])  # type: ignore[attr-defined]
    async with asyncio.TaskGroup() as group:
        made = [group.create_task(double(n)) for n in (5, 6)]
    seen.append([task.result() for task in made])
    waiting = {asyncio.create_task(asyncio.sleep(5 * n, n), name=str(n)) for n in (2, 1)}
    done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    seen.append([task.result() for task in done])
    for task in rest:
        task.cancel()
    seen += [await each for each in asyncio.as_completed([double(7), double(8)])]
    return seen


@_workflow()
async def waits() -> list[Any]:
    """Timers: one that fires, one that is not needed, a limit that is met and one that is not."""
    seen: list[Any] = []
    await asyncio.sleep(60)
    try:
        await workflow.wait_signal("never", timeout=30)
    except TimeoutError:
        seen.append("late")
    async with asyncio.timeout(3600):
        seen.append(await workflow.wait_signal("soon"))
    try:
        async with asyncio.timeout(10):
            await unserved()
    except TimeoutError:
        seen.append("called off")
    lock, event = asyncio.Lock(), asyncio.Event()

    async def later() -> None:
        async with lock:
            await asyncio.sleep(1)
        event.set()

    task = asyncio.create_task(later())
    await event.wait()
    await task
    return seen


@_workflow()
async def child(what: str) -> str:
    """End in the way that it is told to, or wait."""
    if what == "fail":
        raise LookupError("nothing there")
    if what == "wait":
        return str(await workflow.wait_signal("go"))
    return f"{what} by {workflow.info().parent_id}"


@_workflow()
async def family() -> list[Any]:
    """Children: one that completes, one that fails, one that is canceled, one that is signaled; and signals."""
    seen: list[Any] = [await child("work")]
    try:
        await child("fail")
    except ChildFailed as error:
        seen.append([error.workflow, error.cause.type])
    handle = child.start_child("wait")
    handle.cancel()
    waiting = child.options(id="golden-child", tags={"kind": "named"}).start_child("wait")
    await waiting.signal("go", {"from": "parent"})
    seen.append(await waiting)
    try:
        await handle
    except (ChildFailed, asyncio.CancelledError) as error:
        seen.append(type(error).__name__)
    stopped = child.start_child("wait")
    await workflow.wait_signal("stop")
    stopped.cancel()
    try:
        await stopped
    except ChildFailed as error:
        seen.append(error.cause.type)
    try:
        await workflow.signal_instance("nobody", "go", 1)
    except SignalError as error:
        seen.append(error.cause.type)
    return seen


@_workflow()
async def inbox(round: int = 0) -> list[Any]:
    """Signals, channels, select, conditions, and another beginning that keeps what is unread."""
    seen: list[Any] = []
    jobs: workflow.Channel[int] = workflow.Channel()
    results: workflow.Channel[int] = workflow.Channel(2)

    async def work() -> None:
        async for number in jobs:
            await results.send(await double(number))
        results.close()

    async def feed() -> None:
        for number in (1, 2):
            await jobs.send(number)
        jobs.close()

    tasks = [asyncio.create_task(work()), asyncio.create_task(feed())]
    open_ = True

    def got(value: int | None, ok: bool) -> None:
        nonlocal open_
        open_ = ok
        seen.append(value)

    while open_:
        await workflow.select(
            workflow.receive(workflow.signals("extra"), lambda value, _: seen.append(value)),
            workflow.receive(results, got),
        )
    await asyncio.gather(*tasks)
    counted: list[Any] = []

    async def count() -> None:
        async for item in workflow.signals("item"):
            counted.append(item)  # noqa: PERF401 - the condition below looks at each as it comes

    counting = asyncio.create_task(count())
    await workflow.wait_until(lambda: len(counted) >= 2)
    counting.cancel()
    if not round:
        workflow.continue_as_new(round + 1)
    return [*seen, *counted, await workflow.wait_signal("left over")]


@_workflow()
async def marks(number: int) -> list[Any]:
    """What is recorded at once, what is drawn, and what operators are shown."""
    seen: list[Any] = [workflow.side_effect(lambda: {"b": 1, "a": [number, None]})]
    seen.append(workflow.patched("first"))
    workflow.deprecate_patch("second")
    seen += [str(workflow.uuid4()), float(workflow.random()), workflow.random().choice("abcdef")]
    workflow.set_status({"at": "double"})
    workflow.set_progress(1, 2, "half")
    workflow.set_tags(number=number, old=None)
    seen.append(await double(number))
    seen.append(workflow.patched("first"))
    seen.append(workflow.patched("third"))
    seen.append([workflow.now() >= workflow.info().started_at, workflow.info().history_length, workflow.version()])
    seen.append(str(workflow.uuid4()))
    return seen


@_workflow()
async def stops(clean: bool) -> str:
    """A cancel: cleaned up after, or not noticed before the end."""
    try:
        await workflow.wait_signal("never")
    except asyncio.CancelledError:
        if clean:
            await double(1)
        raise
    return "not stopped"


@_workflow()
async def undone() -> None:
    """Fail after some work, and undo it."""
    async with workflow.Compensations() as undo:
        await double(1)
        undo.add(double, 10)
        await double(2)
        undo.add(double, 20)
        await decline("after all")


@_workflow(retry=RetryPolicy(initial_interval=10, max_attempts=2))
async def again() -> None:
    """Fail, and once more."""
    await double(1)
    raise RuntimeError("again")


@_workflow(name="versioned3")
async def versioned(flag: bool = True, *, wait: float = 5) -> int:
    """Have a version, and keyword arguments."""
    await asyncio.sleep(wait)
    return workflow.version()


@_workflow()
async def mended() -> list[Any]:
    """Do work of which some fails, side by side with some that does not."""
    seen: list[Any] = [workflow.patched("first"), await double(1), str(workflow.uuid4())]
    seen += await asyncio.gather(double(2), fragile(3))
    return [*seen, await workflow.wait_signal("go"), str(workflow.uuid4())]


@_workflow()
async def changed() -> list[Any]:
    """Be changed by updates: one that does work, one that is refused, one that fails, one that waits for another."""
    lines: list[Any] = []
    ready = asyncio.Event()

    def not_empty(line: str) -> None:
        if not line:
            raise ValueError("empty")

    @workflow.update(validator=not_empty)
    async def add(line: str) -> int:
        lines.append([line, await double(len(lines) + 1)])
        return len(lines)

    @workflow.update
    async def fail() -> None:
        raise LookupError("no such line")

    @workflow.update
    async def wait() -> str:
        await ready.wait()
        return "ready"

    @workflow.update
    def let_go() -> None:
        ready.set()

    await workflow.wait_until(lambda: len(lines) == 2 and ready.is_set())
    return [*lines, str(workflow.uuid4())]


@_workflow()
async def woken() -> list[Any]:
    """An effect that fails, and a condition that comes to hold while nothing may run."""
    due = workflow.now() + timedelta(minutes=1)
    seen: list[Any] = []
    try:
        workflow.side_effect(lambda: 1 // 0)
    except SideEffectError as error:
        seen.append(error.event_id)
    await workflow.wait_until(lambda: workflow.now() >= due)
    return [*seen, str(workflow.uuid4())]


@_workflow(name="grown1")
async def grown1() -> list[Any]:
    """Work, wait, and work again."""
    seen: list[Any] = [workflow.version(), await double(1)]
    seen.append(await workflow.wait_signal("go"))
    seen.append(await double(2))
    return [*seen, str(workflow.uuid4())]


@_workflow(name="grown2")
async def grown2() -> list[Any]:
    """Do what version 1 did, and from the place of the upgrade on more than that."""
    seen: list[Any] = [workflow.version(), await double(1)]
    seen.append(await workflow.wait_signal("go"))
    if workflow.version() >= 2:
        seen += await asyncio.gather(double(3), asyncio.sleep(5, "slept"))
        seen.append(workflow.patched("grown"))
    seen.append(await double(2))
    return [*seen, workflow.version(), str(workflow.uuid4())]
