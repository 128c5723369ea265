"""Events from outside that answer nothing: starts, signals, requests, and what operators did."""

from __future__ import annotations

from typing import Any

from msgspec import field

from durable.core.events.base import Event


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
        limits: How much the code may give at once, by the names of the limits; empty if it began before that was
            recorded.
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
    limits: dict[str, int] = field(default_factory=dict)


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


KINDS = (
    ExecutionStarted,
    SignalReceived,
    UpdateAccepted,
    CancelRequested,
    ExecutionSuspended,
    ExecutionResumed,
    ExecutionWoken,
    ExecutionRewound,
    ExecutionUpgraded,
)
