"""What all events have in common, and what asking, answering and ending have."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

import msgspec

from durable.core.failures import Failure


class Event(msgspec.Struct, frozen=True, kw_only=True, eq=False):  # noqa: PLW1641 - dicts have no hash either
    """Something that happened to an execution, as its history holds it.

    Attributes:
        at: When it was recorded, in seconds since 1970 by the database's clock.
            Kept beside the event's JSON, not in it, and not compared.
    """

    by_code: ClassVar[bool] = False
    ends: ClassVar[bool] = False

    at: float = 0.0

    @property
    def kind(self) -> str:
        """The name that this class of events is stored under."""
        return type(self).__name__

    def to_json(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, as plain JSON."""
        return {
            name: value.to_json() if isinstance(value, Failure) else value
            for name, default in fields(type(self))
            if (value := getattr(self, name)) != default
        }

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in names(type(self)))

    # Structs have one of their own, which does not ask __eq__.
    __ne__ = object.__ne__

    def __str__(self) -> str:
        """Say the kind and what it is about, e.g. ``ActivityScheduled(charge)``."""
        about = getattr(self, "name", "") or getattr(self, "event_id", "")
        return f"{self.kind}({about})" if about != "" else self.kind


E = TypeVar("E", bound=Event)


def replace(event: E, **changes: Any) -> E:
    """Return an event with some of its fields changed."""
    return msgspec.structs.replace(event, **changes)


def names(kind: type[Event]) -> list[str]:
    """Return the names of the fields of a class of events, without the time."""
    return [name for name, _ in fields(kind)]


_FIELDS: dict[type[Event], list[tuple[str, Any]]] = {}


def fields(kind: type[Event]) -> list[tuple[str, Any]]:
    """Return the fields of a class of events with their defaults, without the time."""
    if (known := _FIELDS.get(kind)) is None:
        known = _FIELDS[kind] = [(f.name, _default(f)) for f in msgspec.structs.fields(kind) if f.name != "at"]
    return known


def _default(spec: msgspec.structs.FieldInfo) -> Any:
    return spec.default if spec.default_factory is msgspec.NODEFAULT else spec.default_factory()


class Answer(Event, frozen=True, kw_only=True, eq=False):
    """The answer to something that workflow code asked for."""

    event_id: int


class Asked(Event, frozen=True, kw_only=True, eq=False):
    """Something that workflow code asked for: the number is its own."""

    by_code: ClassVar[bool] = True

    event_id: int
    name: str = ""


class End(Event, frozen=True, kw_only=True, eq=False):
    """The end of an execution; nothing comes after it.

    Attributes:
        imposed: Whether it came from outside: replay does not expect the code to do it.
    """

    by_code: ClassVar[bool] = True
    ends: ClassVar[bool] = True

    imposed: bool = False
