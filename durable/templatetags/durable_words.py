"""Filters that say codes and moments as people do.

A template engine imports this in sites without the admin, too, so nothing of ``durable.admin`` can be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django import template
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html

from durable.client import wording
from durable.operations import saying

if TYPE_CHECKING:
    from datetime import datetime

    from django.utils.safestring import SafeString

register = template.Library()
register.filter("word", wording.word)
register.filter("awaited", saying.wait)


@register.filter
def exact(at: datetime | None) -> str:
    """Say when something was: to the second, and in which time zone; nothing if it has not been."""
    if at is None:
        return ""
    here = timezone.localtime(at) if timezone.is_aware(at) else at
    return f"{date_format(here, 'DATE_FORMAT')}, {here:%H:%M:%S} {here.tzname() or ''}".rstrip()


@register.filter
def moment(at: datetime | None) -> SafeString | str:
    """Say when something was, as machines can read it, too."""
    return "" if at is None else format_html('<time datetime="{}">{}</time>', at.isoformat(), exact(at))
