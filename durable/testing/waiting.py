"""Say what an open instance waits for."""

from __future__ import annotations

import linecache
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from durable.core import events as ev
from durable.core import places
from durable.core.errors import DurableError
from durable.engine.looking import look
from durable.models import OPEN, ActivityTask, Status
from durable.store import clock, inbox, instances, tasks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from durable.models import InboxEvent, Instance
    from durable.testing.draining import Queues

_State = ActivityTask.State


def describe(instance: Instance, queues: Queues = None) -> str:
    """Return, in lines, what an instance and its children wait for.

    Args:
        instance: The instance.
        queues: What the worker at hand serves; None is all.
    """
    lines = [f"{instance.pk} is {instance.status}{_where(instance)}"]
    lines += [f"  {line}" for line in _reasons(instance, queues)]
    for child in instances.rows().filter(parent_execution_id=instance.execution_id, status__in=OPEN):
        lines += [f"  {line}" for line in describe(child, queues).splitlines()]
    return "\n".join(lines)


def _where(instance: Instance) -> str:
    """Return the line of code at which a running instance waits."""
    if instance.status != Status.RUNNING or not instance.head:
        return ""
    try:
        with look(instance) as execution:
            place = places.waiting_at(execution)
    except DurableError:
        return ""
    file, _, line = place.rpartition(":")
    code = linecache.getline(file, int(line)).strip() if line.isdigit() else ""
    return f", waiting at {place}" + (f": {code}" if code else "")


def _reasons(instance: Instance, queues: Queues) -> Iterator[str]:
    if queues is not None and instance.queue not in queues:
        yield f"its queue is {instance.queue!r}, which this worker does not serve"
    if instance.status == Status.SUSPENDED:
        yield "it was suspended: resume it"
    if instance.status == Status.STALLED:
        yield f"its code cannot go on: {(instance.stall or {}).get('message', '')}"
    for row in inbox.rows().filter(execution_id=instance.execution_id, visible_at__gt=clock.now()):
        yield f"{_what(row)} is due {_from_now(row.visible_at)}"
    for task in tasks.rows().filter(execution_id=instance.execution_id):
        yield f"activity {task.name}: {_of_task(task, queues)}"
    if instance.lease is not None:
        yield "another worker runs an activity of it"


def _what(row: InboxEvent) -> str:
    if row.kind == ev.TimerFired.__name__:
        return f"timer {row.event_id}"
    return {ev.ExecutionStarted.__name__: "its start", inbox.TIMEOUT: "its timeout"}.get(row.kind, row.kind)


def _of_task(task: ActivityTask, queues: Queues) -> str:
    if queues is not None and task.queue not in queues:
        return f"its queue is {task.queue!r}, which this worker does not serve"
    match task.state:
        case _State.EXTERNAL:
            return "somebody has to call client.complete_activity"
        case _State.HELD:
            return "held while its instance is suspended"
        case _State.RUNNING:
            return "another worker runs it"
    failure: Any = task.last_failure or {}
    after = f", after {failure['type']}: {failure['message']}" if failure else ""
    return f"attempt {task.attempt} is due {_from_now(task.available_at)}{after}"


def _from_now(at: datetime) -> str:
    return f"in {timedelta(seconds=round((at - clock.now()).total_seconds(), 1))}"
