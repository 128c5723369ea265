"""What workflow code can call: the functions behind ``durable.workflow``."""

from __future__ import annotations

import asyncio
import inspect
import random as stdlib_random
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from durable.core import events as ev
from durable.core import frames
from durable.core.errors import InvalidInput, LimitExceeded, NondeterminismError, OutsideWorkflow
from durable.core.loop import DeterministicLoop, DurableExit
from durable.core.retry import seconds
from durable.core.signatures import Signature
from durable.core.texts import check_name, check_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from durable.core.channels import Channel
    from durable.core.definitions import ActivityDefinition, WorkflowDefinition
    from durable.core.execution import Execution

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What a workflow may know of itself.

    Attributes:
        attempt: 0 for a start; one more than its source's for a rerun.
        started_at: When this execution began.
        history_length: Events so far; continue as new before it grows large.
        parent_id: The parent instance's id, or None.
    """

    instance_id: str
    execution_id: str
    name: str
    version: int
    queue: str
    attempt: int
    started_at: datetime
    history_length: int
    parent_id: str | None


class Draw(float):
    """A random number from 0 to 1 that also offers its generator's other methods.

    ``random()`` is a float, as in the standard library, and
    ``random().choice(...)`` draws from the same deterministic generator.
    """

    _generator: stdlib_random.Random

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._generator, name)


def current(call: str) -> Execution:
    """Return the execution whose code is running.

    Raises:
        OutsideWorkflow: None is; the error names ``call``.
    """
    execution = running()
    if execution is None:
        raise OutsideWorkflow(call, "call it from an async function marked with @workflow.defn")
    return execution


def running() -> Execution | None:
    """Return the execution whose code is running, or None."""
    loop = asyncio._get_running_loop()
    return loop.owner if isinstance(loop, DeterministicLoop) else None


# --- knowing


def now() -> datetime:
    """Return the workflow's time, in UTC: when the event at hand was recorded."""
    return datetime.fromtimestamp(current("workflow.now()").loop.now, UTC)


def time() -> float:
    """Return the workflow's time in seconds since 1970."""
    return current("workflow.time()").loop.now


def random() -> Draw:
    """Return a random number from 0 to 1, the same one on replay."""
    generator = _generator("workflow.random()")
    draw = Draw(generator.random())
    draw._generator = generator
    return draw


def uuid4() -> uuid.UUID:
    """Return a random UUID, the same one on replay."""
    return uuid.UUID(int=_generator("workflow.uuid4()").getrandbits(128), version=4)


def _generator(call: str) -> stdlib_random.Random:
    execution = current(call)
    execution.loop.only_look(call)
    return execution.random


def info() -> Info:
    """Return what the workflow may know of itself."""
    execution = current("workflow.info()")
    started = execution.started
    assert started is not None  # noqa: S101 - its code runs, so it has started
    return Info(
        instance_id=execution.instance_id,
        execution_id=execution.execution_id,
        name=started.name,
        version=started.version,
        queue=started.queue,
        attempt=started.attempt,
        started_at=datetime.fromtimestamp(started.at, UTC),
        history_length=execution.length,
        parent_id=started.parent["instance_id"] if started.parent else None,
    )


def version() -> int:
    """Return the version that this execution runs on."""
    started = current("workflow.version()").started
    return started.version if started else 0


def cancelled() -> bool:
    """Say whether somebody asked this workflow to stop."""
    return current("workflow.cancelled()").cancel_requested


# --- showing


def set_status(status: Any) -> None:
    """Show operators a custom status; any JSON."""
    execution = current("workflow.set_status()")
    execution.show("status", execution.encode(status, "set_status(obj)"))


def set_progress(done: float, total: float, note: str = "") -> None:
    """Show operators how far the work is."""
    execution = current("workflow.set_progress()")
    shown = execution.encode({"done": done, "total": total, "note": note}, "set_progress()")
    execution.show("progress", check_plain(shown, "set_progress()"))


