"""Run an activity as a worker would, with no worker and no database."""

from __future__ import annotations

import asyncio
import inspect
import threading
import uuid
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync, sync_to_async
from django.db import transaction
from django.utils import timezone

from durable import activity, conf, interceptors
from durable.core import payloads
from durable.core.definitions import ActivityDefinition, is_method
from durable.core.errors import InvalidInput, NonRetryable
from durable.engine import running
from durable.engine.attempts import encode_details, token

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

_EXECUTION = str(uuid.UUID(int=0))


class ActivityEnvironment:
    """What surrounds an activity while a worker runs it, made by a test.

    Attributes:
        heartbeats: The details of every heartbeat of the last run, as JSON.
        token: What the last run's ``complete_later`` returned, or None.
    """

    def __init__(
        self,
        *,
        attempt: int = 1,
        instance_id: str = "test",
        execution_id: str = _EXECUTION,
        event_id: int = 0,
        deadline: datetime | None = None,
        heartbeat_details: Sequence[Any] = (),
        on_heartbeat: Callable[..., object] | None = None,
        workflow: str = "test",
        queue: str = "default",
        headers: dict[str, Any] | None = None,
    ) -> None:
        """Say what the activity shall find.

        Args:
            attempt: Which attempt this is, from 1.
            instance_id: Whose activity it is.
            execution_id: Which execution's; part of the idempotency key.
            event_id: The number of the activity; part of the idempotency key.
            deadline: When the attempt is given up; None follows from the activity's own timeouts.
            heartbeat_details: What an earlier attempt recorded last.
            on_heartbeat: Called with the details of each heartbeat; it may call ``cancel``.
            workflow: The type name of the workflow that asks for it.
            queue: The queue of that workflow; an activity may have its own.
            headers: What the instance carries along.

        Raises:
            InvalidInput: The heartbeat details have no JSON form.
        """
        self.heartbeats: list[tuple[Any, ...]] = []
        self.token: str | None = None
        self._deadline, self._queue, self._on_heartbeat = deadline, queue, on_heartbeat
        self._earlier = tuple(encode_details(tuple(heartbeat_details)))
        self._cancelled = threading.Event()
        self._info = activity.Info(
            name="",
            instance_id=instance_id,
            execution_id=execution_id,
            event_id=event_id,
            attempt=attempt,
            deadline=deadline,
            workflow=workflow,
            queue=queue,
            headers=headers or {},
        )

    @property
    def info(self) -> activity.Info:
        """What the activity of the last run got from ``activity.info()``; before a run it has no name."""
        return self._info

    def cancel(self) -> None:
        """Make ``activity.cancelled()`` true from now on; any thread may call this."""
        self._cancelled.set()

    def run(self, definition: ActivityDefinition, /, *args: Any, **kwargs: Any) -> Any:
        """Run an activity once and return what a workflow would get, or raise what the function raised.

        The arguments and the result pass through JSON as they would between a
        workflow and a worker; a result that is left to somebody else is None.
        An atomic activity runs in a transaction, which an error rolls back.

        Args:
            definition: The activity; for a method, that of an object: ``obj.method``.
            args: Its arguments.
            kwargs: Its named arguments.

        Raises:
            InvalidInput: It is no activity, or async and so is the test; or the arguments
                or the result do not fit or have no JSON form.
            PayloadTooLarge: The arguments or the result are longer than the limit.
        """
        _check(definition)
        if inspect.iscoroutinefunction(definition.fn) and asyncio._get_running_loop() is not None:
            raise InvalidInput("run(definition)", f"{definition.name} is async, and so is the test: await arun(...)")
        where = f"input of {definition.name}"
        arguments = definition.signature.bind(args, kwargs, conf.converter())
        payloads.dumps(arguments, where, conf.limit("payload"))
        result = self._run(definition, arguments)
        if self.token is not None:
            return None
        return definition.signature.decode_result(result, conf.converter())

    async def arun(self, definition: ActivityDefinition, /, *args: Any, **kwargs: Any) -> Any:
        """Run an activity from async code, in another thread, as a worker would; see ``run``."""
        return await sync_to_async(self.run)(definition, *args, **kwargs)

    def _run(self, definition: ActivityDefinition, arguments: dict[str, Any]) -> Any:
        """Return the result as JSON."""
        attempt = self._begin(definition)
        reset = activity.running.set(attempt)
        try:
            with _transaction(definition):
                result = interceptors.around(
                    "activity", self._info, lambda: running.call(definition, arguments, _to_its_end)
                )
                return None if self.token is not None else running.encode(definition, result)
        finally:
            activity.running.reset(reset)

    def _begin(self, definition: ActivityDefinition) -> _Attempt:
        self.heartbeats, self.token = [], None
        self._info = replace(
            self._info,
            name=definition.name,
            queue=definition.queue or self._queue,
            deadline=self._deadline or _deadline(definition),
        )
        return _Attempt(self, self._info, definition)

    def _beat(self, details: tuple[Any, ...]) -> None:
        encoded = tuple(encode_details(details))
        self.heartbeats.append(encoded)
        if self._on_heartbeat is not None:
            self._on_heartbeat(*encoded)

    def _last_details(self) -> tuple[Any, ...]:
        return next((details for details in reversed(self.heartbeats) if details), self._earlier)


class _Attempt:
    """What ``durable.activity`` finds while the activity runs."""

    def __init__(self, environment: ActivityEnvironment, info: activity.Info, definition: ActivityDefinition) -> None:
        self.info = info
        self._environment, self._definition = environment, definition

    def heartbeat(self, details: tuple[Any, ...]) -> None:
        self._environment._beat(details)

    def heartbeat_details(self) -> tuple[Any, ...]:
        return self._environment._last_details()

    def cancelled(self) -> bool:
        return self._environment._cancelled.is_set()

    def complete_later(self) -> str:
        if self._definition.atomic:
            raise NonRetryable("an atomic activity cannot be completed later: its writes and its end are one commit")
        self._environment.token = token(self.info)
        return self._environment.token


def _check(definition: Any) -> None:
    if not isinstance(definition, ActivityDefinition):
        raise InvalidInput("run(definition)", f"{definition!r} is no activity; mark it with @activity.defn")
    if is_method(definition.fn):
        raise InvalidInput("run(definition)", f"{definition.name} is a method; give that of an object: obj.method")


def _deadline(definition: ActivityDefinition) -> datetime | None:
    limits = [limit for limit in (definition.start_to_close, definition.schedule_to_close) if limit is not None]
    return timezone.now() + timedelta(seconds=min(limits)) if limits else None


def _transaction(definition: ActivityDefinition) -> AbstractContextManager[None]:
    return transaction.atomic(using=conf.settings.DATABASE) if definition.atomic else nullcontext()


@async_to_sync
async def _to_its_end(coroutine: Coroutine[Any, Any, Any]) -> Any:
    # By way of asgiref, so that Django's async calls reach the database in the test's thread and transaction.
    return await coroutine
