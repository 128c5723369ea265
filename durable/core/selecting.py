"""Waiting for the first of several things that is ready."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from durable.core.channels import Channel
from durable.core.errors import ChannelClosed, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from durable.core.channels import Offer


class Case(Protocol):
    """One thing that ``select`` may wait for."""

    def ready(self) -> bool:
        """Say whether its handler can run now."""

    def run(self) -> Any:
        """Do what it is about and call the handler."""

    def watch(self, future: asyncio.Future[Offer | None]) -> Callable[[], object]:
        """End ``future`` when the case is ready; return how to undo that.

        It ends with the offer that was met, or with None to look again.
        """


class on:  # noqa: N801 - reads as a word in a call: select(on(...), ...)
    """The case that an awaitable has ended; its handler gets it as a future.

    A coroutine begins as a task at once, and goes on when another case is
    chosen: make the case once, outside a loop of selects. A handler finds a
    failure by ``result()`` or ``exception()``.
    """

    def __init__(self, awaitable: Awaitable[Any], fn: Callable[[asyncio.Future[Any]], Any]) -> None:
        self._fn = fn
        self._future: asyncio.Future[Any] = asyncio.ensure_future(awaitable)
        # The handler may not look at its failure; that is no mistake of the program.
        self._future.add_done_callback(lambda done: done.cancelled() or done.exception())

    def ready(self) -> bool:
        return self._future.done()

    def run(self) -> Any:
        return self._fn(self._future)

    def watch(self, future: asyncio.Future[Offer | None]) -> Callable[[], object]:
        def wake(_: object) -> None:
            if not future.done():
                future.set_result(None)

        self._future.add_done_callback(wake)
        return functools.partial(self._future.remove_done_callback, wake)


class receive:  # noqa: N801
    """The case that a channel has a value or is closed; its handler gets ``(value, ok)``."""

    def __init__(self, channel: Channel[Any], fn: Callable[[Any, bool], Any]) -> None:
        self._channel, self._fn = _channel(channel, "receive(channel)"), fn

    def ready(self) -> bool:
        return self._channel.can_receive()

    def run(self) -> Any:
        return self._fn(*self._channel.take())

    def watch(self, future: asyncio.Future[Offer | None]) -> Callable[[], object]:
        return functools.partial(self._channel.withdraw, self._channel.ask(future, self._met))

    def _met(self, offer: Offer) -> Any:
        return self._fn(offer.value, offer.ok)


class send:  # noqa: N801
    """The case that a channel takes a value; its handler gets nothing.

    On a closed channel it is ready, and the ``select`` raises ``ChannelClosed``.
    """

    def __init__(self, channel: Channel[Any], value: Any, fn: Callable[[], Any]) -> None:
        self._channel, self._value, self._fn = _channel(channel, "send(channel)"), value, fn

    def ready(self) -> bool:
        return self._channel.can_send()

    def run(self) -> Any:
        self._channel.send_now(self._value)
        return self._fn()

    def watch(self, future: asyncio.Future[Offer | None]) -> Callable[[], object]:
        return functools.partial(self._channel.withdraw, self._channel.offer(future, self._value, self._met))

    def _met(self, offer: Offer) -> Any:
        if not offer.ok:
            raise ChannelClosed("send")
        return self._fn()


class default:  # noqa: N801
    """The case that nothing before it is ready: put it last; its handler gets nothing."""

    def __init__(self, fn: Callable[[], Any]) -> None:
        self._fn = fn

    def ready(self) -> bool:
        return True

    def run(self) -> Any:
        return self._fn()

    def watch(self, future: asyncio.Future[Offer | None]) -> NoReturn:
        raise AssertionError("always ready, so nobody waits for it")


async def select(*cases: Case) -> Any:
    """Run the handler of the first case that is ready, in the order given, and return its value.

    If none is, wait until one is. Just one handler runs, plain or async; the
    other cases are as if they had not been there: nothing is received or sent.

    Raises:
        InvalidInput: There are no cases, or something else is among them.
        ChannelClosed: The case is a ``send``, and its channel is closed.
    """
    if not cases:
        raise InvalidInput("select()", "give it at least one case")
    for case in cases:
        if not isinstance(case, _CASES):
            raise InvalidInput("select()", f"{case!r} is no case; wrap it in on, receive, send or default")
    value = await _first(cases)
    return await value if inspect.isawaitable(value) else value


_CASES = (on, receive, send, default)


def _channel(channel: Channel[Any], where: str) -> Channel[Any]:
    if not isinstance(channel, Channel):
        raise InvalidInput(where, f"{channel!r} is no Channel; signals are one by workflow.signals(name)")
    return channel


async def _first(cases: tuple[Case, ...]) -> Any:
    """Return what the handler of the first ready case returns."""
    while True:
        for case in cases:
            if case.ready():
                return case.run()
        met = await _met(cases)
        if met is not None and met.then is not None:
            return met.then(met)


async def _met(cases: tuple[Case, ...]) -> Offer | None:
    """Wait on all cases at once; return the offer that was met, or None to look again."""
    future: asyncio.Future[Offer | None] = asyncio.get_running_loop().create_future()
    undo = [case.watch(future) for case in cases]
    try:
        return await future
    except asyncio.CancelledError:
        # It may have been met in the same moment; for a plain wake-up there is nothing to undo.
        if not future.cancelled() and (met := future.result()) is not None:
            met.undo()
        raise
    finally:
        for each in undo:
            each()
