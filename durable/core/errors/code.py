"""What workflow code did."""

from __future__ import annotations

from durable.core.errors.base import DurableError


class OutsideWorkflow(DurableError):
    """Something that only a running workflow or activity can do was tried elsewhere."""

    def __init__(self, call: str, advice: str) -> None:
        self.call, self.advice = call, advice
        super().__init__(f"{call} works only inside a running workflow or activity; {advice}")


class ForbiddenInWorkflow(DurableError):
    """Workflow code reached outside, which cannot be replayed.

    Attributes:
        call: What was called, e.g. ``socket.connect``.
        instead: What to do in its place.
        location: ``file:line`` of the workflow code, when known.
        written: What stands there, e.g. ``requests.get(url)``.
    """

    def __init__(
        self, call: str, *, instead: str = "Do it in an activity", location: str = "", written: str = ""
    ) -> None:
        self.call, self.instead, self.location, self.written = call, instead, location, written
        at = f" (at {location}{': ' if written else ''}{written})" if location else ""
        super().__init__(f"{call} is not allowed in a workflow: it could not be replayed. {instead}{at}")


class ReadOnly(DurableError):
    """A query or a validator tried to change the workflow.

    Attributes:
        call: What it called.
        looker: Who did, e.g. ``query 'total'``.
        location: ``file:line`` of the call, when known.
        written: What stands there, e.g. ``lines.pop()``.
    """

    def __init__(
        self, call: str, *, looker: str = "a query or a validator", location: str = "", written: str = ""
    ) -> None:
        self.call, self.looker, self.location, self.written = call, looker, location, written
        at = f" (at {location}{': ' if written else ''}{written})" if location else ""
        super().__init__(f"{call} is not allowed in {looker}: it may look, and not touch{at}")


class NondeterminismError(DurableError):
    """The workflow code no longer does what its history records.

    Attributes:
        seq: Place in the history, 1-based, of the first event that differs;
            one past the end if the code did more than was recorded.
        event_id: The number of the thing asked for, or None for control events.
        expected: What the history holds, e.g. ``ActivityScheduled(charge)``.
        got: What the code did instead; None if it did nothing.
        location: ``file:line`` of the workflow code, when known.
        offer: From upgrade: the event id to rerun from instead, or None.
    """

    def __init__(
        self,
        *,
        seq: int,
        event_id: int | None,
        expected: str,
        got: str | None,
        location: str = "",
        offer: int | None = None,
        note: str = "",
    ) -> None:
        self.seq, self.event_id, self.expected, self.got = seq, event_id, expected, got
        self.location, self.offer, self.note = location, offer, note
        at = f" (at {location})" if location else ""
        more = f". {note}" if note else ""
        super().__init__(f"event {seq}: history has {expected}, workflow did {got or 'nothing'}{at}{more}")

    def without_arguments(self) -> NondeterminismError:
        """Return the same error with the steps' names alone: where two read alike, their arguments are quoted."""
        return NondeterminismError(
            seq=self.seq,
            event_id=self.event_id,
            expected=bare_step(self.expected),
            got=self.got and bare_step(self.got),
            location=self.location,
            offer=self.offer,
            note=self.note,
        )


def bare_step(step: str) -> str:
    """Return a step without its arguments: ``ActivityScheduled(charge)``."""
    return step.partition(" ")[0]


class PatchReused(DurableError):
    """Workflow code deprecates a patch and asks for the same one, or the other way round.

    Attributes:
        patch_id: The patch.
        first, second: ``file:line`` of the two calls.
    """

    def __init__(self, patch_id: str, *, first: str, second: str, deprecated: bool) -> None:
        self.patch_id, self.first, self.second = patch_id, first, second
        calls = ("patched()", "deprecate_patch()") if deprecated else ("deprecate_patch()", "patched()")
        super().__init__(
            f"patch {patch_id!r} is used for two things, by {calls[0]} at {first} and by {calls[1]} at {second}: "
            f"give each change an id of its own, and deprecate one in all its places at once"
        )


class ChannelClosed(DurableError):
    """A channel is closed.

    Attributes:
        verb: What was tried, ``send`` or ``receive``.
    """

    def __init__(self, verb: str) -> None:
        self.verb = verb
        super().__init__(f"cannot {verb}: the channel is closed")


class RunawayStep(DurableError):
    """Workflow code ran for too long without waiting for anything.

    Attributes:
        seconds: How long it was given.
        stack: Where it was, as text.
    """

    def __init__(self, seconds: float, stack: str) -> None:
        self.seconds, self.stack = seconds, stack
        super().__init__(f"the workflow ran for {seconds:g} s without waiting for anything; it was here:\n{stack}")
