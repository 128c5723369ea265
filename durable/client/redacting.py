"""What users see who may not see payloads: the same, without what may quote one."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from durable.core import errors
from durable.core.errors import DurableError
from durable.core.errors.code import bare_step
from durable.operations.audit import HIDDEN

if TYPE_CHECKING:
    from collections.abc import Collection

    from durable.client.batches import BatchOutcome
    from durable.client.whys import Why
    from durable.core.explaining import Explanation
    from durable.core.shown import Frame

SILENT = frozenset(
    {
        *("UnknownInstance", "UnknownExecution", "UnknownEvent", "UnknownWorkflow", "UnknownActivity"),
        *("AlreadyExists", "NotOpen", "NotClosed", "NotFailed", "NotAnActivity", "WorkWouldBeLost"),
        *("ConcurrencyConflict", "VersionNotAvailable", "InTransaction", "PermissionDenied", "InvalidId"),
        *("PayloadTooLarge", "LimitExceeded", "ResultTimeout", "UpdateTimeout"),
    }
)
"""Errors that never quote payloads, whoever caused them; of all others nothing is told but what they are."""

_PLAIN = frozenset({"to", "version", "execution", "at", "update_id", "reason", "siblings", "actor"})
"""What a value is given for that is no payload, so that what is wrong with it can be told."""


def code_of(kind: type[Exception]) -> str:
    """Return a class's name as a code: ``NotOpen`` is ``not_open``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def error(error: DurableError) -> DurableError:
    """Return an error as it may be told to somebody who may not see payloads, which it may quote."""
    if type(error).__name__ in SILENT:
        return error
    if isinstance(error, errors.InvalidInput):
        return error if error.where in _PLAIN else errors.InvalidInput(error.where, HIDDEN)
    if isinstance(error, errors.NondeterminismError):
        return error.without_arguments()
    return _saying(error, f"{code_of(type(error)).replace('_', ' ')}: {HIDDEN}")


def _saying(error: DurableError, text: str) -> DurableError:
    """Return an error of the same class that has no facts and says something else."""
    rebuild = DurableError.__reduce__(error)[0]
    made: DurableError = rebuild(type(error), (text,), {})
    return made


def stall(stall: dict[str, Any]) -> dict[str, Any]:
    """Return why an instance is stalled, without what its code raised."""
    quoting = {"message", "traceback"}
    steps = {name: bare_step(stall[name]) for name in ("expected", "got") if isinstance(stall.get(name), str)}
    return {name: value for name, value in {**stall, **steps}.items() if name not in quoting}


def why(found: Why) -> Why:
    """Return why an instance does not go on, without the sentences that quote what failed."""
    quoting = {task.event_id for task in found.tasks if task.last_failure}
    reasons = [
        replace(reason, text=HIDDEN)
        if reason.kind in ("closed", "stalled", "child") or reason.event_id in quoting
        else reason
        for reason in found.reasons
    ]
    return replace(
        found,
        verdict=HIDDEN if any(reason.text == HIDDEN for reason in reasons) else found.verdict,
        reasons=tuple(reasons),
        tasks=tuple(replace(task, last_failure=None) for task in found.tasks),
        children=dict.fromkeys(found.children, HIDDEN),
        trouble=found.trouble and HIDDEN,
    )


def without_children(found: Why, seen: Collection[str]) -> Why:
    """Return why an instance does not go on, without how those of its children are that are not ``seen``."""
    if found.children.keys() <= set(seen):
        return found
    reasons = [replace(reason, text=HIDDEN) if reason.kind == "child" else reason for reason in found.reasons]
    return replace(
        found,
        verdict=HIDDEN if any(reason.text == HIDDEN for reason in reasons) else found.verdict,
        reasons=tuple(reasons),
        children={child: said for child, said in found.children.items() if child in seen},
    )


def explanation(found: Explanation) -> Explanation:
    """Return where code stands, without its variables and what it raised."""
    raised = found.raised
    return replace(
        found,
        tasks=tuple(replace(task, stack=_bare(task.stack)) for task in found.tasks),
        status=None,
        raised=raised and replace(raised, message=HIDDEN, stack=_bare(raised.stack)),
        trouble=found.trouble and _saying(found.trouble, HIDDEN),
    )


def _bare(stack: tuple[Frame, ...]) -> tuple[Frame, ...]:
    return tuple(replace(frame, variables={}, omitted=frame.omitted + len(frame.variables)) for frame in stack)


def outcome(item: BatchOutcome) -> BatchOutcome:
    """Return what became of an instance in a batch, without what the error quotes."""
    kind = item.error.partition(":")[0]
    return item if not kind or kind in SILENT else replace(item, error=f"{kind}: {HIDDEN}")
