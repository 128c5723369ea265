"""One attempt of an activity in a simulation: what surrounds the function, and how it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections, transaction

from durable import conf
from durable.core import events as ev
from durable.core.definitions import define_activity
from durable.core.errors import NonRetryable
from durable.core.failures import Failure
from durable.engine import running
from durable.engine.attempts import encode_details, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable.core.definitions import ActivityDefinition
    from durable.testing.tasks import Task


class Attempt:
    """What ``durable.activity`` finds while an attempt runs.

    Attributes:
        left: Whether its completion was left to somebody else.
        details: The last heartbeat's, or those of an earlier attempt.
    """

    def __init__(self, task: Task) -> None:
        self.info, self._task = task.info(), task
        self.left = False
        self.details = task.details

    def heartbeat(self, details: tuple[Any, ...]) -> None:
        """Keep the details."""
        encoded = encode_details(details)
        self.details = encoded or self.details

    def heartbeat_details(self) -> tuple[Any, ...]:
        """Return what was kept last."""
        return tuple(self.details)

    def cancelled(self) -> bool:
        """Say whether nobody waits any more."""
        return self._task.cancelled

    def complete_later(self) -> str:
        """Leave the completion to ``Simulation.complete_activity`` or ``fail_activity``."""
        if self._task.definition.atomic:
            raise NonRetryable("an atomic activity cannot be completed later: its writes and its end are one commit")
        self.left = True
        return token(self.info)


def stand_in(definition: ActivityDefinition, behave: Callable[[], Any]) -> ActivityDefinition:
    """Return an activity without parameters that does what a mock says, whose errors name the real one."""
    return define_activity(behave, name=definition.name)


def attempt(definition: ActivityDefinition, arguments: dict[str, Any], running_as: Attempt) -> running.Ended:
    """Run an attempt for real; an atomic one in a transaction, if there may be one."""
    if not definition.atomic or not _has_database():
        return running.attempt(definition, arguments, running_as)
    using = conf.settings.DATABASE
    try:
        with transaction.atomic(using=using):
            ended = running.attempt(definition, arguments, running_as)
            if not isinstance(ended, ev.ActivityCompleted):
                transaction.set_rollback(True, using=using)
        return ended
    except running.SPOILED as error:
        info = running_as.info
        return ev.ActivityFailed(event_id=info.event_id, failure=Failure.of(error), attempts=info.attempt)


def _has_database() -> bool:
    try:
        connections[conf.settings.DATABASE].ensure_connection()
    except Exception:  # noqa: BLE001 - test runners refuse the database each in a way of its own
        return False
    return True