def set_tags(**tags: Any) -> None:
    """Set tags that operators can search for; None removes one."""
    execution = current("workflow.set_tags()")
    given = {check_name(k, "set_tags()"): execution.encode(v, f"set_tags({k})") for k, v in tags.items()}
    merged = {name: value for name, value in {**execution.tags, **given}.items() if value is not None}
    maximum = execution.limits["tags"]
    if len(merged) > maximum:
        raise LimitExceeded("tags", value=len(merged), maximum=maximum)
    execution.show("tags", check_plain(merged, "set_tags()"))


# --- doing


async def activity(definition: ActivityDefinition, arguments: dict[str, Any]) -> Any:
    """Schedule an activity and wait for its result."""
    execution = current(definition.name)
    future = execution.loop.create_future()
    event_id = execution.next_id()
    event = ev.ActivityScheduled(event_id=event_id, name=definition.name, input=arguments, options=definition.overrides)
    execution.ask(event, future, place=frames.place())
    try:
        result = await future
    except asyncio.CancelledError:
        execution.call_off(event_id)
        raise
    return definition.signature.decode_result(result, execution.converter, where=f"result of {definition.name}")


class ChildHandle:
    """A child workflow: await it for its result.

    Attributes:
        id: The child's instance id.
    """

    def __init__(self, execution: Execution, definition: WorkflowDefinition, event: ev.ChildScheduled) -> None:
        self.id = event.instance_id
        self._execution, self._definition, self._event_id = execution, definition, event.event_id
        self._result = execution.loop.create_future()
        execution.ask(event, self._result, place=frames.place())

    def __await__(self) -> Generator[Any, None, Any]:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        try:
            # Shielded: the wait ends at once when canceled, the child's own end stays to be awaited again.
            result = await asyncio.shield(self._result)
        except asyncio.CancelledError:
            self.cancel()
            raise
        where = f"result of {self._definition.name}"
        return self._definition.signature.decode_result(result, self._execution.converter, where=where)

    def cancel(self) -> None:
        """Ask the child to stop."""
        self._execution.call_off(self._event_id)

    async def signal(self, name: str, payload: Any = None) -> None:
        """Signal the child; ends when it is recorded there.

        Raises:
            SignalError: The child has ended.
        """
        await signal_instance(self.id, name, payload)


async def child(definition: WorkflowDefinition, arguments: dict[str, Any]) -> Any:
    """Start a child workflow and wait for its result."""
    return await start_child(definition, arguments)


def start_child(definition: WorkflowDefinition, arguments: dict[str, Any]) -> ChildHandle:
    """Start a child workflow, without waiting for it."""
    execution = current(f"{definition.type_name}.start_child()")
    event_id = execution.next_id()
    options = dict(definition.overrides)
    event = ev.ChildScheduled(
        event_id=event_id,
        name=definition.name,
        version=definition.version,
        instance_id=options.pop("id", None) or _child_id(execution, event_id),
        input=arguments,
        tags=execution.encode(options.pop("tags", {}), f"tags of {definition.type_name}"),
        options=options,
    )
    return ChildHandle(execution, definition, event)


def _child_id(execution: Execution, event_id: int) -> str:
    # Event ids begin again with each execution, so after continue-as-new they do not suffice.
    generation = execution.started.generation if execution.started else 0
    return f"{execution.instance_id}:{f'{generation:x}.' if generation else ''}{event_id:04x}"


async def signal_instance(instance_id: str, name: str, payload: Any = None) -> None:
    """Signal another instance; ends when it is recorded there.

    Raises:
        SignalError: The target is unknown or has ended.
    """
    execution = current("workflow.signal_instance()")
    check_name(name, "signal(name)")
    encoded = execution.encode(payload, f"signal {name}")
    future = execution.loop.create_future()
    event_id = execution.next_id()
    event = ev.SignalSent(event_id=event_id, name=name, instance_id=instance_id, payload=encoded)
    execution.ask(event, future, place=frames.place())
    await future


