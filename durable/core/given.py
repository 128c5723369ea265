"""What callers give: each kind of value is checked here, and refused with what to give instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from durable.core.errors import InvalidInput
from durable.core.errors.telling import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Taken = TypeVar("Taken")

LARGEST = 2**31 - 1
"""The largest whole number that every database can hold."""


def unfit(value: Any, where: str, instead: str) -> InvalidInput:
    """Return the error that refuses a value."""
    return InvalidInput(where, f"{quoted(value)} cannot be taken; give {instead}")


def optional(take: Callable[..., Taken], value: Any, where: str, **options: Any) -> Taken | None:
    """Return a value as it is, if it is None or another check takes it."""
    return None if value is None else take(value, where, **options)


def integer(value: Any, where: str) -> int:
    """Return an integer as it is.

    Raises:
        InvalidInput: It is none; nor are True and False.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise unfit(value, where, "a whole number")
    return value


def whole(value: Any, where: str, *, least: int = 0, most: int = LARGEST) -> int:
    """Return a whole number as it is.

    Raises:
        InvalidInput: It is none, or is too small or too large.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise unfit(value, where, f"a whole number from {least:,} to {most:,}")
    return value


def flag(value: Any, where: str) -> bool:
    """Return True or False as it is.

    Raises:
        InvalidInput: It is neither: what else may be true is not for guessing.
    """
    if not isinstance(value, bool):
        raise unfit(value, where, "True or False")
    return value


def choice(value: Any, where: str, choices: Sequence[str]) -> str:
    """Return one of several words as it is.

    Raises:
        InvalidInput: It is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise InvalidInput(where, f"{quoted(value)} is not one of {', '.join(choices)}")
    return value


def words(value: Any, where: str, choices: Sequence[str]) -> list[str]:
    """Return several of several words, given as one word or as many.

    Raises:
        InvalidInput: One is none of them.
    """
    given = [value] if isinstance(value, str) else several(value, where, f"any of {', '.join(choices)}")
    return [choice(each, where, choices) for each in given]


def several(value: Any, where: str, instead: str) -> Iterable[Any]:
    """Return an iterable as it is.

    Raises:
        InvalidInput: It is none, or is a text or a mapping, whose items nobody means.
    """
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise unfit(value, where, instead)
    return value


def named(value: Any, where: str) -> dict[str, Any]:
    """Return a mapping of names to values as a dict; None is an empty one.

    Raises:
        InvalidInput: It is none, or a name is no text.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise unfit(value, where, "a dict with names as keys")
    return dict(value)


def moment(value: Any, where: str) -> datetime:
    """Return a time as it is in UTC, which is how databases hold it.

    Raises:
        InvalidInput: It is none, does not say in which time zone it is, or is before or after all times in UTC.
    """
    if not isinstance(value, datetime):
        raise unfit(value, where, "a datetime with a time zone")
    if value.tzinfo is None:
        raise InvalidInput(where, f"{value.isoformat()} has no time zone; give a datetime with one")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidInput(where, f"{value.isoformat()} is not in the years 1 to 9999 of UTC") from None


def patience(value: Any, where: str) -> float | None:
    """Return for how many seconds somebody would wait; None is for ever.

    Raises:
        InvalidInput: It is no number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise unfit(value, where, "a number of seconds, or None to wait for ever")
    return value
