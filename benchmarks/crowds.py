"""Many instances at a time: kept in flight, or started all at once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from benchmarks import workflows
from durable.models import Status
from durable.store import instances

if TYPE_CHECKING:
    from benchmarks.engines import Engine
    from benchmarks.workloads import Workload
    from durable.client import Handle

_LOOK_SECONDS = 0.005
_REST_SECONDS = 0.01
"""How long to leave the workers alone between two looks at whether all of a burst have ended."""

_LOOKED_AT = 100
"""How many of those that are waited for in order are looked at with one statement."""

_PATIENCE = 240.0


class Stuck(RuntimeError):
    """Nothing ended for some minutes."""


def run_in_flight(workload: Workload, engine: Engine) -> dict[str, float]:
    """Keep a number of workflows in flight, each of activities one after the other."""
    begun = time.perf_counter()
    keep_in_flight(
        (lambda: workflows.sequential.start(workload.steps) for _ in range(workload.instances)),
        workload.in_flight,
        engine,
        result=workload.steps * workflows.EACH,
    )
    passed = time.perf_counter() - begun
    return {
        "ms_per_step": passed * 1000 / workload.total_steps,
        "per_second": workload.total_steps / passed,
        "instances_per_second": workload.instances / passed,
        "seconds": passed,
    }


def run_burst(workload: Workload, engine: Engine) -> dict[str, float]:
    """Start workflows as fast as one process can, each of activities one after the other."""
    begun = time.perf_counter()
    handles = [workflows.sequential.start(workload.steps) for _ in range(workload.instances)]
    enqueued = time.perf_counter() - begun
    await_all([handle.id for handle in handles], engine, result=workload.steps * workflows.EACH)
    passed = time.perf_counter() - begun
    return {
        "ms_per_step": passed * 1000 / workload.total_steps,
        "per_second": workload.instances / passed,
        "enqueue_s": enqueued,
        "wall_s": passed,
    }


def keep_in_flight(starts: Iterable[Callable[[], Handle]], in_flight: int, engine: Engine, *, result: Any) -> None:
    """Start something whenever fewer than ``in_flight`` are open, until all have ended with ``result``."""
    left = iter(starts)
    running: set[str] = set()
    watch = _Watch(engine)
    while True:
        while len(running) < in_flight and (start := next(left, None)) is not None:
            running.add(start().id)
        if not running:
            return
        running -= watch.look(running, result=result)


def await_all(ids: Iterable[str], engine: Engine, *, result: Any) -> None:
    """Wait until all of these instances have ended with ``result``."""
    left = deque(ids)
    looked_at: set[str] = set()
    watch = _Watch(engine)
    while left or looked_at:
        while left and len(looked_at) < _LOOKED_AT:
            looked_at.add(left.popleft())
        looked_at -= watch.look(looked_at, result=result)
        # Else who looks takes a quarter of a small machine from the workers.
        time.sleep(_REST_SECONDS)


class _Watch:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._give_up_at = time.monotonic() + _PATIENCE

    def look(self, ids: Collection[str], *, result: Any) -> set[str]:
        """Return which of these have ended, after a pause if none has."""
        ended = _ended(ids, result=result)
        if ended:
            self._give_up_at = time.monotonic() + _PATIENCE
        elif time.monotonic() > self._give_up_at:
            self._engine.check()
            raise Stuck(f"of {len(ids)} instances none ended in {_PATIENCE:g} s, e.g. {next(iter(ids))}")
        else:
            time.sleep(_LOOK_SECONDS)
        return ended


def _ended(ids: Collection[str], *, result: Any) -> set[str]:
    # As the client's own async callers look: the ORM takes ten times as long to ask, which is not what is measured.
    found = {pk: instances.decoded(end) for pk, end in instances.ends([*ids]).items() if end is not None}
    for pk, end in found.items():
        assert end.status == Status.COMPLETED, f"{pk} {end.status}"
        assert end.result == result, f"{pk} returned {end.result}"
    return set(found)
