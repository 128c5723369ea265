"""An instance in a simulation: its executions, its children, and what becomes of them at its end."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from durable import interceptors
from durable.core import events as ev
from durable.core.errors import NotOpen
from durable.core.failures import Failure
from durable.core.replay import interpreter
from durable.core.retry import RetryPolicy
from durable.engine.closing import TIMED_OUT
from durable.interceptors import EndCall
from durable.testing import updates
from durable.testing.driving import Run
from durable.testing.mocks import arguments_of
from durable.testing.stand_ins import StandIn

if TYPE_CHECKING:
    from durable.core.agenda import Entry
    from durable.core.definitions import WorkflowDefinition
    from durable.core.execution import Execution
    from durable.testing.world import World

_SPACE = uuid.UUID("7f0d5b0a-9d8e-4c66-8f5c-6a1f1f3f2a11")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """Who started a child, and by which event."""

    run: Run
    event_id: int
    location: str


class Instance:
    """An instance that a simulation runs.

    Attributes:
        status: As of a real one.
        runs: Its executions; the last one is the current one.
    """

    def __init__(
        self,
        world: World,
        definition: WorkflowDefinition,
        *,
        instance_id: str,
        arguments: dict[str, Any],
        queue: str,
        tags: dict[str, Any],
        options: dict[str, Any],
        headers: dict[str, Any],
        parent: Parent | None = None,
    ) -> None:
        self._world, self.definition, self.id = world, definition, instance_id
        self.arguments, self.queue, self.tags, self.options, self.parent = arguments, queue, tags, options, parent
        self.headers = headers
        self.status = "pending"
        self.custom_status: Any = None
        self.progress: dict[str, Any] | None = None
        self.result: Any = None
        self.failure: Failure | None = None
        self.created_at = world.agenda.now
        self.closed_at: float | None = None
        self.runs: list[Run] = []
        self.updates: dict[str, updates.Asked] = {}
        self._waiting: list[ev.Event] = []
        self._is_canceling = False
        self._begin_with: ev.ExecutionStarted
        self._start: Entry | None = None
        delay = options.get("delay", 0.0)
        self._next("start", arguments, wait=delay)
        self._timeout: Entry | None = None
        if "timeout" in options:
            what = f"the timeout of {instance_id}"
            self._timeout = world.agenda.add(self._time_out, what, wait=delay + options["timeout"])

    @property
    def is_open(self) -> bool:
        return self.closed_at is None

    @property
    def run(self) -> Run:
        """The current execution."""
        return self.runs[-1]

    # --- what comes in

    def send(self, event: ev.Event) -> None:
        """Bring a signal or a cancel; it arrives after all else that is due now."""
        self._is_canceling = self._is_canceling or isinstance(event, ev.CancelRequested)
        self._world.agenda.add(lambda: self.receive(event), f"{event} for {self.id}")

    def receive(self, event: ev.Event) -> None:
        """Take a signal or a cancel; before the start they wait for it, and a cancel does not wait for a delay."""
        if not self.is_open:
            return
        if self._start is None:
            self.run.take(event)
            return
        self._waiting.append(event)
        if isinstance(event, ev.CancelRequested):
            self._start.cancel()
            self._begin()

    def ask(self, asked: updates.Asked) -> None:
        """Take a request for an update; before the start it waits for it."""
        if not self.is_open:
            asked.refuse()
        elif self._start is not None:
            asked.state = "waiting"
        else:
            self.run.ask(asked)

    def require_open(self, verb: str) -> None:
        """Refuse what only an open instance takes.

        Raises:
            NotOpen: It has ended.
        """
        if not self.is_open:
            raise NotOpen(self.id, status=self.status, verb=verb)

    def _time_out(self) -> None:
        failure = Failure(type=TIMED_OUT, message="the instance did not end in its time")
        self.run.take(ev.ExecutionFailed(failure=failure, imposed=True))

    def terminate(self, reason: str, *, by_parent: bool = False) -> None:
        """End it at once, and its children by their policy; its code does not run."""
        if self.is_open:
            end = ev.ExecutionTerminated(reason=reason, by_parent=by_parent)
            self.run.impose(end)
            self.ended(self.run, end)

    # --- executions

    def _next(
        self, origin: str, arguments: dict[str, Any], *, carried: list[list[Any]] | None = None, wait: float = 0.0
    ) -> None:
        """Plan the next execution."""
        self._is_canceling = False
        number = len(self.runs) + 1
        self._world.check_executions(self, number)
        run_id = str(uuid.uuid5(_SPACE, f"{self.id}/{number}"))
        parent = None
        if self.parent is not None:
            run, event_id = self.parent.run, self.parent.event_id
            parent = {"instance_id": run.instance.id, "execution_id": run.id, "event_id": event_id}
        self._begin_with = ev.ExecutionStarted(
            name=self.definition.name,
            version=self.definition.version,
            input=arguments,
            queue=self.queue,
            tags=self.tags,
            parent=parent,
            generation=number - 1,
            seed=run_id,
            python=interpreter(),
            carried=carried or [],
            headers=self.headers,
        )
        definition = self._code(arguments, wait)
        self.runs.append(Run(self._world, self, definition, run_id=run_id, number=number, origin=origin))
        # Ahead of what waits: the execution has to begin first.
        first = origin == "continued" or self.parent is None
        self._start = self._world.agenda.add(self._begin, f"the start of {self.id}", wait=wait, first=first)

    def _code(self, arguments: dict[str, Any], wait: float) -> WorkflowDefinition:
        """Return what the next execution runs: the workflow, or for a mocked child what the mock says."""
        if self.parent is None:
            return self.definition
        args, kwargs = arguments_of(self.definition.signature, arguments)
        mock = self._world.mocks.pick(self.definition, args, kwargs, location=self.parent.location)
        self._world.begun.append(self.definition.type_name)
        if mock is None:
            return self.definition
        stand_in = StandIn(mock.use(args, kwargs), duration=mock.duration)
        if stand_in.cancels:
            canceled = ev.CancelRequested(reason="as mocked")
            self._world.agenda.add(lambda: self.receive(canceled), str(mock), wait=wait + mock.duration)
        return replace(self.definition, fn=stand_in.run)

    def _begin(self) -> None:
        self._start = None
        self.status = "running"
        waiting, self._waiting = self._waiting, []
        self.run.take(self._begin_with)
        for event in waiting:
            self.receive(event)

    def show(self, execution: Execution) -> None:
        """Take over what the code shows to operators."""
        for field, name in (("status", "custom_status"), ("progress", "progress"), ("tags", "tags")):
            if field in execution.changed:
                setattr(self, name, getattr(execution, field))
        execution.changed.clear()

    # --- ends

    def ended(self, run: Run, end: ev.End) -> None:
        """Do what follows from the end of the current execution, within the interceptors' hooks."""
        started = run.execution.started
        call = EndCall(
            **run.facts(),
            end=end,
            started_at=started.at if started else self.created_at,
            ended_at=self._world.agenda.now,
        )
        interceptors.around("end", call, lambda: self._ended(run, end))

    def _ended(self, run: Run, end: ev.End) -> None:
        if self._start is not None:
            self._start.cancel()
            self._start = None
        match end:
            case ev.ExecutionContinued():
                run.status = "continued"
                updates.cut_off(self)
                self._next("continued", end.input, carried=end.carried)
            case ev.ExecutionFailed() if not end.imposed and (wait := self._retry_wait(end.failure)) is not None:
                run.status = "failed"
                updates.cut_off(self)
                self._call_off(run)
                self._end_children(run, "failed")
                started = run.execution.started
                arguments = self.arguments if started is None else started.input
                self._next(
                    "retry",
                    arguments,
                    carried=run.execution.signals.carried_by_retry(),
                    wait=wait,
                )
            case ev.ExecutionCompleted(result=result):
                self.result = result
                self._close(run, "completed")
            case ev.ExecutionFailed(failure=failure):
                self.failure = failure
                self._close(run, "failed")
            case ev.ExecutionCanceled():
                self._close(run, "canceled")
            case ev.ExecutionTerminated(reason=reason):
                self.failure = Failure(type="WorkflowTerminated", message=reason)
                self._close(run, "terminated")
            case _:
                raise TypeError(f"{end.kind} is no end")

    def _retry_wait(self, failure: Failure) -> float | None:
        if "retry" not in self.options:
            return None
        attempt = 1
        for run in reversed(self.runs):
            if run.origin != "retry":
                break
            attempt += 1
        return RetryPolicy.from_json(self.options["retry"]).wait_after(attempt, failure)

    def _close(self, run: Run, status: str) -> None:
        self.status = run.status = status
        self.closed_at = self._world.agenda.now
        if self._timeout is not None:
            self._timeout.cancel()
        self._call_off(run, completed=status == "completed")
        updates.refuse(self)
        self._end_children(run, status)
        if self.parent is not None:
            self._tell(self.parent)

    def _call_off(self, run: Run, *, completed: bool = False) -> None:
        for task in run.tasks.values():
            if task.state == "external" and not completed:
                task.leave()  # as in the engine: a rewind may take the end back, and need it
            elif task.state == "external" or (task.state != "done" and not completed):
                task.call_off()

    def _end_children(self, run: Run, status: str) -> None:
        reason = f"the parent {self.id} is {status}"
        for child in self._world.children(run):
            if not child.is_open:
                continue
            match child.options.get("parent_close", "terminate"):
                case "terminate" if status == "terminated" or not child._is_canceling:
                    child.terminate(reason, by_parent=True)
                case "cancel":
                    child.send(ev.CancelRequested(reason=reason, by_parent=True))

    def _tell(self, parent: Parent) -> None:
        event_id = parent.event_id
        answer: ev.Answer
        match self.status:
            case "completed":
                answer = ev.ChildCompleted(event_id=event_id, result=self.result)
            case "canceled":
                answer = ev.ChildCanceled(event_id=event_id)
            case _:
                answer = ev.ChildFailed(event_id=event_id, failure=self.failure or Failure(type="WorkflowFailed"))
        self._world.agenda.add(lambda: parent.run.answer(answer), f"the end of {self.id}")
