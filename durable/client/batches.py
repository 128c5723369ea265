"""Do a verb to many instances: the durable workflow that does it is begun here, and its report read."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet

from durable import conf
from durable.client import batching, start, verbs
from durable.client.handle import Handle
from durable.core import given, texts
from durable.core.errors import InvalidInput, LimitExceeded, NotClosed, PermissionDenied
from durable.models import CLOSED, BatchItem, Instance
from durable.operations import audit
from durable.operations.failing import FailureGroup
from durable.store import batches, clock, filters, instances

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator
    from datetime import datetime

LANES = 4
"""How many pages of a batch are worked at, at a time."""

PAGE = 25
"""How many instances a page has."""

PAGES = 200
"""How many pages until the history of a batch begins afresh."""

Outcome = BatchItem.Outcome

NOT_DONE = (Outcome.REFUSED, Outcome.DENIED, Outcome.FAILED, Outcome.SKIPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOutcome:
    """What became of one instance in a batch.

    Attributes:
        instance_id: The instance.
        outcome: ``pending``, ``done``, ``refused``, ``denied``, ``failed`` or ``skipped``.
        error: Why not, as ``Type: message``, or an empty text.
        detail: What else is known, such as the id of a new instance; of a dry run, what would be done.
        at: When.
    """

    instance_id: str
    outcome: str
    error: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """How far a batch is.

    Attributes:
        batch_id: The batch.
        verb: What it does.
        dry_run: Whether it only looks.
        status: Its status, that of an instance.
        total: How many instances it is for; None if they are not counted yet.
        counts: How many of them have which outcome.
        items: What became of each.
    """

    batch_id: str
    verb: str
    dry_run: bool
    status: str
    total: int | None
    counts: dict[str, int]
    items: list[BatchOutcome]


def batch(
    verb: str,
    of: QuerySet[Instance] | Iterable[str | Handle] | dict[str, Any] | FailureGroup,
    *,
    reason: str = "",
    actor: Any = None,
    dry_run: bool = False,
    id: str | None = None,
    queue: str | None = None,
    concurrency: int = LANES,
    **arguments: Any,
) -> Handle:
    """Do a verb to many instances, in a workflow of its own that survives whatever happens to its workers.

    Each instance has a transaction of its own, and what became of it is in
    that transaction: nothing is done twice, and an error stops none of the
    others. Cancel the batch to stop it, suspend it to have it wait.

    Args:
        verb: ``rewind``, ``upgrade``, ``cancel``, ...
        of: A queryset of instances, or their ids, or a filter as JSON can hold it, see ``filters.find``, or a group
            of failures.
        reason: Why; recorded for each.
        actor: Who asks for it: a user, whose permission is checked for each, a name, or None for the system.
        dry_run: Whether to find out what would become of each, and change nothing.
        id: The batch's id; None is a new uuid.
        queue: Where it runs: its workers need the code of the workflows; None is the default queue.
        concurrency: How many instances at a time, if there are as many workers.
        arguments: The verb's other arguments, the same for each.

    Raises:
        InvalidInput: There is no such verb, or an argument or the filter cannot be taken.
        InvalidId: An id cannot be one.
        AlreadyExists: The batch's id is in use.
        LimitExceeded: There are too many instances.
        PermissionDenied: The user may not do this to any instance.
    """
    batch_id = start.new_id() if id is None else id
    texts.check_id(batch_id)
    given.whole(concurrency, "batch(concurrency)", least=1, most=100)
    audit.check_actor(actor)
    verb = verbs.named(verb)
    if isinstance(of, FailureGroup):
        of = of.filter
    order = {
        "verb": verb,
        "arguments": verbs.encode(verb, arguments),
        "reason": reason,
        "actor": batching.encode_actor(actor),
        "dry_run": dry_run,
        "lanes": concurrency,
        "page": PAGE,
        "pages": PAGES,
    }
    audited = audit.audited("batch", batch_id, actor=actor, reason=reason, dry_run=dry_run, atomic=True, of=verb)
    with audited:
        if not batching.permitted(actor, verb, arguments):
            raise PermissionDenied(audit.name_of(actor), verb)
        chosen = _by_filter(of) if isinstance(of, dict) else _by_id(batch_id, of)
        order |= chosen.pop("order")
        return start.start(batching.run, (order, chosen), id=batch_id, queue=queue, tags={"verb": verb})


def _by_filter(filter: dict[str, Any]) -> dict[str, Any]:
    """Count what a filter chooses; the batch itself notes which they are."""
    plain = conf.converter().encode(filter, "filter")
    total = filters.find(plain).count()
    _check_total(total)
    order = {"filter": plain, "created_until": clock.now().isoformat()}
    return {"order": order, "total": total, "after": "", "next": 0, "end": 0, "counts": {}}


def _by_id(batch_id: str, of: Any) -> dict[str, Any]:
    """Note which instances a batch is for."""
    with closing(_ids(of)) as ids:  # there may be a cursor, which is to go before the transaction does
        end = batches.insert(batch_id, _up_to_limit(ids))
    total = batches.rows().filter(batch_id=batch_id).count()
    return {"order": {"filter": None}, "total": total, "after": None, "next": 0, "end": end, "counts": {}}


def _ids(of: Any) -> Generator[str, None, None]:
    if isinstance(of, QuerySet):
        if of.model is not Instance:
            raise InvalidInput("batch(of)", f"this is a queryset of {of.model.__name__}; give one of Instance")
        yield from _each(of.using(conf.settings.DATABASE).values_list("pk", flat=True))
        return
    if isinstance(of, str | bytes) or not isinstance(of, Iterable):
        raise InvalidInput("batch(of)", "give ids, a queryset of Instance, a filter, or a group of failures")
    for each in of:
        instance_id = each.id if isinstance(each, Handle) else each.pk if isinstance(each, Instance) else each
        texts.check_id(instance_id)
        yield instance_id


def _each(instance_ids: QuerySet[Any, str]) -> Generator[str, None, None]:
    yield from instance_ids.iterator(chunk_size=2000)


def _up_to_limit(instance_ids: Iterator[str]) -> Iterator[str]:
    for number, instance_id in enumerate(instance_ids, 1):
        _check_total(number)
        yield instance_id


def _check_total(total: int) -> None:
    if total > conf.limit("batch"):
        raise LimitExceeded("batch", value=total, maximum=conf.limit("batch"), advice="choose fewer instances")


def batch_report(
    batch_id: str | Handle, *, outcomes: Collection[str] = (), limit: int | None = None, after: str | None = None
) -> BatchReport:
    """Return how far a batch is, and what became of each instance.

    Args:
        batch_id: The batch, or a handle on it.
        outcomes: List only those with one of these; none is all.
        limit: List so many at most.
        after: List those that come after this instance.

    Raises:
        UnknownInstance: There is none of this id.
        InvalidInput: It is no batch, there is no such outcome, or an argument is not of its kind.
        InvalidId: What it comes after cannot be an instance.
    """
    given.optional(given.whole, limit, "batch_report(limit)")
    found = _find(batch_id)
    order, at = found.input["args"]
    closed = found.status in CLOSED
    counts = batches.counts(found.pk)
    if closed and Outcome.PENDING in counts:  # it was terminated
        counts[Outcome.SKIPPED.value] = counts.get(Outcome.SKIPPED, 0) + counts.pop(Outcome.PENDING)
    rows = _rows(found, outcomes)
    if after is not None:
        texts.check_id(after)
        rows = rows.filter(number__gt=batches.rows().filter(batch_id=found.pk, instance_id=after).values("number")[:1])
    return BatchReport(
        batch_id=found.pk,
        verb=order["verb"],
        dry_run=order["dry_run"],
        status=found.status,
        total=at["total"],
        counts=counts,
        items=[_item(row, closed=closed) for row in rows.order_by("number")[:limit]],
    )


def batch_retry(
    batch_id: str | Handle,
    *,
    outcomes: Collection[str] = NOT_DONE,
    dry_run: bool = False,
    reason: str | None = None,
    actor: Any = None,
) -> Handle:
    """Do what a closed batch was for once more, to those of its instances that have one of these outcomes.

    Args:
        batch_id: The batch, or a handle on it; after a dry run, give ``outcomes=["done"]`` to do what it allowed.
        outcomes: Of whom; all that were not done if nothing is said.
        dry_run: Whether to change nothing.
        reason: Why; None is the reason that was given before.
        actor: Who asks for it.

    Raises:
        UnknownInstance: There is none of this id.
        NotClosed: It still runs.
        InvalidInput: It is no batch, or there is no such outcome.
        PermissionDenied: The user may not do this to any instance.
        LimitExceeded: There are too many instances.
    """
    found = _find(batch_id)
    if found.status not in CLOSED:
        raise NotClosed(found.pk, status=found.status, verb="retry it")
    order = found.input["args"][0]
    rows = _rows(found, outcomes).order_by("number").values_list("instance_id", flat=True)
    with closing(_each(rows)) as ids:
        return batch(
            order["verb"],
            ids,
            reason=order["reason"] if reason is None else reason,
            actor=actor,
            dry_run=dry_run,
            queue=found.queue,
            concurrency=order["lanes"],
            **order["arguments"],
        )


def _find(batch_id: str | Handle) -> Instance:
    found = instances.get(batch_id.id if isinstance(batch_id, Handle) else batch_id)
    if found.name != batching.NAME:
        raise InvalidInput("batch", f"{found.pk} is a {found.name}, not a batch")
    return found


def _rows(found: Instance, outcomes: Collection[str]) -> QuerySet[BatchItem]:
    chosen = set(given.words(outcomes, "outcomes", Outcome.values))
    if Outcome.SKIPPED in chosen and found.status in CLOSED:
        chosen.add(Outcome.PENDING)
    rows = batches.rows().filter(batch_id=found.pk)
    return rows.filter(outcome__in=chosen) if chosen else rows


def _item(row: BatchItem, *, closed: bool) -> BatchOutcome:
    return BatchOutcome(
        instance_id=row.instance_id,
        outcome=Outcome.SKIPPED if closed and row.outcome == Outcome.PENDING else row.outcome,
        error=row.error,
        detail=row.detail or {},
        at=row.at,
    )
