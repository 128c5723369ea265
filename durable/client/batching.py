"""The workflow that a batch is: it does a verb to many instances, a page of them at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import islice
from typing import Any

from django.contrib.auth import get_user_model
from django.db import InterfaceError, OperationalError, transaction

from durable import activity, conf, workflow
from durable.client import verbs
from durable.core.errors import DurableError, PermissionDenied
from durable.core.retry import RetryPolicy
from durable.models import BatchItem
from durable.operations import audit
from durable.operations.shapes import Preview
from durable.store import batches, filters, instances

NAME = "durable.batch"

_PATIENT = RetryPolicy(max_attempts=0, max_interval=60)
"""For ever: the database may be away for hours, and a worker that is killed counts as an attempt."""

_TRIES = 3
"""How often the database may fail at one instance until that counts as failed."""

_COLLECTS = 2000

Outcome = BatchItem.Outcome


@workflow.defn(name=NAME)
async def run(order: dict[str, Any], at: dict[str, Any]) -> dict[str, Any]:
    """Do a verb to all instances of a batch.

    Args:
        order: What is to be done, and how: ``verb arguments reason actor dry_run filter created_until``, and
            ``lanes`` (how many pages at a time), ``page`` (their length), ``pages`` (how many in one execution).
        at: How far it is: ``total``, ``after`` (the last instance that the filter gave; None if there are all),
            ``next`` and ``end`` (numbers of items) and ``counts`` (by outcome).
    """
    counts = Counter(at["counts"])
    try:
        while at["after"] is not None:
            at |= await collect(at["after"], at["end"])
        await _pages(order, at, counts)
    except asyncio.CancelledError:
        _show(at, Counter(await skip()))
        raise
    if at["next"] < at["end"]:
        workflow.continue_as_new(order, {**at, "counts": dict(counts)})
    return {"verb": order["verb"], "dry_run": order["dry_run"], "total": counts.total(), **counts}


async def _pages(order: dict[str, Any], at: dict[str, Any], counts: Counter[str]) -> None:
    size = order["page"]
    pages = islice(range(at["next"], at["end"], size), order["pages"])

    async def lane() -> None:
        for first in pages:
            found = await do_page(first, first + size)
            while found.get(Outcome.PENDING):  # it was suspended half-way
                found = await do_page(first, first + size)
            counts.update(found)
            _show(at, counts)

    await asyncio.gather(*(lane() for _ in range(order["lanes"])))
    at["next"] += size * order["pages"]


def _show(at: dict[str, Any], counts: Counter[str]) -> None:
    others = ", ".join(f"{counts[name]:,} {name}" for name in Outcome.values if name != Outcome.DONE and counts[name])
    workflow.set_progress(counts.total(), at["total"], others)


@activity.defn(name="durable.batch.collect", atomic=True, retry=_PATIENT)
def collect(after: str, first: int) -> dict[str, Any]:
    """Note more of the instances that the filter chooses; ``after`` says behind which one to go on, if there are more.

    It is in the history since the next part begins there, also if this one has to be noted again.
    """
    batch_id = activity.info().instance_id
    order = _order(batch_id)
    found = filters.find(order["filter"]).filter(created_at__lte=order["created_until"], pk__gt=after)
    ids = list(found.exclude(pk=batch_id).order_by("pk").values_list("pk", flat=True)[:_COLLECTS])
    end = batches.insert(batch_id, ids, first=first)
    if len(ids) == _COLLECTS:
        return {"after": ids[-1], "end": end}
    return {"after": None, "end": end, "total": end}


@activity.defn(name="durable.batch.page", retry=_PATIENT)
def do_page(first: int, last: int) -> dict[str, int]:
    """Do the verb to the instances of a page, and return how many have which outcome."""
    info = activity.info()
    order = _order(info.instance_id)
    actor = _actor(order["actor"])
    while (item := batches.next_item(info.instance_id, info.execution_id, first=first, last=last)) is not None:
        try:
            _do(item, order, actor)
        except (OperationalError, InterfaceError) as error:
            if not _tried_enough(item):
                raise
            _settle(item, Outcome.FAILED, error)
        except Exception as error:  # noqa: BLE001 - the transaction is spoiled; the others have their own
            _settle(item, Outcome.FAILED, error)
    return batches.counts(info.instance_id, first=first, last=last)


def _tried_enough(item: BatchItem) -> bool:
    """Count that the database failed at an item; say whether it did so too often in a row."""
    before = activity.heartbeat_details()
    tries = before[1] + 1 if before and before[0] == item.number else 1
    activity.heartbeat(item.number, tries)
    return tries >= _TRIES


@activity.defn(name="durable.batch.skip", atomic=True, retry=_PATIENT)
def skip() -> dict[str, int]:
    """Skip whatever is still to be done, and return how many instances have which outcome."""
    batch_id = activity.info().instance_id
    batches.skip(batch_id)
    return batches.counts(batch_id)


def _order(batch_id: str) -> dict[str, Any]:
    # From its row: the arguments may be long, and there are many pages.
    order: dict[str, Any] = instances.get(batch_id).input["args"][0]
    return order


def _actor(known: dict[str, Any] | None) -> Any:
    """Return who asked for the batch, as is known by now: a user, a name, or None."""
    if known is None or not known["key"]:
        return known and known["name"]
    return get_user_model()._default_manager.filter(pk=known["key"]).first() or _Gone(known)


class _Gone:
    """A user who was deleted since: may do nothing."""

    is_anonymous = False

    def __init__(self, known: dict[str, Any]) -> None:
        self.pk, self._name = known["key"], known["name"]

    def get_username(self) -> str:
        return str(self._name)

    def has_perm(self, *_: Any) -> bool:
        return False


def _do(item: BatchItem, order: dict[str, Any], actor: Any) -> None:
    """Do the verb to an instance; that it is done is in the same commit, so that it is not done again."""
    with transaction.atomic(using=conf.settings.DATABASE):
        try:
            may(actor, order["verb"], item.instance_id, order)
            options = {name: order[name] for name in ("arguments", "reason", "dry_run")}
            result = verbs.do(order["verb"], item.instance_id, actor=actor, **options)
            if isinstance(result, Preview) and result.refusal is not None:
                raise result.refusal
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:  # noqa: BLE001 - one that fails stops none of the others
            # In the transaction at hand, which also holds the row of the audit.
            _settle(item, _outcome(error), error)
            return
        detail = verbs.describe(result)
        if not batches.settle(item.batch_id, [item.instance_id], Outcome.DONE, detail=detail):
            # Somebody else was quicker: what was done here is undone.
            transaction.set_rollback(True, using=conf.settings.DATABASE)
        elif others := list(verbs.touched(result)):
            batches.settle(item.batch_id, others, Outcome.DONE, detail={"with": item.instance_id})


def _outcome(error: Exception) -> str:
    if isinstance(error, PermissionDenied):
        return Outcome.DENIED
    return Outcome.REFUSED if isinstance(error, DurableError) else Outcome.FAILED


def _settle(item: BatchItem, outcome: str, error: Exception) -> None:
    batches.settle(item.batch_id, [item.instance_id], outcome, error=f"{type(error).__name__}: {error}")


def may(actor: Any, verb: str, instance_id: str, order: dict[str, Any]) -> None:
    """Check that a user may do a verb to an instance; names and the system may do anything.

    Raises:
        PermissionDenied: They may not.
    """
    arguments = order["arguments"]
    if permitted(actor, verb, arguments):
        return
    instance = instances.rows().filter(pk=instance_id).first()
    if instance is not None and all(actor.has_perm(each, instance) for each in verbs.permissions(verb, arguments)):
        return
    audited = audit.audited(verb, instance_id, actor=actor, reason=order["reason"], dry_run=order["dry_run"])
    with audited:
        raise PermissionDenied(audit.name_of(actor), verb)


def permitted(actor: Any, verb: str, arguments: dict[str, Any]) -> bool:
    """Say whether somebody may do a verb to whatever instance."""
    return actor is None or isinstance(actor, str) or all(map(actor.has_perm, verbs.permissions(verb, arguments)))


def encode_actor(actor: Any) -> dict[str, Any] | None:
    """Return who asks for a batch, as plain JSON."""
    return None if actor is None else {"key": audit.key_of(actor), "name": audit.name_of(actor)}
