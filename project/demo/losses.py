"""What is lost when half a backup is restored, and handed out again by recovery."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from django.db.models import F

from durable import client
from durable.models import ActivityTask, InboxEvent, Status

from .invariants import Invariant
from .repairs import OPERATOR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .console import Narrator

REASON = "somebody had deleted rows"

_OF_EACH = 5

Key = tuple[str, int]
"""An instance, and the number of something that its code asked for."""


def lose_rows() -> frozenset[Key]:
    """Delete some tasks and some timers of running instances, so that nothing would ever move these; return which."""
    lost: set[Key] = set()
    for rows in (ActivityTask.objects.all(), InboxEvent.objects.filter(kind="TimerFired")):
        awaited = rows.filter(
            execution__instance__status=Status.RUNNING, execution__instance__execution_id=F("execution_id")
        )
        chosen = list(awaited.order_by("pk").values_list("pk", "execution__instance_id", "event_id")[:_OF_EACH])
        rows.filter(pk__in=[pk for pk, *_ in chosen]).delete()
        lost |= {(instance_id, int(event_id or 0)) for _, instance_id, event_id in chosen}
    return frozenset(lost)


def recover(narrator: Narrator, lost: frozenset[Key]) -> Iterator[Invariant]:
    """Have what was lost handed out again, and tell what recovery says of all that run."""
    narrator.crash(f"and {len(lost)} rows are gone, of retries and timers: nothing would ever move their orders")
    reports = client.recover(reason=REASON, actor=OPERATOR)
    found: set[Key] = set()
    counts: Counter[str] = Counter()
    again: Counter[str] = Counter()
    for report in reports:
        steps = getattr(report.outcome, "redispatched", [])
        found |= {(report.instance_id, step.event_id) for step in steps}
        outcome = type(report.outcome).__name__.lower()
        counts[outcome] += 1
        again[outcome] += len(steps)
    rows = [(outcome, number, again[outcome]) for outcome, number in sorted(counts.items())]
    narrator.table(["manage.py durable_recover", "instances", "handed out again"], rows)
    yield _invariant("all that was lost was handed out again", lost - found)
    yield _invariant("nothing else was", found - lost)


def _invariant(sentence: str, against: frozenset[Key] | set[Key]) -> Invariant:
    return Invariant(sentence=sentence, against=tuple(f"{instance_id}: {number}" for instance_id, number in against))
