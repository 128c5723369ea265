"""The activities from which an instance can be rerun, and what they were given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.core.exceptions import ObjectDoesNotExist

from durable.core import events as ev
from durable.core.errors import DurableError
from durable.store import history, instances

if TYPE_CHECKING:
    from django.http import HttpRequest

    from durable.models import Instance

SHOWN = 200
"""How many there are to choose from; the history leads to the others."""


def recorded(found: Instance, execution: Any, event_id: Any) -> Any:
    """Return what an activity was given, as it is recorded; None if there is no such activity."""
    try:
        return history.asked(instances.execution(found, execution or None).pk, int(event_id)).input
    except (DurableError, ObjectDoesNotExist, ValueError):
        return None


def context(request: HttpRequest, found: Instance, address: str) -> dict[str, Any]:
    """Return what the form of a rerun shows of the activities: the chosen one, and all.

    Args:
        request: It says which is chosen, and in which execution.
        found: The instance.
        address: Where the form is.
    """
    asked = request.POST or request.GET
    execution = asked.get("execution", "")
    try:
        steps = history.outline(instances.execution(found, execution or None).pk, [ev.ActivityScheduled.__name__])
    except DurableError:
        return {}
    names = {str(event_id): name for _kind, event_id, name in steps}
    also = {"execution": execution} if execution else {}
    chosen = asked.get("event_id", "")
    return {
        "activity": (chosen, names[chosen]) if chosen in names else None,
        "activities": [
            (event_id, name, f"{address}?{urlencode({'event_id': event_id, **also})}")
            for event_id, name in list(names.items())[:SHOWN]
        ],
    }
