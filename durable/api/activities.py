"""Activities that somebody outside completes, by the token that they were given."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers as rest
from rest_framework.response import Response

from durable import client
from durable.api import access, bodies, serializers
from durable.api.base import ETAG
from durable.api.instances import DRY_RUN, INSTANCE_OR_PREVIEW, KEY, Acting, tried
from durable.client import operate
from durable.core.errors import UnknownInstance, UnknownToken

if TYPE_CHECKING:
    from rest_framework.request import Request

_TOKEN = "0198f0c4-7e1a-7c3e-9f55-0d8f4f0f3f1b:2:1:77:5f3c0b7be1a94f0c8d2e6a1f7b3c9d04"  # noqa: S105 - an example


class Token(bodies.Reason):
    """An activity that called ``complete_later``."""

    token = rest.CharField(max_length=200, help_text="What `activity.complete_later()` returned.")


@bodies.example({"token": _TOKEN, "result": "approved"})
class Completion(Token):
    """An activity's result."""

    result = serializers.JSON(allow_null=True, default=None)


@bodies.example({"token": _TOKEN, "error": "the bank has no such account"})
class Failing(Token):
    """An activity's failure."""

    error = rest.CharField(max_length=10_000, help_text="What went wrong.")


class _Ending(Acting):
    throttle_scope = "durable-write"
    verb: ClassVar[str]
    kind: ClassVar[type[Token]]
    does: ClassVar[Callable[..., None]]

    def _end(self) -> Response:
        data, user = self.body(self.kind), self.request.user
        reason = data.pop("reason")
        found = operate.instance_of(data["token"])
        try:
            access.find_for(user, found, access.OPERATE, verb=self.verb, reason=reason, dry_run=self.dry_run)
        except UnknownInstance:
            raise UnknownToken(data["token"]) from None
        call = partial(self.does, **data, reason=reason, actor=user)
        if self.dry_run:
            return Response(tried(self.verb, found, call))
        call()
        return self.detail(client.instance(found))


class Complete(_Ending):
    """Its result."""

    verb, kind = "complete", Completion
    does = staticmethod(client.complete_activity)

    @extend_schema(
        operation_id="complete_activity",
        request=Completion,
        parameters=[KEY, DRY_RUN, ETAG],
        responses=INSTANCE_OR_PREVIEW,
    )
    def post(self, request: Request) -> Response:
        """Complete an activity that called `complete_later`, and answer with its instance."""
        return self.acting(self._end)


class Fail(_Ending):
    """Its failure."""

    verb, kind = "fail", Failing
    does = staticmethod(client.fail_activity)

    @extend_schema(
        operation_id="fail_activity", request=Failing, parameters=[KEY, DRY_RUN, ETAG], responses=INSTANCE_OR_PREVIEW
    )
    def post(self, request: Request) -> Response:
        """Fail an activity that called `complete_later`, and answer with its instance; its policy may retry it."""
        return self.acting(self._end)
