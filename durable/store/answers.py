"""Requests that were answered, so that one that comes again does nothing again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import IntegrityError, connections, transaction

from durable import conf
from durable.models import Answer
from durable.store import clock

KEPT = timedelta(hours=24)
"""How long an answer is good for."""


def rows() -> Any:
    """Return all answers, on the database of the settings."""
    return Answer.objects.using(conf.settings.DATABASE)


def claim(**fields: Any) -> Answer | None:
    """Return the row of a request that comes for the first time, or None; waits for one that is being answered.

    Args:
        fields: The ``actor_key`` and ``key`` that it is known by, and what else is to be stored.
    """
    try:
        with transaction.atomic(using=conf.settings.DATABASE):
            row: Answer = rows().create(created_at=clock.now(), **fields)
            return row
    except IntegrityError:
        return None


def drop_old(row: Answer) -> bool:
    """Delete an answer if it is old enough, and say whether it is; it may be there until somebody asks."""
    old = row.created_at < clock.now() - KEPT
    if old:
        rows().filter(pk=row.pk).delete()
    return old


def forget() -> None:
    """Delete a few answers that are old enough; to be called each time that one is kept."""
    old = rows().filter(created_at__lt=clock.now() - KEPT).order_by("created_at")
    with transaction.atomic(using=conf.settings.DATABASE):
        if connections[conf.settings.DATABASE].features.has_select_for_update_skip_locked:
            old = old.select_for_update(skip_locked=True)
        rows().filter(pk__in=list(old.values_list("pk", flat=True)[:100])).delete()
