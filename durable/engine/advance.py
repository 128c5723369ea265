"""Bring an instance as far as it can go now: turn after turn, activities in place between them."""

from __future__ import annotations

import time
from contextlib import closing as closed_after
from functools import partial
from typing import TYPE_CHECKING

from django.db import InterfaceError, OperationalError, transaction

from durable import conf, dispatch, registry, telemetry
from durable.core import events as ev
from durable.core.errors import ConcurrencyConflict
from durable.core.execution import LIMITS, Execution
from durable.core.failures import Failure
from durable.core.replay import catch_up, interpreter
from durable.engine import (
    cache,
    closing,
    guards,
    in_place,
    intercepting,
    lost,
    routing,
    running,
    stalling,
    updates,
    watchdog,
)
from durable.engine.turn import Turn
from durable.models import Instance, Status
from durable.store import clock, history, inbox, loading

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from durable.core.commands import Command

_ROWS_A_TURN = 1000
FEW_EVENTS = 200
"""Up to so many events of a history are read together with the inbox, before it is known whether they are needed."""

Due = tuple[int, str, str]
"""A row of an inbox: its id, its kind, its JSON text."""

STAYS_SECONDS = 1.0
"""How long a worker stays with one instance before others get their turn."""


def advance(instance_id: str) -> None:
    """Take turns for an instance until it waits for something that is not there.

    Never raises for what is wrong with the instance: that parks it.
    """
    leave_at = time.monotonic() + STAYS_SECONDS
    again: str | None = ""
    while again is not None:
        try:
            again = _turn(instance_id, leave_at)
        except ConcurrencyConflict:
            telemetry.logger.debug("%s moved on meanwhile", instance_id)
        except updates.Harm as harm:
            updates.reject(instance_id, harm)
        except tuple(stalling.REASONS) as error:
            stalling.stall(instance_id, error)
            return
        except (OperationalError, InterfaceError):
            raise  # the database's trouble, not the instance's; the sweep comes back to it
        except Exception as error:  # noqa: BLE001 - one instance's trouble must not stop the worker
            telemetry.logger.exception("a turn of %s failed", instance_id)
            stalling.count_failure(instance_id, error)
            return
        else:
            if again is not None and (time.monotonic() > leave_at or running.stopping()):
                dispatch.advance([(again, instance_id)])
                return


def _turn(instance_id: str, leave_at: float) -> str | None:
    """Take one turn; if there is more to do at once, return the instance's queue."""
    turn: Turn | None = None

    def take(instance: Instance, rows: Sequence[Due], known: Sequence[history.Row]) -> Turn:
        nonlocal turn
        turn = _take(instance, rows, known, inline=time.monotonic() < leave_at)
        return turn

    try:
        with transaction.atomic(using=conf.settings.DATABASE):
            locked = loading.lock([instance_id])
            if not locked:
                return None
            instance = locked[0]
            execution_id, queue = instance.execution_id, instance.queue
            found = look_up(locked, limit=_ROWS_A_TURN)[execution_id]
            rows = _due(instance, found.due())
            if instance.status == Status.STALLED and any(kind == inbox.TIMEOUT for _, kind, _ in rows):
                _time_out(instance)
            elif _can_move(instance, rows):
                intercepting.turn(instance, partial(take, instance, rows, found.rows or ()))
    except BaseException:
        if turn is not None:
            turn.execution.close()  # it is ahead of what is stored
            if turn.in_place is not None:
                # Or not: a commit may be done though its answer got lost, and with it our lease.
                lost.give_back(instance_id, turn.in_place.lease)
        raise
    if turn is not None:
        _follow(turn, execution_id, leave_at)
    elif not instance.head:
        return None  # not begun: whatever waits, waits for the start
    if instance.queue != queue:
        return None  # it went to another app, whose workers are told
    return instance.queue if has_more(instance) else None


def has_more(instance: Instance) -> bool:
    """Say whether there is more to do for an instance whose turn was taken."""
    # Whoever found it locked went away: look, now that it is free, for what they left.
    is_open = instance.status in (Status.PENDING, Status.RUNNING)
    return is_open and inbox.has_due(instance.execution_id)


