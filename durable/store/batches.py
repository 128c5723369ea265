"""Batches: which instances they are for, and what became of each."""

from __future__ import annotations

from itertools import count, islice
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Exists, Q

from durable import conf
from durable.core import events as ev
from durable.models import BatchItem, Status
from durable.store import clock, inbox, instances

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from django.db.models import QuerySet

Outcome = BatchItem.Outcome

_AT_ONCE = 1000


def rows() -> QuerySet[BatchItem]:
    """Return all items, on the database of the settings."""
    return BatchItem.objects.using(conf.settings.DATABASE)


def insert(batch_id: str, instance_ids: Iterable[str], *, first: int = 0) -> int:
    """Add instances to a batch, each once; return the number that the next one would get.

    Args:
        batch_id: The batch.
        instance_ids: Read as they are written, so there may be very many.
        first: The number of the first one.
    """
    numbered = zip(count(first), instance_ids)
    items = (BatchItem(batch_id=batch_id, number=number, instance_id=each) for number, each in numbered)
    while some := list(islice(items, _AT_ONCE)):
        rows().bulk_create(some, ignore_conflicts=True)
        first = some[-1].number + 1
    return first


def next_item(batch_id: str, execution_id: str, *, first: int, last: int) -> BatchItem | None:
    """Return the next item of a range that is still to be done; None if there is none or the batch is to halt.

    Args:
        batch_id: The batch.
        execution_id: The execution of it that asks.
        first: The first number.
        last: One more than the last number.
    """
    # Also from what waits in the inbox: the one worker that could take the turn may be the one that asks.
    goes_on = instances.rows().filter(pk=batch_id, execution_id=execution_id, status=Status.RUNNING)
    stops = inbox.rows().filter(execution_id=execution_id, kind=ev.CancelRequested.__name__)
    waiting = rows().filter(batch_id=batch_id, number__gte=first, number__lt=last, outcome=Outcome.PENDING)
    return waiting.filter(Exists(goes_on), ~Exists(stops)).order_by("number").first()


def settle(
    batch_id: str, instance_ids: Collection[str], outcome: str, *, error: str = "", detail: dict[str, Any] | None = None
) -> int:
    """Note what became of instances that were still to be done; return how many of them were."""
    waiting = rows().filter(batch_id=batch_id, instance_id__in=instance_ids, outcome=Outcome.PENDING)
    error = error.replace("\0", "")[:2000]
    return waiting.update(outcome=outcome, error=error, detail=detail, at=clock.now())


def skip(batch_id: str) -> int:
    """Skip whatever is still to be done; return how many there were."""
    return rows().filter(batch_id=batch_id, outcome=Outcome.PENDING).update(outcome=Outcome.SKIPPED, at=clock.now())


def counts(batch_id: str, *, first: int = 0, last: int | None = None) -> dict[str, int]:
    """Return how many items of a batch, or of a range of it, have each outcome."""
    within = Q(batch_id=batch_id, number__gte=first)
    if last is not None:
        within &= Q(number__lt=last)
    found = rows().filter(within).order_by().values_list("outcome").annotate(Count("number"))
    return dict(found)
