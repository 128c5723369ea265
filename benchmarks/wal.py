"""PostgreSQL's write-ahead log."""

from __future__ import annotations

from django.db import connection


def position() -> int:
    """Return how many bytes were written so far, whoever wrote them; 0 where there is no such log."""
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")
        return int(cursor.fetchone()[0])
