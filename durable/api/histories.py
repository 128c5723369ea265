"""What belongs to one instance: its executions and their histories, its children, its open work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers as rest
from rest_framework.response import Response

from durable.api import access, base, filters, serializers
from durable.client import open_work, parts
from durable.core.errors import UndecodablePayload
from durable.models import ActivityTask, Execution
from durable.store import instances, tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rest_framework.request import Request

    from durable.client.open_work import OpenWork
    from durable.models import Instance


class Children(base.List):
    """The instances that an instance started."""

    filterset_class = filters.Instances
    serializer_class = serializers.InstanceSummary
    orderings = base.OF_INSTANCES

    @base.listing("instance_children", serializers.InstanceSummary, orderings)
    def get(self, request: Request, instance_id: str) -> Response:
        """List the children of an instance."""
        parent = access.find(request.user, instance_id, payloads=False)
        return self.page(access.related(request.user, instances.rows().filter(parent=parent)))


class Executions(base.List):
    """The executions of an instance, each with a history of its own."""

    serializer_class = serializers.ExecutionSerializer
    orderings = ("-number",)
    queryset = Execution.objects.none()

    @base.listing("instance_executions", serializers.ExecutionSerializer, orderings)
    def get(self, request: Request, instance_id: str) -> Response:
        """List the executions of an instance."""
        found = access.find(request.user, instance_id, payloads=False)
        return self.page(instances.executions().filter(instance=found))


class _Asked(rest.Serializer):
    after = rest.IntegerField(default=0, min_value=0, max_value=2**31 - 1)
    limit = rest.IntegerField(default=1000, min_value=1, max_value=10_000)


_PART = (
    base.FIELDS,
    OpenApiParameter("execution", description="The execution's id; else the current one."),
    OpenApiParameter("limit", int, description="So many at most; 1000 if nothing is said."),
)


class Part(base.View):
    """A part of something that is numbered."""

    takes = {"fields", "execution", "after", "limit"}

    def asked(self) -> dict[str, int]:
        """Return behind which number the part begins, and how long it is.

        Raises:
            ValidationError: The request says something else.
        """
        filters.refuse_unknown(self.request, {"format", *self.takes})
        asked = _Asked(data=self.request.query_params)
        asked.is_valid(raise_exception=True)
        return dict(asked.validated_data)

    def execution(self, found: Instance) -> Execution:
        """Return the execution that the request is about.

        Raises:
            UnknownExecution: There is no such.
        """
        return instances.execution(found, self.request.query_params.get("execution") or None)

    def part(self, found: Sequence[Any], limit: int, **context: Any) -> Response:
        """Answer with a part of what was found, and with the address of the next part."""
        following = self._following(found[limit - 1].seq) if len(found) > limit else None
        return Response({"next": following, "results": self.show(list(found[:limit]), **context).data})

    def _following(self, seq: int) -> str:
        query = self.request.query_params.copy()
        query["after"] = str(seq)
        return f"{self.request.build_absolute_uri(self.request.path)}?{query.urlencode()}"


class History(Part):
    """The history of an execution."""

    serializer_class = serializers.HistoryItemSerializer
    takes = {*Part.takes, "kind"}

    @extend_schema(
        operation_id="instance_history",
        parameters=[
            *_PART,
            OpenApiParameter("kind", many=True, description="Only events of these kinds."),
            OpenApiParameter("after", int, description="Only events behind this `seq`."),
        ],
        responses=serializers.HistoryPage,
    )
    def get(self, request: Request, instance_id: str) -> Response:
        """List the events of an execution, oldest first."""
        found = access.find(request.user, instance_id, payloads=False)
        asked, kinds = self.asked(), request.query_params.getlist("kind")
        execution, limit = self.execution(found), asked["limit"]
        # One more than asked for, which tells whether there are any.
        with self.redacting(found):
            items = parts.part(execution.pk, status=found.status, after=asked["after"], limit=limit + 1, kinds=kinds)
        return self.part(items, limit, instance=found)


class Timeline(Part):
    """The steps of an execution."""

    serializer_class = serializers.TimelineStep

    @extend_schema(
        operation_id="instance_timeline",
        parameters=[*_PART, OpenApiParameter("after", int, description="Only steps behind that of this `seq`.")],
        responses=serializers.TimelinePage,
    )
    def get(self, request: Request, instance_id: str) -> Response:
        """List what an execution did and what came to it, each with when it began, when and how it ended."""
        found = access.find(request.user, instance_id, payloads=False)
        asked = self.asked()
        execution, limit = self.execution(found), asked["limit"]
        with self.redacting(found):
            known = parts.steps(execution.pk, status=found.status, after=asked["after"], limit=limit + 1)
        return self.part(known, limit)


class Work(base.List):
    """What has not ended."""

    filterset_class = filters.Tasks
    serializer_class = serializers.OpenWorkSerializer
    orderings = ("event_id", "created_at")
    queryset = ActivityTask.objects.none()

    @base.listing("instance_work", serializers.OpenWorkSerializer, orderings)
    def get(self, request: Request, instance_id: str) -> Response:
        """List the activities that have not ended: attempts, next retries, heartbeats, failures and workers.

        What the worker of the last turn runs itself comes first, and of that less is known.
        """
        found = access.find(request.user, instance_id, payloads=False)
        shows = access.may(request.user, access.PAYLOAD, found)
        work = open_work.of_tasks(self._tasks(found, payloads=shows), payloads=shows)
        here = open_work.in_place(found) if self._is_first else None
        if here is not None and self._fits(here):
            work = [here, *work]
        shown = self.get_serializer_class()(
            work, many=True, context={**self.get_serializer_context(), "instance": found}
        )
        return self.get_paginated_response(shown.data)

    @property
    def _is_first(self) -> bool:
        pages: Any = self.paginator
        return not pages.has_previous

    def _tasks(self, found: Instance, *, payloads: bool) -> list[ActivityTask]:
        rows = self.filter_queryset(open_work.rows(found, payloads=payloads))
        try:
            return list(self.paginate_queryset(rows) or [])
        except UndecodablePayload:
            return list(self.paginate_queryset(rows.defer(*tasks.PAYLOADS)) or [])

    def _fits(self, work: OpenWork) -> bool:
        asked = self.request.query_params
        return all(
            getattr(work, name) in asked.getlist(name) for name in self.filterset_class.base_filters if name in asked
        )
