"""Spans: stretches of a workflow's time that its code gives a name, for traces."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable.core.context import current
from durable.core.exits import DurableExit
from durable.core.failures import Failure
from durable.core.texts import check_name

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A block of workflow code that has ended.

    Attributes:
        number: Its place among the spans of its execution, from 0, in the order in which they began.
        outer: The number of the span that it is in, or None.
        attributes: Plain JSON by name.
        started_at, ended_at: The workflow's time, in seconds since 1970.
        failure: The exception that left the block, or None.
    """

    name: str
    number: int
    outer: int | None
    attributes: dict[str, Any]
    started_at: float
    ended_at: float
    failure: Failure | None = None


_around: ContextVar[int | None] = ContextVar("durable_span", default=None)


@contextmanager
def span(name: str, /, **attributes: Any) -> Iterator[None]:
    """Name a block of workflow code for traces; it may await, and last for days.

    It is told once, when it ends, with the workflow's time; a replay tells nothing.

    Raises:
        InvalidInput: The name is empty or too long, or an attribute has no JSON.
    """
    execution = current("workflow.span()")
    execution.loop.only_look("workflow.span()")
    check_name(name, "span(name)")
    given = {key: execution.encode(value, f"span({key})") for key, value in attributes.items()}
    number, outer, started_at = execution.next_span, _around.get(), execution.loop.now
    execution.next_span += 1
    failure = None
    _around.set(number)
    try:
        yield
    except BaseException as error:
        failure = None if isinstance(error, DurableExit) else Failure.of(error)
        raise
    finally:
        _around.set(outer)
        if not (execution.replaying or execution.loop.closing):
            execution.spans.append(
                Span(
                    name=name,
                    number=number,
                    outer=outer,
                    attributes=given,
                    started_at=started_at,
                    ended_at=execution.loop.now,
                    failure=failure,
                )
            )
