"""The list of instances."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from durable.admin import base, filtering, health, paging, saved, words
from durable.admin.verbs import of_many
from durable.client import access, wording
from durable.core.failures import Failure
from durable.models import Status
from durable.store import clock, instances, listing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from django.contrib.admin import AdminSite
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse, QueryDict

    from durable.models import Instance

COUNTED = 1000
"""How far the instances of a status are counted."""

_LONG = 200
"""How much the list says of an error."""

_HEAVY = (*instances.PAYLOADS, "options", "patches")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An instance in the list.

    Attributes:
        reason: Why it is stalled, in a word.
        progress: ``done``, ``total`` and ``note``, or None.
        age: Since when it has been there.
        duration: How long it has run, or had run when it ended; empty before it begins.
        error: What made it fail, if it did, and that may be seen.
    """

    instance: Instance
    url: str
    reason: str
    progress: dict[str, Any] | None
    age: str
    duration: str
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Badge:
    """A status to choose, and how many instances have it."""

    status: str
    label: str
    count: str
    url: str
    chosen: bool


def view(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Show the list.

    Raises:
        PermissionDenied: The user may not see all instances.
    """
    if not access.may(request.user, access.VIEW):
        raise PermissionDenied
    form, plain = filtering.parse(request.GET)
    links = base.links(site)
    shown = base.context(site, request, tab="instance_changelist", title=_("Instances"), form=form)
    shown |= {"problems": list(health.problems()), "names": filtering.workflows(), "verbs": of_many(request.user)}
    shown |= {"filtered": bool(filtering.given(form)), "query": _query(request.GET)}
    shown["chips"] = _chips(request, form)
    shown |= saved.context(request, form)
    if plain is not None:
        shown |= _found(request, form, plain, links)
    return TemplateResponse(request, "admin/durable/instance/change_list.html", shown)


def _chips(request: HttpRequest, form: filtering.Filters) -> list[tuple[str, str, str]]:
    """Return what the list is filtered by, each with the address of the list without it."""
    labels = {"parent": _("Parent"), "rerun_from": _("Rerun of"), "fingerprint": _("Failure group")}
    return [
        (
            labels.get(name) or str(form.fields[name].label),
            filtering.told(form, name, value),
            _query(request.GET, **{name: ""}),
        )
        for name, value in filtering.given(form).items()
        if name != "status"
    ]


def light(query: QuerySet[Instance]) -> list[Instance]:
    """Read instances without what lists do not show."""
    return list(query.defer(*_HEAVY))


def chosen(
    form: filtering.Filters, plain: dict[str, Any], *, payloads: bool
) -> tuple[listing.Listing, dict[str, Any] | None]:
    """Return the instances that a valid form chooses but for their status, and the filter that says the same.

    The filter is with the status; it is None if no filter can say it.

    Args:
        form: The form.
        plain: Its filter, but for the status and the search.
        payloads: Whether the user may see payloads.
    """
    meant, condition = filtering.search(form.cleaned_data["q"], payloads=payloads)
    if condition:
        return listing.searching_errors({**plain, **meant}, condition), None
    whole = {**plain, **form.by_status(), **meant}
    return listing.listing({**plain, **meant}), whole or {"version__gte": 0}


def _found(request: HttpRequest, form: filtering.Filters, plain: dict[str, Any], links: base.Links) -> dict[str, Any]:
    of_all, whole = chosen(form, plain, payloads=access.may(request.user, access.PAYLOAD))
    found = listing.of_status(of_all, form.statuses())
    page = listing.page(found, paging.place(request), read=light)
    counts, now = listing.counts(of_all, COUNTED), clock.now()
    errors = _errors(request, page.rows)
    return {
        "page": page,
        "rows": [replace(row(each, links, now), error=errors.get(each.pk, "")) for each in page.rows],
        "badges": _badges(request, form, counts),
        "total": words.counted(max(counts.total(form.statuses()), len(page.rows)), COUNTED, whole=counts.whole),
        "newer": _query(request.GET, newer=str(page.newer)) if page.newer else "",
        "older": _query(request.GET, older=str(page.older)) if page.older else "",
        "until": page.until,
        "filter": whole,
    }


def _errors(request: HttpRequest, rows: Sequence[Instance]) -> dict[str, str]:
    """Return why instances failed, by their ids; nothing to users who may not see payloads."""
    failed = [each.pk for each in rows if each.status == Status.FAILED]
    if not failed or not access.may(request.user, access.PAYLOAD):
        return {}
    found = instances.listed(instances.rows().filter(pk__in=failed), payload="failure")
    roots = ((each.pk, _root(Failure.from_json({"type": "", **(each.failure or {})}))) for each in found)
    return {pk: f"{root.type}: {root.message}"[:_LONG] for pk, root in roots if root.type}


def _root(failure: Failure) -> Failure:
    """Return what a failure came from."""
    while failure.cause is not None:
        failure = failure.cause
    return failure


def row(found: Instance, links: base.Links, now: datetime) -> Row:
    """Return an instance as a list shows it."""
    began = found.started_at
    ended = found.closed_at or now
    return Row(
        instance=found,
        url=links.instance(found.pk),
        reason=wording.word((found.stall or {}).get("reason", "")) if found.status == Status.STALLED else "",
        progress=found.progress if found.status != Status.COMPLETED else None,
        age=words.ago(found.created_at, now),
        duration=words.lasted((ended - began).total_seconds()) if began else "",
    )


def _badges(request: HttpRequest, form: filtering.Filters, counts: listing.Counts) -> list[Badge]:
    wanted = form.cleaned_data["status"]
    found = [Badge(status="", label=_("All"), count="", url=_query(request.GET, status=""), chosen=not wanted)]
    for status in Status:
        number = words.counted(counts.by.get(status, 0), COUNTED, whole=counts.whole)
        url = _query(request.GET, status=str(status))
        label = str(status.label)
        found.append(Badge(status=str(status), label=label, count=number, url=url, chosen=wanted == status))
    return found


def _query(data: QueryDict, **changed: str) -> str:
    """Return the address of the list with these filters, from its first page on if nothing else is said."""
    kept = {name: data[name] for name in data if name not in ("newer", "older", *changed) and data[name]}
    return f"?{urlencode({**kept, **{name: value for name, value in changed.items() if value}})}"
