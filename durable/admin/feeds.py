"""What programs and scripts get of an instance: whether it moved on, and its history as JSON."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse

from durable import client
from durable.admin import base
from durable.client import access, redacting
from durable.core.errors import UndecodableEvent, UndecodablePayload, UnknownExecution
from durable.models import CLOSED
from durable.store import instances, tasks, updates

if TYPE_CHECKING:
    from uuid import UUID

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest

    from durable.client import HistoryItem
    from durable.models import Instance

LOOKED = 200
"""How many tasks a state is about."""


def state(found: Instance) -> str:
    """Return what an instance is known by that a page shows: if it differs, the page is to be drawn anew."""
    work = tasks.rows().filter(execution_id=found.execution_id).order_by("pk").values_list("pk", "attempt", "state")
    asked: Any = updates.rows().filter(execution_id=found.execution_id).order_by("-id").values_list("pk", "state")
    shown = [
        found.execution_id.hex,
        found.head,
        found.status,
        found.lease_event_id,
        found.progress,
        list(work[:LOOKED]),
        list(asked[:LOOKED]) if found.has_updates else [],
    ]
    return hashlib.sha256(json.dumps(shown, default=str).encode()).hexdigest()[:16]


def live(site: AdminSite, request: HttpRequest, object_id: str) -> HttpResponse:
    """Say whether an instance's page has to be drawn anew, and whether it ever will.

    Raises:
        UnknownInstance: There is none of this id, or the user may not know that there is.
    """
    found = access.find(request.user, unquote(object_id), payloads=False)
    return JsonResponse({"state": state(found), "closed": found.status in CLOSED})


def download(site: AdminSite, request: HttpRequest, object_id: str) -> HttpResponse:
    """Give an execution's history as JSON.

    Raises:
        UnknownInstance: There is none of this id, or the user may not know that there is.
    """
    found = access.find(request.user, unquote(object_id), payloads=False)
    hides = not access.may(request.user, access.PAYLOAD, found)
    try:
        execution = instances.execution(found, request.GET.get("execution") or None)
        items = client.history(found.pk, execution.pk)
    except (UnknownExecution, UndecodablePayload, UndecodableEvent) as error:
        messages.error(request, str(redacting.error(error) if hides else error))
        return HttpResponseRedirect(base.links(site).instance(found.pk))
    shown = {
        "instance": found.pk,
        "execution": execution.pk,
        "workflow": found.name,
        "version": execution.version,
        "status": execution.status,
        "redacted": hides,
        "history": [_plain(item, hides=hides) for item in items],
    }
    body = json.dumps(shown, cls=DjangoJSONEncoder, indent=1, ensure_ascii=False)
    response = HttpResponse(body, content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{_file_name(execution.pk)}"'
    return response


def _plain(item: HistoryItem, *, hides: bool) -> dict[str, Any]:
    plain = {name: getattr(item, name) for name in ("seq", "kind", "event_id", "name", "recorded_at")}
    return {**plain, "data": None if hides else item.data}


def _file_name(execution_id: UUID) -> str:
    return f"history-{execution_id}.json"
