"""What all views have in common."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import transaction
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent, safe_ref
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers as rest
from rest_framework.exceptions import ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from durable import conf
from durable.api import access, filters, problems, serializers
from durable.api.ids import link
from durable.api.pagination import Pages
from durable.api.parsing import JSON
from durable.client import redacting
from durable.core.errors import DurableError
from durable.models import Instance
from durable.store import instances

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db.models import QuerySet
    from rest_framework.request import Request


class Schema(AutoSchema):
    """Tags everything alike, by names that no other part of a project has, and describes errors."""

    def get_tags(self) -> list[str]:
        return ["durable"]

    def get_serializer_name(self, serializer: Any, direction: Any) -> str:
        return f"Durable{super().get_serializer_name(serializer, direction)}"

    def resolve_serializer(self, serializer: Any, direction: Any, *args: Any, **kwargs: Any) -> Any:
        component = super().resolve_serializer(serializer, direction, *args, **kwargs)
        properties = (component.schema or {}).get("properties", {})
        for name, found in properties.items():
            if found.get("type") == "array":
                found["items"] = self._named(component.name, name, found["items"])
            else:
                properties[name] = self._named(component.name, name, found)
        return component

    def _named(self, owner: str, field: str, found: dict[str, Any]) -> dict[str, Any]:
        """Return a reference to what a field's choices are; else they would share names with those of other apps."""
        if not found.get("enum"):
            return found
        told, mark, meanings = found.get("description", "").partition("* `")
        choices = {"type": found["type"], "enum": found["enum"]} | ({"description": mark + meanings} if mark else {})
        left_out = {*choices, "description", "x-spec-enum-id"}
        rest = {key: value for key, value in found.items() if key not in left_out}
        rest |= {"description": told.strip()} if told.strip() else {}
        called = f"{field.title().replace('_', '')}Enum"
        component: Any = self._component(f"Durable{called}", choices)
        if component in self.registry and self.registry[component].schema != choices:
            component = self._component(f"{owner.removesuffix('Request')}{called}", choices)
        self.registry.register_on_missing(component)
        return safe_ref({**rest, **component.ref})

    @staticmethod
    def _component(name: str, schema: Any) -> ResolvedComponent:
        return ResolvedComponent(name, ResolvedComponent.SCHEMA, schema, name)  # type: ignore[no-untyped-call] # theirs

    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        operation = super().get_operation(*args, **kwargs)
        if operation is not None:
            operation["operationId"] = f"durable_{operation['operationId'].replace('-', '_')}"
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    parameter["description"] = "Its id; `%2F` stands for a slash in it."
            problem = self.resolve_serializer(serializers.Problem, "response").ref
            operation["responses"]["default"] = {
                "description": "It is refused: the `code` says why.",
                "content": {problems.CONTENT_TYPE: {"schema": problem}},
            }
        return operation


class View(GenericAPIView):
    """What all views have in common; authentication is the project's."""

    schema = Schema()
    parser_classes = [JSON]
    renderer_classes = [JSONRenderer]
    permission_classes = [IsAuthenticated]
    throttle_classes = [*APIView.throttle_classes, access.Throttle]
    throttle_scope = "durable-read"
    versioning_class = None
    metadata_class = None  # the schema says more
    cache_control = "no-store"  # they hold payloads, and an ETag is for If-Match: it says nothing of all that is shown
    pagination_class: Any = None
    filter_backends: list[Any] = []
    queryset: Any = Instance.objects.none()
    serializer_class: Any = None
    takes: ClassVar[set[str]] = {"fields"}

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        # The verbs have transactions of their own, and an update waits for what can only happen after one.
        return transaction.non_atomic_requests(using=conf.settings.DATABASE)(super().as_view(**initkwargs))

    @property
    def default_response_headers(self) -> dict[str, str]:
        return {**super().default_response_headers, "Cache-Control": self.cache_control}

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Say by ``Allow`` which methods there are."""
        return Response(status=204)

    def get_exception_handler(self) -> Callable[..., Response | None]:
        return problems.handle

    def get_serializer_context(self) -> dict[str, Any]:
        context = dict(super().get_serializer_context())
        if self.request.method != "GET" or "fields" not in self.request.query_params:
            return context
        only = set(self.request.query_params["fields"].split(","))
        kind: Any = self.get_serializer_class()
        if unknown := only - kind(context={**context, "only": None}).fields.keys():
            raise ValidationError({"fields": f"There is no field {min(unknown)!r}."})
        return {**context, "only": only}

    @contextmanager
    def redacting(self, found: Instance) -> Iterator[bool]:
        """Say whether the user may not see an instance's payloads; errors of the block do not quote them then."""
        hides = not access.may(self.request.user, access.PAYLOAD, found)
        try:
            yield hides
        except DurableError as error:
            raise (redacting.error(error) if hides else error) from None

    def show(self, found: Any, **context: Any) -> Response:
        """Return what was found, as the serializer shows it."""
        filters.refuse_unknown(self.request, {"format", *self.takes})
        many = isinstance(found, list)
        return Response(
            self.get_serializer_class()(found, many=many, context={**self.get_serializer_context(), **context}).data
        )

    def told(self, found: Any) -> Response:
        """Answer with a dict, or a list of such, or with those of its fields that the request names."""
        only = self.get_serializer_context().get("only")
        if only is None:
            return Response(found)
        rows = [
            {name: row[name] for name in row if name in only} for row in (found if isinstance(found, list) else [found])
        ]
        return Response(rows if isinstance(found, list) else rows[0])


