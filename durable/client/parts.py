"""Parts of a history, read without the rest of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable import conf
from durable.client.items import ASKS, HistoryItem, item
from durable.models import HistoryEvent

if TYPE_CHECKING:
    import uuid
    from collections.abc import Collection, Iterable


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
        chosen = chosen.filter(kind__in=kinds)
    found = list(chosen[:limit])
    names = {} if names is None else names
    names.update(_names(execution_id, found, known=names))
    return [
        item(row.seq, (row.kind, row.event_id, row.name, row.recorded_at, row.data), names, status=status)
        for row in found
    ]


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
