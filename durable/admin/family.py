"""Whom an instance comes from, and what comes from it: parent, children, source and reruns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable import client
from durable.client import access
from durable.store import instances

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.admin.base import Links
    from durable.models import Instance

DEPTH, BREADTH = 4, 100
"""How many generations of children are shown, and how many of all of a generation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An instance of the family.

    Attributes:
        url: Where its page is; empty if it is gone.
        depth: How many generations it is below; 1 for a child.
    """

    id: str
    url: str
    status: str
    name: str = ""
    version: int = 0
    depth: int = 0
    event_id: int | None = None


def context(user: Any, found: Instance, links: Links) -> dict[str, Any]:
    """Return what the page shows of the family, as far as the user may see it."""
    children, omitted = _children(user, found, links)
    lineage = client.lineage(found.pk)
    seen = access.visible(user, {each.instance_id for each in (*lineage.ancestors, *lineage.descendants)})
    return {
        "parent": next(_parent(user, found, links), None),
        "children": children,
        "children_omitted": omitted,
        "all_children": f"{links.to('instance_changelist')}?parent={found.pk}",
        "ancestors": [_relative(each, links) for each in lineage.ancestors if each.instance_id in seen],
        "descendants": [_relative(each, links) for each in lineage.descendants if each.instance_id in seen],
    }


def _relative(each: client.Relative, links: Links) -> Member:
    return Member(
        id=each.instance_id,
        url=links.instance(each.instance_id) if each.status is not None else "",
        status=each.status or "",
        event_id=each.rerun_event_id,
    )


def _parent(user: Any, found: Instance, links: Links) -> Iterator[Member]:
    if found.parent_id is None:
        return
    rows = instances.rows().defer(*instances.PAYLOADS).filter(pk=found.parent_id)
    for row in rows:
        if access.may(user, access.VIEW, row):
            yield _member(row, links, depth=0, event_id=found.parent_event_id)


def _children(user: Any, found: Instance, links: Links) -> tuple[list[Member], bool]:
    """Return the children, each followed by its own, and whether there are more."""
    below: dict[str, list[Instance]] = {}
    level, omitted = [found.pk], False
    for _ in range(DEPTH):
        rows = instances.rows().defer(*instances.PAYLOADS).filter(parent__in=level)
        some = list(rows.order_by("created_at", "pk")[: BREADTH + 1])
        omitted |= len(some) > BREADTH
        some = [row for row in some[:BREADTH] if access.may(user, access.VIEW, row)]
        for row in some:
            below.setdefault(str(row.parent_id), []).append(row)
        level = [row.pk for row in some]
        if not level:
            break
    return list(_tree(below, found.pk, links, depth=1)), omitted


def _tree(below: dict[str, list[Instance]], parent: str, links: Links, *, depth: int) -> Iterator[Member]:
    for row in below.get(parent, ()):
        yield _member(row, links, depth=depth, event_id=row.parent_event_id)
        if depth < DEPTH:
            yield from _tree(below, row.pk, links, depth=depth + 1)


def _member(row: Instance, links: Links, *, depth: int, event_id: int | None) -> Member:
    return Member(
        id=row.pk,
        url=links.instance(row.pk),
        status=row.status,
        name=row.name,
        version=row.version,
        depth=depth,
        event_id=event_id,
    )
