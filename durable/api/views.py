"""What can be read."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import transaction
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers as rest
from rest_framework.exceptions import ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from durable import client, conf, registry
from durable.api import access, filters, problems, serializers
from durable.api.ids import link
from durable.api.pagination import Pages
from durable.api.parsing import JSON
from durable.models import Execution, Instance, Operation, Status
from durable.store import instances, workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db.models import QuerySet
    from rest_framework.request import Request

    from durable.core.definitions import ActivityDefinition, WorkflowDefinition


class Schema(AutoSchema):
    """Tags everything alike."""

    def get_tags(self) -> list[str]:
        return ["durable"]


class View(GenericAPIView):
    """What all views have in common; authentication is the project's."""

    schema = Schema()
    parser_classes = [JSON]
    renderer_classes = [JSONRenderer]
    permission_classes = [IsAuthenticated]
    throttle_classes = [*APIView.throttle_classes, access.Throttle]
    throttle_scope = "durable-read"
    versioning_class = None
    pagination_class: Any = None
    filter_backends: list[Any] = []
    queryset: Any = Instance.objects.none()
    serializer_class: Any = None
    takes: ClassVar[set[str]] = {"fields"}

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        # Refusals are audited, so they must not be rolled back with the request; the verbs have transactions of theirs.
        return transaction.non_atomic_requests(super().as_view(**initkwargs))

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

    def show(self, found: Any, **context: Any) -> Response:
        """Return what was found, as the serializer shows it."""
        filters.refuse_unknown(self.request, {"format", *self.takes})
        many = isinstance(found, list)
        return Response(
            self.get_serializer_class()(found, many=many, context={**self.get_serializer_context(), **context}).data
        )


ORDERING = OpenApiParameter("ordering", description="`-` before the field: the greatest first.")
FIELDS = OpenApiParameter("fields", description="Show only these fields, with commas between.")


class List(View):
    """A list, page by page.

    Attributes:
        orderings: The fields that it can be ordered by; the first is what it is ordered by if nothing is said,
            and the tie-breaker is the primary key.
    """

    pagination_class = Pages
    filter_backends = [filters.Backend]
    orderings: ClassVar[tuple[str, ...]] = ()

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

    def page(self, rows: QuerySet[Any], **context: Any) -> Response:
        """Return a page of rows."""
        # Those that have no such time are in no place; open instances have not closed.
        field = self.get_ordering()[0].removeprefix("-")
        if field in ("closed_at", "started_at"):
            rows = rows.filter(**{f"{field}__isnull": False})
        found = self.paginate_queryset(self.filter_queryset(rows)) or []
        if "keep" in context:
            found = list(filter(context.pop("keep"), found))
        shown = self.get_serializer_class()(found, many=True, context={**self.get_serializer_context(), **context})
        return self.get_paginated_response(shown.data)


_OF_INSTANCES = ("-created_at", "id", "started_at", "closed_at")


class Children(List):
    """The instances that an instance started."""

    filterset_class = filters.Instances
    serializer_class = serializers.InstanceSummary
    orderings = _OF_INSTANCES

    @extend_schema(operation_id="instance_children", parameters=[ORDERING, FIELDS])
    def get(self, request: Request, instance_id: str) -> Response:
        """List the children of an instance."""
        parent = access.find(request.user, instance_id)
        rows = instances.rows().filter(parent=parent).defer(*instances.PAYLOADS)
        return self.page(rows, keep=lambda child: access.may(request.user, access.VIEW, child))


class Executions(List):
    """The executions of an instance, each with a history of its own."""

    serializer_class = serializers.ExecutionSerializer
    orderings = ("-number",)
    queryset = Execution.objects.none()

    @extend_schema(operation_id="instance_executions", parameters=[ORDERING, FIELDS])
    def get(self, request: Request, instance_id: str) -> Response:
        """List the executions of an instance."""
        found = access.find(request.user, instance_id)
        return self.page(instances.executions().filter(instance=found))


class History(View):
    """The history of an execution."""

    serializer_class = serializers.HistoryItemSerializer
    takes = {"fields", "execution", "kind", "after", "limit"}

    @extend_schema(
        operation_id="instance_history",
        parameters=[
            FIELDS,
            OpenApiParameter("execution", description="The execution's id; else the current one."),
            OpenApiParameter("kind", many=True, description="Only events of these kinds."),
            OpenApiParameter("after", int, description="Only events behind this `seq`."),
            OpenApiParameter("limit", int, description="So many at most; 1000 if nothing is said."),
        ],
        responses=serializers.HistoryPage,
    )
    def get(self, request: Request, instance_id: str) -> Response:
        """List the events of an execution, oldest first."""
        found = access.find(request.user, instance_id)
        asked = Asked(data=request.query_params)
        asked.is_valid(raise_exception=True)
        after, limit = asked.validated_data["after"], asked.validated_data["limit"]
        kinds = set(request.query_params.getlist("kind"))
        items = [
            item
            for item in client.history(found.pk, request.query_params.get("execution") or None)
            if item.seq > after and (not kinds or item.kind in kinds)
        ]
        shown = self.show(items[:limit], instance=found).data
        return Response({"next": self._next(items[limit - 1].seq) if len(items) > limit else None, "results": shown})

    def _next(self, seq: int) -> str:
        query = self.request.query_params.copy()
        query["after"] = str(seq)
        return f"{self.request.build_absolute_uri(self.request.path)}?{query.urlencode()}"


