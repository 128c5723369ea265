"""Purge: closed instances are deleted, with their children and all their rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from durable import conf, dispatch
from durable.core.errors import DurableError, NotClosed, UnknownInstance
from durable.engine import closing
from durable.models import OPEN, Instance
from durable.operations import control
from durable.operations.shapes import Preview, facts_of
from durable.store import instances, purging

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


_SHOWN = 20
"""How many reruns a preview names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What a purge deleted, or would delete.

    Attributes:
        instances: How many instances, children included.
        executions: How many executions they had.
        events: How many events.
        refused: Why an instance was left, by id.
        dry_run: Whether nothing was deleted.
    """

    instances: int = 0
    executions: int = 0
    events: int = 0
    refused: dict[str, DurableError] = field(default_factory=dict)
    dry_run: bool = False

    def __add__(self, other: Purged) -> Purged:
        return Purged(
            instances=self.instances + other.instances,
            executions=self.executions + other.executions,
            events=self.events + other.events,
            refused={**self.refused, **other.refused},
            dry_run=self.dry_run,
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "instances": self.instances,
            "executions": self.executions,
            "events": self.events,
            "refused": {instance_id: facts_of(error) for instance_id, error in self.refused.items()},
            "dry_run": self.dry_run,
        }


def plan(instance_id: str, *, keep_children: bool = False, force: bool = False) -> purging.Tree:
    """Lock an instance and all that is purged with it.

    Raises:
        UnknownInstance: There is none of this id.
        NotClosed: It, or a child that is not to be abandoned, is still open.
    """
    found, refused = plan_many([instance_id], keep_children=keep_children, force=force)
    for error in refused.values():
        raise error
    return found[0]


def plan_many(
    ids: Sequence[str], *, keep_children: bool = False, force: bool = False
) -> tuple[list[purging.Tree], dict[str, DurableError]]:
    """Lock instances and all that is purged with them; return that, and why others are left.

    Args:
        ids: The instances.
        keep_children: Whether children are left, without their parent.
        force: Whether open ones are purged as well.
    """
    storable = [instance_id for instance_id in ids if instance_id.isprintable()]
    found = {instance.pk: instance for instance in instances.lock_all(pk__in=storable)}
    refused: dict[str, DurableError] = {pk: UnknownInstance(pk) for pk in ids if pk not in found}
    if not force:
        for root in found.values():
            if root.status in OPEN:
                refused[root.pk] = NotClosed(root.pk, status=root.status, verb="purge it")
    ready = []
    for tree in purging.trees([found[pk] for pk in found if pk not in refused], children=not keep_children):
        if tree.unended and not force:
            child = tree.unended[0]
            refused[tree.root.pk] = NotClosed(child.pk, status=child.status, verb=f"purge {tree.root.pk!r} with it")
        else:
            ready.append(tree)
    return ready, refused


def carry_out(found: Sequence[purging.Tree], *, reason: str) -> Purged:
    """Delete what was planned, in the transaction at hand; what is open is terminated first."""
    announce: list[tuple[str, str]] = []
    for tree in found:
        for instance in (tree.root, *tree.unended):
            if instance.status in OPEN:
                announce += closing.terminate(
                    instances.lock(instance.pk, payloads=False), reason=reason or "it is purged"
                )
    transaction.on_commit(lambda: dispatch.advance(announce), using=conf.settings.DATABASE, robust=True)
    return _as_purged(purging.delete(_ids(found)))


def count(found: Sequence[purging.Tree]) -> Purged:
    """Return what a plan would delete."""
    return _as_purged(purging.count(_ids(found)), dry_run=True)


def _ids(found: Sequence[purging.Tree]) -> list[str]:
    return list(dict.fromkeys(pk for tree in found for pk in tree.ids))


def _as_purged(counts: purging.Counts, *, dry_run: bool = False) -> Purged:
    return Purged(instances=counts.instances, executions=counts.executions, events=counts.events, dry_run=dry_run)


def preview(tree: purging.Tree) -> Preview:
    """Return what a plan deletes, as callers see it."""
    below: dict[str, list[Instance]] = {}
    for child in tree.below:
        below.setdefault(str(child.parent_id), []).append(child)
    return _preview(tree.root, below, _warnings(tree))


def _warnings(tree: purging.Tree) -> list[str]:
    found = purging.count(tree.ids)
    reruns = instances.rows().filter(rerun_from__in=tree.ids).exclude(pk__in=tree.ids).order_by("pk")
    ended = [instance for instance in (tree.root, *tree.unended) if instance.status in OPEN]
    events = found.events + len(ended)  # an end each
    first = _("%(id)s is %(status)s, and is terminated first")
    stays = _("%(id)s was begun like this one, and stays")
    return [
        _deletes(found.instances, found.executions, events),
        *(first % {"id": instance.pk, "status": instance.get_status_display()} for instance in ended),
        *_spared(tree),
        *(stays % {"id": pk} for pk in reruns.values_list("pk", flat=True)[:_SHOWN]),
    ]


def _deletes(rows: int, executions: int, events: int) -> str:
    """Return what is deleted, in words."""
    return _("deletes %(instances)s, %(executions)s and %(events)s") % {
        "instances": ngettext("%(count)s instance", "%(count)s instances", rows) % _counted(rows),
        "executions": ngettext("%(count)s execution", "%(count)s executions", executions) % _counted(executions),
        "events": ngettext("%(count)s event", "%(count)s events", events) % _counted(events),
    }


def _counted(count: int) -> dict[str, str]:
    return {"count": number_format(count, use_l10n=True, force_grouping=True)}


def _spared(tree: purging.Tree) -> Iterator[str]:
    """Yield what becomes of children that are not purged: ending their parent may end them."""
    ids = set(tree.ids)
    told = {
        "terminate": _("child %(id)s is terminated, and stays"),
        "cancel": _("child %(id)s is told to stop, and stays"),
    }
    for node in control.ends(tree.root).tree():
        if node.instance.pk not in ids:
            ids.add(node.instance.pk)
            yield told[node.verb] % {"id": node.instance.pk}
    below = instances.rows().filter(parent=tree.root, status__in=OPEN).order_by("pk")
    for pk in dict.fromkeys([*(child.pk for child in tree.left), *below.values_list("pk", flat=True)]):
        if pk not in ids:
            yield _("child %(id)s goes on, without its parent") % {"id": pk}


def _preview(instance: Instance, below: dict[str, list[Instance]], warnings: list[str]) -> Preview:
    return Preview(
        verb="purge",
        instance_id=instance.pk,
        allowed=True,
        version=instance.version,
        children=[_preview(child, below, []) for child in below.get(instance.pk, ())],
        warnings=warnings,
    )
