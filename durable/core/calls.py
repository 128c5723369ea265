"""What workflow code asks for: activities, children, signals, waits, and another beginning."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

from durable.core import asking, frames
from durable.core import events as ev
from durable.core.context import current
from durable.core.errors import InvalidInput
from durable.core.exits import DurableExit
from durable.core.retry import seconds
from durable.core.texts import check_name

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from datetime import timedelta

    from durable.core.channels import Channel
    from durable.core.definitions import ActivityDefinition, WorkflowDefinition
    from durable.core.execution import Execution


async def activity(definition: ActivityDefinition, arguments: dict[str, Any]) -> Any:
    """Schedule an activity and wait for its result."""
    execution = current(definition.name)
    event_id = asking.next_id(execution)
    event = ev.ActivityScheduled(event_id=event_id, name=definition.name, input=arguments, options=definition.overrides)
    try:
        result = await asking.ask_and_wait(execution, event)
    except asyncio.CancelledError:
        asking.call_off(execution, event_id)
        raise
    return definition.signature.result.decode(result, execution.converter)


class ChildHandle:
    """A child workflow: await it for its result.

    Attributes:
        id: The child's instance id.
    """

    def __init__(self, execution: Execution, definition: WorkflowDefinition, event: ev.ChildScheduled) -> None:
        self.id = event.instance_id
        self._execution, self._definition, self._event_id = execution, definition, event.event_id
        self._result = execution.loop.create_future()
        asking.ask(execution, event, self._result, place=frames.place())

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
        asking.call_off(self._execution, self._event_id)

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
    call = f"{definition.type_name}.start_child()"
    execution = current(call)
    execution.loop.only_look(call)
    event_id = asking.next_id(execution)
    options = dict(definition.overrides)
    if "headers" in options:
        options["headers"] = execution.encode(options["headers"], f"headers of {definition.type_name}")
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
    event_id = asking.next_id(execution)
    event = ev.SignalSent(event_id=event_id, name=name, instance_id=instance_id, payload=encoded)
    asking.ask(execution, event, future, place=frames.place())
    await future


async def wait_signal(name: str, timeout: timedelta | float | None = None) -> Any:
    """Return the next signal's payload, in order of arrival; none is lost.

    Args:
        name: The signal's name, compared exactly.
        timeout: How long to wait; seconds or a timedelta.

    Raises:
        TimeoutError: None came in time; none is consumed.
    """
    channel = current("workflow.wait_signal()").signals.channel(name)
    if channel.can_receive():
        return channel.take()[0]
    async with asyncio.timeout(None if timeout is None else seconds(timeout, "wait_signal(timeout)")):
        return await channel.receive()


def signals(name: str) -> Channel[Any]:
    """Return the signals of a name as a channel: to receive from, iterate over, or select on."""
    return current("workflow.signals()").signals.channel(name)


async def wait_until(predicate: Callable[[], object], timeout: timedelta | float | None = None) -> None:
    """Wait until ``predicate`` holds; it is looked at after each step.

    Raises:
        InvalidInput: It is no plain function.
        TimeoutError: It did not hold in time.
    """
    execution = current("workflow.wait_until()")
    if not callable(predicate):
        raise InvalidInput("wait_until(predicate)", f"{predicate!r} cannot be called; give a function: lambda: ...")
    if holds := predicate():
        if asyncio.iscoroutine(holds):
            holds.close()
            raise InvalidInput("wait_until(predicate)", "it must be a plain function, that answers at once")
        return
    async with asyncio.timeout(None if timeout is None else seconds(timeout, "wait_until(timeout)")):
        await execution.conditions.wait(predicate)


def continue_as_new(*args: Any, carry_signals: bool = True, **kwargs: Any) -> NoReturn:
    """End this execution and begin the next one with these arguments; never returns.

    Raises:
        InvalidInput: The arguments do not fit, or something is still open: its result would be lost.
    """
    execution = current("workflow.continue_as_new()")
    execution.loop.only_look("workflow.continue_as_new()")
    asking.go_on(execution)
    bound = execution.workflow.signature.bind(args, kwargs, execution.converter)
    arguments = execution.within_limit(bound, "continue_as_new()")
    if execution.updates.running:
        update_id, name = next(iter(execution.updates.running.items()))
        problem = f"update {name} ({update_id}) is still being handled; before, outside of handlers, "
        raise InvalidInput("continue_as_new()", problem + "await wait_until(workflow.all_handlers_finished)")
    for asked in execution.open.values():
        if asked.is_awaited and not isinstance(asked.event, ev.TimerStarted):
            raise InvalidInput(
                "continue_as_new()", f"{asked.event} (event {asked.event.event_id}) is still open; await or cancel it"
            )
    carried = execution.signals.take_unread() if carry_signals else []
    execution.end(ev.ExecutionContinued(input=arguments, carried=carried), place=frames.place())
    raise DurableExit
