"""Rerun: a new instance that begins with what an old one had done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from durable.client import performing
from durable.client.handle import Handle
from durable.operations import audit
from durable.operations import rerun as rerunning
from durable.operations.shapes import UNSET, Preview

if TYPE_CHECKING:
    import uuid


@overload
def rerun_from_activity(
    instance_id: str,
    event_id: int,
    *,
    new_instance_id: str | None = None,
    input: Any = UNSET,
    execution: str | uuid.UUID | None = None,
    siblings: str = "rerun",
    version: int | None = None,
    reason: str = "",
    actor: Any = None,
    dry_run: Literal[False] = False,
) -> Handle: ...
@overload
def rerun_from_activity(
    instance_id: str,
    event_id: int,
    *,
    new_instance_id: str | None = None,
    input: Any = UNSET,
    execution: str | uuid.UUID | None = None,
    siblings: str = "rerun",
    version: int | None = None,
    reason: str = "",
    actor: Any = None,
    dry_run: bool,
) -> Handle | Preview: ...
def rerun_from_activity(
    instance_id: str,
    event_id: int,
    *,
    new_instance_id: str | None = None,
    input: Any = UNSET,
    execution: str | uuid.UUID | None = None,
    siblings: str = "rerun",
    version: int | None = None,
    reason: str = "",
    actor: Any = None,
    dry_run: bool = False,
) -> Handle | Preview:
    """Start a new instance that begins with what a closed one had done before an activity, and runs that again.

    Args:
        instance_id: The instance to begin like; it stays as it is.
        event_id: The activity's.
        new_instance_id: The new instance's id; None is a new uuid.
        input: The activity's new input: ``Args(...)`` are its arguments, any
            other value is its only argument. The workflow's own input stays.
        execution: Which execution of the instance; None is the current one.
        siblings: ``rerun`` also runs again what was scheduled with the
            activity; ``keep`` keeps the results that those have, and their branches.
        version: The version of the workflow; None is the recorded one.
        reason: Why; recorded.
        actor: Who asks for it: a user, a name, or None for the system.
        dry_run: Whether to return a Preview and change nothing.

    Raises:
        InvalidId: An id is empty, cannot be one, or is the source's own.
        UnknownInstance, UnknownExecution, UnknownEvent: There is none of this id.
        NotClosed: The source is still open.
        NotAnActivity: The event is something else.
        InvalidInput: The input has no JSON, or does not fit the activity; the reason is too long; or it is a batch.
        VersionNotAvailable, UnknownWorkflow: This process does not have the code.
        NondeterminismError: The code does not do what the history records.
        AlreadyExists: The new id is taken, in whatever state.
    """
    return performing.perform(
        "rerun",
        instance_id,
        plan=lambda: rerunning.plan(
            instance_id,
            event_id,
            new_instance_id=new_instance_id,
            input=input,
            execution=execution,
            siblings=siblings,
            version=version,
        ),
        preview=rerunning.preview,
        carry_out=lambda planned: Handle(rerunning.carry_out(planned).instance_id),
        actor=actor,
        reason=reason,
        dry_run=dry_run,
        # For the audit, as plain JSON.
        event_id=event_id,
        new_instance_id=new_instance_id,
        input=None if input is UNSET else audit.HIDDEN,
        execution=None if execution is None else str(execution),
        siblings=siblings,
        version=version,
    )
