"""How long to wait for something that another process does."""

from __future__ import annotations

import time

from durable.core import given

_FIRST_LOOK, _SLOWER, _SLOWEST = 0.001, 1.15, 0.5


class Patience:
    """The pauses between looks: ever longer, up to half a second, until a deadline.

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
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._pause = _FIRST_LOOK

    def pause(self) -> float | None:
        """Return the seconds until the next look; None once the deadline has passed."""
        pause, self._pause = self._pause, min(self._pause * _SLOWER, _SLOWEST)
        if self._deadline is None:
            return pause
        left = self._deadline - time.monotonic()
        return min(pause, left) if left > 0 else None
