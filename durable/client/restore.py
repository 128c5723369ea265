"""Restore an earlier execution of an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from durable.client import performing
from durable.operations import restore as restoring
from durable.operations.shapes import Outcome, Preview

if TYPE_CHECKING:
    import uuid


@overload
def restore(
    instance_id: str,
    execution: str | uuid.UUID | None = None,
    *,
    reason: str = "",
    actor: Any = None,
    dry_run: Literal[False] = False,
) -> Outcome: ...
@overload
def restore(
    instance_id: str,
    execution: str | uuid.UUID | None = None,
    *,
    reason: str = "",
    actor: Any = None,
    dry_run: bool,
) -> Outcome | Preview: ...
def restore(
    instance_id: str,
    execution: str | uuid.UUID | None = None,
    *,
    reason: str = "",
    actor: Any = None,
    dry_run: bool = False,
) -> Outcome | Preview:
    """Have an instance end as an earlier execution did: a new one begins, and ends, with the history of that.

    Takes a rewind back, or the start that replaced a closed instance, with the
    children that were rewound with it, if nothing was done since: no activity
    completed or runs, no signal came. The instance can be rewound again,
    perhaps to somewhere else.

    Args:
        instance_id: The instance.
        execution: The id of the earlier execution; None is the one before the current one.
        reason: Why; recorded.
        actor: Who asks for it: a user, a name, or None for the system.
        dry_run: Whether to return a Preview and change nothing.

    Raises:
        UnknownInstance, UnknownExecution: There is none of this id.
        InvalidInput: It is the current one, or continued as new; none is named, and there is none before it, or the
            current one is a restore already; or the reason cannot be stored.
        WorkWouldBeLost: Something was done since; ``lost`` says what.
    """
    done: Outcome | Preview = performing.perform(
        "restore",
        instance_id,
        plan=lambda: restoring.plan(instance_id, execution),
        preview=restoring.preview,
        carry_out=restoring.carry_out,
        actor=actor,
        reason=reason,
        dry_run=dry_run,
        execution=None if execution is None else str(execution),
    )
    return done
