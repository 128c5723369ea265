"""Purging: which instances belong together, and deleting all of their rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db.models import Exists, F, OuterRef, Q, TextField, Value
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce

from durable.models import CLOSED, OPEN, Execution, HistoryEvent, Instance
from durable.store import clock, instances

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import timedelta

    from django.db.models import QuerySet

_AT_ONCE = 500
"""How many values a statement gets at most: databases have limits."""


@dataclass(kw_only=True)
class Tree:
    """An instance and what is purged with it.

    Attributes:
        root: The instance.
        below: Its children and theirs, parents before their children.
        unended: Those among ``below`` that are open.
        left: Open children that are left alone: their parent was told to abandon them.
    """

    root: Instance
    below: list[Instance] = field(default_factory=list)
    unended: list[Instance] = field(default_factory=list)
    left: list[Instance] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        """The ids of all that is purged."""
        return [self.root.pk, *(instance.pk for instance in self.below)]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows there are."""

    instances: int = 0
    executions: int = 0
    events: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.instances + other.instances, self.executions + other.executions, self.events + other.events)


def trees(roots: Sequence[Instance], *, children: bool = True) -> list[Tree]:
    """Lock what is below locked instances, and return what belongs to each, a statement for each level.

    Children are those that an instance started itself: a rerun's inherited ones are its source's.

    Args:
        roots: The instances.
        children: Whether children are purged as well.
    """
    found = {root.pk: Tree(root=root) for root in roots}
    owners = dict(found)
    level = list(found) if children else []
    while level:
        below = [child for some in _chunks(level) for child in instances.lock_all(parent_id__in=some)]
        level = [child.pk for child in below if _takes(owners, child)]
    return list(found.values())


def _takes(owners: dict[str, Tree], child: Instance) -> bool:
    """Put a child where it belongs; say whether it is to be followed further down."""
    tree = owners[str(child.parent_id)]
    if child.status in OPEN and child.options.get("parent_close") == "abandon":
        tree.left.append(child)
        return False
    if child.pk in owners:
        return False  # chosen itself: once is enough
    owners[child.pk] = tree
    tree.below.append(child)
    if child.status in OPEN:
        tree.unended.append(child)
    return True


def count(ids: Sequence[str]) -> Counts:
    """Return how many rows there are of instances."""
    total = Counts()
    for some in _chunks(ids):
        runs = instances.executions().filter(instance__in=some)
        events = HistoryEvent.objects.using(runs.db).filter(execution__in=runs)
        total += Counts(len(some), runs.count(), events.count())
    return total


def delete(ids: Sequence[str]) -> Counts:
    """Delete instances with all their rows, a few statements for many."""
    total = Counts()
    for some in _chunks(ids):
        # Without its payloads, which a codec of long ago may have encrypted.
        _, deleted = instances.rows().filter(pk__in=some).only("pk").delete()
        rows = {model: deleted.get(model._meta.label, 0) for model in (Instance, Execution, HistoryEvent)}
        total += Counts(*rows.values())
    return total


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    listed = list(ids)
    for start in range(0, len(listed), _AT_ONCE):
        yield listed[start : start + _AT_ONCE]


def due(kept_for: dict[str, timedelta]) -> QuerySet[Instance]:
    """Return the instances, in no order, that were closed longer ago than those of their status are kept.

    A child goes with its parent; by itself only if that is open and no longer in the execution which started it.

    Args:
        kept_for: For how long, by status.
    """
    now = clock.now()
    past = Q()
    for status, age in kept_for.items():
        past |= Q(status=status, closed_at__lt=now - age)
    on_its_own = Q(parent__isnull=True) | Q(parent__status__in=OPEN) & ~Q(parent__execution=F("parent_execution_id"))
    policy = Coalesce(KeyTextTransform("parent_close", "options"), Value("terminate"), output_field=TextField())
    unended = instances.rows().filter(parent=OuterRef("pk"), status__in=OPEN).alias(policy=policy)
    found: QuerySet[Instance] = instances.rows().filter(
        past, on_its_own, ~Exists(unended.exclude(policy="abandon")), status__in=CLOSED
    )
    return found.order_by()
