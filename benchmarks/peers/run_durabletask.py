"""durabletask: its replay of a history that is in memory already; loading is not part of it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

from durabletask import task, worker
from durabletask.internal import helpers
from durabletask.serialization import JsonDataConverter

from benchmarks.payload import PAYLOAD
from benchmarks.peers import sizes


def noop(context: Any, number: int) -> dict[str, Any]:
    """Do nothing and return the payload."""
    raise AssertionError("an activity ran")


def sequential(context: Any, activities: int) -> Generator[Any, Any, int]:
    """Run activities one after the other."""
    total = 0
    for number in range(activities):
        result = yield context.call_activity(noop, input=number)
        total += result["scheduled_id"]
    return total


def fan_out(context: Any, activities: int) -> Generator[Any, Any, int]:
    """Run activities all at once."""
    results = yield task.when_all([context.call_activity(noop, input=number) for number in range(activities)])
    return sum(result["scheduled_id"] for result in results)


def main(chosen: list[str]) -> None:
    """Run what was chosen."""
    logging.disable(logging.INFO)
    for name in chosen:
        kind, activities = sizes.REPLAYED[name]
        activities = sizes.sized(activities)
        _replay(kind, 3)
        seconds = _replay(kind, activities)
        sizes.say(name, ms_per_step=seconds * 1000 / activities, seconds=seconds, per_second=activities / seconds)


def _replay(kind: str, activities: int) -> float:
    registry = worker._Registry()
    name = registry.add_orchestrator(sequential if kind == "sequential" else fan_out)
    past, new = _history(name, registry.add_activity(noop), kind, activities)
    executor = worker._OrchestrationExecutor(registry, logging.getLogger("peer"), JsonDataConverter())
    results: list[Any] = []
    seconds = sizes.timed(lambda: results.append(executor.execute("peer", past, new)))
    completed = results[0].actions[0].completeOrchestration
    assert json.loads(completed.result.value) == activities * PAYLOAD["scheduled_id"], results
    return seconds


def _history(name: str, activity: str, kind: str, activities: int) -> tuple[list[Any], list[Any]]:
    """Return what is past, and the new events of the last step, ids counted from 1 as it does."""
    at, result = datetime.now(UTC).replace(tzinfo=None), json.dumps(PAYLOAD)
    started = helpers.new_orchestrator_started_event(at)
    past = [started, helpers.new_execution_started_event(name, "peer", encoded_input=json.dumps(activities))]
    new = [started]
    scheduled = [
        helpers.new_task_scheduled_event(number + 1, activity, json.dumps(number)) for number in range(activities)
    ]
    completed = [helpers.new_task_completed_event(number + 1, result) for number in range(activities)]
    if kind == "fan_out":
        return [*past, *scheduled], [*new, *completed]
    for asked, answer in zip(scheduled[:-1], completed[:-1], strict=True):
        past += [asked, started, answer]
    return [*past, scheduled[-1]], [*new, completed[-1]]


if __name__ == "__main__":
    main(sys.argv[1:])
