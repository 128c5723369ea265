"""Indexes that are added while workers go on: PostgreSQL builds them without locking the table."""

from __future__ import annotations

from typing import Any

from django.db import migrations
from django.db.migrations.operations.base import Operation


class AddIndex(migrations.AddIndex):
    """Add an index, concurrently where the database can; the migration has ``atomic = False``."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            schema_editor.add_index(model, self.index, concurrently=True)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_backwards(app_label, schema_editor, from_state, to_state)
            return
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            schema_editor.remove_index(model, self.index, concurrently=True)


class AddContainment(Operation):
    """Add an index that finds rows by what a column of JSON holds, on PostgreSQL; others have none of the kind.

    Args:
        model_name: The model.
        column: The column.
        name: The index's name.
    """

    reversible = True

    def __init__(self, model_name: str, column: str, name: str) -> None:
        self.model_name, self.column, self.name = model_name, column, name

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Change nothing: models of other databases have no such index."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if self._applies(schema_editor, model):
            quote = schema_editor.quote_name
            table = f"{quote(model._meta.db_table)} USING gin ({quote(self.column)} jsonb_path_ops)"
            schema_editor.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {quote(self.name)} ON {table}")

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if self._applies(schema_editor, model):
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(self.name)}")

    def _applies(self, schema_editor: Any, model: Any) -> bool:
        connection = schema_editor.connection
        return connection.vendor == "postgresql" and bool(self.allow_migrate_model(connection.alias, model))

    def describe(self) -> str:
        return f"Create index {self.name} on what field {self.column} of model {self.model_name} holds"
