"""What is about many instances: batches, groups of failures, recovery."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers as rest
from rest_framework.response import Response

from durable import client
from durable.api import access, bodies, filters
from durable.api.base import FIELDS, LOCATION, OF_INSTANCES, List, View, listing
from durable.api.ids import link
from durable.api.instances import DRY_RUN, KEY, Acting, scope
from durable.api.plain import described, plain
from durable.api.serializers import JSON, InstanceSummary
from durable.client import redacting
from durable.client.batches import LANES, NOT_DONE
from durable.client.batching import NAME
from durable.client.verbs import VERBS
from durable.models import BatchItem
from durable.operations import audit
from durable.operations.failing import STATUSES
from durable.store import instances

if TYPE_CHECKING:
    from rest_framework.request import Request

Report = described(client.BatchReport)
_OUTCOME = OpenApiParameter("outcome", many=True, enum=BatchItem.Outcome.values, description="Only those.")


@bodies.example({"verb": "rewind", "ids": ["order-42", "order-43"], "reason": "the bank is back"})
class NewBatch(bodies.Reason):
    """A verb, and of whom."""

    verb = rest.ChoiceField(list(VERBS))
    ids = rest.ListField(child=rest.CharField(max_length=255, trim_whitespace=False), required=False)
    filter = rest.DictField(child=JSON(allow_null=True), required=False, help_text="In place of `ids`.")
    arguments = rest.DictField(child=JSON(allow_null=True), default=dict, help_text="Of the verb.")
    id = rest.CharField(max_length=255, trim_whitespace=False, required=False)
    queue = rest.CharField(max_length=100, required=False)
    concurrency = rest.IntegerField(min_value=1, max_value=100, default=LANES)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("ids" in attrs) == ("filter" in attrs):
            raise rest.ValidationError({"ids": "Give either ids or a filter."})
        if taken := attrs["arguments"].keys() & {
            "reason",
            "actor",
            "dry_run",
            "of",
            "verb",
            "id",
            "queue",
            "concurrency",
        }:
            raise rest.ValidationError({"arguments": f"{min(taken)!r} is no argument of a verb here."})
        return attrs


@bodies.example({"outcomes": ["failed"]})
class Retry(bodies.Reason):
    """Once more, for those that were not done."""

    reason = rest.CharField(max_length=audit.REASON, allow_blank=True, allow_null=True, default=None)
    outcomes = rest.ListField(
        child=rest.ChoiceField(BatchItem.Outcome.values), default=lambda: [str(each) for each in NOT_DONE]
    )


class Beginning(Acting):
    """What has in common whatever begins a batch, or shows one."""

    def begun(self, handle: client.Handle) -> Response:
        """Answer with the report of a batch that begins."""
        address = link(self.request, "batch", batch_id=handle.id)
        return Response(self.report(handle.id, limit=0), status=201, headers={"Location": address})

    def _check_view(self, batch_id: str, reason: str) -> None:
        if not access.may(self.request.user, access.VIEW):
            access.deny(self.request.user, batch_id, verb="batch", reason=reason, dry_run=self.dry_run)

    def report(self, batch_id: str, **options: Any) -> dict[str, Any]:
        """Return the report of a batch, without payloads that errors quote to users who may not see any."""
        report = client.batch_report(batch_id, **options)
        if not access.may(self.request.user, access.PAYLOAD):
            report = replace(report, items=[redacting.outcome(item) for item in report.items])
        return dict(plain(report))


class Batches(Beginning, List):
    """All batches."""

    filterset_class = filters.Instances
    serializer_class = InstanceSummary
    orderings = OF_INSTANCES

    def get_throttles(self) -> Any:
        self.throttle_scope = scope(self.request)
        return super().get_throttles()

    @listing("batches", InstanceSummary, OF_INSTANCES)
    def get(self, request: Request) -> Response:
        """List the batches, which are instances, the newest first."""
        return self.page(access.listed(request.user, instances.rows().filter(name=NAME)))

    @extend_schema(
        operation_id="batch_start", request=NewBatch, parameters=[KEY, DRY_RUN, LOCATION], responses={201: Report}
    )
    def post(self, request: Request) -> Response:
        """Do a verb to many instances; with `dry_run`, a batch that finds out what would become of each."""
        return self.acting(self._begin)

    def _begin(self) -> Response:
        data, user = self.body(NewBatch), self.request.user
        self._check_view(data.get("id", ""), data["reason"])
        arguments, chosen = data.pop("arguments"), data.pop("ids", None)
        of = data.pop("filter") if chosen is None else chosen
        verb = data.pop("verb")
        return self.begun(client.batch(verb, of, actor=user, dry_run=self.dry_run, **data, **arguments))


class Batch(Beginning):
    """One batch."""

    throttle_scope = "durable-read"
    serializer_class = Report

    @extend_schema(
        operation_id="batch",
        parameters=[
            FIELDS,
            _OUTCOME,
            OpenApiParameter("limit", int, description="So many instances at most; 1000 if nothing is said."),
            OpenApiParameter("after", description="Only instances that come after this one."),
        ],
        responses=Report,
    )
    def get(self, request: Request, batch_id: str) -> Response:
        """Say how far a batch is, and what became of each instance."""
        access.require_view(request.user)
        filters.refuse_unknown(request, {"outcome", "limit", "after", "format", "fields"})
        asked = _Limit(data=request.query_params)
        asked.is_valid(raise_exception=True)
        options = {"outcomes": request.query_params.getlist("outcome"), "after": request.query_params.get("after")}
        return self.told(self.report(batch_id, **options, **asked.validated_data))


class _Limit(rest.Serializer):
    limit = rest.IntegerField(min_value=0, max_value=10_000, default=1000)


class BatchRetry(Beginning):
    """A batch once more."""

    throttle_scope = "durable-write"

    @extend_schema(
        operation_id="batch_retry", request=Retry, parameters=[KEY, DRY_RUN, LOCATION], responses={201: Report}
    )
    def post(self, request: Request, batch_id: str) -> Response:
        """Do what a closed batch was for once more, to those of its instances that have one of the outcomes."""
        return self.acting(partial(self._retry, batch_id))

    def _retry(self, batch_id: str) -> Response:
        data, user = self.body(Retry), self.request.user
        self._check_view(batch_id, data["reason"] or "")
        return self.begun(client.batch_retry(batch_id, actor=user, dry_run=self.dry_run, **data))


class FailureGroups(View):
    """What failed, by its cause."""

    serializer_class = described(client.FailureGroup, "filter", "redacted")
    takes: ClassVar[set[str]] = {"workflow", "status", "since", "until", "limit", "fields"}

    @extend_schema(
        operation_id="failure_groups",
        parameters=[
            FIELDS,
            OpenApiParameter("workflow", description="Only of this one; its name without the version."),
            OpenApiParameter("status", enum=[str(each) for each in STATUSES], description="Only in this one."),
            OpenApiParameter("since", description="Failed at that time or later."),
            OpenApiParameter("until", description="Failed before."),
            OpenApiParameter("limit", int, description="So many groups at most; 100 if nothing is said."),
        ],
        responses=serializer_class(many=True),
    )
    def get(self, request: Request) -> Response:
        """List what has failed or is stalled, in groups that are alike, the largest first; `filter` is for a batch."""
        access.require_view(request.user)
        filters.refuse_unknown(request, {"format", *self.takes})
        asked = _Groups(data=request.query_params)
        asked.is_valid(raise_exception=True)
        hides = not access.may(request.user, access.PAYLOAD)
        groups = [
            {**asdict(group), "filter": group.filter, "redacted": hides}
            for group in client.failure_groups(**asked.validated_data)
        ]
        return self.told([{**group, "message": audit.HIDDEN} for group in groups] if hides else groups)


class _Groups(rest.Serializer):
    workflow = rest.CharField(required=False)
    status = rest.CharField(required=False)
    since = rest.DateTimeField(required=False)
    until = rest.DateTimeField(required=False)
    limit = rest.IntegerField(min_value=1, max_value=1000, default=100)


@bodies.example({"workflow": "order"})
class Recovery(bodies.Reason):
    """What to recover."""

    workflow = rest.CharField(max_length=200, required=False, help_text="Only this one; its name without the version.")
    limit = rest.IntegerField(min_value=1, max_value=1000, default=100, help_text="The oldest so many.")


_QUOTING = ("result", "message", "facts", "conflict")


class Recover(Acting):
    """All running instances."""

    throttle_scope = "durable-write"

    @extend_schema(
        operation_id="recover",
        request=Recovery,
        parameters=[KEY, DRY_RUN],
        responses={200: rest.ListSerializer(child=JSON())},
    )
    def post(self, request: Request) -> Response:
        """Replay running instances, see to it that each goes on, and tell how each stands."""
        return self.acting(self._recover)

    def _recover(self) -> Response:
        data, user, dry_run = self.body(Recovery), self.request.user, self.dry_run
        told = {"reason": data.pop("reason"), "dry_run": dry_run}
        if not (access.may(user, access.VIEW) and access.may(user, access.REPAIR)):
            access.deny(user, "", verb="recover", **told)
        reports = [report.to_json() for report in client.recover(**data, actor=user, **told)]
        if not access.may(user, access.PAYLOAD):
            for report in reports:
                report |= {name: audit.HIDDEN for name in _QUOTING if report.get(name)}
        return Response(reports)
