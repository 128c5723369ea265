"""A Celery task that does nothing but say that it ran: what the broker and the worker cost by themselves."""

from __future__ import annotations

from functools import lru_cache

import redis
from celery import shared_task
from django.conf import settings


@shared_task(name="benchmarks.echo", ignore_result=True)
def echo(key: str) -> None:
    """Push something to a list of the broker."""
    broker().rpush(key, 1)


@lru_cache
def broker() -> redis.Redis:
    """Return a client of the broker, which is Redis here."""
    return redis.Redis.from_url(settings.CELERY_BROKER_URL)
