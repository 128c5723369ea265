"""Instances in every state, one's own and others', with a secret in every kind of payload."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from django.apps import apps
from django.contrib.auth.backends import ModelBackend

from durable import NondeterminismError, RetryPolicy, UpdateTimeout, activity, client, workflow
from durable.client import batching
from durable.models import ActivityTask, BatchItem, Operation
from durable.testing.factories import InstanceFactory
from tests import driving

SECRET = "swordfish"
"""What only those may read who may see payloads."""

OWN, FOREIGN = "own/", "foreign/"
"""How the ids begin of instances that belong to the users of ``OwnOnly``, and of those that do not."""


class OwnOnly(ModelBackend):
    """Gives the permissions of a user on the instances that are their own, and on no other."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return obj is not None and obj.pk.startswith(OWN) and super().has_perm(user_obj, perm)


class Listing(OwnOnly):
    """Says as well which those are, so that they can be listed."""

    def visible_instances(self, user_obj: Any, rows: Any) -> Any:
        may = ModelBackend.has_perm(self, user_obj, "durable.view_instance")
        return rows.filter(pk__startswith=OWN) if may else rows.none()


def snapshot(*, audit: bool = False) -> dict[str, list[Any]]:
    """Return all that is stored of workflows.

    Args:
        audit: Whether to count what was denied or refused, too.
    """
    models = (model for model in apps.get_app_config("durable").get_models() if audit or model is not Operation)
    return {model.__name__: list(model._default_manager.order_by("pk").values()) for model in models}


def touched(counted: driving.Cost) -> bool:
    """Say whether anything may have been written, beside what was tried and the session of who tried it."""
    harmless = ("SELECT", 'INSERT INTO "durable_operation"', 'UPDATE "django_session"')
    return not all(statement.startswith(harmless) for statement in counted.statements)


def build(engine: Any) -> None:
    """Make instances: ``busy halted failed rewound done stalled damaged child batch`` of ``own/`` and ``foreign/``."""
    bank = {"up": False}
    _define(bank)
    driving.register_all(batching)
    for whose in (OWN, FOREIGN):
        _start(whose)
    engine.run_until_quiet()
    bank["up"] = True
    for whose in (OWN, FOREIGN):
        client.rewind(f"{whose}rewound")
        with suppress(UpdateTimeout):
            client.update(f"{whose}busy", "say", SECRET, update_id="said", timeout=0)
        client.signal(f"{whose}busy", "read", SECRET)
        client.signal(f"{whose}busy", "unread", SECRET)
        client.suspend(f"{whose}halted")
    engine.run_until_quiet()
    for whose in (OWN, FOREIGN):
        other = FOREIGN if whose == OWN else OWN  # a family of which one sees a part
        client.rerun_from_activity(f"{whose}done", 0, new_instance_id=f"{other}again")
        client.batch("signal", [f"{whose}busy", f"{whose}done"], id=f"{whose}batch", name="unread", payload=SECRET)
    engine.run_until_quiet()
    for whose in (OWN, FOREIGN):
        _stall(whose)
    BatchItem.objects.filter(outcome="refused").update(error=f"InvalidInput: charge(amount): '{SECRET}' is no int")
    assert ActivityTask.objects.filter(heartbeat_details__isnull=False, last_failure__isnull=False).exists()
    for name, status in STATUSES.items():
        assert client.status(f"{OWN}{name}") == client.status(f"{FOREIGN}{name}") == status, name


STATUSES = {
    **dict.fromkeys(("busy", "child", "busy:0003"), "running"),
    **dict.fromkeys(("done", "rewound", "batch", "again"), "completed"),
    "halted": "suspended",
    "failed": "failed",
    **dict.fromkeys(("stalled", "damaged"), "stalled"),
}


def _start(whose: str) -> None:
    client.start("busy", [SECRET], id=f"{whose}busy", headers={"token": SECRET}, tags={"team": "red"})
    client.start("failing", [SECRET], id=f"{whose}failed")
    client.start("failing", [SECRET], id=f"{whose}rewound")
    client.start("done", [SECRET], id=f"{whose}done")
    client.start("busy", [SECRET], id=f"{whose}halted")


def _stall(whose: str) -> None:
    step = f"ActivityScheduled(pay) input={{'args': ['{SECRET}']}}"
    differs = NondeterminismError(seq=2, event_id=0, expected=step, got=step.replace("pay", "buy"))
    InstanceFactory(id=f"{whose}stalled", name="busy", args=(SECRET,), status="stalled", stall=differs)
    InstanceFactory(id=f"{whose}damaged", name="busy", args=(SECRET,), status="stalled", stall=ValueError(SECRET))
    other = FOREIGN if whose == OWN else OWN
    InstanceFactory(id=f"{whose}child", parent_id=f"{other}busy", parent_event_id=90)


def _define(bank: dict[str, bool]) -> None:
    @activity.defn
    def keep(secret: str) -> str:
        return secret

    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def charge(secret: str) -> str:
        if not bank["up"]:
            raise ConnectionError(f"no route to {secret}")
        return secret

    @activity.defn(retry=RetryPolicy(initial_interval=3600))
    def patient(secret: str) -> str:
        activity.heartbeat({"at": secret})
        raise ConnectionError(f"no route to {secret}")

    @workflow.defn
    async def failing(secret: str) -> str:
        return await charge(await keep(secret))

    @workflow.defn
    async def done(secret: str) -> str:
        workflow.set_status({"shown": secret})
        return await keep(secret)

    @workflow.defn
    async def sleeper(secret: str) -> str:
        local = secret
        await workflow.wait_signal("never")
        return local

    @workflow.defn
    async def busy(secret: str) -> Any:
        said = [secret]

        @workflow.query
        def lines() -> list[str]:
            return said

        @workflow.update
        def say(line: str) -> str:
            said.append(line)
            return line

        workflow.set_status({"shown": secret})
        workflow.side_effect(lambda: secret)
        await keep(secret)
        waiting = asyncio.create_task(patient(secret))
        child = asyncio.create_task(sleeper(secret))
        told = await workflow.wait_signal("read")
        await asyncio.gather(waiting, child)
        return told
