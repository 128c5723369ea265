"""Retention: closed instances are purged once they were kept for as long as the settings say."""

from __future__ import annotations

import time
from datetime import timedelta

from django.db import transaction

from durable import conf, telemetry
from durable.store import instances, purging

_AT_ONCE = 200
_STAYS_SECONDS = 0.2
"""For how long the sweep, which also wakes what is due, stays with it."""


def purge_old() -> int:
    """Purge what was kept for long enough, a batch after the other for a moment; return how many instances."""
    kept_for = {status: timedelta(seconds=age) for status, age in conf.settings.RETENTION.items()}
    if not kept_for:
        return 0
    leave_at = time.monotonic() + _STAYS_SECONDS
    purged = 0
    while found := _batch(kept_for):
        purged += found
        if time.monotonic() >= leave_at:
            break
    if purged:
        telemetry.logger.info("purged %d instances that were kept for long enough", purged)
    return purged


def _batch(kept_for: dict[str, timedelta]) -> int:
    due = list(purging.due(kept_for).values_list("pk", flat=True)[:_AT_ONCE])
    if not due:
        return 0
    with transaction.atomic(using=conf.settings.DATABASE):
        # As they were when they were found: somebody may have brought one back to life.
        roots = instances.lock_all(skip_locked=True, pk__in=due, closed_at__isnull=False)
        ready = [tree.ids for tree in purging.trees(roots) if not tree.unended]
        return purging.delete([pk for ids in ready for pk in ids]).instances
