"""Compare two executions, event by event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from durable.client.items import HistoryItem, of_events
from durable.core.alignment import align
from durable.store import history, instances

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from durable.core import events as ev


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedEvent:
    """An event of one execution and what it is in the other.

    Attributes:
        change: ``same``, ``changed``, ``only_a`` or ``only_b``.
        moved: Whether it came at another place among the others.
        fields: In what the two differ, if they do: ``kind``, or names of fields.
        a, b: The event in each; None where it is not.
    """

    change: str
    moved: bool
    fields: tuple[str, ...]
    a: HistoryItem | None
    b: HistoryItem | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One of the two executions; its ``execution_id`` is None if it was only imagined."""

    instance_id: str
    execution_id: uuid.UUID | None
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two executions side by side.

    Attributes:
        a, b: Which.
        events: All events of both, in order.
    """

    a: Compared
    b: Compared
    events: tuple[ComparedEvent, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many events there are of each ``change``."""
        found = dict.fromkeys(("same", "changed", "only_a", "only_b"), 0)
        for event in self.events:
            found[event.change] += 1
        return found

    @property
    def is_same(self) -> bool:
        """Whether nothing differs, the order of events included."""
        return all(event.change == "same" and not event.moved for event in self.events)


def compare(
    a: str,
    b: str,
    *,
    execution: str | uuid.UUID | None = None,
    other_execution: str | uuid.UUID | None = None,
) -> Comparison:
    """Lay two executions side by side, of two instances or of one.

    What the code asked for is matched by what it is and by its arguments;
    answers follow what they answer. Numbers and times are not compared.

    Args:
        a: The id of one instance.
        b: That of the other; the same for two executions of one.
        execution: Which execution of ``a``; None is the current one.
        other_execution: Likewise of ``b``.

    Raises:
        UnknownInstance, UnknownExecution: There is none of this id.
        UndecodableEvent: An event cannot be read.
    """
    found = []
    for instance_id, execution_id in ((a, execution), (b, other_execution)):
        instance = instances.get(instance_id)
        row = instances.execution(instance, execution_id)
        one = Compared(instance_id=instance.pk, execution_id=row.pk, status=instance.status)
        found.append((one, list(history.read(row.pk))))
    return of(*found)


def of(a: tuple[Compared, Sequence[ev.Event]], b: tuple[Compared, Sequence[ev.Event]]) -> Comparison:
    """Lay two histories side by side; see ``compare``."""
    (one, events), (other, other_events) = a, b
    items = of_events(events, status=one.status)
    other_items = of_events(other_events, status=other.status)
    pairs = align(events, other_events, ids=(one.instance_id, other.instance_id))
    compared = [
        ComparedEvent(
            change="only_b" if p.a is None else "only_a" if p.b is None else "changed" if p.fields else "same",
            moved=p.moved,
            fields=p.fields,
            a=None if p.a is None else items[p.a],
            b=None if p.b is None else other_items[p.b],
        )
        for p in pairs
    ]
    return Comparison(a=one, b=other, events=tuple(compared))
