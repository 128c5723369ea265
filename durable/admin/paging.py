"""Which page of the list a request asks for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from durable.store.listing import Place

if TYPE_CHECKING:
    from django.http import HttpRequest


def place(request: HttpRequest) -> Place | None:
    """Return the place that a request asks for; None is the beginning, also for what is no place."""
    for name in ("older", "newer"):
        at, space, instance_id = request.GET.get(name, "").partition(" ")
        if space and instance_id.isprintable():
            try:
                created_at = datetime.fromisoformat(at)
                utc = created_at.astimezone(UTC)
            except (ValueError, OverflowError):
                return None
            if created_at.tzinfo is not None:
                return Place(created_at=utc, id=instance_id, older=name == "older")
    return None
