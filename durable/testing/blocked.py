"""Why a simulation cannot go on: what each task waits for, and where."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from durable.core import frames

if TYPE_CHECKING:
    from collections.abc import Iterable

    from durable.core.loop import Task
    from durable.testing.driving import Run
    from durable.testing.instances import Instance


def report(instances: Iterable[Instance]) -> list[str]:
    """Return a line for each task of each open instance, and for what it left unread or open."""
    return [line for instance in instances if instance.is_open for line in _instance(instance)]


def _instance(instance: Instance) -> list[str]:
    run = instance.run
    lines = [f"{instance.id}: {_task(task, run)}" for task in run.execution.loop.tasks()]
    external = [task for task in run.tasks.values() if task.state == "external"]
    lines += [
        f"{instance.id}: activity {task.name}, called at {task.location}, left its completion to somebody else"
        for task in external
    ]
    known = ", ".join(sorted(run.execution.updates.handlers)) or "none"
    lines += [
        f"{instance.id}: update {asked.request.name!r} waits for its name to be registered; there are: {known}"
        for asked in instance.updates.values()
        if asked.state == "waiting"
    ]
    unread = run.execution.unread()
    lines += [f"{instance.id}: {count} signal(s) {name!r} came and were not read" for name, count in unread.items()]
    return lines


def _task(task: Task, run: Run) -> str:
    coroutine = task.get_coro()
    where = frames.waiting_at(coroutine) or run.execution.waiting_at()
    inside = frames.waiting_in(coroutine)
    what = _what(inside, run) if inside is not None else _awaited(task)
    return f"{task.get_name()} waits for {what} at {where}"


def _what(inside: Any, run: Run) -> str:
    """Say what a call of ours, or of asyncio, waits for."""
    given = inside.cr_frame.f_locals
    match inside.cr_code.co_qualname:
        case "wait_signal":
            return f"signal {given['name']!r}"
        case "Channel.receive" | "Channel.receive_ok" | "Channel.__anext__":
            name = run.execution.signal_of(given["self"])
            return "a channel" if name is None else f"signal {name!r}"
        case "wait_until":
            return "a condition (wait_until)"
        case "activity":
            return f"activity {given['definition'].name!r}"
        case "ChildHandle._wait":
            return f"child {given['self'].id!r}"
        case "child":
            return _what(frames.following(inside), run)
        case "signal_instance":
            return f"the delivery of a signal to {given['instance_id']!r}"
        case name:
            return f"{name}()"


def _awaited(task: Task) -> str:
    match getattr(task, "_fut_waiter", None):
        case asyncio.Task() as other:
            return f"task {other.get_name()}"
        case future if type(future).__name__ == "_GatheringFuture":
            return "asyncio.gather()"
        case _:
            return "a future"
