"""The database's clock, which a test can put forward."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from durable.store import clock

if TYPE_CHECKING:
    from typing import Self


class Clock:
    """The database's clock, which a test can put forward inside a ``with`` block."""

    def __init__(self) -> None:
        self._before: clock.Source | None = None
        self._ahead = timedelta()

    def __enter__(self) -> Self:
        self._before, self._ahead = clock.use(self._ask), timedelta()
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            clock.use(self._before)
        self._before = None

    @property
    def is_driven(self) -> bool:
        """Whether this is the block in which the clock can be put forward."""
        return self._before is not None

    def forward(self, by: timedelta | float) -> None:
        """Let time pass.

        Args:
            by: How much; seconds or a timedelta.
        """
        self._ahead += by if isinstance(by, timedelta) else timedelta(seconds=by)
        clock.forget()

    def now(self) -> datetime:
        """Return the time."""
        return clock.now()

    def _ask(self, alias: str) -> datetime:
        ask = self._before or clock.ask
        return ask(alias) + self._ahead
