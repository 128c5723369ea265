"""What keeps others off an instance while its turn is taken: a lock, or that nothing is stored if it moved since."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from django.db import transaction

from durable import conf
from durable.core.errors import ConcurrencyConflict
from durable.engine import cache
from durable.models import Instance, Status
from durable.store import loading, turns

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator, Sequence

FEW_EVENTS = 200
"""Up to so many events of a history are read together with the inbox, before it is known whether they are needed."""


class Hold:
    """An instance whose turn is taken.

    Attributes:
        instance: The instance.
        found: What there is for its execution.
        seen: What must still be so when the turn is stored; None if it is locked, so that nothing can be otherwise.
    """

    def __init__(
        self, stack: ExitStack, instance: Instance, found: loading.Found, seen: turns.Seen | None = None
    ) -> None:
        self.instance, self.found, self.seen = instance, found, seen
        self._stack, self._is_begun = stack, seen is None

    @property
    def is_at_hand(self) -> bool:
        """Whether the code stands here where its history ends: others that try the same waste nothing but a step."""
        return cache.head(self.instance.execution_id) == self.instance.head

    def begin(self) -> None:
        """Have all that is written from here on be one commit."""
        if not self._is_begun:
            self._stack.enter_context(transaction.atomic(using=conf.settings.DATABASE))
            self._is_begun = True

    def lock(self) -> None:
        """Lock the instance, as it was seen.

        Raises:
            ConcurrencyConflict: It moved since, or somebody else has it.
        """
        if self.seen is None:
            return
        self.begin()
        if not turns.lock(self.instance, self.seen):
            raise ConcurrencyConflict(self.instance.pk, expected=self.instance.head)
        self.seen = None


@contextmanager
def hold(instance_id: str, *, limit: int, locked: bool) -> Iterator[Hold | None]:
    """Keep others off an instance in the block; None if there is none of this id, or it is locked already.

    Args:
        instance_id: The instance.
        limit: How much at most is read of what is due.
        locked: Whether it is to be locked at once.
    """
    with ExitStack() as stack:
        if locked or not (turns.in_one_statement() and turns.is_alone()):
            yield _lock(stack, instance_id, limit)
        else:
            yield _look(stack, instance_id, limit)


def _lock(stack: ExitStack, instance_id: str, limit: int) -> Hold | None:
    stack.enter_context(transaction.atomic(using=conf.settings.DATABASE))
    locked = loading.lock([instance_id])
    if not locked:
        return None
    (instance,) = locked
    return Hold(stack, instance, look_up(locked, limit=limit)[instance.execution_id])


def _look(stack: ExitStack, instance_id: str, limit: int) -> Hold | None:
    execution_id = cache.known(instance_id)
    known = execution_id, cache.head(execution_id) if execution_id else 0
    looked = loading.look(instance_id, known, limit=limit, events=FEW_EVENTS)
    return None if looked is None else Hold(stack, *looked)


def look_up(locked: Sequence[Instance], *, limit: int) -> dict[uuid.UUID, loading.Found]:
    """Return what is due for the executions of locked instances, and what their histories hold if that is little."""
    return loading.read([(each.execution_id, _known(each)) for each in locked], limit=limit)


def _known(instance: Instance) -> int | None:
    """Return how far this process knows a history that is to be read with the inbox; None if it is not to be."""
    known = cache.head(instance.execution_id)
    behind = instance.head - (known if known <= instance.head else 0)
    return instance.head - behind if 0 < behind <= FEW_EVENTS and instance.closed_at is None else None


def is_ordinary(instance: Instance) -> bool:
    """Say whether an instance can move, and nothing about it is special."""
    if instance.status not in (Status.PENDING, Status.RUNNING):
        return False
    return instance.lease is None and not instance.has_updates and not instance.options.get("resolve")
