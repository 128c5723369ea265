"""Indexes that are added while workers go on: PostgreSQL builds them without locking the table.

Migrations with them have ``atomic = False``, so one that was interrupted is run again: what it built is kept,
and what it left half built is dropped and built anew.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations
from django.db.migrations.operations.base import Operation


def is_there(schema_editor: Any, model: Any, name: str) -> bool:
    """Say whether a table has an index that can be used; one that PostgreSQL left half built is dropped."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        found = name in connection.introspection.get_constraints(cursor, model._meta.db_table)
        if found and connection.vendor == "postgresql":
            cursor.execute(
                "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [_quoted(connection, name)]
            )
            if cursor.fetchone() == (False,):
                schema_editor.execute(f"DROP INDEX CONCURRENTLY {_quoted(connection, name)}")
                return False
    return found


def _quoted(connection: Any, name: str) -> str:
    quoted: str = connection.ops.quote_name(name)
    return quoted


class AddIndex(migrations.AddIndex):
    """Add an index, concurrently where the database can."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        if not is_there(schema_editor, model, self.index.name):
            schema_editor.add_index(model, self.index, **_concurrently(schema_editor))

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        if is_there(schema_editor, model, self.index.name):
            schema_editor.remove_index(model, self.index, **_concurrently(schema_editor))


class RemoveIndex(migrations.RemoveIndex):
    """Remove an index, concurrently where the database can."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        index = from_state.models[app_label, self.model_name_lower].get_index_by_name(self.name)
        if is_there(schema_editor, model, self.name):
            schema_editor.remove_index(model, index, **_concurrently(schema_editor))

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        index = to_state.models[app_label, self.model_name_lower].get_index_by_name(self.name)
        if not is_there(schema_editor, model, self.name):
            schema_editor.add_index(model, index, **_concurrently(schema_editor))


class WithoutIndex(migrations.AlterField):
    """Drop the indexes that Django made for a field alone; else than by AlterField, its rows are not checked again."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        for name in _own_indexes(schema_editor, model, self.name):
            schema_editor.execute(schema_editor._delete_index_sql(model, name, **_concurrently(schema_editor)))

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        indexed = _own_indexes(schema_editor, model, self.name)
        if schema_editor.connection.vendor != "postgresql" and indexed:
            return  # by whatever name
        for statement in schema_editor._field_indexes_sql(model, model._meta.get_field(self.name)):
            if not is_there(schema_editor, model, str(statement.parts["name"]).strip('"')):
                if schema_editor.connection.vendor == "postgresql":
                    statement.template = statement.template.replace("CREATE INDEX", "CREATE INDEX CONCURRENTLY", 1)
                schema_editor.execute(statement)


def _own_indexes(schema_editor: Any, model: Any, field: str) -> list[str]:
    """Return the indexes of a column alone that neither the models name nor a constraint needs."""
    connection = schema_editor.connection
    named = {index.name for index in model._meta.indexes}
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table)
    return [
        name
        for name, facts in found.items()
        if facts["columns"] == [model._meta.get_field(field).column]
        and facts["index"]
        and not (facts["unique"] or facts["primary_key"] or facts["foreign_key"] or name in named)
    ]


def _concurrently(schema_editor: Any) -> dict[str, bool]:
    return {"concurrently": True} if schema_editor.connection.vendor == "postgresql" else {}


class AddContainment(Operation):
    """Add an index that finds rows by what a column of JSON holds, on PostgreSQL; others have none of the kind.

    Args:
        model_name: The model.
        column: The column.
        name: The index's name.
        where: Which rows are in it, as SQL; empty is all.
    """

    reversible = True

    def __init__(self, model_name: str, column: str, name: str, where: str = "") -> None:
        self.model_name, self.column, self.name, self.where = model_name, column, name, where

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Change nothing: models of other databases have no such index."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if self._applies(schema_editor, model) and not is_there(schema_editor, model, self.name):
            quote = schema_editor.quote_name
            table = f"{quote(model._meta.db_table)} USING gin ({quote(self.column)} jsonb_path_ops)"
            where = f" WHERE {self.where}" if self.where else ""
            schema_editor.execute(f"CREATE INDEX CONCURRENTLY {quote(self.name)} ON {table}{where}")

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if self._applies(schema_editor, model):
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(self.name)}")

    def _applies(self, schema_editor: Any, model: Any) -> bool:
        connection = schema_editor.connection
        return connection.vendor == "postgresql" and bool(self.allow_migrate_model(connection.alias, model))

    def describe(self) -> str:
        return f"Create index {self.name} on what field {self.column} of model {self.model_name} holds"
