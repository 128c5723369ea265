"""Who may do what, and how often."""

from __future__ import annotations

from rest_framework.throttling import ScopedRateThrottle

from durable.client.access import (
    DESTROY,
    OPERATE,
    PAYLOAD,
    REPAIR,
    VIEW,
    check_new,
    deny,
    find,
    find_for,
    listed,
    may,
    related,
    require_view,
    seen,
    visible,
)

__all__ = [
    "DESTROY",
    "OPERATE",
    "PAYLOAD",
    "REPAIR",
    "VIEW",
    "Throttle",
    "check_new",
    "deny",
    "find",
    "find_for",
    "listed",
    "may",
    "related",
    "require_view",
    "seen",
    "visible",
]


class Throttle(ScopedRateThrottle):
    """Limits the scopes ``durable-read`` and ``durable-write``, where ``DEFAULT_THROTTLE_RATES`` names them."""

    def get_rate(self) -> str | None:
        rate: str | None = self.THROTTLE_RATES.get(self.scope or "")
        return rate
