"""Rebuild a long execution from what is recorded: a history that no worker had to run, and a new process to read it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import connection, transaction

from benchmarks import workflows
from durable.core import events as ev
from durable.core.replay import interpreter
from durable.models import HistoryEvent, Instance, Status
from durable.store import clock, creation

if TYPE_CHECKING:
    from benchmarks.engines import Engine
    from benchmarks.workloads import Workload
    from durable.core.definitions import WorkflowDefinition

_ROOT = Path(__file__).resolve().parent.parent
_AT_ONCE = 2000
_WARM_UP = 100


def run_sequential(workload: Workload, _: Engine) -> dict[str, float]:
    """Replay activities that ran one after the other."""
    return _replay(workflows.sequential, workload.steps)


def run_fan_out(workload: Workload, _: Engine) -> dict[str, float]:
    """Replay activities that were all begun at once."""
    return _replay(workflows.fan_out, workload.steps)


def _replay(definition: WorkflowDefinition, activities: int) -> dict[str, float]:
    ids = [stored(definition, number) for number in (_WARM_UP, activities)]
    command = [sys.executable, "-m", "benchmarks.replay_child", *ids]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    metrics: dict[str, float] = json.loads(done.stdout)
    return metrics


def stored(definition: WorkflowDefinition, activities: int) -> str:
    """Return the id of an instance of this many recorded activities, storing it first if need be."""
    instance_id = f"replay-{definition.name}-{activities}"
    if not Instance.objects.filter(pk=instance_id).exists():
        with transaction.atomic():
            _store(definition, instance_id, activities)
        if connection.vendor == "postgresql":
            # Now rather than by itself, while something is measured.
            with connection.cursor() as cursor:
                cursor.execute("VACUUM ANALYZE durable_historyevent")
    return instance_id


def _store(definition: WorkflowDefinition, instance_id: str, activities: int) -> None:
    arguments = {"args": [activities], "kwargs": {}}
    given = {"queue": "default", "tags": {}, "options": {}}
    newborn = creation.new(
        instance_id=instance_id, name=definition.name, version=definition.version, arguments=arguments, **given
    )
    execution_id = newborn.execution.pk
    started = ev.ExecutionStarted(
        name=definition.name, input=arguments, queue="default", seed=str(execution_id), python=interpreter()
    )
    middle = _at_once(activities) if definition is workflows.fan_out else _one_by_one(activities)
    completed = ev.ExecutionCompleted(result=activities * workflows.EACH)
    # Nothing waits in its inbox, so that no worker ever touches it.
    newborn.instance.status, newborn.instance.head = Status.RUNNING, 2 * activities + 2
    newborn.instance.save()
    newborn.execution.save(force_insert=True)
    now = clock.now()
    rows = (
        HistoryEvent(
            execution_id=execution_id,
            seq=seq,
            kind=event.kind,
            event_id=getattr(event, "event_id", None),
            name=getattr(event, "name", ""),
            recorded_at=now,
            data=event.to_json(),
        )
        for seq, event in enumerate(chain([started], middle, [completed]), 1)
    )
    while batch := list(islice(rows, _AT_ONCE)):
        HistoryEvent.objects.bulk_create(batch)


def _one_by_one(activities: int) -> Iterator[ev.Event]:
    for number in range(activities):
        yield _scheduled(number)
        yield ev.ActivityCompleted(event_id=number, result=workflows.PAYLOAD)


def _at_once(activities: int) -> Iterator[ev.Event]:
    for number in range(activities):
        yield _scheduled(number)
    for number in range(activities):
        yield ev.ActivityCompleted(event_id=number, result=workflows.PAYLOAD)


def _scheduled(number: int) -> ev.Event:
    return ev.ActivityScheduled(event_id=number, name="noop", input={"args": [number], "kwargs": {}})
