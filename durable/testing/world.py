"""The world of a simulation: all its instances, in one virtual time."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from durable import activity
from durable.core import events as ev
from durable.core import places
from durable.core.agenda import Agenda
from durable.core.errors import UnknownInstance
from durable.engine import intercepting
from durable.interceptors import SignalCall, StartCall
from durable.store import creation
from durable.testing import blocked
from durable.testing.instances import Instance, Parent
from durable.testing.problems import RunawaySimulation, WorkflowBlocked

if TYPE_CHECKING:
    from durable.core.agenda import Entry
    from durable.core.definitions import WorkflowDefinition
    from durable.testing.driving import Run
    from durable.testing.mocks import Mocks
    from durable.testing.tasks import Call, Task


class World:
    """Everything that happens in a simulation.

    Attributes:
        instances: All instances, by id, in order of creation.
        calls: All attempts of activities, in order.
        begun: The names of the activities and children that were begun, in order.
        tokens: Activities whose completion was left to somebody else.
    """

    def __init__(self, mocks: Mocks, *, start: float, max_time: timedelta, max_steps: int, max_executions: int) -> None:
        self.agenda, self.mocks = Agenda(start), mocks
        self.instances: dict[str, Instance] = {}
        self.calls: list[Call] = []
        self.begun: list[str] = []
        self.tokens: dict[str, Task] = {}
        self._start, self._max_time, self._max_steps = start, max_time, max_steps
        self._max_executions = max_executions
        self._steps: Counter[str] = Counter()
        self._random = random.Random(0)  # noqa: S311 - the jitter of waits, the same in each run

    @property
    def elapsed(self) -> timedelta:
        """How much virtual time has passed."""
        return timedelta(seconds=self.agenda.now - self._start)

    # --- going on

    def drive(self, root: Instance) -> list[Entry]:
        """Let everything happen, in order of time, until ``root`` has ended and nothing is due any more.

        Returns:
            What the test asked for that would have come after the end.

        Raises:
            WorkflowBlocked: Nothing is due, and ``root`` has not ended.
            RunawaySimulation: It went on for longer than it may.
        """
        unreached: list[Entry] = []
        while (entry := self.agenda.next()) is not None:
            if entry.at - self._start > self._max_time.total_seconds():
                raise self._runaway("max_time", self._max_time, entry)
            self.agenda.take()
            if entry.by_test and not root.is_open:
                unreached.append(entry)
            else:
                entry.act()
        if root.is_open:
            waits = blocked.report(self.instances.values())
            raise WorkflowBlocked(root.id, elapsed=self.elapsed, waits=waits)
        return unreached

    def count_step(self, instance: Instance) -> None:
        """Count a step.

        Raises:
            RunawaySimulation: There were too many.
        """
        self._steps[instance.id] += 1
        if self._steps.total() > self._max_steps:
            raise self._runaway("max_steps", f"{self._max_steps:,}", self.agenda.next())

    def check_executions(self, instance: Instance, number: int) -> None:
        """Look whether an instance may have so many executions.

        Raises:
            RunawaySimulation: It may not.
        """
        if number > self._max_executions:
            last = instance.run
            place = last.locations.get(-1)
            how = f"continues as new at {place}" if place else f"ends as {last.status} and is tried again"
            busiest = f"{instance.id} {how}, for the {self._max_executions:,}th time"
            due = f"execution {number:,} of {instance.id}"
            raise RunawaySimulation("max_executions", f"{self._max_executions:,}", due=due, busiest=busiest)

    def _runaway(self, limit: str, maximum: object, entry: Entry | None) -> RunawaySimulation:
        name, steps = self._steps.most_common(1)[0]
        run = self.instances[name].run
        at = places.waiting_at(run.execution)
        busiest = f"{name} took {steps:,} steps{f' and stands at {at}' if at else ''}"
        return RunawaySimulation(limit, maximum, due=entry.what if entry else "nothing", busiest=busiest)

    def close(self) -> None:
        """Put away all code."""
        for instance in self.instances.values():
            for run in instance.runs:
                run.close()

    def chance(self) -> float:
        """Return a number from 0 to 1, for the jitter of a wait."""
        return self._random.random()

    # --- instances

    def bear(self, definition: WorkflowDefinition, child: ev.ChildScheduled, run: Run) -> None:
        """Begin a child."""
        parent = run.instance
        queue = child.options.get("queue") or definition.queue or parent.queue
        call = StartCall(
            instance_id=child.instance_id,
            workflow=definition.type_name,
            queue=queue,
            headers={**parent.headers, **child.options.get("headers", {})},
            parent_id=parent.id,
            parent_execution_id=run.id,
        )
        self.start(
            call,
            definition,
            arguments=child.input,
            tags=child.tags,
            options=creation.with_defaults(definition, child.options),
            parent=Parent(run=run, event_id=child.event_id, location=run.locations[child.event_id]),
        )

    def start(self, call: StartCall, definition: WorkflowDefinition, **facts: Any) -> Instance:
        """Begin an instance with the headers that interceptors leave."""

        def begin(headers: dict[str, Any]) -> Instance:
            return Instance(self, definition, instance_id=call.instance_id, queue=call.queue, headers=headers, **facts)

        instance = self.instances[call.instance_id] = intercepting.start(call, begin)
        return instance

    def children(self, run: Run) -> list[Instance]:
        """Return the children that an execution started, in order."""
        return [i for i in self.instances.values() if i.parent is not None and i.parent.run is run]

    def instance(self, instance_id: str) -> Instance:
        """Return an instance.

        Raises:
            UnknownInstance: There is none of this id in the simulation.
        """
        if instance_id not in self.instances:
            raise UnknownInstance(instance_id)
        return self.instances[instance_id]

    def signal(self, call: SignalCall, payload: Any) -> None:
        """Bring a signal to an instance, within the interceptors' hooks.

        Raises:
            UnknownInstance: There is none of this id in the simulation.
            NotOpen: It has ended.
        """

        def send(headers: dict[str, Any]) -> None:
            target = self.instance(call.instance_id)
            target.require_open("take a signal")
            target.send(ev.SignalReceived(name=call.name, payload=payload, headers=headers))

        intercepting.signal(call, send)

    def send(self, instance_id: str, name: str, payload: Any) -> None:
        """Signal an instance, as an activity."""
        info = activity.info()
        headers = dict(info.headers)
        self.signal(
            SignalCall(instance_id=instance_id, name=name, headers=headers, sender_id=info.instance_id), payload
        )
