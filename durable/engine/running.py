"""Run one attempt of an activity's function, and say how it ended."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, InternalError, connections
from django.db.transaction import TransactionManagementError

from durable import activity, conf, interceptors
from durable.core import events as ev
from durable.core import payloads
from durable.core.errors import DurableError
from durable.core.failures import Failure
from durable.core.frames import stops_the_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from durable.core.definitions import ActivityDefinition

Ended = ev.ActivityCompleted | ev.ActivityFailed | ev.ActivityCanceled


SPOILED = (IntegrityError, InternalError, TransactionManagementError)
"""What an atomic activity's transaction raises at its end if the activity spoiled it.

It broke a constraint that is checked at the commit, or went on after an error
of the database. That is the activity's failure; that the database is away is not.
"""


class Later(Exception):
    """The activity asked to be completed from outside."""


def attempt(definition: ActivityDefinition, arguments: dict[str, Any], running: activity.Running) -> Ended:
    """Call the function and return the event that tells how it ended.

    Raises:
        Later: It left its completion to somebody else.
    """
    event_id, number = running.info.event_id, running.info.attempt
    is_coroutine = inspect.iscoroutinefunction(definition.fn)
    token = activity.running.set(_ByThread(running) if is_coroutine else running)
    try:
        result = interceptors.around("activity", running.info, lambda: call(definition, arguments))
    except asyncio.CancelledError:
        return ev.ActivityCanceled(event_id=event_id)
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and stops_the_worker(error):
            raise
        return ev.ActivityFailed(event_id=event_id, failure=Failure.of(error), attempts=number)
    finally:
        activity.running.reset(token)
    if getattr(running, "left", False):
        raise Later
    try:
        return ev.ActivityCompleted(event_id=event_id, result=encode(definition, result), attempts=number)
    except DurableError as error:
        # The work is done; doing it again would not make the result fit.
        failure = Failure.of(error)
        return ev.ActivityFailed(event_id=event_id, failure=_final(failure), attempts=number)


def call(
    definition: ActivityDefinition,
    arguments: dict[str, Any],
    run: Callable[[Coroutine[Any, Any, Any]], Any] = asyncio.run,
) -> Any:
    """Call the function and return or raise what it does.

    Args:
        definition: The activity.
        arguments: Its arguments, still JSON.
        run: Runs a coroutine to its end.
    """
    args, kwargs = definition.signature.unbind(arguments, conf.converter(load=True))
    if inspect.iscoroutinefunction(definition.fn):
        return run(definition.fn(*args, **kwargs))
    return definition.fn(*args, **kwargs)


def encode(definition: ActivityDefinition, result: Any) -> Any:
    """Return what the function returned as JSON.

    Raises:
        InvalidInput: It has no JSON form.
        PayloadTooLarge: It is longer than the limit.
    """
    where = f"result of {definition.name}"
    encoded = definition.signature.encode_result(result, conf.converter(), where=where)
    payloads.dumps(encoded, where, conf.limit("payload"))
    return encoded


def _final(failure: Failure) -> Failure:
    return Failure(**{**{name: getattr(failure, name) for name in failure.__slots__}, "retryable": False})


class _ByThread:
    """What the engine offers to a coroutine: Django refuses the database where an event loop runs."""

    def __init__(self, running: activity.Running) -> None:
        self._running, self.info = running, running.info

    def heartbeat(self, details: tuple[Any, ...]) -> None:
        _by_thread(self._running.heartbeat, details)

    def heartbeat_details(self) -> tuple[Any, ...]:
        details: tuple[Any, ...] = _by_thread(self._running.heartbeat_details)
        return details

    def cancelled(self) -> bool:
        return bool(_by_thread(self._running.cancelled))

    def complete_later(self) -> str:
        return str(_by_thread(self._running.complete_later))


_threads: dict[int, ThreadPoolExecutor] = {}


def _by_thread(call: Callable[..., Any], *args: Any) -> Any:
    """Make a call from a thread that is kept for this, and so keeps its database connection."""
    pid = os.getpid()  # a forked child has none of its parent's threads
    if pid not in _threads:
        _threads.clear()
        _threads[pid] = ThreadPoolExecutor(1, thread_name_prefix="durable-activity")
    return _threads[pid].submit(_on_good_connection, call, *args).result()


def close_connections() -> None:
    """Close the database connections by which the coroutines of this process reached the engine."""
    for thread in _threads.values():
        thread.submit(connections.close_all).result()


def _on_good_connection(call: Callable[..., Any], *args: Any) -> Any:
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()
    return call(*args)


_stopping = threading.Event()


def stop_soon() -> None:
    """Ask for leases to be given back at the next chance: the worker is shutting down."""
    _stopping.set()


def go_on() -> None:
    """Undo ``stop_soon``: a worker begins in this process."""
    _stopping.clear()


def stopping() -> bool:
    """Say whether the worker is shutting down."""
    return _stopping.is_set()


_refused: list[str] = []


def refuse(reason: str) -> None:
    """Have no work done in this process."""
    _refused.append(reason)


def check_fit() -> None:
    """See that work may be done in this process.

    Raises:
        ImproperlyConfigured: It may not.
    """
    if _refused:
        raise ImproperlyConfigured(_refused[0])
