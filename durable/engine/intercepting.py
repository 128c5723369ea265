"""What the engine tells interceptors, and what it takes from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from durable import conf, interceptors
from durable.core import payloads, texts
from durable.core.type_names import type_name
from durable.store import clock, instances

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable.core import events as ev
    from durable.core.execution import Execution
    from durable.engine.turn import Turn
    from durable.models import Instance

T = TypeVar("T")


def start(call: interceptors.StartCall, begin: Callable[[dict[str, Any]], T]) -> T:
    """Begin an instance with the headers that interceptors leave.

    Raises:
        InvalidInput, PayloadTooLarge: The headers cannot be stored.
    """
    where = f"headers of {call.workflow}"
    return interceptors.around("start", call, lambda: begin(_checked(call.headers, where)))


def signal(call: interceptors.SignalCall, send: Callable[[dict[str, Any]], T]) -> T:
    """Send a signal with the headers that interceptors leave.

    Raises:
        InvalidInput, PayloadTooLarge: The headers cannot be stored.
    """
    where = f"headers of signal {call.name}"
    return interceptors.around("signal", call, lambda: send(_checked(call.headers, where)))


def _checked(headers: dict[str, Any], where: str) -> dict[str, Any]:
    if not headers:
        return headers
    converter = conf.converter()
    checked = {texts.check_name(name, where): converter.encode(value, where) for name, value in headers.items()}
    payloads.dumps(checked, where, conf.limit("payload"))
    return checked


def is_watched(name: str) -> bool:
    """Say whether any interceptor has this hook."""
    return bool(interceptors.hooks(name))


def turn(instance: Instance, take: Callable[[], Turn]) -> Turn:
    """Take a turn within the interceptors' hooks."""
    if not is_watched("turn"):
        return take()
    call = interceptors.TurnCall(**_facts(instance), head=instance.head)

    def watched() -> Turn:
        taken = take()
        call.events.extend(taken.came_in)
        call.spans.extend(taken.execution.spans)
        return taken

    return interceptors.around("turn", call, watched)


def end(instance: Instance, event: ev.End, live: Execution | None, close: Callable[[], T]) -> T:
    """Close an execution within the interceptors' hooks."""
    if not is_watched("end"):
        return close()
    call = interceptors.EndCall(
        **_facts(instance),
        end=event,
        started_at=_started_at(instance, live),
        ended_at=clock.now().timestamp(),
    )
    return interceptors.around("end", call, close)


def _started_at(instance: Instance, live: Execution | None) -> float:
    created_at = instances.executions().values_list("created_at", flat=True).get(pk=instance.execution_id)
    created: float = created_at.timestamp()
    if live is None or live.started is None:
        return created
    # A rewound execution has the start of the one before it; one that was delayed began after it was made.
    return max(created, live.started.at)


def _facts(instance: Instance) -> dict[str, Any]:
    return {
        "instance_id": instance.pk,
        "execution_id": str(instance.execution_id),
        "workflow": type_name(instance.name, instance.version),
        "queue": instance.queue,
        "headers": dict(instance.headers or {}),
    }
