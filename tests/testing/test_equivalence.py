"""A simulation does what the engine does: the same histories, the same results."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta
from typing import Any

import pytest

from durable import ActivityError, ChildFailed, RetryPolicy, SignalError, activity, client, testing, workflow
from durable.core.failures import Failure
from durable.models import ActivityTask, Execution, InboxEvent, Instance
from durable.testing.clocks import Clock
from tests.driving import Engine

NOW = RetryPolicy(initial_interval=0)


class World:
    """The workflows of these tests, and the activities that they call."""

    def __init__(self) -> None:
        tries: dict[str, int] = {}

        @activity.defn
        def double(number: int) -> int:
            return 2 * number

        @activity.defn
        def fail(message: str) -> None:
            raise ValueError(message)

        @activity.defn(retry=RetryPolicy(max_attempts=5))
        async def third_time(key: str) -> int:
            tries[key] = tries.get(key, 0) + 1
            if tries[key] < 3:
                raise ValueError("not yet")
            return activity.info().attempt

        @activity.defn(atomic=True)
        def count() -> int:
            return Instance.objects.count()

        @workflow.defn
        async def kid(number: int) -> int:
            return await double(number)

        @workflow.defn
        async def waiting() -> str:
            return await workflow.wait_signal("go")

        self.double, self.fail, self.third_time, self.count = double, fail, third_time, count
        self.kid, self.waiting = kid, waiting


def sequence(w: World) -> Any:
    @workflow.defn
    async def sequence() -> list[Any]:
        with_status = [await w.double(1), await w.double(2)]
        workflow.set_status("half")
        return [*with_status, workflow.side_effect(lambda: 7), workflow.patched("p"), workflow.uuid4().version]

    return sequence


def fan_out(w: World) -> Any:
    @workflow.defn
    async def fan_out() -> list[int]:
        return await asyncio.gather(*(w.double(n) for n in range(4)), w.kid(5), w.kid(6))

    return fan_out


def handled_failure(w: World) -> Any:
    @workflow.defn
    async def handled_failure() -> list[Any]:
        try:
            await w.fail.options(retry=NOW)("x")
        except ActivityError as error:
            return [error.attempts, error.cause.type, error.cause.message, await w.double(1)]
        return []

    return handled_failure


def unhandled_failure(w: World) -> Any:
    @workflow.defn
    async def unhandled_failure() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(w.fail.options(retry=RetryPolicy(max_attempts=1))("x"))
            group.create_task(asyncio.sleep(60))

    return unhandled_failure


def retries(w: World) -> Any:
    @workflow.defn
    async def retries() -> list[Any]:
        return [await w.third_time("a"), await w.third_time("b")]

    return retries


def sleeps(w: World) -> Any:
    @workflow.defn
    async def sleeps() -> list[Any]:
        begun = workflow.time()
        await asyncio.sleep(30)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await workflow.wait_signal("never")
        return [round(workflow.time() - begun) >= 40, await asyncio.wait_for(w.double(4), 100)]

    return sleeps


def cancels(w: World) -> Any:
    @workflow.defn
    async def cancels() -> list[Any]:
        handle = w.waiting.start_child()
        with_timeout = asyncio.create_task(asyncio.wait_for(w.waiting(), 5))
        with contextlib.suppress(TimeoutError):
            await with_timeout
        await handle.signal("go", "now")
        return [await handle]

    return cancels


def children(w: World) -> Any:
    @workflow.defn
    async def refuses() -> None:
        raise LookupError("no")

    @workflow.defn
    async def children() -> list[Any]:
        said: list[Any] = []
        await w.kid.options(id="taken")(1)
        try:
            await w.kid.options(id="taken")(2)
        except ChildFailed as error:
            said.append(error.cause.type)
        try:
            await refuses()
        except ChildFailed as error:
            said += [error.cause.type, error.instance_id.partition(":")[2]]
        w.waiting.options(parent_close="cancel", id="canceled").start_child()
        w.waiting.options(id="terminated").start_child()
        w.waiting.options(parent_close="abandon", id="abandoned").start_child()
        await asyncio.sleep(1)
        return said

    return children


def signals(w: World) -> Any:
    @workflow.defn
    async def signals() -> list[Any]:
        handle = w.waiting.start_child()
        await handle.signal("go", {"a": 1})
        said: list[Any] = [await handle]
        for target in (handle.id, "nobody"):
            try:
                await workflow.signal_instance(target, "go")
            except SignalError as error:
                said.append(error.cause.type)
        return said

    return signals


def continues(w: World) -> Any:
    @workflow.defn
    async def continues(number: int = 0) -> list[Any]:
        if number == 0:
            handle = sender.start_child(workflow.info().instance_id)
            await handle
        if number < 3:
            await w.kid(number)
            workflow.set_tags(**{f"tag{number}": number})
            workflow.continue_as_new(number + 1)
        return [number, await workflow.wait_signal("note"), await workflow.wait_signal("note")]

    @workflow.defn
    async def sender(target: str) -> None:
        await workflow.signal_instance(target, "note", 1)
        await workflow.signal_instance(target, "note", 2)

    return continues


def times_out(w: World) -> Any:
    @workflow.defn(timeout=60)
    async def times_out() -> None:
        w.waiting.start_child()
        await asyncio.sleep(100)

    return times_out


def tried_again(w: World) -> Any:
    tries: list[int] = []

    @workflow.defn(retry=RetryPolicy(initial_interval=5, max_attempts=3))
    async def tried_again() -> int:
        if await w.double(1) and workflow.side_effect(lambda: len(tries)) < 2:
            workflow.side_effect(lambda: tries.append(1))
            raise ValueError("again")
        return workflow.side_effect(lambda: len(tries))

    return tried_again


def leaves_open(w: World) -> Any:
    @workflow.defn
    async def leaves_open() -> str:
        task = asyncio.create_task(w.double(1))
        await asyncio.sleep(0)
        task.cancel()
        begun = [asyncio.create_task(w.third_time("c"))]
        await asyncio.sleep(1)
        begun[0].cancel()
        await asyncio.wait(begun)
        return "left"

    return leaves_open


def atomic(w: World) -> Any:
    @workflow.defn
    async def atomic() -> bool:
        return await w.count() >= 0

    return atomic


def canceled(w: World) -> Any:
    @workflow.defn
    async def canceled() -> None:
        w.waiting.options(id="beside").start_child()
        try:
            await asyncio.gather(w.waiting.options(id="awaited")(), asyncio.sleep(100))
        finally:
            await asyncio.sleep(1)  # time for the child to see it first
            await w.double(1)

    return canceled


def cleaned_up(w: World) -> Any:
    @workflow.defn
    async def cleaned_up() -> str:
        kid = w.waiting.start_child()
        try:
            await kid
        except asyncio.CancelledError:
            try:
                await kid
            except ChildFailed as error:
                return error.cause.type
        return "not canceled"

    return cleaned_up


def terminated(w: World) -> Any:
    @workflow.defn
    async def terminated() -> None:
        w.waiting.options(id="abandoned", parent_close="abandon").start_child()
        await w.third_time.options(retry=RetryPolicy(initial_interval=50))("d")

    return terminated


def signaled(w: World) -> Any:
    @workflow.defn
    async def signaled() -> list[Any]:
        seen: list[Any] = []
        async with asyncio.timeout(100):
            async for payload in workflow.signals("go"):
                seen.append(payload)
                if len(seen) == 2:
                    await workflow.wait_until(workflow.cancelled, timeout=5)
        return seen

    return signaled


def given_up(w: World) -> Any:
    @workflow.defn
    async def given_up() -> list[Any]:
        try:
            await w.fail.options(schedule_to_close=25, retry=RetryPolicy(initial_interval=10, max_attempts=9))("x")
        except ActivityError as error:
            return [error.cause.type, error.cause.message]
        return []

    return given_up


ACTS: dict[str, list[tuple[float, Any, tuple[Any, ...]]]] = {
    "canceled": [(10, "cancel", ())],
    "cleaned_up": [(10, "cancel", ())],
    "terminated": [(10, "terminate", ())],
    "signaled": [(5, "signal", ("go", 1)), (10, "signal", ("other", 1)), (20, "signal", ("go", {"b": 2}))],
}
"""What comes from outside: how long after the start, which verb of the client, and its arguments."""

ALL = [
    atomic, canceled, cancels, children, cleaned_up, continues, fan_out, given_up, handled_failure, leaves_open,
    retries, sequence, signaled, signals, sleeps, terminated, times_out, tried_again, unhandled_failure,
]  # fmt: skip


def run_for_real(engine: Engine, time: Clock, handle: client.Handle) -> None:
    """Let the engine work and time pass until the instance has ended."""
    acts = [(handle.instance.created_at + timedelta(seconds=s), *act) for s, *act in ACTS.get(handle.instance.name, [])]
    for _ in range(50):
        engine.run_until_quiet()
        if handle.instance.closed_at is not None:
            return
        due: list[datetime] = [*InboxEvent.objects.values_list("visible_at", flat=True), *(at for at, *_ in acts)]
        for pair in ActivityTask.objects.values_list("available_at", "expires_at"):
            due += filter(None, pair)
        time.forward(max(0.0, (min(due) - time.now()).total_seconds()) + 0.01)
        while acts and acts[0][0] <= time.now():
            _, verb, args = acts.pop(0)
            getattr(handle, verb)(*args)
    raise AssertionError(f"{handle.id} does not end: {[item.kind for item in handle.history()]}")


def came_of(status: str, result: Any, failure: Failure | None, tags: Any, custom: Any) -> tuple[Any, ...]:
    return (status, result, failure and (failure.type, failure.message), tags, custom)


def shape(history: list[client.HistoryItem]) -> list[Any]:
    """Return what of a history depends neither on the clock nor on ids that are drawn."""
    kept = ("attempts", "reason", "by_parent", "input", "options", "tags", "headers", "result", "payload", "carried")
    return [(i.kind, i.event_id, i.name, {key: i.data[key] for key in kept if key in i.data}) for i in history]


@pytest.mark.parametrize("make", ALL, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore::durable.testing.LeftOpen")
@pytest.mark.usefixtures("path")
def test_simulation_and_engine_agree(make, engine, time):
    handle = make(World()).options(id="simulated").start()
    run_for_real(engine, time, handle)
    instance = handle.instance
    failure = Failure.from_json(instance.failure) if instance.failure else None
    really = came_of(instance.status, instance.result, failure, instance.tags, instance.custom_status)
    executions = Execution.objects.filter(instance=instance).order_by("number").values_list("pk", "origin", "status")
    histories = [shape(handle.history(pk)) for pk, _, _ in executions]
    everybody = {each.pk: (each.status, shape(client.history(each.pk))) for each in Instance.objects.all()}

    simulation = testing.Simulation(make(World()))
    for at, verb, args in ACTS.get(make.__name__, []):
        getattr(simulation.at(at), verb)(*args)
    simulated = simulation.run()

    failure = simulated.failure
    assert came_of(simulated.status, simulated.json, failure, simulated.tags, simulated.custom_status) == really
    assert [shape(execution.history) for execution in simulated.executions] == histories
    assert [(e.origin, e.status) for e in simulated.executions] == [(o, s) for _, o, s in executions]
    assert {s.id: (s.status, shape(s.history)) for s in (simulated, *simulated.children)} == everybody
