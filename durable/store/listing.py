"""The list of instances, the newest first: pages and counts that take no longer the more instances there are.

What no index finds is looked for among so many instances at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Q
from django.db.models.functions import Coalesce

from durable.models import Status
from durable.store import filters, instances

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from django.db.models import QuerySet

    from durable.models import Instance

SIZE = 100

SPAN = 5_000
"""Among how many instances a page looks for those that fit, where no index finds them."""

SEARCHED = 2_000
"""Likewise where much of each has to be read, such as the text of its error."""

_NAMED = {"name", "name__exact"}
_ENDED = {"started_at__lt", "started_at__lte", "closed_at__lt", "closed_at__lte"}
_SHARP = {
    *("id", "id__exact", "id__in", "id__startswith", "parent", "parent__exact", "parent__in"),
    *("rerun_from", "rerun_from__exact", "rerun_from__in", "tags", "tags__in"),
    *("started_at__gte", "started_at__gt", "closed_at__gte", "closed_at__gt"),
}
_TAGS = {"tags", "tags__in"}

PROBED, MANY = 2000, 20
"""If so many of the newest instances have a tag, many have it."""

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in the list: between the instance that it names and the one before or after that.

    Attributes:
        older: Whether what follows it is wanted; else what comes before.
    """

    created_at: datetime
    id: str
    older: bool

    def __str__(self) -> str:
        return f"{self.created_at.astimezone(UTC).isoformat()} {self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of the list.

    Attributes:
        newer: What to ask for to get the page before; None if there is none.
        older: Likewise the page after.
        until: If the page may be short, as it looked no further: the time of creation that it came to.
    """

    rows: list[Instance]
    newer: Place | None
    older: Place | None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many instances there are of each status.

    Attributes:
        by: The numbers, of those statuses of which there are any.
        whole: Whether all were counted; else there may be more of each.
    """

    by: dict[str, int]
    whole: bool = True

    def total(self, statuses: Collection[str] = ()) -> int:
        """Return how many there are of some statuses, or of all."""
        return sum(count for status, count in self.by.items() if not statuses or status in statuses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """How many instances there are.

    Attributes:
        count: The number.
        whole: Whether all were counted; else there may be more.
    """

    count: int
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which instances to list.

    Attributes:
        rows: All that fit.
        along: What indexes in the order of the list narrow it to: one part for each status that may be.
        fits: Whether nothing in these parts is to be left out.
        few: Whether an index of another order finds them, and they are few.
        by_status: Whether these indexes go by the status as well.
        heavy: Whether much of each has to be read to know whether it fits.
    """

    rows: QuerySet[Instance]
    along: list[QuerySet[Instance]]
    fits: bool = False
    few: bool = False
    by_status: bool = True
    heavy: bool = False


def listing(filter: dict[str, Any]) -> Listing:
    """Return the instances that a filter chooses, whatever their status; an empty one is for all.

    Args:
        filter: As ``filters.find`` takes it, but without a status.

    Raises:
        InvalidInput: It cannot be taken.
    """
    along = _along(filter)
    few = _are_few(filter, along)
    # What many have is found on the way; its index would find all of them at once.
    rows = filters.find(filter, by_tag=few) if filter else along
    if "stall_reason" in filter:
        return Listing(rows=rows, along=[along.filter(status=each) for each in filters.STALLED], few=few, heavy=True)
    fits = all(key in _NAMED or key.startswith("created_at__") for key in filter)
    return Listing(rows=rows, along=[along], fits=fits, few=few, by_status="fingerprint" not in filter)


def searching_errors(filter: dict[str, Any], condition: Q) -> Listing:
    """Return those of the instances of a filter that have failed, or are stalled, and fit a condition."""
    failing = instances.rows().order_by().filter(failed_at__isnull=False)
    rows = _found(filter).filter(condition, failed_at__isnull=False)
    return Listing(rows=rows, along=[failing], by_status=False, heavy=True)


def of_status(chosen: Listing, statuses: Collection[str]) -> Listing:
    """Return those of some instances that have one of these statuses; all of them if none is named."""
    if not statuses:
        return chosen
    rows = chosen.rows.filter(status__in=statuses)
    if not chosen.by_status:
        return replace(chosen, rows=rows)
    return replace(chosen, rows=rows, along=[part.filter(status=each) for part in chosen.along for each in statuses])


def narrowed(chosen: Listing, *conditions: Q, by_index: Q | None = None) -> Listing:
    """Return those of some instances that fit conditions of which filters know nothing.

    Args:
        chosen: The instances.
        conditions: What else must be true of them.
        by_index: One of the conditions that has an index of its own.
    """
    if not conditions:
        return chosen
    few = chosen.few or (by_index is not None and not _reaches(instances.rows().order_by().filter(by_index), SPAN + 1))
    return replace(chosen, rows=chosen.rows.filter(*conditions), fits=False, few=few)


def _found(filter: dict[str, Any]) -> QuerySet[Instance]:
    found: QuerySet[Instance] = filters.find(filter) if filter else instances.rows().order_by()
    return found


def _are_few(filter: dict[str, Any], along: QuerySet[Instance]) -> bool:
    """Say whether there is an index of another order that finds few."""
    sharp = {key: value for key, value in filter.items() if key in _SHARP | _NAMED}
    if not sharp.keys() & _SHARP:
        return False
    if sharp.keys() & _TAGS:
        lately = _times(along, None).order_by("-created_at")[PROBED - 1 : PROBED]
        tagged = filters.find({key: filter[key] for key in sharp if key in _TAGS}, by_tag=False)
        if any(_reaches(tagged.filter(created_at__gte=at), MANY) for at in lately):
            return False
    return not _reaches(_found(sharp), SPAN + 1)


def _reaches(rows: QuerySet[Instance], number: int) -> bool:
    # In no order: one that the list is in would have PostgreSQL go through that.
    return int(rows[:number].count()) == number


def _along(filter: dict[str, Any]) -> QuerySet[Instance]:
    if fingerprint := filter.get("fingerprint"):
        alike: QuerySet[Instance] = instances.rows().order_by().filter(fingerprint=fingerprint, failed_at__isnull=False)
        return alike
    kept = {key: value for key, value in filter.items() if key in _NAMED or key.startswith("created_at__")}
    for key in _ENDED & filter.keys():  # it was created before it began or ended
        kept.setdefault(f"created_at__{key.rpartition('_')[2]}", filter[key])
    return _found(kept)


def page(chosen: Listing, at: Place | None, size: int = SIZE, *, read: Callable[[Any], list[Instance]] = list) -> Page:
    """Return the page at a place, the newest first.

    Args:
        chosen: The instances.
        at: The place; None is the beginning.
        size: How many instances a page has.
        read: What reads them.
    """
    older = at is None or at.older
    bound, rows = _bound(chosen, at, size), _beyond(chosen.rows, at)
    if bound is not None:
        rows = rows.filter(**{"created_at__gte" if older else "created_at__lte": bound})
    found = read(rows.order_by(*_order(chosen, older=older))[: size + 1])
    until = bound if len(found) <= size else None
    further = _place(found[size - 1], older=older) if len(found) > size else _past(bound, older=older)
    back = _place(found[0], older=not older) if found else at and replace(at, older=not older)
    if older:
        return Page(rows=found[:size], newer=None if at is None else back, older=further, until=until)
    return Page(rows=found[:size][::-1], newer=further, older=back, until=until)


def walk(chosen: Listing, limit: int, *, read: Callable[[Any], list[Instance]] = list) -> Iterator[Instance]:
    """Yield so many instances at most, the newest first, and look as far as it takes.

    Args:
        chosen: The instances.
        limit: How many.
        read: What reads them.
    """
    at: Place | None = None
    while limit > 0:
        found = page(chosen, at, min(limit, SPAN), read=read)
        yield from found.rows
        limit -= len(found.rows)
        if found.older is None:
            return
        at = found.older


def _order(chosen: Listing, *, older: bool) -> tuple[Any, ...]:
    if not chosen.few and len(chosen.along) == 1:
        return ("-created_at", "id") if older else ("created_at", "-id")
    # No index is in the order of this: else PostgreSQL might go through the whole list by one that is.
    by_time = Coalesce("created_at", "created_at")
    return (by_time.desc(), "id") if older else (by_time.asc(), "-id")


def _past(bound: datetime | None, *, older: bool) -> Place | None:
    """Return the place after whatever was created at a time."""
    if bound is None:
        return None
    return Place(created_at=bound - _TICK, id="", older=True) if older else Place(created_at=bound, id="", older=False)


def _place(row: Instance, *, older: bool) -> Place:
    return Place(created_at=row.created_at, id=row.pk, older=older)


def _beyond(rows: QuerySet[Instance], at: Place | None) -> QuerySet[Instance]:
    if at is None:
        return rows
    if at.older:
        return rows.filter(Q(created_at__lt=at.created_at) | Q(id__gt=at.id), created_at__lte=at.created_at)
    return rows.filter(Q(created_at__gt=at.created_at) | Q(id__lt=at.id), created_at__gte=at.created_at)


def _bound(chosen: Listing, at: Place | None, size: int) -> datetime | None:
    """Return the time of creation until which to look; None is to the end."""
    if chosen.few or (chosen.fits and len(chosen.along) == 1):
        return None
    older = at is None or at.older
    order = "-created_at" if older else "created_at"
    among = size + 1 if chosen.fits else SEARCHED if chosen.heavy else SPAN
    ends = [end for part in chosen.along for end in _times(part, at).order_by(order)[among - 1 : among]]
    return (max if older else min)(ends, default=None)


def _times(part: QuerySet[Instance], at: Place | None) -> Any:
    if at is not None:
        part = part.filter(**{"created_at__lte" if at.older else "created_at__gte": at.created_at})
    return part.values_list("created_at", flat=True)


def counts(chosen: Listing, limit: int) -> Counts:
    """Return how many instances there are of each status; what no index finds is counted among the newest.

    Args:
        chosen: The instances, of any status.
        limit: Up to which number those of a status are counted; one more says that there are more.
    """
    if chosen.fits and not chosen.few:
        (part,) = chosen.along
        return Counts(by={str(each): count(part.filter(status=each), limit) for each in Status})
    bound = _bound(chosen, None, SIZE)
    rows = chosen.rows if bound is None else chosen.rows.filter(created_at__gte=bound)
    by = dict(rows.order_by().values_list("status").annotate(Count("pk")))
    return Counts(by=by, whole=bound is None)


def total(chosen: Listing, limit: int) -> Total:
    """Return how many instances there are in all; what no index finds is counted among the newest.

    Args:
        chosen: The instances.
        limit: Up to which number they are counted; one more says that there are more.
    """
    if chosen.fits and not chosen.few:
        return Total(count=min(limit + 1, sum(count(part, limit) for part in chosen.along)))
    bound = _bound(chosen, None, SIZE)
    rows = chosen.rows if bound is None else chosen.rows.filter(created_at__gte=bound)
    return Total(count=int(rows.order_by()[: limit + 1].count()), whole=bound is None)


def count(rows: QuerySet[Instance], limit: int) -> int:
    """Return how many rows there are, or one more than the limit if there are more."""
    return int(rows.order_by("-created_at")[: limit + 1].count())
