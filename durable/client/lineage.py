"""Which instances were begun like which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from durable.store import instances

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from durable.models import Instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """An instance, as one of those that were begun like each other.

    Attributes:
        rerun_from: The instance that it was begun like, or None; that may be purged.
        rerun_event_id: The activity that it was rerun from; None if it was restarted, or started.
        attempt: 0 for a start, and one more each time.
        status: Its status; None if it is purged, and only its name is left.
    """

    instance_id: str
    rerun_from: str | None = None
    rerun_event_id: int | None = None
    attempt: int | None = None
    status: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Whom an instance was begun like, and who was begun like it.

    Attributes:
        ancestors: The one that it was begun like, the one that that was begun like, and so on.
        descendants: Those that were begun like it or like one of those, the older ones first.
    """

    instance: Relative
    ancestors: list[Relative]
    descendants: list[Relative]


def lineage(instance_id: str) -> Lineage:
    """Return the reruns and restarts that led to an instance, and those that began with it.

    Raises:
        UnknownInstance: There is none of this id.
    """
    found = instances.get(instance_id, payloads=False)
    return Lineage(instance=_relative(found), ancestors=_ancestors(found), descendants=_descendants(found))


def _relative(found: Instance) -> Relative:
    return Relative(
        instance_id=found.pk,
        rerun_from=found.rerun_from,
        rerun_event_id=found.rerun_event_id,
        attempt=found.attempt,
        status=found.status,
        created_at=found.created_at,
    )


def _ancestors(found: Instance) -> list[Relative]:
    above: dict[str, Relative] = {}
    next_id = found.rerun_from
    # Ids can be used anew, so this may come back to where it began.
    while next_id is not None and next_id not in (found.pk, *above):
        known = _some(pk=next_id)
        above[next_id] = known[0] if known else Relative(instance_id=next_id)
        next_id = above[next_id].rerun_from
    return list(above.values())


def _descendants(found: Instance) -> list[Relative]:
    below: dict[str, Relative] = {}
    level: Iterable[str] = [found.pk]
    while level:
        fresh = [each for each in _some(rerun_from__in=list(level)) if each.instance_id not in (found.pk, *below)]
        below |= {each.instance_id: each for each in fresh}
        level = [each.instance_id for each in fresh]
    return sorted(below.values(), key=lambda each: (str(each.created_at), each.instance_id))


def _some(**asked: object) -> list[Relative]:
    found = instances.rows().filter(**asked).defer(*instances.PAYLOADS).order_by("created_at", "pk")
    return [_relative(each) for each in found]
