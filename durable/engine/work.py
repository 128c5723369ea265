"""Who runs an activity: this worker in place, or whoever takes the task."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from durable import dispatch, registry
from durable.core.definitions import anything, define_activity
from durable.core.errors import UnknownActivity
from durable.engine import presence
from durable.store import clock, tasks

if TYPE_CHECKING:
    import uuid
    from datetime import datetime

    from durable.core import events as ev
    from durable.core.definitions import ActivityDefinition
    from durable.models import ActivityTask, Instance


@dataclass(frozen=True, slots=True)
class InPlace:
    """An activity that the worker which ended the turn runs there and then.

    Attributes:
        lease: The lease on the instance, for as long as it runs.
    """

    asked: ev.ActivityScheduled
    definition: ActivityDefinition
    lease: uuid.UUID


def runs_here(instance: Instance, asked: ev.ActivityScheduled) -> ActivityDefinition | None:
    """Return the activity if this process may run it in place."""
    try:
        definition = registry.activity(asked.name).with_overrides(asked.options)
    except UnknownActivity:
        return None
    limited = definition.start_to_close is not None or definition.schedule_to_close is not None
    # A heartbeat needs a row to be recorded in, a limit somebody who watches it.
    if definition.heartbeat is not None or (limited and presence.current() is None):
        return None
    queue = definition.queue or instance.queue
    return definition if queue == instance.queue or queue in dispatch.served_queues() else None


def known(task: ActivityTask) -> ActivityDefinition | None:
    """Return the activity of a task, with the options of its call, if this process knows it."""
    try:
        return registry.activity(task.name).with_overrides(task.options)
    except UnknownActivity:
        return None


def as_called(name: str, options: dict[str, Any]) -> ActivityDefinition:
    """Return an activity with the options of a call; one unknown to this process has those and the defaults."""
    try:
        known = registry.activity(name)
    except UnknownActivity:
        known = define_activity(anything, name=name)
    return known.with_overrides(options)


def task_row(instance: Instance, asked: ev.ActivityScheduled, **values: Any) -> ActivityTask:
    """Return the row, not saved, that hands an activity to a worker."""
    definition = as_called(asked.name, asked.options)
    limits = [s for s in (definition.schedule_to_start, definition.schedule_to_close) if s is not None]
    given = {
        "name": asked.name,
        "input": asked.input,
        "options": asked.options,
        "queue": definition.queue or instance.queue,
        "priority": definition.priority,
        "expires_at": clock.now() + timedelta(seconds=min(limits)) if limits else None,
        **values,
    }
    return tasks.row(instance.execution_id, asked, **given)


def called_off_row(instance: Instance, asked: ev.ActivityScheduled, *, at: datetime) -> ActivityTask:
    """Return the row, not saved, by which an activity that a worker runs in place learns that it is called off.

    And by which its result is known should that be taken back.
    """
    return task_row(
        instance,
        asked,
        state=tasks.State.RUNNING,
        worker=instance.lease_worker,
        lease=instance.lease,
        lease_until=instance.lease_until,
        started_at=at,
        cancel_requested=True,
    )
