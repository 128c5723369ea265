"""Pages about all instances together: failure groups, versions, batches, workers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, Min
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from durable import client
from durable.admin import base, health, lists, paging, verbs, words
from durable.client import access, batching
from durable.models import Status
from durable.operations.audit import HIDDEN
from durable.store import clock, history, instances, listing, tasks, usage, workers

if TYPE_CHECKING:
    from datetime import datetime

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse

SHOWN = 100
"""How many processes a page of workers shows, and of how many activities it says who runs them."""


def _context(site: AdminSite, request: HttpRequest, tab: str, title: str, **more: Any) -> dict[str, Any]:
    if not access.may(request.user, access.VIEW):
        raise PermissionDenied
    return base.context(site, request, tab=tab, title=title, problems=list(health.problems()), **more)


def failures(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Show what has failed or is stalled, in groups that are alike.

    Raises:
        PermissionDenied: The user may not see all instances.
    """
    shown = _context(site, request, "failures", _("Failure groups"))
    address, hides = base.links(site).to("instance_changelist"), not access.may(request.user, access.PAYLOAD)
    now, groups = clock.now(), []
    for group in client.failure_groups():
        chosen = {"workflow": group.workflow, "status": group.status, "fingerprint": group.fingerprint}
        groups.append(
            {
                "group": replace(group, message=HIDDEN) if hides else group,
                "url": f"{address}?{urlencode(chosen)}",
                "example": base.links(site).instance(group.example),
                "last": words.ago(group.last_seen, now),
                "first": words.ago(group.first_seen, now),
                "trend": _trend(group),
                "rewindable": group.status == Status.FAILED,
                "query": f"?{urlencode(chosen)}",
            }
        )
    shown["may_rewind"] = access.may(request.user, access.REPAIR)
    return TemplateResponse(request, "admin/durable/failures.html", {**shown, "groups": groups})


@dataclass(frozen=True, slots=True, kw_only=True)
class Age:
    """How many of a group failed in some time.

    Attributes:
        x, y, height: Where its bar is drawn, in a field of 4 by 20.
    """

    label: str
    count: int
    x: int
    y: int
    height: int


