"""The audit: a row for everything that somebody did to an instance, or tried to."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from durable import conf
from durable.core.errors import DurableError, InvalidInput, PermissionDenied
from durable.models import Operation
from durable.store import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

REASON = 1000
"""The longest reason, in characters."""

HIDDEN = "***"
"""Stands for payloads, which the audit does not keep."""


@contextmanager
def audited(
    verb: str,
    instance_id: str,
    *,
    actor: Any = None,
    reason: str = "",
    dry_run: bool = False,
    **arguments: Any,
) -> Iterator[None]:
    """Record what becomes of the block: done, refused, denied or failed.

    Put it around the block's transaction, so that a refusal is recorded when that is rolled back.

    Args:
        verb: What is done.
        instance_id: To which instance.
        actor: Who does it: a user, a name, or None for the system.
        reason: Why.
        dry_run: Whether it is only to be looked at.
        arguments: The verb's other arguments, as plain JSON; payloads as ``HIDDEN``.

    Raises:
        InvalidInput: The reason is too long.
    """
    if len(reason) > REASON:
        raise InvalidInput("reason", f"{len(reason):,} characters, the limit is {REASON:,}")
    row = Operation(
        verb=verb,
        instance_id=str(instance_id)[:255].replace("\0", ""),
        actor_key=_key(actor),
        actor_name=name_of(actor)[:255],
        reason=reason,
        dry_run=dry_run,
        arguments={name: value for name, value in arguments.items() if value is not None},
    )
    try:
        yield
    except Exception as error:
        denied, refused = isinstance(error, PermissionDenied), isinstance(error, DurableError)
        outcome = "denied" if denied else "refused" if refused else "failed"
        _record(row, outcome, f"{type(error).__name__}: {error}")
        raise
    _record(row, Operation.Outcome.DONE, "")


def _record(row: Operation, outcome: str, error: str) -> None:
    row.outcome, row.error, row.at = outcome, error.replace("\0", "")[:2000], clock.now()
    row.save(using=conf.settings.DATABASE, force_insert=True)


def name_of(actor: Any) -> str:
    """Return the name of whoever acts; empty for the system."""
    if actor is None:
        return ""
    return actor if isinstance(actor, str) else str(actor.get_username())


def _key(actor: Any) -> str:
    # Not by its class: a project need not have Django's users installed.
    return "" if isinstance(actor, str) or getattr(actor, "is_anonymous", True) else str(actor.pk)
