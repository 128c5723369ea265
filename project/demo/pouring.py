"""Stores copies of instances by the million: as text that PostgreSQL takes in as it comes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from django.db import connections, models

from durable import conf
from durable.codecs import PlainCodec
from durable.models import HistoryEvent
from project.demo.stories import NUMBER

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

_FIRE_AT = 4_242_424_242.0
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t", "%": "%%"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A template as text, with gaps for what differs from copy to copy.

    Attributes:
        texts: The lines of each table.
        executions: How many executions have to be named, ``e0`` and so on.
        times: What to fill in as ``t0`` and so on, but for how long ago a copy has been.
        days: How long ago the oldest copy shall have been.
    """

    texts: dict[type[models.Model], str]
    executions: int
    times: tuple[datetime | float, ...]
    days: float


def fits() -> bool:
    """Say whether the database takes text in, and the codec leaves it as it is."""
    return connections[conf.settings.DATABASE].vendor == "postgresql" and type(conf.codec()) is PlainCodec


def columns(table: type[models.Model]) -> list[Any]:
    """Return what a line says of a row of a table, in this order."""
    return [each for each in table._meta.local_concrete_fields if not isinstance(each, models.AutoField)]


def sheet(
    found: dict[type[models.Model], list[dict[str, Any]]], executions: tuple[uuid.UUID, ...], days: float
) -> Sheet:
    """Return the rows of a template as text."""
    names = {key: f"%(e{number})s" for number, key in enumerate(executions)}
    times: dict[datetime | float, str] = {}
    texts = {}
    for table, rows in found.items():
        fields = columns(table)
        lines = ["\t".join(_cell(table, row, each, names, times) for each in fields) + "\n" for row in rows]
        texts[table] = "".join(lines)
    return Sheet(
        texts=texts,
        executions=len(names),
        times=tuple(times),
        days=days,
    )


def _cell(
    table: type[models.Model],
    row: dict[str, Any],
    column: Any,
    names: dict[uuid.UUID, str],
    times: dict[datetime | float, str],
) -> str:
    value = row.get(column.attname)
    match value:
        case None:
            return r"\N"
        case datetime():
            return times.setdefault(value, f"%(t{len(times)})s")
        case uuid.UUID():
            return names.get(value, str(value))
        case bytes():
            text = value.decode()
            event = msgspec.json.decode(text) if table is HistoryEvent and '"fire_at"' in text else {}
            at = event.get("fire_at")
            if at is not None:
                text = msgspec.json.encode({**event, "fire_at": _FIRE_AT}).decode()
            return _gaps(text, names).replace(str(_FIRE_AT), times.setdefault(at, f"%(t{len(times)})s") if at else "")
        case bool():
            return "t" if value else "f"
    return _gaps(str(value), names)


def _gaps(text: str, names: dict[uuid.UUID, str]) -> str:
    text = text.translate(_ESCAPES).replace(str(NUMBER), "%(n)s")
    for key, name in names.items():
        text = text.replace(str(key), name)
    return text


def filled(known: Sheet, number: int, chance: random.Random) -> dict[type[models.Model], str]:
    """Return the lines of another instance with the same story.

    Args:
        known: The story.
        number: The number that it gets.
        chance: Where its times and ids come from.
    """
    seconds = 3600 + known.days * 86_400 * chance.random() ** 2
    earlier = timedelta(seconds=seconds)
    gaps: dict[str, Any] = {"n": number}
    for place in range(known.executions):
        gaps[f"e{place}"] = uuid.UUID(int=chance.getrandbits(128), version=4)
    for place, at in enumerate(known.times):
        gaps[f"t{place}"] = (at - earlier).isoformat() if isinstance(at, datetime) else at - seconds
    return {table: text % gaps for table, text in known.texts.items()}


def pour(table: type[models.Model], texts: Iterable[str]) -> None:
    """Store lines as rows."""
    connection = connections[conf.settings.DATABASE]
    quoted = connection.ops.quote_name
    names = ", ".join(quoted(each.column) for each in columns(table))
    into = f"COPY {quoted(table._meta.db_table)} ({names}) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(into) as copy:
        for text in texts:
            copy.write(text)


def settle(tables: Iterable[type[models.Model]]) -> None:
    """Have the database look at its new rows now, and not while they are looked at."""
    connection = connections[conf.settings.DATABASE]
    if connection.vendor == "postgresql" and not connection.in_atomic_block:
        names = ", ".join(connection.ops.quote_name(table._meta.db_table) for table in tables)
        with connection.cursor() as cursor:
            cursor.execute(f"VACUUM (ANALYZE) {names}")
