"""Control: to cancel, end, halt and let go on an open instance, and its children with it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils.translation import gettext as _

from durable import conf, dispatch
from durable.core import events as ev
from durable.core.errors import NotOpen
from durable.engine import closing, signals
from durable.models import CLOSED, OPEN, Instance, Status
from durable.operations.shapes import Preview
from durable.store import inbox, instances, tasks

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a verb does to an instance and, below it, to its children.

    Attributes:
        verb: What is done to this one.
        changes: Whether anything is; False if it is so already.
        warnings: What to think of first.
    """

    verb: str
    instance: Instance
    changes: bool = True
    children: list[Plan] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def tree(self) -> Iterator[Plan]:
        """Yield this plan and those below it, parents first."""
        yield self
        for child in self.children:
            yield from child.tree()


def preview(planned: Plan) -> Preview:
    """Return what a plan does, as callers see it."""
    return Preview(
        verb=planned.verb,
        instance_id=planned.instance.pk,
        allowed=True,
        version=planned.instance.version,
        children=[preview(child) for child in planned.children],
        warnings=[
            *(
                []
                if planned.changes
                else [_("it is %(status)s, nothing changes") % {"status": planned.instance.get_status_display()}]
            ),
            *planned.warnings,
        ],
    )


# --- cancel


def plan_cancel(instance_id: str) -> Plan:
    """Lock an instance that is to be canceled.

    Raises:
        UnknownInstance: There is none of this id.
        NotOpen: It has ended.
    """
    instance = instances.lock(instance_id, payloads=False)
    if instance.status not in OPEN:
        raise NotOpen(instance_id, status=instance.status, verb="be canceled")
    return Plan(verb="cancel", instance=instance)


def cancel(planned: Plan, *, reason: str) -> None:
    """Ask for the end, in the transaction at hand.

    Raises:
        LimitExceeded: The inbox is full.
    """
    signals.deliver(planned.instance.pk, ev.CancelRequested(reason=reason), verb="be canceled")


# --- terminate


def plan_terminate(instance_id: str) -> Plan:
    """Lock an instance that is to end, and say what becomes of its children.

    Raises:
        UnknownInstance: There is none of this id.
        NotOpen: It has ended otherwise.
    """
    instance = instances.lock(instance_id, payloads=False)
    if instance.status in CLOSED and instance.status != Status.TERMINATED:
        raise NotOpen(instance_id, status=instance.status, verb="be terminated")
    return ends(instance)


def ends(instance: Instance) -> Plan:
    """Say what terminating an instance does to it and to its children; nothing is locked."""
    if instance.status in CLOSED:
        return Plan(verb="terminate", instance=instance, changes=False)
    planned = Plan(verb="terminate", instance=instance)
    below = instances.rows().filter(parent=instance, parent_execution_id=instance.execution_id, status__in=OPEN)
    for child in below.defer(*instances.PAYLOADS).order_by("pk"):
        match closing.policy_of(child):
            case "terminate":
                planned.children.append(ends(child))
            case "cancel":
                planned.children.append(Plan(verb="cancel", instance=child))
            case _:
                planned.warnings.append(_("child %(id)s goes on") % {"id": child.pk})
    return planned


def terminate(planned: Plan, *, reason: str) -> None:
    """End an instance, in the transaction at hand; nothing if it is terminated already."""
    announce = closing.terminate(planned.instance, reason=reason)
    transaction.on_commit(lambda: dispatch.advance(announce), using=conf.settings.DATABASE, robust=True)


# --- suspend and resume


def plan_suspend(instance_id: str, *, children: bool) -> Plan:
    """Lock an instance that is to be halted, and, if asked to, its open children.

    Raises:
        UnknownInstance: There is none of this id.
        NotOpen: It has ended.
    """
    return _plan_tree(instance_id, "suspend", "be suspended", children=children)


def suspend(planned: Plan, *, reason: str) -> None:
    """Halt what was planned, in the transaction at hand."""
    for instance in (node.instance for node in planned.tree() if node.changes):
        if instance.head:
            closing.append(instance, ev.ExecutionSuspended(reason=reason))
        halt(instance)


def halt(instance: Instance) -> None:
    """Keep an instance from going on."""
    instances.rows().filter(pk=instance.pk).update(status=Status.SUSPENDED)
    tasks.hold(instance.execution_id)


def plan_resume(instance_id: str, *, children: bool) -> Plan:
    """Lock an instance that is to go on, and, if asked to, its open children.

    Raises:
        UnknownInstance: There is none of this id.
        NotOpen: It has ended.
    """
    return _plan_tree(instance_id, "resume", "be resumed", children=children)


def resume(planned: Plan, *, reason: str) -> None:
    """Let go on what was planned, in the transaction at hand."""
    for instance in (node.instance for node in planned.tree() if node.changes):
        if instance.head:
            closing.append(instance, ev.ExecutionResumed(reason=reason))
            # A condition may hold by now, and nothing else need come.
            inbox.insert([inbox.row(instance.execution_id, ev.ExecutionWoken())])
        status = Status.RUNNING if instance.head else Status.PENDING
        instances.rows().filter(pk=instance.pk).update(status=status)
        dispatch.perform_on_commit(tasks.unhold(instance.execution_id))
        dispatch.advance_on_commit(instance.queue, instance.pk)


def _plan_tree(instance_id: str, verb: str, refused: str, *, children: bool) -> Plan:
    instance = instances.lock(instance_id, payloads=False)
    if instance.status not in OPEN:
        raise NotOpen(instance_id, status=instance.status, verb=refused)
    planned = Plan(verb=verb, instance=instance, changes=(instance.status == Status.SUSPENDED) == (verb == "resume"))
    if children:
        below = instances.rows().filter(parent_id=instance_id, status__in=OPEN).order_by("pk")
        for child_id in list(below.values_list("pk", flat=True)):
            with suppress(NotOpen):  # it ended before it could be locked
                planned.children.append(_plan_tree(child_id, verb, refused, children=True))
    return planned
