"""What an answer sends while it is still being made, under WSGI and under ASGI alike."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import connections

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator

    from django.http import HttpRequest

Beat = str | float
"""Something to send, or a number of seconds to wait."""


def content(request: HttpRequest, sent: Generator[Beat, None, None]) -> Iterator[str] | AsyncIterator[str]:
    """Return what answers a request part by part, as its server reads it.

    Args:
        request: It says which server that is. Django would read a synchronous stream to its end under ASGI before it
            sent any of it, and an asynchronous one under WSGI.
        sent: What to send and how long to wait; it may ask the database.
    """
    return _alive(sent) if isinstance(request, ASGIRequest) else _live(sent)


def _live(sent: Generator[Beat, None, None]) -> Iterator[str]:
    for beat in sent:
        if isinstance(beat, str):
            yield beat
        else:
            time.sleep(beat)


async def _alive(sent: Generator[Beat, None, None]) -> AsyncIterator[str]:
    try:
        while (beat := await sync_to_async(_next)(sent)) is not None:
            if isinstance(beat, str):
                yield beat
            else:
                await asyncio.sleep(beat)
    finally:  # whoever listened may be gone amid a look
        await sync_to_async(_end)(sent)


def _next(sent: Generator[Beat, None, None]) -> Beat | None:
    beat = next(sent, None)
    if not isinstance(beat, str):
        _disconnect()
    return beat


def _end(sent: Generator[Beat, None, None]) -> None:
    sent.close()  # before the connection that it may be reading from
    _disconnect()


def _disconnect() -> None:
    # The thread is this request's own, and its connections would be open for as long as somebody listens.
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
