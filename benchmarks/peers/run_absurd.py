"""Absurd: two processes of its workers, and a client that puts tasks into their queue."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import absurdctl
import psycopg

from benchmarks.peers import absurd_tasks, sizes
from benchmarks.peers.absurd_tasks import CHILDREN, QUEUE

# Its own way to wait rests for 50 ms, and then longer, between two looks.
_LOOK = 0.002

# As we look at crowds of ours: one statement for all, and a rest that leaves the processors to the workers.
_LOOK_AT_MANY = 0.005
_REST_OF_BURST = 0.01
_ENDED = f"""
    SELECT task_id::text, state, completed_payload FROM absurd.t_{QUEUE}
    WHERE task_id = ANY(%s) AND state IN ('completed', 'failed', 'cancelled')
"""  # noqa: S608 - its table is named after the queue
_AT_WORK = f"SELECT count(DISTINCT claimed_by) FROM absurd.r_{QUEUE} WHERE claimed_by = ANY(%s)"  # noqa: S608


class Client:
    """What starts tasks and waits for them."""

    def __init__(self, workers: list[subprocess.Popen[bytes]]) -> None:
        self._workers = workers
        self._app = absurd_tasks.client(QUEUE)
        self._database = psycopg.connect(sizes.DATABASE, autocommit=True)

    def warm_up(self) -> None:
        """Run tasks until each worker has had some."""
        names = [str(worker.pid) for worker in self._workers]
        while self._database.execute(_AT_WORK, [names]).fetchall() != [(len(names),)]:
            self.run_in_flight(len(names) * 2, 20, 3)

    def start(self, activities: int, task: str = "sequential") -> str:
        """Start a task and return its id."""
        return str(self._app.spawn(task, activities)["task_id"])

    def run(self, activities: int, task: str = "sequential") -> None:
        """Start a task, wait for its end and check its result."""
        started = self.start(activities, task)
        while (found := self._app.fetch_task_result(started)) is None or found.state in ("pending", "running"):
            self._rest(_LOOK)
        assert found.state == "completed", found
        sizes.check(found.result, activities)

    def run_in_flight(self, count: int, tasks: int, activities: int) -> None:
        """Run tasks, so many of them at a time."""
        running: set[str] = set()
        while tasks or running:
            while tasks and len(running) < count:
                running.add(self.start(activities))
                tasks -= 1
            ended = self._ended(running, activities)
            if not ended:
                self._rest(_LOOK_AT_MANY)
            running -= ended

    def run_burst(self, tasks: int, activities: int) -> float:
        """Run tasks that are started as fast as can be, and return how many seconds that took."""
        begun = time.perf_counter()
        running = {self.start(activities) for _ in range(tasks)}
        enqueued = time.perf_counter() - begun
        while running := running - self._ended(running, activities):
            self._rest(_REST_OF_BURST)
        return enqueued

    def _ended(self, running: Collection[str], activities: int) -> set[str]:
        rows = self._database.execute(_ENDED, [list(running)]).fetchall()
        for task, state, result in rows:
            assert state == "completed", f"{task} {state}"
            sizes.check(result, activities)
        return {task for task, _, _ in rows}

    def _rest(self, seconds: float) -> None:
        assert all(worker.poll() is None for worker in self._workers), "a worker ended"
        time.sleep(seconds)


def main(chosen: list[str]) -> None:
    """Run what was chosen."""
    with psycopg.connect(sizes.DATABASE, autocommit=True) as database:
        database.execute(absurdctl.BUNDLED_SCHEMA_SQL)
    for queue in (QUEUE, CHILDREN):
        absurd_tasks.client(queue).create_queue()
    for name in chosen:
        # To look at a queue that nobody uses takes the others' time.
        with _working(QUEUE, *([CHILDREN] if name == "W3" else [])) as client:
            _run(client, name)


@contextmanager
def _working(*queues: str) -> Iterator[Client]:
    command = [sys.executable, "-m", "benchmarks.peers.absurd_tasks", *queues]
    workers = [subprocess.Popen(command) for _ in range(2)]
    try:
        client = Client(workers)
        client.warm_up()
        yield client
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait()


def _run(client: Client, name: str) -> None:
    if name in sizes.SEQUENTIAL:
        workflows, activities = (sizes.sized(count) for count in sizes.SEQUENTIAL[name])
        seconds = sizes.timed(lambda: [client.run(activities) for _ in range(workflows)])
        sizes.say_sequential(name, seconds, workflows=workflows, activities=activities)
    elif name in sizes.IN_FLIGHT:
        workflows, activities = (sizes.sized(count) for count in sizes.CROWD)
        seconds = sizes.timed(lambda: client.run_in_flight(sizes.IN_FLIGHT[name], workflows, activities))
        sizes.say_sequential(name, seconds, workflows=workflows, activities=activities)
    elif name == "W3":
        activities = sizes.sized(sizes.FAN_OUT)
        seconds = sizes.timed(lambda: client.run(activities, "fan_out"))
        sizes.say(name, ms_per_step=seconds * 1000 / activities, seconds=seconds)
    elif name == "W4":
        sizes.say_latency([sizes.timed(lambda: client.run(1)) for _ in range(sizes.sized(sizes.LATENCIES))])
    elif name == "W5":
        (workflows, activities), begun = map(sizes.sized, sizes.BURST), time.perf_counter()
        enqueued = client.run_burst(workflows, activities)
        sizes.say_burst(enqueued, time.perf_counter() - begun, workflows=workflows, activities=activities)


if __name__ == "__main__":
    main(sys.argv[1:])
