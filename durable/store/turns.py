"""What every turn writes: its instance's row and the events after its head, both or neither.

PostgreSQL does it in one statement, which needs no transaction around it if it
is all that a turn writes: one round trip and one commit a step. It goes past
the ORM, which takes longer to put the SQL together than the database to run it.
Other databases do it in two statements, with the same conditions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
from django.db import connections
from django.db.models import JSONField

from durable import conf
from durable.fields import JSONText, dump
from durable.models import OPEN, Execution, HistoryEvent, InboxEvent, Instance, Status
from durable.store import clock, driver, history, inbox, instances

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence
    from datetime import datetime

_ENCODED = {field.attname: field for field in Instance._meta.fields if isinstance(field, JSONText | JSONField)}

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
class Written:
    """What came of writing a turn.

    Attributes:
        told: The parent that was told, as ``(queue, id)``, if there is one that runs.
    """

    told: tuple[tuple[str, str], ...] = ()


def in_one_statement() -> bool:
    """Say whether ``write`` is one statement, and so all or nothing by itself."""
    return driver.is_at_hand(connections[conf.settings.DATABASE])


def write(
    instance: Instance,
    values: dict[str, Any],
    records: Sequence[history.Record],
    *,
    head: int,
    at: datetime,
    lease: uuid.UUID | None = None,
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
        lease: The lease that must still be held, with nothing due in the inbox; None if the row is locked.
        consumed: The inbox rows that are in the history now.
        ends: Whether its execution ends with that, and nothing of its inbox is to be kept. Then it counts as moved
            while it has children that are open. Only if it is one statement.
        tells: The row by which its parent learns of the end; only with ``ends``.

    Raises:
        LimitExceeded: The history would be too long.
    """
    history.check_length(instance.execution_id, head, records)
    if records and in_one_statement():
        rest: Any = {"lease": lease, "consumed": consumed, "ends": ends, "tells": tells}
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
    with driver.cursor(connection) as client:
        client.execute(_statement(tuple(values), lease is not None, also), parameters)
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


@lru_cache
def _statement(names: tuple[str, ...], in_place: bool, also: str) -> str:
    tables = {"instance": Instance, "execution": Execution, "history": HistoryEvent, "inbox": InboxEvent}
    quoted = {name: f'"{model._meta.db_table}"' for name, model in tables.items()}
    ends, tells = also.startswith(_ENDED), also.endswith(_TOLD)
    parts = {
        "values": ", ".join(f"{name} = %s" for name in names),
        "unmoved": ((_UNMOVED if in_place else "") + (_CHILDLESS if ends else "")).format(**quoted),
        "also": also.format(**quoted),
        "returning": _WHOM.rstrip() if tells else "",
    }
    return _MOVED.format(**quoted, **parts).strip()
