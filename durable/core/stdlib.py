"""Functions of asyncio that a loop cannot mend from below.

``asyncio.sleep`` takes a negative delay for zero, so a deadline that was
computed wrongly passes unseen. ``asyncio.as_completed`` iterates a set of the
coroutines that it is given, so they would start in the order of their
addresses, another one in each process. And ``asyncio.run`` looks for a running
loop before it asks any, so its own error would be all that anybody learned.

All are wrapped, not replaced: outside workflows they are what they were. Who
imported them by name before this module came gets the original: the order of
``as_completed`` is then as in a script, and replay will tell.
"""

from __future__ import annotations

import asyncio
import asyncio.runners
import asyncio.tasks
import functools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from durable.core.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable


def mend(running: Callable[[], Any]) -> None:
    """Make these functions do what they should in workflows; once a process.

    Args:
        running: Returns the loop of the workflow that runs in this thread, or None.
    """

    def refusing(native: Callable[..., Any], call: str) -> Callable[..., Any]:
        @functools.wraps(native)
        def run(*args: Any, **kwargs: Any) -> Any:
            loop = running()
            if loop is None:
                return native(*args, **kwargs)
            for coroutine in filter(asyncio.iscoroutine, (*args, *kwargs.values())):
                coroutine.close()
            raise loop.forbid(call, instead="Await the coroutine itself")

        return run

    native_sleep, native_as_completed = asyncio.sleep, asyncio.as_completed
    run = refusing(asyncio.run, "asyncio.run")
    asyncio.Runner.run = refusing(asyncio.Runner.run, "asyncio.Runner.run")  # type: ignore[method-assign]

    @functools.wraps(native_sleep)
    async def sleep(delay: Any, result: Any = None) -> Any:
        if isinstance(delay, timedelta) and running() is not None:
            raise InvalidInput("sleep", "asyncio takes seconds: give it delay.total_seconds()")
        if delay < 0 and running() is not None:
            raise InvalidInput("sleep", f"a timer cannot be {delay:g} s long")
        return await native_sleep(delay, result)

    @functools.wraps(native_as_completed)
    def as_completed(fs: Iterable[Awaitable[Any]], *, timeout: float | None = None) -> Any:
        # What is no iterable of awaitables is left to the original, which says so.
        if running() is not None and not asyncio.isfuture(fs) and not asyncio.iscoroutine(fs):
            # A dict, unlike a set, keeps the order that it was given. Tasks then have hashes of their own.
            fs = [asyncio.ensure_future(each) for each in dict.fromkeys(fs)]
        return native_as_completed(fs, timeout=timeout)

    for module in (asyncio, asyncio.tasks):
        vars(module).update(sleep=sleep, as_completed=as_completed)
    for module in (asyncio, asyncio.runners):
        vars(module).update(run=run)
