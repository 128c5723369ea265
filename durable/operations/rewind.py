"""Rewind: a failed instance goes on from before its failure, in a new execution, with its children."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from durable import conf, dispatch, registry
from durable.core import blame, edit
from durable.core import events as ev
from durable.core.branches import Replies
from durable.core.errors import NotClosed, NotFailed, UnknownEvent
from durable.models import CLOSED, OPEN, Execution, Instance, Status
from durable.operations import advising, beginning, control, elsewhere
from durable.operations.shapes import Outcome, Preview, steps
from durable.store import clock, creation, history, inbox, instances, patches, tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.models import ActivityTask, InboxEvent


@dataclass(kw_only=True)
class Plan:
    """What a rewind does to one instance and, below it, to its children.

    Attributes:
        source_id: The id of the execution that it goes back to.
        timeout: How many seconds it has left to end in, or None.
        execution_id: The id of the execution that it goes on in.
        in_flight: Tasks that are still there from before the end, by event id.
        rewound: Children that are rewound with it.
        reborn: Children whose rows are gone: they are started again.
        adopted: Children that are still open: they report to the new execution.
        ended: How children ended that need not do anything more.
        spared: What the code calls off before it could run.
        is_foreseen: Whether that is known.
        end: How the code ends at once, or None.
    """

    instance: Instance
    edited: edit.Edit
    source_id: uuid.UUID
    timeout: float | None
    execution_id: uuid.UUID = field(default_factory=uuid.uuid4)
    in_flight: dict[int, ActivityTask] = field(default_factory=dict)
    rewound: list[Plan] = field(default_factory=list)
    reborn: list[ev.ChildScheduled] = field(default_factory=list)
    adopted: list[Instance] = field(default_factory=list)
    ended: list[ev.Answer] = field(default_factory=list)
    spared: frozenset[int] = frozenset()
    is_foreseen: bool = True
    end: ev.End | None = None

    def tree(self) -> Iterator[Plan]:
        """Yield this plan and those below it, parents first."""
        yield self
        for child in self.rewound:
            yield from child.tree()


def plan(instance_id: str, *, to: int | None = None) -> Plan:
    """Lock an instance and the children that belong to its failure, and say what a rewind does.

    Raises:
        UnknownInstance: There is none of this id.
        NotFailed: It has not failed, and no event was named to go back to.
        NotClosed: It is still open.
        UnknownEvent: Its code asked for nothing of the number ``to``.
        UnknownWorkflow, VersionNotAvailable: This process does not have the code.
        NondeterminismError: The code does not do what the history records.
    """
    instance = instances.lock(instance_id)
    if to is None and instance.status != Status.FAILED:
        raise NotFailed(instance_id, status=instance.status)
    if instance.status not in CLOSED:
        raise NotClosed(instance_id, status=instance.status, verb="rewind it")
    return _plan(instance, to=to)


def _plan(instance: Instance, *, to: int | None = None) -> Plan:
    with elsewhere.telling(instance):
        return _planned(instance, to)


def _planned(instance: Instance, to: int | None) -> Plan:
    events = list(history.read(instance.execution_id))
    # Before what they led to is read: who holds one may be about to store its result.
    in_flight = tasks.in_flight(instance.execution_id)
    edited = edit.with_late(_edit(instance, events, to), inbox.late(instance.execution_id))
    edited = edit.on_version(edited, instance.version)
    with beginning.rehearse(instance, edited) as rehearsal:
        known = {asked.event_id for asked in edited.children}
        edited = edit.without(rehearsal.edited, rehearsal.called_off - known)
        planned = Plan(
            instance=instance,
            edited=edited,
            source_id=instance.execution_id,
            timeout=_time_left(instance),
            in_flight=in_flight,
        )
        for asked in edited.children:
            _plan_child(planned, asked, called_off=asked.event_id in rehearsal.called_off)
        rewound = [ev.ExecutionRewound(), *planned.ended]
        seen = Replies(replace(edited, replies=())) if edited.is_halted else Replies(edited, rewound)
        planned.spared = rehearsal.spared(seen, children=planned.reborn)
        planned.is_foreseen, planned.end = rehearsal.is_whole, rehearsal.end
    return planned


def _time_left(instance: Instance) -> float | None:
    """Return what was left of an instance's time when it ended; all of it, if that is why it ended."""
    timeout: float | None = instance.options.get("timeout")
    if timeout is None or instance.closed_at is None:
        return timeout
    left = timeout - (instance.closed_at - (instance.started_at or instance.created_at)).total_seconds()
    return left if left > 0 else timeout


