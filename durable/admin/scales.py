"""Places on a timeline's axis for moments, and moments for places."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from durable.client.steps import Step

WIDTH = 1000

_WORK = ("activity", "child")
_IDLE = 0.04
"""How much of the axis idle time gets at most, at a stretch, of what work gets in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A stretch of idle time that is drawn shorter than it was."""

    x: float
    width: float
    seconds: float


class Scale:
    """An axis that is linear from each moment to the next, with a weight for each such stretch.

    Attributes:
        gaps: What is drawn shorter than it was.
    """

    def __init__(self, moments: Sequence[datetime], weights: Iterable[float], shortened: Iterable[int] = ()) -> None:
        """Take the moments, in order, and the weights of the stretches between them.

        Args:
            moments: One at least.
            weights: One less than there are moments.
            shortened: Which stretches are gaps.
        """
        self._moments = moments
        sums = list(accumulate(weights, initial=0.0))
        self._places = [WIDTH * each / sums[-1] if sums[-1] else 0.0 for each in sums]
        self.gaps = [self._gap(n) for n in shortened]

    def _gap(self, n: int) -> Gap:
        x, end = self._places[n : n + 2]
        return Gap(x=x, width=end - x, seconds=(self._moments[n + 1] - self._moments[n]).total_seconds())

    def x(self, at: datetime) -> float:
        """Return the place of a moment."""
        n = bisect_right(self._moments, at) - 1
        if n < 0 or n + 1 >= len(self._moments):
            return self._places[0 if n < 0 else -1]
        whole = (self._moments[n + 1] - self._moments[n]).total_seconds()
        part = (at - self._moments[n]).total_seconds() / whole
        return self._places[n] + part * (self._places[n + 1] - self._places[n])

    def at(self, x: float) -> datetime:
        """Return the moment at a place."""
        n = bisect_right(self._places, x) - 1
        if n + 1 >= len(self._moments):
            return self._moments[-1]
        part = (x - self._places[n]) / (self._places[n + 1] - self._places[n])
        return self._moments[n] + part * (self._moments[n + 1] - self._moments[n])


def by_time(moments: Sequence[datetime]) -> Scale:
    """Return the axis on which time has its room."""
    return Scale(moments, ((b - a).total_seconds() for a, b in pairwise(moments)))


def evenly(moments: Sequence[datetime]) -> Scale:
    """Return the axis on which each moment has as much room as any other."""
    return Scale(moments, (1.0 for _ in pairwise(moments)))


def by_work(moments: Sequence[datetime], steps: Sequence[Step]) -> Scale:
    """Return the axis on which time has its room while activities or children run, and little when none does."""
    busy = _busy(moments, steps)
    lengths = [(b - a).total_seconds() for a, b in pairwise(moments)]
    work = sum(length for length, is_busy in zip(lengths, busy, strict=True) if is_busy)
    if not work:
        return evenly(moments)
    most = _IDLE * work
    short = [n for n, length in enumerate(lengths) if not busy[n] and length > most]
    weights = [most if not busy[n] and length > most else length for n, length in enumerate(lengths)]
    return Scale(moments, weights, short)


def _busy(moments: Sequence[datetime], steps: Sequence[Step]) -> list[bool]:
    """Return of each stretch whether an activity or a child ran in it."""
    changes: dict[datetime, int] = {}
    end = moments[-1] + timedelta(seconds=1)
    for step in steps:
        if step.kind in _WORK:
            changes[step.began] = changes.get(step.began, 0) + 1
            over = end if step.ended is None else step.ended
            changes[over] = changes.get(over, 0) - 1
    running = accumulate(changes.get(at, 0) for at in moments[:-1])
    return [count > 0 for count in running]
