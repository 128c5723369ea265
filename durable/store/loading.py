"""What turns begin with: instances, locked, what is due for them and what their histories hold, of many at once.

PostgreSQL is asked past the ORM, which takes longer to put the SQL together
than the database to answer: one statement locks, and one reads all the rest.
It cannot be one for both: what waited for a lock sees the instance as it is
now, and its inbox as it was before. Who locks nothing sees all of it at once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
from django.db import connections

from durable import conf
from durable.models import HistoryEvent, InboxEvent, Instance
from durable.store import clock, driver, history, inbox, instances, turns

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

_LOCK = """
SELECT {columns} FROM {instance} WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
"""

_READ = """
SELECT true, e.id, w.id, w.kind, date_part('epoch', w.visible_at), w.data
FROM unnest(%s::uuid[]) AS e (id), LATERAL (
    SELECT id, kind, visible_at, data FROM {inbox}
    WHERE execution_id = e.id AND visible_at <= %s ORDER BY visible_at, id LIMIT %s
) AS w
UNION ALL
SELECT false, e.id, h.seq, h.kind, date_part('epoch', h.recorded_at), h.data
FROM unnest(%s::uuid[], %s::int[]) AS e (id, seen), LATERAL (
    SELECT seq, kind, recorded_at, data FROM {history} WHERE execution_id = e.id AND seq > e.seen
) AS h
"""

_LOOK = """
SELECT {columns}, i.xmin::text, (
    SELECT json_agg(json_build_array(id, kind, data))::text FROM (
        SELECT id, kind, data FROM {inbox} WHERE execution_id = i.execution_id AND visible_at <= %s
        ORDER BY visible_at, id LIMIT %s
    ) AS w
), (
    SELECT json_agg(json_build_array(seq, kind, date_part('epoch', recorded_at), data))::text FROM (
        SELECT seq, kind, recorded_at, data FROM {history} WHERE execution_id = i.execution_id AND seq > k.seen
        AND i.head > k.seen AND i.head <= k.seen + %s AND i.closed_at IS NULL ORDER BY seq
    ) AS h
)
FROM {instance} AS i, LATERAL (SELECT CASE WHEN i.execution_id = %s THEN %s ELSE 0 END) AS k (seen) WHERE i.id = %s
"""


_decode = msgspec.json.decode


class Found:
    """What there is for an execution.

    Attributes:
        waiting: What is due, in order of arrival, as ``(row id, kind, text)``.
        rows: Its history after what is known of it, in order; None if it was not asked for.
    """

    __slots__ = ("rows", "waiting")

    def __init__(self, *, rows: list[history.Row] | None) -> None:
        self.waiting: list[tuple[int, str, str]] = []
        self.rows = rows

    def due(self) -> list[tuple[int, str, str]]:
        """Return what is due, with its text as JSON.

        Raises:
            UndecodablePayload: One cannot be read.
        """
        return [(pk, kind, inbox.plain(kind, text)) for pk, kind, text in self.waiting]


def lock(ids: Sequence[str]) -> list[Instance]:
    """Lock instances and return them; not those that somebody else has just now."""
    if not turns.in_one_statement():
        return instances.try_lock_all(ids)
    connection: Any = connections[conf.settings.DATABASE]
    with driver.cursor(connection) as client:
        client.execute(_locking(), [list(ids)])
        found = client.fetchall()
    return [_instance(connection, row) for row in found]


def look(
    instance_id: str, known: tuple[uuid.UUID | None, int], *, limit: int, events: int
) -> tuple[Instance, Found, turns.Seen] | None:
    """Return an instance and what there is for its execution, all as it is now; None if there is none of this id.

    Nothing keeps others off it afterwards: what follows from it is stored only if that is still so. Call it where
    ``turns.in_one_statement``.

    Args:
        instance_id: The instance.
        known: An execution of it, and the ``seq`` that its history is known to.
        limit: How much at most of what is due.
        events: How many events at most of its history, else none.
    """
    connection: Any = connections[conf.settings.DATABASE]
    with driver.cursor(connection) as client:
        client.execute(_looking(), [clock.now(), limit, events, *known, instance_id])
        row = client.fetchone()
    if row is None:
        return None
    *values, version, due, rows = row
    found = Found(rows=[] if rows is None else _decode(rows, type=list[tuple[int, str, float, str]]))
    found.waiting = [] if due is None else _decode(due, type=list[tuple[int, str, str]])
    seen = turns.Seen(version, tuple(sorted(pk for pk, _, _ in found.waiting)))
    return _instance(connection, values), found, seen


def read(wanted: Sequence[tuple[uuid.UUID, int | None]], *, limit: int) -> dict[uuid.UUID, Found]:
    """Return what there is for executions whose instances are locked.

    Args:
        wanted: The executions, each with the ``seq`` that its history is known to; None if it is not to be read.
        limit: How much at most of what is due for each of them, or may be for all of them on average.
    """
    found = {execution_id: Found(rows=None if seen is None else []) for execution_id, seen in wanted}
    behind = [(execution_id, seen) for execution_id, seen in wanted if seen is not None]
    if turns.in_one_statement():
        _read_at_once(found, behind, limit=limit)
        return found
    for execution_id, pk, kind, text in inbox.waiting(list(found), limit=limit * len(found)):
        found[execution_id].waiting.append((pk, kind, text))
    for execution_id, seq, kind, at, text in history.rows_after(behind):
        found[execution_id].rows.append((seq, kind, at, text))  # type: ignore[union-attr] # it was asked for
    return found


def _read_at_once(found: dict[uuid.UUID, Found], behind: Sequence[tuple[uuid.UUID, int]], *, limit: int) -> None:
    known = [execution_id for execution_id, _ in behind], [seen for _, seen in behind]
    with driver.cursor(connections[conf.settings.DATABASE]) as client:
        client.execute(_reading(), [list(found), clock.now(), limit, *known])
        answer = client.fetchall()
    waiting: dict[uuid.UUID, list[tuple[float, int, str, str]]] = {}
    for is_due, execution_id, number, kind, at, text in answer:
        if is_due:
            waiting.setdefault(execution_id, []).append((at, number, kind, text))
        else:
            found[execution_id].rows.append((number, kind, at, text))  # type: ignore[union-attr] # it was asked for
    for execution_id, rows in waiting.items():
        found[execution_id].waiting = [(pk, kind, text) for _, pk, kind, text in sorted(rows)]
    for execution_id, _ in behind:
        found[execution_id].rows.sort()  # type: ignore[union-attr] # likewise


def _instance(connection: Any, row: Sequence[Any]) -> Instance:
    values = list(row)
    for place, field in _CONVERTED:
        values[place] = field.from_db_value(values[place], None, connection)
    return Instance.from_db(connection.alias, _NAMES, values)


_FIELDS: list[Any] = list(Instance._meta.concrete_fields)
_NAMES = [field.attname for field in _FIELDS]
_CONVERTED = [(place, field) for place, field in enumerate(_FIELDS) if hasattr(field, "from_db_value")]


_TABLES: dict[str, Any] = {"instance": Instance, "history": HistoryEvent, "inbox": InboxEvent}
_QUOTED = {name: f'"{model._meta.db_table}"' for name, model in _TABLES.items()}


@lru_cache
def _locking() -> str:
    return _LOCK.format(columns=", ".join(f'"{field.column}"' for field in _FIELDS), **_QUOTED).strip()


@lru_cache
def _looking() -> str:
    return _LOOK.format(columns=", ".join(f'i."{field.column}"' for field in _FIELDS), **_QUOTED).strip()


@lru_cache
def _reading() -> str:
    return _READ.format(**_QUOTED).strip()
