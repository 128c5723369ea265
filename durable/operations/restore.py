"""Restore: an earlier execution is current again, if nothing was done since that would be lost."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils.translation import gettext as _

from durable import conf, dispatch
from durable.core import events as ev
from durable.core.errors import InvalidInput, UnknownExecution, WorkWouldBeLost
from durable.engine import closing
from durable.fields import dump
from durable.models import OPEN, Execution, Instance, Status
from durable.operations import saying
from durable.operations.shapes import Outcome, Preview, steps
from durable.store import history, inbox, instances, patches, tasks, updates

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(kw_only=True)
class Plan:
    """What a restore does to one instance and, below it, to the children that were rewound with it.

    Attributes:
        wanted: The execution that is to be current again.
        events: Its history.
        since: What the current execution has in its history and that one has not.
        children: Children that go back as well.
        adopted: Children that are open and were so before: they stay as they are.
        lost: What would be lost, in words.
    """

    instance: Instance
    wanted: Execution
    events: list[ev.Event]
    since: list[ev.Event]
    children: list[Plan] = field(default_factory=list)
    adopted: list[Instance] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def end(self) -> ev.End:
        """The end of the execution that is to be current again."""
        end = self.events[-1]
        assert isinstance(end, ev.End)  # noqa: S101 - looked at when it was planned
        return end

    def tree(self) -> Iterator[Plan]:
        """Yield this plan and those below it, parents first."""
        yield self
        for child in self.children:
            yield from child.tree()


def plan(instance_id: str, execution: str | uuid.UUID | None) -> Plan:
    """Lock an instance and the children that were rewound with it, and say what a restore does.

    Raises:
        UnknownInstance, UnknownExecution: There is none of this id.
        InvalidInput: The execution is the current one, or went on in the next one; or none is named, and there is
            none before the current one, or that is a restore already.
        WorkWouldBeLost: Something was done since.
    """
    instance = instances.lock(instance_id)
    planned = _plan(instance, _before(instance) if execution is None else _execution(instance, execution))
    if lost := [text for node in planned.tree() for text in node.lost]:
        raise WorkWouldBeLost(instance_id, str(planned.wanted.pk), lost=lost)
    return planned


def _before(instance: Instance) -> Execution:
    current, *others = instances.executions().filter(instance=instance).order_by("-number")[:2]
    if not others:
        raise InvalidInput(
            "execution", f"{instance.pk!r} has had none but the current one, so there is nothing to go back to"
        )
    if current.origin == Execution.Origin.RESTORE:
        # Going on to the one before that would bring back what the restore threw away.
        raise InvalidInput("execution", f"the current one of {instance.pk!r} is a restore already; name another")
    before: Execution = others[0]
    return before


def _execution(instance: Instance, execution: str | uuid.UUID) -> Execution:
    try:
        key = uuid.UUID(str(execution))
    except ValueError:
        raise UnknownExecution(instance.pk, str(execution)) from None
    found: Execution | None = instances.executions().filter(pk=key, instance=instance).first()
    if found is None:
        raise UnknownExecution(instance.pk, str(execution))
    if key == instance.execution_id:
        raise InvalidInput("execution", f"{key} is the current one of {instance.pk!r}")
    return found


def _plan(instance: Instance, wanted: Execution) -> Plan:
    events = list(history.read(wanted.pk))
    if not events or not isinstance(events[-1], ev.End) or isinstance(events[-1], ev.ExecutionContinued):
        raise InvalidInput("execution", f"{wanted.pk} continued as new, and is no outcome of {instance.pk!r}")
    now = list(history.read(instance.execution_id))
    planned = Plan(instance=instance, wanted=wanted, events=events, since=_since(events, now))
    planned.lost += _done(planned)
    current = instances.executions().get(pk=instance.execution_id)
    for child in instances.lock_all(parent=instance, parent_execution_id=instance.execution_id):
        _plan_child(planned, current, child)
    return planned


def _since(before: Sequence[ev.Event], now: Sequence[ev.Event]) -> list[ev.Event]:
    """Return the events that are new, whenever they were recorded; all, if it was another life of the instance."""
    known = Counter(map(_likeness, before)) if _seed(before) == _seed(now) else Counter()
    new = []
    for event in now:
        if known[_likeness(event)] > 0:
            known[_likeness(event)] -= 1
        else:
            new.append(event)
    return new


def _likeness(event: ev.Event) -> tuple[Any, ...]:
    told = event.to_json()
    told.pop("fire_at", None)  # a timer that was set again is still the same step
    return event.kind, getattr(event, "event_id", None), dump(told)


def _seed(events: Sequence[ev.Event]) -> str | None:
    first = events[0] if events else None
    return first.seed if isinstance(first, ev.ExecutionStarted) else None


def _done(planned: Plan) -> Iterator[str]:
    """Yield what the current execution has done, is doing, or was told, and the wanted one was not."""
    instance = planned.instance
    names = {event.event_id: event.name for event in history.read(instance.execution_id) if isinstance(event, ev.Asked)}
    of = f"of {instance.pk}"
    for event in planned.since:
        match event:
            case ev.ActivityCompleted(event_id=event_id):
                yield f"activity {names[event_id]} (event {event_id}) {of}, which completed"
            case ev.ChildCompleted(event_id=event_id):
                yield f"child {names[event_id]} (event {event_id}) {of}, which completed"
            case ev.SignalDelivered(event_id=event_id):
                yield f"signal {names[event_id]} (event {event_id}) {of}, which was delivered"
            case ev.SignalReceived(name=name):
                yield f"signal {name}, which {instance.pk} received"
            case ev.UpdateAccepted(name=name):
                yield f"update {name}, which {instance.pk} accepted"
            case ev.ExecutionCompleted():
                yield f"the result {of}"
    for name in inbox.signals(instance.execution_id):
        yield f"signal {name}, which waits for {instance.pk}"
    running = list(tasks.running(instance.execution_id))
    if instance.lease_event_id is not None:
        running.append((names.get(instance.lease_event_id, ""), instance.lease_event_id))
    for name, event_id in running:
        yield f"activity {name} (event {event_id}) {of}, which runs"


def _plan_child(parent: Plan, current: Execution, child: Instance) -> None:
    own = instances.executions().filter(pk=child.execution_id).select_related("source").get()
    if own.origin == Execution.Origin.REWIND and own.created_at >= current.created_at and own.source is not None:
        parent.children.append(_plan(child, own.source))
    elif child.created_at >= current.created_at:
        parent.lost.append(f"child {child.pk} of {parent.instance.pk}, which was started")
    elif child.status in OPEN:
        parent.adopted.append(child)


def carry_out(planned: Plan) -> Outcome:
    """Do what was planned, in the transaction at hand."""
    outcome = _restore(planned)
    if planned.instance.parent_execution_id is not None:
        announce = closing.tell_parent(instances.get(planned.instance.pk))
        transaction.on_commit(lambda: dispatch.advance(announce), using=conf.settings.DATABASE, robust=True)
    return outcome


def _restore(node: Plan) -> Outcome:
    instance, wanted = node.instance, node.wanted
    _end_current(instance, wanted)
    values = {**_start_of(node), **_outcome_of(node), "version": wanted.version}
    instance.version = wanted.version
    restored = instances.begin_execution(instance, origin=Execution.Origin.RESTORE, source=wanted, name=wanted.name)
    history.copy(wanted.pk, restored.pk)
    instances.executions().filter(pk=restored.pk).update(status=wanted.status, closed_at=wanted.closed_at)
    values |= {"execution_id": restored.pk, "head": len(node.events)}
    instances.rows().filter(pk=instance.pk).update(**values)
    instance.execution_id = restored.pk
    updates.carry_on(instance, node.events)
    updates.end(restored.pk)
    below = [child.pk for child in node.adopted] + [child.instance.pk for child in node.children]
    instances.rows().filter(pk__in=below).update(parent_execution_id=restored.pk)
    children = [_restore(child) for child in node.children]
    return Outcome(instance_id=instance.pk, execution_id=restored.pk, children=children)


def _end_current(instance: Instance, wanted: Execution) -> None:
    """End the current execution, if it is open, without a word to its children and its parent."""
    if instance.status not in OPEN:
        return
    closing.append(instance, ev.ExecutionTerminated(reason=f"execution {wanted.pk} was restored"))
    instances.end_execution(instance.execution_id, Status.TERMINATED)
    tasks.call_off(instance.execution_id)
    inbox.clear(instance.execution_id)
    if instance.has_updates:
        updates.end(instance.execution_id)


def _start_of(node: Plan) -> dict[str, Any]:
    """Return what the instance was started with, as far as its current execution began otherwise."""
    first = node.events[0]
    if not isinstance(first, ev.ExecutionStarted) or not any(isinstance(e, ev.ExecutionStarted) for e in node.since):
        return {}
    names = ("name", "input", "queue", "tags", "attempt")
    return {**{name: getattr(first, name) for name in names}, "headers": first.headers or None}


def _outcome_of(node: Plan) -> dict[str, Any]:
    marks = [event for event in node.events if isinstance(event, ev.PatchMarked)]
    name = next((e.name for e in node.events if isinstance(e, ev.ExecutionStarted)), node.instance.name)
    outcome = {"result": None, "failure": None, **closing.outcome(name, node.end)}
    if outcome["failed_at"] is not None:
        outcome["failed_at"] = node.wanted.closed_at
    return {
        **outcome,
        "closed_at": node.wanted.closed_at,
        "patches": patches.with_marks({}, marks),
        "stall": None,
        "retry_at": None,
        "failed_turns": 0,
        **instances.NO_LEASE,
    }


def preview(planned: Plan) -> Preview:
    """Return what a plan does, as callers see it."""
    instance, wanted = planned.instance, planned.wanted
    warnings = [_("it is %(status)s afterwards") % {"status": saying.status(wanted.status)}]
    if instance.status in OPEN:
        status = instance.get_status_display()
        warnings.append(_("it is %(status)s: its current execution ends") % {"status": status})
    return Preview(
        verb="restore",
        instance_id=instance.pk,
        allowed=True,
        version=wanted.version,
        kept=steps(event for event in planned.events if isinstance(event, ev.Asked)),
        dropped=steps(event for event in planned.since if isinstance(event, ev.Asked)),
        children=[preview(child) for child in planned.children],
        warnings=warnings,
    )
