"""Factories for the rows of instances, for tests of what shows or reports them; they need factory-boy.

The rows are such as the engine leaves: every instance has its executions, a
history with the end that its status says, and tasks, timers and children for
what is still to come. No code of a workflow runs, and none need be registered.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from factory.base import Factory
from factory.declarations import LazyFunction, Sequence, SubFactory

from durable import conf
from durable.core import events as ev
from durable.models import Execution, Instance
from durable.testing import rows
from durable.testing.histories import history_of


class _Rows(Factory[Any]):
    class Meta:
        abstract = True

    @classmethod
    def _build(cls, model_class: type, *args: Any, **given: Any) -> Any:
        raise TypeError(f"{cls.__name__} builds more rows than one, which point at each other: use create()")


class InstanceFactory(_Rows):
    """Makes instances.

    Attributes:
        name: The workflow's name, with its version if it has one: ``order2``.
        args, kwargs: The arguments.
        status: The status; by default what the history says: running, or as it ended.
        history: A ``history_of(...)``; by default the start and what the status needs.
        result: What the workflow returned, if there is no history that says so.
        error: Why it failed, likewise: an exception or a message.
        stall: The error that stalled it.
        created_at: When it was started; by default such that the last event is recorded now.
        seconds: How many seconds there are between two events.
    """

    class Meta:
        model = Instance

    id = Sequence(lambda number: f"instance-{number}")
    name = "order"
    args = ()
    kwargs = LazyFunction(dict)
    status = None
    history = None
    result = None
    error = "it failed"
    stall = None
    queue = "default"
    tags = LazyFunction(dict)
    options = LazyFunction(dict)
    custom_status = None
    progress = None
    created_at = None
    seconds = 1.0

    @classmethod
    def _create(cls, model_class: type, *args: Any, **given: Any) -> Any:
        with transaction.atomic(using=conf.settings.DATABASE):
            return rows.create_instance(told=_told(given), **given)


class ExecutionFactory(_Rows):
    """Makes the next execution of an instance, and makes it the current one.

    Attributes:
        instance: The instance; by default a new one that has continued as new.
        origin: What it began for. ``continued`` ends the execution before it if
            that one is open; for the others the instance has to be closed.
        args, kwargs, history, status, result, error, stall, seconds: As for an instance.
    """

    class Meta:
        model = Execution

    instance = SubFactory(InstanceFactory)
    origin = Execution.Origin.CONTINUED
    args = ()
    kwargs = LazyFunction(dict)
    history = None
    status = None
    result = None
    error = "it failed"
    stall = None
    seconds = 1.0

    @classmethod
    def _create(cls, model_class: type, *args: Any, **given: Any) -> Any:
        with transaction.atomic(using=conf.settings.DATABASE):
            return rows.begin_execution(told=_told(given), **given)


def _told(given: dict[str, Any]) -> rows.Told:
    """Take what is said of the history out of what a factory was given."""
    args, kwargs, history = given.pop("args"), given.pop("kwargs"), given.pop("history")
    instance = given.get("instance")
    if history is None:
        history = history_of(given.get("name", ""), *args, **kwargs)
        if instance is not None and not (args or kwargs):
            history.events[0] = ev.replace(history.start, input=instance.input)
    told = {name: given.pop(name) for name in ("status", "result", "error", "stall", "seconds")}
    return rows.Told(history=history, **told)
