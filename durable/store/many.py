"""Many rows at once, by a shorter way than the ORM's where there is one."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
from django.db import connections, transaction
from django.db.models import AutoField

from durable import conf
from durable.fields import JSONText
from durable.store import driver, turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model

_FEW = 8
"""Up to so many rows the ORM is as quick, and gives them their keys."""


def insert(rows: Sequence[Model]) -> None:
    """Store new rows of one model, in one statement; they do not learn the keys that they get.

    On PostgreSQL they go in as one JSON text. The ORM puts each value into the
    statement by itself, in an array for each column, which takes it much longer.
    """
    if not rows:
        return
    model = type(rows[0])
    if len(rows) <= _FEW or not turns.in_one_statement():
        model._default_manager.using(conf.settings.DATABASE).bulk_create(rows)
        return
    connection: Any = connections[conf.settings.DATABASE]
    with transaction.mark_for_rollback_on_error(connection.alias), driver.cursor(connection) as cursor:
        cursor.execute(statement(model), [as_text(rows)])


def as_text(rows: Sequence[Model]) -> str:
    """Return rows of one model, at least one, as the JSON text that ``statement`` takes."""
    fields = _fields(type(rows[0]))
    return msgspec.json.encode([_record(row, fields) for row in rows]).decode()


def _record(row: Model, fields: Sequence[tuple[str, str, Any]]) -> dict[str, Any]:
    values = row.__dict__
    return {
        column: values[name] if text is None else text(values[name])
        for column, name, text in fields
        if values[name] is not None  # what is not there is null
    }


@lru_cache
def _fields(model: type[Model]) -> list[tuple[str, str, Any]]:
    # Text is dumped as Django would; the rest is written as PostgreSQL reads it: times, ids, and what ``jsonb`` holds.
    return [
        (field.column, field.attname, field.get_prep_value if isinstance(field, JSONText) else None)
        for field in _stored(model)
    ]


def _stored(model: type[Model]) -> list[Any]:
    return [field for field in model._meta.local_concrete_fields if not isinstance(field, AutoField)]


@lru_cache
def statement(model: type[Model]) -> str:
    """Return the SQL that stores rows, given as one JSON text; they are called ``new`` in it."""
    connection: Any = connections[conf.settings.DATABASE]
    fields = _stored(model)
    columns = ", ".join(f'"{field.column}"' for field in fields)
    types = ", ".join(f'"{field.column}" {field.db_type(connection)}' for field in fields)
    return f"""
INSERT INTO "{model._meta.db_table}" ({columns})
SELECT {columns} FROM json_to_recordset(%s::json) AS new ({types})""".strip()  # noqa: S608 - of our own models
