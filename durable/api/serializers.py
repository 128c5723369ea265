"""What the API shows."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from durable.api import access
from durable.api.ids import link
from durable.client import redacting
from durable.models import ActivityTask, Execution, Instance, Operation, Status, Worker
from durable.store.instances import PAYLOADS

Any_ = extend_schema_field(OpenApiTypes.ANY)
JSON = Any_(type("JSON", (serializers.JSONField,), {"__doc__": "Any JSON."}))


class Sparse(serializers.Serializer):
    """Shows only the fields that the request names, if it names some."""

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        only = self.context.get("only")
        return fields if not only else {name: field for name, field in fields.items() if name in only}


class Redacting(Sparse):
    """Hides payloads from users who lack ``view_payload``.

    Attributes:
        hidden: The names of the fields that are payloads.
    """

    hidden: tuple[str, ...] = ()

    def to_representation(self, row: Any) -> Any:
        shown = super().to_representation(row)
        if not self.may_see(row):
            shown |= {name: None for name in self.hidden if name in shown}
            if "redacted" in self.fields:
                shown["redacted"] = True
        return shown

    def may_see(self, row: Any) -> bool:
        """Say whether the user may see the payloads of what is shown."""
        if (settled := self.context.get("shows")) is not None:
            return bool(settled)
        return access.may(self.context["request"].user, access.PAYLOAD, self.context.get("instance") or row)


class Redacted(serializers.BooleanField):
    """Whether payloads are left out; ``Redacting`` sets it."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs |= {"default": False, "read_only": True}
        kwargs.pop("default")
        super().__init__(help_text="Whether payloads are null because you may not see them.", **kwargs)

    def get_attribute(self, instance: Any) -> Any:
        return False


