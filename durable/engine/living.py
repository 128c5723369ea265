"""Live executions, at the head of what is stored: from the cache, or by replay."""

from __future__ import annotations

from contextlib import closing as closed_after
from typing import TYPE_CHECKING

from durable import conf, registry
from durable.core.execution import LIMITS, Execution
from durable.core.replay import catch_up
from durable.engine import cache, guards, watchdog
from durable.store import history

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable.core.commands import Command
    from durable.models import Instance


def live(instance: Instance, known: Sequence[history.Row] = ()) -> tuple[Execution, list[Command]]:
    """Return the live execution of a locked instance, brought up to its head.

    From the cache when it is there: at the head, nothing is read; behind it,
    the difference is; ahead of it, somebody's turn was rolled back, so it is
    thrown away, as is one of another version. Else by replay.

    Args:
        instance: The instance.
        known: What was read of its history; used if it is what is missing.

    Raises:
        UnknownWorkflow, VersionNotAvailable: This process cannot run it.
        NondeterminismError: Its code does not do what its history records.
    """
    execution = cache.take(instance.execution_id)
    if execution is not None and (execution.head > instance.head or execution.workflow.version != instance.version):
        execution.close()
        execution = None
    if execution is None:
        execution = fresh(
            instance.name, instance.version, instance_id=instance.pk, execution_id=str(instance.execution_id)
        )
    if execution.head == instance.head:
        return execution, []
    try:
        if known and known[0][0] == execution.head + 1 and known[-1][0] == instance.head:
            events = history.events(known)
        else:
            events = history.read(instance.execution_id, after=execution.head, until=instance.head)
        with watchdog.watch(execution), closed_after(events):
            rest = catch_up(execution, events, whole=True)
    except BaseException:
        execution.close()
        raise
    execution.changed.clear()
    return execution, rest


def limits() -> dict[str, int]:
    """Return how much the code of an execution that begins now may give at once."""
    return {name: conf.limit(name) for name in LIMITS}


def fresh(name: str, version: int, *, instance_id: str, execution_id: str, dry: bool = False) -> Execution:
    """Return an execution that has seen no event yet, of the code at hand.

    Args:
        name: The workflow's name.
        version: Its version.
        instance_id: Whose execution it is.
        execution_id: Its id.
        dry: Whether it is to look ahead only.

    Raises:
        UnknownWorkflow, VersionNotAvailable: This process cannot run it.
    """
    return Execution(
        registry.workflow(name, version),
        converter=conf.converter(),
        limits=limits(),
        instance_id=instance_id,
        execution_id=execution_id,
        enter=guards.enter,
        dry=dry,
    )
