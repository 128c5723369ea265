"""An execution in a simulation: each event a turn, as the engine takes them, with nothing stored but in memory."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from durable import conf, interceptors
from durable.core import answering, payloads, places, queries, stepping, texts
from durable.core import commands as cmd
from durable.core import events as ev
from durable.core.definitions import anything, define_workflow
from durable.core.errors import AlreadyExists, DurableError, InvalidId, LimitExceeded
from durable.core.execution import LIMITS, Execution
from durable.core.failures import Failure
from durable.core.replay import catch_up
from durable.engine import guards, routing, strict, watchdog
from durable.engine.updates import HARMFUL
from durable.interceptors import TurnCall
from durable.testing import dropped, updates
from durable.testing.records import Step, Stored
from durable.testing.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable.core.agenda import Entry
    from durable.core.definitions import WorkflowDefinition
    from durable.testing.instances import Instance
    from durable.testing.world import World


class Run:
    """One execution of a simulated instance.

    Attributes:
        id: The execution's id.
        origin: How it came to be: ``start``, ``continued`` or ``retry``.
        status: ``running`` until its end, then as the instance's, or ``continued``.
        history: Its events.
        steps: What its code had come to after each.
        dropped: The calls that its code made and nobody awaited, in words.
        left: What its code had asked for and nobody waited for when it returned, in words.
        queries: The names of the queries that its code answered while it lived, each with the head of then.
    """

    def __init__(
        self, world: World, instance: Instance, definition: WorkflowDefinition, *, run_id: str, number: int, origin: str
    ) -> None:
        self._world, self.instance, self.definition = world, instance, definition
        self.id, self.number, self.origin = run_id, number, origin
        self.status = "running"
        self.history: list[Stored] = []
        self.steps: list[Step] = []
        self.tasks: dict[int, Task] = {}
        self.locations: dict[int, str] = {}
        self.queries: list[tuple[int, str]] = []
        self.dropped: list[str] = []
        self._mark = dropped.Mark()
        self.left: list[str] = []
        self._timers: dict[int, Entry] = {}
        self._pending: list[cmd.Command] = []
        self._activities: dict[int, ev.ActivityScheduled] = {}
        self.end: ev.End | None = None
        self.execution = self.another()

    def another(self) -> Execution:
        """Return the execution as it is before its first event."""
        return Execution(self.definition, converter=conf.converter(), **self.options())

    def options(self) -> dict[str, Any]:
        """Return what the execution is made with, apart from its code."""
        return {
            "limits": {name: conf.limit(name) for name in LIMITS},
            "instance_id": self.instance.id,
            "execution_id": self.id,
            "enter": guards.enter,
        }

    def facts(self) -> dict[str, Any]:
        """Return what interceptors are told of it."""
        return {
            "instance_id": self.instance.id,
            "execution_id": self.id,
            "workflow": self.definition.type_name,
            "queue": self.instance.queue,
            "headers": dict(self.instance.headers),
        }

    def events(self, *, after: int = 0) -> list[ev.Event]:
        """Return the history's events after a place, as they would come from a database."""
        return [stored.event(seq) for seq, stored in enumerate(self.history[after:], after + 1)]

    def query(self, name: str, arguments: dict[str, Any]) -> Any:
        """Answer a query, in the live code as a worker does; once that is put away, in a replay of its history."""
        if self.execution.loop.closing:
            with closing(self.another()) as again, watchdog.watch(again):
                catch_up(again, self.events(), whole=True)
                return queries.answer(again, name, arguments)
        self.queries.append((len(self.history), name))
        try:
            with watchdog.watch(self.execution):
                return queries.answer(self.execution, name, arguments)
        except HARMFUL:
            self.rebuild()
            raise

    # --- taking turns

    def answer(self, event: ev.Answer) -> None:
        """Bring the answer to something that the code asked for; one that comes too late is dropped."""
        if self.end is None and event.event_id in self.execution.open:
            self.take(event)

    def take(self, event: ev.Event) -> None:
        """Take a turn: let the code see an event, and do what it asks for."""
        if self._is_late(event):
            return
        if not interceptors.hooks("turn"):
            self._turn(event)
            return
        head = len(self.history)
        call = TurnCall(**self.facts(), head=head)

        def watched() -> None:
            self.execution.spans.clear()
            self._turn(event)
            call.events.extend(event for event in self.events(after=head) if not event.by_code)
            call.spans.extend(self.execution.spans)

        interceptors.around("turn", call, watched)

    def _turn(self, event: ev.Event) -> None:
        self._apply(event)
        self._settle()
        self._recall()
        self._check_length()
        for asked in self._activities.values():
            self.tasks[asked.event_id] = Task(self._world, self, asked, location=self.locations[asked.event_id])
        self._activities.clear()
        self.instance.show(self.execution)
        if self.end is not None:
            if isinstance(self.end, ev.ExecutionCompleted):
                self.left = [self._asked(event) for event in answering.left(self.execution.open)]
            self.close()
            self.instance.ended(self, self.end)

    def _asked(self, event: ev.Asked) -> str:
        place = self.locations[event.event_id]
        return f"{event}, asked for at {place}" if place else str(event)

    def _goes_on(self) -> bool:
        return self.execution.outcome is None

    def _is_late(self, event: ev.Event) -> bool:
        return self.end is not None or (isinstance(event, ev.CancelRequested) and self.execution.cancel_requested)

    def impose(self, event: ev.End) -> None:
        """End it from outside, without running its code."""
        self._record(event)
        self.end = event
        self._stepped(1)
        self.close()

    def close(self) -> None:
        """Put away the code and the timers."""
        for timer in self._timers.values():
            timer.cancel()
        self.execution.close()

    def ask(self, asked: updates.Asked) -> None:
        """Bring a request for an update to the code."""
        if self.end is not None:
            asked.state = "waiting"
        elif updates.offer(self, asked):
            self.take(asked.request)

    def _recall(self) -> None:
        """Let in the requests that waited for names which the code has registered."""
        while self.execution.updates.fresh and self._goes_on():
            for asked in updates.waiting(self):
                if self._goes_on() and updates.offer(self, asked):
                    self._apply(asked.request)
                    self._settle()

    def rebuild(self) -> None:
        """Replace the code by a replay of its history: something may have changed halfway."""
        self.execution.close()
        self.execution = self.another()
        catch_up(self.execution, self.events(), whole=True)
        self.execution.changed.clear()
        self.execution.updates.fresh.clear()

    def _apply(self, event: ev.Event) -> None:
        if self.execution.outcome is not None:
            return
        self._world.count_step(self.instance)
        before = len(self.history)
        self._record(event)
        event = self.history[-1].event(len(self.history))  # as from a database: nobody else holds what it carries
        watch = dropped.watch(self.dropped, self._mark)
        with watch, strict.guard(self.execution, always=True), watchdog.watch(self.execution):
            issued = self._mark.call(lambda: stepping.step(self.execution, event))
        if isinstance(event, ev.End):
            self.end = event
        issued = [self._routed(c) if isinstance(c, ev.ChildScheduled) else c for c in issued]
        for command in issued:
            if isinstance(command, cmd.Recordable):
                self._record(command)
            if isinstance(command, ev.Asked):
                self.locations[command.event_id] = places.location(self.execution, command.event_id)
            elif isinstance(command, ev.ExecutionContinued):
                self.locations[-1] = places.location(self.execution, -1)
        self._pending.extend(issued)
        self._stepped(len(self.history) - before)

    def _routed(self, child: ev.ChildScheduled) -> ev.ChildScheduled:
        """Return a child with the version that it runs; one that is mocked runs as it is named."""
        named = define_workflow(anything, name=child.name, version=child.version or 0)
        return child if self._world.mocks.has(named) else routing.child(child)

    def _record(self, event: ev.Event) -> None:
        text = payloads.dumps(event.to_json(), str(event), limit=_NO_LIMIT)
        self.history.append(Stored(kind=event.kind, text=text, at=self._world.agenda.now))
        self.execution.head = len(self.history)

    def _stepped(self, events: int) -> None:
        code = self.execution
        last = len(self.history)
        shown = (code.status, code.progress, code.tags)
        step = Step(
            first=last - events + 1,
            last=last,
            open=tuple(sorted(code.open)),
            shown=shown,
            ended=code.outcome is not None or self.end is not None,
        )
        self.steps.append(step)

    def _check_length(self) -> None:
        maximum = conf.limit("history")
        if len(self.history) > maximum and self.end is None:
            advice = "continue as new before a history grows this long"
            raise LimitExceeded("history", value=len(self.history), maximum=maximum, advice=advice)

    # --- doing what the code asks for

    def _settle(self) -> None:
        maximum = conf.limit("fan_out")
        if len(self._pending) > maximum:
            raise LimitExceeded("fan_out", value=len(self._pending), maximum=maximum, advice="work in batches")
        while self._pending:
            pending, self._pending = self._pending, []
            for command in pending:
                self._do(command)
            self._call_off([command.event_id for command in pending if isinstance(command, cmd.CancelActivity)])

    def _do(self, command: cmd.Command) -> None:
        match command:
            case ev.ActivityScheduled():
                self._activities[command.event_id] = command
            case ev.TimerStarted():
                self._start_timer(command)
            case ev.TimerCanceled(event_id=event_id):
                self._timers.pop(event_id).cancel()
            case ev.UpdateCompleted():
                self.instance.updates[command.update_id].complete(command)
            case ev.SideEffectRecorded() | ev.PatchMarked() | cmd.CancelActivity():
                pass
            case ev.ChildScheduled():
                self._start_child(command)
            case cmd.CancelChild(event_id=event_id):
                self._cancel_child(event_id)
            case ev.SignalSent():
                location = self.locations[command.event_id]
                self.tasks[command.event_id] = Task(self._world, self, command, location=location)
            case ev.End():
                self.end = command
            case _:
                raise TypeError(f"{command} cannot be settled")

    def _start_timer(self, timer: ev.TimerStarted) -> None:
        fired = ev.TimerFired(event_id=timer.event_id)
        what = f"a timer of {self.instance.id}, started at {self.locations[timer.event_id]}"
        self._timers[timer.event_id] = self._world.agenda.add(lambda: self.answer(fired), what, at=timer.fire_at)

    def _start_child(self, child: ev.ChildScheduled) -> None:
        if (refusal := self._refusal(child.instance_id)) is not None:
            self._apply(ev.ChildFailed(event_id=child.event_id, failure=Failure.of(refusal)))
            return
        named = define_workflow(anything, name=child.name, version=child.version or 0)
        definition = self._world.mocks.workflow(named, location=self.locations[child.event_id])
        self._world.bear(definition, child, self)
        self._apply(ev.ChildStarted(event_id=child.event_id))

    def _refusal(self, child_id: str) -> DurableError | None:
        if child_id in self._world.instances:
            return AlreadyExists(child_id)
        try:
            texts.check_id(child_id)
        except InvalidId as error:
            return error
        return None

    def _cancel_child(self, event_id: int) -> None:
        asked = self.execution.open.get(event_id)
        if asked is not None and isinstance(asked.event, ev.ChildScheduled):
            child = self._world.instances[asked.event.instance_id]
            if child.is_open:
                reason = f"the parent {self.instance.id} does not wait for it any more"
                child.send(ev.CancelRequested(reason=reason, by_parent=self.execution.cancel_requested))

    def _call_off(self, event_ids: Sequence[int]) -> None:
        for event_id in event_ids:
            if self._activities.pop(event_id, None) or self.tasks[event_id].call_off():
                self._apply(ev.ActivityCanceled(event_id=event_id))


_NO_LIMIT = 2**63
