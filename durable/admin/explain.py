"""Where the code of an instance stands, or stood after an event: stacks, variables, and what it waited for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from durable import client
from durable.admin import base
from durable.client import access, redacting
from durable.core.errors import DurableError

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse

    from durable.core.explaining import Explanation


def view(site: AdminSite, request: HttpRequest, object_id: str) -> HttpResponse:
    """Show where the code stood after an event; of the last one if none is named.

    Raises:
        UnknownInstance: There is none of this id, or the user may not know that there is.
    """
    found, links = access.find(request.user, unquote(object_id), payloads=False), base.links(site)
    hides = not access.may(request.user, access.PAYLOAD, found)
    told, execution = request.GET.get("at", ""), request.GET.get("execution", "")
    at = int(told) if told.isdecimal() and len(told) < 10 else None
    try:
        explained = client.explain(found.pk, at, execution or None)
    except DurableError as error:
        messages.error(request, str(redacting.error(error) if hides else error))
        return HttpResponseRedirect(links.instance(found.pk))
    shown = base.context(site, request, tab="instance_changelist", title=_("Where the code stands"), instance=found)
    shown |= {
        "address": links.instance(found.pk),
        "explained": redacting.explanation(explained) if hides else explained,
        "hides": hides,
        "at": datetime.fromtimestamp(explained.at, UTC),
        **_neighbours(explained, at, execution),
    }
    return TemplateResponse(request, "admin/durable/instance/explain.html", shown)


def _neighbours(explained: Explanation, at: int | None, execution: str) -> dict[str, Any]:
    """Return where the steps before and after are."""
    before, after = (explained.seq if at is None else min(at, explained.seq)) - 1, explained.seq + 1
    also = f"&execution={explained.execution_id}" if execution else ""
    return {
        "before": f"?at={before}{also}" if before >= 1 else "",
        "after": f"?at={after}{also}" if after <= explained.length else "",
    }
