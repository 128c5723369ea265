"""Updates: asking an instance for one, offering it to the code, and keeping what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction

from durable import conf, dispatch
from durable.core import events as ev
from durable.core import updates
from durable.core.errors import ForbiddenInWorkflow, InvalidInput, LimitExceeded, NotOpen, ReadOnly, RunawayStep
from durable.core.failures import Failure
from durable.core.frames import stops_the_worker
from durable.engine import watchdog
from durable.models import OPEN, Instance
from durable.store import inbox, instances
from durable.store import updates as store

if TYPE_CHECKING:
    from collections.abc import Collection

    from durable.engine.turn import Turn
    from durable.models import Update

State = store.State

HARMFUL = (ForbiddenInWorkflow, ReadOnly, RunawayStep)
"""What is refused when code may only look; something may have changed halfway."""


def request(instance_id: str, asked: ev.UpdateAccepted) -> None:
    """Ask an instance for an update, in the transaction at hand; asking again by the same id changes nothing.

    Raises:
        UnknownInstance: There is none of this id.
        NotOpen: It has ended; nothing is stored.
        InvalidInput: The id is that of another update.
        LimitExceeded: Its inbox is full.
    """
    instance = instances.lock(instance_id)
    known = store.find(instance_id, asked.update_id)
    if known is not None:
        if known.name != asked.name:
            raise InvalidInput("update_id", f"{asked.update_id!r} is the id of an update {known.name!r}")
        if known.state != State.REFUSED or instance.status not in OPEN:
            if known.state == State.WAITING and instance.head:
                _look_again(instance, known)
            return
        known.delete()  # somebody brought the instance back to life
    if instance.status not in OPEN:
        raise NotOpen(instance_id, status=instance.status, verb=f"take update {asked.name!r}")
    _insert(instance, asked)


def _insert(instance: Instance, asked: ev.UpdateAccepted) -> None:
    waiting = inbox.count(instance.execution_id) + store.count_waiting(instance.execution_id)
    if waiting >= (maximum := conf.limit("inbox")):
        raise LimitExceeded("inbox", value=waiting + 1, maximum=maximum, advice="the instance does not keep up")
    if not instance.has_updates:
        instances.rows().filter(pk=instance.pk).update(has_updates=True)
    if not instance.head:
        # Nobody need look before the code has begun, and then they look by themselves.
        store.insert(instance, asked, state=State.WAITING)
        return
    store.insert(instance, asked, state=State.REQUESTED)
    _bring(instance, asked)


def _look_again(instance: Instance, known: Update) -> None:
    """Have the code asked once more: other code may run by now, which has the update."""
    store.change(instance.pk, known.update_id, State.REQUESTED)
    _bring(instance, ev.UpdateAccepted(update_id=known.update_id, name=known.name, input=known.input))


def _bring(instance: Instance, asked: ev.UpdateAccepted) -> None:
    inbox.insert([inbox.update_row(instance.execution_id, asked)])
    dispatch.advance_on_commit(instance.queue, instance.pk)


class Ledger:
    """What becomes of updates in a turn, to be stored with it."""

    def __init__(self) -> None:
        self._became: dict[str, dict[str, Any]] = {}
        self._parked: dict[str, ev.UpdateAccepted] = {}

    def park(self, request: ev.UpdateAccepted) -> None:
        """Note that a request waits for its name to be registered."""
        self._became[request.update_id] = {"state": State.WAITING}
        self._parked[request.update_id] = request

    def unpark(self, names: Collection[str]) -> list[ev.UpdateAccepted]:
        """Return, and keep no longer, the requests that this turn parked for one of these names."""
        found = [request for request in self._parked.values() if request.name in names]
        for request in found:
            del self._parked[request.update_id]
        return found

    def accept(self, request: ev.UpdateAccepted) -> None:
        """Note that a request is recorded."""
        self._became[request.update_id] = {"state": State.ACCEPTED}

    def reject(self, request: ev.UpdateAccepted, error: BaseException) -> None:
        """Note that a request is refused."""
        self._became[request.update_id] = {"state": State.REJECTED, "failure": Failure.of(error).to_json()}

    def complete(self, outcome: ev.UpdateCompleted) -> None:
        """Note that a handler is done."""
        self._became[outcome.update_id] = store.outcome(outcome)

    def store(self, instance: Instance) -> None:
        """Write it, one statement for each update."""
        for update_id, values in self._became.items():
            store.change(instance.pk, update_id, **values)


class Harm(Exception):
    """A validator tried what it may not: the turn that it ran in is to be taken again without it."""

    def __init__(self, request: ev.UpdateAccepted, row: int | None, error: BaseException) -> None:
        self.request, self.row, self.error = request, row, error
        super().__init__(str(error))


def offer(turn: Turn, request: ev.UpdateAccepted, *, row: int | None = None) -> ev.UpdateAccepted | None:
    """Let the code look at a request; return the event that accepts it, or None.

    Args:
        turn: The turn.
        request: The request.
        row: Its inbox row, if it has one.

    Raises:
        Harm: The validator tried what it may not.
    """
    if request.name not in turn.execution.updates.handlers:
        turn.updates.park(request)
        return None
    try:
        with watchdog.watch(turn.execution):
            updates.check(turn.execution, request)
    except HARMFUL as error:
        raise Harm(request, row, error) from error
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and stops_the_worker(error):
            raise
        turn.updates.reject(request, error)
        return None
    turn.updates.accept(request)
    return request


def recall(turn: Turn) -> None:
    """Offer the code the requests that waited for the names which it registered since the last look."""
    fresh = turn.execution.updates.fresh
    while turn.instance.has_updates and fresh and turn.execution.outcome is None:
        names = set(fresh)
        fresh.clear()
        for request in (*store.waiting(turn.instance.execution_id, names), *turn.updates.unpark(names)):
            _let_in(turn, request)


def _let_in(turn: Turn, request: ev.UpdateAccepted) -> None:
    # Past an end it keeps waiting: for the next execution, or to be refused.
    if turn.execution.outcome is None and offer(turn, request) is not None:
        turn.apply(request)
        turn.settle()


def is_awaited(turn: Turn) -> bool:
    """Say whether a request waits for a name that the code has registered since the last look."""
    fresh = turn.execution.updates.fresh
    if not (turn.instance.has_updates and fresh):
        return False
    names = set(fresh)
    fresh.clear()
    return store.is_awaited(turn.instance.execution_id, names)


def reject(instance_id: str, harm: Harm) -> None:
    """Reject a request whose validator tried what it may not, apart from the turn, which is rolled back."""
    with transaction.atomic(using=conf.settings.DATABASE):
        if instances.find_locked(instance_id) is None:
            return
        known = store.find(instance_id, harm.request.update_id)
        if known is not None and known.state in store.PENDING:
            failure = Failure.of(harm.error).to_json()
            store.change(instance_id, known.update_id, State.REJECTED, failure=failure)
        if harm.row is not None:
            inbox.delete([harm.row])
