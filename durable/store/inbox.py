"""Inboxes: what came from outside and is not in a history yet."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache, reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import Exists, ExpressionWrapper, F, Q, TextField

from durable import conf
from durable.core import events as ev
from durable.fields import decode
from durable.models import Execution, InboxEvent, Status
from durable.store import clock, driver, many

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Collection, Iterable, Sequence

_TEXT = ExpressionWrapper(F("data"), output_field=TextField())

TIMEOUT = "ExecutionTimeout"
"""The kind of the row that ends an instance whose time is up."""

UPDATE = "UpdateRequested"
"""The kind of the row that asks the code for an update; the history gets an event of another kind, or none."""

MOVES_ON = ("SignalReceived", "CancelRequested", TIMEOUT)
"""What belongs to the instance more than to the execution that it came for."""


REWINDABLE = (Status.FAILED, Status.CANCELED, Status.TERMINATED)
"""How an instance ends without a result."""

COUNTS_AFTER_ALL = ("SignalReceived", "ActivityCompleted", "SignalDelivered")
"""What came too late for an execution's end, and counts if that is taken back."""

NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""When what waits for a rewind is due."""


def rows() -> Any:
    """Return all that waits, on the database of the settings."""
    return InboxEvent.objects.using(conf.settings.DATABASE)


def row(
    execution_id: uuid.UUID,
    event: ev.Event,
    *,
    visible_at: datetime | None = None,
) -> InboxEvent:
    """Return the row, not saved, that brings ``event`` to an execution.

    Args:
        execution_id: Whose inbox.
        event: What to bring.
        visible_at: When it is due; None is now.
    """
    now = clock.now()
    return InboxEvent(
        execution_id=execution_id,
        kind=event.kind,
        event_id=getattr(event, "event_id", None),
        data=event.to_json(),
        visible_at=visible_at or now,
        # Announced by whoever writes it; the sweep looks again when that got lost.
        dispatched_at=None if visible_at and visible_at > now else now,
    )


def timeout_row(execution_id: uuid.UUID, *, visible_at: datetime) -> InboxEvent:
    """Return the row, not saved, that ends an instance at its deadline."""
    return InboxEvent(execution_id=execution_id, kind=TIMEOUT, data={}, visible_at=visible_at)


def update_row(execution_id: uuid.UUID, request: ev.UpdateAccepted) -> InboxEvent:
    """Return the row, not saved, that asks an execution for an update."""
    asking = row(execution_id, request)
    asking.kind = UPDATE
    return asking


def insert(new: Sequence[InboxEvent]) -> None:
    """Store rows, in one statement; of many, none learns its key."""
    many.insert(new)


def due(execution_id: uuid.UUID, *, limit: int) -> list[tuple[int, str, str]]:
    """Return what is due, in order of arrival, as ``(row id, kind, JSON text)``.

    Raises:
        UndecodablePayload: One cannot be read.
    """
    found = waiting([execution_id], limit=limit)
    return [(pk, kind, plain(kind, text)) for _, pk, kind, text in found]


def due_of(execution_id: uuid.UUID, kinds: Collection[str]) -> list[tuple[int, str, str]]:
    """Return what is due of some kinds, as ``due`` does."""
    found = rows().filter(execution_id=execution_id, kind__in=kinds, visible_at__lte=clock.now())
    ordered = found.order_by("visible_at", "id").values_list("id", "kind", _TEXT)
    return [(pk, kind, plain(kind, text)) for pk, kind, text in ordered]


def waiting(execution_ids: Collection[uuid.UUID], *, limit: int) -> list[tuple[uuid.UUID, int, str, str]]:
    """Return what is due for executions, in order of arrival, as ``(execution, row id, kind, text as stored)``."""
    found = rows().filter(execution_id__in=execution_ids, visible_at__lte=clock.now()).order_by("visible_at", "id")
    return list(found.values_list("execution_id", "id", "kind", _TEXT)[:limit])


def plain(kind: str, text: str) -> str:
    """Return the JSON text of a row that is stored as ``text``.

    Raises:
        UndecodablePayload: It cannot be read.
    """
    return decode(text, f"InboxEvent.data ({kind})")


def any_due(execution_id: uuid.UUID) -> Exists:
    """Return the condition that something is due for an execution, for use in another query."""
    return Exists(rows().filter(execution_id=execution_id, visible_at__lte=clock.now()))


def has_due(execution_id: uuid.UUID) -> bool:
    """Say whether something is due for an execution."""
    return bool(rows().filter(execution_id=execution_id, visible_at__lte=clock.now()).exists())


def has_signals(execution_id: uuid.UUID) -> bool:
    """Say whether signals wait for an execution."""
    return bool(rows().filter(execution_id=execution_id, kind=ev.SignalReceived.__name__).exists())


def signals(execution_id: uuid.UUID) -> list[str]:
    """Return the names of the signals that wait for an execution, in order of arrival."""
    kind = ev.SignalReceived.__name__
    return [ev.decode(kind, text, at=0.0, seq=1).name for _, _, text in not_yet_due(execution_id, kind)]  # type: ignore[attr-defined]  # by its kind


def delete(row_ids: Iterable[int]) -> None:
    """Delete rows that are in a history now."""
    if ids := list(row_ids):
        rows().filter(pk__in=ids).delete()


def delete_timers(timers: Sequence[tuple[uuid.UUID, int]]) -> None:
    """Delete timers that the code needs no more, each given by its execution and its event id."""
    if not timers:
        return
    kind = ev.TimerFired.__name__
    connection: Any = connections[conf.settings.DATABASE]
    if driver.is_at_hand(connection):
        with driver.cursor(connection) as client:
            client.execute(_dropping(), [*(list(column) for column in zip(*timers, strict=True)), kind])
        return
    by_execution: dict[uuid.UUID, list[int]] = {}
    for execution_id, event_id in timers:
        by_execution.setdefault(execution_id, []).append(event_id)
    chosen = [Q(execution_id=execution_id, event_id__in=ids) for execution_id, ids in by_execution.items()]
    rows().filter(reduce(or_, chosen), kind=kind).delete()


@lru_cache
def _dropping() -> str:
    return _DROPPED.format(inbox=f'"{InboxEvent._meta.db_table}"').strip()


_DROPPED = """
DELETE FROM {inbox} AS w USING unnest(%s::uuid[], %s::int[]) AS timer (execution_id, event_id)
WHERE w.execution_id = timer.execution_id AND w.event_id = timer.event_id AND w.kind = %s
"""


def tell_parents(told: Sequence[InboxEvent]) -> list[tuple[str, str]]:
    """Store rows for those executions of parents that still run; return these parents as ``(queue, id)``, each once."""
    ids = {row.execution_id for row in told}
    running = Execution.objects.using(conf.settings.DATABASE).filter(pk__in=ids, status=Status.RUNNING).order_by()
    found = list(running.values_list("pk", "instance__queue", "instance_id"))
    waiting = {execution_id for execution_id, _, _ in found}
    insert([row for row in told if row.execution_id in waiting])
    return [(queue, parent_id) for _, queue, parent_id in found]


def clear(execution_id: uuid.UUID) -> None:
    """Delete whatever is left for an execution that has ended."""
    rows().filter(execution_id=execution_id).delete()


def clear_all(execution_ids: Collection[uuid.UUID]) -> None:
    """Delete whatever is left for executions that have ended."""
    rows().filter(execution_id__in=execution_ids).delete()


def end(execution_id: uuid.UUID, status: str) -> None:
    """Delete what is left for an execution that ended with its instance, but what a rewind would still want."""
    if status not in REWINDABLE:
        clear(execution_id)
        return
    rows().filter(execution_id=execution_id).exclude(kind__in=COUNTS_AFTER_ALL).delete()
    rows().filter(execution_id=execution_id, visible_at__lt=NEVER).update(visible_at=NEVER)


def late(execution_id: uuid.UUID) -> list[ev.Event]:
    """Return what came for an execution that has ended and would still count if it had not, in order of arrival."""
    found = rows().filter(execution_id=execution_id, kind__in=COUNTS_AFTER_ALL).order_by("id")
    now = clock.now().timestamp()
    return [ev.decode(kind, plain(kind, text), at=now, seq=0) for kind, text in found.values_list("kind", _TEXT)]


def announce(ids: Collection[str], *, stale: datetime) -> set[str]:
    """Note that what is due for instances is announced now; return those for which it was not, by whoever looks.

    Where the database cannot tell, that is all of them.

    Args:
        ids: The instances.
        stale: What was announced before that is announced again.
    """
    now = clock.now()
    connection = connections[conf.settings.DATABASE]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(_announcing(), [list(ids), now, stale, now])
            return {instance_id for (instance_id,) in cursor.fetchall()}
    rows().filter(execution__instance__in=ids, visible_at__lte=now).update(dispatched_at=now)
    return set(ids)


@lru_cache
def _announcing() -> str:
    return _ANNOUNCED.format(inbox=f'"{InboxEvent._meta.db_table}"', execution=f'"{Execution._meta.db_table}"').strip()


_ANNOUNCED = """
WITH untold AS (
    SELECT w.id FROM {execution} AS e JOIN {inbox} AS w ON w.execution_id = e.id
    WHERE e.instance_id = ANY(%s) AND w.visible_at <= %s AND (w.dispatched_at IS NULL OR w.dispatched_at < %s)
    FOR UPDATE OF w SKIP LOCKED
), told AS (
    UPDATE {inbox} AS w SET dispatched_at = %s FROM untold WHERE w.id = untold.id RETURNING w.execution_id
)
SELECT DISTINCT e.instance_id FROM told JOIN {execution} AS e ON e.id = told.execution_id
"""
"""Whoever has one of the rows locked takes it, or announces it; to wait for all of them could be for ever."""


def move_on(old: uuid.UUID, new: uuid.UUID) -> None:
    """Give the next execution what came for its instance, and drop the rest."""
    rows().filter(execution_id=old, kind__in=MOVES_ON).update(execution_id=new)
    clear(old)


def forget_late() -> None:
    """Delete what came for executions just when they ended, so that nobody reads it any more."""
    came = rows().filter(visible_at__lte=clock.now(), execution__closed_at__isnull=False)
    current = F("execution__instance__execution_id")
    found = came.values_list("execution_id", "execution__status", current).order_by().distinct()
    for execution_id, status, now_at in list(found):
        end(execution_id, status if execution_id == now_at else "")


def count(execution_id: uuid.UUID) -> int:
    """Return how many rows wait, timers included."""
    return int(rows().filter(execution_id=execution_id).count())


def not_yet_due(execution_id: uuid.UUID, kind: str) -> list[tuple[int, str, str]]:
    """Return the rows of a kind whose time is still to come, as ``due`` does."""
    found = rows().filter(execution_id=execution_id, kind=kind).values_list("id", "kind", _TEXT)
    return [(pk, name, plain(name, text)) for pk, name, text in found]


def with_kind(execution_ids: Collection[uuid.UUID], kind: type[ev.Event]) -> set[uuid.UUID]:
    """Return those of some executions for which an event of a kind waits."""
    if not execution_ids:
        return set()
    return set(rows().filter(execution_id__in=execution_ids, kind=kind.__name__).values_list("execution_id", flat=True))


def take_back_cancel(execution_id: uuid.UUID) -> None:
    """Delete what tells an execution to stop because its parent ended."""
    found = not_yet_due(execution_id, ev.CancelRequested.__name__)
    events = {pk: ev.decode(kind, text, at=0.0, seq=1) for pk, kind, text in found}
    delete(pk for pk, event in events.items() if getattr(event, "by_parent", False))


def take_back_end(execution_id: uuid.UUID, event_id: int) -> None:
    """Delete what tells a parent that a child failed or was canceled: the child goes on."""
    kinds = (ev.ChildFailed.__name__, ev.ChildCanceled.__name__)
    rows().filter(execution_id=execution_id, event_id=event_id, kind__in=kinds).delete()


def change_start(execution_id: uuid.UUID, change: Callable[[ev.ExecutionStarted], ev.ExecutionStarted]) -> None:
    """Change the event that an execution is to begin with, and that no history holds yet."""
    for pk, kind, text in not_yet_due(execution_id, ev.ExecutionStarted.__name__):
        start = ev.decode(kind, text, at=0.0, seq=1)
        assert isinstance(start, ev.ExecutionStarted)  # noqa: S101 - by its kind
        rows().filter(pk=pk).update(data=change(start).to_json())
