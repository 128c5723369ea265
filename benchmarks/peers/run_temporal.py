"""Temporal's Replayer, on histories that are made here and in memory already; loading is not part of it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from benchmarks.payload import PAYLOAD
from benchmarks.peers import sizes
from benchmarks.peers.temporal_workflows import FanOut, Sequential


class Made:
    """A history as its server would have recorded it."""

    def __init__(self, kind: str, activities: int) -> None:
        self._history = History()
        started = self._event("WORKFLOW_EXECUTION_STARTED").workflow_execution_started_event_attributes
        started.workflow_type.name, started.task_queue.name, started.attempt = kind, "queue", 1
        started.input.CopyFrom(_payloads(activities))
        started.original_execution_run_id = started.first_execution_run_id = "00000000-0000-0000-0000-000000000001"
        started.workflow_task_timeout.CopyFrom(Duration(seconds=10))
        turn = self._turn(first=True)
        if kind == "sequential":
            for number in range(activities):
                self._complete(self._schedule(number, turn))
                turn = self._turn()
        else:
            for scheduled in [self._schedule(number, turn) for number in range(activities)]:
                self._complete(scheduled)
            turn = self._turn()
        ended = self._event("WORKFLOW_EXECUTION_COMPLETED").workflow_execution_completed_event_attributes
        ended.result.CopyFrom(_payloads(activities * PAYLOAD["scheduled_id"]))
        ended.workflow_task_completed_event_id = turn

    def whole(self) -> WorkflowHistory:
        """Return it as the Replayer takes it."""
        return WorkflowHistory(workflow_id="peer", events=list(self._history.events))

    def _event(self, kind: str) -> HistoryEvent:
        event = self._history.events.add()
        event.event_id = len(self._history.events)
        event.event_type = EventType.Value(f"EVENT_TYPE_{kind}")
        event.event_time.seconds, millis = divmod(1_700_000_000_000 + event.event_id, 1000)
        event.event_time.nanos = millis * 1_000_000
        return event

    def _turn(self, *, first: bool = False) -> int:
        scheduled = self._event("WORKFLOW_TASK_SCHEDULED")
        about = scheduled.workflow_task_scheduled_event_attributes
        about.task_queue.name, about.start_to_close_timeout.seconds, about.attempt = "queue", 10, 1
        started = self._event("WORKFLOW_TASK_STARTED")
        started.workflow_task_started_event_attributes.scheduled_event_id = scheduled.event_id
        completed = self._event("WORKFLOW_TASK_COMPLETED")
        ended = completed.workflow_task_completed_event_attributes
        ended.scheduled_event_id, ended.started_event_id = scheduled.event_id, started.event_id
        if first:
            ended.sdk_metadata.core_used_flags.append(1)  # ids and types are compared, as in real histories
        return int(completed.event_id)

    def _schedule(self, number: int, turn: int) -> int:
        event = self._event("ACTIVITY_TASK_SCHEDULED")
        about = event.activity_task_scheduled_event_attributes
        about.activity_id, about.activity_type.name, about.task_queue.name = str(number + 1), "noop", "queue"
        about.input.CopyFrom(_payloads(number))
        about.start_to_close_timeout.seconds, about.workflow_task_completed_event_id = 60, turn
        return int(event.event_id)

    def _complete(self, scheduled: int) -> None:
        started = self._event("ACTIVITY_TASK_STARTED")
        begun = started.activity_task_started_event_attributes
        begun.scheduled_event_id, begun.attempt = scheduled, 1
        ended = self._event("ACTIVITY_TASK_COMPLETED").activity_task_completed_event_attributes
        ended.scheduled_event_id, ended.started_event_id = scheduled, started.event_id
        ended.result.CopyFrom(_payloads(PAYLOAD))


def _payloads(value: Any) -> Payloads:
    return Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(value).encode())])


async def _replay(kind: str, activities: int) -> float:
    history = Made(kind, activities).whole()
    # Without the sandbox and the deadlock detector it is faster: compare with its best.
    runner = UnsandboxedWorkflowRunner()
    replayer = Replayer(workflows=[Sequential, FanOut], workflow_runner=runner, debug_mode=True)
    begun = time.perf_counter()
    result = await replayer.replay_workflow(history)
    seconds = time.perf_counter() - begun
    assert result.replay_failure is None, result
    return seconds


def main(chosen: list[str]) -> None:
    """Run what was chosen."""
    for name in chosen:
        kind, activities = sizes.REPLAYED[name]
        activities = sizes.sized(activities)
        asyncio.run(_replay(kind, 3))
        seconds = asyncio.run(_replay(kind, activities))
        sizes.say(name, ms_per_step=seconds * 1000 / activities, seconds=seconds, per_second=activities / seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
