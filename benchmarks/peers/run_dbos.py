"""DBOS: workflows in the caller's process, except those of W3 and W5, which go through its queue."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from dbos import DBOS

from benchmarks.payload import PAYLOAD
from benchmarks.peers import sizes

# Its own is a second, and all that goes through the queue would wait for it.
_POLL = 0.02

_OPEN = "SELECT count(*) FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING')"
_FAILED = "SELECT count(*) FROM dbos.workflow_status WHERE status NOT IN ('ENQUEUED', 'PENDING', 'SUCCESS')"


@DBOS.step()
def noop(number: int) -> dict[str, Any]:
    """Do nothing and return the payload."""
    return PAYLOAD


@DBOS.workflow()
def sequential(activities: int) -> int:
    """Run activities one after the other."""
    return sum(noop(number)["scheduled_id"] for number in range(activities))


@DBOS.workflow()
def child(number: int) -> int:
    """Run one activity."""
    return int(noop(number)["scheduled_id"])


@DBOS.workflow()
def fan_out(activities: int) -> int:
    """Run activities all at once: children, since it is those that its queue runs."""
    handles = [DBOS.enqueue_workflow("queue", child, number) for number in range(activities)]
    return sum(handle.get_result(polling_interval_sec=_POLL) for handle in handles)


def main(chosen: list[str]) -> None:
    """Run what was chosen."""
    DBOS(
        config={
            "name": "peer",
            "system_database_url": sizes.DATABASE,
            "log_level": "ERROR",
            "run_admin_server": False,
            "sys_db_pool_size": 40,
        }
    )
    DBOS.launch()
    DBOS.register_queue("queue", polling_interval_sec=_POLL)
    time.sleep(2.5)
    for _ in range(5):
        sequential(3)
    for name in chosen:
        _run(name)
    DBOS.destroy()


def _run(name: str) -> None:
    if name in sizes.SEQUENTIAL:
        workflows, activities = (sizes.sized(count) for count in sizes.SEQUENTIAL[name])
        seconds = sizes.timed(lambda: [_call(activities) for _ in range(workflows)])
        sizes.say_sequential(name, seconds, workflows=workflows, activities=activities)
    elif name in sizes.IN_FLIGHT:
        workflows, activities = (sizes.sized(count) for count in sizes.CROWD)
        with ThreadPoolExecutor(sizes.IN_FLIGHT[name]) as pool:
            seconds = sizes.timed(lambda: list(pool.map(_call, [activities] * workflows)))
        sizes.say_sequential(name, seconds, workflows=workflows, activities=activities)
    elif name == "W3":
        activities = sizes.sized(sizes.FAN_OUT)
        seconds = sizes.timed(lambda: sizes.check(fan_out(activities), activities))
        sizes.say(name, ms_per_step=seconds * 1000 / activities, seconds=seconds)
    elif name == "W4":
        direct = [sizes.timed(_start) for _ in range(sizes.sized(sizes.LATENCIES))]
        sizes.say_latency(direct)
        queued = [sizes.timed(_through_queue) for _ in range(sizes.sized(sizes.LATENCIES // 2))]
        sizes.say_latency(queued, "W4 queue")
    elif name == "W5":
        _burst(*(sizes.sized(count) for count in sizes.BURST))


def _call(activities: int) -> None:
    sizes.check(sequential(activities), activities)


def _start() -> None:
    sizes.check(DBOS.start_workflow(sequential, 1).get_result(), 1)


def _through_queue() -> None:
    sizes.check(DBOS.enqueue_workflow("queue", sequential, 1).get_result(polling_interval_sec=_POLL), 1)


def _burst(workflows: int, activities: int) -> None:
    begun = time.perf_counter()
    for _ in range(workflows):
        DBOS.enqueue_workflow("queue", sequential, activities)
    enqueued = time.perf_counter() - begun
    with psycopg.connect(sizes.DATABASE, autocommit=True) as client:
        while client.execute(_OPEN).fetchall() != [(0,)]:
            time.sleep(0.02)
        seconds = time.perf_counter() - begun
        assert client.execute(_FAILED).fetchall() == [(0,)], "a workflow failed"
    sizes.say_burst(enqueued, seconds, workflows=workflows, activities=activities)


if __name__ == "__main__":
    main(sys.argv[1:])
