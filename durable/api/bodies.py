"""What requests bring; checked before anything is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from durable.api.serializers import JSON
from durable.operations.audit import REASON

LARGEST = 2**31 - 1
_YEAR = 366 * 24 * 3600


Kind = TypeVar("Kind", bound=type)


def example(value: dict[str, Any]) -> Callable[[Kind], Kind]:
    """Have the schema show what a request may bring."""
    return extend_schema_serializer(examples=[OpenApiExample("Example", value, request_only=True)])


class Body(serializers.Serializer):
    """Refuses fields that do not exist, so that no typing error is taken for silence."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := sorted(data.keys() - self.fields.keys())):
            there_are = ", ".join(self.fields) or "none"
            raise serializers.ValidationError(
                dict.fromkeys(unknown, f"There is no such field; there are: {there_are}.")
            )
        return super().to_internal_value(data)


@example({"reason": "the customer called"})
class Reason(Body):
    """Why."""

    reason = serializers.CharField(max_length=REASON, allow_blank=True, default="", help_text="For the audit.")


def _id(**options: Any) -> serializers.CharField:
    return serializers.CharField(max_length=255, trim_whitespace=False, **options)


def _whole(**options: Any) -> serializers.IntegerField:
    return serializers.IntegerField(min_value=0, max_value=LARGEST, **options)


class FirstSignal(Body):
    """A signal that is sent with the start."""

    name = serializers.CharField(max_length=200, trim_whitespace=False)
    payload = JSON(allow_null=True, default=None)


class Arguments(Body):
    """The arguments of a call."""

    args = serializers.ListField(child=JSON(allow_null=True), default=list)
    kwargs = serializers.DictField(child=JSON(allow_null=True), default=dict)


@example({"workflow": "order2", "args": [42], "id": "order-42", "tags": {"customer": "Ada"}})
class Start(Arguments, Reason):
    """An instance to start."""

    workflow = serializers.CharField(max_length=220, help_text="The type: the name with the version, `order2`.")
    id = _id(required=False, help_text="Else a new one.")
    queue = serializers.CharField(max_length=100, required=False)
    tags = serializers.DictField(child=JSON(allow_null=True), required=False)
    delay = serializers.FloatField(min_value=0, max_value=100 * _YEAR, required=False, help_text="In seconds.")
    timeout = serializers.FloatField(min_value=0.001, max_value=100 * _YEAR, required=False, help_text="In seconds.")
    id_reuse = serializers.ChoiceField(["reject", "replace_closed", "return_existing"], required=False)
    signal = FirstSignal(required=False)


@example({"name": "approve", "payload": {"by": "Ada"}})
class Signal(Reason):
    """A signal."""

    name = serializers.CharField(max_length=200, trim_whitespace=False)
    payload = JSON(allow_null=True, default=None)


@example({"name": "lines"})
class Query(Arguments):
    """A question to the workflow."""

    name = serializers.CharField(max_length=200, trim_whitespace=False)


@example({"name": "set_address", "args": ["12 High Street"], "update_id": "address-1", "timeout": 5})
class Update(Query):
    """A request to change the workflow."""

    update_id = serializers.CharField(
        max_length=200, required=False, help_text="Asking again by the same one runs nothing again."
    )
    timeout = serializers.FloatField(min_value=0, max_value=30, default=10, help_text="How long to wait, in seconds.")


@example({"reason": "the bank is down", "children": True})
class Halt(Reason):
    """An instance to suspend, or to resume."""

    children = serializers.BooleanField(default=False, help_text="Its children as well.")


@example({"new_instance_id": "order-42-again", "reason": "wrong prices"})
class Restart(Reason):
    """A restart."""

    new_instance_id = _id(allow_null=True, default=None)
    id_reuse = serializers.ChoiceField(["reject", "replace_closed"], default="reject")
    terminate_first = serializers.BooleanField(default=False)
    version = _whole(allow_null=True, default=None)


@example({"event_id": 1, "input": {"args": [42], "kwargs": {"amount": 5}}, "reason": "wrong amount"})
class Rerun(Reason):
    """A rerun from an activity."""

    event_id = _whole(help_text="The activity's; see the history.")
    new_instance_id = _id(allow_null=True, default=None)
    input = JSON(
        allow_null=True,
        required=False,
        help_text="The activity's new input: an object with exactly `args` and `kwargs`, or its only argument.",
    )
    execution = serializers.UUIDField(allow_null=True, default=None)
    siblings = serializers.ChoiceField(["rerun", "keep"], default="rerun")
    version = _whole(allow_null=True, default=None)


@example({"reason": "the bank is back"})
class Rewind(Reason):
    """A rewind."""

    to = _whole(allow_null=True, default=None, help_text="The event id of what shall run again, with all after it.")


@example({"to": 3, "reason": "the tax has changed"})
class Upgrade(Reason):
    """An upgrade."""

    to = _whole(allow_null=True, default=None, help_text="The version; else the latest.")


@example({"execution": "0198f0c4-7e1a-7c3e-9f55-0d8f4f0f3f1b", "reason": "rewound by mistake"})
class Restore(Reason):
    """A restore."""

    execution = serializers.UUIDField(
        allow_null=True, default=None, help_text="The earlier execution; else the one before the current one."
    )


@example({"event_id": 1, "input": 12, "mocks": {"2": "receipt", "ship": None}})
class WhatIf(Body):
    """A rerun to imagine."""

    event_id = _whole(help_text="The activity's; see the history.")
    input = JSON(allow_null=True, required=False, help_text="As for a rerun.")
    version = _whole(allow_null=True, default=None)
    mocks = serializers.DictField(
        child=JSON(allow_null=True), default=dict, help_text="What is returned, by event id or by name."
    )
    execution = serializers.UUIDField(allow_null=True, default=None)
    siblings = serializers.ChoiceField(["rerun", "keep"], default="rerun")


@example({"reason": "asked to be forgotten"})
class Purge(Reason):
    """A purge."""

    keep_children = serializers.BooleanField(default=False, help_text="Leave its children, without their parent.")
    force = serializers.BooleanField(default=False, help_text="Terminate and purge it even if it is open.")
