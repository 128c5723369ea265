"""Purge instances, one or many, in batches."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import QuerySet

from durable import conf
from durable.client import performing
from durable.core import given, retry, texts
from durable.core.errors import InvalidInput
from durable.models import CLOSED, Instance, Operation, Status
from durable.operations import arguments, audit
from durable.operations import purge as purging
from durable.operations.purge import Purged
from durable.store import clock, instances

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from durable.operations.shapes import Preview

BATCH = 100

_EVER = 100 * 366 * 86_400
"""Longer than anything was kept, in seconds; the calendar does not go back to the beginning of time."""


def purge(
    instance_id: str | Iterable[str] | QuerySet[Instance] | None = None,
    *,
    workflow: str | None = None,
    status: str | Sequence[str] = (),
    older_than: datetime | timedelta | float | None = None,
    keep_children: bool = False,
    force: bool = False,
    batch_size: int = BATCH,
    progress: Callable[[int], Any] | None = None,
    reason: str = "",
    actor: Any = None,
    dry_run: bool = False,
) -> Purged | Preview:
    """Delete closed instances for good, with their children and all their rows; the audit stays.

    An instance that is named alone is purged, or refused with an error. Of
    many, named or chosen, those that cannot be purged are left and told of in
    the answer, and each batch is a transaction of its own: what is purged
    stays so when a later batch fails, and doing it again takes up the rest.

    Args:
        instance_id: An instance, or several, or a queryset of them; None is all that the filters choose.
        workflow: Of which workflow; its name without the version.
        status: With which statuses; closed ones, if nothing is said.
        older_than: Closed before then, or for longer than so many seconds.
        keep_children: Whether children are left, without their parent.
        force: Whether open instances and open children are terminated and purged as well.
        batch_size: How many instances, with their children, go in one transaction.
        progress: Called after each batch with how many of the instances were looked at so far.
        reason: Why; recorded.
        actor: Who asks for it: a user, a name, or None for the system.
        dry_run: Whether to change nothing: for one instance a Preview is returned, for many the numbers.

    Raises:
        UnknownInstance: One was named, and there is none of this id.
        NotClosed: One was named, and it, or a child that is not to be abandoned, is still open.
        InvalidInput: Nothing is named and no filter is given, or one cannot be taken.
    """
    filters = _filters(workflow, status, older_than)
    if isinstance(instance_id, str) and not filters:
        return _one(instance_id, keep_children=keep_children, force=force, reason=reason, actor=actor, dry_run=dry_run)
    if instance_id is None and not filters:
        raise InvalidInput("purge", "name instances, or say which by workflow, status or older_than")
    arguments.check("purge({})", keep_children=keep_children, force=force, dry_run=dry_run)
    given.whole(batch_size, "purge(batch_size)", least=1)
    if progress is not None and not callable(progress):
        raise given.unfit(progress, "purge(progress)", "a function of the number of instances that were looked at")
    audit.check_reason(reason)
    audit.check_actor(actor)
    named = _named(instance_id)
    told = {"actor": actor, "reason": reason, "keep_children": keep_children, "force": force}
    total, seen = Purged(dry_run=dry_run), 0
    for ids in _batches(named, filters, batch_size, force=force):
        total += _batch(ids, keep_children=keep_children, force=force, dry_run=dry_run, told=told)
        seen += len(ids)
        if progress is not None:
            progress(seen)
    if dry_run:
        asked: dict[str, Any] = {"workflow": workflow, "status": list(filters.get("status__in", [])) or None}
        since = filters.get("closed_at__lt")
        audit.operation("purge", "", dry_run=True, closed_before=since and since.isoformat(), **asked, **told).save(
            using=conf.settings.DATABASE
        )
    return total


def _one(
    instance_id: str, *, keep_children: bool, force: bool, reason: str, actor: Any, dry_run: bool
) -> Purged | Preview:
    return performing.perform(
        "purge",
        instance_id,
        plan=lambda: purging.plan(instance_id, keep_children=keep_children, force=force),
        preview=purging.preview,
        carry_out=lambda tree: purging.carry_out([tree], reason=reason),
        actor=actor,
        reason=reason,
        dry_run=dry_run,
        keep_children=keep_children,
        force=force,
    )


def _batch(ids: Sequence[str], *, keep_children: bool, force: bool, dry_run: bool, told: dict[str, Any]) -> Purged:
    operation = partial(audit.operation, verb="purge", **told)
    with transaction.atomic(using=conf.settings.DATABASE):
        found, refused = purging.plan_many(ids, keep_children=keep_children, force=force)
        rows = [operation(instance_id=tree.root.pk) for tree in found]
        for pk, error in refused.items():
            row = operation(instance_id=pk)
            row.outcome, row.error = Operation.Outcome.REFUSED, audit.told(error)
            rows.append(row)
        if not dry_run:
            Operation.objects.using(conf.settings.DATABASE).bulk_create(rows)
        done = purging.count(found) if dry_run else purging.carry_out(found, reason=told["reason"])
    return done + Purged(refused=refused)


def _filters(
    workflow: str | None, status: str | Sequence[str], older_than: datetime | timedelta | float | None
) -> dict[str, Any]:
    statuses = given.words(status, "purge(status)", Status.values)
    given.optional(texts.check_name, workflow, "purge(workflow)")
    filters: dict[str, Any] = {"name": workflow, "status__in": statuses}
    if older_than is not None:
        filters["closed_at__lt"] = _before(older_than)
    return {name: value for name, value in filters.items() if value not in (None, [])}


def _before(older_than: datetime | timedelta | float) -> datetime:
    if isinstance(older_than, datetime):
        return given.moment(older_than, "purge(older_than)")
    return clock.now() - timedelta(seconds=min(_EVER, retry.seconds(older_than, "purge(older_than)")))


def _named(instance_id: str | Iterable[str] | QuerySet[Instance] | None) -> Iterable[str] | None:
    """Return the ids that were named; of those that are at hand, none is looked at if one is no id."""
    if instance_id is None:
        return None
    if isinstance(instance_id, str):
        return [instance_id]
    if isinstance(instance_id, QuerySet) and instance_id.model is Instance:
        return list(instance_id.using(conf.settings.DATABASE).values_list("pk", flat=True))
    ids = given.several(instance_id, "purge(instance_id)", "an id, or several")
    return list(map(_id, ids)) if isinstance(ids, Collection) else map(_id, ids)


def _id(instance_id: str) -> str:
    if not isinstance(instance_id, str):
        raise given.unfit(instance_id, "purge(instance_id)", "ids, which are text")
    return instance_id


def _batches(
    named: Iterable[str] | None, filters: dict[str, Any], size: int, *, force: bool
) -> Iterator[Sequence[str]]:
    if named is None:
        yield from _chosen(filters, size, force=force)
        return
    rest = iter(dict.fromkeys(named))
    while ids := list(islice(rest, size)):
        if filters:
            ids = list(instances.rows().filter(pk__in=ids, **filters).values_list("pk", flat=True))
        yield ids


def _chosen(filters: dict[str, Any], size: int, *, force: bool) -> Iterator[Sequence[str]]:
    last = ""
    while ids := list(select(filters, force=force).filter(pk__gt=last).values_list("pk", flat=True)[:size]):
        yield ids
        last = ids[-1]


def select(filters: dict[str, Any], *, force: bool) -> QuerySet[Instance]:
    """Return the instances that filters choose, ordered by id; without a status and without force, closed ones."""
    given = filters if force or "status__in" in filters else {**filters, "status__in": CLOSED}
    found: QuerySet[Instance] = instances.rows().filter(**given).order_by("pk")
    return found
