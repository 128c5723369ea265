"""Filters of instances that JSON can hold, to be kept and sent."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldError, ValidationError
from django.db.models import Q
from django.db.models.fields.json import KeyTransform

from durable.core.errors import InvalidInput
from durable.store import instances

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from durable.models import Instance

FIELDS = (
    *("id", "name", "version", "status", "queue", "app_id", "parent", "rerun_from", "attempt"),
    *("created_at", "started_at", "closed_at", "failed_at", "fingerprint"),
)
"""What can be filtered by, beside ``tags`` and ``stall_reason``."""

LOOKUPS = ("exact", "in", "lt", "lte", "gt", "gte", "range", "isnull", "startswith", "contains")


def find(filter: dict[str, Any]) -> QuerySet[Instance]:
    """Return the instances that a filter chooses, in no order.

    Args:
        filter: Django's lookups on ``FIELDS``, such as ``{"status": "failed", "created_at__gte": "2026-01-31"}``;
            ``tags``, which maps names to values, or ``tags__in``, which maps them to lists of values; and
            ``stall_reason``, why instances are stalled.

    Raises:
        InvalidInput: It cannot be taken: it is empty, or has an unknown field or lookup, or a value that does not fit.
    """
    if not filter:
        raise InvalidInput("filter", "it is empty; to choose all instances, write for example {'version__gte': 0}")
    found: QuerySet[Instance] = instances.rows().order_by()
    for key, value in filter.items():
        where = f"filter[{key!r}]"
        try:
            found = _narrowed(found, key, value)
        except (FieldError, ValidationError, TypeError, ValueError) as error:
            raise InvalidInput(where, "; ".join(getattr(error, "messages", [str(error)]))) from None
    return found


def _narrowed(found: QuerySet[Instance], key: str, value: Any) -> QuerySet[Instance]:
    match key:
        case "tags":
            return _with_tags(found, _object(value), "exact")
        case "tags__in":
            return _with_tags(found, {name: _list(values) for name, values in _object(value).items()}, "any")
        case "stall_reason":
            return found.alias(stall_reason=KeyTransform("reason", "stall")).filter(stall_reason=value)
        case _:
            return found.filter(**{_checked(key): _value(key, value)})


def _checked(key: str) -> str:
    field, _, lookup = key.partition("__")
    if field not in FIELDS:
        raise FieldError(f"there is no such field; there are {', '.join(FIELDS)} and tags")
    if lookup and lookup not in LOOKUPS:
        raise FieldError(f"there is no such lookup; there are {', '.join(LOOKUPS)}")
    return key


def _value(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        raise TypeError("an object does not fit; give a value, or a list of them")
    if isinstance(value, list | tuple):
        return [_value(key, each) for each in value]
    if key.partition("__")[0].endswith("_at") and isinstance(value, str):
        at = datetime.fromisoformat(value)
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("give an object that maps names to values")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("give a list of values for each name")
    return value


def _with_tags(found: QuerySet[Instance], tags: dict[str, Any], how: str) -> QuerySet[Instance]:
    for number, (name, value) in enumerate(tags.items()):
        # Not tags__name=value: the name of a tag may look like a lookup.
        alias = f"tag{number}_{how}"
        fits = [Q(**{alias: each}) for each in (value if how == "any" else [value])]
        found = found.alias(**{alias: KeyTransform(name, "tags")}).filter(reduce(or_, fits, Q(pk__in=[])))
    return found
