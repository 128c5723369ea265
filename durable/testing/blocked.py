"""Why a simulation cannot go on: what each task waits for, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.core import waits
from durable.core.errors.telling import choices

if TYPE_CHECKING:
    from collections.abc import Iterable

    from durable.testing.instances import Instance


def report(instances: Iterable[Instance]) -> list[str]:
    """Return a line for each task of each open instance, and for what it left unread or open."""
    return [line for instance in instances if instance.is_open for line in _instance(instance)]


def _instance(instance: Instance) -> list[str]:
    run = instance.run
    lines = [f"{instance.id}: {wait.task} waits for {wait.text} at {wait.location}" for wait in waits.of(run.execution)]
    external = [task for task in run.tasks.values() if task.state == "external"]
    lines += [
        f"{instance.id}: activity {task.name}, called at {task.location}, left its completion to somebody else"
        for task in external
    ]
    lines += [
        f"{instance.id}: update {asked.request.name!r} waits for its name to be registered; "
        f"{choices(asked.request.name, run.execution.updates.handlers)}"
        for asked in instance.updates.values()
        if asked.state == "waiting"
    ]
    lines += [f"{instance.id}: {call}, was never awaited, so nothing came of it" for call in run.dropped]
    unread = run.execution.signals.unread()
    lines += [f"{instance.id}: {count} signal(s) {name!r} came and were not read" for name, count in unread.items()]
    return lines
