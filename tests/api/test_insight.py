"""Explanations, reasons and comparisons over the API, with payloads and without."""

from __future__ import annotations

import json

import pytest

from tests.api.conftest import Api
from tests.api.test_reading import problem
from tests.api.test_verbs import done


@pytest.fixture
def blind(someone):
    return Api(someone("view_instance", name="bob"))


def test_explain_shows_variables(api, waiting):
    told = done(api.get("instances/talk/explain/"))

    (task,) = told["tasks"]
    assert task["waits"]["kind"] == "signal"
    assert task["stack"][0]["variables"]["secret"] == "'hush'"
    assert (told["trouble"], told["redacted"]) == (None, False)
    assert done(api.get("instances/talk/explain/", at=1))["seq"] == 1
    problem(api.get("instances/talk/explain/", at=99), 400, "invalid_input")
    problem(api.get("instances/talk/explain/", at=-1), 400, "invalid_request")
    problem(api.get("instances/talk/explain/", at_="1"), 400, "invalid_request")


def test_explain_without_payloads(blind, waiting):
    response = blind.get("instances/talk/explain/")

    told = done(response)
    assert (told["tasks"][0]["stack"][0]["variables"], told["redacted"]) == ({}, True)
    assert told["tasks"][0]["stack"][0]["omitted"] >= 1
    assert "hush" not in json.dumps(told)


def test_why(api, blind, waiting):
    told = done(api.get("instances/talk/why/"))

    assert [reason["kind"] for reason in told["reasons"]] == ["no_sweep", "signal"] or told["reasons"]
    assert told["verdict"].startswith(told["reasons"][0]["text"][:-1])
    assert done(blind.get("instances/talk/why/"))["verdict"] == told["verdict"]


def test_why_does_not_quote_failures_to_those_who_may_not_see_them(api, blind, engine, failed):
    assert "down" in done(api.get("instances/order%2F1/why/"))["verdict"]

    told = done(blind.get("instances/order%2F1/why/"))
    assert "down" not in json.dumps(told)
    assert (told["reasons"][0]["kind"], told["redacted"]) == ("closed", True)


def test_compare(api, blind, engine, failed):
    failed.restart(new_instance_id="b")
    engine.run_until_quiet()

    told = done(api.get("instances/order%2F1/compare/", **{"with": "b"}))

    assert (told["is_same"], told["a"]["status"], told["b"]["status"]) == (False, "failed", "completed")
    assert told["counts"]["same"] >= 3
    assert any(event["a"]["data"] for event in told["events"] if event["a"])
    hidden = done(blind.get("instances/order%2F1/compare/", **{"with": "b"}))
    assert {event[side]["data"] for event in hidden["events"] for side in "ab" if event[side]} == {None}
    problem(api.get("instances/order%2F1/compare/"), 400, "invalid_request")
    problem(api.get("instances/order%2F1/compare/", **{"with": "no"}), 404, "unknown_instance")


def test_stalls_are_shown_without_what_they_quote(api, blind, waiting):
    stall = {"reason": "poison", "error": "ValueError", "message": "hunter2", "traceback": "hunter2"}
    type(waiting.instance).objects.filter(pk="talk").update(status="stalled", stall=stall)

    assert done(api.get("instances/talk/"))["stall"] == stall
    for path in ("instances/talk/", "instances/", "instances/talk/why/", "failure-groups/"):
        response = blind.get(path)
        assert response.status_code == 200
        assert "hunter2" not in response.content.decode()


def test_lineage(api, failed):
    failed.restart(new_instance_id="b")

    told = done(api.get("instances/b/lineage/"))

    assert [each["instance_id"] for each in told["ancestors"]] == ["order/1"]
    assert [each["instance_id"] for each in done(api.get("instances/order%2F1/lineage/"))["descendants"]] == ["b"]


def test_what_if(api, someone, failed, bank):
    body = {"event_id": 1, "input": {"args": [1], "kwargs": {"amount": 7}}, "mocks": {"1": "imagined"}}
    told = done(api.do("order/1", "what-if", body))

    assert (told["status"], told["result"], told["redacted"]) == ("completed", "imagined", False)
    assert (failed.status, bank["charged"]) == ("failed", [])
    by_name = done(api.do("order/1", "what-if", {"event_id": 1, "mocks": {"charge": "by name"}}))
    assert by_name["result"] == "by name"

    repairer = Api(someone("view_instance", "repair_instance", name="eve"))
    hidden = done(repairer.do("order/1", "what-if", body))
    assert (hidden["status"], hidden["result"], hidden["redacted"]) == ("completed", None, True)
    assert "imagined" not in json.dumps(hidden)
    problem(api.do("order/1", "what-if", {"event_id": 9}), 404, "unknown_event")
    problem(api.do("order/1", "what-if", body, query="?dry_run=true"), 400, "invalid_request")