def _time_out(instance: Instance) -> None:
    """End an instance whose time is up and whose code cannot go on."""
    end = ev.ExecutionFailed(failure=_out_of_time(), imposed=True)
    closing.append(instance, end)
    announce = closing.close(instance, end).announce
    transaction.on_commit(lambda: dispatch.advance(announce), using=conf.settings.DATABASE, robust=True)


def _out_of_time() -> Failure:
    return Failure(type=closing.TIMED_OUT, message="the instance did not end in its time")


def _can_move(instance: Instance, rows: Sequence[Due]) -> bool:
    if instance.closed_at is not None:
        if rows:
            inbox.end(instance.execution_id, instance.status)
        return False
    if instance.status == Status.STALLED:
        return instance.retry_at is None or instance.retry_at <= clock.now()
    return instance.status != Status.SUSPENDED and bool(rows)


def _follow(turn: Turn, execution_id: uuid.UUID, leave_at: float) -> None:
    """Do what a stored turn leads to in this process."""
    if turn.end is not None:
        turn.execution.close()
    elif turn.in_place is not None:
        in_place.run(turn, leave_at)
    else:
        cache.put(execution_id, turn.execution)


def look_up(locked: Sequence[Instance], *, limit: int) -> dict[uuid.UUID, loading.Found]:
    """Return what is due for the executions of locked instances, and what their histories hold if that is little."""
    return loading.read([(each.execution_id, _seen(each)) for each in locked], limit=limit)


def _seen(instance: Instance) -> int | None:
    """Return how far this process knows a history that is to be read with the inbox; None if it is not to be."""
    seen = cache.head(instance.execution_id)
    behind = instance.head - (seen if seen <= instance.head else 0)
    return instance.head - behind if 0 < behind <= FEW_EVENTS and instance.closed_at is None else None


def _due(instance: Instance, rows: list[Due]) -> list[Due]:
    """Return what waits for an instance, its start before all else but the end of its time."""
    if len(rows) >= _ROWS_A_TURN and (not instance.head or instance.status == Status.STALLED):
        rows = [*rows, *_behind(instance, rows)]
    if instance.head:
        return rows
    if late := [row for row in rows if row[1] == inbox.TIMEOUT]:
        return late  # its time is up before it began: it is not to begin any more
    if not (ordered := begun(rows)) and any(kind == ev.CancelRequested.__name__ for _, kind, _ in rows):
        # A cancel does not wait for a delayed start.
        return begun([*inbox.not_yet_due(instance.execution_id, ev.ExecutionStarted.__name__), *rows])
    return ordered


def _behind(instance: Instance, rows: Sequence[Due]) -> list[Due]:
    """Return what stands behind all of ``rows``, as signals came while the start was delayed, and comes before them."""
    started, canceled = ev.ExecutionStarted.__name__, ev.CancelRequested.__name__
    kinds = [inbox.TIMEOUT] if instance.head else [inbox.TIMEOUT, started, canceled]
    known = {pk for pk, _, _ in rows}
    found = [row for row in inbox.due_of(instance.execution_id, kinds) if row[0] not in known]
    if any(kind == started for _, kind, _ in (*rows, *found)):
        return [row for row in found if row[1] != canceled]  # it begins, and so is canceled when it is its turn
    return found


def begun(rows: Sequence[Due]) -> list[Due]:
    """Return what waits for an instance that has not begun, its start before all else; nothing without it."""
    started = ev.ExecutionStarted.__name__
    starts = [row for row in rows if row[1] == started]
    return [*starts, *(row for row in rows if row[1] != started)] if starts else []


def _take(instance: Instance, rows: Sequence[Due], known: Sequence[history.Row], *, inline: bool) -> Turn:
    """Apply rows and store what follows, in the transaction at hand."""
    routing.resolve(instance)
    execution, rest = live(instance, known)
    try:
        turn = Turn(instance, execution, clock.now())
        turn.note(rest)
        consumed = apply(turn, rows)
        turn.settle()
        if inline:
            turn.choose()
        else:
            turn.hand_out()
        turn.store(consumed=consumed)
    except BaseException:
        execution.close()
        raise
    return turn


