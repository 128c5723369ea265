"""Turns of many instances that are due at the same time: taken in one transaction, and written together.

Those are for turns that do no more than write rows of their own instance, start
children, and tell a parent of an end.
Whatever asks for more, or fails, gets a turn by itself, as if there had been
none of this.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter, defaultdict
from functools import partial
from typing import TYPE_CHECKING

from django.db import InterfaceError, OperationalError, transaction

from durable import conf, dispatch, telemetry
from durable.engine import advance as single
from durable.engine import cache, following, holding, in_place, intercepting, living, lost, presence, running, strict
from durable.engine.turn import Turn, Unshared
from durable.models import ActivityTask
from durable.store import clock, gathered, inbox, instances, loading

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from durable.models import Instance

_FEW = 8
"""Fewer than so many are given their turns one after the other: each may then run an activity in place."""

_AT_ONCE = 50
_LEAST = 4
"""How many are locked together at most and at least, as far as there is time for them."""

_SECONDS = 0.05
"""How long others may have to wait for the locks of those whose turns are taken together."""

_EVENTS = 2000
"""How many events are read for them."""

_ROWS = 100
"""How much of what is due for one of them is taken in together."""

_ROUGHLY = 0.05
"""Timers that end so close to each other are announced together."""


def advance_all(ids: Iterable[str]) -> None:
    """Give instances their turns, as ``advance`` does, but for many of them at once where that is possible."""
    named = list(dict.fromkeys(ids))
    # In a backlog the sweep announces again and again what is still to be done: by the time that the message is
    # read, most of it is not any more.
    waiting = instances.due_among(named) if len(named) > 1 else dict.fromkeys(named, "")
    few = len(waiting) < _FEW
    # Never all of them, and each time with others: should one kill the worker, it does not take
    # the same ones with it time and again.
    order = list(waiting) if few else random.sample(list(waiting), len(waiting))
    with following.line() as line:
        line.add({instance_id: waiting[instance_id] for instance_id in order}, alone=few)
        _drain(line, size=max(1, len(waiting) // 2))


def advance_told(told: Iterable[tuple[str, str]], *, queue: str) -> None:
    """Give instances their turns that were told something here; announce those that other workers serve.

    Args:
        told: The instances, as ``(queue, id)``.
        queue: The queue that this process serves just now.
    """
    with following.line(queue) as line:
        line.follow(told)
        _drain(line, size=_AT_ONCE)


def _drain(line: following.Line, *, size: int) -> None:
    """Give those in a line their turns, the first ``size`` at most together."""
    by_themselves = intercepting.is_watched("turn") or strict.is_on()
    while some := line.take(1 if by_themselves else min(size, _AT_ONCE)):
        if len(some) == 1:
            single.advance(*some)
            if line.length >= _FEW:  # as many as it started or told
                size = max(size, _FEW)
        else:
            batch = _take(some, line)
            # What was locked and read, and then there was no time for it, is locked and read again.
            size = max(len(some) - len(batch.later), _LEAST) if batch.later else 2 * size
        if running.stopping():
            return  # those who are left are announced


def _take(some: Mapping[str, str], line: following.Line) -> _Batch:
    batch = _Batch(line)
    try:
        with transaction.atomic(using=conf.settings.DATABASE):
            batch.take(loading.lock(list(some)))
            batch.write()
    except Exception as error:
        batch.drop()
        batch.later = {}
        if gathered.may_be_ids(error) and (parents := batch.parents):
            telemetry.logger.debug("%d turns that start children are taken one by one", len(parents))
            line.add(parents, last=True)  # each may have to wait for whoever has the id
            line.add({pk: queue for pk, queue in some.items() if pk not in parents})
        elif isinstance(error, OperationalError | InterfaceError):
            raise  # the database's trouble, not the instances'; the sweep comes back to them
        else:
            telemetry.logger.warning("turns of %d instances are taken one by one", len(some), exc_info=True)
            line.add(some, alone=True)
    except BaseException:
        batch.drop()
        raise
    else:
        batch.follow()
    return batch


class _Batch:
    """Instances that are locked together, and their turns.

    Attributes:
        later: Those that there was no time for, with their queues.
    """

    def __init__(self, line: following.Line) -> None:
        self.later: dict[str, str] = {}
        self._line = line
        self._alone: dict[str, str] = {}
        self._seen: list[Instance] = []
        self._settled: list[tuple[Turn, Sequence[int]]] = []
        self._taken: list[tuple[Turn, gathered.Part]] = []
        self._told: list[tuple[str, str]] = []

    def take(self, locked: Sequence[Instance]) -> None:
        """Take the turns of those that something is due for, as long as there is time."""
        self._alone |= {each.pk: each.queue for each in locked if not holding.is_ordinary(each)}
        self._choose([each for each in locked if holding.is_ordinary(each)])
        if not self._seen:
            return
        found = holding.look_up(self._seen, limit=_ROWS)
        until = time.monotonic() + _SECONDS
        for instance in self._seen:
            if not found[instance.execution_id].waiting:
                continue
            if self._settled and time.monotonic() > until:
                self.later[instance.pk] = instance.queue
            elif not self._turn(instance, found[instance.execution_id]):
                self._alone[instance.pk] = instance.queue
        self._part_with_parents()
        self._choose_who_runs_what()

    def _choose(self, fitting: Sequence[Instance]) -> None:
        events = 0
        for instance in fitting:
            behind = instance.head - cache.head(instance.execution_id)
            if not 0 <= behind <= holding.FEW_EVENTS:
                self._alone[instance.pk] = instance.queue
            elif events + behind > _EVENTS:
                self.later[instance.pk] = instance.queue
            else:
                events += behind
                self._seen.append(instance)

    def _turn(self, instance: Instance, found: loading.Found) -> bool:
        """Take a turn; say whether it can be written with the others."""
        try:
            rows = found.due()
            if any(kind == inbox.TIMEOUT for _, kind, _ in rows):
                return False
            if not instance.head and not (rows := single.begun(rows)):
                return False  # whatever waits, waits for the start
            execution, rest = living.live(instance, found.rows or ())
        except (OperationalError, InterfaceError):
            raise
        except Exception:  # noqa: BLE001 - what is wrong is told when it gets its turn by itself
            return False
        turn, fits = Turn(instance, execution, clock.now(), shared=True), False
        try:
            turn.note(rest)
            consumed = single.apply(turn, rows)
            turn.settle()
            fits = turn.is_shareable
        except Unshared:
            pass
        except Exception:  # noqa: BLE001 - as above
            telemetry.logger.debug("%s gets a turn by itself", instance.pk, exc_info=True)
        finally:
            if not fits:
                execution.close()
        if fits:
            self._settled.append((turn, consumed))
        return fits

    def _part_with_parents(self) -> None:
        parents = gathered.with_open_children([turn.instance for turn, _ in self._settled if turn.end is not None])
        for turn, _ in self._settled:
            if turn.instance.pk in parents:
                turn.execution.close()
                self._alone[turn.instance.pk] = turn.instance.queue
        self._settled = [(turn, consumed) for turn, consumed in self._settled if turn.instance.pk not in parents]

    def _choose_who_runs_what(self) -> None:
        asking = [turn for turn, _ in self._settled if turn.asks_for]
        # One activity alone is run here, if nobody would wait for it; many are better leased together.
        one = len(asking) == 1 and asking[0].asks_for == 1 and not (self._alone or self.later)
        for turn, consumed in self._settled:
            if one and turn is asking[0] and self._line.is_empty:
                turn.choose()
            else:
                turn.hand_out()
            self._taken.append((turn, turn.part(consumed)))

    def write(self) -> None:
        """Write all turns, in the transaction at hand.

        Raises:
            ConcurrencyConflict: An instance moved on, locked as it was.
        """
        if not self._taken:
            return
        self._told = gathered.write([part for _, part in self._taken])
        for turn, part in self._taken:
            turn.written(part.values)
            if part.ended:
                telemetry.announce_end(turn.instance)
        transaction.on_commit(self._announce, using=conf.settings.DATABASE, robust=True)

    def _announce(self) -> None:
        following.advance([*(pair for turn, _ in self._taken for pair in turn.announces), *self._told])
        tasks = (task for _, part in self._taken for task in part.tasks)
        dispatch.perform(Counter(task.queue for task in tasks if task.state == ActivityTask.State.READY))
        here = presence.current()
        if here is None:
            return
        soon: defaultdict[datetime, list[tuple[str, str]]] = defaultdict(list)
        for turn, part in self._taken:
            for row in part.inbox:
                if presence.soon(row.visible_at):
                    soon[_about(row.visible_at)].append((turn.instance.queue, turn.instance.pk))
        for when, those in soon.items():
            here.call_at(when, partial(dispatch.advance, those))

    def follow(self) -> None:
        """Do what the commit leads to in this process, and look for what came meanwhile."""
        for turn, part in self._taken:
            if part.ended:
                turn.execution.close()
            elif turn.in_place is None:
                cache.put(turn.instance.execution_id, turn.execution)
        # Whoever found one of them locked went away: look, now that they are free, for what was left.
        named = {*self._alone, *self.later}
        left = [each.pk for each in self._seen if each.closed_at is None and each.pk not in named]
        self._alone |= instances.due_among(left) if left else {}
        self._line.add(self._alone, alone=True)
        self._line.add(self.later)
        for turn, _ in self._taken:
            if turn.in_place is not None:
                self._run_in_place(turn)

    def _run_in_place(self, turn: Turn) -> None:
        instance = turn.instance
        try:
            in_place.run(turn, time.monotonic() + single.STAYS_SECONDS)
        except (OperationalError, InterfaceError):
            raise
        except Exception:  # noqa: BLE001 - what the activity did is in the inbox; its turn says what is wrong
            telemetry.logger.info("%s gets a turn by itself after its activity", instance.pk, exc_info=True)
        if single.has_more(instance):  # its result, if something came while it ran
            self._line.add({instance.pk: instance.queue}, alone=True)

    @property
    def parents(self) -> Mapping[str, str]:
        """Those whose turns start children, with their queues."""
        return {turn.instance.pk: turn.instance.queue for turn, part in self._taken if part.born}

    def drop(self) -> None:
        """Throw away what was not stored."""
        for turn, _ in self._settled:
            turn.execution.close()
            if turn.in_place is not None:
                # Or it was: a commit may be done though its answer got lost, and with it our lease.
                lost.give_back(turn.instance.pk, turn.in_place.lease)


def _about(when: datetime) -> datetime:
    return clock.from_timestamp(math.ceil(when.timestamp() / _ROUGHLY) * _ROUGHLY)
