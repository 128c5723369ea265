"""OpenTelemetry: one trace from whoever starts an instance to the last activity of its last child.

A span cannot be kept open from one process to the next, and an execution may
last for months. So the spans that others point at get an id that everybody can
work out (of the execution, of an attempt, of a span of the workflow's code), and
that of an execution is made when it ends, with the time when it began.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from django.db import transaction
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode

from durable import conf
from durable.core import events as ev
from durable.core.errors import ConcurrencyConflict
from durable.interceptors import Interceptor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.context import Context

    from durable.activity import Info
    from durable.core.failures import Failure
    from durable.core.spans import Span
    from durable.interceptors import EndCall, SignalCall, StartCall, TurnCall

__all__ = ["Tracing"]


class Tracing(Interceptor):
    """Traces with the tracer provider and the propagator that the process has set."""

    @contextmanager
    def start(self, call: StartCall) -> Iterator[None]:
        """Make the span that an instance begins with, and have its context travel in the headers."""
        attributes = {
            "durable.instance.id": call.instance_id,
            "durable.workflow": call.workflow,
            "durable.queue": call.queue,
        }
        within = _within(call.headers, call.parent_execution_id) if call.parent_execution_id else None
        with _sending(f"start {call.workflow}", call.headers, attributes, within):
            yield

    @contextmanager
    def signal(self, call: SignalCall) -> Iterator[None]:
        """Make the span that a signal begins with, and have its context travel in its headers."""
        attributes = {"durable.instance.id": call.instance_id, "durable.signal": call.name}
        with _sending(f"signal {call.name}", call.headers, attributes):
            yield

    @contextmanager
    def turn(self, call: TurnCall) -> Iterator[None]:
        """Make the span of a turn, linked to what it takes up, and those of the workflow's code."""
        within = _within(call.headers, call.execution_id)
        with _spanning(f"turn {call.workflow}", SpanKind.CONSUMER, _ids(call), within) as span:
            yield
            span.set_attribute("durable.events", [event.kind for event in call.events])
            for cause in filter(None, (_cause(call, event) for event in call.events)):
                span.add_link(cause)
            if call.spans:
                _on_commit(lambda: _tell_all(call))

    @contextmanager
    def activity(self, call: Info) -> Iterator[None]:
        """Make the span of an attempt, current while the activity runs."""
        within = _within(call.headers, call.execution_id)
        attributes = {
            **_ids(call),
            "durable.activity": call.name,
            "durable.event.id": call.event_id,
            "durable.attempt": call.attempt,
        }
        before = _attempt(call, call.event_id, call.attempt - 1) if call.attempt > 1 else None
        token = otel_context.attach(within)
        try:
            span = _start(
                f"activity {call.name}",
                context=within,
                attributes=attributes,
                links=[Link(before)] if before is not None else [],
                id=_id(call.execution_id, f"attempt {call.event_id} {call.attempt}"),
            )
            with trace.use_span(span, end_on_exit=True):
                yield
        finally:
            otel_context.detach(token)

    @contextmanager
    def end(self, call: EndCall) -> Iterator[None]:
        """Make the span of an execution, from its beginning to its end."""
        yield
        _on_commit(lambda: _tell_execution(call))


# --- spans


def _start(name: str, *, id: int | None = None, at: float | None = None, **given: Any) -> trace.Span:
    token = _wanted_id.set(id)
    try:
        return _tracer().start_span(name, start_time=None if at is None else _nanoseconds(at), **given)
    finally:
        _wanted_id.reset(token)


@contextmanager
def _spanning(name: str, kind: SpanKind, attributes: dict[str, Any], within: Context | None) -> Iterator[trace.Span]:
    """Make a span current; it is told when the transaction at hand is committed, or at once when it fails."""
    span = _start(name, context=within, kind=kind, attributes=attributes)
    token = otel_context.attach(trace.set_span_in_context(span, within))
    try:
        yield span
    except ConcurrencyConflict:
        raise  # another worker was quicker: there is nothing to tell
    except BaseException as error:
        span.record_exception(error)
        span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
        span.end()
        raise
    else:
        ended_at = time.time_ns()
        _on_commit(lambda: span.end(ended_at))
    finally:
        otel_context.detach(token)


@contextmanager
def _sending(
    name: str, headers: dict[str, Any], attributes: dict[str, Any], within: Context | None = None
) -> Iterator[None]:
    with _spanning(name, SpanKind.PRODUCER, attributes, within):
        propagate.inject(headers)
        yield


def _tell_execution(call: EndCall) -> None:
    """Make the span of an execution that has ended."""
    kind = call.end.kind.removeprefix("Execution").lower()
    span = _start(
        f"workflow {call.workflow}",
        id=_id(call.execution_id),
        at=call.started_at,
        context=_extracted(call.headers),
        attributes={**_ids(call), "durable.outcome": kind},
    )
    if isinstance(call.end, ev.ExecutionFailed):
        _fail(span, call.end.failure, at=call.ended_at)
    span.end(_nanoseconds(call.ended_at))


