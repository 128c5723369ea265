"""Instances and executions: locking, guarded updates, creation."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import Exists, OuterRef, Q

from durable import conf
from durable.core import likeness
from durable.core.errors import UndecodablePayload, UnknownExecution, UnknownInstance
from durable.fields import load
from durable.models import OPEN, Execution, Instance, Status
from durable.store import clock, driver, inbox, workers

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from durable.core.failures import Failure


PAYLOADS = ("input", "headers", "result", "failure", "custom_status")
"""The columns that pass through the codec."""


def rows() -> Any:
    """Return all instances, on the database of the settings."""
    return Instance.objects.using(conf.settings.DATABASE)


def listed(query: Any, *, payload: str) -> list[Instance]:
    """Return what a query finds with one of the payloads, None where it cannot be decoded, and without the others."""
    try:
        return list(query.defer(*(name for name in PAYLOADS if name != payload)))
    except UndecodablePayload:
        found = list(query.defer(*PAYLOADS))
    for instance in found:
        try:
            getattr(instance, payload)
        except UndecodablePayload:
            setattr(instance, payload, None)
    return found


def executions() -> Any:
    """Return all executions, on the database of the settings."""
    return Execution.objects.using(conf.settings.DATABASE)


def get(instance_id: str, *, payloads: bool = True) -> Instance:
    """Return an instance as it is stored now.

    Args:
        instance_id: The instance.
        payloads: Whether to read its payloads as well, and not only when they are asked for.

    Raises:
        UnknownInstance: There is none of this id.
    """
    query = rows().filter(pk=_key(instance_id))
    found = _one(query if payloads else query.defer(*PAYLOADS))
    if found is None:
        raise UnknownInstance(instance_id)
    return found


def _one(query: Any) -> Instance | None:
    # Without an order, which ``first()`` would ask for: it takes as long to put into SQL as all the rest.
    return next(iter(query.order_by()), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """How an instance ended."""

    name: str
    version: int
    status: str
    result: Any
    failure: Any


_END = """
SELECT id, closed_at IS NOT NULL, name, version, status,
CASE WHEN closed_at IS NOT NULL THEN result END, CASE WHEN closed_at IS NOT NULL THEN failure END
FROM {instance} WHERE {condition}
"""

_STATUS = "SELECT status FROM {instance} WHERE {condition}"

_IS_ONE = "id = %s"


def closed(instance_id: str) -> Closed | None:
    """Return how an instance ended, or None if it did not; one cheap statement, as whoever waits asks often.

    Raises:
        UnknownInstance: There is none of this id.
        UndecodablePayload: Its result cannot be read.
    """
    rows = _look(_END, _IS_ONE, [_key(instance_id)])
    if not rows:
        raise UnknownInstance(instance_id)
    (_, is_closed, *end) = rows[0]
    return decoded(end) if is_closed else None


def ends(ids: Sequence[str]) -> dict[str, Sequence[Any] | None]:
    """Return how some instances ended, as it is stored, and None for those that did not; one statement.

    Raises:
        UnknownInstance: An id is none that an instance can have; one that none has is left out.
    """
    keys = [_key(each) for each in ids]
    if driver.is_at_hand(connections[conf.settings.DATABASE]):
        rows = _look(_END, "id = ANY(%s)", [keys])  # the same statement for any number of them
    else:
        rows = _look(_END, f"id IN ({', '.join(['%s'] * len(keys))})", keys)
    return {pk: end if is_closed else None for pk, is_closed, *end in rows}


def decoded(end: Sequence[Any]) -> Closed:
    """Return how an instance ended, from what is stored.

    Raises:
        UndecodablePayload: Its result cannot be read.
    """
    name, version, status, result, failure = end
    return Closed(
        name=name,
        version=version,
        status=status,
        result=None if result is None else load(result, "Instance.result"),
        failure=None if failure is None else load(failure, "Instance.failure"),
    )


def status(instance_id: str) -> str:
    """Return an instance's status; one cheap statement, as ``closed``.

    Raises:
        UnknownInstance: There is none of this id.
    """
    for (found,) in _look(_STATUS, _IS_ONE, [_key(instance_id)]):
        return str(found)
    raise UnknownInstance(instance_id)


def _look(statement: str, condition: str, params: list[Any]) -> list[Sequence[Any]]:
    connection: Any = connections[conf.settings.DATABASE]
    table = connection.ops.quote_name(Instance._meta.db_table)
    with driver.asking(connection) as cursor:
        cursor.execute(statement.format(instance=table, condition=condition).strip(), params)
        rows: list[Sequence[Any]] = cursor.fetchall()
    return rows


def _key(instance_id: Any) -> str:
    if not isinstance(instance_id, str) or not instance_id.isprintable():
        raise UnknownInstance(instance_id)  # the database would refuse even to look for it
    return instance_id


def execution(instance: Instance, execution_id: str | uuid.UUID | None = None) -> Execution:
    """Return an execution of an instance; None is its current one.

    Raises:
        UnknownExecution: It has none of this id.
    """
    try:
        key = instance.execution_id if execution_id is None else uuid.UUID(str(execution_id))
    except ValueError:
        raise UnknownExecution(instance.pk, str(execution_id)) from None
    found: Execution | None = executions().filter(instance=instance, pk=key).first()
    if found is None:
        raise UnknownExecution(instance.pk, str(execution_id))
    return found


def lock(instance_id: str, *, payloads: bool = True) -> Instance:
    """Lock an instance, waiting for whoever has it, and return it.

    Args:
        instance_id: The instance.
        payloads: Whether to read its payloads as well, and not only when they are asked for.

    Raises:
        UnknownInstance: There is none of this id.
    """
    found = find_locked(_key(instance_id), payloads=payloads)
    if found is None:
        raise UnknownInstance(instance_id)
    return found


def lock_all(*, skip_locked: bool = False, **asked: Any) -> list[Instance]:
    """Lock the instances that fit, always in the same order, and return them without their payloads.

    Args:
        skip_locked: Whether to leave out what somebody else has just now, where the database can tell.
        asked: Django's lookups.
    """
    features = connections[conf.settings.DATABASE].features
    query = _locking(skip_locked=skip_locked and features.has_select_for_update_skip_locked)
    return list(query.filter(**asked).defer(*PAYLOADS).order_by("pk"))


def try_lock(instance_id: str, *, payloads: bool = True) -> Instance | None:
    """Lock an instance and return it; None if there is none, or somebody else has it just now.

    Args:
        instance_id: The instance.
        payloads: Whether to read its payloads as well; they may be what cannot be read.
    """
    features = connections[conf.settings.DATABASE].features
    query = _locking(skip_locked=features.has_select_for_update_skip_locked).filter(pk=instance_id)
    return _one(query if payloads else query.defer(*PAYLOADS))


def try_lock_all(ids: Collection[str]) -> list[Instance]:
    """Lock instances, always in the same order, and return them; not those that somebody else has just now."""
    features = connections[conf.settings.DATABASE].features
    query = _locking(skip_locked=features.has_select_for_update_skip_locked).filter(pk__in=ids)
    # An order takes longer to put into SQL than all the rest.
    return list(query.order_by("pk") if len(ids) > 1 else query.order_by())


def _locking(*, skip_locked: bool = False) -> Any:
    features = connections[conf.settings.DATABASE].features
    if not features.has_select_for_update:
        return rows()  # SQLite: the transaction itself is the lock
    # No key: rows that merely point at the instance need not wait.
    return rows().select_for_update(skip_locked=skip_locked, no_key=features.has_select_for_no_key_update)


def update(instance: Instance, values: dict[str, Any], *, head: int) -> bool:
    """Change an instance if its head is still ``head``; say whether it was."""
    changed = rows().filter(pk=instance.pk, head=head).update(**values)
    return bool(changed)


def _unmoved(query: Any, instance: Instance, *, head: int, lease: uuid.UUID) -> Any:
    # An instance that was asked for its first update meanwhile is to be looked at with other eyes, and so is
    # one whose parent was rewound: another execution is to be told of its end.
    as_seen = {"has_updates": instance.has_updates, "parent_execution_id": instance.parent_execution_id}
    held = query.filter(pk=instance.pk, head=head, lease=lease, status=Status.RUNNING, **as_seen)
    return held.exclude(inbox.any_due(instance.execution_id))


def lock_in_place(instance: Instance, *, head: int, lease: uuid.UUID) -> bool:
    """Lock an instance if ``update_in_place`` would change it; say whether it would."""
    return _unmoved(_locking(), instance, head=head, lease=lease).first() is not None


def update_in_place(instance: Instance, values: dict[str, Any], *, head: int, lease: uuid.UUID) -> bool:
    """Change an instance if nothing happened to it since the lease was taken and nothing waits for it."""
    return bool(_unmoved(rows(), instance, head=head, lease=lease).update(**values))


def release(instance_id: str, lease: uuid.UUID) -> bool:
    """End a lease; say whether it was still held."""
    return bool(rows().filter(pk=instance_id, lease=lease).update(**NO_LEASE))


NO_LEASE: dict[str, Any] = {"lease": None, "lease_worker": "", "lease_event_id": None, "lease_until": None}


NOT_FAILED: dict[str, Any] = {"failed_at": None, "fingerprint": ""}


def failed(name: str, failure: Failure) -> dict[str, Any]:
    """Return what is stored of an instance of a workflow that fails now, to be found with those that are alike."""
    return {"failed_at": clock.now(), "fingerprint": likeness.of_failure(failure).fingerprint(name, Status.FAILED)}


def stalled(name: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the same of one that stalls now."""
    return {"failed_at": clock.now(), "fingerprint": likeness.of_stall(facts).fingerprint(name, Status.STALLED)}


