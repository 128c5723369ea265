"""JSON from outside: read strictly, and nested no deeper than what handles it can go."""

from __future__ import annotations

from typing import Any

import msgspec

DEEPEST = 200
"""How deeply lists and objects may be nested; Python, Django and databases go a few times as deep."""


def decode(text: str | bytes) -> Any:
    """Return what a text from outside is as JSON.

    Raises:
        MsgspecError, UnicodeError: It is no JSON.
        RecursionError: It is nested too deeply.
    """
    data = msgspec.json.decode(text)
    level = [data]
    for _ in range(DEEPEST + 1):
        level = [inner for each in level for inner in _within(each)]
        if not level:
            return data
    raise RecursionError


def _within(data: Any) -> list[Any]:
    match data:
        case dict():
            return list(data.values())
        case list():
            return data
        case _:
            return []
