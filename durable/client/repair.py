"""Verbs that edit histories: what was recorded stays, something new begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from durable.client import handle, performing
from durable.core import given, texts
from durable.operations import arguments, audit, rerun
from durable.operations import recover as recovering
from durable.operations import rewind as rewinding
from durable.operations import upgrade as upgrading
from durable.operations.recovered import RecoveryReport
from durable.operations.shapes import UNSET, Outcome, Preview

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator

__all__ = ["recover", "rerun_from_activity", "rewind", "upgrade"]


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
) -> handle.Handle: ...
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
) -> handle.Handle | Preview: ...
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
) -> handle.Handle | Preview:
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
        plan=lambda: rerun.plan(
            instance_id,
            event_id,
            new_instance_id=new_instance_id,
            input=input,
            execution=execution,
            siblings=siblings,
            version=version,
        ),
        preview=rerun.preview,
        carry_out=lambda planned: handle.Handle(rerun.carry_out(planned).instance_id),
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


@overload
def rewind(
    instance_id: str, *, reason: str = "", actor: Any = None, to: int | None = None, dry_run: Literal[False] = False
) -> Outcome: ...
@overload
def rewind(
    instance_id: str, *, reason: str = "", actor: Any = None, to: int | None = None, dry_run: bool
) -> Outcome | Preview: ...
def rewind(
    instance_id: str,
    *,
    reason: str = "",
    actor: Any = None,
    to: int | None = None,
    dry_run: bool = False,
) -> Outcome | Preview:
    """Have a failed instance go on from before its failure, in a new execution; its failed children with it.

    What had succeeded is not run again. The failed execution stays, to be read.

    Args:
        instance_id: The instance.
        reason: Why; recorded.
        actor: Who asks for it: a user, a name, or None for the system.
        to: The event id of something that the code asked for: that, and all
            that it asked for later, runs again. Instances that were canceled
            or terminated, or that completed, can be rewound so as well.
        dry_run: Whether to return a Preview and change nothing.

    Raises:
        UnknownInstance: There is none of this id.
        NotFailed: It has not failed, and no ``to`` is given.
        NotClosed: It is still open.
        UnknownEvent: Its code asked for nothing of the number ``to``.
        InvalidInput: The reason is too long.
        VersionNotAvailable, UnknownWorkflow: This process does not have the code.
        NondeterminismError: Its code, or a child's, does not do what the history records.
    """
    return performing.perform(
        "rewind",
        instance_id,
        plan=lambda: rewinding.plan(instance_id, to=to),
        preview=rewinding.preview,
        carry_out=lambda planned: rewinding.carry_out(planned, reason=reason, actor=audit.name_of(actor)),
        actor=actor,
        reason=reason,
        dry_run=dry_run,
        to=to,
    )


@overload
def upgrade(
    instance_id: str, *, to: int | None = None, reason: str = "", actor: Any = None, dry_run: Literal[False] = False
) -> Outcome: ...
@overload
def upgrade(
    instance_id: str, *, to: int | None = None, reason: str = "", actor: Any = None, dry_run: bool
) -> Outcome | Preview: ...
def upgrade(
    instance_id: str,
    *,
    to: int | None = None,
    reason: str = "",
    actor: Any = None,
    dry_run: bool = False,
) -> Outcome | Preview:
    """Have an open instance go on with another version of its workflow; rerun a closed one on it.

    An open one stays in its execution, if the version does just what its
    history records. A closed one is rerun from the latest activity that the
    version comes to.

    Args:
        instance_id: The instance.
        to: The version; None is the latest one that is registered.
        reason: Why; recorded.
        actor: Who asks for it: a user, a name, or None for the system.
        dry_run: Whether to return a Preview and change nothing.

    Raises:
        UnknownInstance: There is none of this id.
        UnknownWorkflow, VersionNotAvailable: This process does not have the code.
        InvalidInput: It is on this version already, is closed and has no activity, or the reason is too long.
        ConcurrencyConflict: Somebody else upgraded it at the same time.
        NondeterminismError: The version does not fit its history; ``offer`` is
            the event id of the latest activity that a rerun on it could begin with, or None.
    """
    seen = upgrading.seen(instance_id)  # before the transaction, which may wait for another one
    return performing.perform(
        "upgrade",
        instance_id,
        plan=lambda: upgrading.plan(instance_id, to=to, seen=seen),
        preview=upgrading.preview,
        carry_out=lambda planned: upgrading.carry_out(planned, reason=reason, actor=audit.name_of(actor)),
        actor=actor,
        reason=reason,
        dry_run=dry_run,
        to=to,
    )


def recover(
    *, workflow: str | None = None, limit: int | None = None, reason: str = "", actor: Any = None, dry_run: bool = False
) -> list[RecoveryReport]:
    """Replay the running instances on the code at hand, see to it that each goes on, and tell how each stands.

    One that has ended and was not closed is closed. What an instance waits
    for and has no row any more, a task, a timer or a child, is handed out
    again. One whose code does something else than its history records is
    stalled, or failed if the settings say so. Nothing of theirs is run. What
    goes wrong with one instance is in its report, and harms no other.

    Args:
        workflow: The workflow's name, without its version; None is all.
        limit: How many instances at most, the oldest first.
        reason: Why; recorded.
        actor: Who asks for it: a user, a name, or None for the system.
        dry_run: Whether to report only, and change nothing.

    Raises:
        InvalidInput: An argument is not of its kind, or the reason cannot be stored.
    """
    return list(recovery(workflow=workflow, limit=limit, reason=reason, actor=actor, dry_run=dry_run)[1])


def recovery(
    *, workflow: str | None, limit: int | None, reason: str, actor: Any, dry_run: bool
) -> tuple[int, Iterator[RecoveryReport]]:
    """Begin to recover, as ``recover`` does: return how many instances there are, and what becomes of one at a time.

    The audit gets a row now, without an instance, and one for each instance that is changed.
    """
    arguments.check("recover({})", dry_run=dry_run)
    told: dict[str, Any] = {"workflow": workflow, "limit": limit}
    with audit.audited("recover", "", actor=actor, reason=reason, dry_run=dry_run, **told):
        given.optional(given.whole, limit, "recover(limit)")
        given.optional(texts.check_name, workflow, "recover(workflow)")
        ids = recovering.running(workflow=workflow, limit=limit)
    audited = recovering.Audited(actor=actor, reason=reason)
    return len(ids), recovering.each(ids, dry_run=dry_run, audited=audited)
