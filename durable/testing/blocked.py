"""Why a simulation cannot go on: what each task waits for, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable.core import events as ev
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
    unread = run.execution.unread()
    lines += [f"{instance.id}: {count} signal(s) {name!r} came and were not read" for name, count in unread.items()]
    return lines


def _task(task: Task, run: Run) -> str:
    coroutine = task.get_coro()
    where = frames.waiting_at(coroutine) or "an unknown place"
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
        case "ChildHandle._wait" | "child":
            return _child(given, run)
        case "signal_instance":
            return f"the delivery of a signal to {given['instance_id']!r}"
        case name:
            return f"{name}()"


def _child(given: dict[str, Any], run: Run) -> str:
    if "self" in given:
        return f"child {given['self'].id!r}"
    waiting = [asked.event for asked in run.execution.open.values() if isinstance(asked.event, ev.ChildScheduled)]
    name = given["definition"].type_name
    ids = [event.instance_id for event in waiting if event.name == given["definition"].name]
    return f"child workflow {name!r} ({', '.join(ids)})"


def _awaited(task: Task) -> str:
    future = getattr(task, "_fut_waiter", None)
    return "another task" if isinstance(future, type(task)) else f"a {type(future).__name__}"
