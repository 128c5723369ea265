"""Cursors of psycopg that have PostgreSQL keep the plans of what they are asked often.

To read and plan a statement takes the server longer than to run it. But plans
are kept by one of its processes: where a pooler stands in between, which may
give each transaction to another one, nothing is prepared.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

OFTEN = 3
"""A statement is prepared when it is asked for the so-manieth time before plans are made anew."""

PLANS_SECONDS = 10.0
"""How long plans are kept: one that was made when a table held next to nothing reads all of it."""

_NOT_KEPT = {"0A000", "26000", "42P05"}
"""What the server says if a plan does not fit any more, or is not where it should be."""


class _Habits:
    """What is asked through one connection, and how often since plans were last made anew.

    Attributes:
        prepares: Whether what is asked often is prepared; None as long as nobody looked.
    """

    def __init__(self) -> None:
        self.prepares: bool | None = None
        self._plans = 0
        self._counts: Counter[str] = Counter()

    def text(self, connection: Any, statement: str) -> str | None:
        """Return the text under which a statement is to be prepared; None if it is not to be."""
        plans = int(time.monotonic() / PLANS_SECONDS)
        if plans != self._plans:
            self._plans = plans
            self._counts.clear()
        self._counts[statement] += 1
        if self.prepares is False or self._counts[statement] < OFTEN:
            return None
        if self.prepares is None:
            self.prepares = _is_direct(connection)
            if self.prepares and connection.prepare_threshold is None:
                connection.prepare_threshold = sys.maxsize  # only what asks to be
        return f"{statement} /* {plans} */" if self.prepares else None


_habits: WeakKeyDictionary[Any, _Habits] = WeakKeyDictionary()


def _is_direct(connection: Any) -> bool:
    """Say whether a connection is one to the server itself: a pooler makes up the number by which to cancel."""
    (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone()
    return bool(pid == connection.info.backend_pid)


@lru_cache
def preparing(driver: Any) -> Any:
    """Return the class of such cursors.

    Args:
        driver: The driver's module.
    """
    plain: Any = driver.Cursor
    error_class: Any = driver.Error

    class Preparing(plain):
        def execute(self, query: str, params: Any = None) -> Any:
            habits = _habits.get(self.connection)
            if habits is None:
                habits = _habits[self.connection] = _Habits()
            text = habits.text(self.connection, query)
            if text is None:
                return super().execute(query, params)
            try:
                return super().execute(text, params, prepare=True)
            except error_class as error:
                habits.prepares = error.sqlstate not in _NOT_KEPT
                raise

    return Preparing