def begin_execution(
    instance: Instance,
    *,
    origin: str,
    source: Execution | uuid.UUID | None,
    name: str = "",
    execution_id: uuid.UUID | None = None,
) -> Execution:
    """Store the next execution of an instance; the caller makes it the current one.

    Args:
        instance: The instance.
        origin: What it begins for.
        source: The execution that it goes back to.
        name: The workflow that it is of; empty is the instance's.
        execution_id: The id that it is to have; None is a new one.
    """
    last = executions().filter(instance=instance).order_by("-number").values_list("number", flat=True).first() or 0
    begun: Execution = executions().create(
        instance=instance,
        number=last + 1,
        origin=origin,
        source_id=source.pk if isinstance(source, Execution) else source,
        name=name or instance.name,
        version=instance.version,
        created_at=clock.now(),
        **({"id": execution_id} if execution_id else {}),
    )
    return begun


def end_execution(execution_id: uuid.UUID, status: str) -> None:
    """Mark an execution as ended."""
    executions().filter(pk=execution_id).update(status=status, closed_at=clock.now())


def due_among(ids: Collection[str]) -> dict[str, str]:
    """Return those of some instances that a turn might change, in the order given, and the queue of each.

    Something is due for them, or they may go on now.
    """
    waits = Exists(inbox.rows().filter(execution_id=OuterRef("execution_id"), visible_at__lte=clock.now()))
    asked = rows().filter(Q(status=Status.STALLED) | waits, pk__in=set(ids)).order_by()
    queues = dict(asked.values_list("pk", "queue"))
    return {instance_id: queues[instance_id] for instance_id in dict.fromkeys(ids) if instance_id in queues}


