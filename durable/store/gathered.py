"""What turns of several instances write, in a few statements for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec
from django.db import IntegrityError, connections

from durable import conf
from durable.core.errors import ConcurrencyConflict
from durable.fields import JSONText
from durable.models import Instance, Status
from durable.store import clock, creation, driver, history, inbox, instances, many, tasks, turns

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from durable.models import ActivityTask, InboxEvent

_MOVE = """
UPDATE {instance} SET {values} FROM json_to_recordset(%s::json) AS new (pk varchar, seen int, {types})
WHERE {instance}.id = ANY(%s) AND {instance}.id = new.pk AND {instance}.head = new.seen
"""

_PATIENCE = "50ms"
"""How long to wait for whoever may be about to take the id of a new child: others wait for those who are locked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a turn of a locked instance writes.

    Attributes:
        values: What to change in the instance's row.
        records: The events after its head.
        at: When they are recorded.
        consumed: The inbox rows that are in the history now.
        ended: Whether its execution is completed, so that nothing of its inbox is to be kept.
        tells: The row by which its parent learns of the end.
        tasks: New tasks.
        inbox: New rows of its inbox.
        dropped_timers: The event ids of timers that it needs no more.
        born: New children.
    """

    instance: Instance
    values: dict[str, Any]
    records: Sequence[history.Record]
    at: datetime
    consumed: Sequence[int]
    ended: bool
    tells: InboxEvent | None = None
    tasks: Sequence[ActivityTask] = ()
    inbox: Sequence[InboxEvent] = ()
    dropped_timers: Sequence[int] = ()
    born: Sequence[creation.Newborn] = ()


def with_open_children(parents: Collection[Instance]) -> set[str]:
    """Return the ids of those instances whose current executions have children that are open."""
    executions = [parent.execution_id for parent in parents]
    return instances.parents_of_open([parent.pk for parent in parents], executions) if parents else set()


def write(parts: Sequence[Part]) -> list[tuple[str, str]]:
    """Write what turns of locked instances come to, in the transaction at hand; return the parents that were told.

    Raises:
        ConcurrencyConflict: One has moved; the transaction is to be rolled back.
        IntegrityError: The id of a new child is taken; likewise.
        OperationalError: The database fails, or, as ``may_be_ids`` says, somebody is about to take such an id.
    """
    _move(parts)
    many.insert(
        [
            history.row(part.instance.execution_id, seq, record, part.at)
            for part in parts
            for seq, record in enumerate(part.records, part.instance.head + 1)
        ]
    )
    inbox.delete([pk for part in parts for pk in part.consumed if not part.ended])
    inbox.delete_timers(
        [(part.instance.execution_id, event_id) for part in parts if not part.ended for event_id in part.dropped_timers]
    )
    if ended := [part.instance.execution_id for part in parts if part.ended]:
        instances.executions().filter(pk__in=ended).update(status=Status.COMPLETED, closed_at=clock.now())
        inbox.clear_all(ended)
    tasks.insert([task for part in parts for task in part.tasks])
    inbox.insert([row for part in parts for row in part.inbox if not part.ended])
    _give_birth([born for part in parts for born in part.born])
    told = [part.tells for part in parts if part.tells is not None]
    return inbox.tell_parents(told) if told else []


def waits_for_ids() -> bool:
    """Say whether to take an id that somebody else is about to take may last as long as that does."""
    return connections[conf.settings.DATABASE].vendor != "sqlite" and not turns.in_one_statement()


def may_be_ids(error: Exception) -> bool:
    """Say whether an error may be that the id of a new child is in use."""
    return isinstance(error, IntegrityError) or driver.waited_in_vain(error)


def _give_birth(born: Sequence[creation.Newborn]) -> None:
    if not born:
        return
    if turns.in_one_statement():
        with driver.cursor(connections[conf.settings.DATABASE]) as client:
            client.execute("SELECT set_config('lock_timeout', %s, true)", [_PATIENCE])
    # Always in the same order: who waits for an id that another one is about to take must not have what that waits for.
    creation.insert(sorted(born, key=lambda each: each.instance.pk))


def _move(parts: Sequence[Part]) -> None:
    for columns, alike in groupby(sorted(parts, key=_names), key=_names):
        some = list(alike)
        if _moved(columns, some) != len(some):
            raise ConcurrencyConflict(some[0].instance.pk, expected=some[0].instance.head)


def _names(part: Part) -> tuple[str, ...]:
    return tuple(sorted(part.values))


def _moved(columns: tuple[str, ...], parts: Sequence[Part]) -> int:
    connection: Any = connections[conf.settings.DATABASE]
    if turns.in_one_statement():
        rows = [{"pk": part.instance.pk, "seen": part.instance.head, **_plain(part.values)} for part in parts]
        with driver.cursor(connection) as client:
            # By their ids as well: how many rows there are in the JSON, the planner can only guess.
            ids = [part.instance.pk for part in parts]
            client.execute(_statement(columns), [msgspec.json.encode(rows).decode(), ids])
            return int(client.rowcount)
    values = [[_FIELDS[name].get_db_prep_save(part.values[name], connection) for name in columns] for part in parts]
    keys = [(part.instance.pk, part.instance.head) for part in parts]
    with connection.cursor() as cursor:
        cursor.executemany(_each(columns), [(*row, *key) for row, key in zip(values, keys, strict=True)])
        return int(cursor.rowcount)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    # The rest is written as PostgreSQL reads it: times, ids, and what ``jsonb`` holds.
    texts = {name for name, value in values.items() if value is not None and isinstance(_FIELDS[name], JSONText)}
    return {
        name: str(_FIELDS[name].get_prep_value(value)) if name in texts else value for name, value in values.items()
    }


_FIELDS: dict[str, Any] = {field.attname: field for field in Instance._meta.concrete_fields}


@lru_cache
def _statement(names: tuple[str, ...]) -> str:
    connection: Any = connections[conf.settings.DATABASE]
    types = ", ".join(f"{name} {_FIELDS[name].rel_db_type(connection)}" for name in names)
    values = ", ".join(f"{name} = new.{name}" for name in names)
    return _MOVE.format(instance=f'"{Instance._meta.db_table}"', values=values, types=types).strip()


@lru_cache
def _each(names: tuple[str, ...]) -> str:
    values = ", ".join(f"{name} = %s" for name in names)
    return f"UPDATE {Instance._meta.db_table} SET {values} WHERE id = %s AND head = %s"  # noqa: S608 - our own names
