"""Sagas: undo what was done when what comes after it fails."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING, Any, Self

from durable.core import calls
from durable.core.context import current
from durable.core.definitions import ActivityDefinition, WorkflowDefinition
from durable.core.errors import CompensationFailed, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType


class Compensations:
    """What to undo, in reverse order, if the block fails or is cancelled.

    The saga pattern (Garcia-Molina and Salem, 1987). Register an undo before
    the step that it undoes when the step may have happened although it failed;
    the undo must then bear that there is nothing to undo.
    """

    def __init__(self) -> None:
        self._registered: list[tuple[str, Callable[[], Coroutine[Any, Any, Any]]]] = []

    def add(self, undo: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Register an activity, a child workflow or an async function to call with these arguments.

        The arguments of activities and children are taken as they are now. An
        undo is tried as often as its own retry policy says.

        Raises:
            InvalidInput: The arguments do not fit, or it is a plain function.
        """
        name, call = _prepared(undo, args, kwargs)
        self._registered.append((name, call))

    async def run(self) -> None:
        """Undo everything registered so far, the latest first, each once.

        One that fails does not keep the others from running. A cancel that
        comes meanwhile takes effect when all is undone.

        Raises:
            CompensationFailed: Some failed; the others are done.
        """
        undoing = asyncio.create_task(self._undo())
        interrupted: asyncio.CancelledError | None = None
        while not undoing.done():
            try:
                await asyncio.wait([undoing])
            except asyncio.CancelledError as error:
                interrupted = error
        await undoing
        if interrupted is not None:
            raise interrupted

    async def _undo(self) -> None:
        failed: list[tuple[str, BaseException]] = []
        tried = len(self._registered)
        while self._registered:
            name, call = self._registered.pop()
            try:
                await call()
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the others are to be undone as well
                failed.append((name, error))
        if failed:
            raise CompensationFailed(failed, tried=tried)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception | asyncio.CancelledError):
            return  # all went well, or the code is being put away
        try:
            await self.run()
        except CompensationFailed as failure:
            raise failure from error


def _prepared(
    undo: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, Callable[[], Coroutine[Any, Any, Any]]]:
    execution = current("Compensations.add()")
    if isinstance(undo, ActivityDefinition | WorkflowDefinition):
        name = undo.name
        bound = undo.signature.bind(args, kwargs, execution.converter)
        arguments = execution.within_limit(bound, f"input of {name}")
        if isinstance(undo, ActivityDefinition):
            return name, functools.partial(calls.activity, undo, arguments)
        return name, functools.partial(calls.child, undo, arguments)
    if not inspect.iscoroutinefunction(undo):
        raise InvalidInput("Compensations.add()", f"{undo!r} is no activity, workflow or async function")
    return undo.__name__, functools.partial(undo, *args, **kwargs)
