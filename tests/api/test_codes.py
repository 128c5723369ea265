"""Every code that is documented is the answer to some request, or the reference says why it is none."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from django.core.cache import cache as requests
from django.db import connection
from django.test import override_settings
from rest_framework.test import APIClient

from durable import client, conf, errors, registry, workflow
from durable.api import problems
from durable.api.access import Throttle
from durable.engine import cache
from durable.models import HistoryEvent
from durable.store import answers
from tests.api.conftest import EVERY, Api
from tests.api.test_reading import problem
from tests.test_docs import REFERENCE
from tests.test_docs import rows as table


@pytest.fixture
def api(engine, someone, failed, bank):
    """An API with ``order/1``, which failed, ``again``, rewound since, and ``asked``, which takes updates."""

    @workflow.defn
    async def asked() -> Any:
        @workflow.query
        def touch() -> None:
            workflow.set_status("touched")

        @workflow.query
        def reach() -> None:
            open("/etc/hostname")  # noqa: SIM115 - what is refused

        @workflow.update
        def fails(secret: str) -> None:
            raise ValueError(secret)

        @workflow.query
        def bursts(secret: str) -> None:
            raise ValueError(secret)

        async def later() -> None: ...

        @workflow.query
        def waits() -> Any:
            return later()

        @workflow.query
        def spins() -> None:
            while True:
                pass

        def refuse() -> None:
            raise ValueError("no")

        @workflow.update(validator=refuse)
        def rejects() -> None: ...

        return await workflow.wait_signal("go")

    @workflow.defn
    async def marks() -> None:
        workflow.side_effect(lambda: 1)

    client.start("marks", id="marks")
    client.start("flow", [2], id="again")
    client.start("asked", id="asked")
    bank["up"] = False
    engine.run_until_quiet()
    bank["up"] = True
    client.rewind("again")
    for name, args in (("fails", ["a"]), ("rejects", [])):
        with pytest.raises(errors.UpdateTimeout):
            client.update("asked", name, *args, update_id=name, timeout=0)
    engine.run_until_quiet()
    assert client.status("again") == "completed"
    return Api(someone(*EVERY))


def _spoil(table: str, column: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {column} = '['")  # noqa: S608


def _changed(api: Api) -> Any:
    """Have other code than what the history records."""
    registry.unregister_workflow("flow", 0)

    @workflow.defn
    async def flow(order: int) -> None:
        await workflow.activity_by_name("other")(order)

    return api.do("order/1", "rewind")


def _patched(api: Api) -> Any:
    """Have code that deprecates a patch and asks for it."""
    registry.unregister_workflow("asked", 0)
    cache.clear()

    @workflow.defn
    async def asked() -> None:
        workflow.deprecate_patch("p")
        workflow.patched("p")
        await workflow.wait_signal("go")

    return api.do("asked", "query", {"name": "touch"})


def _runaway(api: Api) -> Any:
    with override_settings(DURABLE={"STEP_TIMEOUT": 0.05}):
        return api.do("asked", "query", {"name": "spins"})


def _undecodable_event(api: Api) -> Any:
    HistoryEvent.objects.filter(execution__instance="order/1", seq=2).update(kind="Nothing")
    return api.do("order/1", "rewind")


def _undecodable_payload(api: Api) -> Any:
    _spoil("durable_instance", "input")
    return api.get("instances/order%2F1/")


def _throttled(api: Api) -> Any:
    requests.clear()
    with mock.patch.object(Throttle, "THROTTLE_RATES", {"durable-read": "1/day"}):
        api.get("health/")
        answer = api.get("health/")
    requests.clear()
    return answer


def _unknown_workflow(api: Api) -> Any:
    return api.post("instances/", {"workflow": "flwo"})


def _reused(api: Api) -> Any:
    api.post("instances/", {"workflow": "flow", "args": [1]}, Idempotency_Key="k")
    return api.post("instances/", {"workflow": "flow", "args": [2]}, Idempotency_Key="k")


def _in_use(api: Api) -> Any:
    with mock.patch.object(answers, "claim", return_value=None):
        return api.post("instances/", {"workflow": "flow", "args": [1]}, Idempotency_Key="k")


def _update(name: str, **more: Any) -> Callable[[Api], Any]:
    return lambda api: api.do("asked", "update", {"name": name, "update_id": name, "timeout": 0, **more})


def _large(api: Api) -> Any:
    return api.do("asked", "signal", {"name": "go", "payload": "x" * conf.limit("payload")})


def _many_tags(api: Api) -> Any:
    return api.post("instances/", {"workflow": "flow", "args": [1], "tags": {str(n): n for n in range(1000)}})


NONE = "0198f0c4-7e1a-7c3e-9f55-0d8f4f0f3f1b"

REACHED: dict[str, Callable[[Api], Any]] = {
    "already_exists": lambda api: api.post("instances/", {"workflow": "flow", "args": [1], "id": "order/1"}),
    "authentication_failed": lambda api: APIClient().get(
        "/api/v1/health/", headers={"Authorization": "Basic bm9ib2R5Om5vdGhpbmc="}
    ),
    "concurrency_conflict": lambda api: api.do("order/1", "rewind", If_Match='"other"'),
    "forbidden_in_workflow": lambda api: api.do("asked", "query", {"name": "reach"}),
    "idempotency_key_in_use": _in_use,
    "idempotency_key_reused": _reused,
    "in_transaction": lambda api: api.do("asked", "update", {"name": "fails", "args": ["b"], "timeout": 1}),
    "invalid_id": lambda api: api.do("order/1", "restart", {"new_instance_id": "a\x1b"}),
    "invalid_input": lambda api: api.post("instances/", {"workflow": "flow", "args": []}),
    "invalid_request": lambda api: api.do("order/1", "rewind", {"nothing": 1}),
    "limit_exceeded": _many_tags,
    "method_not_allowed": lambda api: api.post("health/"),
    "nondeterminism_error": _changed,
    "not_an_activity": lambda api: api.do("marks", "rerun", {"event_id": 0}),
    "not_authenticated": lambda api: Api(None).get("health/"),
    "not_closed": lambda api: api.do("asked", "restart"),
    "not_failed": lambda api: api.do("again", "rewind"),
    "not_found": lambda api: api.get("instances/", cursor="cD14"),
    "not_open": lambda api: api.do("again", "signal", {"name": "go"}),
    "parse_error": lambda api: api.client.post("/api/v1/instances/", "{", content_type="application/json"),
    "payload_too_large": _large,
    "not_acceptable": lambda api: api.client.get("/api/v1/health/", headers={"Accept": "text/html"}),
    "patch_reused": _patched,
    "permission_denied": lambda api: Api(type(api.user).objects.create(username="bob")).get("health/"),
    "query_failed": lambda api: api.do("asked", "query", {"name": "bursts", "args": ["hunter"]}),
    "invalid_definition": lambda api: api.do("asked", "query", {"name": "waits"}),
    "runaway_step": _runaway,
    "read_only": lambda api: api.do("asked", "query", {"name": "touch"}),
    "throttled": _throttled,
    "undecodable_event": _undecodable_event,
    "undecodable_payload": _undecodable_payload,
    "unknown_event": lambda api: api.do("order/1", "rerun", {"event_id": 99}),
    "unknown_execution": lambda api: api.get("instances/order%2F1/history/", execution=NONE),
    "unknown_instance": lambda api: api.get("instances/none/"),
    "unknown_token": lambda api: api.post("activities/complete/", {"token": f"{NONE}:2:1:77:5f3c"}),
    "unknown_workflow": _unknown_workflow,
    "unsupported_media_type": lambda api: api.client.post("/api/v1/recover/", "a=b", content_type="text/plain"),
    "update_failed": _update("fails"),
    "update_rejected": _update("rejects"),
    "version_not_available": lambda api: api.do("order/1", "upgrade", {"to": 9}),
    "work_would_be_lost": lambda api: api.do("again", "restore"),
}


def listed(title: str) -> dict[str, list[str]]:
    return table(REFERENCE / "rest-api.md", title)


def never() -> set[str]:
    """Return the codes of which the reference says why they are no answers."""
    return {code for cell in listed("Codes that are no answers") for code in re.findall(r"\w+", cell)}


@pytest.mark.parametrize("code", sorted(REACHED))
def test_code_is_the_answer_to_a_request(api, code):
    answer = REACHED[code](api)

    told = problem(answer, answer.status_code, code)
    status = listed("Codes").get(code, ["409"])[0]
    assert str(answer.status_code) in status
    assert told["detail"]
    assert len(told["detail"]) < 2000


def test_every_code_is_reached_or_said_to_be_out_of_reach():
    errors_of_ours = {problems.code_of(getattr(errors, name)) for name in errors.__all__}

    assert not REACHED.keys() & never()
    assert REACHED.keys() | never() == errors_of_ours | listed("Codes").keys()
    assert listed("Codes").keys() <= REACHED.keys()


def test_what_a_query_raised_is_not_told_to_those_who_may_not_see_payloads(api, someone):
    body = {"name": "bursts", "args": ["hunter"]}
    quiet = Api(someone("view_instance", "operate_instance", name="bob"))

    assert problem(api.do("asked", "query", body), 409, "query_failed")["detail"] == (
        "query 'bursts' raised ValueError: hunter"
    )
    assert problem(quiet.do("asked", "query", body), 409, "query_failed")["detail"] == "query 'bursts' raised ***"
