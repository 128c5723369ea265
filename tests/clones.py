"""Copies of an instance by the thousand, as rows: what many sleeping instances look like to the database."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connection, models

from durable.models import ActivityTask, Execution, HistoryEvent, InboxEvent, Instance

_TABLES: tuple[type[models.Model], ...] = (ActivityTask, InboxEvent, HistoryEvent, Execution, Instance)


def clone(template: Instance, count: int, *, prefix: str, due: tuple[datetime, datetime] | None = None) -> None:
    """Store copies of an instance, with its execution, history and inbox.

    Args:
        template: What to copy; it is left as it is.
        count: How many copies.
        prefix: What their ids begin with; a number follows, from 1.
        due: When what waits in their inboxes is due: evenly between these two. None is as in the template.
    """
    number = {"id": "%s || n.i", "execution_id": _execution_id(), "instance_id": "%s || n.i"}
    at = {"visible_at": _between()} if due else {}
    key = template.execution_id if connection.features.has_native_uuid_field else template.execution_id.hex
    for model, own, found_by, value in (
        (Instance, {"id": number["id"], "execution_id": number["execution_id"]}, "id", template.pk),
        (Execution, {"id": number["execution_id"], "instance_id": number["instance_id"]}, "id", key),
        (HistoryEvent, {"execution_id": number["execution_id"]}, "execution_id", key),
        (InboxEvent, {"execution_id": number["execution_id"], **at}, "execution_id", key),
    ):
        _copy(model, own, found_by, value, count=count, prefix=prefix, due=due)


def empty() -> None:
    """Delete all instances and what belongs to them."""
    names = [model._meta.db_table for model in _TABLES]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"TRUNCATE {', '.join(names)} CASCADE")
            return
        for name in names:
            cursor.execute(f"DELETE FROM {name}")  # noqa: S608 - names of our own tables


def analyze() -> None:
    """Have the database look at its rows now, rather than by itself while something is measured."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"VACUUM ANALYZE {', '.join(model._meta.db_table for model in _TABLES)}")


def _copy(
    model: type[models.Model],
    own: dict[str, str],
    found_by: str,
    value: Any,
    *,
    count: int,
    prefix: str,
    due: tuple[datetime, datetime] | None,
) -> None:
    columns = [f.column for f in model._meta.local_concrete_fields if not isinstance(f, models.AutoField)]
    values = [own.get(column, f"t.{column}") for column in columns]
    parameters: list[Any] = [count]
    for text in (own[column] for column in columns if column in own):
        if text == _between():
            assert due is not None
            parameters += [due[0], (due[1] - due[0]).total_seconds() / count]
        else:
            parameters.append(prefix)
    statement = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %s) "  # noqa: S608 - names of our own tables and columns
        f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) "
        f"SELECT {', '.join(values)} FROM n, {model._meta.db_table} t WHERE t.{found_by} = %s"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [*parameters, value])


def _execution_id() -> str:
    if connection.vendor == "postgresql":
        return "md5(%s || n.i)::uuid"
    # Any text of 32 hex digits that is another one for each prefix and number.
    return "substr(lower(hex(%s || n.i)) || '00000000000000000000000000000000', 1, 32)"


def _between() -> str:
    if connection.vendor == "postgresql":
        return "%s + n.i * %s * interval '1 second'"
    return "strftime('%%Y-%%m-%%d %%H:%%M:%%f', %s, (n.i * %s) || ' seconds')"
