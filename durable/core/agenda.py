"""Virtual time: what is due when, and a clock that jumps from one to the next."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(order=True, slots=True)
class Entry:
    """Something that is due at a time.

    Attributes:
        at: When, in seconds since 1970.
        what: What it is, in words; errors name it.
        by_test: Whether the test asked for it; the workflows did not.
    """

    at: float
    order: int
    act: Callable[[], object] = field(compare=False)
    what: str = field(compare=False)
    by_test: bool = field(compare=False, default=False)
    canceled: bool = field(compare=False, default=False)

    def cancel(self) -> None:
        """Forget it."""
        self.canceled = True


class Agenda:
    """What is due, in order of time and then of arrival.

    Attributes:
        now: The time, in seconds since 1970.
    """

    def __init__(self, now: float) -> None:
        self.now = now
        self._heap: list[Entry] = []
        self._order = itertools.count(1)

    def add(
        self,
        act: Callable[[], object],
        what: str,
        *,
        wait: float = 0.0,
        at: float | None = None,
        first: bool = False,
        by_test: bool = False,
    ) -> Entry:
        """Have ``act`` called when its time has come.

        Args:
            act: What to call.
            what: What it is, in words.
            wait: In how many seconds.
            at: When, instead of ``wait``.
            first: Whether it goes before all else that is due at that time.
            by_test: Whether the test asked for it.
        """
        # Microseconds, as timers have them: sums of floats stray in the ninth place.
        due = max(self.now, round(self.now + wait if at is None else at, 6))
        order = next(self._order)
        entry = Entry(due, -order if first else order, act, what, by_test)
        heapq.heappush(self._heap, entry)
        return entry

    def next(self) -> Entry | None:
        """Return what is due next, without taking it."""
        while self._heap and self._heap[0].canceled:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def take(self) -> Entry | None:
        """Take what is due next, and let it be that time."""
        entry = self.next()
        if entry is not None:
            heapq.heappop(self._heap)
            self.now = max(self.now, entry.at)
        return entry
