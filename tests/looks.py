"""What operators and scripts look at when there are many instances: each list, filter and page."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from typing import Any

from django.contrib.admin.utils import quote
from django.core.management import call_command
from django.test import Client

from durable import client
from durable.models import Instance, Operation, Status


class Looker:
    """Somebody who may see everything."""

    def __init__(self, user: Any) -> None:
        self._client = Client()
        self._client.force_login(user)
        self.waiting = Instance.objects.filter(status=Status.RUNNING, custom_status__isnull=False)[0]
        self.parent = Instance.objects.exclude(parent=None).order_by("-created_at")[0].parent_id
        self.middle = Instance.objects.order_by("-created_at").values_list("created_at", "pk")[3000]
        self.group = client.failure_groups(limit=1)[0]

    def get(self, address: str, **query: Any) -> Any:
        """Ask for a page."""
        response = self._client.get(address, query)
        assert response.status_code == 200, (address, query, response.status_code)
        return response

    def admin(self, **query: Any) -> Any:
        """Look at the admin's list."""
        return self.get("/admin/durable/instance/", **query)

    def page(self, instance_id: str) -> Any:
        """Look at an instance's page."""
        return self.get(f"/admin/durable/instance/{quote(instance_id)}/change/")

    def api(self, path: str = "instances/", **query: Any) -> Any:
        """Ask the API."""
        return self.get(f"/api/v1/{path}", **query)


Look = Callable[[Looker], Any]

SINCE = "2026-01-31T00:00:00"


@cache
def looks() -> dict[str, Look]:
    """Return all of them, by name."""
    return {**_admin(), **_api(), **_python()}


def _admin() -> dict[str, Look]:
    filters = {
        "newest": {},
        **{f"status={status}": {"status": status} for status in (*Status.values, "open", "closed")},
        "workflow": {"workflow": "invoice"},
        "workflow of few": {"workflow": "newsletter"},
        "version": {"workflow": "refund", "version": "2"},
        "version alone": {"version": "9"},
        "queue": {"queue": "default"},
        "queue of none": {"queue": "nobody"},
        "tag": {"tag": "customer=Ada"},
        "tag of one": {"tag": "number=100001"},
        "tag of none": {"tag": "customer=Nobody"},
        "stall": {"stall": "unknown workflow"},
        "is a child": {"parent_is": "yes"},
        "is no child": {"parent_is": "no"},
        "again": {"again": "on"},
        "started since": {"started_since": "2026-01-31T00:00"},
        "started before": {"started_before": "2026-10-31T00:00"},
        "closed since": {"closed_since": "2026-01-31T00:00"},
        "closed before": {"closed_before": "2026-10-31T00:00"},
        "search id": {"q": "newsletter-1"},
        "search tag": {"q": "number=100001"},
        "search error": {"q": "503 for order"},
        "search error of none": {"q": "no such text anywhere"},
    }
    found: dict[str, Look] = {
        f"admin {name}": lambda looker, query=query: looker.admin(**query) for name, query in filters.items()
    }
    found["admin rerun of"] = lambda looker: looker.admin(rerun_from="invoice-100001")
    found["admin children of"] = lambda looker: looker.admin(parent=looker.parent)
    found["admin fingerprint"] = lambda looker: looker.admin(
        status=looker.group.status, workflow=looker.group.workflow, fingerprint=looker.group.fingerprint
    )
    found["admin older"] = lambda looker: looker.admin(older=f"{looker.middle[0].isoformat()} {looker.middle[1]}")
    found["admin newer"] = lambda looker: looker.admin(newer=f"{looker.middle[0].isoformat()} {looker.middle[1]}")
    found["admin page"] = lambda looker: looker.page(looker.waiting.pk)
    found["admin page of a parent"] = lambda looker: looker.page(looker.parent)
    for name in ("failures", "versions", "batches", "workers"):
        found[f"admin {name}"] = lambda looker, name=name: looker.get(f"/admin/durable/instance/{name}/")
    found["admin audit"] = lambda looker: looker.get("/admin/durable/operation/")
    found["admin audit of one"] = lambda looker: looker.get(
        "/admin/durable/operation/", instance=Operation.objects.values_list("instance_id", flat=True)[0]
    )
    return found


def _api() -> dict[str, Look]:
    filters = {
        "status": {"status": "failed"},
        "workflow": {"workflow": "invoice"},
        "version": {"version": "9"},
        "queue": {"queue": "default"},
        "tag": {"tag": "customer:Ada"},
        "tag of one": {"tag": "number:100001"},
        "id_prefix": {"id_prefix": "newsletter-1"},
        "has_parent": {"has_parent": "true"},
        "rerun_from": {"rerun_from": "invoice-100001"},
        "attempt_min": {"attempt_min": "1"},
        "created_since": {"created_since": SINCE},
        "created_before": {"created_before": "2026-10-31T00:00:00Z"},
        "started_since": {"started_since": SINCE},
        "started_before": {"started_before": "2026-10-31T00:00:00Z"},
        "closed_since": {"closed_since": SINCE},
        "closed_before": {"closed_before": "2026-10-31T00:00:00Z"},
    }
    found: dict[str, Look] = {
        f"api {name}": lambda looker, query=query: looker.api(**query) for name, query in filters.items()
    }
    for order in ("-created_at", "created_at", "id", "-id", "started_at", "-started_at", "closed_at", "-closed_at"):
        found[f"api by {order}"] = lambda looker, order=order: looker.api(ordering=order)
        found[f"api by {order}, next"] = lambda looker, order=order: _next(looker, ordering=order)
        found[f"api failed by {order}"] = lambda looker, order=order: looker.api(ordering=order, status="failed")
    for path in ("batches/", "failure-groups/", "versions/", "workers/", "audit/", "health/"):
        found[f"api {path}"] = lambda looker, path=path: looker.api(path)
    for path in ("", "history/", "children/", "executions/", "why/", "lineage/"):
        found[f"api instance {path}"] = lambda looker, path=path: looker.api(f"instances/{looker.parent}/{path}")
    return found


def _next(looker: Looker, **query: Any) -> Any:
    return looker.get(looker.api(**query).json()["next"])


def _python() -> dict[str, Look]:
    def command(name: str, *args: str) -> None:
        call_command(name, *args, stdout=io.StringIO(), stderr=io.StringIO())

    return {
        "durable_list": lambda looker: command("durable_list"),
        "durable_list --status": lambda looker: command("durable_list", "--status", "failed"),
        "durable_list --tag": lambda looker: command("durable_list", "--tag", "customer=Ada"),
        "durable_list --roots": lambda looker: command("durable_list", "--roots"),
        "durable_list --patch": lambda looker: command("durable_list", "--patch", "tax"),
        "client.failure_groups": lambda looker: client.failure_groups(),
        "client.versions": lambda looker: client.versions(),
        "client.why": lambda looker: client.why(looker.waiting.pk),
        "client.lineage": lambda looker: client.lineage(looker.parent),
    }
