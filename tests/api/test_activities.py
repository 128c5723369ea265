"""Activities that are completed over the API, by whoever has their token and the permission."""

from __future__ import annotations

import pytest
from django.core.cache import cache as requests

from durable import RetryPolicy, activity, client, workflow
from durable.api import access
from durable.models import ActivityTask, HistoryEvent, Operation
from tests.api.conftest import EVERY, Api
from tests.api.test_reading import problem
from tests.api.test_verbs import done


@pytest.fixture
def asked(engine, fresh):
    """An instance that waits for somebody outside, and the token of what it waits for."""
    tokens = []

    @activity.defn(retry=RetryPolicy(max_attempts=2, initial_interval=1000))
    def sign() -> str:
        tokens.append(activity.complete_later())
        return ""

    @workflow.defn
    async def contract() -> str:
        return await sign()

    handle = contract.options(id="contract").start()
    engine.run_until_quiet()
    return handle, tokens[0]


def test_complete(api, engine, asked):
    handle, token = asked

    shown = done(api.post("activities/complete/", {"token": token, "result": "signed", "reason": "by letter"}))

    assert (shown["id"], shown["status"]) == ("contract", "running")
    engine.run_until_quiet()
    assert handle.result(timeout=0) == "signed"
    (row,) = Operation.objects.all()
    assert (row.verb, row.instance_id, row.actor, row.reason) == ("complete", "contract", api.user, "by letter")
    assert (row.outcome, "signed" in str(row.arguments)) == ("done", False)


def test_fail(api, asked):
    _, token = asked

    done(api.post("activities/fail/", {"token": token, "error": "nobody signs"}))

    (task,) = ActivityTask.objects.all()
    assert (task.state, task.attempt, task.last_failure["message"]) == ("ready", 2, "nobody signs")
    assert [row.verb for row in Operation.objects.all()] == ["fail"]


@pytest.mark.parametrize(("verb", "more"), [("complete", {"result": 1}), ("fail", {"error": "no"})])
def test_dry_run_changes_nothing(api, asked, verb, more):
    _, token = asked
    before = list(HistoryEvent.objects.values()), list(ActivityTask.objects.values())

    shown = done(api.post(f"activities/{verb}/?dry_run=true", {"token": token, **more}))

    assert (shown["verb"], shown["instance_id"], shown["allowed"]) == (verb, "contract", True)
    assert (list(HistoryEvent.objects.values()), list(ActivityTask.objects.values())) == before


def test_the_same_key_gets_the_same_answer(api, engine, asked):
    _, token = asked
    first = api.post("activities/complete/", {"token": token, "result": 1}, Idempotency_Key="k")
    again = api.post("activities/complete/", {"token": token, "result": 1}, Idempotency_Key="k")

    assert done(first) == done(again)
    assert again.headers["Idempotent-Replayed"] == "true"
    problem(api.post("activities/complete/", {"token": token, "result": 1}), 404, "unknown_token")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "invalid_request"),
        ({"token": "nonsense"}, 400, "invalid_input"),
        ({"token": "0198f0c4-7e1a-7c3e-9f55-0d8f4f0f3f1b:0:1:7"}, 400, "invalid_input"),
        ({"token": "0198f0c4-7e1a-7c3e-9f55-0d8f4f0f3f1b:0:1:7:5f3c"}, 404, "unknown_token"),
        ({"token": "x", "results": 1}, 400, "invalid_request"),
    ],
)
def test_what_is_no_token_is_refused(api, asked, body, status, code):
    problem(api.post("activities/complete/", body), status, code)


def used(api, token):
    done(api.post("activities/complete/", {"token": token}))


def expired(api, token):
    client.fail_activity(token, "out of time")


def terminated(api, token):
    client.terminate("contract")


def untouched(api, token):
    pass


@pytest.mark.parametrize("verb", ["complete", "fail"])
@pytest.mark.parametrize("before", [untouched, used, expired, terminated])
def test_who_may_not_see_the_instance_cannot_tell_a_token_from_a_wrong_one(api, someone, asked, before, verb):
    _, token = asked
    before(api, token)
    eve = Api(someone("operate_instance", name="eve"))
    wrong = f"{token[:-4]}5f3c"

    def told(given: str, query: str = "") -> tuple[bytes, dict[str, str]]:
        answer = eve.post(f"activities/{verb}/{query}", {"token": given, **({"error": "no"} if verb == "fail" else {})})
        problem(answer, 404, "unknown_token")
        return answer.content.replace(given.encode(), b"TOKEN"), dict(answer.headers) | {"Content-Length": ""}

    assert told(token) == told(wrong) == told(token, "?dry_run=true")
    assert "contract" not in told(token)[0].decode()


@pytest.mark.parametrize("before", [used, expired])
def test_token_that_is_used_or_void_tells_those_who_see_all_only_that(api, asked, before):
    _, token = asked
    before(api, token)

    told = problem(api.post("activities/complete/", {"token": token, "result": 2}), 404, "unknown_token")

    assert told["facts"]["token"] == token
    assert "contract" not in str(told)


def test_tokens_can_be_tried_so_often_only(api, asked, monkeypatch):
    requests.clear()
    monkeypatch.setattr(access.Throttle, "THROTTLE_RATES", {"durable-write": "2/day"})
    _, token = asked

    for at in range(2):
        problem(api.post("activities/complete/", {"token": f"{token[:-1]}{at}g"}), 404, "unknown_token")
    for verb, body in (("complete", {"token": token}), ("fail", {"token": token, "error": "no"})):
        answer = api.post(f"activities/{verb}/", body)
        problem(answer, 429, "throttled")
        assert int(answer.headers["Retry-After"]) > 0
    assert ActivityTask.objects.get().state == "external"
    requests.clear()


def test_who_may_not_see_the_instance_knows_no_token(someone, asked):
    _, token = asked

    problem(Api(someone(name="eve")).post("activities/complete/", {"token": token}), 404, "unknown_token")


@pytest.mark.parametrize(("verb", "more"), [("complete", {}), ("fail", {"error": "no"})])
def test_who_may_not_operate_is_denied_and_audited(someone, asked, verb, more):
    _, token = asked
    others = [name for name in EVERY if name != "operate_instance"]

    problem(
        Api(someone(*others, name="bob")).post(f"activities/{verb}/", {"token": token, **more}),
        403,
        "permission_denied",
    )

    assert [(row.verb, row.actor_name, row.outcome) for row in Operation.objects.all()] == [(verb, "bob", "denied")]
