"""Comparisons of two executions, as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.client import ComparedEvent, Comparison, HistoryItem

_MARKS = {"same": " ", "changed": "~", "only_a": "-", "only_b": "+"}
_SHOWN = 120


def described(found: Comparison, *, everything: bool) -> Iterator[str]:
    """Yield a line for each event, and for each field that differs, and the numbers.

    Args:
        found: The comparison.
        everything: Whether to tell also of what is the same.
    """
    for event in found.events:
        if everything or event.change != "same" or event.moved:
            yield from _event(event)
    yield ", ".join(f"{count:,} {change.replace('_', ' ')}" for change, count in found.counts.items())


def _event(event: ComparedEvent) -> Iterator[str]:
    item = event.b or event.a
    if item is None:
        return
    number = "" if item.event_id is None else item.event_id
    mark = _MARKS[event.change] + (">" if event.moved else " ")
    yield f"{mark}{item.seq:>6} {number:>5} {item.kind} {item.name}".rstrip()
    if event.a is None or event.b is None:
        return
    for field in event.fields:
        yield f"    {field}: {_of(event.a, field)} -> {_of(event.b, field)}"


def _of(item: HistoryItem, field: str) -> str:
    value = item.kind if field == "kind" else item.name if field == "name" else item.data.get(field)
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
