"""Two executions side by side: what is the same, and what is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from durable import client
from durable.admin import base, forms
from durable.client import access, redacting
from durable.core.errors import DurableError, UnknownInstance

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse

    from durable.client import ComparedEvent, HistoryItem

SHOWN = 500
"""How many events are shown."""

_LONG = 5000

_CHANGES = {
    "same": gettext_lazy("same"),
    "changed": gettext_lazy("changed"),
    "only_a": gettext_lazy("only left"),
    "only_b": gettext_lazy("only right"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An event, and what it is in the other execution.

    Attributes:
        change: How they compare, in words.
        a, b: The payloads in each, where they differ and may be seen; else empty.
    """

    event: ComparedEvent
    change: str
    a: str
    b: str


def view(site: AdminSite, request: HttpRequest, object_id: str) -> HttpResponse:
    """Show two executions side by side.

    Raises:
        UnknownInstance: There is none of this id, or the user may not know that there is.
    """
    one, links = access.find(request.user, unquote(object_id), payloads=False), base.links(site)
    asked = {name: request.GET.get(name) or None for name in ("execution", "other_execution")}
    try:
        other = access.find(request.user, request.GET.get("with") or one.pk, payloads=False)
        found = client.compare(one.pk, other.pk, **asked)
    except UnknownInstance as error:
        messages.error(request, str(error))
        return HttpResponseRedirect(links.instance(one.pk))
    except DurableError as error:
        messages.error(request, str(redacting.error(error)))
        return HttpResponseRedirect(links.instance(one.pk))
    hides = [not access.may(request.user, access.PAYLOAD, each) for each in (one, other)]
    whole = bool(request.GET.get("all"))
    chosen = [each for each in found.events if whole or each.change != "same" or each.moved]
    shown = base.context(site, request, tab="instance_changelist", title=_("Side by side"), compared=found)
    shown |= {
        "instance": one,
        "pairs": [_pair(each, whole=whole, hides_a=hides[0], hides_b=hides[1]) for each in chosen[:SHOWN]],
        "omitted": max(0, len(chosen) - SHOWN),
        "whole": whole,
        "toggle": _toggle(request, whole=whole),
        "address": links.instance(one.pk),
        "other_address": links.instance(other.pk),
        "hides": any(hides),
    }
    return TemplateResponse(request, "admin/durable/instance/compare.html", shown)


def _toggle(request: HttpRequest, *, whole: bool) -> str:
    query = request.GET.copy()
    query["all"] = "" if whole else "1"
    return f"?{query.urlencode()}"


def _pair(event: ComparedEvent, *, whole: bool, hides_a: bool, hides_b: bool) -> Pair:
    differs = event.change != "same"
    fields = () if whole else event.fields
    return Pair(
        event=event,
        change=str(_CHANGES[event.change]),
        a=_payload(event.a, fields) if differs and not hides_a else "",
        b=_payload(event.b, fields) if differs and not hides_b else "",
    )


def _payload(item: HistoryItem | None, fields: Collection[str]) -> str:
    """Return a payload as JSON: what differs in it, or all of it if nothing is named."""
    data: dict[str, Any] = item.data if item is not None else {}
    shown = {name: data[name] for name in fields if name in data} or data
    return forms.pretty(shown)[:_LONG] if shown else ""
