"""Write activities: the decorator, and what their code may call."""

from __future__ import annotations

import contextvars
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, overload

from durable import registry
from durable.core.definitions import ActivityDefinition, define_activity, is_method
from durable.core.errors import InvalidDefinition, NonRetryable, OutsideWorkflow

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from datetime import datetime, timedelta

    from durable.core.retry import RetryPolicy

    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter

__all__ = [
    "Info",
    "NonRetryable",
    "cancelled",
    "checkpoint",
    "complete_later",
    "defn",
    "from_celery",
    "heartbeat",
    "heartbeat_details",
    "info",
    "logger",
    "register",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What a running activity may know of itself.

    Attributes:
        event_id: The number of the ActivityScheduled event.
        attempt: Which attempt this is, from 1.
        idempotency_key: The same for every attempt; give it to services that know such keys.
        deadline: When the attempt is given up, or None.
        workflow: The type name of the workflow that asked for it.
        queue: The queue that it was given to.
        headers: What its instance carries along.
        source_idempotency_key: In a rerun, the key that the source ran this activity under, for services that can
            undo or amend what was done with it; None if the source did not run it.
    """

    name: str
    instance_id: str
    execution_id: str
    event_id: int
    attempt: int
    deadline: datetime | None = None
    workflow: str = ""
    queue: str = ""
    headers: dict[str, Any] = field(default_factory=dict)
    source_idempotency_key: str | None = None

    @property
    def idempotency_key(self) -> str:
        """A key that is the same for every attempt, and different for everything else."""
        return idempotency_key(self.execution_id, self.event_id)


def idempotency_key(execution_id: object, event_id: int) -> str:
    """Return what names an activity of an execution, whatever the attempt."""
    return f"{execution_id}:{event_id}"


class Running(Protocol):
    """What the engine offers to the activity that it runs."""

    info: Info

    def heartbeat(self, details: tuple[Any, ...]) -> None:
        """Record that the attempt is alive."""

    def heartbeat_details(self) -> tuple[Any, ...]:
        """Return what was recorded last, by an earlier attempt perhaps."""

    def cancelled(self) -> bool:
        """Say whether nobody waits any more."""

    def complete_later(self) -> str:
        """Leave the completion to somebody else and return their token."""


running: contextvars.ContextVar[Running] = contextvars.ContextVar("durable_activity")


def _current(call: str) -> Running:
    current = running.get(None)
    if current is None:
        raise OutsideWorkflow(call, "call it from a function marked with @activity.defn, while a worker runs it")
    return current


def info() -> Info:
    """Return what the running activity may know of itself."""
    return _current("activity.info()").info


def heartbeat(*details: Any) -> None:
    """Say that the activity is alive, and how far it is.

    Args:
        details: Any JSON; the next attempt finds them in ``heartbeat_details``.
    """
    _current("activity.heartbeat()").heartbeat(details)


def heartbeat_details() -> tuple[Any, ...]:
    """Return the details of the last heartbeat, an earlier attempt's if this one had none; else ()."""
    return _current("activity.heartbeat_details()").heartbeat_details()


def cancelled() -> bool:
    """Say whether the workflow does not wait for this activity any more."""
    return _current("activity.cancelled()").cancelled()


def complete_later() -> str:
    """Let somebody else finish this activity, and return the token that they need.

    What the function returns is then ignored; see ``client.complete_activity``
    and ``client.fail_activity``.
    """
    return _current("activity.complete_later()").complete_later()


class ActivityLogger(_Adapter):
    """Logs with the facts of the running attempt as fields."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        current = running.get(None)
        ids = (
            {
                "instance_id": current.info.instance_id,
                "execution_id": current.info.execution_id,
                "event_id": current.info.event_id,
                "attempt": current.info.attempt,
                "activity": current.info.name,
                "workflow": current.info.workflow,
                "queue": current.info.queue,
            }
            if current
            else {}
        )
        kwargs["extra"] = {**ids, **(kwargs.get("extra") or {})}
        return msg, kwargs


logger = ActivityLogger(logging.getLogger("durable.activity"))
"""Carries instance, execution and event id, the attempt, and the names of activity, workflow and queue."""


@overload
def defn(fn: Callable[..., Any], /) -> ActivityDefinition: ...
@overload
def defn(
    *,
    name: str | None = None,
    queue: str | None = None,
    retry: RetryPolicy | None = None,
    atomic: bool = False,
    priority: int | None = None,
    schedule_to_start: timedelta | float | None = None,
    start_to_close: timedelta | float | None = None,
    schedule_to_close: timedelta | float | None = None,
    heartbeat: timedelta | float | None = None,
) -> Callable[[Callable[..., Any]], ActivityDefinition]: ...
def defn(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make an activity of a function or method and register it.

    A method is registered when ``register(obj)`` gives it an instance.

    Args:
        fn: The function, ``def`` or ``async def``.
        options: ``name``, ``queue`` (default: the workflow's), ``retry``,
            ``atomic`` (its ORM writes and its completion are one commit),
            ``priority`` (higher first), and the timeouts ``schedule_to_start``,
            ``start_to_close`` (each attempt), ``schedule_to_close`` (all
            attempts) and ``heartbeat``.

    Raises:
        InvalidDefinition: It cannot be an activity.
        InvalidInput: An option cannot be taken.
        DuplicateName: Another activity has its name.
    """

    def define(function: Callable[..., Any]) -> ActivityDefinition:
        definition = define_activity(function, **options)
        if not is_method(function):
            registry.add_activity(definition)
        return definition

    return define if fn is None else define(fn)


def register(obj: object) -> None:
    """Register the activities among the methods of ``obj``, with ``obj`` as their shared state.

    Raises:
        InvalidDefinition: It has none.
        DuplicateName: Another activity has the name of one.
    """
    found = [name for name in dir(type(obj)) if isinstance(getattr(type(obj), name), ActivityDefinition)]
    if not found:
        raise InvalidDefinition(type(obj).__name__, "it has no methods marked with @activity.defn")
    for name in found:
        registry.add_activity(getattr(obj, name))


def from_celery(task: Any, **options: Any) -> ActivityDefinition:
    """Make an activity of an existing Celery task, which stays as it is.

    The task's own function is called in the worker; nothing is published.

    Args:
        task: What ``@shared_task`` or ``@app.task`` returned.
        options: As for ``defn``; ``name`` defaults to the task's.

    Raises:
        InvalidDefinition: It is bound (``bind=True``): it needs Celery's request, which it would not have.
    """
    if getattr(task.run, "__self__", None) is not None:
        raise InvalidDefinition(task.name, "a task with bind=True needs Celery's request; wrap its work in a function")
    definition = define_activity(task.run, **{"name": task.name, **options})
    registry.add_activity(definition)
    return definition


@defn(name="durable.checkpoint")
def checkpoint(value: Any = None) -> Any:
    """Return what it is given: a named place in a history from which a rerun can begin, with another value perhaps."""
    return value