class Asked(rest.Serializer):
    """What part of a history is asked for."""

    after = rest.IntegerField(default=0, min_value=0, max_value=2**31 - 1)
    limit = rest.IntegerField(default=1000, min_value=1, max_value=10_000)


class Versions(View):
    """Which versions are in use."""

    serializer_class = serializers.VersionUseSerializer

    @extend_schema(operation_id="versions", parameters=[FIELDS], responses=serializers.VersionUseSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the versions of workflows that are registered or in use."""
        access.require_view(request.user)
        return self.show(client.versions())


class Definitions(View):
    """What this process can run."""

    serializer_class = serializers.DefinitionSerializer

    @extend_schema(
        operation_id="definitions", parameters=[FIELDS], responses=serializers.DefinitionSerializer(many=True)
    )
    def get(self, request: Request) -> Response:
        """List the workflows and activities that this process knows, with their parameters."""
        access.require_view(request.user)
        found = [_defined("workflow", each) for each in registry.workflows()]
        found += [_defined("activity", each) for each in registry.activities()]
        return self.show(sorted(found, key=lambda each: (each["kind"], each["name"], each["version"] or 0)))


def _defined(kind: str, definition: WorkflowDefinition | ActivityDefinition) -> dict[str, Any]:
    shape = inspect.signature(definition.fn)
    version = getattr(definition, "version", None)
    return {
        "kind": kind,
        "name": definition.name,
        "version": version,
        "type": getattr(definition, "type_name", definition.name),
        "doc": inspect.getdoc(definition.fn) or "",
        "queue": definition.queue,
        "parameters": [
            {"name": each.name, "annotation": _written(each.annotation), "required": _is_required(each)}
            for each in shape.parameters.values()
        ],
        "returns": _written(shape.return_annotation),
    }


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_POSITIONAL,
        parameter.VAR_KEYWORD,
    )


def _written(annotation: Any) -> str:
    if annotation is inspect.Signature.empty:
        return ""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


class Workers(View):
    """The processes that work."""

    serializer_class = serializers.WorkerSerializer

    @extend_schema(operation_id="workers", parameters=[FIELDS], responses=serializers.WorkerSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the processes that work, or look for due work."""
        access.require_view(request.user)
        return self.show(list(workers.rows()), alive=_alive())


def _alive() -> set[str]:
    return set(workers.alive().values_list("pk", flat=True)) | set(workers.sweeping().values_list("pk", flat=True))


class Audit(List):
    """Who did what."""

    filterset_class = filters.Operations
    serializer_class = serializers.OperationSerializer
    orderings = ("-at",)
    queryset = Operation.objects.none()

    @extend_schema(operation_id="audit", parameters=[ORDERING, FIELDS])
    def get(self, request: Request) -> Response:
        """List what was done to instances, and what was tried."""
        rows = Operation.objects.using(conf.settings.DATABASE)
        if not access.may(request.user, access.VIEW) and (instance_id := request.query_params.get("instance")):
            access.find(request.user, instance_id)
        else:
            access.require_view(request.user)
        return self.page(rows)


class Health(View):
    """Whether workflows go on."""

    serializer_class = serializers.Health
    takes: ClassVar[set[str]] = set()

    @extend_schema(operation_id="health")
    def get(self, request: Request) -> Response:
        """Say whether there are workers, whether somebody looks for due work, and how many instances are stalled."""
        access.require_view(request.user)
        alive, sweeping = len(_alive()), workers.sweeping().count()
        stalled = instances.rows().filter(status=Status.STALLED).count()
        found = list(_problems(alive=alive, sweeping=sweeping, stalled=stalled))
        told = {"workers": alive, "sweeping": sweeping, "stalled": stalled}
        return self.show({"healthy": not found, "problems": found, **told})


def _problems(*, alive: int, sweeping: int, stalled: int) -> Iterator[str]:
    if not alive:
        yield "No worker has shown a sign of life lately: start one."
    elif not sweeping:
        yield "No worker looks for due work: timers do not fire, and lost messages are not repaired."
    if stalled:
        yield f"{stalled:,} instances are stalled: their pages say why."


def etag(found: Instance) -> str:
    """Return what an instance's history is known by: its execution, and how many events that has."""
    return f'"{found.execution_id.hex}-{found.head}"'


def located(request: Request, found: Instance) -> dict[str, str]:
    """Return the headers that say where an instance is, and how it is."""
    return {"Location": link(request, "instance", instance_id=found.pk), "ETag": etag(found)}
