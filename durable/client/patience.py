"""How long to wait for something that another process does."""

from __future__ import annotations

import time

from durable.core import given

_FIRST_LOOK = 0.003
"""What was asked for just now is not there sooner: that takes a message, a worker and two commits."""

_SHARE, _SHORTEST, _LONGEST = 0.15, 0.001, 0.5


class Patience:
    """The pauses between looks: a share of the time that has passed, up to half a second, until a deadline.

    Attributes:
        timeout: Seconds from the beginning to the deadline; 0 if there is none.
    """

    def __init__(self, timeout: float | None) -> None:
        """Begin to wait.

        Raises:
            InvalidInput: The timeout is no number.
        """
        given.patience(timeout, "timeout")
        self.timeout = timeout or 0.0
        self._begun = time.monotonic()
        self._deadline = None if timeout is None else self._begun + timeout

    def first(self, asked_at: float | None) -> float:
        """Return the seconds until the first look; 0 unless what is waited for was asked for just now.

        Args:
            asked_at: When that was, by the monotonic clock; None if nobody knows.
        """
        now = time.monotonic()
        if asked_at is None or (left := asked_at + _FIRST_LOOK - now) <= 0:
            return 0.0
        return left if self._deadline is None else min(left, max(0.0, self._deadline - now))

    def pause(self) -> float | None:
        """Return the seconds until the next look; None once the deadline has passed."""
        now = time.monotonic()
        pause = min(max(_SHORTEST, _SHARE * (now - self._begun)), _LONGEST)
        if self._deadline is None:
            return pause
        left = self._deadline - now
        return min(pause, left) if left > 0 else None
