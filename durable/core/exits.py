"""How workflow code is left before its end, and what unwinds it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durable.core.futures import Task

_REFUSALS = 20
"""How often code may refuse to end."""


class DurableExit(BaseException):
    """Unwinds workflow code; not an Exception, so that user code does not take it for one."""


class BeyondRecord(DurableExit):
    """Ends a look ahead where the code would reach outside: so far it did what is recorded."""


def unwind(task: Task) -> None:
    """Unwind a task's coroutine and all that it waits for, from the innermost to the outermost."""
    coroutine: Any = task.get_coro()
    refused = 0
    while getattr(coroutine, "cr_frame", None) is not None and refused < _REFUSALS:
        # Its own clean-up may fail, or refuse to end; nobody is left to tell.
        with contextlib.suppress(Exception, asyncio.CancelledError, DurableExit):
            # Not ``close``: that does not reach into an async generator, and gives up on a ``finally`` that waits.
            task.context.run(coroutine.throw, DurableExit())
        refused += coroutine.cr_frame is not None
