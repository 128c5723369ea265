"""Times and numbers in words, in the user's language."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.formats import number_format
from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from datetime import datetime


def lasted(seconds: float) -> str:
    """Return a length of time, as exact as people need it; a negative one is none."""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return _("%(n)s ms") % {"n": round(seconds * 1000)}
    if seconds < 10:
        return _("%(n)s s") % {"n": number_format(round(seconds, 1), decimal_pos=1)}
    if seconds < 120:
        return _("%(n)s s") % {"n": round(seconds)}
    if seconds < 7200:
        return _("%(n)s min") % {"n": round(seconds / 60)}
    if seconds < 172_800:
        return _("%(n)s h") % {"n": round(seconds / 3600)}
    return _("%(n)s days") % {"n": number_format(round(seconds / 86_400), use_l10n=True, force_grouping=True)}


def ago(at: datetime, now: datetime) -> str:
    """Return how long ago something was, or when it will be."""
    seconds = (now - at).total_seconds()
    if seconds < -1:
        return _("in %(time)s") % {"time": lasted(-seconds)}
    return _("%(time)s ago") % {"time": lasted(seconds)}


def at_most(count: int, limit: int) -> str:
    """Return a number that was counted up to a limit: ``10,000+`` if it is beyond that."""
    shown = number_format(min(count, limit), decimal_pos=0, use_l10n=True, force_grouping=True)
    return f"{shown}+" if count > limit else shown


def counted(count: int, limit: int, *, whole: bool) -> str:
    """Return a number that was counted up to a limit, or perhaps not to the end: ``12+`` if there may be more."""
    shown = at_most(count, limit)
    return shown if whole or count > limit else f"{shown}+"