class Relative(serializers.CharField):
    """The id of another instance; null for users who may not know that there is one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_null=True, read_only=True, **options)

    def to_representation(self, value: Any) -> Any:
        context: Any = self.context
        seen = context.setdefault("relatives", {})
        if value not in seen:
            user = self.context["request"].user
            # The id of a source is kept when that is purged.
            seen[value] = bool(access.may(user, access.VIEW) or access.visible(user, {value}))
        return super().to_representation(value) if seen[value] else None


class InstanceSummary(Sparse, serializers.ModelSerializer):
    """An instance in a list: without payloads."""

    url = serializers.SerializerMethodField()
    workflow = serializers.CharField(source="name")
    status = serializers.ChoiceField(choices=Status.choices)
    tags = JSON()
    progress = JSON(allow_null=True)
    stall = JSON(allow_null=True, help_text="Why it is stalled.")
    parent = Relative(source="parent_id")  # type: ignore[assignment]
    rerun_from = Relative(help_text="The instance that it is a rerun or a restart of.")
    execution = serializers.UUIDField(source="execution_id")

    class Meta:
        model = Instance
        fields = [
            *("id", "url", "workflow", "version", "status", "queue", "tags", "progress", "stall"),
            *("parent", "rerun_from", "rerun_event_id", "attempt", "execution", "head"),
            *("created_at", "started_at", "closed_at", "retry_at"),
        ]
        read_only_fields = fields

    def get_url(self, row: Instance) -> str:
        return link(self.context["request"], "instance", instance_id=row.pk)

    def to_representation(self, row: Instance) -> Any:
        shown = super().to_representation(row)
        if shown.get("stall") and not access.may(self.context["request"].user, access.PAYLOAD, row):
            # What the code raised may quote a payload.
            shown["stall"] = redacting.stall(shown["stall"])
        return shown


class InstanceDetail(Redacting, InstanceSummary):
    """An instance with its payloads."""

    hidden = PAYLOADS
    input = JSON(allow_null=True)
    result = JSON(allow_null=True)
    failure = JSON(allow_null=True)
    custom_status = JSON(allow_null=True)
    headers = JSON(allow_null=True)
    options = JSON()
    redacted = Redacted()

    class Meta(InstanceSummary.Meta):
        fields = [*InstanceSummary.Meta.fields, *PAYLOADS, "options", "redacted"]
        read_only_fields = fields


class ExecutionSerializer(Sparse, serializers.ModelSerializer):
    """An execution of an instance."""

    source = serializers.UUIDField(source="source_id", allow_null=True)  # type: ignore[assignment]

    class Meta:
        model = Execution
        fields = ["id", "number", "origin", "source", "version", "status", "created_at", "closed_at"]
        read_only_fields = fields


class HistoryItemSerializer(Redacting):
    """An event of a history."""

    hidden = ("data",)
    seq = serializers.IntegerField(help_text="Its place, from 1.")
    kind = serializers.CharField()
    event_id = serializers.IntegerField(allow_null=True, help_text="The number of the thing asked for, from 0.")
    name = serializers.CharField(allow_blank=True)
    recorded_at = serializers.DateTimeField()
    data = JSON(allow_null=True)
    rerunnable = serializers.BooleanField(help_text="Whether a rerun can begin here.")
    why_not = serializers.CharField(allow_blank=True)
    redacted = Redacted()


class HistoryPage(serializers.Serializer):
    """A part of a history."""

    next = serializers.URLField(allow_null=True)
    results = HistoryItemSerializer(many=True)


class TimelineStep(Sparse):
    """Something that happened, over a time or at once."""

    seq = serializers.IntegerField(help_text="The place of its first event, from 1.")
    event_id = serializers.IntegerField(allow_null=True, help_text="The number of what was asked for, from 0.")
    kind = serializers.CharField(help_text="`activity`, `timer`, `child`, `signal`, ... or the kind of its event.")
    name = serializers.CharField(allow_blank=True)
    began = serializers.DateTimeField()
    ended = serializers.DateTimeField(allow_null=True, help_text="Null if it is open.")
    seconds = serializers.FloatField(allow_null=True, help_text="Null if it took no time, or is open.")
    outcome = serializers.CharField(allow_blank=True, help_text="How it ended; empty if it is open.")
    attempts = serializers.IntegerField(allow_null=True, help_text="Of an activity that has ended.")
    child = serializers.CharField(allow_blank=True, help_text="The id of a child.")
    rerunnable = serializers.BooleanField(help_text="Whether a rerun can begin here.")
    events = serializers.SerializerMethodField(help_text="The `seq` of its one or two events.")

    def get_events(self, row: Any) -> list[int]:
        return [item.seq for item in row.events]


class TimelinePage(serializers.Serializer):
    """A part of a timeline."""

    next = serializers.URLField(allow_null=True)
    results = TimelineStep(many=True)


class OpenWorkSerializer(Redacting):
    """An activity that has not ended."""

    hidden = ("heartbeat_details", "last_failure")
    event_id = serializers.IntegerField()
    name = serializers.CharField()
    queue = serializers.CharField()
    state = serializers.ChoiceField(choices=ActivityTask.State.choices)
    attempt = serializers.IntegerField(help_text="The attempt that runs or is to come, from 1.")
    created_at = serializers.DateTimeField(allow_null=True)
    due = serializers.DateTimeField(allow_null=True, help_text="When its next attempt may begin.")
    started_at = serializers.DateTimeField(allow_null=True)
    gives_up_at = serializers.DateTimeField(allow_null=True, help_text="When a timeout ends it or its attempt.")
    heartbeat_at = serializers.DateTimeField(allow_null=True)
    heartbeat_details = JSON(allow_null=True)
    last_failure = JSON(allow_null=True, help_text="How the attempt before failed.")
    worker = serializers.CharField(allow_blank=True, help_text="Who runs it: host and process.")
    is_alive = serializers.BooleanField(allow_null=True, help_text="Whether the worker showed a sign of life lately.")
    in_place = serializers.BooleanField(help_text="Whether the worker that took a turn runs it itself.")
    cancel_requested = serializers.BooleanField(help_text="Whether it was asked to stop.")
    redacted = Redacted()


class VersionUseSerializer(Sparse):
    """How much a version of a workflow is in use."""

    name = serializers.CharField()
    version = serializers.IntegerField()
    registered = serializers.BooleanField()
    open = serializers.IntegerField()
    stalled = serializers.IntegerField()
    closed = serializers.IntegerField()
    oldest_open = serializers.DateTimeField(allow_null=True)
    last_start = serializers.DateTimeField(allow_null=True)
    safe_to_delete = serializers.BooleanField()
    more = serializers.ListField(
        child=serializers.ChoiceField(["open", "stalled", "closed"]),
        help_text="Of which of these there are more: at most 1,000 of each are counted.",
    )


class Parameter(serializers.Serializer):
    """A parameter of a workflow or an activity."""

    name = serializers.CharField()
    annotation = serializers.CharField(allow_blank=True)
    required = serializers.BooleanField()  # type: ignore[assignment]


class DefinitionSerializer(Sparse):
    """A workflow or an activity that this process knows."""

    kind = serializers.ChoiceField(choices=["workflow", "activity"])
    name = serializers.CharField()
    version = serializers.IntegerField(allow_null=True, help_text="Activities have none.")
    type = serializers.CharField(help_text="What to start it by: the name with its version.")
    doc = serializers.CharField(allow_blank=True)
    queue = serializers.CharField(allow_null=True)
    parameters = Parameter(many=True)
    returns = serializers.CharField(allow_blank=True)


class WorkerSerializer(Sparse, serializers.ModelSerializer):
    """A process that works, or looks for due work."""

    queues = JSON()
    alive = serializers.SerializerMethodField(help_text="Whether it showed a sign of life lately.")

    class Meta:
        model = Worker
        fields = ["id", "hostname", "pid", "queues", "started_at", "heartbeat_at", "swept_at", "alive"]
        read_only_fields = fields

    def get_alive(self, row: Any) -> bool:
        return row.silent_since is None


class OperationSerializer(Sparse, serializers.ModelSerializer):
    """A row of the audit."""

    arguments = JSON()
    actor = serializers.CharField(source="actor_name")

    class Meta:
        model = Operation
        fields = ["id", "verb", "instance_id", "actor", "reason", "arguments", "dry_run", "outcome", "error", "at"]
        read_only_fields = fields


class Health(Sparse):
    """Whether workflows go on."""

    healthy = serializers.BooleanField()
    problems = serializers.ListField(child=serializers.CharField())
    workers = serializers.IntegerField(help_text="How many showed a sign of life lately.")
    sweeping = serializers.IntegerField(help_text="How many of them look for due work.")
    stalled = serializers.IntegerField(help_text="How many instances are stalled.")


class Problem(serializers.Serializer):
    """An error (RFC 9457)."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField(help_text="For programs: the same for the same error, whatever the text says.")
    detail = serializers.CharField()
    facts = JSON(required=False, help_text="What the text says, as fields.")
    errors = JSON(required=False, help_text="What is wrong, by field of the request.")


