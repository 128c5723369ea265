"""Updates: closures that clients call to change a workflow; each call is recorded, runs, and has an outcome."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, overload

from durable.core import asking, frames
from durable.core import events as ev
from durable.core.context import current
from durable.core.errors import InvalidDefinition, NondeterminismError
from durable.core.errors.telling import choices
from durable.core.failures import Failure
from durable.core.queries import look
from durable.core.refusals import Liable, liable
from durable.core.signatures import Signature

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable.core.execution import Execution

F = TypeVar("F", bound="Callable[..., Any]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """What runs when a client asks for an update, and what may refuse it before."""

    fn: Callable[..., Any]
    validator: Callable[..., Any] | None


class Updates:
    """The updates of one execution.

    Attributes:
        handlers: What clients may call, by name.
        running: The names of those that are accepted and not done, by update id.
        fresh: Names that were registered since somebody last looked for requests that wait for them.
    """

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self.handlers: dict[str, Handler] = {}
        self.running: dict[str, str] = {}
        self.fresh: set[str] = set()

    def register(self, name: str, handler: Handler) -> None:
        """Let clients call a handler."""
        if name not in self.handlers:
            self.fresh.add(name)
        self.handlers[name] = handler

    def begin(self, event: ev.UpdateAccepted) -> None:
        """Have the handler of an accepted update run, as a task of its own.

        Raises:
            NondeterminismError: The code has no such update where its history has one.
        """
        execution, handler = self._execution, self.handlers.get(event.name)
        if handler is None:
            note = f"It registered no such update; {choices(event.name, self.handlers)}"
            seq = execution.head + 1
            raise NondeterminismError(seq=seq, event_id=None, expected=str(event), got=None, note=note)
        self.running[event.update_id] = event.name
        task = self._handle(handler.fn, event)
        # In the code's own context: what is forbidden there is forbidden here.
        execution.loop.create_task(task, name=f"update {event.name}", context=execution.context())

    async def _handle(self, fn: Callable[..., Any], event: ev.UpdateAccepted) -> None:
        code = Liable()
        liable.set(code)
        result, failure = None, None
        try:
            result = await self._result(fn, event)
        except (Exception, asyncio.CancelledError, SystemExit) as error:
            if isinstance(error, SystemExit) and frames.stops_the_worker(error):
                raise
            failure = Failure.of(error)
        if code.refused is not None:  # also if the code caught it
            result, failure = None, Failure.of(code.refused)
        code.over = True
        del self.running[event.update_id]
        # At once, not when the loop gets round to it: the workflow may end in this very step.
        outcome = ev.UpdateCompleted(update_id=event.update_id, name=event.name, result=result, failure=failure)
        asking.tell(self._execution, outcome)

    async def _result(self, fn: Callable[..., Any], event: ev.UpdateAccepted) -> Any:
        execution, where = self._execution, f"result of {event.name}"
        signature = Signature.of(fn, event.name)
        args, kwargs = signature.unbind(event.input, execution.converter)
        value = fn(*args, **kwargs)
        if inspect.isawaitable(value):
            value = await value
        return execution.within_limit(signature.encode_result(value, execution.converter, where=where), where)


def check(execution: Execution, request: ev.UpdateAccepted) -> None:
    """Refuse, by raising, a request for an update that is registered; nothing is recorded and nothing changes.

    Args:
        execution: The execution, which stands still between two steps.
        request: What would be recorded.

    Raises:
        InvalidInput: The arguments do not fit the handler.
        InvalidDefinition: The validator returned a coroutine.
        ReadOnly, ForbiddenInWorkflow: The validator tried to change something, or to reach outside, also when it
            caught the error. Something may have changed halfway: the execution is then of no use any more.
        Exception: What the validator raised.
    """
    handler = execution.updates.handlers[request.name]
    args, kwargs = Signature.of(handler.fn, request.name).unbind(request.input, execution.converter)
    if handler.validator is None:
        return
    look(execution, f"the validator of update {request.name!r}", handler.validator, args, kwargs)


_PLAIN = "a validator must be a plain def: it answers at once"


@overload
def update(fn: F, /, *, validator: Callable[..., Any] | None = None) -> F: ...
@overload
def update(*, validator: Callable[..., Any] | None = None) -> Callable[[F], F]: ...
def update(fn: Callable[..., Any] | None = None, /, *, validator: Callable[..., Any] | None = None) -> Any:
    """Register a closure over the workflow's state that clients may call to change it.

    It may do all that a workflow may, and its value goes to whoever asked.

    Args:
        fn: A ``def`` or an ``async def``.
        validator: Called before with the same arguments; it may look and not touch, and refuses by raising.

    Raises:
        InvalidDefinition: The validator is an ``async def``.
    """

    def register(function: F) -> F:
        if validator is not None and inspect.iscoroutinefunction(validator):
            raise InvalidDefinition(validator.__name__, _PLAIN)
        execution = current("workflow.update()")
        execution.loop.only_look("workflow.update()")
        execution.updates.register(function.__name__, Handler(fn=function, validator=validator))
        return function

    return register if fn is None else register(fn)


def missing(execution: Execution, name: str) -> str:
    """Return, in words, that the code has not registered an update; an empty text if it has."""
    if name in execution.updates.handlers:
        return ""
    hint = " (it is a query)" if name in execution.queries else ""
    return f"it has registered no such update{hint}; {choices(name, execution.updates.handlers)}"


def all_handlers_finished() -> bool:
    """Say whether no update is being handled: what to wait for before the workflow returns or continues as new."""
    return not current("workflow.all_handlers_finished()").updates.running
