"""A live execution: workflow code standing where its history left it.

Give it the events of a history one at a time. Each step resolves what the event
answers, lets the code run until it waits again, and returns what the code asked
for. Same events, same commands: it reads no clock and touches nothing outside.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from durable.core import events as ev
from durable.core import frames, payloads
from durable.core.channels import Channel
from durable.core.commands import CancelActivity, CancelChild
from durable.core.conditions import Conditions
from durable.core.errors import (
    ActivityError,
    ChildFailed,
    DurableError,
    ForbiddenInWorkflow,
    PatchReused,
    RecordedError,
    SignalError,
)
from durable.core.exits import DurableExit
from durable.core.failures import Failure
from durable.core.futures import Task, Timer, waited_for
from durable.core.loop import DeterministicLoop
from durable.core.patching import Patches
from durable.core.texts import check_name
from durable.core.updates import Updates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from durable.core.commands import Command
    from durable.core.definitions import WorkflowDefinition
    from durable.core.frames import Place
    from durable.core.payloads import Converter
    from durable.core.spans import Span


T = TypeVar("T")


_ASIDE = frozenset({ev.ExecutionSuspended, ev.ExecutionResumed, ev.ExecutionUpgraded, ev.ExecutionRewound})
LIMITS = {"payload": 2_000_000, "tags": 100}
"""The limits that code meets, unless the settings say otherwise."""


class Open(msgspec.Struct, eq=False):
    """Something that the code asked for and that is not answered yet.

    Attributes:
        event: What was asked for.
        waiter: The future or timer that waits for the answer; None when
            nobody waits any more but the end is still to be recorded.
        called_off: Whether the code gave up on it.
    """

    event: ev.Asked
    waiter: asyncio.Future[Any] | Timer | None
    called_off: bool = False

    @property
    def is_awaited(self) -> bool:
        """Whether the answer will make a difference to the code."""
        return self.waiter is not None and not self.waiter.cancelled()


class Execution:
    """One execution of a workflow, in memory.

    Attributes:
        head: The ``seq`` of the last event applied or recorded.
        length: How many events the code has brought about or seen, the one at
            hand included. Unlike ``head`` it never depends on what was stored when.
        version: The version that the code goes by at this place of its history.
        open: What is asked for and not answered, by event id.
        outcome: The event that ended it, or None.
        recordable: What a history records of what the code asked for in the step at hand, in order.
        replaying: Whether the step at hand is one that was taken before.
        sealed: Whether all that it asked for is known.
        dry: Whether this is a look ahead: what would reach outside, a side effect that is not recorded, ends the step.
        imagined: Values of side effects that are not recorded, by event id, for a look at what would be.
        cancel_requested: Whether it was asked to stop.
        status, progress, tags: What the code shows to operators.
        queries: What clients may call, by name.
        spans: What ended in steps that were live, until the engine takes it.
        updates: What clients may call to change something, and what they called.
        patches: The answers that the code got from ``patched``.
        changed: Which of those three changed since the engine last stored them.
    """

    __slots__ = (
        "_arrived",
        "_enter",
        "_gives_up",
        "_issued",
        "_main",
        "_next_id",
        "_next_span",
        "_places",
        "_recorded",
        "_signals",
        "cancel_requested",
        "changed",
        "conditions",
        "converter",
        "dry",
        "execution_id",
        "head",
        "imagined",
        "instance_id",
        "length",
        "limits",
        "loop",
        "open",
        "outcome",
        "patches",
        "progress",
        "queries",
        "random",
        "recordable",
        "replaying",
        "sealed",
        "spans",
        "started",
        "status",
        "suspended",
        "tags",
        "updates",
        "version",
        "workflow",
    )

    def __init__(
        self,
        workflow: WorkflowDefinition,
        *,
        converter: Converter,
        limits: Mapping[str, int] = LIMITS,
        instance_id: str = "",
        execution_id: str = "",
        enter: Callable[[], None] | None = None,
        dry: bool = False,
    ) -> None:
        self.workflow, self.converter = workflow, converter
        self.instance_id, self.execution_id = instance_id, execution_id
        self.limits = limits
        self.dry = dry
        self.imagined: Mapping[int, Any] = {}
        self.started: ev.ExecutionStarted | None = None
        self.version = 0
        self.head = 0
        self.length = 0
        self.open: dict[int, Open] = {}
        self.outcome: ev.End | None = None
        self.recordable: list[Command] = []
        self.replaying = self.sealed = False
        self.cancel_requested = self.suspended = False
        self.status: Any = None
        self.progress: dict[str, Any] | None = None
        self.tags: dict[str, Any] = {}
        self.changed: set[str] = set()
        self.loop = DeterministicLoop(  # type: ignore[abstract]  # what it refuses is added after the class
            owner=self, start_timer=self._start_timer, cancel_timer=self._cancel_timer
        )
        self.loop.package = frames.package(workflow.fn)
        self.random = random.Random(0)  # noqa: S311 - replay needs the same numbers, not secret ones
        self._enter = enter
        self._main: Task | None = None
        self._next_id = 0
        self._issued: dict[int | str, Command] = {}
        self._places: dict[int, Place | None] = {}
        self._recorded: Mapping[int, ev.Event] = {}
        self._gives_up = False
        self._signals: dict[str, Channel[Any]] = {}
        self._arrived: list[str] = []
        self.queries: dict[str, Callable[..., Any]] = {}
        self.patches = Patches()
        self.updates = Updates(self)
        self.conditions = Conditions(self.loop)
        self.spans: list[Span] = []
        self._next_span = 0

    # --- steps

    def step(
        self, event: ev.Event, recorded: Mapping[int, ev.Event] | None = None, *, sealed: bool = False
    ) -> list[Command]:
        """Apply one event from outside and return what the code asks for on seeing it.

        Args:
            event: The event; its ``at`` becomes the workflow's time.
            recorded: When the step was taken before: what it asked for, by event id.
            sealed: Whether that is all that it asked for: the history goes on after it.

        Raises:
            NondeterminismError: The code ran into something that its history does not have.
            BaseException: What interrupted the step from outside. The execution
                is then of no use any more: discard it.
        """
        loop = self.loop
        self.length += 1
        self._issued = {}
        if self._places:
            self._places = {}
        self._gives_up = False
        if type(event) in _ASIDE and self._is_aside(event):
            self.recordable = []
            return []
        self._recorded = recorded or {}
        self.replaying, self.sealed = recorded is not None, sealed
        if event.at > loop.now:
            loop.now = event.at
        if self.outcome is None:
            try:
                if isinstance(event, ev.ActivityCompleted):  # nearly all are
                    self._resolve(event.event_id, event.result)
                else:
                    self._deliver(event)
                loop.drain()
                if self.conditions.waiting:
                    self._settle()
            except (ForbiddenInWorkflow, SystemExit) as error:
                if isinstance(error, SystemExit) and frames.stops_the_worker(error):
                    raise
                self._issued.clear()
                self.end(ev.ExecutionFailed(failure=Failure.of(error)))
        issued = recordable = list(self._issued.values())
        if self._gives_up:
            recordable = [c for c in issued if isinstance(c, ev.Event)]
        self.recordable = recordable
        self.length += len(recordable)
        return issued

    def _is_aside(self, event: ev.Event) -> bool:
        """Note what is recorded while an instance is halted, where no code runs; say whether that is all."""
        match event:
            case ev.ExecutionSuspended():
                self.suspended = True
            case ev.ExecutionResumed():
                self.suspended = False
            case ev.ExecutionUpgraded(version=version) if self.suspended:
                self.version = version
            case ev.ExecutionRewound():
                return self.suspended
            case _:
                return False
        return True

    def retake_refused(self, event: ev.Event, end: ev.ExecutionFailed) -> None:
        """End where the code reached outside, without running it: what refused it need not be watching here."""
        self.length += 2
        self.loop.now = max(self.loop.now, event.at)
        if isinstance(event, ev.ExecutionStarted):
            self.started, self.tags = event, dict(event.tags)
        self.outcome = end
        self.loop.stopped = True

    def _settle(self) -> None:
        self.conditions.begin_step()
        while not self.loop.stopped and self.conditions.look_again():
            self.loop.drain()

    def _deliver(self, event: ev.Event) -> None:
        match event:
            case ev.ActivityFailed():
                self._reject(event.event_id, self._activity_error(event))
            case ev.TimerFired(event_id=event_id):
                if (timer := self._close(event_id)) is not None:
                    self.loop.fire(timer)
            case ev.SignalReceived(name=name, payload=payload):
                self._arrived.append(name)
                self.signals(name).send_now(payload)
            case ev.ExecutionStarted():
                self._begin(event)
            case ev.UpdateAccepted():
                self.updates.begin(event)
            case ev.ChildStarted() | ev.ExecutionRewound() | ev.ExecutionWoken():
                pass
            case ev.ChildCompleted(event_id=event_id, result=result):
                self._resolve(event_id, result)
            case ev.ChildFailed():
                self._reject(event.event_id, self._child_error(event.event_id, event.failure))
            case ev.ExecutionUpgraded(version=version):
                self.version = version
            case ev.ActivityCanceled() | ev.ChildCanceled():
                self._call_off(event.event_id)
            case ev.SignalDelivered(event_id=event_id):
                self._resolve(event_id, None)
            case ev.SignalFailed():
                self._reject(event.event_id, self._signal_error(event))
            case ev.CancelRequested():
                self._cancel()
            case ev.End(imposed=True):
                self.end(event)
            case _:
                raise TypeError(f"{event.kind} cannot be applied")

    def _begin(self, event: ev.ExecutionStarted) -> None:
        self.started = event
        self.version = event.version
        self.tags = dict(event.tags)
        self.random.seed(event.seed)
        for name, payload in event.carried:
            self.signals(name).send_now(payload)
        try:
            args, kwargs = self.workflow.signature.unbind(event.input, self.converter)
        except DurableError as error:
            self.end(ev.ExecutionFailed(failure=Failure.of(error)))
            return
        # A fresh context: language, time zone and the like must not come from whoever runs the first step.
        context = contextvars.Context()
        self._main = self.loop.create_task(self._run(args, kwargs), name="main", context=context)
        self._main.add_done_callback(self._main_done)
        if self.cancel_requested:
            self.loop.call_soon(self._main.cancel)

    async def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._enter is not None:
            self._enter()
        return await self.workflow.fn(*args, **kwargs)

    def _main_done(self, main: Task) -> None:
        self.end(self._outcome_of(main))

    def _outcome_of(self, main: Task) -> ev.End:
        try:
            where = f"result of {self.workflow.type_name}"
            result = self.workflow.signature.encode_result(main.result(), self.converter, where=where)
            return ev.ExecutionCompleted(result=self.within_limit(result, where))
        except asyncio.CancelledError as error:
            return ev.ExecutionCanceled() if self.cancel_requested else ev.ExecutionFailed(failure=Failure.of(error))
        except BaseException as error:  # noqa: BLE001 - whatever leaves the coroutine fails the instance
            return ev.ExecutionFailed(failure=Failure.of(error))

    def end(self, event: ev.End, *, place: Place | None = None) -> None:
        """End the execution, from a place in the code if it called for that; nothing of it runs after this."""
        self.outcome = event
        self.loop.stopped = True
        if not event.imposed:
            self._issued[-1] = event
            self._places[-1] = place

    def _cancel(self) -> None:
        # Delivered once: later requests find a workflow that knows already.
        if not self.cancel_requested:
            self.cancel_requested = True
            if self._main is not None:
                self.loop.call_soon(self._main.cancel)

    # --- answers

    def _close(self, event_id: int) -> Any:
        found = self.open.pop(event_id, None)
        return None if found is None else found.waiter

    def _resolve(self, event_id: int, result: Any) -> None:
        found = self.open.pop(event_id, None)
        waiter: Any = None if found is None else found.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(result)

    def _reject(self, event_id: int, error: BaseException) -> None:
        waiter = self._close(event_id)
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)

    def _call_off(self, event_id: int) -> None:
        asked = self.open.get(event_id)
        if asked is None:
            return
        if isinstance(asked.event, ev.ChildScheduled):
            failure = Failure(type="WorkflowCanceled", message="the child workflow was canceled")
            self._reject(event_id, self._child_error(event_id, failure))
        else:
            waiter = self._close(event_id)
            if waiter is not None:
                waiter.cancel()

    def _activity_error(self, event: ev.ActivityFailed) -> ActivityError:
        cause = RecordedError(event.failure)
        return ActivityError(self._name(event), event_id=event.event_id, attempts=event.attempts, cause=cause)

    def _child_error(self, event_id: int, failure: Failure) -> ChildFailed:
        asked = self.open.get(event_id)
        child = asked.event if asked else None
        name, instance_id = (child.name, child.instance_id) if isinstance(child, ev.ChildScheduled) else ("", "")
        return ChildFailed(name, instance_id=instance_id, event_id=event_id, cause=RecordedError(failure))

    def _signal_error(self, event: ev.SignalFailed) -> SignalError:
        asked = self.open.get(event.event_id)
        target = asked.event.instance_id if asked and isinstance(asked.event, ev.SignalSent) else ""
        return SignalError(target, self._name(event), event_id=event.event_id, cause=RecordedError(event.failure))

    def _name(self, event: ev.Answer) -> str:
        asked = self.open.get(event.event_id)
        return asked.event.name if asked else ""

    # --- asking; called from workflow code, by way of ``context``

    def next_id(self) -> int:
        """Return the number of the next thing asked for."""
        loop, event_id = self.loop, self._next_id
        if loop.looking or loop.closing or self.outcome is not None:
            self.go_on()
        if type(self._recorded.get(event_id)) is ev.PatchMarked:
            self._skip_markers()
            event_id = self._next_id
        self._next_id = event_id + 1
        return event_id

    def next_span(self) -> int:
        """Return the number of the next span."""
        number = self._next_span
        self._next_span += 1
        return number

    def _skip_markers(self, *, until: str | None = None) -> None:
        """Pass the numbers of deprecated patch markers, which code need not ask for any more."""
        while (
            isinstance(marker := self._recorded.get(self._next_id), ev.PatchMarked)
            and marker.deprecated
            and marker.name != until
        ):
            self._next_id += 1

    def patch(self, patch_id: str, *, deprecated: bool, place: Place | None) -> bool:
        """Say whether this execution takes the new path of a patch; once said, it stays so.

        The first time the code asks, live, the answer is yes and is recorded.
        A step that was taken before goes by the record.

        Raises:
            PatchReused: The code deprecates the patch and asks for it as well.
        """
        self.go_on()
        try:
            taken = self.patches.known(patch_id, deprecated=deprecated, place=place)
        except PatchReused as error:
            raise self.interrupt(error) from None
        if taken is None:
            self._skip_markers(until=patch_id)
            marker = self._recorded.get(self._next_id)
            # Past the record of a step that was cut short, the code is live again.
            live = not self.replaying or not (self.sealed or any(i >= self._next_id for i in self._recorded))
            taken = live or (isinstance(marker, ev.PatchMarked) and marker.name == patch_id)
            if taken:
                marked = ev.PatchMarked(event_id=self._next_id, name=patch_id, deprecated=deprecated)
                self._next_id += 1
                self.record(marked, place=place)
            self.patches.keep(patch_id, taken=taken, deprecated=deprecated, place=place)
        return taken

    def go_on(self) -> None:
        """Let the code ask for more, unless it has ended or is put away: then unwind it."""
        loop = self.loop
        if loop.looking or loop.closing or self.outcome is not None:
            loop.only_look("asking for anything")
            raise DurableExit

    def issued(self, event_id: int) -> Command | None:
        """Return what the code asked for under this number in the step at hand, so far."""
        return self._issued.get(event_id)

    def ask(self, event: ev.Asked, waiter: asyncio.Future[Any] | Timer | None, *, place: Place | None) -> None:
        """Issue a command that will be answered."""
        event_id = event.event_id
        self._issued[event_id] = event
        self._places[event_id] = place
        self.open[event_id] = Open(event, waiter)

    def ask_and_wait(self, event: ev.Asked) -> asyncio.Future[Any]:
        """Issue a command and return its answer, for the code to await at once, where it asked."""
        event_id, waiter = event.event_id, self.loop.create_wait()
        self._issued[event_id] = event
        self.open[event_id] = Open(event, waiter)
        return waiter

    def record(self, event: ev.Asked, *, place: Place | None) -> None:
        """Issue a command that is its own answer."""
        self._issued[event.event_id] = event
        self._places[event.event_id] = place

    def tell(self, outcome: ev.UpdateCompleted) -> None:
        """Have an update's outcome recorded and told to whoever asked for it."""
        self._issued[outcome.update_id] = outcome

    def recorded(self, event_id: int) -> ev.Event | None:
        """Return what the history holds under this number, in a step that was taken before."""
        return self._recorded.get(event_id)

    def call_off(self, event_id: int) -> None:
        """Give up on an activity, or ask a child to stop, because the code does not wait any more."""
        self.loop.only_look("cancelling a child")
        asked = self.open.get(event_id)
        if asked is None or self.loop.closing or self.outcome is not None:
            return
        child = isinstance(asked.event, ev.ChildScheduled)
        if event_id in self._issued and not child:
            del self._issued[event_id], self.open[event_id]  # asked for in this very step: it never was
            return
        asked.called_off = self._gives_up = True
        if child:
            self._issued[-2 - event_id] = CancelChild(event_id=event_id)
        else:
            asked.waiter = None
            self._issued[-2 - event_id] = CancelActivity(event_id=event_id)

    def _start_timer(self, timer: Timer, fire_at: float) -> int:
        event_id = self.next_id()
        self.ask(ev.TimerStarted(event_id=event_id, fire_at=fire_at), timer, place=frames.place())
        return event_id

    def _cancel_timer(self, event_id: int) -> None:
        if self.open.pop(event_id, None) is None:
            return
        if event_id in self._issued:
            del self._issued[event_id]
        elif self.outcome is None:  # nothing comes after the end, the clean-up of ``asyncio.timeout`` included
            self._issued[-2 - event_id] = ev.TimerCanceled(event_id=event_id)

    def encode(self, value: Any, where: str) -> Any:
        """Return a value as plain JSON.

        Raises:
            InvalidInput: It has none.
            PayloadTooLarge: There is too much of it.
        """
        return self.within_limit(self.converter.encode(value, where), where)

    def within_limit(self, data: T, where: str) -> T:
        """Return plain JSON as it is, if it is not too large.

        Raises:
            PayloadTooLarge: It is; on replay as well, since the code may have caught it.
        """
        payloads.encoded(data, where, self.limits["payload"])
        return data

    def signals(self, name: str) -> Channel[Any]:
        """Return the channel of unread signals of this name."""
        if name not in self._signals:
            check_name(name, "signal(name)")
            if self.loop.looking:
                return Channel.unbounded()  # unread signals move on in the order of their channels
            self._signals[name] = Channel.unbounded()
        return self._signals[name]

    def unread_signals(self) -> list[list[Any]]:
        """Take all unread signals in the order in which they came, as ``[name, payload]``."""
        unread, carried = self._take_unread(), [] if self.started is None else self.started.carried
        came = _last_of(unread, [*(name for name, _ in carried), *self._arrived])
        # The rest are those that the code put there itself.
        return [*([name, payload] for name, payloads in unread.items() for payload in payloads), *came]

    def _take_unread(self) -> dict[str, list[Any]]:
        return {name: [channel.take()[0] for _ in range(len(channel))] for name, channel in self._signals.items()}

    def carried_by_retry(self) -> list[list[Any]]:
        """Take the signals that another try begins with: what this one began with, and what it got and did not read."""
        carried = [] if self.started is None else self.started.carried
        return [*carried, *_last_of(self._take_unread(), self._arrived)]

    def unread(self) -> dict[str, int]:
        """Return how many signals of each name nobody has read yet."""
        return {name: len(channel) for name, channel in self._signals.items() if len(channel)}

    def left(self) -> list[ev.Asked]:
        """Return what the code asked for, never gave up on and did not wait for; not children that are to live on."""
        awaited = [asked.event for _, asked in sorted(self.open.items()) if asked.is_awaited]
        return [
            e for e in awaited if not isinstance(e, ev.ChildScheduled) or e.options.get("parent_close") != "abandon"
        ]

    def signal_of(self, channel: Channel[Any]) -> str | None:
        """Return the name of the signals that a channel holds; None if it holds something else."""
        return next((name for name, signals in self._signals.items() if signals is channel), None)

    def context(self) -> contextvars.Context:
        """Return a copy of the context that the code runs in."""
        return self._main.context.copy() if self._main else contextvars.Context()

    def show(self, field: str, value: Any) -> None:
        """Set ``status``, ``progress`` or ``tags``."""
        self.loop.only_look(f"set_{field}")
        setattr(self, field, value)
        self.changed.add(field)

    # --- the engine's side

    def anew(self) -> Execution:
        """Return an execution of the same code for the same instance, which has seen nothing yet."""
        return Execution(
            self.workflow,
            converter=self.converter,
            limits=self.limits,
            instance_id=self.instance_id,
            execution_id=self.execution_id,
            enter=self._enter,
        )

    def close(self) -> None:
        """Unwind the code; the execution is of no use after this."""
        self.loop.close()

    def location(self, event_id: int | None) -> str:
        """Return ``file:line`` of the code that asked for something in this step, or that waits."""
        return self.locations().get(-2 if event_id is None else event_id) or self.waiting_at()

    def locations(self) -> dict[int, str]:
        """Return the ``file:line`` of the code that asked for each thing in this step, by event id.

        Empty where the loop itself began it: ``gather(a(), b())`` runs each part
        as a task of its own, with nothing of the user's above it.
        """
        found = {n: frames.location(p) if p else "" for n, p in self._places.items()}
        asked = {self.open[n].waiter: n for n in self._issued if n not in found and n in self.open}
        for task in self.loop.tasks() if asked else ():
            if (number := asked.get(waited_for(task))) is not None:
                found[number] = frames.waiting_at(task.get_coro())
        return found

    def waiting_at(self) -> str:
        """Return ``file:line`` of where the main task waits."""
        return frames.waiting_at(self._main.get_coro()) if self._main else ""

    @property
    def raised(self) -> BaseException | None:
        """What left the coroutine, once it ended."""
        main = self._main
        return main.exception() if main is not None and main.done() and not main.cancelled() else None

    def interrupt(self, error: BaseException) -> BaseException:
        """End the step with ``error``, whatever the code makes of it."""
        self.loop.violation = error
        return error


def _last_of(unread: dict[str, list[Any]], came: Sequence[str]) -> list[list[Any]]:
    """Take from unread signals, which are by name, those that came last; in the order of the names that came."""
    found = [[name, unread[name].pop()] for name in reversed(came) if unread.get(name)]
    return found[::-1]
