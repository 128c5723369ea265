"""The verbs of the API: what they do, refuse and answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection

from durable import RetryPolicy, activity, client, workflow
from durable.api import access, verbs
from durable.models import HistoryEvent, InboxEvent, Instance, Operation
from tests import driving
from tests.api.conftest import EVERY, Api
from tests.api.test_reading import problem


def done(response: Any, status: int = 200) -> Any:
    assert response.status_code == status, response.json()
    return response.json()


def audit() -> list[Any]:
    return list(Operation.objects.order_by("id").values_list("verb", "actor_name", "outcome"))


def written() -> list[Any]:
    return [list(model.objects.values()) for model in (Instance, HistoryEvent, InboxEvent)]


# --- start


def test_start(api, engine, flow, bank):
    bank["up"] = True

    response = api.post("instances/", {"workflow": "flow", "args": [5], "id": "o5", "tags": {"a": 1}, "reason": "why"})

    shown = done(response, 201)
    assert (shown["id"], shown["status"], shown["tags"]) == ("o5", "pending", {"a": 1})
    assert response.headers["Location"] == "http://testserver/api/v1/instances/o5/"
    engine.run_until_quiet()
    assert client.get("o5").result(timeout=0) == "receipt 5"
    (row,) = Operation.objects.all()
    assert (row.verb, row.instance_id, row.actor, row.reason) == ("start", "o5", api.user, "why")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "invalid_request"),
        ([], 400, "invalid_request"),
        ({"workflow": "flwo", "args": [1]}, 404, "unknown_workflow"),
        ({"workflow": "flow", "args": ["five"]}, 400, "invalid_input"),
        ({"workflow": "flow"}, 400, "invalid_input"),
        ({"workflow": "flow", "args": [1], "id": "a\nb"}, 400, "invalid_id"),
        ({"workflow": "flow", "args": [1], "id": ""}, 400, "invalid_request"),
        ({"workflow": "flow", "args": [1], "id": "x" * 256}, 400, "invalid_request"),
        ({"workflow": "flow", "args": [1], "nonsense": 1}, 400, "invalid_request"),
        ({"workflow": "flow", "args": {}}, 400, "invalid_request"),
        ({"workflow": "flow", "args": [1], "delay": "NaN"}, 400, "invalid_request"),
        ({"workflow": "flow", "args": [1], "delay": 1e300}, 400, "invalid_request"),
        ({"workflow": "flow", "args": [1], "tags": {"a": "\0"}}, 400, "invalid_input"),
        ({"workflow": "flow", "args": [1], "tags": {str(n): n for n in range(101)}}, 400, "limit_exceeded"),
        ({"workflow": "flow", "args": [1], "id": "order/1"}, 409, "already_exists"),
    ],
)
def test_start_is_refused(api, failed, body, status, code):
    before = written()

    problem(api.post("instances/", body), status, code)

    assert written() == before


def test_near_names_are_facts(api, flow):
    told = problem(api.post("instances/", {"workflow": "flwo"}), 404, "unknown_workflow")

    assert told["facts"]["near"] == ["flow"]


def test_dry_start_starts_nothing(api, flow):
    yes = done(api.post("instances/?dry_run=true", {"workflow": "flow", "args": [1]}))
    no = done(api.post("instances/?dry_run=true", {"workflow": "flow", "args": ["x"]}))

    assert (yes["allowed"], no["allowed"], no["refusal"]["error"]) == (True, False, "InvalidInput")
    assert not Instance.objects.exists()


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[" * 100_000, b'{"workflow": NaN}', b'"\\ud800"', b"\xff", b'{"workflow": "\\u0000"}', b"null", b"7"],
)
def test_malformed_json_is_refused(api, flow, text):
    response = api.client.post("/api/v1/instances/", text, content_type="application/json")

    assert response.status_code == 400, response.content
    assert response.json()["code"] in ("parse_error", "invalid_request")
    assert not Instance.objects.exists()


def test_requests_are_not_too_large(api, talk, settings):
    settings.DURABLE = {"LIMITS": {"payload": 1000}}

    problem(api.post("instances/", {"workflow": "talk", "args": ["x" * 2000]}), 413, "payload_too_large")
    huge = problem(api.post("instances/", {"workflow": "talk", "args": ["x" * 100_000]}), 413, "payload_too_large")

    assert huge["facts"]["limit"] == 1000 + 65_536
    assert not Instance.objects.exists()


def test_other_media_types_and_methods_are_refused(api, failed):
    form = api.client.post("/api/v1/instances/", "a=b", content_type="application/x-www-form-urlencoded")
    problem(form, 415, "unsupported_media_type")
    for verb in verbs.VERBS:
        assert api.get(f"instances/order%2F1/{verb}/").status_code == 405
    problem(api.client.delete("/api/v1/instances/order%2F1/"), 405, "method_not_allowed")


# --- on an instance


def test_signal(api, engine, waiting):
    done(api.do("talk", "signal", {"name": "go", "payload": {"a": [1]}}))
    engine.run_until_quiet()

    assert waiting.result(timeout=0) == {"a": [1]}
    assert audit() == [("signal", "ada", "done")]


def test_query_and_its_hidden_answer(api, someone, waiting):
    assert done(api.do("talk", "query", {"name": "lines"})) == {"value": ["hush"], "redacted": False}

    blind = Api(someone("view_instance", "operate_instance", name="bob"))
    assert done(blind.do("talk", "query", {"name": "lines"})) == {"value": None, "redacted": True}
    problem(api.do("talk", "query", {"name": "nonsense"}), 400, "invalid_input")


def test_update_goes_on_when_the_wait_is_over(api, engine, waiting):
    body = {"name": "say", "args": ["psst"], "update_id": "u1", "timeout": 0}
    assert done(api.do("talk", "update", body), 202) == {"update_id": "u1", "state": "requested"}
    engine.run_until_quiet()

    assert done(api.do("talk", "update", body)) == {"value": 2, "redacted": False}
    assert audit() == [("update", "ada", "done")] * 2


def test_update_goes_by_its_idempotency_key(api, engine, waiting):
    body = {"name": "say", "args": ["psst"], "timeout": 0}
    first = done(api.do("talk", "update", body, Idempotency_Key="k"), 202)
    engine.run_until_quiet()
    again = done(api.do("talk", "update", body, Idempotency_Key="k"))

    assert again["value"] == 2
    assert client.query("talk", "lines") == ["hush", "psst"]
    assert first["state"] == "requested"


def test_updates_do_not_wait_inside_the_requests_transaction(someone, committing, talk, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    talk.options(id="talk").start("hush")
    committing.run_until_quiet()

    response = Api(someone(*EVERY)).do("talk", "update", {"name": "say", "args": ["psst"], "timeout": 0.01})

    assert done(response, 202)["state"] == "requested"


def test_requests_are_limited_where_the_project_says_so(api, waiting, monkeypatch):
    cache.clear()
    monkeypatch.setattr(access.Throttle, "THROTTLE_RATES", {"durable-write": "2/hour"})

    done(api.do("talk", "suspend"))
    done(api.do("talk", "resume"))

    response = api.do("talk", "suspend")
    problem(response, 429, "throttled")
    assert int(response.headers["Retry-After"]) > 0
    problem(api.post("instances/", {"workflow": "talk", "args": ["a"]}), 429, "throttled")
    assert api.get("instances/talk/").status_code == 200
    cache.clear()


def test_suspend_resume_cancel_terminate(api, engine, waiting):
    assert done(api.do("talk", "suspend", {"reason": "lunch"}))["status"] == "suspended"
    assert done(api.do("talk", "resume"))["status"] == "running"
    done(api.do("talk", "cancel"))
    engine.run_until_quiet()
    assert waiting.status == "canceled"

    problem(api.do("talk", "suspend"), 409, "not_open")
    assert audit() == [(verb, "ada", "done") for verb in ("suspend", "resume", "cancel")] + [
        ("suspend", "ada", "refused")
    ]


def test_terminate(api, waiting):
    assert done(api.do("talk", "terminate", {"reason": "stop"}))["status"] == "terminated"


def test_rewind_and_its_preview(api, engine, failed, bank):
    look = done(api.do("order/1", "rewind", query="?dry_run=true"))
    assert (look["allowed"], [step["name"] for step in look["kept"]]) == (True, ["reserve"])
    assert failed.status == "failed"

    outcome = done(api.do("order/1", "rewind", {"reason": "up again"}))
    engine.run_until_quiet()

    assert (failed.status, bank["charged"]) == ("completed", [1])
    assert outcome["execution_id"] == str(failed.instance.execution_id)
    problem(api.do("order/1", "rewind"), 409, "not_failed")
    refused = done(api.do("order/1", "rewind", query="?dry_run=1"))
    assert (refused["allowed"], refused["refusal"]["error"]) == (False, "NotFailed")


@pytest.mark.parametrize("given", [{"args": [1], "kwargs": {"amount": 7}}, None])
def test_rerun(api, engine, failed, bank, given):
    body: dict[str, Any] = {"event_id": 1, "new_instance_id": "again"}
    response = api.do("order/1", "rerun", body if given is None else {**body, "input": given})
    engine.run_until_quiet()

    shown = done(response, 201)
    assert (shown["id"], shown["rerun_from"], shown["attempt"]) == ("again", "order/1", 1)
    assert response.headers["Location"].endswith("/instances/again/")
    assert bank["charged"] == [7 if given else 1]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "invalid_request"),
        ({"event_id": True}, 400, "invalid_request"),
        ({"event_id": 2**40}, 400, "invalid_request"),
        ({"event_id": 9}, 404, "unknown_event"),
        ({"event_id": 1, "input": {"args": 1, "kwargs": {}}}, 400, "invalid_input"),
        ({"event_id": 1, "new_instance_id": "order/1"}, 400, "invalid_id"),
        ({"event_id": 1, "execution": "x"}, 400, "invalid_request"),
        ({"event_id": 1, "execution": "00000000-0000-0000-0000-000000000000"}, 404, "unknown_execution"),
        ({"event_id": 1, "version": 7}, 409, "version_not_available"),
        ({"event_id": 1, "siblings": "drop"}, 400, "invalid_request"),
    ],
)
def test_rerun_is_refused(api, failed, body, status, code):
    before = written()

    problem(api.do("order/1", "rerun", body), status, code)

    assert written() == before


def test_restart(api, engine, failed):
    shown = done(api.do("order/1", "restart", {"new_instance_id": "fresh"}), 201)
    engine.run_until_quiet()

    assert (shown["id"], client.get("fresh").result(timeout=0)) == ("fresh", "receipt 1")


def test_restore(api, engine, failed):
    old = str(failed.instance.execution_id)
    failed.rewind()
    look = done(api.do("order/1", "restore", {"execution": old}, query="?dry_run=true"))
    outcome = done(api.do("order/1", "restore", {"execution": old, "reason": "by mistake"}))

    assert (look["allowed"], outcome["outcome"], failed.status) == (True, "done", "failed")
    problem(api.do("order/1", "restore", {"execution": "x"}), 400, "invalid_request")
    problem(
        api.do("order/1", "restore", {}), 400, "invalid_input"
    )  # the one before a restore is no outcome to go back to


def test_upgrade_is_refused_with_its_facts(api, failed):
    told = problem(api.do("order/1", "upgrade", {"to": 3}), 409, "version_not_available")

    assert told["facts"] == {"name": "flow", "version": 3, "registered": [0]}


@pytest.mark.parametrize(
    "verb", [verb for verb in verbs.VERBS.values() if verb.answers == "value"], ids=lambda verb: verb.name
)
def test_what_cannot_be_tried_says_so(api, waiting, verb):
    problem(api.do("talk", verb.name, {"name": "lines"}, query="?dry_run=true"), 400, "invalid_request")


def test_dry_signal_signals_nothing(api, engine, waiting):
    assert done(api.do("talk", "signal", {"name": "go"}, query="?dry_run=true"))["allowed"] is True
    engine.run_until_quiet()

    assert waiting.status == "running"
    assert not InboxEvent.objects.exists()


def test_bad_parameters_change_nothing(api, failed):
    problem(api.do("order/1", "rewind", query="?dry_run=maybe"), 400, "invalid_request")
    problem(api.do("order/1", "rewind", query="?dryrun=true"), 400, "invalid_request")
    problem(api.do("order/1", "rewind", {"reason": "x" * 1001}), 400, "invalid_request")
    problem(api.do("order/1", "rewind", {"dry_run": True}), 400, "invalid_request")

    assert failed.status == "failed"


# --- If-Match


def test_stale_head_changes_nothing(api, engine, waiting):
    seen = api.get("instances/talk/").headers["ETag"]
    waiting.suspend()

    response = api.do("talk", "resume", If_Match=seen)

    told = problem(response, 409, "concurrency_conflict")
    assert told["facts"] == {"head": waiting.instance.head, "etag": response.headers["ETag"]}
    assert waiting.status == "suspended"
    done(api.do("talk", "resume", If_Match=f'"other", {response.headers["ETag"]}'))
    assert waiting.status == "running"
    done(api.do("talk", "suspend", If_Match="*"))


def test_a_rewound_instance_has_another_etag(api, failed):
    before = api.get("instances/order%2F1/").headers["ETag"]
    response = api.do("order/1", "rewind", If_Match=before)

    assert done(response)
    assert response.headers["ETag"] != before
    assert problem(api.do("order/1", "rewind", If_Match=before), 409, "concurrency_conflict")


# --- who may not see payloads learns nothing from errors


def test_errors_do_not_quote_payloads_to_those_who_may_not_see_them(someone, engine, fresh):
    @workflow.defn
    async def secretive(code: str) -> None:
        @workflow.update
        def fail() -> None:
            raise ValueError(f"the code is {code}")

        await workflow.wait_signal("go")

    secretive.options(id="s").start("hunter2")
    engine.run_until_quiet()
    blind = Api(someone("view_instance", "operate_instance", "repair_instance"))
    body = {"name": "fail", "update_id": "u", "timeout": 0}
    done(blind.do("s", "update", body), 202)
    engine.run_until_quiet()

    response = blind.do("s", "update", body)

    problem(response, 409, "update_failed")
    assert "hunter2" not in json.dumps(response.json())
    assert not Operation.objects.filter(error__contains="hunter2").exists()
    seeing = Api(someone("view_instance", "view_payload", "operate_instance", name="bob"))
    assert "hunter2" in problem(seeing.do("s", "update", body), 409, "update_failed")["detail"]


@pytest.fixture
def changed(engine, fresh):
    """A failed instance whose code gives an activity another secret by now, and those who may see that and may not."""
    secrets = ["hunter2", "swordfish"]

    @activity.defn
    def login(password: str) -> None: ...

    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def breaks() -> None:
        raise ValueError("down")

    @workflow.defn
    async def secretive() -> None:
        await login(secrets[0])
        await breaks()

    secretive.options(id="s").start()
    engine.run_until_quiet()
    driving.forget(secretive)

    async def other() -> None:
        timer = asyncio.ensure_future(asyncio.sleep(5))  # takes a number, and leaves no event
        await asyncio.sleep(0)
        timer.cancel()
        await login(secrets[1])

    for version in (0, 1):
        workflow.defn(name="secretive", version=version)(other)

    engine.restart()


DIVERGING: dict[str, dict[str, int]] = {
    "rewind": {"to": 1},
    "rerun": {"event_id": 1},
    "what-if": {"event_id": 1},
    "upgrade": {"to": 1},
}


@pytest.mark.usefixtures("changed")
@pytest.mark.parametrize(
    ("verb", "query"),
    [(verb, query) for verb in DIVERGING for query in ("", "?dry_run=true") if not (verb == "what-if" and query)],
)
def test_steps_that_differ_are_told_without_their_arguments(someone, verb, query):
    rights = ("view_instance", "operate_instance", "repair_instance")
    blind, seeing = Api(someone(*rights)), Api(someone(*rights, "view_payload", name="bob"))
    told, whole = (api.do("s", verb, DIVERGING[verb], query).json() for api in (blind, seeing))

    for answer in (told, whole):
        assert "ActivityScheduled(login" in json.dumps(answer)
    assert "hunter2" in json.dumps(whole)
    assert "hunter2" not in json.dumps(told)
    assert "hunter2" not in json.dumps(blind.get("audit/").json())