def _edit(instance: Instance, events: list[ev.Event], to: int | None) -> edit.Edit:
    if to is not None:
        if not any(isinstance(event, ev.Asked) and event.event_id == to for event in events):
            raise UnknownEvent(str(instance.execution_id), to)
        return edit.rewind_to(events, to)
    if instance.status != Status.FAILED:
        return edit.reopen(events)
    definition = registry.workflow(instance.name, instance.version)
    return edit.rewind(events, blame.culprits(definition, events, converter=conf.converter()))


def _plan_child(parent: Plan, asked: ev.ChildScheduled, *, called_off: bool) -> None:
    child = instances.find_locked(asked.instance_id)
    if child is not None and (child.parent_id, child.parent_event_id) != (parent.instance.pk, asked.event_id):
        child = None  # somebody else has its id: the attempt to start it says so, as it did before
    if child is not None and child.status in OPEN:
        parent.adopted.append(child)
    elif child is not None and child.status == Status.COMPLETED:
        parent.ended.append(ev.ChildCompleted(event_id=asked.event_id, result=child.result))
    elif called_off:
        parent.ended.append(ev.ChildCanceled(event_id=asked.event_id))
    elif child is None:
        parent.reborn.append(_own(parent, asked))
    else:
        parent.rewound.append(_plan(child))


def _own(parent: Plan, asked: ev.ChildScheduled) -> ev.ChildScheduled:
    """Return a child to be started again: one that a rerun inherited, under an id of this instance's own."""
    if not asked.inherited:
        return asked
    own = ev.replace(asked, instance_id=f"{parent.instance.pk}:{asked.event_id:04x}", inherited=False)
    parent.edited = replace(parent.edited, kept=tuple(own if event == asked else event for event in parent.edited.kept))
    return own


def carry_out(planned: Plan, *, reason: str, actor: str) -> Outcome:
    """Do what was planned, in the transaction at hand."""
    root = planned.instance
    if root.parent_execution_id is not None and root.parent_event_id is not None:
        # The parent may not have read yet how it ended.
        inbox.take_back_end(root.parent_execution_id, root.parent_event_id)
    for node in planned.tree():
        _begin(node)
    # Children first: a parent may end in its first turn, and its children with it.
    for node in reversed(list(planned.tree())):
        if node.edited.kept:
            _go_on(node, reason=reason, actor=actor)
    return _outcome(planned, advice=advising.of_rewind(planned.instance))


def _begin(node: Plan) -> None:
    """Store the new execution and its history; the old one stays as it is."""
    instance = node.instance
    instances.begin_execution(
        instance, origin=Execution.Origin.REWIND, source=instance.execution_id, execution_id=node.execution_id
    )
    instance.execution_id = node.execution_id
    for child in node.rewound:
        child.instance.parent_execution_id = node.execution_id
    _reset(instance, node.edited)
    if node.edited.kept:
        beginning.write(instance, node.edited, _start(instance, node.edited.kept[0]))
    else:  # it was ended before it began
        signals = (reply for reply in node.edited.replies if isinstance(reply, ev.SignalReceived))
        inbox.insert([_start_row(node), *(inbox.row(node.execution_id, signal) for signal in signals)])
        inbox.clear(node.source_id)
        if node.edited.is_halted:
            control.halt(instance)
        else:
            dispatch.advance_on_commit(instance.queue, instance.pk)
    instances.rows().filter(pk__in=[child.pk for child in node.adopted]).update(parent_execution_id=node.execution_id)
    for adopted in node.adopted:
        inbox.take_back_cancel(adopted.execution_id)
    if node.timeout is not None:
        due = clock.now() + timedelta(seconds=node.timeout)
        inbox.insert([inbox.timeout_row(node.execution_id, visible_at=due)])


