"""What a simulation has to complain about: errors that a test shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable.core.errors import DurableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta


class SimulationError(DurableError, AssertionError):
    """A simulation cannot go on, or did not go as the test said."""


class UnknownCall(SimulationError):
    """A workflow called an activity or a child that is neither registered nor mocked.

    Attributes:
        kind: ``activity`` or ``workflow``.
        near: Registered names that look alike.
        location: ``file:line`` of the call.
    """

    def __init__(self, kind: str, name: str, *, near: Sequence[str], location: str) -> None:
        self.kind, self.name, self.near, self.location = kind, name, tuple(near), location
        hint = f"; did you mean {', '.join(near)}?" if near else "."
        super().__init__(
            f"{kind} {name!r}, called at {location}, is neither registered nor mocked{hint} "
            f"Register it, or say simulation.mock({name!r}).returns(...)"
        )


class UnexpectedCall(SimulationError):
    """A mocked activity or child was called, and none of its mocks takes the call.

    Attributes:
        arguments: What it was called with, by parameter.
        location: ``file:line`` of the call.
        mocks: Its mocks, each with its place and why it does not fit.
    """

    def __init__(self, name: str, *, arguments: Mapping[str, Any], location: str, mocks: Sequence[str]) -> None:
        self.name, self.arguments, self.location, self.mocks = name, dict(arguments), location, tuple(mocks)
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        lines = "".join(f"\n  {mock}" for mock in mocks)
        super().__init__(f"{name}({given}), called at {location}, fits none of its mocks:{lines}")


class WorkflowBlocked(SimulationError):
    """A workflow waits for something that will never come.

    Attributes:
        instance_id: The instance that the test runs.
        elapsed: How much virtual time had passed.
        waits: What each task of each open instance waits for, and where.
    """

    def __init__(self, instance_id: str, *, elapsed: timedelta, waits: Sequence[str]) -> None:
        self.instance_id, self.elapsed, self.waits = instance_id, elapsed, tuple(waits)
        lines = "".join(f"\n  {wait}" for wait in waits)
        super().__init__(
            f"{instance_id!r} waits for what will never come, {elapsed} after its start:{lines}\n"
            f'Send what it waits for with simulation.at(...).signal("name", payload), or mock what does not end'
        )


class NeverAwaited(SimulationError):
    """A workflow called something async and did not await it, so that it never began.

    Attributes:
        instance_id: The workflow's instance.
        calls: Each call, with its place.
    """

    def __init__(self, instance_id: str, calls: Sequence[str]) -> None:
        self.instance_id, self.calls = instance_id, tuple(calls)
        lines = "".join(f"\n  {call}" for call in calls)
        super().__init__(
            f"{instance_id!r} did not await what it called, so nothing came of it:{lines}\n"
            f"Write await in front of it, or make a task of it: asyncio.create_task(...)"
        )


class LeftOpen(UserWarning):
    """A workflow returned, and nobody waits for something that it had asked for."""


class RunawaySimulation(SimulationError):
    """A simulation went on for longer than it may.

    Attributes:
        limit: Which limit was reached, ``max_time``, ``max_steps`` or ``max_executions``.
        due: What would have come next.
    """

    def __init__(self, limit: str, maximum: object, *, due: str, busiest: str) -> None:
        self.limit, self.maximum, self.due, self.busiest = limit, maximum, due, busiest
        super().__init__(
            f"the simulation is over its {limit} of {maximum} and not at its end; {busiest}; next would come {due}. "
            f"Does something repeat without end? Else give Simulation(..., {limit}=...) more"
        )


class ExpectationFailed(SimulationError):
    """Something that the test announced did not happen.

    Attributes:
        problems: Each, with the place where the test announced it.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("not as announced:" + "".join(f"\n  {problem}" for problem in problems))
