"""Histories: append at the head, read from a place on."""

from __future__ import annotations

import logging
from contextlib import closing, nullcontext
from functools import lru_cache, reduce
from itertools import chain
from operator import or_
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import ExpressionWrapper, F, Q, TextField

from durable import conf
from durable.codecs import PlainCodec
from durable.core import events as ev
from durable.core.errors import LimitExceeded, UndecodableEvent
from durable.fields import Dumped, dump, problem
from durable.models import HistoryEvent
from durable.store import clock, driver

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Collection, Generator, Iterable, Sequence
    from datetime import datetime

logger = logging.getLogger("durable.store")

# Not through the model field: replay decodes the text straight into an event.
_TEXT = ExpressionWrapper(F("data"), output_field=TextField())

# ``date_part`` and not ``extract``: that goes by way of a decimal number.
_SELECT = """
SELECT seq, kind, date_part('epoch', recorded_at), data FROM {history}
WHERE execution_id = %s AND seq > %s AND seq <= %s ORDER BY seq
"""
_LAST = 2**31 - 1


Record = tuple[ev.Event, str]
"""An event and the text to store, of its JSON as it was before anybody else got hold of what it carries."""


def record(event: ev.Event) -> Record:
    """Return what ``append`` takes."""
    return event, dump(event.to_json())


def decoded(records: Sequence[Record], *, after: int) -> list[ev.Event]:
    """Return the events of records as they will be read from after ``after``."""
    decode = conf.codec().decode
    return [
        ev.decode(event.kind, decode(text), at=event.at, seq=seq)
        for seq, (event, text) in enumerate(records, after + 1)
    ]


def check_length(execution_id: uuid.UUID, head: int, records: Sequence[Record]) -> None:
    """Warn of a history that becomes long.

    Raises:
        LimitExceeded: It would be too long.
    """
    warn_at, maximum = conf.limit("history_warn"), conf.limit("history")
    if head < warn_at <= head + len(records):
        logger.warning("execution %s has %d events; continue as new before %d", execution_id, warn_at, maximum)
    if head + len(records) > maximum and not records[-1][0].ends:
        advice = "continue as new before a history grows this long"
        raise LimitExceeded("history", value=head + len(records), maximum=maximum, advice=advice)


def append(execution_id: uuid.UUID, head: int, records: Sequence[Record], *, at: datetime) -> None:
    """Append events after ``head``, in one statement; ``check_length`` comes before.

    Raises:
        IntegrityError: Somebody else appended at this head.
    """
    rows = [row(execution_id, seq, record, at) for seq, record in enumerate(records, head + 1)]
    HistoryEvent.objects.using(conf.settings.DATABASE).bulk_create(rows)


def begin(execution_id: uuid.UUID, events: Sequence[ev.Event]) -> None:
    """Store the events that a new execution begins with, as they were recorded in another one."""
    rows = [
        row(execution_id, seq, record(event), clock.from_timestamp(event.at)) for seq, event in enumerate(events, 1)
    ]
    HistoryEvent.objects.using(conf.settings.DATABASE).bulk_create(rows, batch_size=1000)


def copy(source: uuid.UUID, target: uuid.UUID) -> None:
    """Store the events of an execution as those of another one, as they are and with their times.

    Raises:
        UndecodableEvent: One cannot be read.
    """
    decode = conf.codec().decode
    found = _rows(source).order_by("seq").values_list("seq", "kind", "event_id", "name", "recorded_at", _TEXT)
    rows = [
        HistoryEvent(
            execution_id=target,
            seq=seq,
            kind=kind,
            event_id=event_id,
            name=name,
            recorded_at=at,
            data=Dumped(_plain(decode, seq, kind, text)),
        )
        for seq, kind, event_id, name, at, text in found
    ]
    HistoryEvent.objects.using(conf.settings.DATABASE).bulk_create(rows, batch_size=1000)


def row(execution_id: uuid.UUID, seq: int, record: Record, at: datetime) -> HistoryEvent:
    """Return the row, not saved, of an event."""
    event, text = record
    return HistoryEvent(
        execution_id=execution_id,
        seq=seq,
        kind=event.kind,
        event_id=getattr(event, "event_id", None),
        name=getattr(event, "name", ""),
        recorded_at=at,
        data=Dumped(text),
    )


_AT_ONCE = 2000
"""How many events of a history are in memory at a time."""

Row = tuple[int, str, float, str]
"""An event as it is stored: seq, kind, when it was recorded in seconds since 1970, text."""


def rows_after(known: Collection[tuple[uuid.UUID, int]]) -> list[tuple[uuid.UUID, int, str, float, str]]:
    """Return the rows of the few events that executions have after a ``seq`` each, in order, with their executions."""
    if not known:
        return []
    seen, least = dict(known), min(seq for _, seq in known)
    found = HistoryEvent.objects.using(conf.settings.DATABASE).filter(execution_id__in=seen, seq__gt=least)
    rows = found.order_by("seq").values_list("execution_id", "seq", "kind", "recorded_at", _TEXT)
    return [(of, seq, kind, at.timestamp(), text) for of, seq, kind, at, text in rows if seq > seen[of]]


def events(rows: Iterable[Row]) -> Generator[ev.Event, None, None]:
    """Return the events of rows.

    Raises:
        UndecodableEvent: One cannot be read.
    """
    codec = conf.codec()
    if type(codec) is not PlainCodec:
        rows = ((seq, kind, at, _plain(codec.decode, seq, kind, text)) for seq, kind, at, text in rows)
    return ev.decode_all(rows)


