"""What the tasks of a live execution wait for, and where."""

from __future__ import annotations

import asyncio
import bisect
import linecache
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from durable.core import frames, places
from durable.core.futures import waited_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from durable.core.execution import Execution
    from durable.core.futures import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What a task of a workflow waits for.

    Attributes:
        task: The task's name; the workflow's own is ``main``.
        kind: ``activity``, ``timer``, ``child``, ``signal``, ``delivery`` (of a signal that it
            sends), ``condition``, ``channel``, ``task``, ``gather``, ``call`` (another
            call of asyncio's), ``future`` or ``nothing``.
        name: The activity's name, the child's instance id, the signal's name or the like; may be empty.
        event_id: The number of what it waits for, or None.
        text: The wait in words.
        location: ``file:line`` of the code that waits.
        source: That line.
        since: When it began to wait, by the workflow's time in seconds since 1970; None if that is not known.
        due: When it stops waiting at the latest, likewise; None without a timer.
    """

    task: str
    kind: str
    name: str
    event_id: int | None
    text: str
    location: str
    source: str
    since: float | None
    due: float | None


def of(
    execution: Execution,
    moments: Sequence[tuple[int, float]] = (),
    fires: Mapping[int, float] = MappingProxyType({}),
    asked: Mapping[int, float] = MappingProxyType({}),
) -> list[Wait]:
    """Return what each live task of an execution waits for, in order of the tasks' creation.

    Args:
        execution: It stands still between two steps.
        moments: How many futures and tasks there had been after each step, and the
            time of the step; without it nobody knows since when a task waits.
        fires: When timers are due, by event id, where the history has it: one that was
            set again fires later than the code, which goes by its first setting, thinks.
        asked: When activities were asked for, by event id: their futures have no number.
    """
    limits = _limits(execution, fires)
    return [_of(task, execution, moments, limits, asked) for task in execution.loop.tasks()]


def _of(
    task: Task,
    execution: Execution,
    moments: Sequence[tuple[int, float]],
    limits: dict[Any, tuple[float, int]],
    asked: Mapping[int, float],
) -> Wait:
    coroutine = task.get_coro()
    location = frames.waiting_at(coroutine) or places.waiting_at(execution)
    inside, awaited = frames.waiting_in(coroutine), waited_for(task)
    kind, name, event_id, text = _awaits(awaited) if inside is None or awaited is None else _calls(inside, execution)
    due, timer_id = limits.get(awaited) or limits.get(task) or (None, None)
    if kind == "timer" and timer_id is not None:
        event_id = timer_id
    return Wait(
        task=task.get_name(),
        kind=kind,
        name=name,
        event_id=event_id,
        text=text,
        location=location,
        source=source(location),
        since=asked.get(event_id or 0) if kind == "activity" else _since(awaited, moments),
        due=due,
    )


def source(location: str) -> str:
    """Return the line of code at ``file:line``; empty without the source."""
    file, _, line = location.rpartition(":")
    return linecache.getline(file, int(line)).strip() if line.isdigit() else ""


_What = tuple[str, str, int | None, str]


def _calls(inside: Any, execution: Execution) -> _What:
    """Say what a call of ours, or of asyncio, waits for."""
    given = inside.cr_frame.f_locals
    match inside.cr_code.co_qualname:
        case "wait_signal":
            return "signal", given["name"], None, f"signal {given['name']!r}"
        case "Channel.receive" | "Channel.receive_ok" | "Channel.__anext__":
            name = execution.signals.name_of(given["self"])
            return ("channel", "", None, "a channel") if name is None else ("signal", name, None, f"signal {name!r}")
        case "wait_until":
            return "condition", "", None, "a condition (wait_until)"
        case "activity":
            name = given["definition"].name
            return "activity", name, given["event_id"], f"activity {name!r}"
        case "ChildHandle._wait":
            child = given["self"]
            return "child", child.id, child._event_id, f"child {child.id!r}"
        case "child":
            return _calls(frames.following(inside), execution)
        case "signal_instance":
            target = given["instance_id"]
            return "delivery", target, given["event_id"], f"the delivery of a signal to {target!r}"
        case "sleep" | "mend.<locals>.sleep":
            return "timer", "sleep", None, "asyncio.sleep()"
        case name:
            return "call", name, None, f"{name}()"


def _awaits(awaited: Any) -> _What:
    """Say what a future is that the user's code waits for itself."""
    match awaited:
        case None:
            return "nothing", "", None, "nothing"
        case asyncio.Task() as other:
            return "task", other.get_name(), None, f"task {other.get_name()}"
        case future if type(future).__name__ == "_GatheringFuture":
            return "gather", "", None, "asyncio.gather()"
        case _:
            return "future", "", None, "a future"


def _limits(execution: Execution, fires: Mapping[int, float]) -> dict[Any, tuple[float, int]]:
    """Return when a timer ends a wait, and its id, by the future that it sets or the task that it cancels."""
    found: dict[Any, tuple[float, int]] = {}
    for asked in execution.open.values():
        if not isinstance(timer := asked.waiter, asyncio.TimerHandle):
            continue
        callback: Any = timer._callback  # type: ignore[attr-defined]
        if isinstance(limit := getattr(callback, "__self__", None), asyncio.Timeout):
            key: Any = limit._task  # type: ignore[attr-defined]
        else:
            key = next(iter(timer._args), None)
        due = fires.get(asked.event.event_id, timer.when())
        if isinstance(key, asyncio.Future) and (key not in found or due < found[key][0]):
            found[key] = due, asked.event.event_id
    return found


def _since(awaited: Any, moments: Sequence[tuple[int, float]]) -> float | None:
    """Return the time of the step in which what is awaited came to be."""
    number = getattr(awaited, "sequence", 0)
    if not number:  # what gathers others has no number: it came after the last of them, most often at once
        number = max((getattr(part, "sequence", 0) for part in getattr(awaited, "_children", ())), default=0)
    place = bisect.bisect_left(moments, number, key=lambda moment: moment[0])
    return moments[place][1] if number and place < len(moments) else None
