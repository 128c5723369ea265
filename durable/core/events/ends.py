"""The ends of an execution."""

from __future__ import annotations

from typing import Any

from msgspec import field

from durable.core.events.base import End
from durable.core.failures import Failure


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
        suspended: Whether an operator had halted it before it began; later than that an event of its own says so.
    """

    imposed: bool = True
    reason: str = ""
    by_parent: bool = False
    suspended: bool = False


class ExecutionContinued(End, frozen=True, kw_only=True, eq=False):
    """The workflow continued as new.

    Attributes:
        input: The next execution's arguments.
        carried: Unread signals that move on, as ``[name, payload]``.
    """

    input: dict[str, Any] = field(default_factory=dict)
    carried: list[list[Any]] = field(default_factory=list)


KINDS = (
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionCanceled,
    ExecutionTerminated,
    ExecutionContinued,
)
