"""What an instance does, why it does not, and how it differs from another."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers as rest
from rest_framework.exceptions import ValidationError

from durable import client
from durable.api import access, filters
from durable.api.base import FIELDS, View
from durable.api.bodies import LARGEST
from durable.api.plain import described, plain
from durable.client import redacting

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.response import Response

EXECUTION = OpenApiParameter("execution", description="The execution's id; else the current one.")


class Explain(View):
    """Where the code stands."""

    takes: ClassVar[set[str]] = {"at", "execution", "fields"}
    serializer_class = described(client.Explanation, "redacted")

    @extend_schema(
        operation_id="explain",
        parameters=[
            OpenApiParameter("at", int, description="After the event of this `seq`; else the last."),
            EXECUTION,
            FIELDS,
        ],
    )
    def get(self, request: Request, instance_id: str) -> Response:
        """Replay an instance, and say where its code stands or stood: stacks, variables, and what it waits for."""
        found = access.find(request.user, instance_id, payloads=False)
        asked = _At(data=request.query_params)
        filters.refuse_unknown(request, {"format", *self.takes})
        asked.is_valid(raise_exception=True)
        with self.redacting(found) as hides:
            told = client.explain(found.pk, asked.validated_data["at"], request.query_params.get("execution") or None)
        return self.told({**plain(redacting.explanation(told) if hides else told), "redacted": hides})


class _At(rest.Serializer):
    at = rest.IntegerField(min_value=0, max_value=LARGEST, default=None)


class Why(View):
    """Why it does not go on."""

    takes: ClassVar[set[str]] = {"fields"}
    serializer_class = described(client.Why, "redacted")

    @extend_schema(operation_id="why", parameters=[FIELDS])
    def get(self, request: Request, instance_id: str) -> Response:
        """Say what an instance waits for, and whether anybody is there to bring it."""
        found = access.find(request.user, instance_id, payloads=False)
        filters.refuse_unknown(request, {"format", *self.takes})
        with self.redacting(found) as hides:
            why = client.why(found.pk)
        why = redacting.without_children(why, access.visible(request.user, set(why.children)))
        return self.told({**plain(redacting.why(why) if hides else why), "redacted": hides})


class Compare(View):
    """Two executions side by side."""

    takes: ClassVar[set[str]] = {"with", "execution", "other_execution", "fields"}
    serializer_class = described(client.Comparison, "counts", "is_same", "redacted")

    @extend_schema(
        operation_id="compare",
        parameters=[
            OpenApiParameter("with", description="The other instance; else this one, to compare two executions of it."),
            EXECUTION,
            FIELDS,
            OpenApiParameter("other_execution", description="Likewise of the other instance."),
        ],
    )
    def get(self, request: Request, instance_id: str) -> Response:
        """Lay two executions side by side, event by event."""
        filters.refuse_unknown(request, {"format", *self.takes})
        asked = request.query_params
        one = access.find(request.user, instance_id, payloads=False)
        other = access.find(request.user, asked.get("with") or instance_id, payloads=False)
        executions = {name: asked.get(name) or None for name in ("execution", "other_execution")}
        if one.pk == other.pk and executions["execution"] == executions["other_execution"]:
            raise ValidationError({"with": "Name another instance, or two executions."})
        with self.redacting(one), self.redacting(other):
            compared = client.compare(one.pk, other.pk, **executions)
        told = {**plain(compared), "counts": compared.counts, "is_same": compared.is_same, "redacted": False}
        for side, instance in (("a", one), ("b", other)):
            if not access.may(request.user, access.PAYLOAD, instance):
                told["redacted"] = True
                for event in told["events"]:
                    if event[side] is not None:
                        event[side]["data"] = None
        return self.told(told)


class Family(View):
    """Reruns and restarts."""

    takes: ClassVar[set[str]] = {"fields"}
    serializer_class = described(client.Lineage)

    @extend_schema(operation_id="lineage", parameters=[FIELDS])
    def get(self, request: Request, instance_id: str) -> Response:
        """List the reruns and restarts that led to an instance, and those that began with it."""
        found = access.find(request.user, instance_id, payloads=False)
        filters.refuse_unknown(request, {"format", *self.takes})
        told = plain(client.lineage(found.pk))
        seen = access.visible(
            request.user, {each["instance_id"] for side in ("ancestors", "descendants") for each in told[side]}
        )
        for side in ("ancestors", "descendants"):
            told[side] = [each for each in told[side] if each["instance_id"] in seen]
        return self.told(told)
