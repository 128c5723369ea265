"""The workloads: what is measured, one function each.

A workload is run once a round. To add one, write a function that returns its
metrics and add it to ``WORKLOADS``; whatever it returns is reported as the
median of the rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from benchmarks import cached, crowds, replays, sleepers, trees, workflows
from benchmarks.percentiles import percentile
from benchmarks.trees import Shape
from durable.models import Instance

if TYPE_CHECKING:
    from benchmarks.engines import Engine
    from durable.core.definitions import WorkflowDefinition


Run = Callable[["Workload", "Engine"], dict[str, float]]
"""Runs one round of a workload and returns its metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Something to measure.

    Attributes:
        name: What results are reported under.
        run: Runs one round and returns its metrics, ``ms_per_step`` among them;
            and ``limit_ms``, if its limit is not the transaction.
        instances: How many workflows a round is.
        steps: How many activities each of them has.
        in_flight: How many of the workflows are open at a time.
        counted: Whether what the workers ask of the database is all there is to count.
        warms_up: Whether a few of its workflows are run before.
        rounds: How many rounds there are at most; None is as many as asked for.
    """

    name: str
    run: Run
    instances: int
    steps: int
    in_flight: int = 1
    counted: bool = True
    warms_up: bool = True
    rounds: int | None = None

    @property
    def total_steps(self) -> int:
        """All activities of a round."""
        return self.instances * self.steps

    def smaller(self, *, instances: int, steps: int) -> Workload:
        """Return the same workload with less to do."""
        return replace(self, instances=min(instances, self.instances), steps=min(steps, self.steps))


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long one workflow took, in seconds.

    Attributes:
        seen: From the start until the starter had the result.
        stored: From the first turn until the end was stored, by the database's clock.
    """

    seen: float
    stored: float


def run_sequential(workload: Workload, engine: Engine) -> dict[str, float]:
    """Run workflows one at a time, each of activities one after the other."""
    timings = one_at_a_time(workload, workflows.sequential, engine)
    return per_step(workload, timings)


def run_fan_out(workload: Workload, engine: Engine) -> dict[str, float]:
    """Run workflows one at a time, each of activities all at once."""
    timings = one_at_a_time(workload, workflows.fan_out, engine)
    return {**per_step(workload, timings), "wall_s": statistics.median(timing.seen for timing in timings)}


def run_latency(workload: Workload, engine: Engine) -> dict[str, float]:
    """Run workflows of one activity, and look at each one's time from start to result."""
    timings = one_at_a_time(workload, workflows.sequential, engine)
    seen = sorted(timing.seen * 1000 for timing in timings)
    return {**per_step(workload, timings), "p50_ms": percentile(seen, 50), "p95_ms": percentile(seen, 95)}


def _replay(name: str, activities: int, run: Run) -> Workload:
    return Workload(name=name, run=run, instances=1, steps=activities, counted=False, warms_up=False)


def _tree(name: str, shape: Shape, *, runs: int, **options: Any) -> Workload:
    return Workload(name=name, run=trees.runs(shape), instances=runs, steps=shape.all_activities, **options)


WORKLOADS: dict[str, Workload] = {
    "W1": Workload(name="W1_seq10", run=run_sequential, instances=30, steps=10),
    "W1x16": Workload(name="W1_conc16", run=crowds.run_in_flight, instances=200, steps=10, in_flight=16),
    "W1x64": Workload(name="W1_conc64", run=crowds.run_in_flight, instances=200, steps=10, in_flight=64),
    "W2": Workload(name="W2_seq100", run=run_sequential, instances=5, steps=100),
    "W3": Workload(name="W3_fan100", run=run_fan_out, instances=3, steps=100),
    "W4": Workload(name="W4_latency", run=run_latency, instances=200, steps=1),
    "W5": Workload(name="W5_burst1000x3", run=crowds.run_burst, instances=1000, steps=3),
    "W6": _replay("W6_seq10k", 10_000, replays.run_sequential),
    "W6fan": _replay("W6_fan10k", 10_000, replays.run_fan_out),
    "W6long": _replay("W6_seq100k", 100_000, replays.run_sequential),
    "W7": Workload(name="W7_sleep10k", run=sleepers.run, instances=10_000, steps=1, warms_up=False),
    "W7many": Workload(
        name="W7_sleep1m", run=sleepers.run, instances=1_000_000, steps=1, counted=False, warms_up=False, rounds=1
    ),
    "memory": Workload(name="memory_1000", run=cached.run, instances=1000, steps=10, counted=False),
    "W8": _tree("W8_tree", Shape(), runs=2),
    "W8wide": _tree("W8_tree_wide", Shape(depth=3, fan_out=3, leaves=3, activities=3), runs=10, warms_up=False),
    "W8large": _tree("W8_tree_1mb", Shape(activities=10, size=1_000_000), runs=2, warms_up=False),
    "W8huge": _tree("W8_tree_5mb", Shape(size=5_000_000), runs=2, warms_up=False),
}


def one_at_a_time(workload: Workload, definition: WorkflowDefinition, engine: Engine) -> list[Timing]:
    """Start each workflow when the one before has ended, and check every result."""
    seen: dict[str, float] = {}
    for _ in range(workload.instances):
        begun = time.perf_counter()
        handle = definition.start(workload.steps)
        total = engine.finish(handle)
        seen[handle.id] = time.perf_counter() - begun
        assert total == workload.steps * workflows.EACH, f"{handle} returned {total}"
    # Of all together, afterwards: what the harness looks at is not to count for what the client computes.
    stored = _stored_seconds(seen)
    return [Timing(seen=seconds, stored=stored[pk]) for pk, seconds in seen.items()]


def _stored_seconds(ids: Collection[str]) -> dict[str, float]:
    """Return how long each of some instances was open, from its first turn on."""
    found = Instance.objects.filter(pk__in=ids).values_list("pk", "started_at", "closed_at")
    return {pk: (closed_at - started_at).total_seconds() for pk, started_at, closed_at in found}


def per_step(workload: Workload, timings: list[Timing]) -> dict[str, float]:
    """Return the time of a step, as the starter sees it and as the rows tell it."""
    return {
        "ms_per_step": sum(timing.seen for timing in timings) * 1000 / workload.total_steps,
        "stored_ms_per_step": sum(timing.stored for timing in timings) * 1000 / workload.total_steps,
    }
