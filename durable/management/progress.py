"""Says on a terminal how far a long command is; elsewhere it says nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.core.management.base import OutputWrapper

_WIDTH, _PAUSE = 30, 0.1


class Progress:
    """A line that is written over and over.

    Attributes:
        done: How many there were so far.
        total: How many there will be, if that is known.
    """

    def __init__(self, stream: OutputWrapper, total: int | None = None) -> None:
        self.done = 0
        self.total = total
        self._stream = stream
        self._shows = stream.isatty()
        self._next = 0.0

    def step(self) -> None:
        """Count one more."""
        self.reach(self.done + 1)

    def reach(self, done: int) -> None:
        """Say that there were so many by now."""
        self.done = done
        if self._shows and time.monotonic() >= self._next:
            self._next = time.monotonic() + _PAUSE
            self._write(self._line())

    def end(self) -> None:
        """Take the line away."""
        if self._shows:
            self._write(" " * len(self._line()) + "\r")

    def _line(self) -> str:
        if not self.total:
            return f"{self.done:,}"
        filled = _WIDTH * min(self.done, self.total) // self.total
        return f"[{'#' * filled:.<{_WIDTH}}] {self.done:,} of {self.total:,}"

    def _write(self, text: str) -> None:
        self._stream.write(f"\r{text}", str, "")
        self._stream.flush()
