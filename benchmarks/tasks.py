"""A Celery task that does nothing but say that it ran: what the broker and the worker cost by themselves."""

from __future__ import annotations

import time
from functools import lru_cache

import redis
from celery import shared_task
from django.conf import settings

_WORKERS_AT_MOST = 16
_PATIENCE = 60


@shared_task(name="benchmarks.echo", ignore_result=True)
def echo(key: str) -> None:
    """Push something to a list of the broker."""
    broker().rpush(key, 1)


@shared_task(name="benchmarks.hop", ignore_result=True)
def hop(left: int, key: str) -> None:
    """Send the next of a chain of tasks; the last one says that it ran."""
    if left > 1:
        hop.delay(left - 1, key)
    else:
        broker().rpush(key, 1)


@lru_cache
def broker() -> redis.Redis:
    """Return a client of the broker, which is Redis here."""
    return redis.Redis.from_url(settings.CELERY_BROKER_URL, socket_timeout=None)


def settle() -> float:
    """Wait until the messages that are there now are taken, and return the seconds that it took.

    Raises:
        TimeoutError: It took more than a minute.
    """
    begun = time.perf_counter()
    key = f"settled-{begun}"
    for _ in range(_WORKERS_AT_MOST):
        echo.delay(key)
    for _ in range(_WORKERS_AT_MOST):
        if broker().blpop([key], timeout=_PATIENCE) is None:
            raise TimeoutError(f"the workers took no message for {_PATIENCE} s")
    return time.perf_counter() - begun
