"""Verbs that have an instance go on, by another history or other code: what was recorded stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from durable.client import performing
from durable.core import given, texts
from durable.operations import arguments, audit
from durable.operations import recover as recovering
from durable.operations import rewind as rewinding
from durable.operations import upgrade as upgrading
from durable.operations.recovered import RecoveryReport
from durable.operations.shapes import Outcome, Preview

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["recover", "rewind", "upgrade"]


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
