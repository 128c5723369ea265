"""The beginning of an execution from an edited history: its rows, and its first turn."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from durable import dispatch, registry
from durable.core import events as ev
from durable.core import stepping
from durable.core.branches import Replies
from durable.core.edit import on_limits
from durable.core.errors import AlreadyExists, InvalidInput, NondeterminismError
from durable.core.exits import BeyondRecord
from durable.core.failures import Failure
from durable.core.replay import catch_up
from durable.engine import intercepting, living, signals, updates, watchdog, work
from durable.engine.turn import Turn
from durable.models import CLOSED
from durable.store import clock, history, instances, tasks
from durable.store import updates as store

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from durable.core.commands import Command
    from durable.core.edit import Edit
    from durable.core.execution import Execution
    from durable.models import ActivityTask, Instance


class Rehearsal:
    """An execution that begins with an edited history, without touching anything outside.

    Attributes:
        edited: That history.
        called_off: Event ids of what the code has given up on by the end of that history.
        is_whole: Whether all of it could be seen: only the real thing runs a side effect.
        end: How it ends at once, or None; known once the first turn was played.
    """

    def __init__(self, instance: Instance, edited: Edit) -> None:
        self.edited, self.is_whole = edited, True
        self._execution = _fresh(instance, dry=True)
        self._pending: list[Command] = []
        self._ids = {instance.pk}
        self._instance_id = instance.pk
        self._refused: set[int] = set()
        self._now = clock.now().timestamp()
        self.end: ev.End | None = None
        with self._looking():
            self._pending += catch_up(self._execution, edited.kept, whole=not edited.is_cut)
        self.called_off = frozenset(pk for pk, asked in self._execution.open.items() if asked.called_off)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        try:
            with watchdog.watch(self._execution):
                yield
        except BeyondRecord:
            self.is_whole = False
        except BaseException:
            self._execution.close()
            raise

    def spared(self, replies: Replies, *, children: Iterable[ev.ChildScheduled] = ()) -> frozenset[int]:
        """Play the first turn, and return what the code does not wait for after it: it gave up on it, or ended.

        Args:
            replies: What the code sees.
            children: Those that are started.
        """
        self._start(children)
        for event in replies.given(self._execution):
            if not (_comes_late(event, self._execution) or _comes_early(event, self._execution)):
                replies.follow(self._step(event))
        while pending := self._pending:
            self._pending = []
            self._start(command for command in pending if isinstance(command, ev.ChildScheduled))
        self.end = self._execution.outcome
        return self._spared()

    def _step(self, event: ev.Event) -> Sequence[Command]:
        issued: Sequence[Command] = ()
        if self.is_whole:
            with self._looking():
                issued = stepping.step(self._execution, ev.replace(event, at=self._now))
        self._pending += issued
        return issued

    def _start(self, children: Iterable[ev.ChildScheduled]) -> None:
        for child in children:
            if child.instance_id in self._ids or self._is_taken(child.instance_id):
                self._refused.add(child.event_id)
                refusal = Failure.of(AlreadyExists(child.instance_id))
                self._step(ev.ChildFailed(event_id=child.event_id, failure=refusal))
            else:
                self._step(ev.ChildStarted(event_id=child.event_id))
            self._ids.add(child.instance_id)

    def _is_taken(self, child_id: str) -> bool:
        # Those that ended under the execution that is left behind make room.
        others = instances.rows().exclude(parent_id=self._instance_id, status__in=CLOSED)
        return bool(others.filter(pk=child_id).exists())

    def _spared(self) -> frozenset[int]:
        execution = self._execution
        end = execution.outcome
        waits = {pk for pk, asked in execution.open.items() if not asked.called_off}
        # What nobody waits for goes on when the code returns, and is called off when it fails.
        goes_on = waits if end is None or isinstance(end, ev.ExecutionCompleted) else set()
        rerun = {asked.event_id for asked in self.edited.rerun if asked.event_id not in goes_on}
        timers = {timer.event_id for timer in self.edited.rearmed if end is not None or timer.event_id not in waits}
        return frozenset(rerun | timers | self._refused)

    def close(self) -> None:
        """Unwind the code."""
        self._execution.close()


def refuse_batch(source: Instance) -> None:
    """Check that an instance may be begun again: a batch would do its verb for whoever once asked for it.

    Raises:
        InvalidInput: It is a batch.
    """
    if source.name.startswith(registry.OURS):
        advice = "client.batch_retry does again what it left undone, client.batch begins another"
        raise InvalidInput("instance_id", f"{source.pk} is a batch: {advice}")


@contextmanager
def rehearse(instance: Instance, edited: Edit) -> Iterator[Rehearsal]:
    """Replay what an edit keeps on the code at hand, with limits that are no lower than those of today if it fits them.

    Raises:
        UnknownWorkflow, VersionNotAvailable: This process cannot run it.
        NondeterminismError: The code does not do what the history records.
    """
    raised = on_limits(edited, living.limits())
    try:
        rehearsal = Rehearsal(instance, raised)
    except NondeterminismError:
        if raised == edited:
            raise
        rehearsal = Rehearsal(instance, edited)  # the code had caught that something was too large
    try:
        yield rehearsal
    finally:
        rehearsal.close()


def check(instance: Instance, edited: Edit) -> None:
    """Replay what an edit keeps on the code at hand; nothing outside is touched.

    Raises:
        UnknownWorkflow, VersionNotAvailable: This process cannot run it.
        NondeterminismError: The code does not do what the history records.
    """
    Rehearsal(instance, edited).close()


def handed_out(
    edited: Edit, children: Iterable[ev.ChildScheduled], spared: Collection[int]
) -> tuple[list[ev.Asked], list[ev.TimerStarted]]:
    """Return what of an edit runs again, with the children to start, and which timers are set."""
    again: list[ev.Asked] = [*edited.rerun, *children]
    rerun = [asked for asked in again if asked.event_id not in spared]
    return rerun, [timer for timer in edited.rearmed if timer.event_id not in spared]


def warnings(*, is_foreseen: bool, end: ev.End | None) -> list[str]:
    """Return what to say of a rehearsal that could not see all, or that came to an end."""
    if not is_foreseen:
        return [_("the code comes to a side effect at once; what it calls off after it is not known")]
    return [] if end is None else [_("the code ends at once: %(end)s") % {"end": end}]


def _fresh(instance: Instance, *, dry: bool = False) -> Execution:
    execution_id = str(instance.execution_id)
    return living.fresh(instance.name, instance.version, instance_id=instance.pk, execution_id=execution_id, dry=dry)


def write(instance: Instance, edited: Edit, start: ev.ExecutionStarted) -> None:
    """Store the kept events as the history of an instance's current execution.

    Args:
        instance: The instance; its head becomes the number of events.
        edited: What is kept.
        start: The first event, as it shall be recorded.
    """
    now = clock.now().timestamp()
    rearmed = edited.set_again(now)
    events = [start, *edited.kept[1:]]
    events = [rearmed.get(event.event_id, event) if isinstance(event, ev.TimerStarted) else event for event in events]
    history.begin(instance.execution_id, events)


def take_first_turn(
    instance: Instance,
    edited: Edit,
    first: Sequence[ev.Event] = (),
    *,
    as_asked_now: bool = False,
    children: Sequence[ev.ChildScheduled] = (),
    in_flight: Mapping[int, ActivityTask] = MappingProxyType({}),
) -> None:
    """Bring the code to where the kept history ends, let it see what came later, and store what follows.

    Args:
        instance: The instance, its rows stored.
        edited: Its history.
        first: What the code sees before the edit's replies.
        as_asked_now: Whether what is handed out again has the input that the
            code gives it now, not the recorded one.
        children: Children to start.
        in_flight: Tasks, locked, from the execution that this one goes on for: those
            that would be handed out again just so are taken along instead.

    Raises:
        NondeterminismError: The code does not do what the history records.
    """
    execution = _fresh(instance)
    store.carry_on(instance, [*edited.kept, *edited.replies])

    def take() -> Turn:
        with watchdog.watch(execution):
            rest = catch_up(execution, edited.kept, whole=not edited.is_cut)
        execution.head = instance.head
        turn = Turn(instance, execution, clock.now())
        turn.note(rest)
        _take_up(turn, edited, execution, in_flight, as_asked_now=as_asked_now)
        for child in children:
            turn.take_up(child)
        replies = Replies(edited, first)
        for event in replies.given(execution):
            if isinstance(event, ev.UpdateAccepted) and _comes_early(event, execution):
                turn.updates.park(event)
            elif not _comes_late(event, execution):
                replies.follow(turn.apply(event))
            updates.recall(turn)
        turn.leave_out(replies.adopted)
        turn.settle()
        turn.hand_out()
        turn.store()
        return turn

    try:
        intercepting.turn(instance, take)
    finally:
        execution.close()


def _comes_late(event: ev.Event, execution: Execution) -> bool:
    return isinstance(event, ev.Answer) and event.event_id not in execution.open


def _comes_early(event: ev.Event, execution: Execution) -> bool:
    """Say whether an event is an update whose name the code has not registered yet."""
    return isinstance(event, ev.UpdateAccepted) and event.name not in execution.updates.handlers


def _take_up(
    turn: Turn, edited: Edit, execution: Execution, in_flight: Mapping[int, ActivityTask], *, as_asked_now: bool
) -> None:
    for asked in edited.rerun:
        live = execution.open.get(asked.event_id)
        if live is None:
            continue
        wanted, task = live.event if as_asked_now else asked, in_flight.get(asked.event_id)
        if task is None or not _is_the_same(task, _row(turn.instance, wanted)):
            turn.take_up(wanted)
        elif tasks.take_along(task, turn.instance.execution_id):
            dispatch.perform_on_commit({task.queue: 1})
    for timer in edited.rearmed:
        turn.take_up(timer, due=turn.at + timedelta(seconds=edited.time_left(timer)))


def _row(instance: Instance, asked: ev.Asked) -> ActivityTask:
    if isinstance(asked, ev.SignalSent):
        return signals.task(instance, asked)
    assert isinstance(asked, ev.ActivityScheduled)  # noqa: S101 - nothing else is run again
    return work.task_row(instance, asked)


def _is_the_same(task: ActivityTask, wanted: ActivityTask) -> bool:
    return (task.name, task.input, task.options) == (wanted.name, wanted.input, wanted.options)
