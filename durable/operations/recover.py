"""Recovery: replay running instances, close those that have ended, and hand out again what got lost."""

from __future__ import annotations

import random
import time
from contextlib import closing as closed_after
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction

from durable import conf, dispatch, telemetry
from durable.core import events as ev
from durable.core.errors import ConcurrencyConflict, InvalidHistory, NondeterminismError
from durable.core.replay import catch_up
from durable.engine import closing, intercepting, living, stalling, watchdog
from durable.engine.turn import Turn
from durable.models import OPEN, Instance, Status
from durable.operations import audit, recovered
from durable.operations.recovered import Busy, Failed, RecoveryReport, Resumed, Stalled, Terminal
from durable.operations.shapes import steps
from durable.store import clock, history, inbox, instances, suspects, tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from durable.core.commands import Command
    from durable.core.execution import Execution

_TRIES, _PAUSE = 3, 0.05
"""How often an instance is looked at that somebody else is at work on, and the seconds between."""

_LOOKED_AT, _RECOVERED = 10_000, 100
"""How many running instances a worker looks at when it starts, and how many of those it replays at most."""


def running(*, workflow: str | None = None, limit: int | None = None) -> list[str]:
    """Return the ids of the running instances, the oldest first.

    Args:
        workflow: The workflow's name, without its version; None is all.
        limit: How many at most.
    """
    found = instances.rows().filter(status=Status.RUNNING).order_by("created_at", "id")
    if workflow is not None:
        found = found.filter(name=workflow)
    return list(found.values_list("pk", flat=True)[:limit])


def each(ids: Iterable[str], *, dry_run: bool = False, audited: Audited | None = None) -> Iterator[RecoveryReport]:
    """Recover instances, each on its own; those that ended or were halted meanwhile are passed over.

    Args:
        ids: The instances.
        dry_run: Whether to report only, and change nothing.
        audited: Who has them recovered, and why, for the audit; None if the caller records that itself.
    """
    for instance_id in ids:
        outcome = _outcome(instance_id, dry_run=dry_run, audited=audited)
        if outcome is not None:
            yield RecoveryReport(instance_id=instance_id, outcome=outcome)


def at_start() -> None:
    """Recover what nothing would move, as a worker that starts does: found by rows, not by histories."""
    found = list(suspects.find(_LOOKED_AT))
    # Drawn, not the first ones: what cannot be recovered stays, and would keep all others from their turn.
    ids = random.sample(found, _RECOVERED) if len(found) > _RECOVERED else found
    for report in each(ids, audited=Audited(reason="a worker started")):
        telemetry.logger.warning("%s was left behind; recovery says: %s", report.instance_id, report.outcome)


