"""How much memory a worker needs for the executions that it keeps alive."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import psutil

from benchmarks import workflows
from durable.models import Instance

if TYPE_CHECKING:
    from benchmarks.engines import Engine
    from benchmarks.workloads import Workload

_PATIENCE = 600.0


def run(workload: Workload, engine: Engine) -> dict[str, float]:
    """Have workflows run some activities and then wait, and see how the workers' processes have grown."""
    before = _private(engine)
    begun = time.perf_counter()
    handles = [workflows.wait.start(workload.steps) for _ in range(workload.instances)]
    ids = [handle.id for handle in handles]
    reached = 1 + 2 * workload.steps
    while Instance.objects.filter(pk__in=ids, head__gte=reached, lease__isnull=True).count() < len(ids):
        engine.check()
        assert time.perf_counter() - begun < _PATIENCE, "the workers are too slow"
        time.sleep(0.1)
    passed = time.perf_counter() - begun
    grown = _private(engine) - before
    for handle in handles:
        handle.terminate()
    return {
        "ms_per_step": passed * 1000 / workload.total_steps,
        "per_second": workload.total_steps / passed,
        "memory_mb": grown / 2**20,
        "kb_per_execution": grown / 2**10 / workload.instances,
    }


def _private(engine: Engine) -> int:
    """Return the memory that the processes which run instances share with nobody."""
    total = 0
    for pid in engine.roots:
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().uss
    return total
