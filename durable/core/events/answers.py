"""How what was asked for went."""

from __future__ import annotations

from typing import Any, ClassVar

from durable.core.events.base import Answer, Event
from durable.core.failures import Failure


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


KINDS = (
    ActivityCompleted,
    ActivityFailed,
    ActivityCanceled,
    TimerFired,
    TimerCanceled,
    ChildStarted,
    ChildCompleted,
    ChildFailed,
    ChildCanceled,
    SignalDelivered,
    SignalFailed,
    UpdateCompleted,
)
