"""Queries: looking into a workflow through closures that its function registered."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from durable.core.context import current
from durable.core.errors import InvalidDefinition, InvalidInput
from durable.core.signatures import Signature

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable.core.execution import Execution

F = TypeVar("F", bound="Callable[..., Any]")


def query(fn: F) -> F:
    """Register a closure over the workflow's state that clients may call; it may look and not touch.

    Raises:
        InvalidDefinition: It is an ``async def``: a query answers at once.
    """
    if inspect.iscoroutinefunction(fn):
        raise InvalidDefinition(fn.__name__, "a query must be a plain def: it answers at once")
    current("workflow.query()").queries[fn.__name__] = fn
    return fn


def answer(execution: Execution, name: str, arguments: dict[str, Any]) -> Any:
    """Call a query of an execution and return its answer as plain JSON.

    Args:
        execution: The execution, which stands still between two steps.
        name: The query's name.
        arguments: ``{"args": [...], "kwargs": {...}}``.

    Raises:
        InvalidInput: There is no such query, or the arguments do not fit it.
        ReadOnly: The query tried to change something.
        Exception: What the query raised.
    """
    fn = execution.queries.get(name)
    if fn is None:
        there_are = ", ".join(sorted(execution.queries)) or "none"
        raise InvalidInput(f"query {name!r}", f"the workflow has no such query; there are: {there_are}")
    signature = Signature.of(fn, name)
    args, kwargs = signature.unbind(arguments, execution.converter)
    outer = asyncio._get_running_loop()
    asyncio._set_running_loop(execution.loop)
    execution.loop.looking = True
    try:
        value = execution.context().run(fn, *args, **kwargs)
    finally:
        execution.loop.looking = False
        asyncio._set_running_loop(outer)
    return execution.within_limit(
        signature.encode_result(value, execution.converter, where=f"answer of {name}"), f"answer of {name}"
    )
