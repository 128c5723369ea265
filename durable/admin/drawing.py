"""The timeline on an instance's page: which it is, and how to get another."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy

from durable.admin import timeline

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from django.http import HttpRequest

    from durable.admin.page import Work
    from durable.client.steps import Step

ZOOMS = (1, 2, 4, 8, 16)
"""How many times as wide as the window a timeline can be."""

_ROOMS = {
    timeline.TIME: gettext_lazy("By time"),
    timeline.WORK: gettext_lazy("Without idle time"),
    timeline.STEPS: gettext_lazy("By step"),
}


def context(
    request: HttpRequest,
    known: Sequence[Step],
    work: Sequence[Work],
    visible: dict[str, Any],
    *,
    now: datetime | None,
) -> dict[str, Any]:
    """Return the drawing; what has not ended shows the attempt that it is at.

    Args:
        request: Asks for a scale, and how wide it is to be.
        known: The steps of the history.
        work: What is open.
        visible: From after which event to which the history is shown.
        now: The time, if the execution goes on.
    """
    attempts = {each.task.event_id: each.task.attempt for each in work}
    shown = [
        replace(step, attempts=attempts[step.event_id]) if step.is_open and step.event_id in attempts else step
        for step in known
    ]
    room, told = request.GET.get("scale", ""), request.GET.get("zoom", "")
    room = room if room in _ROOMS else timeline.TIME
    zoom = int(told) if told in {str(each) for each in ZOOMS} else 1
    link = partial(_link, request, **visible)
    return {
        "timeline": timeline.draw(shown, now=now, room=room, zoom=zoom, link=link),
        "rooms": [
            (label, name == room, _asking(request, scale=name, zoom=str(zoom))) for name, label in _ROOMS.items()
        ],
        "zoom": zoom,
        "closer": _asking(request, scale=room, zoom=str(zoom * 2)) if zoom * 2 in ZOOMS else "",
        "wider": _asking(request, scale=room, zoom=str(zoom // 2)) if zoom // 2 in ZOOMS else "",
    }


def _asking(request: HttpRequest, **changed: str) -> str:
    """Return the address of the page with these parameters."""
    query = request.GET.copy()
    for name, value in changed.items():
        query[name] = value
    return f"?{query.urlencode()}#timeline"


def _link(request: HttpRequest, seq: int, *, first: int, last: int | None) -> str:
    """Return where an event is: on this page of the history, or on the one that begins there.

    Args:
        request: For this page.
        seq: The event.
        first: This page shows what comes after this event,
        last: up to this one; None is the end.
    """
    if first < seq and (last is None or seq <= last):
        return timeline.here(seq)
    query = request.GET.copy()
    query["after"] = str(seq - 1)
    query.pop("event", None)
    return f"?{query.urlencode()}{timeline.here(seq)}"
