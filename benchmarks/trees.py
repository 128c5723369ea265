"""Trees of workflows, in the shapes that the benchmark of go-workflows has."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import crowds, workflows

if TYPE_CHECKING:
    from benchmarks.engines import Engine
    from benchmarks.workloads import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The shape of a tree: a root, levels of workflows that start workflows, leaves that run activities.

    Attributes:
        depth: How many levels there are between the root and the leaves.
        fan_out: How many workflows the root and each one between start.
        leaves: How many leaves each workflow of the last level starts.
        activities: How many activities each leaf runs at once.
        size: How many characters each of them returns.
    """

    depth: int = 2
    fan_out: int = 2
    leaves: int = 2
    activities: int = 2
    size: int = 100

    @property
    def all_leaves(self) -> int:
        """All leaves."""
        return self.fan_out**self.depth * self.leaves

    @property
    def all_workflows(self) -> int:
        """All workflows, the root included."""
        return sum(self.fan_out**level for level in range(self.depth + 1)) + self.all_leaves

    @property
    def all_activities(self) -> int:
        """All activities."""
        return self.all_leaves * self.activities


def runs(shape: Shape) -> Callable[[Workload, Engine], dict[str, float]]:
    """Return what starts trees of a shape all at once and waits for them."""

    def run(workload: Workload, engine: Engine) -> dict[str, float]:
        # A round with less to do has the smallest tree.
        small = Shape(depth=1, fan_out=1, leaves=1, activities=workload.steps)
        return _run(shape if workload.steps == shape.all_activities else small, workload, engine)

    return run


def _run(shape: Shape, workload: Workload, engine: Engine) -> dict[str, float]:
    begun = time.perf_counter()
    given = (shape.depth, shape.fan_out, shape.leaves, shape.activities, shape.size)
    handles = [workflows.tree_root.start(*given) for _ in range(workload.instances)]
    crowds.await_all([handle.id for handle in handles], engine, result=shape.all_activities * shape.size)
    seconds = time.perf_counter() - begun
    return {
        "ms_per_step": seconds * 1000 / workload.total_steps,
        "seconds": seconds,
        "per_second": workload.total_steps / seconds,
        "workflows_per_second": workload.instances * shape.all_workflows / seconds,
    }
