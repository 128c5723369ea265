"""Upgrade: an open instance goes on with another version of its workflow; a closed one is rerun on it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from durable import dispatch, registry
from durable.core import events as ev
from durable.core.errors import InvalidInput, NondeterminismError
from durable.core.loop import BeyondRecord
from durable.core.replay import catch_up
from durable.engine import advance, closing, watchdog
from durable.models import CLOSED, Instance, Status
from durable.operations import rerun
from durable.operations.shapes import Outcome, Preview, steps
from durable.store import clock, history, inbox, instances

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an upgrade does.

    Attributes:
        version: The version to go on with.
        rerun: The rerun that a closed instance becomes, or None.
    """

    instance: Instance
    version: int
    history: Sequence[ev.Event]
    rerun: rerun.Plan | None = None


def plan(instance_id: str, *, to: int | None = None) -> Plan:
    """Lock an instance, replay it on the version that it is to have, and say what an upgrade does.

    Args:
        instance_id: The instance.
        to: The version; None is the latest one that is registered.

    Raises:
        UnknownInstance: There is none of this id.
        UnknownWorkflow, VersionNotAvailable: This process does not have the code.
        InvalidInput: It is on this version already, or is closed and has no activity to be rerun from.
        NondeterminismError: The version does not fit its history; ``offer`` is
            the event id of the latest activity that a rerun on it could begin with, or None.
    """
    instance = instances.lock(instance_id)
    latest = registry.latest(instance.name)
    version = (latest if to is None else registry.workflow(instance.name, to)).version
    if version == instance.version and instance.closed_at is None:
        raise InvalidInput("to", f"instance {instance_id!r} is on version {version} already")
    events = list(history.read(instance.execution_id))
    misfit = _misfit(instance, version, events)
    if instance.status in CLOSED:
        return _plan_rerun(instance, version, events, misfit)
    if misfit is not None:
        raise misfit
    return Plan(instance=instance, version=version, history=events)


def _plan_rerun(
    instance: Instance, version: int, events: Sequence[ev.Event], misfit: NondeterminismError | None
) -> Plan:
    target = _last_activity(events) if misfit is None else misfit.offer
    if target is None:
        raise misfit or InvalidInput("to", f"instance {instance.pk!r} is closed, and has no activity to rerun it from")
    planned = rerun.plan(instance.pk, target, version=version)
    return Plan(instance=instance, version=version, history=events, rerun=planned)


def _misfit(instance: Instance, version: int, events: Sequence[ev.Event]) -> NondeterminismError | None:
    """Return why a version does not fit a history, with the offer of a rerun; None if it fits."""
    execution = advance.fresh(
        instance.name, version, instance_id=instance.pk, execution_id=str(instance.execution_id), dry=True
    )
    # The end of a closed one is no matter: the code may come to another.
    lived = [event for event in events if not event.ends]
    try:
        with suppress(BeyondRecord), watchdog.watch(execution):
            catch_up(execution, lived, whole=len(lived) == len(events))
    except NondeterminismError as error:
        offer = _last_activity(events[: error.seq - 1])
        facts = {name: getattr(error, name) for name in ("seq", "event_id", "expected", "got", "location", "note")}
        return NondeterminismError(**facts, offer=offer)
    finally:
        execution.close()
    return None


def _last_activity(events: Sequence[ev.Event]) -> int | None:
    return next((e.event_id for e in reversed(events) if isinstance(e, ev.ActivityScheduled)), None)


def carry_out(planned: Plan, *, reason: str, actor: str) -> Outcome:
    """Do what was planned, in the transaction at hand."""
    if planned.rerun is not None:
        return rerun.carry_out(planned.rerun)
    instance = planned.instance
    if instance.head:
        closing.append(instance, ev.ExecutionUpgraded(version=planned.version, reason=reason, actor=actor))
    else:
        inbox.change_start(instance.execution_id, lambda start: replace(start, version=planned.version))
    values: dict[str, object] = {"version": planned.version}
    if instance.status == Status.STALLED:
        values["retry_at"] = clock.now()
    instances.rows().filter(pk=instance.pk).update(**values)
    instances.executions().filter(pk=instance.execution_id).update(version=planned.version)
    dispatch.advance_on_commit(instance.queue, instance.pk)
    return Outcome(instance_id=instance.pk, execution_id=instance.execution_id)


def preview(planned: Plan) -> Preview:
    """Return what a plan does, as callers see it."""
    if planned.rerun is not None:
        return replace(rerun.preview(planned.rerun), verb="upgrade")
    return Preview(
        verb="upgrade",
        instance_id=planned.instance.pk,
        allowed=True,
        version=planned.version,
        kept=steps(event for event in planned.history if isinstance(event, ev.Asked)),
    )
