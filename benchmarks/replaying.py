"""Replays an instance as a worker does that has not seen it, and measures what it takes.

The floor beside it: the same results fetched by the driver as tuples, and a bare
coroutine that is sent them.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any

import psutil
from django.db import connection, transaction

from benchmarks import instruments, workflows
from durable.engine.living import live
from durable.models import Instance
from durable.store import instances


def measure(warm_up: str, instance_id: str) -> dict[str, float]:
    """Replay an instance, after another one that makes this process warm."""
    _replayed(warm_up)
    execution_id, activities = _look_up(instance_id)
    before = _forget_peak()
    seconds, statements = _replayed(instance_id)
    peak = _peak()
    floor = _floor(execution_id, activities)
    return {
        "ms_per_step": seconds * 1000 / activities,
        "seconds": seconds,
        "us_per_activity": seconds * 1e6 / activities,
        "per_second": activities / seconds,
        "memory_mb": (peak - before) / 2**20,
        "statements_per_step": statements / activities,
        "limit_ms": floor * 1000 / activities,
        "floor_s": floor,
    }


def _replayed(instance_id: str) -> tuple[float, int]:
    """Replay as a turn would, and return the seconds and statements that it took."""
    ran = workflows.RAN.total()
    with instruments.counting() as counts:
        begun = time.perf_counter()
        with transaction.atomic():
            instance = instances.lock(instance_id)
            execution, rest = live(instance)
        seconds = time.perf_counter() - begun
    assert not rest, rest
    _check(execution.outcome, instance)
    execution.close()
    assert workflows.RAN.total() == ran, "an activity ran"
    return seconds, counts.statements


def _check(outcome: Any, instance: Instance) -> None:
    (activities,) = instance.input["args"]
    assert outcome.result == activities * workflows.EACH, outcome


def _look_up(instance_id: str) -> tuple[Any, int]:
    """Return the execution and how many activities it has, and have the database read its rows once."""
    instance = Instance.objects.get(pk=instance_id)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(length(data)) FROM durable_historyevent WHERE execution_id = %s", [_key(instance.execution_id)]
        )
    return instance.execution_id, instance.input["args"][0]


def _key(execution_id: Any) -> Any:
    return execution_id if connection.features.has_native_uuid_field else execution_id.hex


def _floor(execution_id: Any, activities: int) -> float:
    """Return the seconds that the rows and a bare coroutine take."""
    begun = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT event_id, data FROM durable_historyevent"
            " WHERE execution_id = %s AND kind = 'ActivityCompleted' ORDER BY seq",
            [_key(execution_id)],
        )
        rows = cursor.fetchall()
    total = _drive(rows, activities)
    seconds = time.perf_counter() - begun
    assert total == activities * workflows.EACH
    return seconds


def _drive(rows: list[tuple[int, str]], activities: int) -> int:
    code = _bare(activities)
    asked = code.send(None)
    try:
        for event_id, text in rows:
            assert event_id == asked
            asked = code.send(json.loads(text)["result"])
    except StopIteration as end:
        total: int = end.value
        return total
    raise AssertionError("the coroutine did not end")


class _Ask:
    def __init__(self, number: int) -> None:
        self.number = number

    def __await__(self) -> Generator[int, dict[str, Any], dict[str, Any]]:
        return (yield self.number)


async def _bare_noop(number: int) -> dict[str, Any]:
    return await _Ask(number)


def _bare(activities: int) -> Coroutine[int, dict[str, Any], int]:
    async def code() -> int:
        total = 0
        for number in range(activities):
            total += (await _bare_noop(number))["scheduled_id"]
        return total

    return code()


def _forget_peak() -> int:
    """Begin to measure the peak of this process's memory, and return what it has now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return int(psutil.Process().memory_info().rss)


def _peak() -> int:
    """Return the peak of this process's memory, or where the system does not tell, what it has now."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return int(psutil.Process().memory_info().rss)
