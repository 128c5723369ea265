"""What a simulation keeps of an execution: its events, and what its code had come to after each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from durable.core import events as ev


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An event as a database would hold it: as it was before the code got hold of what it carries."""

    kind: str
    text: str
    at: float

    def event(self, seq: int) -> ev.Event:
        """Return the event."""
        return ev.decode(self.kind, self.text, at=self.at, seq=seq)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the live code had come to after a step, to be compared with replays.

    Attributes:
        first, last: The places in the history, from 1, of the step's events.
        open: The event ids of what was open after it.
        shown: Status, progress and tags.
        ended: Whether it ended the execution.
    """

    first: int
    last: int
    open: tuple[int, ...]
    shown: tuple[Any, ...]
    ended: bool
