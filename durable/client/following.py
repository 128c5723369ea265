"""An instance, followed: what was recorded since, and how it is now."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from durable.client.parts import part
from durable.models import CLOSED
from durable.store import instances

if TYPE_CHECKING:
    from datetime import datetime

    from durable.client.items import HistoryItem

AT_ONCE = 200
"""How many events a look brings at most."""

_PLACE = re.compile(r"([0-9a-f]{32})-([0-9]{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in the history of an instance: an execution, and how many of its events are known."""

    execution_id: uuid.UUID
    seq: int

    def __str__(self) -> str:
        return f"{self.execution_id.hex}-{self.seq}"

    @classmethod
    def read(cls, text: str) -> Place | None:
        """Return the place that a text stands for; None if it stands for none."""
        found = _PLACE.fullmatch(text.strip().strip('"'))
        return found and cls(execution_id=uuid.UUID(found[1]), seq=int(found[2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How an instance is; no payload of it.

    Attributes:
        head: How many events its execution has.
        progress: What its code last said of its progress, or None.
    """

    status: str
    version: int
    execution: uuid.UUID
    head: int
    progress: Any
    closed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look found.

    Attributes:
        events: What was recorded since, each with its place.
        state: How the instance is now; None if it is gone.
        caught_up: Whether there was nothing else to be found.
    """

    events: list[tuple[Place, HistoryItem]]
    state: State | None
    caught_up: bool

    @property
    def is_last(self) -> bool:
        """Whether nothing comes any more, unless somebody makes the instance go on again."""
        return self.caught_up and (self.state is None or self.state.status in CLOSED)


class Following:
    """Follows one instance from a place on, through all its later executions.

    Attributes:
        at: Behind what was found so far.
    """

    def __init__(self, instance_id: str, at: Place) -> None:
        self._instance_id, self.at = instance_id, at
        self._names: dict[int, str] = {}

    def look(self) -> Look:
        """Return what there is now: in one statement if nothing is new, in four at most.

        Raises:
            UndecodablePayload: An event cannot be read.
        """
        # The instance first: what its row tells of can then be read.
        row = _rows(self._instance_id).values(*_COLUMNS).first()
        if row is None:
            return Look(events=[], state=None, caught_up=True)
        state = State(**{_COLUMNS[name]: value for name, value in row.items()})
        events = self._read(state) if self._is_behind(state) else []
        return Look(events=events, state=state, caught_up=not self._is_behind(state))

    def _is_behind(self, state: State) -> bool:
        return self.at.execution_id != state.execution or self.at.seq < state.head

    def _read(self, state: State) -> list[tuple[Place, HistoryItem]]:
        execution_id = self.at.execution_id
        items = part(execution_id, status=state.status, after=self.at.seq, limit=AT_ONCE, names=self._names)
        found = [(Place(execution_id=execution_id, seq=item.seq), item) for item in items]
        if found:
            self.at = found[-1][0]
        if len(found) < AT_ONCE and execution_id != state.execution:
            self.at, self._names = Place(execution_id=self._following(state), seq=0), {}
        elif not found:
            # What was said to be known is more than there is now.
            self.at = replace(self.at, seq=max(self.at.seq, state.head))
        return found

    def _following(self, state: State) -> uuid.UUID:
        """Return the execution after the one that was read to its end."""
        executions = instances.executions()
        this = executions.filter(pk=self.at.execution_id).values("number")
        later = executions.filter(instance_id=self._instance_id, number__gt=this).order_by("number")
        found: uuid.UUID | None = later.values_list("pk", flat=True).first()
        return found or state.execution


_COLUMNS = {
    "status": "status",
    "version": "version",
    "execution_id": "execution",
    "head": "head",
    "progress": "progress",
    "closed_at": "closed_at",
}


def _rows(instance_id: str) -> Any:
    return instances.rows().filter(pk=instance_id).order_by()
