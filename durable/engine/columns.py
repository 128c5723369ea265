"""What a turn makes of its instance's row, but for its end."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from durable import conf
from durable.core import events as ev
from durable.models import Instance, Status
from durable.store import instances, patches, workers

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence
    from datetime import datetime

    from durable.core.execution import Execution
    from durable.engine.work import InPlace

_SHOWN = {"status": "custom_status", "progress": "progress", "tags": "tags"}


def of_turn(
    instance: Instance,
    execution: Execution,
    events: Sequence[ev.Event],
    *,
    at: datetime,
    runs: InPlace | None,
    lease: uuid.UUID | None,
) -> dict[str, Any]:
    """Return what is to be changed in an instance's row.

    Args:
        instance: The instance, as it was.
        execution: Its execution; what the code shows counts as stored from here on.
        events: What the turn appends to its history.
        at: When.
        runs: The activity that runs in place from here on, or None.
        lease: The lease that this worker had until now, or None.
    """
    values: dict[str, Any] = {"head": instance.head + len(events), **_leased(instance, at=at, runs=runs, lease=lease)}
    if instance.status != Status.RUNNING:
        values["status"] = Status.RUNNING
    if instance.started_at is None:
        values["started_at"] = at
    if instance.stall or instance.failed_turns:
        values |= {"stall": None, "retry_at": None, "failed_turns": 0, **instances.NOT_FAILED}
    if marks := [event for event in events if isinstance(event, ev.PatchMarked)]:
        values["patches"] = patches.with_marks(instance.patches, marks)
    values |= {_SHOWN[name]: getattr(execution, name) for name in execution.changed}
    execution.changed.clear()
    return values


def _leased(instance: Instance, *, at: datetime, runs: InPlace | None, lease: uuid.UUID | None) -> dict[str, Any]:
    if runs is None:
        return instances.NO_LEASE if lease is not None or instance.lease is None else {}
    values = {"lease_event_id": runs.asked.event_id, "lease_until": at + timedelta(seconds=conf.settings.LEASE)}
    return values if lease is not None else {**values, "lease": runs.lease, "lease_worker": workers.me()}
