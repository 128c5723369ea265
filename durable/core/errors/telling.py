"""What errors say of values and names."""

from __future__ import annotations

from contextlib import suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def choices(name: str, known: Iterable[str]) -> str:
    """Return, in words, which names there are in place of one that there is not, and which of them look like it."""
    names = sorted(known)
    return f"there are: {', '.join(names) or 'none'}{nearby(get_close_matches(name, names))}"


def quoted(value: object, longest: int = 300) -> str:
    """Return a value as an error can quote it: in characters that can be stored, and not too many of them."""
    told = f"<{type(value).__name__}>"
    with suppress(Exception):  # __repr__ may be the user's code
        told = repr(value)
    told = told.replace("\0", "\\x00").encode(errors="backslashreplace").decode()
    return told if len(told) <= longest else f"{told[: longest - 3]}..."


def bare(value: object) -> str:
    """Return a text without quotes, if nothing is lost by that."""
    told = quoted(value)
    return value if isinstance(value, str) and told == f"'{value}'" else told


def nearby(near: Sequence[str]) -> str:
    return f"; did you mean {', '.join(near)}?" if near else ""
