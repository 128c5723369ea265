"""Simulations: a workflow run in memory, in virtual time, with mocks for what it calls."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from durable import conf, registry
from durable.client.ask import encode
from durable.client.start import encode_tags
from durable.core import events as ev
from durable.core import payloads, texts
from durable.core.definitions import WorkflowDefinition
from durable.core.errors import InvalidInput, UnknownToken
from durable.core.failures import Failure
from durable.core.options import workflow_options
from durable.core.retry import seconds
from durable.interceptors import SignalCall, StartCall
from durable.store import creation
from durable.testing.dropped import complain, refuse
from durable.testing.mocks import Mock, Mocks, name_of
from durable.testing.moments import Moment
from durable.testing.outcome import Simulated, outcome
from durable.testing.problems import ExpectationFailed, SimulationError
from durable.testing.rechecking import recheck
from durable.testing.updates import Asked
from durable.testing.world import World

if TYPE_CHECKING:
    from durable.core.agenda import Entry
    from durable.testing.instances import Instance
    from durable.testing.mocks import Target
    from durable.testing.tasks import Task

START = datetime(2026, 1, 1, tzinfo=UTC)


class Simulation:
    """A workflow run in memory: no database, no worker, no waiting.

    Activities and children run for real unless they are mocked. Time is
    virtual: it stands still while code runs and jumps to whatever is due next.

    Attributes:
        id: The instance's id.
    """

    def __init__(
        self,
        workflow: WorkflowDefinition | str,
        *,
        start: datetime = START,
        max_time: timedelta | float = timedelta(days=3652),
        max_steps: int = 100_000,
        max_executions: int = 2_000,
        prefixes: Literal["sample", "all"] = "sample",
        **options: Any,
    ) -> None:
        """Say what to run.

        Args:
            workflow: The definition, or its type name, e.g. ``order2``.
            start: The virtual time of the start.
            max_time: How much virtual time may pass; a timedelta or seconds.
            max_steps: How many steps all instances together may take.
            max_executions: How many executions an instance may have, which continues as new or is tried again.
            prefixes: Which prefixes of histories of more than 100 events are replayed: some, or all of them.
            options: As for ``wf.options``: ``id queue tags headers delay timeout retry``.

        Raises:
            UnknownWorkflow: It is not registered; the error offers near names.
            InvalidInput: It is no workflow, or ``prefixes`` is neither, or a time is none.
            InvalidInput, InvalidId, LimitExceeded: An option cannot be taken.
        """
        self._definition = registry.workflow_type(workflow) if isinstance(workflow, str) else workflow
        if not isinstance(self._definition, WorkflowDefinition):
            raise InvalidInput("Simulation(workflow)", f"{workflow!r} is no workflow; mark it with @workflow.defn")
        if not isinstance(start, datetime):
            raise InvalidInput("Simulation(start)", f"{start!r} is no datetime")
        if prefixes not in ("sample", "all"):
            raise InvalidInput("Simulation(prefixes)", f"{prefixes!r} is neither 'sample' nor 'all'")
        self._every = prefixes == "all"
        checked = workflow_options(self._definition.type_name, **options)
        self._options = creation.with_defaults(self._definition, {**self._definition.overrides, **checked})
        self.id: str = self._options.get("id") or "simulated"
        texts.check_id(self.id)
        self._tags = encode_tags(self._options.get("tags", {}))
        self._mocks = Mocks()
        self._world = World(
            self._mocks,
            start=start.timestamp(),
            max_time=timedelta(seconds=seconds(max_time, "Simulation(max_time)")),
            max_steps=max_steps,
            max_executions=max_executions,
        )
        self._root: Instance | None = None
        self._unreached: list[Entry] = []

    # --- saying what shall happen

    def mock(self, target: Target, /, *args: Any, **kwargs: Any) -> Mock:
        """Say what an activity or a child workflow does when it is called.

        Args:
            target: The activity or workflow, or its registered name.
            args: With which arguments: values that they equal, ``ANY``, or ``matching(fn)``; none is any call.
            kwargs: Likewise, by name.

        Raises:
            InvalidInput: It is neither, or the arguments do not fit it.
        """
        return self._mocks.add(Mock(target, args, kwargs, where=_caller()))

    def at(self, elapsed: timedelta | float) -> Moment:
        """Return a moment of virtual time, to say what happens then.

        Args:
            elapsed: How long after the start; a timedelta or seconds.

        Raises:
            InvalidInput: It is no duration.
        """
        return Moment(self, self._world.agenda, seconds(elapsed, "at(elapsed)"), where=_caller())

    # --- running

    def run(self, *args: Any, **kwargs: Any) -> Simulated:
        """Start the workflow with these arguments, and let virtual time pass until it has ended.

        Afterwards every history is replayed, and so are its prefixes: all of them if it has up to 100 events
        or ``prefixes`` is ``all``, else some.

        Raises:
            InvalidInput: The arguments do not fit.
            WorkflowBlocked: The workflow waits for something that will never come.
            RunawaySimulation: It went on for longer than it may.
            UnknownCall: It called something that is neither registered nor mocked.
            UnexpectedCall: It called something mocked in a way that no mock takes.
            NondeterminismError: Its code decides otherwise when it is replayed.
            RunawayStep, LimitExceeded: What would stall a real instance.
            NeverAwaited: Its code called something async and did not await it, and it completed all the same.
        """
        if self._root is not None:
            raise SimulationError("a simulation runs once; make another one")
        definition, world = self._definition, self._world
        arguments = definition.signature.bind(args, kwargs, conf.converter())
        payloads.dumps(arguments, f"input of {definition.type_name}", conf.limit("payload"))
        call = StartCall(
            instance_id=self.id,
            workflow=definition.type_name,
            queue=self._options.get("queue") or definition.queue or conf.settings.QUEUE,
            headers=dict(self._options.get("headers", {})),
        )
        root = world.start(call, definition, arguments=arguments, tags=self._tags, options=self._options)
        self._root = root
        try:
            self._unreached = world.drive(root)
        finally:
            world.close()
        runs = [run for instance in world.instances.values() for run in instance.runs]
        for run in runs:
            refuse(run)
        for run in runs:
            recheck(run, every=self._every)
        for run in runs:
            complain(run)
        return outcome(world, root)

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return datetime.fromtimestamp(self._world.agenda.now, UTC)

    # --- operating it: in what ``at(...).call`` calls, in mocks, and queries also afterwards

    def signal(self, name: str, payload: Any = None, *, to: str | None = None) -> None:
        """Signal the instance, or another one of the simulation.

        Args:
            name: The signal's name.
            payload: Any JSON.
            to: The other one's id.

        Raises:
            UnknownInstance, NotOpen: There is none of this id, or it has ended.
            InvalidInput, PayloadTooLarge: The name or the payload cannot be taken.
        """
        texts.check_name(name, "signal(name)")
        where = f"signal {name}"
        encoded = conf.converter().encode(payload, where)
        payloads.dumps(encoded, where, conf.limit("payload"))
        self._world.signal(SignalCall(instance_id=self._id(to), name=name, headers={}), encoded)

    def cancel(self, *, reason: str = "", to: str | None = None) -> None:
        """Ask the instance, or another one, to stop.

        Raises:
            UnknownInstance, NotOpen: There is none of this id, or it has ended.
        """
        target = self._world.instance(self._id(to))
        target.require_open("be canceled")
        target.send(ev.CancelRequested(reason=reason))

    def terminate(self, *, reason: str = "", to: str | None = None) -> None:
        """End the instance, or another one, at once.

        Raises:
            UnknownInstance, NotOpen: There is none of this id, or it has ended otherwise.
        """
        target = self._world.instance(self._id(to))
        if target.status != "terminated":
            target.require_open("be terminated")
            self._world.agenda.add(lambda: target.terminate(reason), f"the termination of {target.id}", first=True)

    def query(self, name: str, /, *args: Any, to: str | None = None, **kwargs: Any) -> Any:
        """Call a query of the instance, or of another one, and return its answer as plain JSON.

        Raises:
            UnknownInstance: There is none of this id.
            InvalidInput: It has not begun, has no such query, or the arguments do not fit.
            ReadOnly, ForbiddenInWorkflow: The query tried to change something, or to reach outside.
            RunawayStep: It took too long.
        """
        run = self._world.instance(self._id(to)).run
        if not run.history:
            raise InvalidInput(f"query {name!r}", f"instance {run.instance.id!r} has not begun yet")
        return run.query(name, encode(f"query {name}", args, kwargs))

    def update(
        self, name: str, /, *args: Any, to: str | None = None, update_id: str | None = None, **kwargs: Any
    ) -> Asked:
        """Ask the instance, or another one, for an update; the ``value`` of what is returned is its outcome later.

        Args:
            name: The update's name.
            args: Positional arguments.
            to: The other one's id.
            update_id: What to call the request: asking again by the same id returns the same request.
            kwargs: Keyword arguments.

        Raises:
            UnknownInstance, NotOpen: There is none of this id, or it has ended.
            InvalidInput: An argument has no JSON, a name cannot be taken, or the id is that of another update.
            PayloadTooLarge: The arguments are larger than the limit.
        """
        texts.check_name(name, "update(name)")
        instance = self._world.instance(self._id(to))
        update_id = texts.check_name(update_id or f"update-{len(instance.updates) + 1}", "update(update_id)")
        where = f"update {name}"
        arguments = encode(where, args, kwargs)
        payloads.dumps(arguments, where, conf.limit("payload"))
        if (known := instance.updates.get(update_id)) is not None:
            if known.request.name != name:
                raise InvalidInput("update_id", f"{update_id!r} is the id of an update {known.request.name!r}")
            return known
        instance.require_open(f"take update {name!r}")
        asked = Asked(instance, ev.UpdateAccepted(update_id=update_id, name=name, input=arguments))
        instance.updates[update_id] = asked
        self._world.agenda.add(lambda: instance.ask(asked), f"update {name!r} of {instance.id}")
        return asked

    def complete_activity(self, token: str, result: Any = None) -> None:
        """Complete an activity that called ``complete_later``.

        Raises:
            UnknownToken: No open activity has this token.
            InvalidInput, PayloadTooLarge: The result cannot be taken.
        """
        encoded = conf.converter().encode(result, "result")
        payloads.dumps(encoded, "result", conf.limit("payload"))
        task = self._external(token)
        self._world.agenda.add(lambda: task.complete(encoded), f"the completion of {task.name}")

    def fail_activity(self, token: str, error: BaseException | str) -> None:
        """Fail an activity that called ``complete_later``; it is retried by its policy.

        Raises:
            UnknownToken: No open activity has this token.
        """
        failure = (
            Failure.of(error) if isinstance(error, BaseException) else Failure(type="ActivityFailed", message=error)
        )
        task = self._external(token)
        self._world.agenda.add(lambda: task.fail(failure), f"the failure of {task.name}")

    def _external(self, token: str) -> Task:
        task = self._world.tokens.pop(token, None)
        if task is None:
            raise UnknownToken(token)
        return task

    def _id(self, to: str | None) -> str:
        return self.id if to is None else to

    # --- looking back

    def assert_expectations(self) -> None:
        """Check that every mock was used, as often as it said, and every moment of ``at`` came.

        Raises:
            ExpectationFailed: One was not; the error names the place of each.
        """
        problems = self._mocks.disappointments()
        if (root := self._root) is not None and root.closed_at is not None:
            after = timedelta(seconds=root.closed_at - root.created_at)
            over = f"never came: {self.id!r} was {root.status} after {after}"
            problems += [f"{entry.what} {over}" for entry in self._unreached]
        if problems:
            raise ExpectationFailed(problems)

    def assert_order(self, *targets: Target) -> None:
        """Check that activities and children were begun in this order, others perhaps between them.

        Raises:
            ExpectationFailed: They were not.
        """
        begun = iter(self._world.begun)
        for target in targets:
            if name_of(target) not in begun:  # goes on where the one before was found
                wanted = ", ".join(map(name_of, targets))
                really = ", ".join(self._world.begun) or "nothing"
                raise ExpectationFailed([f"order: wanted {wanted}; begun were {really}"])


def simulate(workflow: WorkflowDefinition | str, /, *args: Any, **kwargs: Any) -> Simulated:
    """Run a workflow in a simulation without mocks; see ``Simulation.run``."""
    return Simulation(workflow).run(*args, **kwargs)


def _caller() -> str:
    frame = sys._getframe(2)
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
