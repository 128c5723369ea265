"""The Celery tasks: doorbells, all of them; what is to be done stands in the database."""

from __future__ import annotations

from celery import shared_task

from durable.engine import advance as _advance
from durable.engine import perform as _perform
from durable.engine import sweep as _sweep


@shared_task(name="durable.advance", ignore_result=True, acks_late=False, max_retries=0)
def advance(*instance_ids: str) -> None:
    """Give instances their turns."""
    for instance_id in instance_ids:
        _advance.advance(instance_id)


@shared_task(name="durable.perform", ignore_result=True, acks_late=False, max_retries=0)
def perform(queue: str) -> None:
    """Run the activities of a queue."""
    _perform.perform(queue)


@shared_task(name="durable.sweep", ignore_result=True, acks_late=False, max_retries=0)
def sweep() -> None:
    """Find what is due and what was left behind; workers do this by themselves, beat may as well."""
    _sweep.sweep()
