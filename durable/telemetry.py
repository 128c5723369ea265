"""What the engine tells the outside: log records and Django signals."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.db import transaction
from django.dispatch import Signal

from durable import conf

if TYPE_CHECKING:
    from durable.models import Instance

logger = logging.getLogger("durable.engine")

instance_completed = Signal()
"""Sent after commit with ``instance_id``; so are the others."""
instance_failed = Signal()
instance_canceled = Signal()
instance_terminated = Signal()
instance_stalled = Signal()

_BY_STATUS = {
    "completed": instance_completed,
    "failed": instance_failed,
    "canceled": instance_canceled,
    "terminated": instance_terminated,
    "stalled": instance_stalled,
}


def announce_end(instance: Instance) -> None:
    """Send the signal of an instance's new status once the transaction is committed."""
    signal, sender, instance_id = _BY_STATUS[instance.status], type(instance), instance.pk

    def send() -> None:
        for receiver, error in signal.send_robust(sender=sender, instance_id=instance_id):
            if isinstance(error, Exception):
                logger.error("%r failed for %s", receiver, instance_id, exc_info=error)

    if signal.has_listeners(sender):
        transaction.on_commit(send, using=conf.settings.DATABASE, robust=True)
