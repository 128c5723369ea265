"""The database's clock: the one clock that decides what is due.

Asked once in a while and carried on by this machine's monotonic clock between,
so that a worker whose own wall clock is wrong still agrees with the others.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

from django.db import connections
from django.utils import timezone

from durable.conf import settings

# Counts through a machine's sleep, where the system has it.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_MAX_AGE = 10.0
_QUERIES = {
    "postgresql": "SELECT clock_timestamp()",
    "sqlite": "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')",
    "mysql": "SELECT UTC_TIMESTAMP(6)",
}

_lock = threading.Lock()
_asked: dict[str, tuple[float, datetime]] = {}


def now() -> datetime:
    """Return the time by the database's clock, asking it if it was never asked."""
    return _carried(settings.DATABASE) or sync()


def sync() -> datetime:
    """Return the time, asking the database again if the last answer is old."""
    alias = settings.DATABASE
    carried = _carried(alias)
    if carried is not None and time.clock_gettime(_CLOCK) - _asked[alias][0] < _MAX_AGE:
        return carried
    answer = _ask(alias)
    with _lock:
        _asked[alias] = (time.clock_gettime(_CLOCK), answer)
    return answer


def forget() -> None:
    """Ask again next time."""
    with _lock:
        _asked.clear()


def from_timestamp(seconds: float) -> datetime:
    """Return seconds since 1970 as an aware time."""
    return datetime.fromtimestamp(seconds, UTC)


def _carried(alias: str) -> datetime | None:
    known = _asked.get(alias)
    if known is None:
        return None
    asked_at, answer = known
    return answer + timedelta(seconds=time.clock_gettime(_CLOCK) - asked_at)


def _ask(alias: str) -> datetime:
    connection = connections[alias]
    query = _QUERIES.get(connection.vendor)
    if query is None:
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(query)
        (answer,) = cursor.fetchone()
    time_of_day: datetime = datetime.fromisoformat(answer) if isinstance(answer, str) else answer
    return time_of_day if time_of_day.tzinfo else time_of_day.replace(tzinfo=UTC)
