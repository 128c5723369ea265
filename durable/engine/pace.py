"""How long activities take, as far as this process knows: what is short is leased together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable.models import ActivityTask

TOGETHER_SECONDS = 0.005
"""How long what is leased together may take: if the worker dies, all of it that had begun is run again."""

AT_ONCE = 50
"""How many tasks a worker leases together at most."""

_seconds: dict[str, float] = {}
_counts: dict[str, int] = {}


def note(name: str, seconds: float) -> None:
    """Note how long an attempt at an activity took."""
    # That it takes longer than it did is believed at once.
    _seconds[name] = max(seconds, (seconds + _seconds.get(name, seconds)) / 2)


def end_round(queue: str, names: Sequence[str]) -> None:
    """Note what was leased together last, to know how many such tasks to look for next."""
    each = sum(_of(name) for name in names) / max(len(names), 1)
    _counts[queue] = max(1, min(AT_ONCE, int(TOGETHER_SECONDS / max(each, 1e-6))))


def count(queue: str) -> int:
    """Return how many tasks of a queue can be expected to be short enough to be leased together."""
    return _counts.get(queue, 1)


def short(found: Sequence[ActivityTask]) -> list[ActivityTask]:
    """Return the first of some tasks, and those after it for which there will be time."""
    left = TOGETHER_SECONDS
    for number, task in enumerate(found):
        left -= _of(task.name)
        if left < 0 and number:
            return list(found[:number])
    return list(found)


def forget() -> None:
    """Begin to learn anew."""
    _seconds.clear()
    _counts.clear()


def _of(name: str) -> float:
    return _seconds.get(name, TOGETHER_SECONDS)
