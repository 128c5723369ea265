"""The events of a history: one frozen class a kind, to and from JSON.

A history is a list of these, in order; an event's place in it, from 1, is its
``seq``. ``event_id`` numbers, from 0, the things that workflow code asked for;
an answer carries the number of what it answers, a control event has none.

A history reads as steps. A step is one event from outside (a start, a signal,
a result) and after it what the code did on seeing it (``by_code``).

They are msgspec's structs, not dataclasses, and read like these: a replay makes
some for each step, and a frozen dataclass takes ten times as long to make.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import msgspec
from msgspec import field
from msgspec.structs import fields, force_setattr

from durable.core.errors import UndecodableEvent
from durable.core.failures import Failure

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable


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
            for name, default in _fields(type(self))
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
    return [name for name, _ in _fields(kind)]


_FIELDS: dict[type[Event], list[tuple[str, Any]]] = {}


def _fields(kind: type[Event]) -> list[tuple[str, Any]]:
    if (known := _FIELDS.get(kind)) is None:
        known = _FIELDS[kind] = [(f.name, _default(f)) for f in fields(kind) if f.name != "at"]
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


# --- control


class ExecutionStarted(Event, frozen=True, kw_only=True, eq=False):
    """An execution began.

    Attributes:
        name: The workflow's name, without its version.
        input: The arguments, ``{"args": [...], "kwargs": {...}}``.
        generation: How many executions the instance began anew before this one;
            part of the ids that children get by default.
        seed: What the workflow's random numbers grow from; kept by a rewind.
        python: The interpreter's minor version: asyncio's own order of steps
            differs between some (``wait_for``, 3.11 to 3.12).
        carried: Signals that the execution before this one left unread, as
            ``[name, payload]``.
        headers: What interceptors gave the instance to carry along.
    """

    name: str
    version: int = 0
    input: dict[str, Any] = field(default_factory=dict)
    queue: str = ""
    tags: dict[str, Any] = field(default_factory=dict)
    parent: dict[str, Any] | None = None
    attempt: int = 0
    generation: int = 0
    seed: str = ""
    python: str = ""
    carried: list[list[Any]] = field(default_factory=list)
    headers: dict[str, Any] = field(default_factory=dict)


class SignalReceived(Event, frozen=True, kw_only=True, eq=False):
    """A signal came in.

    Attributes:
        headers: What interceptors gave it to carry along.
    """

    name: str
    payload: Any = None
    headers: dict[str, Any] = field(default_factory=dict)


class UpdateAccepted(Event, frozen=True, kw_only=True, eq=False):
    """A client's request for an update was let in; its handler begins. ``name`` is the update's.

    Attributes:
        update_id: What the client calls this request.
        input: The arguments, ``{"args": [...], "kwargs": {...}}``.
    """

    update_id: str
    name: str
    input: dict[str, Any] = field(default_factory=dict)


class CancelRequested(Event, frozen=True, kw_only=True, eq=False):
    """Somebody asked the workflow to stop.

    Attributes:
        by_parent: Whether that was its parent's end.
    """

    reason: str = ""
    by_parent: bool = False


class ExecutionSuspended(Event, frozen=True, kw_only=True, eq=False):
    """An operator halted the instance."""

    reason: str = ""


class ExecutionResumed(Event, frozen=True, kw_only=True, eq=False):
    """An operator let the instance go on."""

    reason: str = ""


class ExecutionWoken(Event, frozen=True, kw_only=True, eq=False):
    """The code waited for a condition while the instance was halted; it is looked at again."""


class ExecutionRewound(Event, frozen=True, kw_only=True, eq=False):
    """An operator took a failure back: the execution goes on from before it.

    Attributes:
        actor: Who did.
        source: The id of the execution that ended, whose history this one began with.
    """

    reason: str = ""
    actor: str = ""
    source: str = ""


class ExecutionUpgraded(Event, frozen=True, kw_only=True, eq=False):
    """An operator had the execution go on with another version of its workflow.

    Attributes:
        version: Which.
        actor: Who did.
    """

    version: int = 0
    reason: str = ""
    actor: str = ""


# --- ends


class ExecutionCompleted(End, frozen=True, kw_only=True, eq=False):
    """The workflow returned."""

    result: Any = None


class ExecutionFailed(End, frozen=True, kw_only=True, eq=False):
    """The workflow raised; or, if ``imposed``, its time was up and its code did not run."""

    failure: Failure


class ExecutionCanceled(End, frozen=True, kw_only=True, eq=False):
    """The workflow let a cancel end it."""


class ExecutionTerminated(End, frozen=True, kw_only=True, eq=False):
    """An operator, or the end of the parent, stopped the instance without running its code.

    Attributes:
        by_parent: Whether it was the parent's end.
    """

    imposed: bool = True
    reason: str = ""
    by_parent: bool = False


class ExecutionContinued(End, frozen=True, kw_only=True, eq=False):
    """The workflow continued as new.

    Attributes:
        input: The next execution's arguments.
        carried: Unread signals that move on, as ``[name, payload]``.
    """

    input: dict[str, Any] = field(default_factory=dict)
    carried: list[list[Any]] = field(default_factory=list)


# --- asked for by code


class ActivityScheduled(Asked, frozen=True, kw_only=True, eq=False):
    """The code wants an activity to run.

    Attributes:
        input: Its arguments, ``{"args": [...], "kwargs": {...}}``.
        options: What the call set apart from the activity's own options.
        rerun_of: If a rerun began here: the ``instance`` and the ``event_id`` that it runs again.
    """

    input: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    rerun_of: dict[str, Any] | None = None


class TimerStarted(Asked, frozen=True, kw_only=True, eq=False):
    """The code sleeps, or waits with a limit.

    Attributes:
        fire_at: When it is due, in seconds since 1970.
    """

    fire_at: float


class ChildScheduled(Asked, frozen=True, kw_only=True, eq=False):
    """The code wants a child workflow to run.

    Attributes:
        instance_id: The id that the child gets.
        version: The version that it runs on; if another app is to say which, the one that was asked for.
        app_id: That app; empty is the parent's own.
        options: ``queue``, ``timeout``, ``delay``, ``parent_close``, ``retry``.
        inherited: Whether it is the child of another instance, whose history a rerun began with.
    """

    instance_id: str
    version: int | None = None
    input: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    inherited: bool = False
    app_id: str = ""


class SignalSent(Asked, frozen=True, kw_only=True, eq=False):
    """The code signals another instance; ``name`` is the signal's."""

    instance_id: str
    payload: Any = None


