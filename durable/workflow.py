"""Write workflows: the decorator, and what their code may call."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, overload

from durable import registry
from durable.core import context
from durable.core.calls import (
    ChildHandle,
    continue_as_new,
    signal_instance,
    signals,
    wait_signal,
    wait_until,
)
from durable.core.channels import Channel
from durable.core.compensations import Compensations
from durable.core.context import (
    Info,
    cancelled,
    info,
    now,
    random,
    set_progress,
    set_status,
    set_tags,
    time,
    uuid4,
    version,
)
from durable.core.definitions import (
    ActivityDefinition,
    WorkflowDefinition,
    anything,
    define_activity,
    define_workflow,
)
from durable.core.marks import deprecate_patch, patched, side_effect
from durable.core.queries import query
from durable.core.replay_log import ReplaySilentAdapter
from durable.core.selecting import default, on, receive, select, send
from durable.core.updates import all_handlers_finished, update

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from durable.core.retry import RetryPolicy

__all__ = [
    "Channel",
    "ChildHandle",
    "Compensations",
    "Info",
    "activity_by_name",
    "all_handlers_finished",
    "cancelled",
    "child_by_name",
    "continue_as_new",
    "default",
    "defn",
    "deprecate_patch",
    "info",
    "logger",
    "now",
    "on",
    "patched",
    "query",
    "random",
    "receive",
    "select",
    "send",
    "set_progress",
    "set_status",
    "set_tags",
    "side_effect",
    "signal_instance",
    "signals",
    "time",
    "update",
    "uuid4",
    "version",
    "wait_signal",
    "wait_until",
]

logger = ReplaySilentAdapter(logging.getLogger("durable.workflow"))
"""Carries instance and execution id; says nothing while steps are replayed."""


@overload
def defn(fn: Callable[..., Any], /) -> WorkflowDefinition: ...
@overload
def defn(
    *,
    name: str | None = None,
    version: int | None = None,
    queue: str | None = None,
    timeout: timedelta | float | None = None,
    retry: RetryPolicy | None = None,
) -> Callable[[Callable[..., Any]], WorkflowDefinition]: ...
def defn(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a workflow of an ``async def`` and register it.

    Args:
        fn: The function.
        options: ``name`` (default the function's), ``version`` (default the
            digits that the name ends in, else 0), ``queue``, ``timeout`` (of an
            instance, over all its executions), ``retry`` (of a failed instance).

    Raises:
        InvalidDefinition: It cannot be a workflow.
        DuplicateName: Another workflow has its name and version.
    """

    def define(function: Callable[..., Any]) -> WorkflowDefinition:
        definition = define_workflow(function, **options)
        registry.add_workflow(definition)
        return definition

    return define if fn is None else define(fn)


def activity_by_name(name: str) -> ActivityDefinition:
    """Return an activity that is not importable here; its result comes back as plain JSON."""
    return define_activity(anything, name=name)


def child_by_name(type_name: str) -> WorkflowDefinition:
    """Return a workflow that is not importable here, to run as a child."""
    context.current("workflow.child_by_name()")
    return define_workflow(anything, name=type_name)
