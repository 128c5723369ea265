"""What PostgreSQL's driver can do better than Django's cursors let it."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

from durable.store import prepared

_BINARY = 1
_LOCK_NOT_AVAILABLE = "55P03"
_numbers = itertools.count()


def is_at_hand(connection: Any) -> bool:
    """Say whether a database is PostgreSQL, its driver psycopg 3, and its cursors those that Django makes."""
    return (
        connection.vendor == "postgresql" and hasattr(connection.Database, "Cursor") and _is_plain(connection.__class__)
    )


@cache
def _is_plain(backend: type) -> bool:
    """Say whether a backend leaves cursors to Django: one with a schema for each tenant sets the path in its own."""
    makers = (getattr(backend, name) for name in ("cursor", "_cursor", "create_cursor"))
    return all(maker.__module__.startswith("django.") for maker in makers)


def cursor(connection: Any) -> Any:
    """Return a cursor that leaves it to the server to bind values: Django's own puts them into the text."""
    _connect(connection)
    return _wrapped(connection, _cursor(connection))


def asking(connection: Any) -> Any:
    """Return the cursor that a small question takes least to ask through."""
    return cursor(connection) if is_at_hand(connection) else connection.cursor()


def reader(connection: Any, *, whole: bool) -> Any:
    """Return a cursor that gets values in binary: to make them of texts takes half as long again.

    Args:
        connection: Django's.
        whole: Whether to fetch all rows at once; else the server keeps those that were not fetched yet.
    """
    _connect(connection)
    if whole or connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
        raw = _cursor(connection)
    else:
        name = f"durable_{next(_numbers)}"
        raw = connection.Database.ServerCursor(connection.connection, name, withhold=connection.get_autocommit())
    raw.format = _BINARY
    return _wrapped(connection, raw)


def waited_in_vain(error: Exception) -> bool:
    """Say whether an error is that a lock was not free within ``lock_timeout``."""
    return getattr(error.__cause__, "sqlstate", None) == _LOCK_NOT_AVAILABLE


def _cursor(connection: Any) -> Any:
    driver = connection.Database
    # Who sets that says that a pooler stands in between.
    shared = connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS")
    return (driver.Cursor if shared else prepared.preparing(driver))(connection.connection)


def _connect(connection: Any) -> None:
    connection.close_if_health_check_failed()
    connection.ensure_connection()


def _wrapped(connection: Any, raw: Any) -> Any:
    return (connection.make_debug_cursor if connection.queries_logged else connection.make_cursor)(raw)
