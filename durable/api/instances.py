"""Instances, and the verbs on them."""

from __future__ import annotations

import hashlib
import uuid
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.db import transaction
from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema, extend_schema_view
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.response import Response

from durable import client, conf
from durable.api import access, bodies, filters, once, problems, serializers, verbs
from durable.api.base import ETAG, ETAG_OF_NEW, FIELDS, LOCATION, OF_INSTANCES, List, View, etag, listing, located
from durable.api.plain import described, plain
from durable.client import redacting
from durable.core.errors import ConcurrencyConflict, DurableError, UpdateTimeout
from durable.operations import audit
from durable.store import instances

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import QuerySet
    from django.http.response import HttpResponseBase
    from rest_framework.request import Request
    from rest_framework.serializers import BaseSerializer

    from durable.models import Instance

_ID = "instance_id"

_CAUGHT = (DurableError, APIException, Http404, DjangoPermissionDenied)

KEY = OpenApiParameter(
    "Idempotency-Key",
    location=OpenApiParameter.HEADER,
    description="The same request with the same key gets the first answer, and nothing is done again.",
)
IF_MATCH = OpenApiParameter(
    "If-Match",
    location=OpenApiParameter.HEADER,
    description="The instance's ETag: if it has moved on, nothing is done, and the answer is 409 with the new one.",
)
DRY_RUN = OpenApiParameter("dry_run", OpenApiTypes.BOOL, description="Answer what would be done, and do nothing.")


class Acting(View):
    """What has in common whatever changes something."""

    def acting(self, work: Callable[[], Response], *, outside: bool = False) -> Response:
        """Do the work in a transaction, once for each ``Idempotency-Key``; errors are answers, too.

        A refusal does not roll the transaction back, which holds its row in the audit.
        """
        answered = partial(self._answered, work)
        key = once.key_of(self.request)
        if key:
            return (once.known if outside else once.answer)(self.request, key, answered, about=self.kwargs.get(_ID))
        with nullcontext() if outside else transaction.atomic(using=conf.settings.DATABASE):
            return answered()

    def _answered(self, work: Callable[[], Response]) -> Response:
        try:
            return work()
        except _CAUGHT as error:
            response: Response = self.handle_exception(error)
            return response

    def body(self, kind: type[bodies.Body]) -> dict[str, Any]:
        """Return what the request brings, checked."""
        filters.refuse_unknown(self.request, {"dry_run", "format"})
        given = kind(data=self.request.data)
        given.is_valid(raise_exception=True)
        return dict(given.validated_data)

    @property
    def dry_run(self) -> bool:
        """Whether the request wants to look only."""
        told = self.request.query_params.get("dry_run", "false").lower()
        if told not in ("true", "false", "1", "0"):
            raise ValidationError({"dry_run": "Write true or false."})
        return told in ("true", "1")

    def detail(self, found: Instance, status: int = 200) -> Response:
        """Answer with an instance."""
        shown = serializers.InstanceDetail(found, context={"request": self.request})
        return Response(shown.data, status=status, headers=located(self.request, found))


class Instances(Acting, List):
    """All instances."""

    filterset_class = filters.Instances
    serializer_class = serializers.InstanceSummary
    orderings = OF_INSTANCES

    def get_throttles(self) -> Any:
        self.throttle_scope = scope(self.request)
        return super().get_throttles()

    def along(self, field: str) -> list[QuerySet[Any]]:
        # A cursor may name the place where a page stopped to look: it has to be that of a row that the user may see.
        return [access.listed(self.request.user, part) for part in self.filters.along(field)]

    @listing("instances", serializers.InstanceSummary, OF_INSTANCES)
    def get(self, request: Request) -> Response:
        """List instances, the newest first."""
        return self.page(access.listed(request.user, instances.rows()))

    @extend_schema(
        operation_id="start",
        request=bodies.Start,
        parameters=[KEY, DRY_RUN, LOCATION, ETAG_OF_NEW],
        responses={201: serializers.InstanceDetail, 200: serializers.PreviewSerializer},
    )
    def post(self, request: Request) -> Response:
        """Start an instance of a workflow."""
        return self.acting(self._start)

    def _start(self) -> Response:
        data, user = self.body(bodies.Start), self.request.user
        if not (access.may(user, access.VIEW) and access.may(user, access.OPERATE)):
            access.deny(user, data.get("id", ""), verb="start", reason=data["reason"], dry_run=self.dry_run)
        if self.dry_run:
            return Response(tried("start", data.get("id", ""), partial(verbs.start, data, actor=user)))
        return self.detail(verbs.start(data, actor=user).instance, 201)