FIELDS = OpenApiParameter(
    "fields",
    description="Show only these fields, with commas between; without it, all are there.",
)


class _Part(rest.Serializer):
    limit = rest.IntegerField(default=1000, min_value=1, max_value=1000)
    offset = rest.IntegerField(default=0, min_value=0, max_value=2**31 - 1)


class Short(View):
    """A list that is mostly short: an array, of which a request can ask for a part."""

    takes: ClassVar[set[str]] = {*View.takes, "limit", "offset"}

    def some(self, found: Any) -> Response:
        """Return what the request asks for of what was found, a list or a queryset."""
        asked = _Part(data=self.request.query_params)
        asked.is_valid(raise_exception=True)
        limit, offset = asked.validated_data["limit"], asked.validated_data["offset"]
        return self.show(list(found[offset : offset + limit]))


def shortly(operation_id: str, kind: Any) -> Any:
    """Describe the ``get`` of a list that is mostly short."""
    limit = OpenApiParameter("limit", int, description="So many at most; 1000 if nothing is said.")
    offset = OpenApiParameter("offset", int, description="Behind so many; fewer than the limit are the last.")
    return extend_schema(operation_id=operation_id, parameters=[FIELDS, limit, offset], responses=kind(many=True))


class List(View):
    """A list, page by page.

    Attributes:
        orderings: The fields that it can be ordered by; the first is what it is ordered by if nothing is said,
            and the tie-breaker is the primary key.
    """

    pagination_class = Pages
    filter_backends = [filters.Backend]
    orderings: ClassVar[tuple[str, ...]] = ()
    filters: Any = None

    def get_ordering(self) -> list[str]:
        """Return what the request wants the list to be ordered by.

        Raises:
            ValidationError: It cannot be.
        """
        wanted = self.request.query_params.get("ordering", self.orderings[0])
        known = {each.lstrip("-") for each in self.orderings}
        if wanted.removeprefix("-") not in known:
            raise ValidationError({"ordering": f"Order by one of {', '.join(sorted(known))}."})
        return [wanted] if wanted.endswith("id") else [wanted, "pk"]

    def along(self, field: str) -> list[QuerySet[Any]]:
        """Return among what to look for a page, in the order of a field, if nothing else bounds that."""
        return []

    def page(self, rows: QuerySet[Any], **context: Any) -> Response:
        """Return a page of rows; of instances, without payloads."""
        if rows.model is Instance:
            rows = rows.defer(*instances.PAYLOADS)
        # Those that have no such time are in no place; open instances have not closed.
        field = self.get_ordering()[0].removeprefix("-")
        if field in ("closed_at", "started_at"):
            rows = rows.filter(**{f"{field}__isnull": False})
        found = self.paginate_queryset(self.filter_queryset(rows)) or []
        shown = self.get_serializer_class()(found, many=True, context={**self.get_serializer_context(), **context})
        return self.get_paginated_response(shown.data)


def listing(operation_id: str, kind: Any, orderings: tuple[str, ...]) -> Any:
    """Describe the ``get`` of a list, which has pages, filters and orders."""
    fields = sorted(each.removeprefix("-") for each in orderings)
    described = f"`-` before the field: the greatest first. It is `{orderings[0]}` if nothing is said."
    ordering = OpenApiParameter(
        "ordering", enum=[f"{way}{each}" for each in fields for way in ("", "-")], description=described
    )
    return extend_schema(operation_id=operation_id, parameters=[ordering, FIELDS], responses=kind(many=True))


def header(name: str, description: str, *statuses: int) -> OpenApiParameter:
    """Describe a header of answers that have one of these statuses."""
    # A list: a tuple is taken for all statuses.
    return OpenApiParameter(
        name, location=OpenApiParameter.HEADER, response=list(statuses), required=False, description=description
    )


LOCATION = header("Location", "Where the new one is.", 201)
ETAG = header("ETag", "How the instance is, for `If-Match`.", 200)
ETAG_OF_NEW = header("ETag", "How the new instance is, for `If-Match`.", 201)

OF_INSTANCES = ("-created_at", "id", "started_at", "closed_at")


def etag(found: Instance) -> str:
    """Return what an instance's history is known by: its execution, and how many events that has."""
    return f'"{found.execution_id.hex}-{found.head}"'


def located(request: Request, found: Instance) -> dict[str, str]:
    """Return the headers that say where an instance is, and how it is."""
    return {"Location": link(request, "instance", instance_id=found.pk), "ETag": etag(found)}
