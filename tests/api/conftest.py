"""Users with permissions, and clients that speak for them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from rest_framework.test import APIClient

from durable import RetryPolicy, activity, workflow

EVERY = ("view_instance", "view_payload", "operate_instance", "repair_instance", "destroy_instance")


class Api:
    """Asks the API as a user."""

    def __init__(self, user: Any) -> None:
        self.user = user
        self.client = APIClient(raise_request_exception=True)
        if user is not None:
            self.client.force_authenticate(user)

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(f"/api/v1/{path}", query or None)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(f"/api/v1/{path}", {} if body is None else body, format="json", headers=given)

    def do(self, instance_id: str, verb: str, body: Any = None, query: str = "", **headers: str) -> Any:
        return self.post(f"instances/{quote(instance_id, safe='')}/{verb}/{query}", body, **headers)


@pytest.fixture
def someone(db):
    def make(*permissions: str, name: str = "ada") -> Any:
        user = get_user_model().objects.create(username=name)
        found = Permission.objects.filter(content_type__app_label="durable", codename__in=permissions)
        assert len(found) == len(permissions)
        user.user_permissions.set(found)
        return get_user_model().objects.get(pk=user.pk)

    return make


@pytest.fixture
def api(someone):
    """The API as somebody who may do everything."""
    return Api(someone(*EVERY))


@pytest.fixture
def bank():
    return {"up": False, "charged": []}


@pytest.fixture
def flow(fresh, bank):
    """A workflow that fails at its second step while the bank is down."""

    @activity.defn
    def reserve(order: int) -> str:
        return f"reserved {order}"

    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def charge(order: int, amount: int = 1) -> str:
        if not bank["up"]:
            raise ConnectionError("down")
        bank["charged"].append(amount)
        return f"receipt {order}"

    @workflow.defn
    async def flow(order: int) -> str:
        """Sell something."""
        await reserve(order)
        return await charge(order)

    return flow


@pytest.fixture
def failed(engine, flow, bank):
    """An instance that failed; what it failed at is up again."""
    handle = flow.options(id="order/1", tags={"customer": 42}).start(1)
    engine.run_until_quiet()
    assert handle.status == "failed"
    bank["up"] = True
    return handle


@pytest.fixture
def talk(fresh):
    """A workflow that can be asked, changed and told."""

    @workflow.defn
    async def talk(secret: str) -> Any:
        said = [secret]

        @workflow.query
        def lines() -> list[str]:
            return said

        @workflow.update
        def say(line: str) -> int:
            said.append(line)
            return len(said)

        return await workflow.wait_signal("go")

    return talk


@pytest.fixture
def waiting(engine, talk):
    handle = talk.options(id="talk").start("hush")
    engine.run_until_quiet()
    assert handle.status == "running"
    return handle
