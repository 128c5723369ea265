"""Rerun from an activity: a new instance that begins with what another one had done before it."""

from __future__ import annotations

import sys
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from durable import conf, registry
from durable.core import edit, given, payloads, texts
from durable.core import events as ev
from durable.core.branches import Replies
from durable.core.errors import (
    AlreadyExists,
    InvalidId,
    NotAnActivity,
    NotClosed,
    UnknownActivity,
    UnknownEvent,
    UnknownExecution,
)
from durable.models import CLOSED, Execution, Instance, Status
from durable.operations import beginning, elsewhere
from durable.operations.shapes import UNSET, Args, Outcome, Preview, steps
from durable.store import clock, creation, history, instances, patches

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid6 import uuid7

if TYPE_CHECKING:
    from collections.abc import Sequence

SIBLINGS = ("rerun", "keep")

_NOT_AT_ALL = gettext_lazy(
    "the activity will not run: with the results that its siblings keep, the code does not wait for it"
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a rerun makes.

    Attributes:
        source: The instance that it begins like.
        instance: The new one, not stored.
        edited: Its history.
        target: The activity that it begins with, as it shall be recorded.
        adopted: What of the dropped is asked for anew before the target has ended, and keeps its result.
        spared: What the code calls off before it could run.
        is_foreseen: Whether that is known.
        end: How the code ends at once, or None.
    """

    source: Instance
    source_execution: uuid.UUID
    instance: Instance
    edited: edit.Edit
    target: ev.ActivityScheduled
    adopted: frozenset[int]
    spared: frozenset[int]
    is_foreseen: bool
    end: ev.End | None


def plan(
    instance_id: str,
    event_id: int,
    *,
    new_instance_id: str | None = None,
    input: Any = UNSET,
    execution: str | uuid.UUID | None = None,
    siblings: str = "rerun",
    version: int | None = None,
    is_read_only: bool = False,
) -> Plan:
    """Check a rerun, in the order that is promised, and say what it makes.

    Args:
        instance_id, event_id, new_instance_id, input, execution, siblings, version: See ``client.rerun_from_activity``.
        is_read_only: Whether nothing is to be locked, as nothing will come of it.

    Raises:
        InvalidId: The id is empty, cannot be one, or is the source's own.
        UnknownInstance, UnknownExecution, UnknownEvent: There is none of this id.
        NotClosed: The source is still open.
        NotAnActivity: The event is something else.
        InvalidInput: The input has no JSON, or does not fit the activity.
        VersionNotAvailable, UnknownWorkflow: This process does not have the code.
        NondeterminismError: The code does not do what the history records.
        AlreadyExists: The new id is taken, in whatever state.
    """
    new_id = _new_id(instance_id, new_instance_id)
    given.choice(siblings, "siblings", SIBLINGS)
    source = instances.get(instance_id) if is_read_only else instances.lock(instance_id)
    beginning.refuse_batch(source)
    if source.status not in CLOSED:
        raise NotClosed(instance_id, status=source.status, verb="rerun it")
    source_execution = _execution(source, execution)
    events = list(history.read(source_execution))
    target = _target(source_execution, events, event_id)
    start = events[0]
    assert isinstance(start, ev.ExecutionStarted)  # noqa: S101 - every history begins so
    target = ev.replace(
        target,
        input=target.input if input is UNSET else _arguments(target, input),
        rerun_of={"instance": source.pk, "event_id": event_id},
    )
    version = _recorded_version(source, source_execution) if version is None else version
    instance = _instance(source, start, new_id, event_id, version)
    with elsewhere.telling(source):
        registry.workflow(instance.name, instance.version)
    edited = edit.on_version(edit.fork(events, event_id, keep_siblings=siblings == "keep"), instance.version)
    with beginning.rehearse(instance, edited) as rehearsal:
        edited = edit.without(rehearsal.edited, rehearsal.called_off)
        replies = Replies(edited)
        spared = rehearsal.spared(replies, children=_own_children(edited, new_id).values())
    if instances.rows().filter(pk=new_id).exists():
        raise AlreadyExists(new_id)
    return Plan(
        source=source,
        source_execution=source_execution,
        instance=instance,
        edited=edited,
        target=target,
        adopted=frozenset(replies.adopted.values()),
        spared=spared,
        is_foreseen=rehearsal.is_whole,
        end=rehearsal.end,
    )


def _new_id(instance_id: str, new_instance_id: str | None) -> str:
    if not instance_id or new_instance_id == "":
        raise InvalidId("", "it is empty")
    if new_instance_id == instance_id:
        raise InvalidId(instance_id, "a rerun needs an id of its own, this is the source's")
    if new_instance_id is None:
        return str(uuid7())
    texts.check_id(new_instance_id)
    return new_instance_id


def _execution(source: Instance, execution: str | uuid.UUID | None) -> uuid.UUID:
    if execution is None:
        return source.execution_id
    try:
        wanted = uuid.UUID(str(execution))
    except ValueError:
        raise UnknownExecution(source.pk, str(execution)) from None
    if not instances.executions().filter(pk=wanted, instance=source).exists():
        raise UnknownExecution(source.pk, str(execution))
    return wanted


def _recorded_version(source: Instance, execution_id: uuid.UUID) -> int:
    """Return the version that an execution was on in the end: it may have been upgraded."""
    if execution_id == source.execution_id:
        return source.version
    return int(instances.executions().values_list("version", flat=True).get(pk=execution_id))


def _target(execution_id: uuid.UUID, events: Sequence[ev.Event], event_id: int) -> ev.ActivityScheduled:
    found = next((e for e in events if isinstance(e, ev.Asked) and e.event_id == event_id), None)
    if found is None:
        raise UnknownEvent(str(execution_id), event_id)
    if not isinstance(found, ev.ActivityScheduled):
        raise NotAnActivity(event_id, found.kind)
    return found


def _arguments(target: ev.ActivityScheduled, given: Any) -> dict[str, Any]:
    """Return the target's new arguments as JSON, checked against the activity if it is known here."""
    arguments = given if isinstance(given, Args) else Args(given)
    where = f"input of {target.name}"
    converter = conf.converter()
    encoded: dict[str, Any]
    try:
        signature = registry.activity(target.name).signature
    except UnknownActivity:
        encoded = converter.encode({"args": list(arguments.args), "kwargs": arguments.kwargs}, where)
    else:
        encoded = signature.bind(arguments.args, arguments.kwargs, converter)
        signature.unbind(encoded, converter)
    payloads.dumps(encoded, where, conf.limit("payload"))
    return encoded


def _instance(source: Instance, start: ev.ExecutionStarted, new_id: str, event_id: int, version: int) -> Instance:
    now = clock.now()
    return Instance(
        id=new_id,
        name=start.name,
        version=version,
        status=Status.RUNNING,
        queue=start.queue or source.queue,
        app_id=source.app_id,
        input=start.input,
        tags=start.tags,
        headers=start.headers or None,
        options=_options(source, start, version),
        rerun_from=source.pk,
        rerun_event_id=event_id,
        attempt=source.attempt + 1,
        execution_id=uuid.uuid4(),
        created_at=now,
        started_at=now,
    )


def _options(source: Instance, start: ev.ExecutionStarted, version: int) -> dict[str, Any]:
    if start.name != source.name:  # another workflow has taken the id over, and those are its own
        return creation.with_defaults(registry.find_workflow(start.name, version), {})
    return {name: value for name, value in source.options.items() if name != "parent_close"}


def carry_out(planned: Plan) -> Outcome:
    """Make the new instance, in the transaction at hand.

    Raises:
        AlreadyExists: Somebody else took the id meanwhile.
    """
    instance = planned.instance
    start, edited = begun(planned)
    instance.head = len(edited.kept)
    instance.patches = patches.with_marks({}, [event for event in edited.kept if isinstance(event, ev.PatchMarked)])
    _insert(planned)
    beginning.write(instance, edited, start)
    beginning.take_first_turn(instance, edited, children=edited.children)
    return Outcome(instance_id=instance.pk, execution_id=instance.execution_id)


def begun(planned: Plan) -> tuple[ev.ExecutionStarted, edit.Edit]:
    """Return the history that a plan's new instance begins with, as its own, and the first event of it."""
    edited = _inherited(planned)
    start = edited.kept[0]
    assert isinstance(start, ev.ExecutionStarted)  # noqa: S101 - every history begins so
    start = ev.replace(start, parent=None, attempt=planned.instance.attempt)
    return start, replace(edited, kept=(start, *edited.kept[1:]))


def _insert(planned: Plan) -> None:
    instance = planned.instance
    try:
        # A savepoint: the caller's transaction survives that somebody else was quicker.
        with transaction.atomic(using=conf.settings.DATABASE):
            instance.save(using=conf.settings.DATABASE, force_insert=True)
    except IntegrityError:
        raise AlreadyExists(instance.pk) from None
    instances.begin_execution(
        instance,
        origin=Execution.Origin.RERUN,
        source=planned.source_execution,
        execution_id=instance.execution_id,
    )
    creation.limit_time(instance)


def _inherited(planned: Plan) -> edit.Edit:
    """Return the history as the new instance's own: its target, its children, those that it inherits."""
    edited, new_id = planned.edited, planned.instance.pk
    own = _own_children(edited, new_id)

    def renewed(event: ev.Event) -> ev.Event:
        match event:
            case ev.ActivityScheduled(event_id=event_id) if event_id == planned.target.event_id:
                return ev.replace(planned.target, at=event.at)
            case ev.ChildScheduled(event_id=event_id):
                return own.get(event_id) or ev.replace(event, inherited=True)
            case _:
                return event

    return replace(
        edited,
        kept=tuple(map(renewed, edited.kept)),
        rerun=tuple(renewed(asked) for asked in edited.rerun),  # type: ignore[misc]  # of the same class
        children=tuple(own.values()),
    )


def _own_children(edited: edit.Edit, new_id: str) -> dict[int, ev.ChildScheduled]:
    return {
        asked.event_id: ev.replace(asked, instance_id=f"{new_id}:{asked.event_id:04x}") for asked in edited.children
    }


def preview(planned: Plan) -> Preview:
    """Return what a plan makes, as callers see it."""
    edited = planned.edited
    rerun, rearmed = beginning.handed_out(edited, edited.children, planned.spared)
    again = {event.event_id for event in (*rerun, *rearmed)}
    kept = [event for event in edited.kept if isinstance(event, ev.Asked) and event.event_id not in again]
    return Preview(
        verb="rerun",
        instance_id=planned.source.pk,
        allowed=True,
        version=planned.instance.version,
        kept=steps([*kept, *(event for event in edited.dropped if event.event_id in planned.adopted)]),
        rerun=steps(rerun),
        dropped=steps(event for event in edited.dropped if event.event_id not in planned.adopted),
        rearmed=steps(rearmed),
        signals_dropped=[signal.name for signal in edited.signals_dropped],
        warnings=_warnings(planned),
    )


def _warnings(planned: Plan) -> list[str]:
    ids = [e.instance_id for e in planned.edited.dropped if isinstance(e, ev.ChildScheduled)]
    given = [child_id for child_id in ids if not child_id.startswith(f"{planned.source.pk}:")]
    taken = instances.rows().filter(pk__in=given).values_list("pk", flat=True)
    return [
        *(
            _("a child with the id %(id)s exists: starting it again will fail") % {"id": repr(child_id)}
            for child_id in sorted(taken)
        ),
        *beginning.warnings(is_foreseen=planned.is_foreseen, end=planned.end),
        *([str(_NOT_AT_ALL)] if planned.target.event_id in planned.spared else []),
    ]
