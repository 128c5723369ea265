"""Waiting for the first of several things that is ready."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Protocol

from durable.core.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from durable.core.channels import Channel


class Case(Protocol):
    """One thing that ``select`` may wait for."""

    def ready(self) -> bool:
        """Say whether its handler can run now."""

    def run(self) -> Any:
        """Call the handler."""

    def watch(self, future: asyncio.Future[None]) -> None:
        """End ``future`` when the case may have become ready."""

    def unwatch(self, future: asyncio.Future[None]) -> None:
        """Undo ``watch``."""


class on:  # noqa: N801 - reads as a word in a call: select(on(...), ...)
    """The case that an awaitable is finished; its handler gets the awaitable."""

    def __init__(self, awaitable: Awaitable[Any], fn: Callable[[Any], Any]) -> None:
        self._given, self._fn = awaitable, fn
        self._future: asyncio.Future[Any] = asyncio.ensure_future(awaitable)
        # The handler may not look at its failure; that is no mistake of the program.
        self._future.add_done_callback(lambda done: done.cancelled() or done.exception())

    def ready(self) -> bool:
        return self._future.done()

    def run(self) -> Any:
        return self._fn(self._future)

    def watch(self, future: asyncio.Future[None]) -> None:
        self._future.add_done_callback(lambda _: _end(future))

    def unwatch(self, future: asyncio.Future[None]) -> None:
        """Nothing to undo: the callback finds the future done."""


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class receive:  # noqa: N801
    """The case that a channel has a value or is closed; its handler gets ``(value, ok)``."""

    def __init__(self, channel: Channel[Any], fn: Callable[[Any, bool], Any]) -> None:
        self._channel, self._fn = channel, fn

    def ready(self) -> bool:
        return self._channel.can_receive()

    def run(self) -> Any:
        return self._fn(*self._channel.take())

    def watch(self, future: asyncio.Future[None]) -> None:
        self._channel.watch(future, to_receive=True)

    def unwatch(self, future: asyncio.Future[None]) -> None:
        self._channel.unwatch(future)


class send:  # noqa: N801
    """The case that a channel takes a value at once; its handler gets nothing."""

    def __init__(self, channel: Channel[Any], value: Any, fn: Callable[[], Any]) -> None:
        self._channel, self._value, self._fn = channel, value, fn

    def ready(self) -> bool:
        return self._channel.can_send()

    def run(self) -> Any:
        self._channel.send_now(self._value)
        return self._fn()

    def watch(self, future: asyncio.Future[None]) -> None:
        self._channel.watch(future)

    def unwatch(self, future: asyncio.Future[None]) -> None:
        self._channel.unwatch(future)


class default:  # noqa: N801
    """The case that nothing before it is ready; its handler gets nothing."""

    def __init__(self, fn: Callable[[], Any]) -> None:
        self._fn = fn

    def ready(self) -> bool:
        return True

    def run(self) -> Any:
        return self._fn()

    def watch(self, future: asyncio.Future[None]) -> None:
        """Nothing to wait for."""

    def unwatch(self, future: asyncio.Future[None]) -> None:
        """Nothing to undo."""


async def select(*cases: Case) -> Any:
    """Run the handler of the first case that is ready, in the order given, and return its value.

    Waits until one is; exactly one handler runs, plain or async.

    Raises:
        InvalidInput: There are no cases.
    """
    if not cases:
        raise InvalidInput("select()", "give it at least one case")
    while (ready := next((case for case in cases if case.ready()), None)) is None:
        await _any_change(cases)
    value = ready.run()
    return await value if inspect.isawaitable(value) else value


async def _any_change(cases: tuple[Case, ...]) -> None:
    changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for case in cases:
        case.watch(changed)
    try:
        await changed
    finally:
        for case in cases:
            case.unwatch(changed)