def scope(request: Any) -> str:
    return "durable-read" if request.method in ("GET", "HEAD", "OPTIONS") else "durable-write"


class One(View):
    """One instance."""

    serializer_class = serializers.InstanceDetail

    @extend_schema(operation_id="instance", parameters=[FIELDS, ETAG])
    def get(self, request: Request, instance_id: str) -> Response:
        """Show an instance; its ETag is for ``If-Match``."""
        found = access.find(request.user, instance_id)
        response = self.show(found)
        response.headers["ETag"] = etag(found)
        return response


class Doing(Acting):
    """A verb on one instance.

    Attributes:
        verb: Which.
    """

    verb: ClassVar[verbs.Verb]
    throttle_scope = "durable-write"

    def post(self, request: Request, instance_id: str) -> HttpResponseBase:
        return self.acting(partial(self._do, instance_id), outside=self.verb.outside)

    def _do(self, instance_id: str) -> Response:
        user, verb = self.request.user, self.verb
        data, dry_run = self.body(verb.body), self.dry_run
        tried = {"verb": verb.name, "reason": data.get("reason", ""), "dry_run": dry_run}
        found = access.find_for(user, instance_id, verb.permission, **tried)
        if data.get("terminate_first"):
            access.find_for(user, instance_id, access.DESTROY, **tried)
        replaces = data.get("id_reuse") == "replace_closed"
        access.check_new(user, found, data.get("new_instance_id"), replaces=replaces, **tried)
        self._match(found)
        hides = verb.quotes and not access.may(user, access.PAYLOAD, found)
        try:
            return self._answer(found, data, dry_run=dry_run, hides=hides)
        except ConcurrencyConflict:
            now = instances.get(found.pk, payloads=False)
            raise problems.StaleHead(etag(now), now.head) from None
        except DurableError as error:
            raise (redacting.error(error) if hides else error) from None
        except problems.QueryFailed as error:
            raise (problems.QueryFailed(error.name, audit.HIDDEN) if hides else error) from None

    def _match(self, found: Instance) -> None:
        wanted = self.request.headers.get("If-Match")
        if wanted is None or wanted.strip() == "*":
            return
        # Locked until the transaction ends, so that nobody else moves it on between.
        now = found if self.verb.outside else instances.lock(found.pk)
        if etag(now) not in [each.strip().removeprefix("W/") for each in wanted.split(",")]:
            raise problems.StaleHead(etag(now), now.head)

    def _answer(self, found: Instance, data: dict[str, Any], *, dry_run: bool, hides: bool) -> Response:
        verb, user = self.verb, self.request.user
        if verb.name == "update":
            data.setdefault("update_id", self._update_id())
        call = partial(verb.call, found.pk, data, actor=user)
        if dry_run and not verb.previews:
            if verb.answers in ("value", "imagined"):
                raise ValidationError({"dry_run": f"A {verb.name} cannot be tried without doing it."})
            return Response(tried(verb.name, found.pk, call))
        done = call(dry_run=True) if dry_run else call()
        if isinstance(done, UpdateTimeout):
            return Response({"update_id": done.update_id, "state": done.state}, status=202)
        if isinstance(done, client.Preview):
            return Response(_preview(done, hides=hides))
        return self._told(found, done, hides=hides)

    def _told(self, found: Instance, done: Any, *, hides: bool) -> Response:
        match self.verb.answers:
            case "value":
                return Response({"value": None if hides else done, "redacted": hides})
            case "outcome":
                return Response(done.to_json(), headers=located(self.request, client.instance(done.instance_id)))
            case "new":
                return self.detail(done.instance, 201)
            case "imagined":
                return Response(_imagined(done, hides=hides))
            case "purged":
                return Response(done.to_json())
            case _:
                return self.detail(client.instance(found.pk))

    def _update_id(self) -> str:
        """Return what to call the request: the same for the same ``Idempotency-Key`` of the same user."""
        key = once.key_of(self.request)
        if not key:
            return str(uuid.uuid4())
        return hashlib.sha256(f"{audit.key_of(self.request.user)}:{key}".encode()).hexdigest()


