"""Say why an instance does not go on."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from durable.client import explaining
from durable.core.errors import DurableError, UnknownInstance
from durable.models import Status
from durable.operations import facts as gathering
from durable.operations import reasons as reasoning
from durable.store import instances

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from durable.core.waits import Wait
    from durable.operations.facts import Facts, LeaseFacts, QueueFacts, TaskFacts
    from durable.operations.reasons import Reason

_DEPTH, _BREADTH = 3, 10
"""How many generations of children are asked, and how many of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why an instance does not go on, in one sentence and as facts.

    Attributes:
        verdict: The sentence.
        reasons: All reasons, those that count most first.
        waits: What each task of the code waits for; empty if the code cannot be replayed here.
        trouble: Why it cannot; empty if it can.
        last_turn: When its last event was recorded, or None.
        unread: How many events of each kind the code has yet to see.
        unread_signals: How many signals of each name the code got and did not read.
        leases: Who runs something of it now.
        tasks: Activities that were handed out, with attempts and last failures.
        tasks_omitted: How many more there are.
        queues: The queues that it and its tasks are on.
        is_swept: Whether any worker looks for due work.
        children: The verdicts of its open children, by id, as far as somebody waits for them.
    """

    instance_id: str
    execution_id: uuid.UUID
    status: str
    verdict: str
    reasons: tuple[Reason, ...]
    waits: tuple[Wait, ...]
    trouble: str
    last_turn: datetime | None
    unread: dict[str, int]
    unread_signals: dict[str, int]
    leases: tuple[LeaseFacts, ...]
    tasks: tuple[TaskFacts, ...]
    tasks_omitted: int
    queues: tuple[QueueFacts, ...]
    is_swept: bool
    children: dict[str, str]


def why(instance_id: str) -> Why:
    """Say what an instance waits for, and whether anybody is there to bring it.

    Nothing is written. What the code waits for comes from a replay on the code
    at hand; everything else from the rows.

    Raises:
        UnknownInstance: There is none of this id.
    """
    return _why(instance_id, _DEPTH)


def _why(instance_id: str, depth: int) -> Why:
    facts = gathering.gather(instance_id)
    waits, unread, trouble = _code(facts)
    children = _children(facts, waits, depth)
    reasons = reasoning.of(facts, waits, unread, children)
    leases = [facts.lease, *(task.lease for task in facts.tasks)]
    return Why(
        instance_id=facts.instance.pk,
        execution_id=facts.instance.execution_id,
        status=facts.instance.status,
        verdict=reasoning.verdict(reasons),
        reasons=tuple(reasons),
        waits=tuple(waits),
        trouble=trouble,
        last_turn=facts.last_turn,
        unread=facts.unread,
        unread_signals=dict(unread),
        leases=tuple(lease for lease in leases if lease is not None),
        tasks=facts.tasks,
        tasks_omitted=facts.tasks_omitted,
        queues=facts.queues,
        is_swept=facts.is_swept,
        children=children,
    )


def _code(facts: Facts) -> tuple[Sequence[Wait], Mapping[str, int], str]:
    """Return what the code waits for, the signals that it did not read, and why nothing is known of that."""
    instance = facts.instance
    if instance.status not in (Status.RUNNING, Status.SUSPENDED, Status.STALLED):
        return (), {}, ""
    try:
        explanation = explaining.of(instance, instances.execution(instance))
    except DurableError as error:
        return (), {}, str(error)
    waits = [task.waits for task in explanation.tasks]
    return waits, explanation.unread, str(explanation.trouble or "")


def _children(facts: Facts, waits: Sequence[Wait], depth: int) -> dict[str, str]:
    awaited = dict.fromkeys(wait.name for wait in waits if wait.kind == "child")
    open_ones = [child for child in awaited if child in facts.children][:_BREADTH]
    verdicts = {}
    for child in open_ones if depth else ():
        with suppress(UnknownInstance):  # purged a moment ago
            verdicts[child] = _why(child, depth - 1).verdict
    return verdicts
