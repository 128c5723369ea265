"""Stand-ins: what runs in place of a child workflow that is mocked."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from durable.core.here import outside

if TYPE_CHECKING:
    from collections.abc import Callable


class StandIn:
    """A workflow that takes some time and ends as a mock says, which is asked once, before."""

    def __init__(self, behave: Callable[[], Any], *, duration: float) -> None:
        self._duration = duration
        self._value: Any = None
        self._error: BaseException | None = None
        try:
            with outside():
                value = behave()
                self._value = asyncio.run(value) if inspect.iscoroutine(value) else value
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is the child's failure
            self._error = error

    @property
    def cancels(self) -> bool:
        """Whether it is to end as canceled: then somebody has to cancel it."""
        return isinstance(self._error, asyncio.CancelledError)

    async def run(self, *_: Any, **__: Any) -> Any:
        """Be the workflow's code."""
        if self.cancels:
            await asyncio.Event().wait()
        if self._duration:
            await asyncio.sleep(self._duration)
        if self._error is not None:
            raise self._error
        return self._value
