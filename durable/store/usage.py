"""Which versions of which workflows instances are on, or were on: found by index, however many there are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import Count, Max, Min

from durable import conf
from durable.models import Execution, HistoryEvent, Instance, Status
from durable.store import instances

if TYPE_CHECKING:
    from datetime import datetime

COUNTED = 1000
"""Up to which number the instances of a version and a status are counted; one more says that there are more."""

# A pair is found from the one before it: as many looks into an index as there are pairs, not rows.
_PAIRS = """
    (SELECT name, version FROM {table} ORDER BY name, version LIMIT 1)
    UNION ALL
    SELECT following.name, following.version FROM {pairs} before CROSS JOIN LATERAL (
        SELECT name, version FROM {table}
        WHERE (name, version) > (before.name, before.version) ORDER BY name, version LIMIT 1
    ) following
"""

_USED = """
WITH RECURSIVE run (name, version) AS ({runs}), own (name, version) AS ({owns}),
pair AS (SELECT name, version FROM run WHERE name <> '' UNION SELECT name, version FROM own)
SELECT pair.name, pair.version, known.status, counted.number, ends.oldest, ends.newest
FROM pair CROSS JOIN unnest(%s::text[]) known (status)
CROSS JOIN LATERAL (
    SELECT count(*) AS number FROM (
        SELECT FROM {instance}
        WHERE name = pair.name AND version = pair.version AND status = known.status LIMIT %s
    ) found
) counted
CROSS JOIN LATERAL (
    SELECT min(created_at) AS oldest, max(created_at) AS newest FROM {instance}
    WHERE name = pair.name AND version = pair.version AND status = known.status
) ends
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How many instances of a version have a status.

    Attributes:
        count: How many, up to ``COUNTED`` and one more.
        oldest, newest: When the first and the last of them was created; None if there is none.
    """

    name: str
    version: int
    status: str
    count: int
    oldest: datetime | None
    newest: datetime | None


def used() -> list[Use]:
    """Return how many instances there are of each version that any execution is or was on, and each status.

    Of a version that only executions are on that their instances left behind, there is none of any status.
    """
    connection = connections[conf.settings.DATABASE]
    return _by_index(connection) if connection.vendor == "postgresql" else _by_table()


def _by_index(connection: Any) -> list[Use]:
    with connection.cursor() as cursor:
        cursor.execute(_statement(), [list(Status.values), COUNTED + 1])
        return [_use(*row) for row in cursor.fetchall()]


@lru_cache
def _statement() -> str:
    execution, instance = Execution._meta.db_table, Instance._meta.db_table
    runs = _PAIRS.format(table=execution, pairs="run")
    return _USED.format(instance=instance, runs=runs, owns=_PAIRS.format(table=instance, pairs="own")).strip()


def _by_table() -> list[Use]:
    pairs = instances.executions().order_by().exclude(name="").values_list("name", "version").distinct()
    rows = instances.rows().order_by().values_list("name", "version", "status")
    found = [_use(*row) for row in rows.annotate(Count("pk"), Min("created_at"), Max("created_at"))]
    missing = set(pairs) - {(use.name, use.version) for use in found}
    return [*found, *(_use(name, version, Status.PENDING, 0, None, None) for name, version in missing)]


def _use(name: str, version: int, status: str, count: int, oldest: datetime | None, newest: datetime | None) -> Use:
    return Use(name=name, version=version, status=status, count=min(count, COUNTED + 1), oldest=oldest, newest=newest)


def nameless() -> set[tuple[str, int]]:
    """Return the names and versions of executions that workers of an older release began, which stored no name."""
    executions = instances.executions().order_by().filter(name="")
    # The id of a closed instance may have been taken over by another workflow: its history tells the old name.
    events = HistoryEvent.objects.using(conf.settings.DATABASE).order_by()
    started = events.filter(seq=1, execution__in=executions.values("pk"))
    return {
        *executions.values_list("instance__name", "version").distinct(),
        *started.exclude(name="").values_list("name", "execution__version").distinct(),
    }
