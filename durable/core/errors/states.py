"""The state that an instance is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.core.errors.base import DurableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class NotOpen(DurableError):
    """The instance has ended, so it takes no more of this.

    Attributes:
        verb: What was tried.
        note: What may be why, in words.
    """

    def __init__(self, instance_id: str, *, status: str, verb: str = "", note: str = "") -> None:
        self.instance_id, self.status, self.verb, self.note = instance_id, status, verb, note
        refused = f" and cannot {verb}" if verb else ""
        super().__init__(f"instance {instance_id!r} is {status}{refused}{': ' if note else ''}{note}")


class NotClosed(DurableError):
    """The instance has not ended yet, and only an ended one can do this."""

    def __init__(self, instance_id: str, *, status: str, verb: str = "") -> None:
        self.instance_id, self.status, self.verb = instance_id, status, verb
        super().__init__(f"instance {instance_id!r} is {status}; end it before you {verb or 'go on'}")


class NotFailed(DurableError):
    """The instance has not failed, and only a failed one can do this."""

    def __init__(self, instance_id: str, *, status: str) -> None:
        self.instance_id, self.status = instance_id, status
        super().__init__(f"instance {instance_id!r} is {status}, not failed")


class WorkWouldBeLost(DurableError):
    """What was done since would no longer count.

    Attributes:
        execution_id: The execution that was to be current again.
        lost: What would be lost, in words.
    """

    def __init__(self, instance_id: str, execution_id: str, *, lost: Sequence[str]) -> None:
        self.instance_id, self.execution_id, self.lost = instance_id, execution_id, tuple(lost)
        super().__init__(
            f"execution {execution_id} of {instance_id!r} cannot be restored without losing: {'; '.join(lost)}"
        )


class NotAnActivity(DurableError):
    """The event is not the scheduling of an activity."""

    def __init__(self, event_id: int, kind: str) -> None:
        self.event_id, self.kind = event_id, kind
        super().__init__(f"event {event_id} is a {kind}, not an activity")


class ConcurrencyConflict(DurableError):
    """Somebody else changed the instance first; nothing was written.

    Attributes:
        expected: The head (sequence number of the last event) that was seen.
        found: The head that is stored, when known.
    """

    def __init__(self, instance_id: str, *, expected: int, found: int | None = None) -> None:
        self.instance_id, self.expected, self.found = instance_id, expected, found
        now = "" if found is None else f", it is {found} now"
        super().__init__(f"instance {instance_id!r} moved on: its head was {expected}{now}")


class VersionNotAvailable(DurableError):
    """This process has the workflow, but not in this version."""

    def __init__(self, name: str, version: int, *, registered: Iterable[int] = ()) -> None:
        self.name, self.version, self.registered = name, version, tuple(sorted(registered))
        have = ", ".join(map(str, self.registered)) or "none"
        super().__init__(f"version {version} of workflow {name!r} is not registered here (there are: {have})")


class InTransaction(DurableError):
    """The caller would wait, inside a transaction, for what can only happen after it.

    Attributes:
        verb: What was tried.
    """

    def __init__(self, verb: str) -> None:
        self.verb = verb
        super().__init__(
            f"{verb} would wait for ever inside a transaction: no worker sees the request before the commit. "
            "Call it outside, or with timeout=0 and ask for the outcome later, by the same update_id"
        )


class PermissionDenied(DurableError):
    """The actor may not do this."""

    def __init__(self, actor: str, verb: str) -> None:
        self.actor, self.verb = actor, verb
        super().__init__(f"{actor} may not {verb}")