class StepSerializer(serializers.Serializer):
    """Something that workflow code asked for."""

    event_id = serializers.IntegerField()
    kind = serializers.CharField()
    name = serializers.CharField()


class PreviewSerializer(serializers.Serializer):
    """What a verb would do."""

    verb = serializers.CharField()
    instance_id = serializers.CharField()
    allowed = serializers.BooleanField()
    refusal = JSON(allow_null=True, help_text="The error that the verb would answer with.")
    version = serializers.IntegerField()
    kept = StepSerializer(many=True)
    rerun = StepSerializer(many=True)
    dropped = StepSerializer(many=True)
    rearmed = StepSerializer(many=True)
    signals_dropped = serializers.ListField(child=serializers.CharField())
    children = serializers.ListField(child=JSON(), help_text="Previews for the children that are touched.")
    warnings = serializers.ListField(child=serializers.CharField())


class OutcomeSerializer(serializers.Serializer):
    """What a verb did."""

    outcome = serializers.CharField()
    instance_id = serializers.CharField()
    execution_id = serializers.UUIDField()
    children = serializers.ListField(child=JSON(), help_text="The same for each child touched.")
    advice = serializers.CharField(allow_blank=True)


class Value(serializers.Serializer):
    """What a workflow answered."""

    value = JSON(allow_null=True)
    redacted = Redacted()


class Accepted(serializers.Serializer):
    """An update that goes on."""

    update_id = serializers.CharField(help_text="Ask again by it to get the outcome.")
    state = serializers.CharField()
