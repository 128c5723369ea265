"""Where in the user's code an execution asked for something, or waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.core import frames
from durable.core.futures import waited_for

if TYPE_CHECKING:
    from durable.core.execution import Execution


def location(execution: Execution, event_id: int | None) -> str:
    """Return ``file:line`` of the code that asked for something in this step, or that waits."""
    return locations(execution).get(-2 if event_id is None else event_id) or waiting_at(execution)


def locations(execution: Execution) -> dict[int, str]:
    """Return the ``file:line`` of the code that asked for each thing in this step, by event id.

    Empty where the loop itself began it: ``gather(a(), b())`` runs each part
    as a task of its own, with nothing of the user's above it.
    """
    found = {n: frames.location(p) if p else "" for n, p in execution.places.items()}
    asked = {execution.open[n].waiter: n for n in execution.issued if n not in found and n in execution.open}
    for task in execution.loop.tasks() if asked else ():
        if (number := asked.get(waited_for(task))) is not None:
            found[number] = frames.waiting_at(task.get_coro())
    return found


def waiting_at(execution: Execution) -> str:
    """Return ``file:line`` of where the main task waits."""
    return frames.waiting_at(execution.main.get_coro()) if execution.main else ""
