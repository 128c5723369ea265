"""New instances: the rows of one, and storing many at once."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError

from durable import conf
from durable.core import events as ev
from durable.models import CLOSED, Execution, InboxEvent, Instance, Status
from durable.store import births, clock, inbox, instances, turns, updates

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


_KEPT = {"timeout", "retry", "parent_close", "resolve"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """Who started a child, and by which event."""

    instance_id: str
    execution_id: uuid.UUID
    event_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Newborn:
    """The rows of a new instance, not saved."""

    instance: Instance
    execution: Execution
    inbox: list[InboxEvent]


def new(
    *,
    instance_id: str,
    name: str,
    version: int,
    arguments: dict[str, Any],
    queue: str,
    tags: dict[str, Any],
    options: dict[str, Any],
    headers: dict[str, Any] | None = None,
    parent: Parent | None = None,
    generation: int = 0,
    rerun_from: str | None = None,
    attempt: int = 0,
    source: uuid.UUID | None = None,
    app_id: str = "",
) -> Newborn:
    """Return the rows of a new instance.

    Args:
        instance_id: Its id.
        name: The workflow's name, without the version.
        version: The version.
        arguments: ``{"args": [...], "kwargs": {...}}``.
        queue: Where its turns run.
        tags: What operators can search for.
        options: ``delay timeout retry parent_close``; and ``resolve``, if the version is for whoever takes
            the first turn to choose.
        headers: What it carries along.
        parent: Whose child it is.
        generation: How many executions of the same id were begun before.
        rerun_from: The id of the instance that it begins like.
        attempt: How many times that was begun like another one, and once more.
        source: The execution that it begins like.
        app_id: The app that it belongs to; empty is the caller's own.
    """
    now = clock.now()
    execution_id = uuid.uuid4()
    instance = Instance(
        id=instance_id,
        name=name,
        version=version,
        queue=queue,
        input=arguments,
        tags=tags,
        headers=headers or None,
        app_id=app_id,
        options={k: v for k, v in options.items() if k in _KEPT},
        execution_id=execution_id,
        parent_id=parent.instance_id if parent else None,
        parent_execution_id=parent.execution_id if parent else None,
        parent_event_id=parent.event_id if parent else None,
        rerun_from=rerun_from,
        attempt=attempt,
        status=Status.PENDING,
        created_at=now,
    )
    execution = Execution(
        id=execution_id,
        instance=instance,
        number=generation + 1,
        source_id=source,
        name=name,
        version=version,
        created_at=now,
    )
    starts_at = now + timedelta(seconds=options.get("delay", 0.0))
    rows = [start_row(instance, execution_id, visible_at=starts_at, generation=generation)]
    if "timeout" in options:
        rows.append(inbox.timeout_row(execution_id, visible_at=starts_at + timedelta(seconds=options["timeout"])))
    return Newborn(instance=instance, execution=execution, inbox=rows)


def with_defaults(definition: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a new instance: the definition's own where the caller set none."""
    own: dict[str, Any] = {}
    if definition is not None and definition.timeout is not None:
        own["timeout"] = definition.timeout
    if definition is not None and definition.retry is not None:
        own["retry"] = definition.retry.to_json()
    return {**own, **options}


def start_row(
    instance: Instance,
    execution_id: uuid.UUID,
    *,
    visible_at: Any = None,
    arguments: dict[str, Any] | None = None,
    carried: Sequence[list[Any]] = (),
    generation: int = 0,
) -> InboxEvent:
    """Return the row, not saved, that begins an execution."""
    parent = None
    if instance.parent_execution_id is not None:
        parent = {
            "instance_id": instance.parent_id,
            "execution_id": str(instance.parent_execution_id),
            "event_id": instance.parent_event_id,
        }
    event = ev.ExecutionStarted(
        name=instance.name,
        version=instance.version,
        input=instance.input if arguments is None else arguments,
        queue=instance.queue,
        tags=instance.tags,
        parent=parent,
        attempt=instance.attempt,
        generation=generation,
        seed=str(execution_id),
        carried=[list(pair) for pair in carried],
        headers=instance.headers or {},
    )
    return inbox.row(execution_id, event, visible_at=visible_at)


def limit_time(instance: Instance) -> None:
    """Have an instance's current execution end when its time is up, counted from now."""
    if (timeout := instance.options.get("timeout")) is not None:
        due = clock.now() + timedelta(seconds=timeout)
        inbox.insert([inbox.timeout_row(instance.execution_id, visible_at=due)])


def insert(newborns: Sequence[Newborn]) -> None:
    """Store new instances, in one statement on PostgreSQL and in three elsewhere; call it in a transaction.

    Raises:
        IntegrityError: An id was taken meanwhile.
    """
    if not newborns:
        return
    if turns.in_one_statement():
        if births.store(newborns) < len(newborns):
            raise IntegrityError(f"an id is in use: one of {[born.instance.pk for born in newborns]}")
        return
    instances.rows().bulk_create([born.instance for born in newborns])
    instances.executions().bulk_create([born.execution for born in newborns])
    inbox.insert([row for born in newborns for row in born.inbox])


def left_behind(parent: Instance, ids: Collection[str]) -> dict[str, int]:
    """Return those of some ids that closed children have which a rewind dropped, and how many executions each has."""
    executions = instances.executions()
    if not executions.filter(pk=parent.execution_id, origin=Execution.Origin.REWIND).exists():
        return {}
    dropped = instances.rows().filter(pk__in=ids, parent_id=parent.pk, status__in=CLOSED)
    dropped = dropped.exclude(parent_execution_id=parent.execution_id)
    return {pk: executions.filter(instance=pk).count() for pk in dropped.values_list("pk", flat=True)}


def replace(newborn: Newborn) -> None:
    """Begin a new execution in a child that a rewind dropped; its old executions stay."""
    newborn.execution.origin = Execution.Origin.REWIND
    updates.forget(newborn.instance.pk)
    newborn.instance.save(using=conf.settings.DATABASE, force_update=True)
    newborn.execution.save(using=conf.settings.DATABASE, force_insert=True)
    inbox.insert(newborn.inbox)
