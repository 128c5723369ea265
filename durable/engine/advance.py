"""Bring an instance as far as it can go now: turn after turn, activities in place between them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError, OperationalError, transaction

from durable import conf, dispatch, telemetry
from durable.core import events as ev
from durable.core.errors import ConcurrencyConflict, DurableError
from durable.core.failures import Failure
from durable.core.replay import interpreter
from durable.engine import (
    cache,
    closing,
    in_place,
    intercepting,
    living,
    lost,
    routing,
    running,
    stalling,
    updates,
)
from durable.engine.holding import Hold, hold, is_ordinary
from durable.engine.turn import Turn
from durable.models import Instance, Status
from durable.store import clock, inbox

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

_ROWS_A_TURN = 1000

Due = tuple[int, str, str]
"""A row of an inbox: its id, its kind, its JSON text."""

_CONFLICTS = 5
"""After how many in a row it is not others who move an instance, but its turn that cannot be stored."""

STAYS_SECONDS = 1.0
"""How long a worker stays with one instance before others get their turn."""


def advance(instance_id: str) -> None:
    """Take turns for an instance until it waits for something that is not there.

    Never raises for what is wrong with the instance: that parks it.
    """
    leave_at = time.monotonic() + STAYS_SECONDS
    again: str | None = ""
    conflicts = 0
    while again is not None:
        try:
            again = _turn(instance_id, leave_at, locked=conflicts > 0)
        except ConcurrencyConflict as error:
            conflicts += 1
            if conflicts > _CONFLICTS:
                telemetry.logger.exception("a turn of %s failed", instance_id)
                stalling.count_failure(instance_id, error.__cause__ or error)
                return
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
            conflicts = 0
            if again is not None and (time.monotonic() > leave_at or running.stopping()):
                dispatch.advance([(again, instance_id)])
                return


def _turn(instance_id: str, leave_at: float, *, locked: bool) -> str | None:
    """Take one turn; if there is more to do at once, return the instance's queue."""
    taken: list[Turn] = []
    try:
        with hold(instance_id, limit=_ROWS_A_TURN, locked=locked) as held:
            if held is None:
                return None
            instance = held.instance
            execution_id, queue = instance.execution_id, instance.queue
            if held.seen is not None and not held.seen.due and instance.status != Status.STALLED:
                return None  # nobody went away because of us
            _move(held, taken, inline=time.monotonic() < leave_at)
    except BaseException as error:
        for turn in taken:
            _give_up(turn, error)
        raise
    if taken:
        _follow(taken[0], execution_id, leave_at)
    elif not instance.head:
        return None  # not begun: whatever waits, waits for the start
    if instance.queue != queue:
        return None  # it went to another app, whose workers are told
    return instance.queue if has_more(instance) else None


def _move(held: Hold, taken: list[Turn], *, inline: bool) -> None:
    """Do what an instance can do now; its turn, if it takes one, is in the list as soon as it begins."""
    instance = held.instance
    if not _needs_no_lock(held):
        held.lock()
    try:
        rows = _due(instance, held.found.due())
        if instance.status == Status.STALLED and any(kind == inbox.TIMEOUT for _, kind, _ in rows):
            _time_out(instance)
        elif _can_move(instance, rows):
            intercepting.turn(instance, lambda: _take(held, rows, taken, inline=inline))
    except (DatabaseError, InterfaceError, ConcurrencyConflict):
        raise
    except Exception:
        held.lock()  # else it moved, perhaps past what is wrong
        raise


def _needs_no_lock(held: Hold) -> bool:
    """Say whether a turn can be taken of what was seen: nobody else is to look, and no more rows to be read, for it."""
    rows = held.found.waiting
    if len(rows) >= _ROWS_A_TURN or intercepting.is_watched("turn"):
        return False
    has_begun = held.instance.head or any(kind == ev.ExecutionStarted.__name__ for _, kind, _ in rows)
    return bool(has_begun) and is_ordinary(held.instance) and held.is_at_hand


def _give_up(turn: Turn, error: BaseException) -> None:
    """Throw away a turn that was not stored, as far as is known."""
    turn.execution.close()  # it is ahead of what is stored
    if turn.in_place is not None and not isinstance(error, DurableError):
        # Or not: what was stored may be, though its answer got lost, and with it our lease.
        lost.give_back(turn.instance.pk, turn.in_place.lease)


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


def _take(held: Hold, rows: Sequence[Due], taken: list[Turn], *, inline: bool) -> Turn:
    """Apply rows and store what follows."""
    instance = held.instance
    routing.resolve(instance)
    execution, rest = living.live(instance, held.found.rows or ())
    turn = Turn(instance, execution, clock.now(), held=held)
    taken.append(turn)
    turn.note(rest)
    consumed = apply(turn, rows)
    turn.settle()
    if inline:
        turn.choose()
    else:
        turn.hand_out()
    turn.store(consumed=consumed)
    return turn


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
        own = {"name": turn.instance.name, "version": turn.instance.version, "limits": living.limits()}
        return ev.replace(event, python=interpreter(), **own)
    if isinstance(event, ev.Answer) and event.event_id not in execution.open:
        telemetry.logger.debug("%s: a late %s is dropped", turn.instance.pk, event)
        return None
    if isinstance(event, ev.CancelRequested) and execution.cancel_requested:
        return None
    if isinstance(event, ev.ExecutionWoken) and (turn.came_in or not execution.conditions):
        return None  # with what came before it all was looked at, or there is nothing to look at
    return event
