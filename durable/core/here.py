"""Which execution's loop runs in this thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.core.loop import DeterministicLoop


class _Here(threading.local):
    """What runs in this thread.

    Attributes:
        loop: The execution's loop that does, if any. asyncio knows too, but to ask it is a call of the system.
    """

    loop: DeterministicLoop | None = None


here = _Here()


def only_look(call: str) -> None:
    """Refuse what would change something, if a query runs in this thread.

    Raises:
        ReadOnly: One does.
    """
    if here.loop is not None:
        here.loop.only_look(call)


@contextlib.contextmanager
def outside() -> Iterator[None]:
    """Run the block as if no loop ran in this thread."""
    outer = asyncio._get_running_loop(), here.loop
    asyncio._set_running_loop(None)
    here.loop = None
    try:
        yield
    finally:
        asyncio._set_running_loop(outer[0])
        here.loop = outer[1]
