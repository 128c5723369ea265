"""A turn: events applied in memory, and all that follows from them, written at once."""

from __future__ import annotations

import uuid
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction

from durable import conf, dispatch, telemetry
from durable.core import commands as cmd
from durable.core import events as ev
from durable.core import stepping
from durable.core.errors import ConcurrencyConflict, LimitExceeded
from durable.core.failures import Failure
from durable.engine import (
    children,
    closing,
    columns,
    following,
    intercepting,
    presence,
    routing,
    signals,
    strict,
    updates,
    watchdog,
    work,
)
from durable.models import ActivityTask, InboxEvent, Instance
from durable.store import clock, gathered, history, inbox, instances, tasks, turns

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from durable.core.execution import Execution
    from durable.engine.holding import Hold


_LOOKS_AROUND = (cmd.CancelActivity, cmd.CancelChild, ev.ChildScheduled)
_NEVER_SHARED = (cmd.CancelActivity, cmd.CancelChild)


class Unshared(Exception):
    """Raised by a shared turn that looks at, or changes, more than is its own."""


class Turn:
    """Collects what events lead to, then stores it.

    Args:
        instance: The instance.
        execution: Its live execution.
        at: When the events are recorded.
        held: What keeps others off the instance; None if whoever takes the turn sees to that.
        shared: Whether the transaction is that of other turns, too. Then it reads and writes nothing by itself.

    Attributes:
        in_place: The activity to run after the commit, or None.
        again: Whether more is to do at once: the instance continued as new.
        updates: What became of updates.
    """

    def __init__(
        self,
        instance: Instance,
        execution: Execution,
        at: datetime,
        *,
        held: Hold | None = None,
        shared: bool = False,
    ) -> None:
        self.instance, self.execution, self.at = instance, execution, at
        self._held, self._shared = held, shared
        self.head = instance.head
        self.in_place: work.InPlace | None = None
        self.again = False
        self.end: ev.End | None = None
        self.updates = updates.Ledger()
        self._events: list[history.Record] = []
        self._pending: list[cmd.Command] = []
        self._activities: dict[int, ev.ActivityScheduled] = {}
        self._tasks: list[ActivityTask] = []
        self._inbox: dict[int, InboxEvent] = {}
        self._posted: list[InboxEvent] = []
        self._dropped_timers: list[int] = []
        self._children = children.Children(instance)
        self._announce: list[tuple[str, str]] = []
        execution.spans.clear()
        if held is not None:
            execution.before_effect = held.lock  # who comes second is to run nothing that may be seen outside

    # --- applying

    def apply(self, event: ev.Event) -> Sequence[cmd.Command]:
        """Let the code see an event, note what it asks for, and return it; nothing comes after an end."""
        if self.execution.outcome is not None:
            return ()
        event = ev.replace(event, at=self.at.timestamp())
        # Before the code gets the payload: it may change it, and the record must not change with it.
        self._events.append(history.record(event))
        with strict.guard(self.execution), watchdog.watch(self.execution):
            issued = stepping.step(self.execution, event)
        if isinstance(event, ev.End):
            self.end = event
        self.note(issued)
        return issued

    def note(self, issued: Sequence[cmd.Command]) -> None:
        """Note commands that are not recorded yet."""
        issued = [routing.child(c) if isinstance(c, ev.ChildScheduled) else c for c in issued]
        self._events.extend(history.record(command) for command in issued if isinstance(command, cmd.Recordable))
        self._pending.extend(issued)

    def leave_out(self, event_ids: Collection[int]) -> None:
        """Make no rows for these activities, whose results it has seen already."""
        self._pending = [
            command
            for command in self._pending
            if not (isinstance(command, ev.ActivityScheduled) and command.event_id in event_ids)
        ]

    def take_up(self, asked: ev.Asked, *, due: datetime | None = None, told: bool = False) -> None:
        """Make rows again for something that the history holds without an answer.

        Args:
            asked: What was asked for.
            due: When it is due, if it is a timer.
            told: Whether the history says already that it was started, if it is a child.
        """
        match asked:
            case ev.ActivityScheduled():
                self._activities[asked.event_id] = asked
            case ev.SignalSent():
                self._tasks.append(signals.task(self.instance, asked))
            case ev.TimerStarted():
                fired = ev.TimerFired(event_id=asked.event_id)
                self._inbox[asked.event_id] = inbox.row(self.instance.execution_id, fired, visible_at=due)
            case ev.ChildScheduled():
                self._children.look_up([asked])
                self._start_child(asked, told=told)
            case _:
                raise TypeError(f"{asked} cannot be taken up")

    @property
    def came_in(self) -> list[ev.Event]:
        """What was applied so far."""
        return [event for event, _ in self._events if not event.by_code]

    @property
    def looks_around(self) -> bool:
        """Whether settling it reads or writes rows, and so belongs into the transaction that stores it."""
        return self.instance.has_updates or any(isinstance(command, _LOOKS_AROUND) for command in self._pending)

    @property
    def is_one_statement(self) -> bool:
        """Whether all that it writes, now that it is settled, is one statement: that needs no transaction."""
        more = self._children.born, self._tasks, self._posted, self._dropped_timers
        if any(more) or strict.is_on() or not turns.in_one_statement():
            return False
        return self._ends_at_once if self.end is not None else not self._inbox

    @property
    def _ends_at_once(self) -> bool:
        """Whether its end is one statement with all else, unless it has children that are open."""
        return (
            turns.in_one_statement()
            and not (self._children.born or self._tasks or self.execution.open)
            and closing.is_plain(self.instance, self.end)
        )

    @property
    def starts_children(self) -> bool:
        """Whether it has children to store, now that it is settled."""
        return bool(self._children.born)

    @property
    def needs_lock(self) -> bool:
        """Whether something is to be done before the guarded update for which nobody else may come between."""
        looks = self.instance.has_updates and self.execution.updates.fresh
        return bool(looks) or any(isinstance(command, cmd.CancelActivity) for command in self._pending)

    def settle(self) -> None:
        """Turn commands into rows, until they lead to no more events of their own.

        Raises:
            LimitExceeded: One step asked for too much at once.
            Unshared: It needs a transaction of its own.
        """
        maximum = conf.limit("fan_out")
        if len(self._pending) > maximum:
            raise LimitExceeded("fan_out", value=len(self._pending), maximum=maximum, advice="work in batches")
        while self._pending:
            if self._held is not None and self.looks_around:
                self._held.lock() if self.needs_lock else self._held.begin()
            pending, self._pending = self._pending, []
            if self._shared:
                _must_be_shareable(self.instance, pending)
            else:
                self._children.look_up([command for command in pending if isinstance(command, ev.ChildScheduled)])
            called_off = [c.event_id for c in pending if isinstance(c, cmd.CancelActivity)]
            for command in pending:
                self._settle(command)
            if called_off:
                self._call_off(called_off)

    def _settle(self, command: cmd.Command) -> None:
        match command:
            case ev.ActivityScheduled():
                self._activities[command.event_id] = command
            case ev.TimerStarted():
                self._start_timer(command)
            case ev.TimerCanceled(event_id=event_id):
                if self._inbox.pop(event_id, None) is None:
                    self._dropped_timers.append(event_id)
            case ev.SideEffectRecorded() | ev.PatchMarked() | cmd.CancelActivity():
                pass
            case ev.ChildScheduled():
                self._start_child(command)
            case cmd.CancelChild(event_id=event_id):
                self._cancel_child(event_id)
            case ev.UpdateCompleted():
                self.updates.complete(command)
            case ev.SignalSent():
                self._tasks.append(signals.task(self.instance, command))
            case ev.End():
                self.end = command
            case _:
                raise TypeError(f"{command} cannot be settled")

    def _start_timer(self, timer: ev.TimerStarted) -> None:
        fire_at = clock.from_timestamp(timer.fire_at)
        row = inbox.row(self.instance.execution_id, ev.TimerFired(event_id=timer.event_id), visible_at=fire_at)
        self._inbox[timer.event_id] = row

    def _start_child(self, child: ev.ChildScheduled, *, told: bool = False) -> None:
        if (refusal := self._children.refusal(child.instance_id)) is not None:
            self.apply(ev.ChildFailed(event_id=child.event_id, failure=Failure.of(refusal)))
            return
        born = self._children.start(child).instance
        self._announce.append((born.queue, born.pk))
        if not told:
            self.apply(ev.ChildStarted(event_id=child.event_id))

    def _cancel_child(self, event_id: int) -> None:
        asked = self.execution.open.get(event_id)
        if asked is None or not isinstance(asked.event, ev.ChildScheduled):
            return
        if (canceled := self._children.cancel(asked.event, by_parent=self.execution.cancel_requested)) is not None:
            child, row = canceled
            self._posted.append(row)
            self._announce.append((child.queue, child.pk))

    def _call_off(self, event_ids: list[int]) -> None:
        unsent = {event_id for event_id in event_ids if self._activities.pop(event_id, None)}
        stored = [event_id for event_id in event_ids if event_id not in unsent]
        dropped = tasks.call_off(self.instance.execution_id, stored) if stored else set()
        for event_id in event_ids:
            if event_id in unsent or event_id in dropped:
                self.apply(ev.ActivityCanceled(event_id=event_id))
            elif event_id == self.instance.lease_event_id:
                self._tell_in_place(event_id)

    def _tell_in_place(self, event_id: int) -> None:
        """Give an activity that runs in place elsewhere a row of its own, by which it learns of the cancel."""
        asked = self.execution.open[event_id].event
        assert isinstance(asked, ev.ActivityScheduled)  # noqa: S101 - only activities run in place
        self._tasks.append(work.called_off_row(self.instance, asked, at=self.at))
        for name, value in instances.NO_LEASE.items():
            setattr(self.instance, name, value)

    # --- choosing who runs what

    def choose(self, *, lease: uuid.UUID | None = None) -> None:
        """Keep one activity for this worker, if it may run it in place; the rest becomes tasks.

        Args:
            lease: The lease that this worker has on the instance already.
        """
        if self.end is None and conf.settings.RUN_INLINE and (self.instance.lease is None or lease):
            for event_id, asked in self._activities.items():
                if (definition := work.runs_here(self.instance, asked)) is not None:
                    self.in_place = work.InPlace(asked, definition, lease or uuid.uuid4())
                    del self._activities[event_id]
                    break
        self.hand_out()

    def hand_out(self) -> None:
        """Make tasks of all activities that are left."""
        self._tasks.extend(work.task_row(self.instance, asked) for asked in self._activities.values())
        self._activities.clear()

    # --- writing

    def store(self, *, lease: uuid.UUID | None = None, consumed: Sequence[int] = ()) -> None:
        """Write everything.

        Args:
            lease: Write only if the instance did not move since this lease was taken.
            consumed: The inbox rows that are in the history now.

        Raises:
            ConcurrencyConflict: The instance moved on, and nothing is written; or, if it starts children, the id of
                one was taken, and what is written is to be rolled back.
            NondeterminismError: Strict mode found that the code does not do the same again.
        """
        self.execution.before_effect = None
        values = self._values(lease)
        final = self._final(lease)
        values |= final or {}
        at_once = final is not None and self._ends_at_once
        write = partial(turns.write, self.instance, values, self._events, head=self.head, at=self.at, consumed=consumed)
        tells = closing.tells(self.instance, self.end) if at_once else None
        written = write(lease=lease, seen=self._seen(), ends=at_once, tells=tells)
        if written is None:
            # With children that are open, an end takes more than that.
            if not at_once or lease is not None or not write(seen=self._seen(locked=True)):
                raise ConcurrencyConflict(self.instance.pk, expected=self.head)
            at_once = False
        # Not before: until the update, somebody else may append to what is read here.
        strict.check(self.instance, self.execution, self._events, head=self.head)
        self.written(values)
        self._children.store()
        tasks.insert(self._tasks)
        inbox.insert([*(() if at_once else self._inbox.values()), *self._posted])
        inbox.delete_timers([(self.instance.execution_id, event_id) for event_id in self._dropped_timers])
        self.updates.store(self.instance)
        if written is not None and at_once:
            telemetry.announce_end(self.instance)
            self._announce.extend(written.told)
        elif self.end is not None:
            ended = closing.close(self.instance, self.end, self.execution, stored=final is not None)
            self.again = ended.again
            self._announce.extend(ended.announce)
            self._posted.clear()
        self._announce_on_commit()

    def _seen(self, *, locked: bool = False) -> turns.Seen | None:
        """Return what must still be so when it is written; None if the instance is locked, as it is if ``locked``.

        Raises:
            ConcurrencyConflict: It moved before it could be locked.
        """
        held = self._held
        if held is None:
            return None
        if locked or not self._events:
            held.lock()
        elif not self.is_one_statement:
            held.begin()
        return held.seen

    @property
    def is_shareable(self) -> bool:
        """Whether what it writes, now that it is settled, can be written together with what others write.

        Raises:
            LimitExceeded: The history would be too long.
        """
        history.check_length(self.instance.execution_id, self.head, self._events)
        if self._posted:
            return False
        leaves_open = bool(self.execution.open or self._children.born)
        return self.end is None or (closing.is_plain(self.instance, self.end) and not leaves_open)

    @property
    def asks_for(self) -> int:
        """How many activities are still to be chosen from, or handed out."""
        return len(self._activities)

    def part(self, consumed: Sequence[int]) -> gathered.Part:
        """Return what it writes, to be written together with what others write.

        Args:
            consumed: The inbox rows that are in the history now.
        """
        ends = self.end is not None
        return gathered.Part(
            instance=self.instance,
            values={**self._values(None), **(self._final(None) or {})},
            records=self._events,
            at=self.at,
            consumed=consumed,
            ended=ends,
            tells=closing.tells(self.instance, self.end),
            tasks=self._tasks,
            inbox=list(self._inbox.values()),
            dropped_timers=self._dropped_timers,
            born=list(self._children.born.values()),
        )

    @property
    def announces(self) -> Sequence[tuple[str, str]]:
        """Whom to announce once it is stored, as ``(queue, id)``."""
        return self._announce

    def written(self, values: dict[str, Any]) -> None:
        """Note that the instance's row has these values now."""
        for name, value in values.items():
            setattr(self.instance, name, value)
        self.execution.head = self.head + len(self._events)

    def _final(self, lease: uuid.UUID | None) -> dict[str, Any] | None:
        """Return what the end makes of the row, if it may be stored with the rest."""
        if self.end is None or (lease is None and self.instance.lease is not None):
            return None  # what another worker runs in place is to learn of it first
        return closing.final(self.instance, self.end)

    def _values(self, lease: uuid.UUID | None) -> dict[str, Any]:
        events = [event for event, _ in self._events]
        return columns.of_turn(self.instance, self.execution, events, at=self.at, runs=self.in_place, lease=lease)

    def _announce_on_commit(self) -> None:
        if not (self._announce or self._tasks or self._inbox):
            return
        counts = Counter(task.queue for task in self._tasks if task.state == tasks.State.READY)
        soon = [row.visible_at for row in self._inbox.values() if presence.soon(row.visible_at)]
        queue, instance_id = self.instance.queue, self.instance.pk

        def announce() -> None:
            # Nobody is to wait here for an activity in place.
            (dispatch if self.in_place else following).advance(self._announce)
            dispatch.perform(counts)
            here = presence.current()
            if here is not None:
                for when in soon:
                    here.call_at(when, lambda: dispatch.advance([(queue, instance_id)]))

        if self._announce or counts or soon:
            transaction.on_commit(announce, using=conf.settings.DATABASE, robust=True)


def _must_be_shareable(instance: Instance, pending: Sequence[cmd.Command]) -> None:
    """Raise ``Unshared`` for commands that look at rows of others, or have somebody's code look at them."""
    watched, patient = intercepting.is_watched("start"), gathered.waits_for_ids()
    for command in pending:
        if isinstance(command, _NEVER_SHARED):
            raise Unshared
        if isinstance(command, ev.ChildScheduled) and (
            watched or (patient and not command.instance_id.startswith(f"{instance.pk}:"))
        ):
            raise Unshared
