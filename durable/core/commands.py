"""What workflow code asks for: its decisions, before anybody acts on them.

Most commands are recorded as the event that says they were asked for, so that
event is the command. Calling off an activity or a child leaves no event of its
own: the answer (``ActivityCanceled``, ``ChildCanceled``, or a result that was
quicker) is what the history holds.
"""

from __future__ import annotations

from dataclasses import dataclass

from durable.core import events
from durable.core.events import Asked, ChildScheduled, End, TimerCanceled, UpdateCompleted
from durable.core.failures import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelActivity:
    """Call off the activity with this event id."""

    event_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelChild:
    """Ask the child workflow with this event id to stop."""

    event_id: int


Recordable = Asked | TimerCanceled | UpdateCompleted | End
Command = Recordable | CancelActivity | CancelChild


def differs(recorded: Recordable, issued: Recordable) -> bool:
    """Say whether the code did something else than the history records.

    Compared are the kind, the number, the name and an update's id, which is the
    identity of a command. Arguments and options may change under a running workflow.
    """
    if type(recorded) is not type(issued):
        return True
    if type(recorded) in events.ASKED:  # nearly all are, and this is quicker
        return recorded.event_id != issued.event_id or recorded.name != issued.name  # type: ignore[union-attr]
    return (
        getattr(recorded, "event_id", None) != getattr(issued, "event_id", None)
        or getattr(recorded, "name", "") != getattr(issued, "name", "")
        or (isinstance(recorded, UpdateCompleted) and recorded.update_id != getattr(issued, "update_id", None))
    )


def differs_at_all(recorded: Recordable, issued: Recordable) -> bool:
    """Say whether two commands differ, if only in an argument."""
    return type(recorded) is not type(issued) or bool(differing(recorded, issued))


def differing(recorded: Recordable, issued: Recordable) -> list[str]:
    """Return the names of the fields in which two commands of one kind differ, as far as the code decides them."""
    routed = ("version", "app_id") if isinstance(recorded, ChildScheduled) else ()
    names = [name for name in events.names(type(recorded)) if name not in routed]
    return [name for name in names if not _same(getattr(recorded, name), getattr(issued, name))]


def _same(recorded: object, issued: object) -> bool:
    if isinstance(recorded, Failure) and isinstance(issued, Failure):
        return recorded.type == issued.type  # messages and tracebacks may hold addresses
    return recorded == issued
