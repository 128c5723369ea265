"""Stored executions as transcripts: which there are, and what happened in one."""

from __future__ import annotations

import uuid
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.db.models import F, QuerySet

from durable.core import events as ev
from durable.core.transcripts import Transcript
from durable.models import Execution
from durable.store import history, instances

if TYPE_CHECKING:
    from collections.abc import Collection, Generator
    from datetime import datetime

_AT_ONCE = 1000


def find(
    *,
    ids: Collection[str] = (),
    workflow: str | None = None,
    statuses: Collection[str] = (),
    since: datetime | None = None,
    all_executions: bool = False,
) -> QuerySet[Execution]:
    """Return the executions of the instances that fit all of it, those of the newest instance first.

    Args:
        ids: The instances' ids; none is all.
        workflow: The workflow's name, without its version.
        statuses: The instances' statuses; none is all.
        since: When the instance was created at the earliest.
        all_executions: Whether earlier executions of an instance count, too.
    """
    asked: dict[str, Any] = {
        "instance_id__in": ids,
        "instance__name": workflow,
        "instance__status__in": statuses,
        "instance__created_at__gte": since,
    }
    found: QuerySet[Execution] = instances.executions().filter(
        **{name: value for name, value in asked.items() if value}
    )
    if not all_executions:
        found = found.filter(instance__execution_id=F("pk"))
    return found.order_by("-instance__created_at", "instance_id", "number")


def heads(found: QuerySet[Execution]) -> Generator[Transcript, None, None]:
    """Yield, a few at a time, the transcripts of executions without their events."""
    rows: Any = found.values_list(
        "instance_id",
        "pk",
        "number",
        "instance__name",
        "version",
        "status",
        "instance__status",
        "instance__execution_id",
    )
    # Closed by us, not by the collector: the database keeps a cursor for it.
    with closing(rows.iterator(chunk_size=_AT_ONCE)) as each:
        for instance_id, pk, number, workflow, version, ended_as, status, current in each:
            yield Transcript(
                instance_id=instance_id,
                execution_id=str(pk),
                number=number,
                workflow=workflow,
                version=version,
                status=status if pk == current else ended_as,
                events=(),
            )


def read(head: Transcript) -> Transcript:
    """Return a transcript with its events, as they are stored now, and the workflow that they are of.

    Raises:
        UndecodableEvent: One cannot be read.
    """
    with closing(history.read(uuid.UUID(head.execution_id))) as found:
        events = tuple(found)
    # An id that was used again may have been another workflow's before.
    workflow = next((event.name for event in events if isinstance(event, ev.ExecutionStarted)), head.workflow)
    return replace(head, workflow=workflow, events=events)
