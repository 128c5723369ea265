"""What programs and scripts get of an instance: whether it moved on, and its history as JSON."""

from __future__ import annotations

import hashlib
import json
from itertools import chain
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse

from durable.admin import base
from durable.client import access, parts, redacting, sending
from durable.core.errors import UndecodableEvent, UndecodablePayload, UnknownExecution
from durable.models import CLOSED
from durable.store import instances, tasks, updates

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from uuid import UUID

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from durable.client import HistoryItem
    from durable.models import Instance

LOOKED = 200
"""How many tasks a state is about."""

AT_ONCE = 1000
"""How many events of a download are in memory at a time."""


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


def download(site: AdminSite, request: HttpRequest, object_id: str) -> HttpResponseBase:
    """Give an execution's history as JSON, some events at a time.

    Raises:
        UnknownInstance: There is none of this id, or the user may not know that there is.
    """
    found = access.find(request.user, unquote(object_id), payloads=False)
    hides = not access.may(request.user, access.PAYLOAD, found)
    try:
        execution = instances.execution(found, request.GET.get("execution") or None)
        some = _parts(execution.pk, found.status)
        first = next(some)
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
    }
    lines = _lines(shown, chain([first], some), hides=hides)
    response = StreamingHttpResponse(sending.content(request, lines), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{_file_name(execution.pk)}"'
    return response


def _parts(execution_id: UUID, status: str) -> Iterator[list[HistoryItem]]:
    """Yield a history, part by part; one that is empty ends it."""
    names: dict[int, str] = {}
    after, found = 0, None
    while found is None or found:
        found = parts.part(execution_id, status=status, after=after, limit=AT_ONCE, names=names)
        after = found[-1].seq if found else after
        yield found


def _lines(shown: dict[str, Any], some: Iterable[list[HistoryItem]], *, hides: bool) -> Generator[str, None, None]:
    """Yield the JSON, an event on a line; if one cannot be read, it ends there and says so."""
    encode = DjangoJSONEncoder(ensure_ascii=False).encode
    yield f'{encode(shown)[:-1]}, "history": ['
    before, unread = "\n", ""
    try:
        for items in some:
            if items:
                yield before + ",\n".join(encode(_plain(item, hides=hides)) for item in items)
                before = ",\n"
    except (UndecodablePayload, UndecodableEvent) as error:
        unread = f', "unread": {encode(str(redacting.error(error) if hides else error))}'
    yield f"\n]{unread}}}\n"


def _plain(item: HistoryItem, *, hides: bool) -> dict[str, Any]:
    plain = {name: getattr(item, name) for name in ("seq", "kind", "event_id", "name", "recorded_at")}
    return {**plain, "data": None if hides else item.data}


def _file_name(execution_id: UUID) -> str:
    return f"history-{execution_id}.json"