async def wait_signal(name: str, timeout: timedelta | float | None = None) -> Any:
    """Return the next signal's payload, in order of arrival; none is lost.

    Args:
        name: The signal's name, compared exactly.
        timeout: How long to wait; seconds or a timedelta.

    Raises:
        TimeoutError: None came in time; none is consumed.
    """
    channel = current("workflow.wait_signal()").signals(name)
    if channel.can_receive():
        return channel.take()[0]
    async with asyncio.timeout(None if timeout is None else seconds(timeout, "wait_signal(timeout)")):
        return await channel.receive()


def signals(name: str) -> Channel[Any]:
    """Return the signals of a name as a channel: to receive from, iterate over, or select on."""
    return current("workflow.signals()").signals(name)


async def wait_until(predicate: Callable[[], object], timeout: timedelta | float | None = None) -> None:
    """Wait until ``predicate`` holds; it is looked at after each step.

    Raises:
        TimeoutError: It did not hold in time.
    """
    execution = current("workflow.wait_until()")
    if predicate():
        return
    async with asyncio.timeout(None if timeout is None else seconds(timeout, "wait_until(timeout)")):
        await execution.condition(predicate)


def side_effect(fn: Callable[[], T]) -> T:
    """Run ``fn`` once, here and now, and record its value; replay uses the record.

    For what is short and cannot fail halfway: reading a setting, drawing a
    secret. The value passes through JSON, by the function's return annotation.
    """
    execution = current("workflow.side_effect()")
    event_id = execution.next_id()
    recorded = execution.recorded(event_id)
    if isinstance(recorded, ev.SideEffectRecorded):
        value = recorded.value
    elif recorded is not None or execution.sealed:
        # At once, lest it run during a replay; the place is filled in by whoever knows the history.
        got = f"SideEffectRecorded({event_id})"
        raise execution.interrupt(
            NondeterminismError(seq=0, event_id=event_id, expected=str(recorded), got=got, location=_here())
        )
    else:
        value = execution.encode(_outside(fn), "value of side_effect")
    execution.record(ev.SideEffectRecorded(event_id=event_id, value=value), place=frames.place())
    return _returned(fn).decode_result(value, execution.converter, where="value of side_effect")  # type: ignore[no-any-return]


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
        InvalidInput: The id is empty or too long.
    """
    execution = current("workflow.patched()")
    return execution.patch(_patch_id(patch_id), deprecated=False, place=frames.place())


def deprecate_patch(patch_id: str) -> None:
    """Say that no instance needs the old path of a patch any more; later this call can go too."""
    execution = current("workflow.deprecate_patch()")
    execution.patch(_patch_id(patch_id), deprecated=True, place=frames.place())


def _patch_id(patch_id: str) -> str:
    if not 1 <= len(patch_id) <= 200:
        raise InvalidInput("patched(id)", "an id has 1 to 200 characters")
    return patch_id


def _outside(fn: Callable[[], T]) -> T:
    """Run ``fn`` as if no workflow ran here, so that it may look around."""
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        return fn()
    finally:
        asyncio._set_running_loop(loop)


def _here() -> str:
    place = frames.place()
    return frames.location(place) if place else ""


def continue_as_new(*args: Any, carry_signals: bool = True, **kwargs: Any) -> NoReturn:
    """End this execution and begin the next one with these arguments; never returns.

    Raises:
        InvalidInput: The arguments do not fit, or something is still open: its result would be lost.
    """
    execution = current("workflow.continue_as_new()")
    execution.go_on()
    bound = execution.workflow.signature.bind(args, kwargs, execution.converter)
    arguments = execution.within_limit(bound, "continue_as_new()")
    for asked in execution.open.values():
        if asked.is_awaited and not isinstance(asked.event, ev.TimerStarted):
            raise InvalidInput(
                "continue_as_new()", f"{asked.event} (event {asked.event.event_id}) is still open; await or cancel it"
            )
    carried = execution.unread_signals() if carry_signals else []
    execution.end(ev.ExecutionContinued(input=arguments, carried=carried))
    raise DurableExit
