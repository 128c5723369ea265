"""What code waits for without a name: predicates over its own state."""

from __future__ import annotations

import contextvars
import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable.core.futures import Future
    from durable.core.loop import DeterministicLoop


class Conditions:
    """The predicates that code of one execution waits for; looked at after each step until none helps another on.

    Attributes:
        waiting: Each with the future of whoever waits for it.
    """

    def __init__(self, loop: DeterministicLoop) -> None:
        self._loop = loop
        self.waiting: list[tuple[Callable[[], object], Future]] = []
        self._woken = True

    def __bool__(self) -> bool:
        """Say whether the code waits for any."""
        return bool(self.waiting)

    def wait(self, predicate: Callable[[], object]) -> Future:
        """Return a future that ends when ``predicate`` holds."""
        future = self._loop.create_future()
        # In the context of whoever waits: the loop's own callbacks run in the worker's.
        entry = (functools.partial(contextvars.copy_context().run, predicate), future)
        self.waiting.append(entry)
        future.add_done_callback(lambda _: self.waiting.remove(entry) if entry in self.waiting else None)
        return future

    def begin_step(self) -> None:
        """Have the predicates looked at once more."""
        self._woken = True

    def look_again(self) -> bool:
        """Have the loop look at the predicates, if the last look let one go on, or there was none in this step."""
        if not (self._woken and self.waiting):
            return False
        self._woken = False
        self._loop.call_soon(self._look)
        return True

    def _look(self) -> None:
        for entry in list(self.waiting):
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
            self.waiting.remove(entry)
            self._woken = True