def live(instance: Instance, known: Sequence[history.Row] = ()) -> tuple[Execution, list[Command]]:
    """Return the live execution of a locked instance, brought up to its head.

    From the cache when it is there: at the head, nothing is read; behind it,
    the difference is; ahead of it, somebody's turn was rolled back, so it is
    thrown away, as is one of another version. Else by replay.

    Args:
        instance: The instance.
        known: What was read of its history; used if it is what is missing.

    Raises:
        UnknownWorkflow, VersionNotAvailable: This process cannot run it.
        NondeterminismError: Its code does not do what its history records.
    """
    execution = cache.take(instance.execution_id)
    if execution is not None and (execution.head > instance.head or execution.workflow.version != instance.version):
        execution.close()
        execution = None
    if execution is None:
        execution = fresh(
            instance.name, instance.version, instance_id=instance.pk, execution_id=str(instance.execution_id)
        )
    if execution.head == instance.head:
        return execution, []
    try:
        if known and known[0][0] == execution.head + 1 and known[-1][0] == instance.head:
            events = history.events(known)
        else:
            events = history.read(instance.execution_id, after=execution.head, until=instance.head)
        with watchdog.watch(execution), closed_after(events):
            rest = catch_up(execution, events, whole=True)
    except BaseException:
        execution.close()
        raise
    execution.changed.clear()
    return execution, rest


def limits() -> dict[str, int]:
    """Return how much the code of an execution that begins now may give at once."""
    return {name: conf.limit(name) for name in LIMITS}


def fresh(name: str, version: int, *, instance_id: str, execution_id: str, dry: bool = False) -> Execution:
    """Return an execution that has seen no event yet, of the code at hand.

    Args:
        name: The workflow's name.
        version: Its version.
        instance_id: Whose execution it is.
        execution_id: Its id.
        dry: Whether it is to look ahead only.

    Raises:
        UnknownWorkflow, VersionNotAvailable: This process cannot run it.
    """
    return Execution(
        registry.workflow(name, version),
        converter=conf.converter(),
        limits=limits(),
        instance_id=instance_id,
        execution_id=execution_id,
        enter=guards.enter,
        dry=dry,
    )


def apply(turn: Turn, rows: Sequence[Due]) -> list[int]:
    """Apply rows in order and return the ids of those that need not come again."""
    consumed = []
    updates.recall(turn)  # names that the code in this process registered in steps that others took
    for pk, kind, text in rows:
        if turn.execution.outcome is not None:
            if kind == ev.SignalReceived.__name__ and not isinstance(turn.execution.outcome, ev.ExecutionContinued):
                telemetry.logger.warning("%s ended before it saw a signal: %s", turn.instance.pk, text)
            continue
        event = _event(turn, pk, kind, text)
        if event is not None:
            turn.apply(event)
            turn.settle()
            updates.recall(turn)
        consumed.append(pk)
    return consumed


def _event(turn: Turn, pk: int, kind: str, text: str) -> ev.Event | None:
    """Return the event of an inbox row, or None if it comes too late to count, or is not let in."""
    execution = turn.execution
    if kind == inbox.TIMEOUT:
        return ev.ExecutionFailed(failure=_out_of_time(), imposed=True)
    accepted = ev.UpdateAccepted.__name__
    event = ev.decode(accepted if kind == inbox.UPDATE else kind, text, at=turn.at.timestamp(), seq=turn.head + 1)
    if isinstance(event, ev.UpdateAccepted):
        return updates.offer(turn, event, row=pk)
    if isinstance(event, ev.ExecutionStarted):
        # Of who takes the first step, not of who asked for it.
        own = {"name": turn.instance.name, "version": turn.instance.version, "limits": limits()}
        return ev.replace(event, python=interpreter(), **own)
    if isinstance(event, ev.Answer) and event.event_id not in execution.open:
        telemetry.logger.debug("%s: a late %s is dropped", turn.instance.pk, event)
        return None
    if isinstance(event, ev.CancelRequested) and execution.cancel_requested:
        return None
    if isinstance(event, ev.ExecutionWoken) and (turn.came_in or not execution.conditions):
        return None  # with what came before it all was looked at, or there is nothing to look at
    return event
