"""The audit: a row for everything that somebody did to an instance, or tried to."""

from __future__ import annotations

import json
from contextlib import contextmanager, nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from django.db import transaction

from durable import conf
from durable.core import given, texts
from durable.core.errors import (
    DurableError,
    InvalidInput,
    NondeterminismError,
    PermissionDenied,
    UpdateFailed,
    UpdateRejected,
)
from durable.core.errors.telling import quoted
from durable.models import Operation
from durable.store import clock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
    atomic: bool = False,
    **arguments: Any,
) -> Iterator[None]:
    """Record what becomes of the block: done, refused, denied or failed.

    A refusal is recorded when the block's transaction is rolled back, so that has to be inside, or ``atomic``.

    Args:
        verb: What is done.
        instance_id: To which instance.
        actor: Who does it: a user, a name, or None for the system.
        reason: Why.
        dry_run: Whether it is only to be looked at.
        atomic: Whether the block and the row of its success are one transaction.
        arguments: The verb's other arguments, as plain JSON; payloads as ``HIDDEN``.

    Raises:
        InvalidInput: The reason cannot be stored, or nobody can tell who acts, or whether they only look; that is
            recorded, too.
    """
    row = _row(verb, instance_id, actor=actor, reason=reason, dry_run=dry_run is True, **arguments)
    within = transaction.atomic(using=conf.settings.DATABASE) if atomic else nullcontext()
    try:
        with within:
            check_actor(actor)
            given.flag(dry_run, "dry_run")
            check_reason(reason)
            yield
            _record(row, Operation.Outcome.DONE, "")
    except Exception as error:
        denied, refused = isinstance(error, PermissionDenied), isinstance(error, DurableError)
        _record(row, "denied" if denied else "refused" if refused else "failed", told(error, arguments))
        raise


def told(error: Exception, arguments: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Return what the audit says of an error.

    Args:
        error: The error.
        arguments: The verb's, as recorded: what is wrong with them may be told.
    """
    problem = str(error)
    shown = {"actor", "dry_run", "reason", *(name for name, value in arguments.items() if value != HIDDEN)}
    if isinstance(error, InvalidInput) and error.where not in shown:
        problem = f"{error.where}: {HIDDEN}"  # it may quote a payload
    elif isinstance(error, NondeterminismError):
        problem = str(error.without_arguments())
    elif isinstance(error, UpdateFailed | UpdateRejected):
        problem = HIDDEN  # what the workflow's code raised
    return f"{type(error).__name__}: {problem}"


def operation(
    verb: str, instance_id: str, *, actor: Any = None, reason: str = "", dry_run: bool = False, **arguments: Any
) -> Operation:
    """Return the row, not saved, that tells of a verb that was carried out; the arguments as for ``audited``.

    Raises:
        InvalidInput: It could not say who acts, or whether they only look.
    """
    check_actor(actor)
    given.flag(dry_run, "dry_run")
    return _row(verb, instance_id, actor=actor, reason=reason, dry_run=dry_run, **arguments)


def _row(verb: str, instance_id: str, *, actor: Any, reason: str, dry_run: bool, **arguments: Any) -> Operation:
    key, name = _who(actor)
    return Operation(
        verb=verb,
        instance_id=_stored(instance_id, 255),
        actor_key=key,
        actor_name=_stored(name, 255),
        reason=_stored(reason, REASON),
        dry_run=dry_run,
        arguments={
            name: _plain(value) for name, value in arguments.items() if value is not None and value is not False
        },
        outcome=Operation.Outcome.DONE,
        at=clock.now(),
    )


def _plain(value: Any) -> Any:
    """Return an argument as it can be stored; one that is refused for what it is need not be JSON."""
    try:
        texts.check_plain(value, "arguments")
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (DurableError, TypeError, ValueError, RecursionError):
        return _stored(value, REASON)
    return value


def check_reason(reason: str) -> str:
    """Return a reason as it is, if it can be stored.

    Raises:
        InvalidInput: It is no text, is too long, or has characters that have no place in a text.
    """
    if not isinstance(reason, str):
        raise InvalidInput("reason", f"give a str, not {quoted(reason)}")
    if len(reason) > REASON:
        raise InvalidInput("reason", f"{len(reason):,} characters, the limit is {REASON:,}")
    texts.check_plain(conf.converter().encode(reason, "reason"), "reason")
    return reason


def _stored(given: object, longest: int) -> str:
    """Return what the audit keeps of a text that may be just what was refused."""
    return str(given).replace("\0", "").encode(errors="replace").decode()[:longest]


def _record(row: Operation, outcome: str, error: str) -> None:
    row.outcome, row.error, row.at = outcome, _stored(error, 2000), clock.now()
    row.save(using=conf.settings.DATABASE, force_insert=True)


def check_actor(actor: Any) -> None:
    """Refuse what cannot act.

    Raises:
        InvalidInput: It is no user, no name that can be stored, and not None.
    """
    if actor is None or actor == "":
        return
    if isinstance(actor, str):
        texts.check_name(actor, "actor", longest=255)
    elif isinstance(actor, type) or not callable(getattr(actor, "get_username", None)):
        raise InvalidInput("actor", f"{quoted(actor)} cannot be taken; give a user, a name, or None for the system")


def _who(actor: Any) -> tuple[str, str]:
    """Return the key and the name of whoever acts; what cannot act is quoted, so that it is taken for nobody's name."""
    try:
        check_actor(actor)
    except InvalidInput:
        return "", quoted(actor)
    return key_of(actor), name_of(actor)


def name_of(actor: Any) -> str:
    """Return the name of whoever acts; empty for the system."""
    if actor is None:
        return ""
    return actor if isinstance(actor, str) else str(actor.get_username())


def key_of(actor: Any) -> str:
    """Return the primary key of the user who acts, as text; empty if it is none."""
    # Not by its class: a project need not have Django's users installed.
    return "" if isinstance(actor, str) or getattr(actor, "is_anonymous", True) else str(actor.pk)
