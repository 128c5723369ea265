"""The JSON form of a Python value."""

from __future__ import annotations

import base64
import datetime as dt
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from functools import cache
from math import isfinite
from typing import Any
from uuid import UUID

import msgspec

# What a converter makes of a value that nobody here knows.
Other = Callable[[Any], Any]


class Storable(ABC):
    """A class that says itself what it looks like as JSON."""

    __slots__ = ()

    @abstractmethod
    def to_json(self) -> Any:
        """Return what to store; it may hold anything that can be stored."""

    @classmethod
    @abstractmethod
    def from_json(cls, data: Any) -> Any:
        """Build the value that ``to_json`` wrote.

        Raises:
            ValueError: The data is something else.
        """


def copied(value: Any) -> Any:
    """Return a copy of plain JSON, or None for anything else.

    What equals itself after a trip through JSON is plain. The trip is made in
    C, so it takes a tenth of the time of ``form``.
    """
    try:
        copy = msgspec.json.decode(msgspec.json.encode(value))
    except (TypeError, ValueError, RecursionError):
        return None
    return copy if copy == value else None


def form(value: Any, other: Other) -> Any:
    """Return a value as plain JSON: str, int, float, bool, None, lists and dicts of them.

    Args:
        other: Called with each part that is of an unknown type.

    Raises:
        ValueError: Some part has no JSON form; ``blame`` tells which.
    """
    kind = type(value)
    if kind is str:
        return _text(value)
    if kind is int:
        return _whole(value)
    if kind is bool or value is None:
        return value
    if kind is float:
        return _number(value)
    if kind is list or kind is tuple:
        return [form(part, other) for part in value]
    if kind is dict:
        return _object(value, other)
    if kind in _TEXTS:
        return _TEXTS[kind](value)
    return _other_form(value, other)


def _other_form(value: Any, other: Other) -> Any:
    # Enum first: an IntEnum is an int, too. Subclasses lose their class, as JSON has no place for it.
    if isinstance(value, Enum):
        return form(value.value, other)
    if isinstance(value, str):
        return _text(str.__str__(value))
    if isinstance(value, int):
        return _whole(int.__int__(value))
    if isinstance(value, float):
        return _number(float.__float__(value))
    if isinstance(value, list | tuple):
        return [form(part, other) for part in value]
    if isinstance(value, set | frozenset):
        # Sets have an order of their own in each process.
        return sorted((form(part, other) for part in value), key=msgspec.json.encode)
    if isinstance(value, Mapping):
        return _object(value, other)
    for kind, text in _TEXTS.items():
        if isinstance(value, kind):
            return text(value)
    return _record(value, other)


def _record(value: Any, other: Other) -> Any:
    if isinstance(value, Storable):
        return form(value.to_json(), other)
    if is_dataclass(value) and not isinstance(value, type):
        return {name: form(getattr(value, name), other) for name in field_names(type(value))}
    if is_pydantic(type(value)):
        return form(value.model_dump(mode="json", round_trip=True), other)
    return form(other(value), other)


def _object(value: Mapping[Any, Any], other: Other) -> dict[str, Any]:
    plain = {_key(key): form(part, other) for key, part in value.items()}
    if len(plain) != len(value):
        raise ValueError("two of its keys are the same text in JSON")
    return plain


def _key(key: Any) -> str:
    if type(key) is str:
        return _text(key)
    if isinstance(key, str | int | float | Enum | Decimal | UUID | dt.date | dt.time | dt.timedelta | bytes):
        plain = form(key, refuse)
        if isinstance(plain, str):
            return plain
        if isinstance(plain, int | float) and not isinstance(plain, bool):
            return msgspec.json.encode(plain).decode()
    raise ValueError(f"a key of type {type(key).__qualname__} cannot be stored as JSON")


def refuse(value: Any) -> Any:
    """Refuse a value of an unknown type."""
    raise ValueError(f"a value of type {type(value).__qualname__} cannot be stored as JSON")


def _text(value: str) -> str:
    if not value.isascii():
        value.encode()  # Half of a surrogate pair is no Unicode text; this says so.
    return value


def _whole(value: int) -> int:
    if value.bit_length() > 64:
        str(value)  # Python reads no more than so many digits back; this says so.
    return value


def _number(value: float) -> float:
    if not isfinite(value):
        raise ValueError(f"JSON has no {value}")
    return value


def _datetime(value: dt.datetime) -> str:
    offset = value.utcoffset()
    if offset is not None and offset % dt.timedelta(minutes=1):
        # Local mean times, as zones had them a century ago. RFC 3339 has no seconds in an offset.
        try:
            value = value.astimezone(dt.UTC)
        except OverflowError:
            raise ValueError("its offset from UTC has seconds, which JSON cannot say") from None
    return dt.datetime.isoformat(value)


def _time(value: dt.time) -> str:
    if (value.utcoffset() or dt.timedelta()) % dt.timedelta(minutes=1):
        raise ValueError("its offset from UTC has seconds, which JSON cannot say")
    return dt.time.isoformat(value)


def _timedelta(value: dt.timedelta) -> str:
    text: str = msgspec.to_builtins(dt.timedelta(value.days, value.seconds, value.microseconds))
    return text


def _base64(value: bytes | bytearray) -> str:
    return base64.b64encode(value).decode()


# A datetime is a date, too, so it comes first.
_TEXTS: dict[type, Callable[[Any], str]] = {
    dt.datetime: _datetime,
    dt.date: dt.date.isoformat,
    dt.time: _time,
    dt.timedelta: _timedelta,
    Decimal: Decimal.__str__,
    UUID: UUID.__str__,
    bytes: _base64,
    bytearray: _base64,
}


@cache
def field_names(kind: Any) -> tuple[str, ...]:
    """Return the names of a dataclass's fields."""
    return tuple(field.name for field in fields(kind))


def is_pydantic(kind: Any) -> bool:
    """Tell whether this is a class of pydantic models; never imports pydantic."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return base is not None and isinstance(kind, type) and issubclass(kind, base)


def blame(value: Any, other: Other, problem: str) -> tuple[str, str]:
    """Return the path to the part of a value that has no JSON form, with its problem.

    Args:
        problem: What ``form`` said of the value as a whole.
    """
    for label, part in _parts(value):
        try:
            form(part, other)
        except ValueError as error:
            path, problem = blame(part, other, str(error))
            return f"{label}{path}", problem
    return "", problem


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, list | tuple):
        names = getattr(value, "_fields", None)
        return [(f".{names[number]}" if names else f"[{number}]", part) for number, part in enumerate(value)]
    if isinstance(value, set | frozenset):
        return [("{...}", part) for part in value]
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", part) for key, part in value.items()]
    if is_dataclass(value) and not isinstance(value, type | Storable):
        return [(f".{name}", getattr(value, name)) for name in field_names(type(value))]
    return []