def _outcome(instance_id: str, *, dry_run: bool, audited: Audited | None) -> recovered.Outcome | None:
    found: set[tuple[int, int | None]] = set()
    for number in range(_TRIES):
        time.sleep(_PAUSE if number else 0)
        try:
            return _recover(instance_id, dry_run=dry_run, audited=audited)
        except ConcurrencyConflict as error:  # it moves while it is looked at, so it is well; or its rows do not fit
            conflict, damaged = error, (error.expected, error.found) in found and error.found is not None
            found.add((error.expected, error.found))
        except Exception as error:  # noqa: BLE001 - one instance's trouble must not keep the others from being recovered
            return Failed(error=error)
    return Failed(error=conflict) if damaged else Busy(head=conflict.expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """Who has instances recovered, and why: each that is changed has a row in the audit, stored with the change."""

    actor: Any = None
    reason: str = ""

    def note(self, instance_id: str, **facts: Any) -> None:
        """Store the row, in the transaction at hand."""
        row = audit.operation("recover", instance_id, actor=self.actor, reason=self.reason, **facts)
        row.save(using=conf.settings.DATABASE, force_insert=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """An instance and its history, as they were read together."""

    instance: Instance
    events: Sequence[ev.Event]
    audited: Audited | None

    def locked(self) -> Instance:
        """Lock the instance, in the transaction at hand.

        Raises:
            ConcurrencyConflict: It is not as it was any more, or somebody else has it.
        """
        seen, found = self.instance, instances.try_lock(self.instance.pk, payloads=False)
        if found is None or (found.execution_id, found.head, found.status) != (
            seen.execution_id,
            seen.head,
            seen.status,
        ):
            raise ConcurrencyConflict(seen.pk, expected=seen.head, found=found.head if found else None)
        return found

    def note(self, outcome: str, **facts: Any) -> None:
        """Leave word of what is done to the instance, in the transaction at hand."""
        if self.audited is not None:
            self.audited.note(self.instance.pk, outcome=outcome, **facts)


def _recover(instance_id: str, *, dry_run: bool, audited: Audited | None) -> recovered.Outcome | None:
    instance = instances.rows().filter(pk=instance_id, status=Status.RUNNING).defer(*instances.PAYLOADS).first()
    if instance is None:
        return None
    with closed_after(history.read(instance.execution_id)) as events:
        seen = _Seen(instance=instance, events=list(events), audited=audited)
    _check(seen)
    end = seen.events[-1]
    if isinstance(end, ev.End):  # also if the code would do something else by now: nothing comes after it
        return _close(seen, end, dry_run=dry_run)
    execution = living.fresh(
        instance.name, instance.version, instance_id=instance.pk, execution_id=str(instance.execution_id)
    )
    try:
        with watchdog.watch(execution):
            rest = catch_up(execution, seen.events, whole=True)
        return _go_on(seen, execution, rest, dry_run=dry_run)
    except NondeterminismError as error:
        return _record(seen, error, dry_run=dry_run)
    finally:
        execution.close()


def _check(seen: _Seen) -> None:
    instance, found = seen.instance, len(seen.events)
    starts = [event for event in seen.events if isinstance(event, ev.ExecutionStarted)]
    if not starts:
        raise InvalidHistory(instance.pk, "it has no ExecutionStarted")
    if starts[-1].name != instance.name:
        raise InvalidHistory(instance.pk, f"it is one of {starts[-1].name!r}, and the instance of {instance.name!r}")
    if found != instance.head:
        raise ConcurrencyConflict(instance.pk, expected=instance.head, found=found)


def _record(seen: _Seen, error: NondeterminismError, *, dry_run: bool) -> recovered.Outcome:
    """Park or fail the instance, as the settings say; nothing is changed if somebody else was quicker."""
    head = seen.instance.head
    if dry_run:
        return Failed(error=error) if conf.settings.ON_NONDETERMINISM == "fail" else Stalled(error=error, head=head)
    try:
        with transaction.atomic(using=conf.settings.DATABASE):
            has_failed = stalling.record(seen.locked(), error)
            seen.note("failed" if has_failed else "stalled", error=type(error).__name__)
    except ConcurrencyConflict as conflict:
        return Failed(error=error, conflict=conflict)
    except IntegrityError:
        return Failed(error=error, conflict=ConcurrencyConflict(seen.instance.pk, expected=head))
    return Failed(error=error, failure_recorded=True) if has_failed else Stalled(error=error, head=head)


def _close(seen: _Seen, end: ev.End, *, dry_run: bool) -> Terminal:
    if not dry_run:
        with transaction.atomic(using=conf.settings.DATABASE):
            instance = seen.locked()
            announce = closing.close(instance, end).announce
            seen.note("terminal", kind=end.kind)
            transaction.on_commit(lambda: dispatch.advance(announce), using=conf.settings.DATABASE, robust=True)
            dispatch.advance_on_commit(instance.queue, instance.pk)
    return _terminal(end, seen.instance.head)


def _terminal(end: ev.End, head: int) -> Terminal:
    return Terminal(result=getattr(end, "result", None), head=head, kind=end.kind)


def _go_on(seen: _Seen, execution: Execution, rest: list[Command], *, dry_run: bool) -> Resumed | Terminal:
    with transaction.atomic(using=conf.settings.DATABASE):
        instance = seen.instance if dry_run else seen.locked()
        lost = _lost(instance, execution, rest)
        if not dry_run and (rest or lost):
            _hand_out(instance, seen, execution, rest, lost)
            asked_again = [asked.event_id for asked in lost.asked]
            seen.note("resumed" if execution.outcome is None else "terminal", redispatched=asked_again)
    if execution.outcome is not None:
        return _terminal(execution.outcome, len(seen.events) + len(rest))
    awaited = sorted(event_id for event_id, asked in execution.open.items() if asked.is_awaited)
    first = execution.open[awaited[0]].event if awaited else None
    asked_for = [event for event in (*seen.events, *rest) if isinstance(event, ev.Asked)]
    return Resumed(
        index=len(asked_for) if first is None else first.event_id,
        command=None if first is None else steps([first])[0],
        head=len(seen.events),
        redispatched=steps([*lost.asked, *(event for event in rest if isinstance(event, ev.Asked))]),
    )


@dataclass(slots=True)
class _Lost:
    """What an execution waits for and what no row will bring.

    Attributes:
        asked: What is to be handed out again.
        ended: Children that ended, and whose end is on no way to their parent.
        strayed: Children that would report to another execution.
    """

    asked: list[ev.Asked] = field(default_factory=list)
    ended: list[Instance] = field(default_factory=list)
    strayed: list[Instance] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.asked or self.ended or self.strayed)


def _lost(instance: Instance, execution: Execution, rest: Sequence[Command]) -> _Lost:
    new = {getattr(command, "event_id", None) for command in rest}
    waiting = [open_.event for open_ in execution.open.values() if open_.is_awaited and open_.event.event_id not in new]
    lost = _Lost()
    if not waiting or execution.outcome is not None:
        return lost
    behind = {instance.lease_event_id}
    for rows in (tasks.rows(), inbox.rows()):
        behind.update(rows.filter(execution_id=instance.execution_id).values_list("event_id", flat=True))
    unmoved = [asked for asked in sorted(waiting, key=lambda asked: asked.event_id) if asked.event_id not in behind]
    ids = [asked.instance_id for asked in unmoved if isinstance(asked, ev.ChildScheduled)]
    children = (
        {child.pk: child for child in instances.rows().filter(pk__in=ids).defer(*instances.PAYLOADS)} if ids else {}
    )
    for asked in unmoved:
        child = children.get(asked.instance_id) if isinstance(asked, ev.ChildScheduled) else None
        if child is None:
            lost.asked.append(asked)
        elif (child.parent_id, child.parent_event_id) == (instance.pk, asked.event_id):
            if child.status not in OPEN:
                lost.ended.append(child)
            elif child.parent_execution_id != instance.execution_id:
                lost.strayed.append(child)
    return lost


def _hand_out(instance: Instance, seen: _Seen, execution: Execution, rest: Sequence[Command], lost: _Lost) -> None:
    """Make the rows again, in the transaction at hand, and record what the code asked for beyond the record."""
    told = {event.event_id for event in seen.events if isinstance(event, ev.ChildStarted)}

    def take() -> Turn:
        turn = Turn(instance, execution, clock.now())
        turn.note(rest)
        for asked in lost.asked:
            due = clock.from_timestamp(asked.fire_at) if isinstance(asked, ev.TimerStarted) else None
            turn.take_up(asked, due=due, told=asked.event_id in told)
        turn.settle()
        turn.hand_out()
        turn.store()
        return turn

    inbox.insert([inbox.row(instance.execution_id, closing.answer(child)) for child in lost.ended])
    strayed = [child.pk for child in lost.strayed]
    instances.rows().filter(pk__in=strayed).update(parent_execution_id=instance.execution_id)
    if rest or lost.asked:
        intercepting.turn(instance, take)
    dispatch.advance_on_commit(instance.queue, instance.pk)
