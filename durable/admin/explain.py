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
from durable.store import history

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse

    from durable.core.explaining import Explanation

EVENTS = 20
"""How many of a step's events are named."""


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
        "events": history.between(
            explained.execution_id, explained.first, min(explained.seq, explained.first + EVENTS - 1)
        ),
        "events_omitted": max(0, explained.seq - explained.first + 1 - EVENTS),
        **_neighbours(explained, execution),
    }
    return TemplateResponse(request, "admin/durable/instance/explain.html", shown)


def _neighbours(explained: Explanation, execution: str) -> dict[str, Any]:
    """Return where the steps before and after are, and the outermost ones."""
    before, after = explained.first - 1, explained.seq + 1
    also = f"&execution={explained.execution_id}" if execution else ""
    return {
        "before": f"?at={before}{also}" if before >= 1 else "",
        "after": f"?at={after}{also}" if after <= explained.length else "",
        "start": f"?at=1{also}" if before >= 1 else "",
        "finish": f"?at={explained.length}{also}" if after <= explained.length else "",
    }
