"""Channels: how the tasks of a workflow hand values to each other.

Values are handed over, not announced: whoever has waited longest gets the
next one, in the very moment in which it is sent, and nobody who comes
later can take it away. A receiver that is canceled in the same moment
gives its value back, to the next one who waits or else to the front.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from durable.core.errors import ChannelClosed, InvalidInput
from durable.core.here import only_look

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

T = TypeVar("T")
UNBOUNDED = -1


class Offer:
    """One send or receive that waits for somebody to meet it.

    Those of one ``select`` share a future, so that at most one of them is met.

    Attributes:
        future: Ends with the offer that was met.
        value: What is sent; or what was received.
        ok: Whether it was met; False if the channel was closed instead.
        then: What the ``select`` goes on with.
    """

    __slots__ = ("_give_back", "future", "ok", "then", "value")

    def __init__(
        self,
        future: asyncio.Future[Any],
        value: Any = None,
        *,
        then: Callable[[Offer], Any] | None = None,
        give_back: Callable[[Any], None] | None = None,
    ) -> None:
        self.future, self.value, self.then, self._give_back = future, value, then, give_back
        self.ok = False

    def end(self, *, ok: bool) -> None:
        """Let its owner go on."""
        self.ok = ok
        self.future.set_result(self)

    def undo(self) -> None:
        """Give back what was received for an owner that was canceled; what was sent stays sent."""
        if self.ok and self._give_back is not None:
            self._give_back(self.value)


class Channel(Generic[T]):
    """A queue between tasks that can be closed, first in first out.

    Unlike ``asyncio.Queue`` it can be unbuffered, so that sending means that
    somebody has received, and it can be one case of a ``select``. Iterating
    over it receives until it is closed and empty.
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
        # Ordered, to serve them first come first served, and to drop one of many at no cost.
        self._senders: OrderedDict[Offer, None] = OrderedDict()
        self._receivers: OrderedDict[Offer, None] = OrderedDict()
        self._closed = False

    @classmethod
    def unbounded(cls) -> Channel[Any]:
        """Return a channel in which any number of values may wait."""
        channel: Channel[Any] = cls()
        channel._room = UNBOUNDED
        return channel

    def __len__(self) -> int:
        """Return how many values wait in the channel, those of waiting senders not counted."""
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
        offer = self.offer(asyncio.get_running_loop().create_future(), value)
        try:
            await offer.future
        except asyncio.CancelledError:
            self.withdraw(offer)
            raise
        if not offer.ok:
            raise ChannelClosed("send")

    def send_now(self, value: T) -> bool:
        """Send a value if it need not wait; say whether it was sent.

        Raises:
            ChannelClosed: The channel is closed.
        """
        only_look("channel.send")
        if self._closed:
            raise ChannelClosed("send")
        if self._hand_over(value):
            return True
        if self._has_room():
            self._buffer.append(value)
            return True
        return False

    def can_send(self) -> bool:
        """Say whether a send would not wait now; on a closed channel it would fail at once."""
        return self._closed or self._has_room() or _any_waits(self._receivers)

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
        if self.can_receive():
            return self.take()
        offer = self.ask(asyncio.get_running_loop().create_future())
        try:
            await offer.future
        except asyncio.CancelledError:
            self.withdraw(offer)
            offer.undo()
            raise
        return offer.value, offer.ok

    def can_receive(self) -> bool:
        """Say whether a receive would not wait now."""
        return bool(self._buffer) or self._closed or _any_waits(self._senders)

    def take(self) -> tuple[T | None, bool]:
        """Return what ``receive_ok`` would, of a channel that can be received from."""
        only_look("channel.receive")
        if self._buffer:
            value = self._buffer.popleft()
            while self._has_room() and (sender := _first(self._senders)) is not None:
                self._buffer.append(sender.value)
                sender.end(ok=True)
            return value, True
        if (sender := _first(self._senders)) is not None:
            sender.end(ok=True)
            return sender.value, True
        return None, False

    def close(self) -> None:
        """Let nothing more be sent; what waits in it can still be received. Closing twice does nothing."""
        only_look("channel.close")
        self._closed = True
        for waiting in (self._senders, self._receivers):
            while (offer := _first(waiting)) is not None:
                offer.end(ok=False)

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        value, ok = await self.receive_ok()
        if not ok:
            raise StopAsyncIteration
        return value  # type: ignore[return-value]

    # --- for those who wait

    def offer(self, future: asyncio.Future[Any], value: T, then: Callable[[Offer], Any] | None = None) -> Offer:
        """Wait to send: end ``future`` when ``value`` is sent, or the channel closed."""
        offer = Offer(future, value, then=then)
        self._senders[offer] = None
        return offer

    def ask(self, future: asyncio.Future[Any], then: Callable[[Offer], Any] | None = None) -> Offer:
        """Wait to receive: end ``future`` when there is a value, or the channel closed."""
        offer = Offer(future, then=then, give_back=self._put_back)
        self._receivers[offer] = None
        return offer

    def withdraw(self, offer: Offer) -> None:
        """Wait no more; does nothing to an offer that was met."""
        self._senders.pop(offer, None)
        self._receivers.pop(offer, None)

    def _hand_over(self, value: T) -> bool:
        receiver = _first(self._receivers)
        if receiver is None:
            return False
        receiver.value = value
        receiver.end(ok=True)
        return True

    def _put_back(self, value: T) -> None:
        if not self._hand_over(value):
            self._buffer.appendleft(value)

    def _has_room(self) -> bool:
        return self._room == UNBOUNDED or len(self._buffer) < self._room


def _first(waiting: OrderedDict[Offer, None]) -> Offer | None:
    """Take out the first offer whose owner still waits."""
    while waiting:
        offer, _ = waiting.popitem(last=False)
        if not offer.future.done():
            return offer
    return None


def _any_waits(waiting: OrderedDict[Offer, None]) -> bool:
    return any(not offer.future.done() for offer in waiting)
