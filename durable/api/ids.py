"""How ids of instances stand in URLs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from django.urls import reverse

if TYPE_CHECKING:
    from rest_framework.request import Request


class InstanceId:
    """Any id. One with a slash is found by it; links escape it, so that ``a/history`` is not the history of ``a``."""

    regex = ".+"

    def to_python(self, value: str) -> str:
        return unquote(value)

    def to_url(self, value: str) -> str:
        if not value.strip("."):
            return value.replace(".", "%2E")  # programs that read URLs take these for directories
        return value.replace("%", "%25").replace("/", "%2F")


def link(request: Request, name: str, **kwargs: Any) -> str:
    """Return the address of another view, under the prefix and the namespace that this one was asked under."""
    match = request.resolver_match
    namespace = match.namespace if match is not None else "durable-api"
    return request.build_absolute_uri(reverse(f"{namespace}:{name}", kwargs=kwargs))
