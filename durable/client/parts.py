"""Parts of a history, read without the rest of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Max, Q

from durable import conf
from durable.client import steps as stepping
from durable.client.items import ASKS, HistoryItem, item
from durable.models import HistoryEvent

if TYPE_CHECKING:
    import uuid
    from collections.abc import Collection, Iterable, Iterator
    from datetime import datetime

    from durable.client.steps import Step

_SOON = 1000
"""Behind the last step of a part, so many events are looked at first for how the steps ended."""

_FEW = 500
"""So many numbers are named in a statement; of more, only the least and the greatest."""

_BEGINS = Q(event_id=None) | Q(kind__in=list(stepping.ASKED))
"""Which events steps begin with."""


def part(
    execution_id: uuid.UUID,
    *,
    status: str,
    after: int,
    limit: int,
    kinds: Collection[str] = (),
    names: dict[int, str] | None = None,
) -> list[HistoryItem]:
    """Return events of an execution, as ``client.history`` does, in at most two statements.

    Args:
        execution_id: Whose.
        status: The instance's: only a closed one can be rerun.
        after: The ``seq`` of the last event that is not wanted.
        limit: How many at most.
        kinds: Only these; all if there are none.
        names: The names of what was asked for before, by number, as far as they are known; what is read is added.

    Raises:
        UndecodablePayload: One cannot be read.
    """
    chosen = _rows(execution_id).filter(seq__gt=after).order_by("seq")
    if kinds:
        chosen = chosen.filter(kind__in=[kind for kind in kinds if "\0" not in kind])  # no text of PostgreSQL
    found = list(chosen[:limit])
    names = {} if names is None else names
    names.update(_names(execution_id, found, known=names))
    return _items(found, names, status=status)


def _items(found: Iterable[HistoryEvent], names: dict[int, str], *, status: str) -> list[HistoryItem]:
    return [
        item(row.seq, (row.kind, row.event_id, row.name, row.recorded_at, row.data), names, status=status)
        for row in found
    ]


def steps(execution_id: uuid.UUID, *, status: str, after: int, limit: int) -> list[Step]:
    """Return steps of an execution, as ``steps.of`` makes them of all of its events, in at most three statements.

    Args:
        execution_id: Whose.
        status: The instance's: only a closed one can be rerun.
        after: The ``seq`` of the last event with which no step shall begin.
        limit: How many at most.

    Raises:
        UndecodablePayload: One cannot be read.
    """
    asked = list(_rows(execution_id).filter(_BEGINS, seq__gt=after).order_by("seq")[:limit])
    found = [*asked, *_ends(execution_id, asked)]
    return stepping.of(_items(sorted(found, key=lambda row: row.seq), {}, status=status))


def _ends(execution_id: uuid.UUID, asked: list[HistoryEvent]) -> Iterator[HistoryEvent]:
    """Yield how steps ended: most do soon, and only for the others is the rest of the history looked through."""
    wanted = {row.event_id for row in asked if row.kind in stepping.ASKED and row.kind not in stepping.AT_ONCE}
    soon = asked[-1].seq + _SOON if asked else 0
    for place in ({"seq__gt": asked[0].seq, "seq__lte": soon} if asked else {}, {"seq__gt": soon}):
        open_ones = sorted(number for number in wanted if number is not None)
        if not open_ones:
            return
        own = {"event_id__in": open_ones}
        if len(open_ones) > _FEW:
            own = {"event_id__range": [open_ones[0], open_ones[-1]]}
        for row in _rows(execution_id).filter(kind__in=list(stepping.ENDS), **own, **place).order_by("seq"):
            if row.event_id in wanted:
                wanted.discard(row.event_id)
                yield row


def length(execution_id: uuid.UUID) -> int:
    """Return how many events an execution has."""
    return _rows(execution_id).aggregate(last=Max("seq"))["last"] or 0


def kinds(execution_id: uuid.UUID) -> list[str]:
    """Return of which kinds the events of an execution are."""
    return sorted(_rows(execution_id).order_by().values_list("kind", flat=True).distinct())


def began(execution_id: uuid.UUID) -> datetime | None:
    """Return when the first event of an execution was recorded; None if there is none."""
    # Not ``first()``: it asks for an order, which goes by way of the execution and the instance.
    return next(iter(_rows(execution_id).filter(seq=1).order_by().values_list("recorded_at", flat=True)), None)


def place_of(execution_id: uuid.UUID, event_id: int) -> int | None:
    """Return the ``seq`` of the first event of a number; None if there is none."""
    found = _rows(execution_id).filter(event_id=event_id).order_by("seq")
    return next(iter(found.values_list("seq", flat=True)[:1]), None)


def before_last(execution_id: uuid.UUID, number: int, *, whole: bool) -> int:
    """Return the ``seq`` behind which the last steps of an execution are, so many; or, ``whole``, the last events."""
    found = _rows(execution_id) if whole else _rows(execution_id).filter(_BEGINS)
    seq = next(iter(found.order_by("-seq").values_list("seq", flat=True)[number - 1 : number]), 1)
    return int(seq) - 1


def _rows(execution_id: uuid.UUID) -> Any:
    return HistoryEvent.objects.using(conf.settings.DATABASE).filter(execution_id=execution_id)


def _names(execution_id: uuid.UUID, found: Iterable[HistoryEvent], *, known: dict[int, str]) -> dict[int, str]:
    """Return the names of what was asked for before, of which these events have but the number."""
    here = {row.event_id for row in found if row.event_id is not None and row.kind in ASKS}
    wanted = {row.event_id for row in found if row.event_id is not None} - here - known.keys()
    if not wanted:
        return {}
    # A range and not a list, of which a statement takes but so many.
    rows = _rows(execution_id).filter(event_id__range=(min(wanted), max(wanted)), kind__in=ASKS)
    return {number: name for number, name in rows.order_by().values_list("event_id", "name") if number in wanted}
