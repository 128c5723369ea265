"""Copies of all that is stored, by the database itself: what lists look like when there is a lot."""

from __future__ import annotations

from django.db import connection, models

from durable.models import ActivityTask, Execution, HistoryEvent, InboxEvent, Instance, Operation

_NAMES = ("id", "instance_id", "parent_id", "rerun_from")
_TABLES: tuple[type[models.Model], ...] = (Instance, Execution, HistoryEvent, ActivityTask, InboxEvent, Operation)


def multiply(times: int) -> None:
    """Store so many copies of each row, each copy some minutes older than the one before; for PostgreSQL."""
    with connection.cursor() as cursor:
        for table in _TABLES:
            columns = [f for f in table._meta.local_concrete_fields if not isinstance(f, models.AutoField)]
            values = ", ".join(_value(column) for column in columns)
            names = ", ".join(column.column for column in columns)
            source = table._meta.db_table
            cursor.execute(
                f"INSERT INTO {source} ({names}) SELECT {values} FROM {source} t, generate_series(1, %s) n",  # noqa: S608 - names of our own
                [times],
            )


def _value(column: models.Field) -> str:
    match column:
        case models.DateTimeField():
            return f"t.{column.column} - n * interval '7 minutes'"
        case models.UUIDField() | models.ForeignKey() if column.column not in _NAMES or _is_uuid(column):
            return f"md5(t.{column.column}::text || n)::uuid"
        case models.CharField() | models.ForeignKey() if column.column in _NAMES:
            return f"t.{column.column} || '-' || n"
    return f"t.{column.column}"


def _is_uuid(column: models.Field) -> bool:
    return (column.target_field if isinstance(column, models.ForeignKey) else column).get_internal_type() == "UUIDField"
