"""Instances that cannot go on: parked with the reason, and tried again now and then."""

from __future__ import annotations

import traceback
from datetime import timedelta
from typing import Any

from django.db import transaction

from durable import conf, dispatch, telemetry
from durable.core import events as ev
from durable.core.errors import (
    DurableError,
    LimitExceeded,
    NondeterminismError,
    PatchReused,
    RunawayStep,
    UndecodableEvent,
    UndecodablePayload,
    UnknownWorkflow,
    VersionNotAvailable,
)
from durable.core.failures import Failure
from durable.engine import closing
from durable.models import Instance, Status
from durable.store import clock, instances, workers

REASONS: dict[type[DurableError], str] = {
    NondeterminismError: "nondeterminism",
    UnknownWorkflow: "unknown workflow",
    VersionNotAvailable: "version not available",
    UndecodableEvent: "undecodable event",
    UndecodablePayload: "undecodable payload",
    RunawayStep: "runaway step",
    LimitExceeded: "limit exceeded",
    PatchReused: "patch reused",
}
"""What parks an instance at once: the error says what must change before it can go on."""

POISON = "poison"

_AT_ONCE = 200
"""How many stalled instances of a queue are announced in one look."""


def reason(error: BaseException) -> str:
    """Return what an instance that stalls by this error gives as the reason."""
    return next((text for kind, text in REASONS.items() if type(error) is kind), POISON)


def stall(instance_id: str, error: DurableError) -> None:
    """Park an instance, or fail it if the settings say so; the turn that raised is rolled back."""
    with transaction.atomic(using=conf.settings.DATABASE):
        instance = instances.try_lock(instance_id, payloads=False)
        if instance is not None and instance.status in (Status.PENDING, Status.RUNNING, Status.STALLED):
            record(instance, error)


def record(instance: Instance, error: DurableError) -> bool:
    """Park a locked instance, or fail it if the settings say so; say whether it failed."""
    if not (isinstance(error, NondeterminismError) and conf.settings.ON_NONDETERMINISM == "fail"):
        _park(instance, facts_of(error))
        return False
    end = ev.ExecutionFailed(failure=Failure.of(error), imposed=True)
    closing.append(instance, end)
    announce = closing.close(instance, end).announce
    transaction.on_commit(lambda: dispatch.advance(announce), using=conf.settings.DATABASE, robust=True)
    return True


def facts_of(error: DurableError) -> dict[str, Any]:
    """Return what a stalled instance shows of the error that stalled it."""
    facts = {name: value for name, value in vars(error).items() if _is_plain(value)}
    return {**facts, "reason": reason(error), "error": type(error).__name__, "message": str(error)}


def count_failure(instance_id: str, error: BaseException) -> None:
    """Count a turn that raised; park the instance when it keeps doing so."""
    with transaction.atomic(using=conf.settings.DATABASE):
        instance = instances.try_lock(instance_id, payloads=False)
        if instance is None or instance.status not in (Status.PENDING, Status.RUNNING, Status.STALLED):
            return
        is_parked = instance.status == Status.STALLED
        if not is_parked:
            instance.failed_turns += 1
            instances.rows().filter(pk=instance_id).update(failed_turns=instance.failed_turns)
        if is_parked or instance.failed_turns >= conf.settings.MAX_FAILED_TURNS:
            text = "".join(traceback.format_exception(error)[-20:])
            facts = {"reason": POISON, "error": type(error).__name__, "message": str(error), "traceback": text}
            _park(instance, {**facts, "turns": instance.failed_turns})


def _park(instance: Instance, facts: dict[str, Any]) -> None:
    facts = {name: value.replace("\0", "\\0") if isinstance(value, str) else value for name, value in facts.items()}
    was_stalled = instance.status == Status.STALLED
    retry_at = clock.now() + timedelta(seconds=conf.settings.STALL_RETRY)
    alike = instances.stalled(instance.name, facts)
    if was_stalled and instance.fingerprint == alike["fingerprint"]:
        del alike["failed_at"]
    instances.rows().filter(pk=instance.pk).update(status=Status.STALLED, stall=facts, retry_at=retry_at, **alike)
    instance.status, instance.stall = Status.STALLED, facts
    if not was_stalled:
        telemetry.logger.warning("%s is stalled: %s", instance.pk, facts["message"])
        telemetry.announce_end(instance)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def retry_stalled() -> None:
    """Announce stalled instances that are to be tried again, on each queue those that wait for longest.

    Not those on queues that no worker serves: nobody would take the messages, and a worker that starts tries all again.
    """
    due = instances.rows().filter(status=Status.STALLED, retry_at__lte=clock.now())
    if queues := set(due.order_by().values_list("queue", flat=True).distinct()):
        for queue in sorted(queues & workers.served()):
            ids = due.filter(queue=queue).order_by("retry_at", "pk").values_list("pk", flat=True)[:_AT_ONCE]
            dispatch.advance([(queue, instance_id) for instance_id in ids])


def retry_all() -> None:
    """Let every stalled instance be tried again now: a worker with other code may have come."""
    instances.rows().filter(status=Status.STALLED).update(retry_at=clock.now())