def _start_row(node: Plan) -> InboxEvent:
    """Return the row, not saved, that begins what had ended before it began: with what it was to begin with."""
    source = instances.executions().get(pk=node.source_id)
    generation = source.number - 1
    if source.origin == Execution.Origin.CONTINUED and source.source_id is not None:
        *_before, end = history.read(source.source_id)
        if isinstance(end, ev.ExecutionContinued):
            return creation.start_row(
                node.instance, node.execution_id, arguments=end.input, carried=end.carried, generation=generation
            )
    return creation.start_row(node.instance, node.execution_id, generation=generation)


def _start(instance: Instance, first: ev.Event) -> ev.ExecutionStarted:
    assert isinstance(first, ev.ExecutionStarted)  # noqa: S101 - every history begins so
    if first.parent is None:
        return first
    return ev.replace(first, parent={**first.parent, "execution_id": str(instance.parent_execution_id)})


def _reset(instance: Instance, edited: edit.Edit) -> None:
    head, marks = len(edited.kept), [event for event in edited.kept if isinstance(event, ev.PatchMarked)]
    values = {
        "execution_id": instance.execution_id,
        "parent_execution_id": instance.parent_execution_id,
        "head": head,
        "status": Status.RUNNING if head else Status.PENDING,
        "patches": patches.with_marks({}, marks),
        "result": None,
        "failure": None,
        "stall": None,
        "closed_at": None,
        "retry_at": None,
        "failed_turns": 0,
        **instances.NOT_FAILED,
        **instances.NO_LEASE,
    }
    instances.rows().filter(pk=instance.pk).update(**values)
    for name, value in values.items():
        setattr(instance, name, value)


def _go_on(node: Plan, *, reason: str, actor: str) -> None:
    rewound = ev.ExecutionRewound(reason=reason, actor=actor, source=str(node.source_id))
    is_halted, edited, first = node.edited.is_halted, node.edited, [rewound, *node.ended]
    if is_halted:
        inbox.insert([inbox.row(node.execution_id, event) for event in (*node.ended, *edited.replies)])
        edited, first = replace(edited, replies=()), [rewound]
    beginning.take_first_turn(
        node.instance,
        edited,
        first,
        as_asked_now=True,
        children=node.reborn,
        in_flight=node.in_flight,
    )
    if is_halted:
        control.halt(node.instance)
    tasks.call_off(node.source_id)
    inbox.clear(node.source_id)


def _outcome(node: Plan, *, advice: str = "") -> Outcome:
    return Outcome(
        instance_id=node.instance.pk,
        execution_id=node.execution_id,
        children=[_outcome(child) for child in node.rewound],
        advice=advice,
    )


def preview(planned: Plan, *, verb: str = "rewind") -> Preview:
    """Return what a plan does, as callers see it."""
    edited = planned.edited
    rerun, rearmed = beginning.handed_out(edited, planned.reborn, planned.spared)
    rewound = {child.instance.parent_event_id for child in planned.rewound}
    again = {event.event_id for event in (*rerun, *rearmed)} | rewound
    kept = [e for e in edited.kept if isinstance(e, ev.Asked) and e.event_id not in again]
    advice = advising.of_rewind(planned.instance)
    return Preview(
        verb=verb,
        instance_id=planned.instance.pk,
        allowed=True,
        version=planned.instance.version,
        kept=steps(kept),
        rerun=steps(rerun),
        dropped=steps(edited.dropped),
        rearmed=steps(rearmed),
        signals_dropped=[signal.name for signal in edited.signals_dropped],
        children=[preview(child, verb=verb) for child in planned.rewound],
        warnings=[
            *([advice] if advice else []),
            *(
                _("child %(id)s is started again") % {"id": each.instance_id}
                for each in rerun
                if isinstance(each, ev.ChildScheduled)
            ),
            *(
                _("%(name)s (%(id)s) still runs, and is not started again if its input is the same now")
                % {"name": asked.name, "id": asked.event_id}
                for asked in rerun
                if asked.event_id in planned.in_flight
            ),
            *([_("it was suspended, and stays so until it is resumed")] if edited.is_halted else []),
            *beginning.warnings(is_foreseen=planned.is_foreseen, end=planned.end),
        ],
    )