def _preview(found: client.Preview, *, hides: bool) -> dict[str, Any]:
    if hides and found.refusal is not None:
        found = replace(found, refusal=redacting.error(found.refusal))
    return found.to_json()


def tried(verb: str, instance_id: str, call: Callable[[], Any]) -> dict[str, Any]:
    """Do a verb that has no preview and undo it; say whether it was refused."""
    refusal = None
    try:
        with transaction.atomic(using=conf.settings.DATABASE):
            call()
            transaction.set_rollback(True, using=conf.settings.DATABASE)
    except DurableError as error:
        refusal = error
    return client.Preview(verb=verb, instance_id=instance_id, allowed=refusal is None, refusal=refusal).to_json()


def _imagined(found: client.WhatIf, *, hides: bool) -> dict[str, Any]:
    told = {**plain(found), "redacted": hides}
    if hides:
        told |= {"result": None, "failure": None, "stopped": told["stopped"] and audit.HIDDEN}
        compared = told["comparison"]["events"]
        for event in (*told["history"], *(event[side] for event in compared for side in "ab" if event[side])):
            event["data"] = None
    return told


def _or_preview(name: str, kind: type[BaseSerializer]) -> PolymorphicProxySerializer:
    """Describe an answer that is a preview if the request is a dry run."""
    kinds: list[Any] = [kind, serializers.PreviewSerializer]
    return PolymorphicProxySerializer(component_name=f"Durable{name}", serializers=kinds, resource_type_field_name=None)


INSTANCE_OR_PREVIEW = _or_preview("InstanceOrPreview", serializers.InstanceDetail)

_HEADERS = {"instance": (ETAG,), "outcome": (ETAG,), "new": (LOCATION, ETAG_OF_NEW)}

_ANSWERS: dict[str, Any] = {
    "instance": {200: INSTANCE_OR_PREVIEW},
    "new": {201: serializers.InstanceDetail, 200: serializers.PreviewSerializer},
    "outcome": {200: _or_preview("OutcomeOrPreview", serializers.OutcomeSerializer)},
    "value": {200: serializers.Value},
    "imagined": {200: described(client.WhatIf, "redacted")},
    "purged": {200: _or_preview("PurgedOrPreview", described(client.Purged))},
}


def doing(verb: verbs.Verb) -> type[Doing]:
    """Return the view of a verb."""
    answers = dict(_ANSWERS[verb.answers])
    if verb.outside:
        answers[202] = serializers.Accepted
    described = extend_schema(
        operation_id=verb.name,
        description=f"Needs `durable.{verb.permission}`.",
        request=verb.body,
        parameters=[
            *(KEY, IF_MATCH),
            *([] if verb.answers in ("value", "imagined") else [DRY_RUN]),
            *_HEADERS.get(verb.answers, ()),
        ],
        responses=answers,
    )
    view: type[Doing] = type(f"{verb.name.title()}View", (Doing,), {"verb": verb, "__doc__": verb.body.__doc__})
    return extend_schema_view(post=described)(view)
