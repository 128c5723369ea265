"""One instance as server-sent events: what is recorded, and how it is, as soon as it is known."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from django.http import HttpResponse, StreamingHttpResponse
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers as rest
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from durable import conf
from durable.api import access, base, filters, problems, serializers
from durable.client import redacting, sending
from durable.client.following import Following, Look, Place, State
from durable.core.errors import DurableError
from durable.store import instances

if TYPE_CHECKING:
    from django.http.response import HttpResponseBase
    from rest_framework.request import Request

    from durable.client.sending import Beat
    from durable.models import Instance

LASTS = 25
"""How many seconds an answer lasts if nothing is said; many servers give a silent worker up after 30."""

_FIRST, _SLOWER, _SLOWEST = 0.1, 1.5, 2.0
_SILENCE = 10.0
"""After how many seconds without anything a comment is sent, so that nobody between takes the connection for dead."""

_RETRY = 1000
"""After how many milliseconds a browser asks again."""


class EventStream(JSONRenderer):
    """Says that a view answers with server-sent events; errors are JSON."""

    media_type = "text/event-stream"
    format = "events"


class SentEvent(rest.Serializer):
    """An event of the stream."""

    id = rest.CharField(required=False, help_text="Of an event of the history: what `Last-Event-ID` takes.")
    event = rest.ChoiceField(["history", "instance", "problem", "end"], required=False)
    data = rest.CharField(required=False, help_text="JSON.")  # type: ignore[assignment]
    retry = rest.IntegerField(required=False, help_text="After how many milliseconds to ask again.")


class StateSerializer(rest.Serializer):
    """How an instance is."""

    status = rest.CharField()
    version = rest.IntegerField()
    execution = rest.UUIDField()
    head = rest.IntegerField()
    progress = serializers.JSON(allow_null=True)
    closed_at = rest.DateTimeField(allow_null=True)


class _Asked(rest.Serializer):
    after = rest.IntegerField(default=0, min_value=0, max_value=2**31 - 1)
    timeout = rest.FloatField(required=False, min_value=0)

    def validate_timeout(self, value: float) -> float:
        if not value <= conf.limit("stream"):  # written so for what is no number
            raise rest.ValidationError(f"At most {conf.limit('stream')} seconds.")
        return value


_EXAMPLE = {
    "id": "0198f0c47e1a7c3e9f550d8f4f0f3f1b-7",
    "event": "history",
    "data": '{"seq":7,"kind":"ActivityCompleted","event_id":1,"name":"charge","data":{"result":"receipt"}}',
}


class Events(base.View):
    """What happens to one instance."""

    serializer_class = serializers.HistoryItemSerializer
    renderer_classes = [EventStream]
    throttle_scope = "durable-stream"
    cache_control = "no-store, no-transform"
    takes: ClassVar[set[str]] = {"fields", "after", "timeout"}

    @extend_schema(
        operation_id="instance_events",
        parameters=[
            base.FIELDS,
            OpenApiParameter("after", int, description="Only events behind this `seq`."),
            OpenApiParameter("timeout", float, description=f"For how many seconds; {LASTS} if nothing is said."),
            OpenApiParameter(
                "Last-Event-ID",
                location=OpenApiParameter.HEADER,
                description="The `id` that was received last, or an ETag: goes on behind that, in place of `after`.",
            ),
        ],
        responses={
            (200, "text/event-stream"): OpenApiResponse(
                SentEvent,
                "Server-sent events, each of which is such.",
                examples=[OpenApiExample("Example", _EXAMPLE)],
            ),
            204: OpenApiResponse(None, "The instance is closed, and all of it is known: do not ask again."),
        },
    )
    def get(self, request: Request, instance_id: str) -> HttpResponseBase:
        """Send what is recorded of an instance, and how it is, until it is closed or the time is up."""
        found = access.find(request.user, instance_id, payloads=False)
        filters.refuse_unknown(request, {"format", *self.takes})
        asked = _Asked(data=request.query_params)
        asked.is_valid(raise_exception=True)
        following = Following(found.pk, self._place(found, asked.validated_data["after"]))
        if request.method == "HEAD":
            return self._headed(HttpResponse(content_type=EventStream.media_type))
        with self.redacting(found) as hides:
            first = following.look()
        if first.is_last and not first.events and "Last-Event-ID" in request.headers:
            return Response(status=204)
        lasts = asked.validated_data.get("timeout", min(LASTS, conf.limit("stream")))
        sent = beats(following, first, self._told(found), until=time.monotonic() + lasts, hides=hides)
        content = sending.content(request._request, sent)
        return self._headed(StreamingHttpResponse(content, content_type=EventStream.media_type))

    def _place(self, found: Instance, after: int) -> Place:
        told = self.request.headers.get("Last-Event-ID")
        if not told:
            return Place(execution_id=found.execution_id, seq=after)
        place = Place.read(told)
        if place is None:
            raise ValidationError({"Last-Event-ID": "It is no id of an event that was sent."})
        instances.execution(found, place.execution_id)
        return place

    def _headed(self, response: HttpResponseBase) -> HttpResponseBase:
        # Nobody may change it, or hold it back until there is more.
        response["X-Accel-Buffering"] = "no"
        response["Content-Encoding"] = "identity"  # or Django's GZipMiddleware would
        return response

    def _told(self, found: Instance) -> Callable[[Look], Iterator[str]]:
        """Return what makes texts of what a look found; who may see what is settled now, and costs nothing later."""
        shows = access.may(self.request.user, access.PAYLOAD, found)
        shown = self.get_serializer_class()(context={**self.get_serializer_context(), "shows": shows})

        def tell(look: Look) -> Iterator[str]:
            for place, item in look.events:
                yield _event("history", shown.to_representation(item), id=place)

        return tell


def beats(
    following: Following,
    look: Look,
    tell: Callable[[Look], Iterator[str]],
    *,
    until: float,
    hides: bool = False,
    now: Callable[[], float] = time.monotonic,
) -> Generator[Beat, None, None]:
    """Yield what is to be sent, and how long to wait before the next look.

    Args:
        following: Looks.
        look: What it found first.
        tell: Makes texts of what a look found.
        until: When to end, by ``now``.
        hides: Whether errors may not quote payloads.
        now: The clock.
    """
    yield f"retry: {_RETRY}\n\n"
    told: State | None = None
    pause, spoke_at = _FIRST, now()
    while True:
        sent = [*tell(look)]
        if look.caught_up and look.state is not None and look.state != told:
            told = look.state
            sent.append(_event("instance", StateSerializer(asdict(told)).data))
        yield from sent
        if look.is_last:
            yield _event("end", {"why": "gone" if look.state is None else "closed"})
            return
        if sent:
            pause, spoke_at = _FIRST, now()
        elif now() - spoke_at >= _SILENCE:
            yield ":\n\n"
            spoke_at = now()
        if now() >= until:
            return  # whoever still listens asks again
        if look.caught_up:
            yield max(0.0, min(pause, until - now()))
            pause = min(pause * _SLOWER, _SLOWEST)
        try:
            look = following.look()
        except DurableError as error:
            yield _event("problem", problems.told(redacting.error(error) if hides else error))
            return


def _event(name: str, data: Any, *, id: Place | None = None) -> str:
    head = "" if id is None else f"id: {id}\n"
    return f"{head}event: {name}\ndata: {JSONRenderer().render(data).decode()}\n\n"