def _tell_all(call: TurnCall) -> None:
    for ended in call.spans:
        _tell(call, ended)


def _tell(call: TurnCall, ended: Span) -> None:
    """Make the span of a block of a workflow's code that has ended."""
    outer = None if ended.outer is None else _id(call.execution_id, f"span {ended.outer}")
    span = _start(
        ended.name,
        id=_id(call.execution_id, f"span {ended.number}"),
        at=ended.started_at,
        context=_within(call.headers, call.execution_id, outer),
        attributes={**_ids(call), **{name: _plain(value) for name, value in ended.attributes.items()}},
    )
    if ended.failure is not None:
        _fail(span, ended.failure, at=ended.ended_at)
    span.end(_nanoseconds(ended.ended_at))


def _fail(span: trace.Span, failure: Failure, *, at: float) -> None:
    # By the conventions for an exception that is not there any more, but its record is.
    about = {
        "exception.type": failure.type,
        "exception.message": failure.message,
        "exception.stacktrace": failure.traceback,
    }
    span.add_event("exception", about, timestamp=_nanoseconds(at))
    span.set_status(Status(StatusCode.ERROR, f"{failure.type}: {failure.message}"))


def _ids(call: TurnCall | EndCall | Info) -> dict[str, Any]:
    return {
        "durable.instance.id": call.instance_id,
        "durable.execution.id": call.execution_id,
        "durable.workflow": call.workflow,
        "durable.queue": call.queue,
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | bool | int | float) else json.dumps(value)


def _nanoseconds(at: float) -> int:
    return int(at * 1_000_000) * 1000  # as exact as it is stored


def _on_commit(call: Callable[[], object]) -> None:
    if transaction.get_connection(conf.settings.DATABASE).in_atomic_block:
        transaction.on_commit(call, using=conf.settings.DATABASE, robust=True)
    else:
        call()  # a simulation, which has no database


# --- who belongs to whom


def _extracted(headers: dict[str, Any]) -> Context:
    """Return the context that travels in headers, and nothing of whoever runs this."""
    return propagate.extract(headers, context=otel_context.Context())


def _within(headers: dict[str, Any], execution_id: str, span_id: int | None = None) -> Context:
    """Return the context of an execution's span, or of another one of its trace."""
    context = _extracted(headers)
    own = _sibling(context, span_id or _id(execution_id))
    return context if own is None else trace.set_span_in_context(NonRecordingSpan(own), context)


def _sibling(context: Context, span_id: int) -> SpanContext | None:
    begun = trace.get_current_span(context).get_span_context()
    if not begun.is_valid or not _knows_ids(_tracer()):
        return None
    return SpanContext(begun.trace_id, span_id, True, begun.trace_flags, begun.trace_state)


def _attempt(call: TurnCall | Info, event_id: int, attempt: int) -> SpanContext | None:
    return _sibling(_extracted(call.headers), _id(call.execution_id, f"attempt {event_id} {attempt}"))


def _cause(call: TurnCall, event: ev.Event) -> SpanContext | None:
    """Return what brought an event about, if that has a span."""
    match event:
        case ev.SignalReceived(headers=headers):
            sent = trace.get_current_span(_extracted(headers)).get_span_context()
            return sent if sent.is_valid else None
        case (
            ev.ActivityCompleted(event_id=event_id, attempts=attempts)
            | ev.ActivityFailed(event_id=event_id, attempts=attempts)
        ):
            return _attempt(call, event_id, attempts)
        case _:
            return None


# --- ids that everybody can work out


def _id(execution_id: str, part: str = "") -> int:
    digest = hashlib.sha256(f"{execution_id} {part}".encode()).digest()
    return int.from_bytes(digest[:8]) or 1


_wanted_id: ContextVar[int | None] = ContextVar("durable_span_id", default=None)


class _Ids:
    """An id generator that gives the id that is wanted, or asks the real one."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def generate_span_id(self) -> int:
        """Return the id of the span that is being started."""
        return _wanted_id.get() or int(self._generator.generate_span_id())


def _tracer() -> trace.Tracer:
    """Return the tracer of the provider that is set now, made to take ids."""
    tracer = trace.get_tracer("durable")
    generator = getattr(tracer, "id_generator", None)
    if generator is not None and not isinstance(generator, _Ids):
        tracer.id_generator = _Ids(generator)  # type: ignore[attr-defined]  # the SDK's tracer has it
    return tracer


def _knows_ids(tracer: trace.Tracer) -> bool:
    """Say whether spans get the ids that are wanted; else, none may be pointed at."""
    return isinstance(getattr(tracer, "id_generator", None), _Ids)
