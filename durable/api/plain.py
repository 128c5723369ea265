"""What the client returns, as plain JSON and as serializers that describe it."""

from __future__ import annotations

import dataclasses
from typing import Any

from rest_framework import serializers

from durable.api.serializers import JSON
from durable.client.redacting import code_of
from durable.core.errors import DurableError

_FIELDS: dict[str, Any] = {
    "str": lambda: serializers.CharField(allow_blank=True),
    "int": serializers.IntegerField,
    "float": serializers.FloatField,
    "bool": serializers.BooleanField,
    "datetime": serializers.DateTimeField,
    "uuid.UUID": serializers.UUIDField,
    "int | None": lambda: serializers.IntegerField(allow_null=True),
    "str | None": lambda: serializers.CharField(allow_null=True),
    "datetime | None": lambda: serializers.DateTimeField(allow_null=True),
}


def plain(value: Any) -> Any:
    """Return what a client returned as JSON, dataclasses and errors within it included."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, DurableError):
        return {"code": code_of(type(value)), "detail": str(value)}
    return value


def described(kind: Any, *more: str) -> type[serializers.Serializer]:
    """Return a serializer that describes what ``plain`` makes of a dataclass.

    Args:
        kind: The dataclass.
        more: Fields that the answer has beside.
    """
    names = {field.name: str(field.type) for field in dataclasses.fields(kind)} | dict.fromkeys(more, "Any")
    fields = {name: _FIELDS.get(annotation, lambda: JSON(allow_null=True))() for name, annotation in names.items()}
    doc = (kind.__doc__ or "").partition("\n")[0]
    return type(f"{kind.__name__}Serializer", (serializers.Serializer,), {"__doc__": doc, **fields})
