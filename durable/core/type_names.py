"""Names of workflows, with and without their versions."""

from __future__ import annotations

import re

from durable.core.errors import InvalidDefinition

_DIGITS = 10
"""How many digits are too many for a version: no database would hold the number."""


def split_version(type_name: str) -> tuple[str, int]:
    """Split ``order2`` into ``("order", 2)``; no digits are version 0."""
    match = re.fullmatch(r"(.*?)(\d*)", type_name, re.DOTALL)
    assert match is not None  # noqa: S101 - the pattern fits any text
    name, digits = match.groups()
    return (name, int(digits)) if digits and name and len(digits) < _DIGITS else (type_name, 0)


def type_name(name: str, version: int) -> str:
    """Return a name with its version: ``order2``, or ``order`` for version 0."""
    return f"{name}{version}" if version else name


def check(name: str) -> None:
    """Refuse a name that no workflow or activity can have.

    Raises:
        InvalidDefinition: It is empty or too long, or has characters that it may not have.
    """
    if not 1 <= len(name) <= 200 or not name.isprintable():
        raise InvalidDefinition(name, "a name has 1 to 200 printable characters")
