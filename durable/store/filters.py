"""Filters of instances that JSON can hold, to be kept and sent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldError
from django.db import connections
from django.db.models import Q
from django.db.models.fields.json import KeyTransform

from durable import conf
from durable.core import given, texts
from durable.core.errors import InvalidInput
from durable.core.errors.telling import quoted
from durable.models import Status
from durable.store import instances

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.db.models import QuerySet

    from durable.models import Instance

TEXTS = ("id", "name", "status", "queue", "app_id", "parent", "rerun_from", "fingerprint")
NUMBERS = ("version", "attempt")
TIMES = ("created_at", "started_at", "closed_at", "failed_at")

FIELDS = (*TEXTS, *NUMBERS, *TIMES)
"""What can be filtered by, beside ``tags`` and ``stall_reason``."""

LOOKUPS = ("exact", "in", "lt", "lte", "gt", "gte", "range", "isnull", "startswith", "contains")

STALLED = (Status.STALLED, Status.SUSPENDED)
"""The statuses of what is stalled: it may have been suspended since."""

_TIME = "a time, such as 2026-01-31T08:00:00Z"


def find(filter: dict[str, Any], *, by_tag: bool = True) -> QuerySet[Instance]:
    """Return the instances that a filter chooses, in no order.

    Args:
        filter: Django's lookups on ``FIELDS``, such as ``{"status": "failed", "created_at__gte": "2026-01-31"}``;
            ``tags``, which maps names to values, or ``tags__in``, which maps them to lists of values; and
            ``stall_reason``, why instances are stalled.
        by_tag: Whether the database may go by its index of tags, if it has one.

    Raises:
        InvalidInput: It cannot be taken: it is empty, or has an unknown field or lookup, or a value that does not fit.
    """
    if not isinstance(filter, Mapping):
        raise given.unfit(filter, "filter", "an object, such as {'status': 'failed'}")
    if not filter:
        raise InvalidInput("filter", "it is empty; to choose all instances, write for example {'version__gte': 0}")
    found: QuerySet[Instance] = instances.rows().order_by()
    for key, value in filter.items():
        where = f"filter[{quoted(key)}]"
        plain = texts.check_plain(conf.converter().encode(value, where), where)
        found = _narrowed(found, key, plain, where, by_tag=by_tag)
    return found


def _narrowed(found: QuerySet[Instance], key: Any, value: Any, where: str, *, by_tag: bool) -> QuerySet[Instance]:
    match key:
        case "tags":
            return _with_tags(found, {name: [each] for name, each in _object(value, where).items()}, by_tag=by_tag)
        case "tags__in":
            tags = {name: _list(values, where) for name, values in _object(value, where).items()}
            return _with_tags(found, tags, by_tag=by_tag)
        case "stall_reason":
            reason = _single("name", value, where)
            found = found.alias(stall_reason=KeyTransform("reason", "stall")).filter(stall_reason=reason)
            # True of all of them, and what the index is by.
            return found.filter(failed_at__isnull=False, status__in=STALLED)
        case _:
            return _with_field(found, str(key), value, where)


def _with_field(found: QuerySet[Instance], key: str, value: Any, where: str) -> QuerySet[Instance]:
    field, _, lookup = key.partition("__")
    if field not in FIELDS:
        raise InvalidInput(where, f"there is no such field; there are {', '.join(FIELDS)}, tags and stall_reason")
    if lookup and lookup not in LOOKUPS:
        raise InvalidInput(where, f"there is no such lookup; there are {', '.join(LOOKUPS)}")
    try:
        found = found.filter(**{key: _value(field, lookup, value, where)})
    except FieldError as error:
        raise InvalidInput(where, str(error)) from None
    # What is true of all of them: only so do databases know that the index is for this.
    if key in ("fingerprint", "fingerprint__exact") and value:
        found = found.filter(failed_at__isnull=False, status__in=[Status.FAILED, *STALLED])
    if field in ("started_at", "closed_at") and lookup in ("lt", "lte"):
        # Lists are in the order of creation, which comes first.
        found = found.filter(**{f"created_at__{lookup}": _value(field, lookup, value, where)})
    return found


def _value(field: str, lookup: str, value: Any, where: str) -> Any:
    match lookup:
        case "isnull":
            return given.flag(value, where)
        case "" | "exact" if value is None:
            return None
        case "in":
            return [_single(field, each, where) for each in _list(value, where)]
        case "range":
            first_and_last = _list(value, where)
            if len(first_and_last) != 2:
                raise given.unfit(value, where, "a list of the first and the last")
            return [_single(field, each, where) for each in first_and_last]
        case "startswith" | "contains" if field not in TEXTS:
            raise InvalidInput(where, f"only texts can be looked up so: {', '.join(TEXTS)}")
        case _:
            return _single(field, value, where)


def _single(field: str, value: Any, where: str) -> Any:
    if field in NUMBERS:
        return given.whole(value, where)
    if not isinstance(value, str):
        raise given.unfit(value, where, "a text" if field in TEXTS else _TIME)
    return value if field in TEXTS else _time(value, where)


def _time(value: str, where: str) -> datetime:
    try:
        at = datetime.fromisoformat(value)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise given.unfit(value, where, _TIME) from None


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise given.unfit(value, where, "an object that maps names to values")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise given.unfit(value, where, "a list of values")
    return value


def _with_tags(found: QuerySet[Instance], tags: dict[str, list[Any]], *, by_tag: bool) -> QuerySet[Instance]:
    for name, values in tags.items():
        found = tagged(found, name, values, by_tag=by_tag)
    return found


def tagged(found: QuerySet[Instance], name: str, values: Collection[Any], *, by_tag: bool = True) -> QuerySet[Instance]:
    """Return those of some instances that have a tag with one of some values.

    Args:
        found: The instances.
        name: The tag's name.
        values: What it may be.
        by_tag: Whether the database may go by its index of tags, if it has one: it finds all at once, in no order.
    """
    # Not tags__name=value: the name of a tag may look like a lookup.
    alias = f"tag{len(found.query.annotations)}"
    found = found.alias(**{alias: KeyTransform(name, "tags")})
    exactly = [Q(**{alias: each}) for each in values]
    if by_tag and connections[found.db].features.supports_json_field_contains:
        # Looser where the value is a list or an object, but the one thing that PostgreSQL has an index for.
        exactly = [Q(tags__contains={name: each}) & fits for each, fits in zip(values, exactly, strict=True)]
    return found.filter(reduce(or_, exactly, Q(pk__in=[])))
