"""Storing new instances in one statement, where the database has such: instances, executions and what begins them.

An id that is taken is no error, so that no savepoint is needed to survive it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction

from durable import conf
from durable.models import Execution, InboxEvent, Instance
from durable.store import driver, many

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable.store.creation import Newborn

_BORN = """
WITH born AS (
    {instance} ON CONFLICT (id) DO NOTHING RETURNING id
), begun AS (
    {execution} WHERE new.instance_id IN (SELECT id FROM born) RETURNING id
), told AS (
    {inbox} WHERE new.execution_id IN (SELECT id FROM begun)
)
SELECT count(*) FROM born
"""


def store(newborns: Sequence[Newborn]) -> int:
    """Store new instances, but those whose id is taken, and return how many that were.

    Waits for whoever is about to take such an id. Call it where ``turns.in_one_statement``.
    """
    connection: Any = connections[conf.settings.DATABASE]
    rows = (
        [born.instance for born in newborns],
        [born.execution for born in newborns],
        [row for born in newborns for row in born.inbox],
    )
    # As the ORM does: a caller that caught the error would else commit what the database has given up.
    with transaction.mark_for_rollback_on_error(connection.alias), driver.cursor(connection) as cursor:
        cursor.execute(_statement(), [many.as_text(each) if each else "[]" for each in rows])
        return int(cursor.fetchone()[0])


@lru_cache
def _statement() -> str:
    parts = {"instance": Instance, "execution": Execution, "inbox": InboxEvent}
    return _BORN.format(**{name: many.statement(model) for name, model in parts.items()}).strip()
