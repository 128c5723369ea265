"""What the code asked for and is not answered yet, and what an answer does to whoever waits for it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from durable.core import events as ev
from durable.core.errors import ActivityError, ChildFailed, RecordedError, SignalError
from durable.core.failures import Failure
from durable.core.futures import Timer


class Open(msgspec.Struct, eq=False):
    """Something that the code asked for and that is not answered yet.

    Attributes:
        event: What was asked for.
        waiter: The future or timer that waits for the answer; None when
            nobody waits any more but the end is still to be recorded.
        called_off: Whether the code gave up on it.
    """

    event: ev.Asked
    waiter: asyncio.Future[Any] | Timer | None
    called_off: bool = False

    @property
    def is_awaited(self) -> bool:
        """Whether the answer will make a difference to the code."""
        return self.waiter is not None and not self.waiter.cancelled()


def resolve(open: dict[int, Open], event_id: int, result: Any) -> None:
    """Give whoever waits for it the result of something."""
    found = open.pop(event_id, None)
    waiter: Any = None if found is None else found.waiter
    if waiter is not None and not waiter.done():
        waiter.set_result(result)


def reject(open: dict[int, Open], event_id: int, error: BaseException) -> None:
    """Raise an error where somebody waits for something."""
    waiter = close(open, event_id)
    if waiter is not None and not waiter.done():
        waiter.set_exception(error)


def cancel(open: dict[int, Open], event_id: int) -> None:
    """Cancel whoever waits for an activity; a child that was canceled is an error."""
    asked = open.get(event_id)
    if asked is None:
        return
    if isinstance(asked.event, ev.ChildScheduled):
        failure = Failure(type="WorkflowCanceled", message="the child workflow was canceled")
        reject(open, event_id, child_error(open, event_id, failure))
    else:
        waiter = close(open, event_id)
        if waiter is not None:
            waiter.cancel()


def close(open: dict[int, Open], event_id: int) -> Any:
    """Let something be open no more, and return who waits for it; None if nobody does."""
    found = open.pop(event_id, None)
    return None if found is None else found.waiter


def activity_error(open: dict[int, Open], event: ev.ActivityFailed) -> ActivityError:
    """Return what whoever waits for a failed activity gets."""
    cause = RecordedError(event.failure)
    return ActivityError(_name(open, event), event_id=event.event_id, attempts=event.attempts, cause=cause)


def child_error(open: dict[int, Open], event_id: int, failure: Failure) -> ChildFailed:
    """Return what whoever waits for a child that did not complete gets."""
    asked = open.get(event_id)
    child = asked.event if asked else None
    name, instance_id = (child.name, child.instance_id) if isinstance(child, ev.ChildScheduled) else ("", "")
    return ChildFailed(name, instance_id=instance_id, event_id=event_id, cause=RecordedError(failure))


def signal_error(open: dict[int, Open], event: ev.SignalFailed) -> SignalError:
    """Return what whoever waits for a signal that was not delivered gets."""
    asked = open.get(event.event_id)
    target = asked.event.instance_id if asked and isinstance(asked.event, ev.SignalSent) else ""
    return SignalError(target, _name(open, event), event_id=event.event_id, cause=RecordedError(event.failure))


def _name(open: dict[int, Open], event: ev.Answer) -> str:
    asked = open.get(event.event_id)
    return asked.event.name if asked else ""


def left(open: dict[int, Open]) -> list[ev.Asked]:
    """Return what the code asked for, never gave up on and did not wait for; not children that are to live on."""
    awaited = [asked.event for _, asked in sorted(open.items()) if asked.is_awaited]
    return [e for e in awaited if not isinstance(e, ev.ChildScheduled) or e.options.get("parent_close") != "abandon"]
