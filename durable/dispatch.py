"""Tells Celery workers that there is something to do.

A message is a hint: what is to be done stands in the database, so a message
that is lost, doubled or late costs nothing but time.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import groupby
from typing import TYPE_CHECKING, Any

from celery import current_app
from django.db import connections, transaction

from durable import conf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

logger = logging.getLogger("durable.dispatch")

DEFAULT_QUEUE = "default"
"""Our name for whatever Celery's own default queue is called."""

_MESSAGES_AT_ONCE = 8
"""Into how many messages instances are divided that are announced together."""

_WOKEN_AT_ONCE = 2
"""How many workers are woken for activities at first; each of them wakes another if there is more to do."""


def patience() -> float:
    """Return after how many seconds work that nobody took is announced again."""
    if is_private():
        # Messages of other processes never arrive: the worker has to look for itself.
        return min(conf.settings.POLL, conf.settings.REDISPATCH)
    return float(conf.settings.REDISPATCH)


def is_private() -> bool:
    """Say whether messages reach nobody but this process."""
    return str(current_app.conf.broker_url or "").startswith("memory:")


def advance(instances: Iterable[tuple[str, str]], *, at_least: int = 1) -> None:
    """Announce that instances have something in their inbox.

    Args:
        instances: ``(queue, instance id)`` pairs.
        at_least: How many go into one message before there is another one.
    """
    for queue, pairs in groupby(sorted(instances), key=lambda pair: pair[0]):
        ids = [instance_id for _, instance_id in pairs]
        share = max(at_least, -(-len(ids) // _MESSAGES_AT_ONCE))
        for start in range(0, len(ids), share):
            _send("durable.advance", ids[start : start + share], queue)


def perform(tasks: dict[str, int]) -> None:
    """Announce that queues have activities to run.

    Args:
        tasks: How many, by queue. A message drains its queue, and who reads it
            wakes another worker if there is more, so one or two will do.
    """
    for queue, count in tasks.items():
        for _ in range(min(count, _WOKEN_AT_ONCE)):
            _send("durable.perform", [queue], queue)


def wake_another(queue: str) -> None:
    """Have another worker help with the activities of a queue, if there may be another."""
    if not current_app.conf.task_always_eager:  # else that would be this one, in the middle of what it does
        _send("durable.perform", [queue], queue)


class _Announcement:
    """The instances that one transaction announces: those of a thousand starts are not a thousand messages."""

    def __init__(self) -> None:
        self.instances: list[tuple[str, str]] = []

    def __call__(self) -> None:
        advance(self.instances)


def advance_on_commit(queue: str, instance_id: str) -> None:
    """Announce an instance once the transaction at hand is committed."""
    connection: Any = connections[conf.settings.DATABASE]
    if connection.in_atomic_block and connection.run_on_commit and not _in_test_case(connection):
        savepoints, last, *_ = connection.run_on_commit[-1]
        # What was noted within the same savepoints is rolled back with this, or not at all.
        if isinstance(last, _Announcement) and savepoints == set(connection.savepoint_ids):
            last.instances.append((queue, instance_id))
            return
    announcement = _Announcement()
    announcement.instances.append((queue, instance_id))
    transaction.on_commit(announcement, using=conf.settings.DATABASE, robust=True)


def _in_test_case(connection: Any) -> bool:
    # Its tests may look at, or have done, what is registered in a block alone, without what was before.
    return any(getattr(block, "_from_testcase", False) for block in getattr(connection, "atomic_blocks", ()))


def perform_on_commit(tasks: dict[str, int]) -> None:
    """Announce activities once the transaction at hand is committed."""
    if tasks:
        transaction.on_commit(lambda: perform(tasks), using=conf.settings.DATABASE, robust=True)


_serving: ContextVar[tuple[str, ...] | None] = ContextVar("durable_serving", default=None)


@contextmanager
def serving(queues: Iterable[str]) -> Iterator[None]:
    """Have the block serve these queues, whatever this process's worker takes messages from."""
    token = _serving.set(tuple(queues))
    try:
        yield
    finally:
        _serving.reset(token)


def served_queues() -> list[str]:
    """Return the queues that this process's worker takes messages from."""
    chosen = _serving.get()
    if chosen is not None:
        return list(chosen)
    consumed = current_app.amqp.queues.consume_from
    return [DEFAULT_QUEUE if name == current_app.conf.task_default_queue else name for name in consumed]


_NEVER = float("-inf")
_mute_until = _NEVER
"""Until when no message is sent; never, if the last one was."""

_MUTE_SECONDS = 1.0
"""How long a broker that failed is left alone at least: each try may take seconds, and others wait behind it."""

_MUTE_TIMES = 3
"""How much longer it is left alone than the try took, so that callers hardly wait for one that never answers."""

_MUTE_AT_MOST = 60.0
"""How long it is left alone at most: it may be back."""

_PATIENCE: dict[str, Any] = {
    "retry": True,
    "retry_policy": {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0},
    "timeout": 3.0,
    "confirm_timeout": 3.0,
}
"""Once more, at once: a connection from the pool may be stale. The timeouts are for AMQP; Redis has its own.

Not ``retry=False``: kombu takes that for the message alone, and tries for seconds to connect.
"""

_PASSING: dict[str, Any] = {"delivery_mode": "transient"}
"""RabbitMQ need not write it to its disk, for which the sender would wait where publishes are confirmed."""

_SHOWN = 1024
"""How much of a message's arguments Celery's own tools show."""


def _send(task: str, args: list[Any], queue: str) -> None:
    began = time.monotonic()
    if began < _mute_until:
        logger.debug("did not announce work on queue %r to a broker that just failed; the sweep will", queue)
        return
    options: dict[str, Any] = {} if queue == DEFAULT_QUEUE else {"queue": queue}
    # As Celery would show them, which takes longer than putting together the rest of the message.
    shown: dict[str, Any] = {"argsrepr": repr(tuple(args))[:_SHOWN], "kwargsrepr": "{}"}
    try:
        current_app.tasks[task].apply_async(
            tuple(args), ignore_result=True, **_PATIENCE, **_PASSING, **shown, **options
        )
    except Exception as error:  # noqa: BLE001 - any broker, any fault: the sweep announces the work again
        _note_fault(queue, error, time.monotonic() - began)
    else:
        _note_answer()


def _note_fault(queue: str, error: Exception, took: float) -> None:
    global _mute_until  # noqa: PLW0603 - one broker, one state
    level = logging.WARNING if _mute_until == _NEVER else logging.DEBUG
    _mute_until = time.monotonic() + min(max(_MUTE_SECONDS, _MUTE_TIMES * took), _MUTE_AT_MOST)
    logger.log(level, "could not announce work on queue %r (%s); the sweep will", queue, error)


def _note_answer() -> None:
    global _mute_until  # noqa: PLW0603 - as above
    if _mute_until != _NEVER:
        _mute_until = _NEVER
        logger.info("the broker takes messages again")