def _trend(group: client.FailureGroup) -> list[Age]:
    """Return how many failed when, the oldest first, each drawn by its share of the most."""
    labels = {"older": _("before"), "week": _("last week"), "day": _("last day"), "hour": _("last hour")}
    most = max(1, *group.ages.values())
    heights = {age: -(-20 * group.ages[age] // most) for age in labels}
    return [
        Age(label=label, count=group.ages[age], x=x, y=20 - heights[age], height=heights[age])
        for x, (age, label) in enumerate(labels.items())
    ]


def versions(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Show which versions of which workflows are in use.

    Raises:
        PermissionDenied: The user may not see all instances.
    """
    shown = _context(site, request, "versions", _("Versions"))
    address, now = base.links(site).to("instance_changelist"), clock.now()
    used = client.versions()
    latest = {name: max(use.version for use in same) for name, same in groupby(used, key=attrgetter("name"))}
    rows = [
        {
            "use": use,
            "url": f"{address}?{urlencode({'workflow': use.name, 'version': use.version})}",
            "counts": {name: _so_far(use, name) for name in ("open", "stalled", "closed")},
            "oldest": words.ago(use.oldest_open, now) if use.oldest_open else "",
            "last": words.ago(use.last_start, now) if use.last_start else "",
            "is_next": use.registered and use.version == latest[use.name],
        }
        for use in used
    ]
    return TemplateResponse(request, "admin/durable/versions.html", {**shown, "versions": rows})


def _so_far(use: client.VersionUse, name: str) -> str:
    return words.counted(getattr(use, name), usage.COUNTED, whole=name not in use.more)


def batches(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Show the batches, the newest first.

    Raises:
        PermissionDenied: The user may not see all instances.
    """
    shown = _context(site, request, "batches", _("Batches"))
    links, now = base.links(site), clock.now()
    found = listing.listing({"name": batching.NAME})
    page = listing.page(found, paging.place(request), read=lists.light)
    shown["batches"] = [
        (links.of("batch_report", row.pk), verbs.word(row.tags.get("verb", "")), lists.row(row, links, now))
        for row in page.rows
    ]
    older = f"?{urlencode({'older': str(page.older)})}" if page.older else ""
    newer = f"?{urlencode({'newer': str(page.newer)})}" if page.newer else ""
    return TemplateResponse(request, "admin/durable/batches.html", {**shown, "older": older, "newer": newer})


@dataclass(frozen=True, slots=True, kw_only=True)
class AtWork:
    """An activity that a worker runs.

    Attributes:
        url: Where its instance is.
        lasts: For how long the attempt has lasted; empty if nobody noted when it began.
        beat: When it last told how far it is.
        alive: Whether the worker showed a sign of life lately: else the activity goes to another one.
    """

    url: str
    instance_id: str
    name: str
    worker: str
    alive: bool
    attempt: int
    lasts: str
    beat: str


def all_workers(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Show the processes that work, and what waits for them.

    Raises:
        PermissionDenied: The user may not see all instances.
    """
    shown = _context(site, request, "workers", _("Workers"))
    now = clock.now()
    page = Paginator(workers.listed(), SHOWN).get_page(request.GET.get("page"))
    rows = [
        {
            "worker": row,
            "alive": row.silent_since is None,
            "sweeps": row.looks,
            "started": words.ago(row.started_at, now),
            "beat": words.ago(max(filter(None, (row.heartbeat_at, row.swept_at))), now),
        }
        for row in page
    ]
    served = workers.served()
    waiting = (
        tasks.rows()
        .filter(state=tasks.State.READY, available_at__lte=now)
        .order_by()
        .values("queue")
        .annotate(count=Count("pk"), oldest=Min("available_at"))
        .order_by("queue")
    )
    queues = [
        {**each, "waits": words.lasted((now - each["oldest"]).total_seconds()), "served": each["queue"] in served}
        for each in waiting
    ]
    shown |= {"workers": rows, "page": page, "queues": queues, "at_work": _at_work(base.links(site), now)}
    shown["shown"] = SHOWN
    return TemplateResponse(request, "admin/durable/workers.html", shown)


def _at_work(links: base.Links, now: datetime) -> list[AtWork]:
    """Return what the workers run: what was asked for first, and then what they run in place."""
    taken = tasks.rows().filter(state=tasks.State.RUNNING).order_by("id")
    columns = ("execution__instance_id", "name", "worker", "attempt", "started_at", "heartbeat_at")
    handed = list(taken.values_list(*columns)[:SHOWN])
    in_place = instances.rows().filter(lease__isnull=False).order_by("lease_worker")
    leases = list(in_place.values_list("pk", "execution_id", "lease_event_id", "lease_worker")[: SHOWN - len(handed)])
    activities = history.names_of([(execution_id, event_id) for _pk, execution_id, event_id, _worker in leases])
    known = workers.listed().in_bulk({worker for *_, worker in leases} | {worker for _pk, _name, worker, *_ in handed})

    def held(instance_id: str, name: str, worker: str, **more: Any) -> AtWork:
        row = known.get(worker)
        return AtWork(
            url=links.instance(instance_id),
            instance_id=instance_id,
            name=name,
            worker=str(row or worker),
            alive=row is not None and row.silent_since is None,
            **more,
        )

    found = [
        held(pk, name, worker, attempt=attempt, lasts=_since(began, now), beat=words.ago(beat, now) if beat else "")
        for pk, name, worker, attempt, began, beat in handed
    ]
    for pk, execution_id, event_id, worker in leases:
        name = activities.get((execution_id, event_id), "")
        found.append(held(pk, name, worker, attempt=1, lasts="", beat=""))
    return found


def _since(began: datetime | None, now: datetime) -> str:
    return words.lasted((now - began).total_seconds()) if began else ""
