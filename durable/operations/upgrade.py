"""Upgrade: an open instance goes on with another version of its workflow; a closed one is rerun on it."""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from durable import conf, dispatch, registry
from durable.core import edit, stepping
from durable.core import events as ev
from durable.core.errors import ConcurrencyConflict, DurableError, InvalidInput, NondeterminismError
from durable.core.exits import BeyondRecord
from durable.core.replay import catch_up
from durable.engine import closing, intercepting, living, watchdog
from durable.engine.turn import Turn
from durable.models import CLOSED, Instance, Status
from durable.operations import beginning, elsewhere, rerun
from durable.operations.shapes import Outcome, Preview, steps
from durable.store import clock, history, inbox, instances

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable.core.commands import Command


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an upgrade does.

    Attributes:
        version: The version to go on with.
        rest: What it asks for at once, where the history ends.
        rerun: The rerun that a closed instance becomes, or None.
    """

    instance: Instance
    version: int
    history: Sequence[ev.Event]
    rest: Sequence[Command] = ()
    rerun: rerun.Plan | None = None


def plan(instance_id: str, *, to: int | None = None, seen: Instance | None = None) -> Plan:
    """Lock an instance, replay it on the version that it is to have, and say what an upgrade does.

    Args:
        instance_id: The instance.
        to: The version; None is the latest one that is registered.
        seen: How it was when the upgrade was asked for, if that is known.

    Raises:
        UnknownInstance: There is none of this id.
        ConcurrencyConflict: Somebody else has given it another version since it was seen.
        UnknownWorkflow, VersionNotAvailable: This process does not have the code.
        InvalidInput: It is on this version already, its arguments do not fit the version, or it is
            closed and has no activity to be rerun from.
        NondeterminismError: The version does not fit its history; ``offer`` is
            the event id of the latest activity that a rerun on it could begin with, or None.
    """
    instance = instances.lock(instance_id)
    if seen is not None and seen.version != instance.version:
        raise ConcurrencyConflict(instance_id, expected=seen.head, found=instance.head)
    with elsewhere.telling(instance):
        definition = registry.latest(instance.name) if to is None else registry.workflow(instance.name, to)
    version = definition.version
    if version == instance.version and instance.closed_at is None and "resolve" not in instance.options:
        raise InvalidInput("to", f"instance {instance_id!r} is on version {version} already")
    events = list(history.read(instance.execution_id))
    if not events:
        definition.signature.unbind(instance.input, conf.converter())
    rest, misfit = _replayed(instance, version, events)
    if instance.status in CLOSED:
        return _plan_rerun(instance, version, events, misfit)
    if misfit is not None:
        raise _with_offer(misfit, _offer(instance, version, events, misfit))
    return Plan(instance=instance, version=version, history=events, rest=rest)


def seen(instance_id: str) -> Instance | None:
    """Return an instance as it is now, without payloads and not locked; None if there is none of this id."""
    try:
        return instances.get(instance_id, payloads=False)
    except DurableError:
        return None  # the plan says what is wrong


def _plan_rerun(
    instance: Instance, version: int, events: Sequence[ev.Event], misfit: NondeterminismError | None
) -> Plan:
    target = _offer(instance, version, events, misfit)
    if target is None:
        raise misfit or InvalidInput("to", f"instance {instance.pk!r} is closed, and has no activity to rerun it from")
    planned = rerun.plan(instance.pk, target, version=version)
    return Plan(instance=instance, version=version, history=events, rerun=planned)


def _replayed(
    instance: Instance, version: int, events: Sequence[ev.Event]
) -> tuple[Sequence[Command], NondeterminismError | None]:
    """Return what a version asks for where a history ends, and why it does not fit; None if it does."""
    execution = living.fresh(
        instance.name, version, instance_id=instance.pk, execution_id=str(instance.execution_id), dry=True
    )
    # The end of a closed one is no matter: the code may come to another.
    lived = [event for event in events if not event.ends]
    rest: list[Command] = []
    try:
        with suppress(BeyondRecord), watchdog.watch(execution):
            rest = catch_up(execution, lived, whole=len(lived) == len(events))
            if lived == events and lived:
                # Conditions may hold on that version, or by now.
                rest += stepping.step(execution, ev.ExecutionUpgraded(version=version, at=clock.now().timestamp()))
    except NondeterminismError as error:
        return [], error
    finally:
        execution.close()
    return rest, None


def _offer(
    instance: Instance, version: int, events: Sequence[ev.Event], misfit: NondeterminismError | None
) -> int | None:
    """Return the event id of the latest activity from which a rerun on a version would fit, or None."""
    other = copy(instance)
    other.version = version
    for event in reversed(events if misfit is None else events[: misfit.seq - 1]):
        if isinstance(event, ev.ActivityScheduled):
            with suppress(NondeterminismError):
                beginning.check(other, edit.on_version(edit.fork(events, event.event_id), version))
                return event.event_id
    return None


def _with_offer(misfit: NondeterminismError, offer: int | None) -> NondeterminismError:
    facts = {name: getattr(misfit, name) for name in ("seq", "event_id", "expected", "got", "location", "note")}
    return NondeterminismError(**facts, offer=offer)


def carry_out(planned: Plan, *, reason: str, actor: str) -> Outcome:
    """Do what was planned, in the transaction at hand."""
    if planned.rerun is not None:
        return rerun.carry_out(planned.rerun)
    instance, version = planned.instance, planned.version
    instance.version = version
    # Whatever its own workers were to choose, it is chosen.
    instance.options = {name: value for name, value in instance.options.items() if name != "resolve"}
    values = {"version": version, "options": instance.options}
    instances.rows().filter(pk=instance.pk).update(**values)
    instances.executions().filter(pk=instance.execution_id).update(version=version)
    upgraded = ev.ExecutionUpgraded(version=version, reason=reason, actor=actor)
    if not instance.head:
        inbox.change_start(instance.execution_id, lambda start: ev.replace(start, version=version))
    elif instance.status == Status.SUSPENDED:
        closing.append(instance, upgraded)
    else:
        intercepting.turn(instance, lambda: _turn(instance, upgraded))
    if instance.status == Status.STALLED:
        instances.rows().filter(pk=instance.pk).update(retry_at=clock.now())
    dispatch.advance_on_commit(instance.queue, instance.pk)
    return Outcome(instance_id=instance.pk, execution_id=instance.execution_id)


def _turn(instance: Instance, upgraded: ev.ExecutionUpgraded) -> Turn:
    """Bring the new code to where the instance stands, and do what it asks for there that the old one did not."""
    execution, rest = living.live(instance)
    try:
        turn = Turn(instance, execution, clock.now())
        turn.note(rest)
        turn.apply(upgraded)
        turn.settle()
        turn.hand_out()
        turn.store()
        return turn
    finally:
        execution.close()


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
        warnings=[_("goes on at once: %(command)s") % {"command": command} for command in planned.rest],
    )
