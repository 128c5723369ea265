"""What can be read of all instances together, and of those who run them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from durable import client, conf, registry
from durable.api import access, base, filters, serializers
from durable.models import Operation, Status
from durable.store import instances, workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import QuerySet
    from rest_framework.request import Request

    from durable.core.definitions import ActivityDefinition, WorkflowDefinition


class Versions(base.Short):
    """Which versions are in use."""

    serializer_class = serializers.VersionUseSerializer

    @base.shortly("versions", serializers.VersionUseSerializer)
    def get(self, request: Request) -> Response:
        """List the versions of workflows that are registered or in use."""
        access.require_view(request.user)
        return self.some(client.versions())


class Definitions(base.Short):
    """What this process can run."""

    serializer_class = serializers.DefinitionSerializer

    @base.shortly("definitions", serializers.DefinitionSerializer)
    def get(self, request: Request) -> Response:
        """List the workflows and activities that this process knows, with their parameters."""
        access.require_view(request.user)
        found = [_defined("workflow", each) for each in registry.workflows()]
        found += [_defined("activity", each) for each in registry.activities()]
        return self.some(sorted(found, key=lambda each: (each["kind"], each["name"], each["version"] or 0)))


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


class Workers(base.Short):
    """The processes that work."""

    serializer_class = serializers.WorkerSerializer

    @base.shortly("workers", serializers.WorkerSerializer)
    def get(self, request: Request) -> Response:
        """List the processes that work, or look for due work, and after them those that fell silent lately."""
        access.require_view(request.user)
        return self.some(workers.listed())


def _operations() -> QuerySet[Operation]:
    return Operation.objects.using(conf.settings.DATABASE).order_by()


class Audit(base.List):
    """Who did what."""

    filterset_class = filters.Operations
    serializer_class = serializers.OperationSerializer
    orderings = ("-at",)
    queryset = Operation.objects.none()

    def along(self, field: str) -> list[QuerySet[Any]]:
        return list(self.filters.along(_operations()))

    @base.listing("audit", serializers.OperationSerializer, orderings)
    def get(self, request: Request) -> Response:
        """List what was done to instances, and what was tried."""
        rows = _operations()
        if not access.may(request.user, access.VIEW) and (instance_id := request.query_params.get("instance")):
            # The filter does not take an id so exactly.
            rows = rows.filter(instance_id=access.find(request.user, instance_id, payloads=False).pk)
        else:
            access.require_view(request.user)
        return self.page(rows)


class Health(base.View):
    """Whether workflows go on."""

    serializer_class = serializers.Health

    @extend_schema(operation_id="health", parameters=[base.FIELDS])
    def get(self, request: Request) -> Response:
        """Say whether there are workers, whether somebody looks for due work, and how many instances are stalled."""
        access.require_view(request.user)
        alive, sweeping = workers.living().count(), workers.sweeping().count()
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
