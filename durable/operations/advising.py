"""Whether those above an instance failed because it did, and so need a rewind of their own."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from durable import conf, registry
from durable.core import blame, edit
from durable.core.errors import DurableError
from durable.models import Status
from durable.store import history, instances

if TYPE_CHECKING:
    from durable.models import Instance


def of_rewind(instance: Instance) -> str:
    """Return what to do beside a rewind, or an empty text."""
    parent = _failed_parent(instance)
    if parent is None:
        return ""
    root = parent
    while (above := _failed_parent(root)) is not None:
        root = above
    told = _("its parent %(parent)s has failed and does not wait for it; rewind %(root)s to have both go on")
    return told % {"parent": parent.pk, "root": root.pk}


def _failed_parent(instance: Instance) -> Instance | None:
    """Return the parent of an instance, if that failed because the instance did."""
    if instance.parent_id is None or instance.parent_event_id is None:
        return None
    parent: Instance | None = instances.rows().filter(pk=instance.parent_id, status=Status.FAILED).first()
    if parent is None or parent.execution_id != instance.parent_execution_id:
        return None
    return parent if instance.parent_event_id in _culprits(parent) else None


def _culprits(parent: Instance) -> frozenset[int]:
    with suppress(DurableError):
        events = list(history.read(parent.execution_id))
        with suppress(DurableError):
            definition = registry.workflow(parent.name, parent.version)
            return blame.culprits(definition, events, converter=conf.converter())
        # Its code is not here, or does something else by now: what it recorded has to do.
        return edit.unresolved(events)
    return frozenset()
