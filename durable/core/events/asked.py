"""What workflow code asks for."""

from __future__ import annotations

from typing import Any

from msgspec import field

from durable.core.events.base import Asked
from durable.core.failures import Failure


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


KINDS = (
    ActivityScheduled,
    TimerStarted,
    ChildScheduled,
    SignalSent,
    SideEffectRecorded,
    PatchMarked,
)
