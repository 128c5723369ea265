"""What code waits for without a name: predicates over its own state."""

from __future__ import annotations

import contextvars
import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable.core.loop import DeterministicLoop, Future


class Conditions:
    """The predicates that code of one execution waits for; looked at after each step until none helps another on."""

    def __init__(self, loop: DeterministicLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[Callable[[], object], Future]] = []
        self._woken = True

    def __bool__(self) -> bool:
        """Say whether the code waits for any."""
        return bool(self._waiting)

    def wait(self, predicate: Callable[[], object]) -> Future:
        """Return a future that ends when ``predicate`` holds."""
        future = self._loop.create_future()
        # In the context of whoever waits: the loop's own callbacks run in the worker's.
        entry = (functools.partial(contextvars.copy_context().run, predicate), future)
        self._waiting.append(entry)
        future.add_done_callback(lambda _: self._waiting.remove(entry) if entry in self._waiting else None)
        return future

    def begin_step(self) -> None:
        """Have the predicates looked at once more."""
        self._woken = True

    def look_again(self) -> bool:
        """Have the loop look at the predicates, if the last look let one go on, or there was none in this step."""
        if not (self._woken and self._waiting):
            return False
        self._woken = False
        self._loop.call_soon(self._look)
        return True

    def _look(self) -> None:
        for entry in list(self._waiting):
            predicate, future = entry
            if future.done():
                continue
            try:
                holds = predicate()
            except Exception as error:  # noqa: BLE001 - user code; it belongs to whoever waits
                future.set_exception(error)
            else:
                if not holds:
                    continue
                future.set_result(None)
            self._waiting.remove(entry)
            self._woken = True