def parents_of_open(ids: Collection[str], executions: Collection[uuid.UUID]) -> set[str]:
    """Return those of some instances whose executions, of these, have children that are open."""
    found = rows().filter(parent_id__in=ids, parent_execution_id__in=executions, status__in=OPEN)
    return set(found.order_by().values_list("parent_id", flat=True).distinct())


def orphans(limit: int) -> list[Instance]:
    """Return instances whose lease belongs to a worker that shows no sign of life any more."""
    lost = rows().filter(lease__isnull=False, lease_until__lt=clock.now()).exclude(lease_worker__in=workers.alive())
    return list(lost.defer(*PAYLOADS)[:limit])


def abandon_lease(instance_id: str, lease: uuid.UUID, *, until: datetime) -> None:
    """Let a lease be nobody's, and be found as an orphan later."""
    rows().filter(pk=instance_id, lease=lease).update(lease_worker="", lease_until=until)


def find_locked(instance_id: str, *, payloads: bool = True) -> Instance | None:
    """Lock and return an instance, waiting for whoever has it; None if there is none.

    Args:
        instance_id: The instance.
        payloads: Whether to read its payloads as well, and not only when they are asked for.
    """
    query = _locking().filter(pk=instance_id)
    return _one(query if payloads else query.defer(*PAYLOADS))
