"""Queries: looking into a workflow through closures that its function registered."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from durable.core.context import current
from durable.core.errors import DurableError, InvalidDefinition, InvalidInput, ReadOnly
from durable.core.errors.telling import choices
from durable.core.signatures import Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from durable.core.execution import Execution

F = TypeVar("F", bound="Callable[..., Any]")


def query(fn: F) -> F:
    """Register a closure over the workflow's state that clients may call; it may look and not touch.

    Raises:
        InvalidDefinition: It is an ``async def``: a query answers at once.
    """
    if inspect.iscoroutinefunction(fn):
        raise InvalidDefinition(fn.__name__, "a query must be a plain def: it answers at once")
    execution = current("workflow.query()")
    execution.loop.only_look("workflow.query()")
    execution.queries[fn.__name__] = fn
    return fn


def answer(execution: Execution, name: str, arguments: dict[str, Any]) -> Any:
    """Call a query of an execution and return its answer as plain JSON.

    Args:
        execution: The execution, which stands still between two steps.
        name: The query's name.
        arguments: ``{"args": [...], "kwargs": {...}}``.

    Raises:
        InvalidInput: There is no such query, or the arguments do not fit it.
        InvalidDefinition: The query returned a coroutine.
        ReadOnly, ForbiddenInWorkflow: It tried to change something, or to reach
            outside, also when it caught the error. Something may have changed
            halfway: an execution that matters is then to be replayed.
        Exception: What the query raised.
    """
    fn = execution.queries.get(name)
    if fn is None:
        hint = " (it is an update)" if name in execution.updates.handlers else ""
        problem = f"the workflow has no such query{hint}; {choices(name, execution.queries)}"
        raise InvalidInput(f"query {name!r}", problem)
    signature = Signature.of(fn, name)
    args, kwargs = signature.unbind(arguments, execution.converter)
    value = look(execution, f"query {name!r}", fn, args, kwargs)
    where = f"answer of {name}"
    return execution.within_limit(signature.encode_result(value, execution.converter, where=where), where)


def look(
    execution: Execution, looker: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call what may look and not touch.

    Args:
        execution: The execution, which stands still between two steps.
        looker: Who looks, for errors, e.g. ``query 'total'``.
        fn: The function that does.
        args, kwargs: Its arguments.

    Raises:
        InvalidDefinition: It returned a coroutine; the error names what was called, and where the function begins.
        ReadOnly, ForbiddenInWorkflow: As in ``answer``.
        Exception: What it raised.
    """
    with looking(execution, looker, fn):
        return _at_once(execution.context().run(fn, *args, **kwargs), looker, fn)


def _at_once(value: Any, looker: str, fn: Callable[..., Any]) -> Any:
    if not inspect.iscoroutine(value):
        return value
    called = value.__qualname__
    value.close()
    place = _beginning(fn)
    raise InvalidDefinition(
        looker,
        f"it returned {called}(...) without its result: it answers at once, so it can await nothing. "
        f"Await {called}(...) in the workflow, keep the result in a variable, and look at that"
        f"{f' (at {place})' if place else ''}",
    )


def _beginning(fn: Callable[..., Any]) -> str:
    code = getattr(fn, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else ""


@contextmanager
def looking(execution: Execution, looker: str, fn: Callable[..., Any]) -> Iterator[None]:
    """Run the block on the execution's loop, which lets nothing change.

    Args:
        execution: The execution, which stands still between two steps.
        looker: Who looks, for errors, e.g. ``query 'total'``.
        fn: The function that does.

    Raises:
        ReadOnly, ForbiddenInWorkflow: What was refused, in place of what the block made of it.
    """
    loop, drawn = execution.loop, execution.random.getstate()
    loop.enter()
    loop.looking, loop.refused = looker, None
    try:
        yield
    except Exception:
        if loop.refused is None:
            raise
    finally:
        loop.looking = ""
        loop.leave()
    refused: DurableError | None = loop.refused
    if execution.random.getstate() != drawn:  # by a method of the generator that was kept from a step
        execution.random.setstate(drawn)
        refused = refused or ReadOnly("workflow.random()", looker=looker, location=_beginning(fn))
    if refused is not None:
        raise refused
