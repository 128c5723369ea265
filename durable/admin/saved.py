"""Filters of the list that were saved: to go by, to save, and to delete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q
from django.http import HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from durable import conf
from durable.admin import base, filtering
from durable.client import access
from durable.core import errors
from durable.models import SavedFilter
from durable.operations import audit
from durable.store import clock

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

MOST = 100
"""How many filters somebody may save, and how many are shown."""

_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A saved filter as a page shows it.

    Attributes:
        query: The address of the list that it filters, from there.
        told: What it filters by, as labels and values.
        own: Whether it is the user's.
        may_delete: Whether they may delete it.
        here: Whether it is what the list is filtered by.
    """

    filter: SavedFilter
    query: str
    told: list[tuple[str, str]]
    own: bool
    may_delete: bool
    here: bool


def rows() -> QuerySet[SavedFilter]:
    """Return all that are saved."""
    return SavedFilter.objects.using(conf.settings.DATABASE)


def visible(user: Any) -> QuerySet[SavedFilter]:
    """Return those that a user may go by: their own, and what is for everybody."""
    return rows().filter(Q(owner_key=audit.key_of(user)) | Q(is_shared=True))


def context(request: HttpRequest, form: filtering.Filters) -> dict[str, Any]:
    """Return what the list shows of saved filters."""
    user, here = request.user, filtering.given(form)
    return {
        "saved": [_shown(user, each, here) for each in visible(user)[:MOST]],
        "may_save": bool(here) and form.is_valid(),
        "may_share": access.may(user, access.SHARE),
    }


def _shown(user: Any, found: SavedFilter, here: dict[str, str] | None = None) -> Shown:
    own = found.owner_key == audit.key_of(user)
    form = filtering.Filters(found.fields)
    known = filtering.given(form)
    return Shown(
        filter=found,
        query=f"?{urlencode(known)}",
        told=[
            (str(form.fields[name].label or name), filtering.told(form, name, value)) for name, value in known.items()
        ],
        own=own,
        may_delete=own or access.may(user, access.SHARE),
        here=known == here,
    )


def view(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Show the saved filters; by POST, save or delete one.

    Raises:
        PermissionDenied: The user may not see all instances, or not save for everybody, or not delete this one.
    """
    if not access.may(request.user, access.VIEW):
        if request.method == "POST" and "delete" in request.POST:
            _deny(request, "delete_filter", getattr(_wanted(request), "name", ""))
        if request.method == "POST":
            _deny(request, "save_filter", request.POST.get("name", ""))
        raise PermissionDenied
    if request.method != "POST":
        shown = base.context(site, request, tab="instance_changelist", title=_("Saved filters"))
        shown["filters"] = [_shown(request.user, each) for each in visible(request.user)[:MOST]]
        return TemplateResponse(request, "admin/durable/filters.html", shown)
    if "delete" in request.POST:
        return _delete(site, request)
    return _save(site, request)


def _deny(request: HttpRequest, verb: str, name: str) -> NoReturn:
    """Note that somebody tried what they may not do with a filter, and refuse it."""
    try:
        with audit.audited(verb, "", actor=request.user, name=name[:_NAME]):
            raise errors.PermissionDenied(audit.name_of(request.user), verb)
    except errors.PermissionDenied:
        raise PermissionDenied from None


def _save(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Save a filter; one of the user's own that has its name is replaced."""
    query, name = request.POST.get("query", ""), request.POST.get("name", "").strip()
    shared = bool(request.POST.get("is_shared"))
    if shared and not access.may(request.user, access.SHARE):
        _deny(request, "save_filter", name)
    form, plain = filtering.parse(QueryDict(query.removeprefix("?")))
    fields = filtering.given(form)
    address = base.links(site).to("instance_changelist")
    if problem := _problem(request.user, name, None if plain is None else fields):
        messages.error(request, problem)
        return HttpResponseRedirect(f"{address}?{urlencode(fields)}")
    saved = {"owner_name": audit.name_of(request.user), "fields": fields, "is_shared": shared}
    with transaction.atomic(using=conf.settings.DATABASE):
        rows().update_or_create(
            owner_key=audit.key_of(request.user), name=name, defaults={**saved, "created_at": clock.now()}
        )
    messages.success(request, _("The filter “%(name)s” is saved.") % {"name": name})
    return HttpResponseRedirect(f"{address}?{urlencode(fields)}")


def _problem(user: Any, name: str, fields: dict[str, str] | None) -> str:
    """Return why a filter cannot be saved; empty if it can."""
    own = rows().filter(owner_key=audit.key_of(user))
    if not fields:
        return _("There is nothing to save: choose a filter first.")
    if not name or len(name) > _NAME or not name.isprintable():
        return _("A filter is saved by a name of 1 to %(n)s printable characters.") % {"n": _NAME}
    if own.exclude(name=name).count() >= MOST:
        return _("You have saved %(n)s filters: delete some first.") % {"n": MOST}
    return ""


def _delete(site: AdminSite, request: HttpRequest) -> HttpResponse:
    found = _wanted(request)
    if found is not None:
        if not _shown(request.user, found).may_delete:
            _deny(request, "delete_filter", found.name)
        found.delete()
        messages.success(request, _("The filter “%(name)s” is deleted.") % {"name": found.name})
    return HttpResponseRedirect(base.links(site).to("filters"))


def _wanted(request: HttpRequest) -> SavedFilter | None:
    """Return the filter that is to be deleted; None if there is none that the user could go by."""
    wanted = request.POST["delete"]
    return visible(request.user).filter(pk=wanted).first() if wanted.isdecimal() and len(wanted) < 18 else None
