"""Running instances that nothing would move: found by counting rows, without reading a history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Count, Exists, OuterRef, Q

from durable import conf
from durable.core import events as ev
from durable.models import OPEN, HistoryEvent, Status
from durable.store import inbox, instances, tasks

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator

_PAGE = 500

_INLINE = (ev.SideEffectRecorded, ev.PatchMarked)
_ASKED = [name for name, kind in ev.KINDS.items() if issubclass(kind, ev.Asked) and not issubclass(kind, _INLINE)]
_ANSWERS = [name for name, kind in ev.KINDS.items() if issubclass(kind, ev.Answer) and kind is not ev.ChildStarted]
_ENDS = [name for name, kind in ev.KINDS.items() if kind.ends]


def find(limit: int) -> Iterator[str]:
    """Yield the ids of those among the newest ``limit`` running instances that no row would move, and yet should.

    Either something that they asked for has no answer, or their end is
    recorded. Those that wait for a signal only are not among them.
    """
    running = instances.rows().filter(status=Status.RUNNING).order_by("-created_at", "id")
    for first in range(0, limit, _PAGE):
        page = list(running.values_list("pk", flat=True)[first : min(first + _PAGE, limit)])
        if quiet := _quiet(page):
            yield from (quiet[execution_id] for execution_id in _unsettled(list(quiet)))
        if len(page) < _PAGE:
            return


def _quiet(page: list[str]) -> dict[uuid.UUID, str]:
    """Return those of a page that have no lease, task, inbox row or open child, by their execution."""
    rows = instances.rows()
    waiting = inbox.rows().filter(execution_id=OuterRef("execution_id")).exclude(kind=inbox.TIMEOUT)
    found: Any = (
        rows.filter(pk__in=page, lease__isnull=True)
        .exclude(Exists(tasks.rows().filter(execution_id=OuterRef("execution_id"))))
        .exclude(Exists(waiting))
        .exclude(Exists(rows.filter(parent_id=OuterRef("pk"), status__in=OPEN)))
        .order_by()
        .values_list("execution_id", "pk")
    )
    return dict(found)


def _unsettled(execution_ids: list[uuid.UUID]) -> list[uuid.UUID]:
    counted: Any = (
        HistoryEvent.objects.using(conf.settings.DATABASE)
        .filter(execution_id__in=execution_ids, kind__in=[*_ASKED, *_ANSWERS, *_ENDS])
        .order_by()
        .values("execution_id")
        .annotate(
            asked=Count("seq", filter=Q(kind__in=_ASKED)),
            answered=Count("seq", filter=Q(kind__in=_ANSWERS)),
            ended=Count("seq", filter=Q(kind__in=_ENDS)),
        )
    )
    return [row["execution_id"] for row in counted if row["asked"] > row["answered"] or row["ended"]]
