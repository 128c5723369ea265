"""Signals that came in, until the code reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable.core.channels import Channel
from durable.core.texts import check_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable.core.loop import DeterministicLoop


class Signals:
    """The signals of one execution: those of each name wait in a channel.

    Attributes:
        carried: Those that the execution before it left unread, as ``[name, payload]``.
    """

    def __init__(self, loop: DeterministicLoop) -> None:
        self._loop = loop
        self._channels: dict[str, Channel[Any]] = {}
        self._arrived: list[str] = []
        self.carried: Sequence[list[Any]] = ()

    def channel(self, name: str) -> Channel[Any]:
        """Return the channel of unread signals of this name."""
        if name not in self._channels:
            check_name(name, "signal(name)")
            if self._loop.looking:
                return Channel.unbounded()  # what the code put in itself moves on in the order of the channels
            self._channels[name] = Channel.unbounded()
        return self._channels[name]

    def carry(self, carried: Sequence[list[Any]]) -> None:
        """Begin with what the execution before this one left unread."""
        self.carried = carried
        for name, payload in carried:
            self.channel(name).send_now(payload)

    def arrive(self, name: str, payload: Any) -> None:
        """Hand a signal to whoever waits for it, or keep it."""
        self._arrived.append(name)
        self.channel(name).send_now(payload)

    def take_unread(self) -> list[list[Any]]:
        """Take all unread signals in the order in which they came, as ``[name, payload]``."""
        unread = self._take()
        came = _last_of(unread, [*(name for name, _ in self.carried), *self._arrived])
        # The rest are those that the code put there itself.
        return [*([name, payload] for name, payloads in unread.items() for payload in payloads), *came]

    def carried_by_retry(self) -> list[list[Any]]:
        """Take the signals that another try begins with: what this one began with, and what it got and did not read."""
        return [*self.carried, *_last_of(self._take(), self._arrived)]

    def _take(self) -> dict[str, list[Any]]:
        return {name: [channel.take()[0] for _ in range(len(channel))] for name, channel in self._channels.items()}

    def unread(self) -> dict[str, int]:
        """Return how many signals of each name nobody has read yet."""
        return {name: len(channel) for name, channel in self._channels.items() if len(channel)}

    def name_of(self, channel: Channel[Any]) -> str | None:
        """Return the name of the signals that a channel holds; None if it holds something else."""
        return next((name for name, signals in self._channels.items() if signals is channel), None)


def _last_of(unread: dict[str, list[Any]], came: Sequence[str]) -> list[list[Any]]:
    """Take from unread signals, which are by name, those that came last; in the order of the names that came."""
    found = [[name, unread[name].pop()] for name in reversed(came) if unread.get(name)]
    return found[::-1]
