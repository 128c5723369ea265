"""Many rows at once, by a shorter way than the ORM's where there is one."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
from django.db import connections

from durable import conf
from durable.fields import JSONText
from durable.store import turns

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
    fields = [field for field in model._meta.local_concrete_fields if not field.primary_key]
    records = [{field.column: _plain(field, getattr(row, field.attname)) for field in fields} for row in rows]
    with turns.cursor(connection) as cursor:
        cursor.execute(_statement(model), [msgspec.json.encode(records).decode()])


def _plain(field: Any, value: Any) -> Any:
    # The rest is written as PostgreSQL reads it: times, ids, and what ``jsonb`` holds.
    return str(field.get_prep_value(value)) if isinstance(field, JSONText) and value is not None else value


@lru_cache
def _statement(model: type[Model]) -> str:
    connection: Any = connections[conf.settings.DATABASE]
    fields: list[Any] = [field for field in model._meta.local_concrete_fields if not field.primary_key]
    columns = ", ".join(field.column for field in fields)
    types = ", ".join(f"{field.column} {field.db_type(connection)}" for field in fields)
    return f"""
INSERT INTO "{model._meta.db_table}" ({columns})
SELECT {columns} FROM json_to_recordset(%s::json) AS new ({types})""".strip()  # noqa: S608 - of our own models
