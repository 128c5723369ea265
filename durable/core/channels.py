"""Channels between the tasks of a workflow, and waiting for the first of several things."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from durable.core.errors import ChannelClosed, InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

T = TypeVar("T")
UNBOUNDED = -1


class Channel(Generic[T]):
    """A queue between tasks that can be closed, first in first out.

    Unlike ``asyncio.Queue`` it can be unbuffered, so that sending means that
    somebody has received, and it can be one case of a ``select``.
    """

    def __init__(self, maxsize: int = 0) -> None:
        """Make a channel.

        Args:
            maxsize: How many values may wait in it; 0 is none: a send waits for its receiver.

        Raises:
            InvalidInput: ``maxsize`` is negative.
        """
        if maxsize < 0:
            raise InvalidInput("Channel(maxsize)", f"{maxsize} values cannot wait")
        self._room = maxsize
        self._buffer: deque[T] = deque()
        self._senders: deque[tuple[T, asyncio.Future[None]]] = deque()
        self._receivers: deque[asyncio.Future[None]] = deque()
        self._watchers: dict[asyncio.Future[None], bool] = {}
        self._closed = False

    @classmethod
    def unbounded(cls) -> Channel[Any]:
        """Return a channel in which any number of values may wait."""
        channel: Channel[Any] = cls()
        channel._room = UNBOUNDED
        return channel

    def __len__(self) -> int:
        """Return how many values wait in the channel."""
        return len(self._buffer)

    @property
    def closed(self) -> bool:
        """Whether nothing more can be sent."""
        return self._closed

    async def send(self, value: T) -> None:
        """Send a value; wait until there is room for it, or a receiver.

        Raises:
            ChannelClosed: The channel is closed, or was while waiting.
        """
        if self.send_now(value):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (value, future)
        self._senders.append(entry)
        self._wake()
        try:
            await future
        except asyncio.CancelledError:
            if entry in self._senders:
                self._senders.remove(entry)
            raise

    def send_now(self, value: T) -> bool:
        """Send a value if it need not wait; say whether it was sent.

        Raises:
            ChannelClosed: The channel is closed.
        """
        if self._closed:
            raise ChannelClosed("send")
        if not self.can_send():
            return False
        self._buffer.append(value)
        self._wake()
        return True

    def can_send(self) -> bool:
        """Say whether a send would not wait now; on a closed channel it would fail at once."""
        waiting = len(self._receivers) + sum(self._watchers.values())
        return self._closed or self._room == UNBOUNDED or len(self._buffer) < self._room + waiting

    async def receive(self) -> T:
        """Return the next value.

        Raises:
            ChannelClosed: The channel is closed and empty.
        """
        value, ok = await self.receive_ok()
        if not ok:
            raise ChannelClosed("receive")
        return value  # type: ignore[return-value]

    async def receive_ok(self) -> tuple[T | None, bool]:
        """Return the next value and True, or ``(None, False)`` once the channel is closed and empty."""
        while not self.can_receive():
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._receivers.append(future)
            self._wake_watchers()
            try:
                await future
            except asyncio.CancelledError:
                # It may have been woken for a value that another receiver must get now.
                if future in self._receivers:
                    self._receivers.remove(future)
                elif self.can_receive():
                    self._wake()
                raise
        return self.take()

    def can_receive(self) -> bool:
        """Say whether a receive would not wait now."""
        return bool(self._buffer or self._senders or self._closed)

    def take(self) -> tuple[T | None, bool]:
        """Return what ``receive_ok`` would, of a channel that can be received from."""
        if self._buffer:
            value = self._buffer.popleft()
            self._admit()
            return value, True
        while self._senders:
            value, future = self._senders.popleft()
            if not future.done():
                future.set_result(None)
                return value, True
        return None, False

    def close(self) -> None:
        """Let nothing more be sent; what waits can still be received. Closing twice does nothing."""
        self._closed = True
        for _, future in self._senders:
            if not future.done():
                future.set_exception(ChannelClosed("send"))
        self._senders.clear()
        for receiver in self._receivers:
            if not receiver.done():
                receiver.set_result(None)
        self._receivers.clear()
        self._wake_watchers()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        value, ok = await self.receive_ok()
        if not ok:
            raise StopAsyncIteration
        return value  # type: ignore[return-value]

    def _admit(self) -> None:
        """Let a waiting sender's value into the room that has become free."""
        while self._senders and len(self._buffer) < self._room:
            value, future = self._senders.popleft()
            if not future.done():
                future.set_result(None)
                self._buffer.append(value)
        self._wake_watchers()

    def _wake(self) -> None:
        while self._receivers:
            receiver = self._receivers.popleft()
            if not receiver.done():
                receiver.set_result(None)
                break
        self._wake_watchers()

    def watch(self, future: asyncio.Future[None], *, to_receive: bool = False) -> None:
        """End ``future`` when something changes.

        Args:
            future: What to end.
            to_receive: Whether its owner would receive: then an unbuffered send need not wait.
        """
        self._watchers[future] = to_receive
        if to_receive:
            self._wake_watchers(but=future)

    def unwatch(self, future: asyncio.Future[None]) -> None:
        """Undo ``watch``."""
        self._watchers.pop(future, None)

    def _wake_watchers(self, *, but: asyncio.Future[None] | None = None) -> None:
        for watcher in list(self._watchers):
            if watcher is not but and not watcher.done():
                watcher.set_result(None)
