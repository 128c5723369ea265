"""Absurd's tasks, and a process that works on them: a worker for each queue that it is told."""

from __future__ import annotations

import os
import sys
from functools import partial
from threading import Thread
from typing import Any

from absurd_sdk import Absurd, TaskContext

from benchmarks.payload import PAYLOAD
from benchmarks.peers import sizes

QUEUE = "peer"

CHILDREN = "children"
"""A queue of its own: a task may not wait for one of the same queue."""

# Its own are a quarter of a second, for which all would wait, and one task a look.
_POLL = 0.005
_CLAIMED = 10


def noop(number: int) -> dict[str, Any]:
    """Do nothing and return the payload."""
    return PAYLOAD


def client(queue: str) -> Absurd:
    """Return a connection that knows the tasks."""
    app = Absurd(sizes.DATABASE, queue_name=queue)

    @app.register_task("sequential", queue=QUEUE)
    def sequential(activities: int, context: TaskContext) -> int:
        """Run activities one after the other."""
        steps = (context.step(f"noop {number}", partial(noop, number)) for number in range(activities))
        return sum(result["scheduled_id"] for result in steps)

    @app.register_task("child", queue=CHILDREN)
    def child(number: int, context: TaskContext) -> int:
        """Run one activity."""
        return int(context.step("noop", partial(noop, number))["scheduled_id"])

    @app.register_task("fan_out", queue=QUEUE)
    def fan_out(activities: int, context: TaskContext) -> int:
        """Run activities all at once: children, since the steps of a task come one after the other."""
        # By its key a second attempt finds the child of the first; to start it in a step would take another commit.
        children = [
            app.spawn("child", number, queue=CHILDREN, idempotency_key=f"{context.task_id} {number}")["task_id"]
            for number in range(activities)
        ]
        return sum(context.await_task_result(each, queue_name=CHILDREN).result for each in children)

    return app


def _work(queue: str) -> None:
    client(queue).start_worker(str(os.getpid()), poll_interval=_POLL, batch_size=_CLAIMED)


if __name__ == "__main__":
    for each in sys.argv[2:]:
        Thread(target=_work, args=(each,), daemon=True).start()
    _work(sys.argv[1])
