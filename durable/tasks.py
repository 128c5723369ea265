"""The Celery tasks: doorbells, all of them; what is to be done stands in the database."""

from __future__ import annotations

from celery import shared_task
from django.db import connections

from durable import dispatch
from durable.engine import perform as _perform
from durable.engine import running
from durable.engine import sweep as _sweep
from durable.engine import together as _together
from durable.store import workers


def _begin() -> None:
    running.check_fit()
    # Celery keeps connections for long (db_reuse_max), also those that the server closed meanwhile.
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()


@shared_task(name="durable.advance", ignore_result=True, acks_late=False, max_retries=0)
def advance(*instance_ids: str) -> None:
    """Give instances their turns."""
    _begin()
    _together.advance_all(instance_ids)


@shared_task(name="durable.perform", ignore_result=True, acks_late=False, max_retries=0)
def perform(queue: str) -> None:
    """Run the activities of a queue."""
    _begin()
    _perform.perform(queue)


@shared_task(name="durable.sweep", ignore_result=True, acks_late=False, max_retries=0)
def sweep() -> None:
    """Find what is due and what was left behind; workers do this by themselves, beat may as well."""
    _begin()
    workers.sweep(dispatch.served_queues())
    _sweep.sweep()
