"""JSON that is nested no deeper than what handles it can go; from outside, it is read strictly."""

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
    if is_too_deep(data):
        raise RecursionError
    return data


def is_too_deep(data: Any) -> bool:
    """Say whether plain JSON is nested more deeply than ``DEEPEST``."""
    level = [data] if isinstance(data, dict | list) else []
    for _ in range(DEEPEST):
        if not level:
            return False
        level = [
            inner
            for each in level
            for inner in (each.values() if type(each) is dict else each)
            if type(inner) is dict or type(inner) is list
        ]
    return bool(level)
