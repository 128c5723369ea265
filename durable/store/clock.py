"""The database's clock: the one clock that decides what is due.

Asked once in a while and carried on by this machine's monotonic clock between,
so that a worker whose own wall clock is wrong still agrees with the others.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from django.db import connections
from django.utils import timezone

from durable.conf import settings

if TYPE_CHECKING:
    from collections.abc import Callable

    Source = Callable[[str], datetime]

# Counts through a machine's sleep, where the system has it.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_MAX_AGE = 60.0
_QUERIES = {
    "postgresql": "SELECT clock_timestamp()",
    "sqlite": "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')",
    "mysql": "SELECT UTC_TIMESTAMP(6)",
}

_lock = threading.Lock()
_asked: dict[str, tuple[float, datetime]] = {}


def now() -> datetime:
    """Return the time by the database's clock, asking it when it was not asked for a minute."""
    alias = settings.DATABASE
    known = _asked.get(alias)
    if known is None or (age := time.clock_gettime(_CLOCK) - known[0]) > _MAX_AGE:
        return sync()
    return known[1] + timedelta(seconds=age)


def sync() -> datetime:
    """Ask the database for the time."""
    alias = settings.DATABASE
    answer = _source(alias)
    with _lock:
        _asked[alias] = (time.clock_gettime(_CLOCK), answer)
    return answer


def forget() -> None:
    """Ask again next time."""
    with _lock:
        _asked.clear()


def use(source: Source) -> Source:
    """Take the time from another source from now on, and return the one before.

    Args:
        source: Returns the time by the database of an alias.
    """
    global _source
    before, _source = _source, source
    forget()
    return before


def from_timestamp(seconds: float) -> datetime:
    """Return seconds since 1970 as an aware time."""
    return datetime.fromtimestamp(seconds, UTC)


def ask(alias: str) -> datetime:
    """Return the time by a database's own clock."""
    connection = connections[alias]
    query = _QUERIES.get(connection.vendor)
    if query is None:
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(query)
        (answer,) = cursor.fetchone()
    time_of_day: datetime = datetime.fromisoformat(answer) if isinstance(answer, str) else answer
    return time_of_day if time_of_day.tzinfo else time_of_day.replace(tzinfo=UTC)


_source: Source = ask
