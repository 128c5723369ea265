"""What workflow code records at once and goes on: values from outside, and the paths that it took."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from durable.core import asking, frames
from durable.core import events as ev
from durable.core.context import current
from durable.core.errors import InvalidInput, NondeterminismError, RecordedError, SideEffectError
from durable.core.exits import BeyondRecord
from durable.core.failures import Failure
from durable.core.here import outside
from durable.core.signatures import Signature

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable.core.execution import Execution

T = TypeVar("T")

_WAITS = "it must be a plain function; what waits belongs in an activity"


def side_effect(fn: Callable[[], T]) -> T:
    """Run ``fn`` once, here and now, and record its value; replay uses the record.

    For what is short and cannot fail halfway: reading a setting, drawing a
    secret. The value passes through JSON, by the function's return annotation.

    Raises:
        InvalidInput: ``fn`` is no plain function.
        SideEffectError: ``fn`` raised, or its value has no JSON form or is too
            large; that is recorded, and replay raises it again.
    """
    execution = current("workflow.side_effect()")
    execution.loop.only_look("workflow.side_effect()")
    _check(fn)
    event_id = asking.next_id(execution)
    recorded = execution.recorded.get(event_id)
    if isinstance(recorded, ev.SideEffectRecorded):
        done = recorded
    elif recorded is not None or execution.sealed:
        # At once, lest it run during a replay; the place is filled in by whoever knows the history.
        got = f"SideEffectRecorded({event_id})"
        raise execution.interrupt(
            NondeterminismError(seq=0, event_id=event_id, expected=str(recorded), got=got, location=_here())
        )
    elif event_id in execution.imagined:
        done = ev.SideEffectRecorded(event_id=event_id, value=execution.imagined[event_id])
    elif execution.dry:
        raise execution.interrupt(BeyondRecord(event_id))
    else:
        _prepare(execution)
        done = _done(execution, event_id, fn)
    asking.record(execution, done, place=frames.place())
    if done.failure is not None:
        raise SideEffectError(event_id=event_id, cause=RecordedError(done.failure))
    return _returned(fn).decode_result(done.value, execution.converter, where="value of side_effect")  # type: ignore[no-any-return]


def _prepare(execution: Execution) -> None:
    if execution.before_effect is not None:
        try:
            _outside(execution.before_effect)
        except Exception as error:  # noqa: BLE001 - whatever the code makes of it, the step is over
            raise execution.interrupt(error) from None


def _done(execution: Execution, event_id: int, fn: Callable[[], Any]) -> ev.SideEffectRecorded:
    try:
        value = execution.encode(_at_once(_outside(fn)), "value of side_effect")
    except Exception as error:  # noqa: BLE001 - replay cannot run it again, so whatever it raises is its outcome
        return ev.SideEffectRecorded(event_id=event_id, failure=Failure.of(error))
    return ev.SideEffectRecorded(event_id=event_id, value=value)


def _check(fn: object) -> None:
    if not callable(fn):
        raise InvalidInput("side_effect(fn)", f"{fn!r} cannot be called; give a function: lambda: ...")
    if inspect.iscoroutinefunction(fn):
        raise InvalidInput("side_effect(fn)", _WAITS)


def _at_once(value: T) -> T:
    if asyncio.iscoroutine(value):
        value.close()
        raise InvalidInput("side_effect(fn)", _WAITS)
    return value


def _returned(fn: Callable[..., Any]) -> Signature:
    # Of its result alone: many functions of the standard library have no signature to inspect.
    annotation = getattr(fn, "__annotations__", {}).get("return", inspect.Signature.empty)
    names = getattr(inspect.unwrap(fn), "__globals__", {})
    return Signature(inspect.Signature(return_annotation=annotation), "side_effect", names)


def patched(patch_id: str) -> bool:
    """Say whether to take the new path of a change to a workflow that has running instances.

    True for instances that get here for the first time, which is recorded;
    False for those that passed here before the change.

    Raises:
        InvalidInput: The id is empty, too long, or has characters that it may not have.
        PatchReused: The code deprecates the same patch elsewhere.
    """
    execution = current("workflow.patched()")
    execution.loop.only_look("workflow.patched()")
    return asking.patch(execution, _patch_id(patch_id), deprecated=False, place=frames.place())


def deprecate_patch(patch_id: str) -> None:
    """Say that no instance needs the old path of a patch any more; later this call can go too.

    Raises:
        InvalidInput: The id is empty, too long, or has characters that it may not have.
        PatchReused: The code asks for the same patch elsewhere.
    """
    execution = current("workflow.deprecate_patch()")
    execution.loop.only_look("workflow.deprecate_patch()")
    asking.patch(execution, _patch_id(patch_id), deprecated=True, place=frames.place())


def _patch_id(patch_id: str) -> str:
    if not isinstance(patch_id, str):
        raise InvalidInput("patched(id)", f"give a str, not {patch_id!r}")
    # No double quote: SQLite finds no key of a JSON object by such a name.
    if not 1 <= len(patch_id) <= 200 or not patch_id.isprintable() or '"' in patch_id:
        raise InvalidInput("patched(id)", "an id has 1 to 200 printable characters, and no double quotes")
    return patch_id


def _outside(fn: Callable[[], T]) -> T:
    """Run ``fn`` as if no workflow ran here, so that it may look around."""
    with outside():
        return fn()


def _here() -> str:
    place = frames.place()
    return frames.location(place) if place else ""
