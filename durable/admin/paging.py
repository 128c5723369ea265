"""Pages of a long list by where they begin, so that the last one costs no more than the first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.db.models import Q

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

    from durable.models import Instance

SIZE = 100

_NEWEST_FIRST = ("-created_at", "id")
_OLDEST_FIRST = ("created_at", "-id")


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
        newer: What to ask for to get the page before, or an empty text.
        older: Likewise the page after.
    """

    rows: list[Instance]
    newer: str
    older: str


def place(request: HttpRequest) -> Place | None:
    """Return the place that a request asks for; None is the beginning, also for what is no place."""
    for name in ("older", "newer"):
        at, space, instance_id = request.GET.get(name, "").partition(" ")
        if space:
            try:
                created_at = datetime.fromisoformat(at)
            except ValueError:
                return None
            if created_at.tzinfo is not None:
                return Place(created_at=created_at, id=instance_id, older=name == "older")
    return None


def page(rows: QuerySet[Instance], at: Place | None, size: int = SIZE) -> Page:
    """Return the page at a place, the newest first."""
    if at is None:
        found = list(rows.order_by(*_NEWEST_FIRST)[: size + 1])
        return _page(found[:size], newer=False, older=len(found) > size)
    if at.older:
        beyond = Q(created_at__lt=at.created_at) | Q(id__gt=at.id)
        found = list(rows.filter(beyond, created_at__lte=at.created_at).order_by(*_NEWEST_FIRST)[: size + 1])
        return _page(found[:size], newer=True, older=len(found) > size)
    beyond = Q(created_at__gt=at.created_at) | Q(id__lt=at.id)
    found = list(rows.filter(beyond, created_at__gte=at.created_at).order_by(*_OLDEST_FIRST)[: size + 1])
    return _page(found[:size][::-1], newer=len(found) > size, older=True)


def _page(rows: list[Instance], *, newer: bool, older: bool) -> Page:
    def at(row: Any) -> str:
        return str(Place(created_at=row.created_at, id=row.pk, older=True))

    return Page(rows=rows, newer=at(rows[0]) if rows and newer else "", older=at(rows[-1]) if rows and older else "")


def count(rows: QuerySet[Instance], limit: int) -> int:
    """Return how many rows there are, or one more than the limit if there are more."""
    return int(rows.order_by()[: limit + 1].count())