class SideEffectRecorded(Asked, frozen=True, kw_only=True, eq=False):
    """The code ran a side effect; replay uses its value, or raises what it raised."""

    value: Any = None
    failure: Failure | None = None


class PatchMarked(Asked, frozen=True, kw_only=True, eq=False):
    """The code took the new path of a patch; ``name`` is the patch's id.

    Attributes:
        deprecated: Whether every path but the new one is gone: then replay
            does not mind if the code does not ask any more.
    """

    deprecated: bool = False


# --- answers


class ActivityCompleted(Answer, frozen=True, kw_only=True, eq=False):
    """An activity returned."""

    result: Any = None
    attempts: int = 1


class ActivityFailed(Answer, frozen=True, kw_only=True, eq=False):
    """An activity failed for good."""

    failure: Failure
    attempts: int = 1


class ActivityCanceled(Answer, frozen=True, kw_only=True, eq=False):
    """An activity was called off."""


class TimerFired(Answer, frozen=True, kw_only=True, eq=False):
    """A timer was due."""


class TimerCanceled(Answer, frozen=True, kw_only=True, eq=False):
    """The code needs a timer no more."""

    by_code: ClassVar[bool] = True


class ChildStarted(Answer, frozen=True, kw_only=True, eq=False):
    """A child workflow exists now."""


class ChildCompleted(Answer, frozen=True, kw_only=True, eq=False):
    """A child workflow returned."""

    result: Any = None


class ChildFailed(Answer, frozen=True, kw_only=True, eq=False):
    """A child workflow did not complete."""

    failure: Failure


class ChildCanceled(Answer, frozen=True, kw_only=True, eq=False):
    """A child workflow was canceled."""


class SignalDelivered(Answer, frozen=True, kw_only=True, eq=False):
    """A signal is recorded at its target."""


class SignalFailed(Answer, frozen=True, kw_only=True, eq=False):
    """A signal's target is unknown or closed."""

    failure: Failure


class UpdateCompleted(Event, frozen=True, kw_only=True, eq=False):
    """A handler is done with an update.

    Attributes:
        update_id: What the client calls the request.
        failure: What the handler raised; None if it returned.
    """

    by_code: ClassVar[bool] = True

    update_id: str
    name: str
    result: Any = None
    failure: Failure | None = None


KINDS: dict[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        ExecutionStarted, SignalReceived, CancelRequested, ExecutionSuspended, ExecutionResumed, ExecutionRewound,
        ExecutionUpgraded, ExecutionWoken,
        ExecutionCompleted, ExecutionFailed, ExecutionCanceled, ExecutionTerminated, ExecutionContinued,
        ActivityScheduled, TimerStarted, ChildScheduled, SignalSent, SideEffectRecorded, PatchMarked,
        ActivityCompleted, ActivityFailed, ActivityCanceled, TimerFired, TimerCanceled,
        ChildStarted, ChildCompleted, ChildFailed, ChildCanceled, SignalDelivered, SignalFailed,
        UpdateAccepted, UpdateCompleted,
    )
}  # fmt: skip

ASKED = frozenset(kind for kind in KINDS.values() if issubclass(kind, Asked))
"""The kinds of what code asks for: to look a class up here is quicker than ``isinstance``."""

_DECODERS = {name: msgspec.json.Decoder(kind) for name, kind in KINDS.items()}


def decode(kind: str, data: str, *, at: float, seq: int) -> Event:
    """Build the event that is stored as ``data`` under ``kind``.

    Raises:
        UndecodableEvent: The kind is unknown here, or the data does not fit it.
    """
    return next(decode_all([(seq, kind, at, data)]))


def decode_all(rows: Iterable[tuple[int, str, float, str]]) -> Generator[Event, None, None]:
    """Build events, one after the other, of rows of a history: ``seq``, kind, time and data of each.

    Raises:
        UndecodableEvent: One cannot be built; those before it have been.
    """
    for seq, kind, at, data in rows:
        try:
            event = _DECODERS[kind].decode(data)
        except KeyError:
            problem = "this release does not know the kind; a newer one may have written it"
            raise UndecodableEvent(seq, kind, problem) from None
        except (msgspec.MsgspecError, RecursionError) as error:
            raise UndecodableEvent(seq, kind, str(error)) from None
        force_setattr(event, "at", at)
        yield event


def complete(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return an event's stored JSON with the defaults that were left out, without its number and name."""
    defaults = dict(_fields(KINDS[kind])) if kind in KINDS else {}
    full = {**{k: v for k, v in defaults.items() if v is not msgspec.NODEFAULT}, **data}
    return {name: value for name, value in full.items() if name not in {"event_id", "name"}}
