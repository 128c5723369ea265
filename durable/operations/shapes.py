"""What callers of the verbs that repair give and get."""

from __future__ import annotations

import enum
import uuid
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from durable.core.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from durable.core import events as ev
    from durable.core.errors import DurableError


class _Unset(enum.Enum):
    UNSET = enum.auto()

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset.UNSET
"""No value was given; None is a value."""


class Args:
    """The arguments of a call."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def __repr__(self) -> str:
        given = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"Args({', '.join(given)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that workflow code asked for."""

    event_id: int
    kind: str
    name: str


def steps(events: Iterable[ev.Asked]) -> list[Step]:
    """Return what code asked for, as callers see it."""
    return [Step(event_id=event.event_id, kind=event.kind, name=event.name) for event in events]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a verb would do.

    Attributes:
        verb: ``rerun``, ``rewind``, ...
        instance_id: The instance that it is asked of.
        allowed: Whether it would do it.
        refusal: The error that it would raise, or None.
        version: The version that the code would go on with.
        kept: What is carried over and not done again.
        rerun: What is handed out again from the history, the target first;
            but for what the code gives up on as soon as it goes on.
        dropped: Recorded steps that are not carried over: the code decides anew.
        rearmed: Timers that are still to fire.
        signals_dropped: Names of signals that have to be sent again.
        children: Previews for the children that are touched.
        warnings: What to think of first.
    """

    verb: str
    instance_id: str
    allowed: bool
    refusal: DurableError | None = None
    version: int = 0
    kept: list[Step] = field(default_factory=list)
    rerun: list[Step] = field(default_factory=list)
    dropped: list[Step] = field(default_factory=list)
    rearmed: list[Step] = field(default_factory=list)
    signals_dropped: list[str] = field(default_factory=list)
    children: list[Preview] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        listed = {name: [asdict(step) for step in plain[name]] for name in ("kept", "rerun", "dropped", "rearmed")}
        return {
            **plain,
            **listed,
            "refusal": self.refusal and facts_of(self.refusal),
            "children": [child.to_json() for child in self.children],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a verb did.

    Attributes:
        instance_id: The instance.
        execution_id: Its execution from now on.
        children: The same for each child touched.
        advice: What else may be wanted, or an empty text.
    """

    instance_id: str
    execution_id: uuid.UUID
    children: list[Outcome] = field(default_factory=list)
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "outcome": "done",
            "instance_id": self.instance_id,
            "execution_id": str(self.execution_id),
            "children": [child.to_json() for child in self.children],
            "advice": self.advice,
        }


def facts_of(error: Exception) -> dict[str, Any]:
    """Return an error as plain JSON: its class, its message, and of its fields what is plain."""
    return {"error": type(error).__name__, "message": str(error), "facts": fields_of(error)}


def fields_of(error: Exception) -> dict[str, Any]:
    """Return those fields of an error that are plain, or lists of what is plain, as JSON has them."""
    return {name: list(v) if isinstance(v, tuple) else v for name, v in vars(error).items() if _is_plain(v)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


def given_input(value: Any) -> Any:
    """Return what JSON stands for as an activity's new input.

    An object with exactly the keys ``args`` and ``kwargs`` is the arguments; any other value is the only one.

    Raises:
        InvalidInput: They are no list and no object.
    """
    if not (isinstance(value, dict) and set(value) == {"args", "kwargs"}):
        return value
    args, kwargs = value["args"], value["kwargs"]
    if not (isinstance(args, list) and isinstance(kwargs, dict)):
        raise InvalidInput("input", "args must be a list and kwargs an object")
    return Args(*args, **kwargs)
