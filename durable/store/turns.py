"""What every turn writes: its instance's row and the events after its head, both or neither.

PostgreSQL does it in one statement, which needs no transaction around it if it
is all that a turn writes: one round trip and one commit a step. It goes past
the ORM, which takes longer to put the SQL together than the database to run it.
Other databases do it in two statements, with the same conditions.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
from django.db import OperationalError, connections
from django.db.models import JSONField

from durable import conf
from durable.core.errors import ConcurrencyConflict
from durable.fields import JSONText, dump
from durable.models import OPEN, Execution, HistoryEvent, InboxEvent, Instance, Status
from durable.store import clock, driver, history, inbox, instances

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator, Sequence
    from datetime import datetime

_ENCODED = {field.attname: field for field in Instance._meta.fields if isinstance(field, JSONText | JSONField)}

_SERIALIZATION_FAILURE = "40001"

_MOVED = """
WITH moved AS (
    UPDATE {instance} SET {values} WHERE id = %s AND head = %s {unmoved} RETURNING parent_execution_id AS parent
){also}
INSERT INTO {history} (execution_id, seq, kind, event_id, name, recorded_at, data)
SELECT %s::uuid, seq, kind, event_id, name, %s::timestamptz, data
FROM moved, json_to_recordset(%s::json) AS new (seq int, kind text, event_id int, name text, data text){returning}
"""

_UNMOVED = """
AND lease = %s AND status = %s AND has_updates = %s AND parent_execution_id IS NOT DISTINCT FROM %s
AND NOT EXISTS (SELECT 1 FROM {inbox} WHERE execution_id = %s AND visible_at <= %s)
"""

# Every change of a row gives it another ``xmin``. Nobody waits here: who has it locked is about to change something.
_LOCK = """
SELECT id FROM {instance} WHERE id = %s AND xmin = %s::xid
AND ARRAY(SELECT id FROM {inbox} WHERE execution_id = %s AND visible_at <= %s ORDER BY id) = %s::bigint[]
FOR NO KEY UPDATE SKIP LOCKED
"""

_AS_SEEN = f"""
AND id = ({_LOCK.strip()})
"""

_CHILDLESS = """
AND NOT EXISTS (SELECT 1 FROM {instance} WHERE parent_id = %s AND parent_execution_id = %s AND status = ANY(%s))
"""

_ENDED = """, ended AS (
    UPDATE {execution} SET status = %s, closed_at = %s WHERE id = %s AND EXISTS (SELECT 1 FROM moved)
), cleared AS (
    DELETE FROM {inbox} WHERE execution_id = %s AND EXISTS (SELECT 1 FROM moved)
)"""

# To the parent that the row named when it was seen: if a rewind gave it another one since, it has moved.
_TOLD = """, waiting AS (
    SELECT e.id, e.instance_id, i.queue
    FROM moved JOIN {execution} AS e ON e.id = moved.parent JOIN {instance} AS i ON i.id = e.instance_id
    WHERE e.status = %s
), told AS (
    INSERT INTO {inbox} (execution_id, kind, event_id, data, visible_at, dispatched_at)
    SELECT id, %s, %s, %s, %s, %s FROM waiting
)"""

_WHOM = """
RETURNING (SELECT queue FROM waiting), (SELECT instance_id FROM waiting)
"""

_CONSUMED = """, consumed AS (
    DELETE FROM {inbox} WHERE id = ANY(%s) AND EXISTS (SELECT 1 FROM moved)
)"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What an instance was like when nobody kept others off it.

    Attributes:
        row_version: Which version of its row was seen.
        due: The ids of the inbox rows that were due, in order of their ids.
    """

    row_version: str
    due: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """What came of writing a turn.

    Attributes:
        told: The parent that was told, as ``(queue, id)``, if there is one that runs.
    """

    told: tuple[tuple[str, str], ...] = ()


def in_one_statement() -> bool:
    """Say whether ``write`` is one statement, and so all or nothing by itself."""
    return driver.is_at_hand(connections[conf.settings.DATABASE])


def is_alone() -> bool:
    """Say whether a statement is a transaction by itself just now."""
    return bool(connections[conf.settings.DATABASE].get_autocommit())


def lock(instance: Instance, seen: Seen) -> bool:
    """Lock an instance, in the transaction at hand; False if it moved since it was seen, or somebody else has it.

    Raises:
        ConcurrencyConflict: Likewise, by the transaction's isolation level.
    """
    with driver.cursor(connections[conf.settings.DATABASE]) as client, _conflicts(instance, instance.head):
        client.execute(_locking(), _as_seen(instance, seen))
        return client.fetchone() is not None


@contextmanager
def _conflicts(instance: Instance, head: int) -> Iterator[None]:
    """Have a conflict be one in a project, too, whose isolation level makes an error of it."""
    try:
        yield
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", "") != _SERIALIZATION_FAILURE:
            raise
        raise ConcurrencyConflict(instance.pk, expected=head) from error


def _as_seen(instance: Instance, seen: Seen) -> list[Any]:
    return [instance.pk, seen.row_version, instance.execution_id, clock.now(), list(seen.due)]


def write(
    instance: Instance,
    values: dict[str, Any],
    records: Sequence[history.Record],
    *,
    head: int,
    at: datetime,
    lease: uuid.UUID | None = None,
    seen: Seen | None = None,
    consumed: Sequence[int] = (),
    ends: bool = False,
    tells: InboxEvent | None = None,
) -> Written | None:
    """Change an instance, append to its history and delete from its inbox; None, and nothing is done, if it moved.

    Unless it is one statement, call it in a transaction.

    Args:
        instance: The instance, as it was seen.
        values: What to change in its row.
        records: The events.
        head: The head that was seen.
        at: When the events are recorded.
        lease: The lease that must still be held, with nothing due in the inbox; None if it is not by that.
        seen: What must still be so; None if the row is locked, or by the lease. Only if it is one statement.
        consumed: The inbox rows that are in the history now.
        ends: Whether its execution ends with that, and nothing of its inbox is to be kept. Then it counts as moved
            while it has children that are open. Only if it is one statement.
        tells: The row by which its parent learns of the end; only with ``ends``.

    Raises:
        ConcurrencyConflict: It moved, by the isolation level of the database.
        LimitExceeded: The history would be too long.
    """
    history.check_length(instance.execution_id, head, records)
    if records and in_one_statement():
        rest: Any = {"lease": lease, "seen": seen, "consumed": consumed, "ends": ends, "tells": tells}
        return _at_once(instance, values, records, head=head, at=at, **rest)
    if lease is None:
        changed = instances.update(instance, values, head=head)
    else:
        changed = instances.update_in_place(instance, values, head=head, lease=lease)
    if changed and records:
        history.append(instance.execution_id, head, records, at=at)
    if changed and consumed:
        inbox.delete(consumed)
    return Written() if changed else None


def _at_once(
    instance: Instance,
    values: dict[str, Any],
    records: Sequence[history.Record],
    *,
    head: int,
    at: datetime,
    lease: uuid.UUID | None,
    seen: Seen | None,
    consumed: Sequence[int],
    ends: bool,
    tells: InboxEvent | None,
) -> Written | None:
    connection: Any = connections[conf.settings.DATABASE]
    parameters = [
        _ENCODED[name].get_db_prep_save(value, connection) if name in _ENCODED else value
        for name, value in values.items()
    ]
    parameters += [instance.pk, head]
    if lease is not None:
        parameters += [lease, Status.RUNNING.value, instance.has_updates, instance.parent_execution_id]
        parameters += [instance.execution_id, clock.now()]
    if seen is not None:
        parameters += _as_seen(instance, seen)
    if ends:
        parameters += [instance.pk, instance.execution_id, list(map(str, OPEN))]
        parameters += [values["status"], values["closed_at"], instance.execution_id, instance.execution_id]
    elif consumed:
        parameters.append(list(consumed))
    if tells:
        row = tells.kind, tells.event_id, dump(tells.data), tells.visible_at, tells.dispatched_at
        parameters += [Status.RUNNING.value, *row]
    parameters += [instance.execution_id, at, _rows(records, head)]
    also = _ENDED + (_TOLD if tells else "") if ends else _CONSUMED if consumed else ""
    unmoved = (_UNMOVED if lease else "") + (_AS_SEEN if seen else "") + (_CHILDLESS if ends else "")
    by_itself = seen is not None or is_alone()  # else it is for whoever began the transaction, which is spoilt
    with driver.cursor(connection) as client, _conflicts(instance, head) if by_itself else nullcontext():
        client.execute(_statement(tuple(values), unmoved, also), parameters)
        if not client.rowcount:
            return None
        told = [(queue, parent_id) for queue, parent_id in client.fetchall()[:1] if parent_id] if tells else ()
    return Written(tuple(told))


def _rows(records: Sequence[history.Record], head: int) -> str:
    rows = [
        {
            "seq": seq,
            "kind": event.kind,
            "event_id": getattr(event, "event_id", None),
            "name": getattr(event, "name", ""),
            "data": text,
        }
        for seq, (event, text) in enumerate(records, head + 1)
    ]
    return msgspec.json.encode(rows).decode()


_TABLES: dict[str, Any] = {"instance": Instance, "execution": Execution, "history": HistoryEvent, "inbox": InboxEvent}
_QUOTED = {name: f'"{model._meta.db_table}"' for name, model in _TABLES.items()}


@lru_cache
def _statement(names: tuple[str, ...], unmoved: str, also: str) -> str:
    parts = {
        "values": ", ".join(f"{name} = %s" for name in names),
        "unmoved": unmoved.format(**_QUOTED),
        "also": also.format(**_QUOTED),
        "returning": _WHOM.rstrip() if also.endswith(_TOLD) else "",
    }
    return _MOVED.format(**_QUOTED, **parts).strip()


@lru_cache
def _locking() -> str:
    return _LOCK.format(**_QUOTED).strip()
