"""Lengths of time, and what code waits for, in the language of whoever reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from durable.models import Status

if TYPE_CHECKING:
    from durable.core.waits import Wait


def duration(seconds: float) -> str:
    """Return a length of time in words, as exact as people need it; a negative one is none."""
    if seconds < 10:
        return _("%(n)s s") % {"n": number_format(round(max(0.0, seconds), 1), decimal_pos=1)}
    if seconds >= 2 * 86_400:
        return _("%(n)s days") % {"n": f"{seconds / 86_400:.0f}"}
    if seconds >= 2 * 3600:
        return _("%(n)s h") % {"n": f"{seconds / 3600:.0f}"}
    if seconds >= 2 * 60:
        return _("%(n)s min") % {"n": f"{seconds / 60:.0f}"}
    return _("%(n)s s") % {"n": f"{seconds:.0f}"}


def status(code: str) -> str:
    """Return the word for a status; executions have one that instances do not."""
    return _("continued as new") if code == "continued" else str(Status(code).label)


def wait(found: Wait) -> str:
    """Return what a task waits for; calls of asyncio's are told as code."""
    name = {"name": repr(found.name)}
    match found.kind:
        case "activity":
            return _("activity %(name)s") % name
        case "child":
            return _("child %(name)s") % name
        case "signal":
            return _("signal %(name)s") % name
        case "delivery":
            return _("the delivery of a signal to %(name)s") % name
        case "channel":
            return _("a channel")
        case "condition":
            return _("a condition (wait_until)")
        case "task":
            return _("task %(name)s") % {"name": found.name}
        case "future":
            return _("a future")
        case "nothing":
            return _("nothing")
        case _:
            return found.text
