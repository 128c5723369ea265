"""Instances that have failed or are stalled, in groups that are alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Max, Min, Q

from durable.core import given, likeness, texts
from durable.core.failures import Failure
from durable.models import Status
from durable.store import clock, instances

if TYPE_CHECKING:
    from datetime import datetime

    from durable.models import Instance

STATUSES = (Status.FAILED, Status.STALLED)

LOOKED = 20_000
"""Among how many instances that failed last groups are looked for."""

AGES = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Instances of a workflow that have failed, or are stalled, for the same cause as far as can be told.

    Attributes:
        fingerprint: What they have in common, in short.
        workflow: The workflow's name.
        status: ``failed`` or ``stalled``.
        error: The name of the exception's class; what an activity or a child raised goes for the workflow's own.
        place: The innermost place in the user's code, as ``file:function:line``.
        message: What it said, with ids, numbers and quoted texts replaced.
        count: How many there are.
        first_seen: When the first of them failed.
        last_seen: When the last one did.
        ages: How many failed within the last ``hour``, before that within the last ``day`` and ``week``, and ``older``.
        example: The id of one of them.
    """

    fingerprint: str
    workflow: str
    status: str
    error: str
    place: str
    message: str
    count: int
    first_seen: datetime
    last_seen: datetime
    ages: dict[str, int]
    example: str

    @property
    def filter(self) -> dict[str, Any]:
        """A filter that chooses just these, for a batch, and none that fails later."""
        return {
            "name": self.workflow,
            "status": self.status,
            "fingerprint": self.fingerprint,
            "failed_at__lte": self.last_seen.isoformat(),
        }


def failure_groups(
    *,
    workflow: str | None = None,
    status: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int | None = 100,
) -> list[FailureGroup]:
    """Return the instances that have failed or are stalled, in groups that are alike, the largest first.

    Of those that failed within the time asked for, it looks at the last 20,000.

    Args:
        workflow: Of this workflow only, a name without its version.
        status: ``failed`` or ``stalled``; None is both.
        since: Those that failed at that time or later.
        until: Those that failed before.
        limit: How many groups at most; None is all.

    Raises:
        InvalidInput: The status is another one, or an argument is not of its kind.
    """
    since = given.optional(given.moment, since, "failure_groups(since)")
    until = given.optional(given.moment, until, "failure_groups(until)")
    given.optional(given.whole, limit, "failure_groups(limit)")
    given.optional(given.choice, status, "failure_groups(status)", choices=STATUSES)
    given.optional(texts.check_name, workflow, "failure_groups(workflow)")
    # Not null: only so do databases know that the index is for this.
    found = instances.rows().order_by().filter(failed_at__isnull=False, status__in=[status] if status else STATUSES)
    found = _lately(found, since, until)
    if workflow is not None:
        found = found.filter(name=workflow)
    now = clock.now()
    within = {name: Count("pk", filter=Q(failed_at__gt=now - age)) for name, age in AGES.items()}
    groups = (
        found.values("name", "status", "fingerprint")
        .annotate(count=Count("pk"), first=Min("failed_at"), last=Max("failed_at"), example=Max("pk"), **within)
        .order_by("-count", "name", "fingerprint")[:limit]
    )
    rows = list(groups)
    examples = _examples([row["example"] for row in rows])
    return [_group(row, examples.get(row["example"])) for row in rows]


def _lately(found: Any, since: datetime | None, until: datetime | None) -> Any:
    """Return those of some instances that failed between two times, and are among the last that did before the end."""
    failed = instances.rows().filter(failed_at__isnull=False).order_by("-failed_at").values_list("failed_at", flat=True)
    if until is not None:
        found, failed = found.filter(failed_at__lt=until), failed.filter(failed_at__lt=until)
    earliest = next(iter(failed[LOOKED - 1 : LOOKED]), None)
    bounds = [each for each in (since, earliest) if each is not None]
    return found.filter(failed_at__gte=max(bounds)) if bounds else found


def _examples(ids: list[str]) -> dict[str, Instance]:
    return {each.pk: each for each in instances.listed(instances.rows().filter(pk__in=ids), payload="failure")}


def _group(row: dict[str, Any], example: Instance | None) -> FailureGroup:
    alike = _likeness(example)
    return FailureGroup(
        fingerprint=row["fingerprint"],
        workflow=row["name"],
        status=row["status"],
        error=alike.error,
        place=alike.place,
        message=alike.message,
        count=row["count"],
        first_seen=row["first"],
        last_seen=row["last"],
        ages=_ages(row),
        example=row["example"],
    )


def _likeness(example: Instance | None) -> likeness.Likeness:
    if example is None or example.status not in STATUSES:  # it went on just now
        return likeness.Likeness(error="", place="", message="")
    if example.status == Status.STALLED:
        return likeness.of_stall(example.stall or {})
    return likeness.of_failure(Failure.from_json(example.failure or {"type": "WorkflowFailed"}))


def _ages(row: dict[str, Any]) -> dict[str, int]:
    ages, counted = {}, 0
    for name in AGES:
        ages[name] = row[name] - counted
        counted = row[name]
    return {**ages, "older": row["count"] - counted}