def read(execution_id: uuid.UUID, *, after: int = 0, until: int | None = None) -> Generator[ev.Event, None, None]:
    """Return the events after ``after``, in order, a few at a time.

    Args:
        execution_id: Whose.
        after: The ``seq`` of the last one that is known.
        until: The ``seq`` of the last one to read, if that is known.

    Raises:
        UndecodableEvent: One cannot be read.
    """
    connection: Any = connections[conf.settings.DATABASE]
    chunks = (_fetched if driver.is_at_hand(connection) else _found)(connection, execution_id, after, until)
    # A cursor is closed by us, not by the collector: the database keeps it.
    with closing(chunks):
        yield from events(chain.from_iterable(chunks))


def _fetched(
    connection: Any, execution_id: uuid.UUID, after: int, until: int | None
) -> Generator[Iterable[Row], None, None]:
    with driver.reader(connection, whole=_is_short(after, until)) as cursor:
        cursor.execute(_statement(), [execution_id, after, _LAST if until is None else until])
        while rows := cursor.fetchmany(_AT_ONCE):
            yield rows


@lru_cache
def _statement() -> str:
    return _SELECT.format(history=HistoryEvent._meta.db_table).strip()


def _found(_: Any, execution_id: uuid.UUID, after: int, until: int | None) -> Generator[Iterable[Row], None, None]:
    found = _rows(execution_id).filter(seq__gt=after, seq__lte=_LAST if until is None else until).order_by("seq")
    rows = found.values_list("seq", "kind", "recorded_at", _TEXT)
    with nullcontext(rows) if _is_short(after, until) else closing(rows.iterator(chunk_size=_AT_ONCE)) as each:
        yield ((seq, kind, at.timestamp(), text) for seq, kind, at, text in each)


def _is_short(after: int, until: int | None) -> bool:
    # To declare a cursor, fetch from it and close it takes a statement each: what is short is fetched without.
    return until is not None and until - after <= _AT_ONCE


def _rows(execution_id: uuid.UUID | str) -> Any:
    return HistoryEvent.objects.using(conf.settings.DATABASE).filter(execution_id=execution_id)


def _plain(decode: Callable[[str], str], seq: int, kind: str, text: str) -> str:
    try:
        return decode(text)
    except Exception as error:
        raise UndecodableEvent(seq, kind, problem(error)) from error


def first(execution_id: uuid.UUID) -> ev.ExecutionStarted | None:
    """Return the event that an execution began with, or None if it did not come to that.

    Raises:
        UndecodableEvent: It cannot be read.
    """
    with closing(read(execution_id, until=1)) as found:
        event = next(found, None)
    return event if isinstance(event, ev.ExecutionStarted) else None


def with_kind(execution_ids: Collection[uuid.UUID], kind: type[ev.Event]) -> set[uuid.UUID]:
    """Return those of some executions whose history has an event of a kind."""
    if not execution_ids:
        return set()
    events = HistoryEvent.objects.using(conf.settings.DATABASE)
    found = events.filter(execution_id__in=execution_ids, kind=kind.__name__)
    return set(found.values_list("execution_id", flat=True))


def outline(execution_id: uuid.UUID, kinds: Collection[str]) -> list[tuple[str, int | None, str]]:
    """Return ``(kind, event id, name)`` of the events of some kinds, in order, and read no payload."""
    found = _rows(execution_id).filter(kind__in=kinds).order_by("seq")
    return list(found.values_list("kind", "event_id", "name"))


def between(execution_id: uuid.UUID | str, first: int, last: int) -> list[tuple[int, str, int | None, str]]:
    """Return ``(seq, kind, event id, name)`` of the events from one place to another, and read no payload."""
    found = _rows(execution_id).filter(seq__gte=first, seq__lte=last).order_by("seq")
    return list(found.values_list("seq", "kind", "event_id", "name"))


def name_of(execution_id: uuid.UUID, event_id: int) -> str:
    """Return the name of the activity of an event id; empty if there is none."""
    found = _rows(execution_id).filter(event_id=event_id, kind=ev.ActivityScheduled.__name__)
    # Not ``first()``: it asks for an order, which goes by way of the execution and the instance.
    return next(iter(found.order_by().values_list("name", flat=True)), "")


def names_of(asked: Collection[tuple[uuid.UUID, int]]) -> dict[tuple[uuid.UUID, int], str]:
    """Return the names of activities, given their executions and event ids, in one statement."""
    if not asked:
        return {}
    each = (Q(execution_id=execution_id, event_id=event_id) for execution_id, event_id in asked)
    found = HistoryEvent.objects.using(conf.settings.DATABASE).filter(
        reduce(or_, each), kind=ev.ActivityScheduled.__name__
    )
    return {
        (execution_id, event_id or 0): name
        for execution_id, event_id, name in found.values_list("execution_id", "event_id", "name")
    }


def asked(execution_id: uuid.UUID, event_id: int) -> ev.ActivityScheduled:
    """Return the ActivityScheduled of an event id.

    Raises:
        UndecodableEvent: It cannot be read.
    """
    seq, kind, at, text = (
        HistoryEvent.objects.using(conf.settings.DATABASE)
        .filter(execution_id=execution_id, event_id=event_id, kind=ev.ActivityScheduled.__name__)
        .values_list("seq", "kind", "recorded_at", _TEXT)
        .get()
    )
    event = ev.decode(kind, _plain(conf.codec().decode, seq, kind, text), at=at.timestamp(), seq=seq)
    assert isinstance(event, ev.ActivityScheduled)  # noqa: S101 - by its kind
    return event
