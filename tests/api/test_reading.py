"""Lists and pages of the API: what they show, and to whom."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from durable import UnknownInstance, client
from durable.client import batching
from durable.models import Instance, Operation, Worker
from durable.store import clock, workers
from durable.testing.factories import InstanceFactory
from tests import driving
from tests.api.conftest import Api


def ids(response):
    assert response.status_code == 200, response.json()
    return [row["id"] for row in response.json()["results"]]


def problem(response, status, code):
    assert (response.status_code, response.json()["code"]) == (status, code), response.json()
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["status"] == status
    return response.json()


# --- instances


def test_instance_is_shown_with_its_payloads_and_its_etag(api, failed):
    response = api.get("instances/order%2F1/")

    shown = response.json()
    assert (shown["id"], shown["workflow"], shown["status"]) == ("order/1", "flow", "failed")
    assert shown["input"] == {"args": [1], "kwargs": {}}
    assert shown["failure"]["cause"]["message"] == "down"
    assert (shown["tags"], shown["attempt"], shown["redacted"]) == ({"customer": 42}, 0, False)
    assert response.headers["ETag"] == f'"{failed.instance.execution_id.hex}-{failed.instance.head}"'


def test_payloads_are_hidden_without_their_permission(someone, failed):
    api = Api(someone("view_instance"))

    shown = api.get("instances/order%2F1/").json()
    events = api.get("instances/order%2F1/history/").json()["results"]

    assert [shown[name] for name in ("input", "result", "failure", "custom_status", "headers")] == [None] * 5
    assert shown["redacted"] is True
    assert {event["data"] for event in events} == {None}
    assert "down" not in api.get("instances/order%2F1/").content.decode()


def test_list_has_no_payloads(api, failed):
    (row,) = api.get("instances/").json()["results"]

    assert {"input", "result", "failure", "custom_status", "headers"}.isdisjoint(row)
    assert row["url"] == "http://testserver/api/v1/instances/order%252F1/"


@pytest.mark.parametrize("given", ["a/history", "50%", "a%2Fb", "ü/ß ", "..", ".", "a?b#c", "x/", "//"])
def test_links_lead_to_whatever_id(api, given):
    InstanceFactory(id=given)
    InstanceFactory(id="a")

    link = next(row["url"] for row in api.get("instances/").json()["results"] if row["id"] == given)

    assert api.client.get(link).json()["id"] == given


def test_only_the_fields_that_are_asked_for_are_shown(api, failed):
    assert api.get("instances/", fields="id,status").json()["results"] == [{"id": "order/1", "status": "failed"}]
    assert api.get("instances/order%2F1/", fields="id").json() == {"id": "order/1"}

    problem(api.get("instances/", fields="id,nonsense"), 400, "invalid_request")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"instances/order%2F1/{view}/", field)
        for view, field in [("explain", "seq"), ("why", "verdict"), ("lineage", "ancestors"), ("compare", "counts")]
    ]
    + [("health/", "healthy"), ("failure-groups/", "count"), ("batches/own/", "verb"), ("versions/", "name")]
    + [("definitions/", "name"), ("workers/", "pid"), ("audit/", "verb"), ("batches/", "id")],
)
def test_every_answer_can_be_sparse(api, engine, failed, path, field):
    driving.register_all(batching)
    client.batch("cancel", ["order/1"], id="own", actor=api.user)
    failed.restart(new_instance_id="b")
    workers.beat(["default"])
    query = {"with": "b"} if "compare" in path else {}

    answer = api.get(path, fields=field, **query)
    assert answer.status_code == 200, answer.json()
    found = answer.json()
    rows = found if isinstance(found, list) else found.get("results", [found])
    assert rows
    assert all(row.keys() == {field} for row in rows)
    problem(api.get(path, fields="nonsense", **query), 400, "invalid_request")


def test_hidden_payloads_stay_hidden_when_asked_for(someone, failed):
    shown = Api(someone("view_instance")).get("instances/order%2F1/", fields="input").json()

    assert shown == {"input": None}


def test_unknown_instance_is_404(api):
    for path in ("instances/no/", "instances/no/history/", "instances/no/children/", "instances/a%00b/"):
        assert "no instance" in problem(api.get(path), 404, "unknown_instance")["detail"]


def test_nobody_sees_nothing(db, failed):
    for path in ("instances/", "instances/order%2F1/", "health/"):
        assert Api(None).get(path).status_code in (401, 403)


def test_only_json_is_answered(api, failed):
    problem(api.client.get("/api/v1/instances/", headers={"Accept": "text/html"}), 406, "not_acceptable")
    for path in ("instances/", "instances/order%2F1/", "instances/order%2F1/rewind/", "recover/"):
        asked = api.client.options(f"/api/v1/{path}")
        assert (asked.status_code, asked.content) == (204, b"")
    assert api.client.head("/api/v1/instances/order%2F1/").headers["ETag"]


# --- filters


@pytest.fixture
def some(db):
    start = datetime(2027, 1, 1, tzinfo=UTC)
    parent = InstanceFactory(id="p", name="big", status="running", created_at=start)
    InstanceFactory(
        id="a", name="small", version=2, status="failed", queue="slow", tags={"kind": "x", "n": 7},
        created_at=start + timedelta(days=1), closed_at=start + timedelta(days=3),
    )  # fmt: skip
    InstanceFactory(
        id="b", name="small", status="completed", attempt=2, rerun_from="a", tags={"kind": "y", "n": "7"},
        created_at=start + timedelta(days=2), closed_at=start + timedelta(days=2),
    )  # fmt: skip
    Instance.objects.filter(pk="b").update(parent=parent)
    return start


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["b", "a", "p"]),
        ({"status": "failed"}, ["a"]),
        ({"status": ["failed", "running"]}, ["a", "p"]),
        ({"workflow": "small"}, ["b", "a"]),
        ({"workflow": "small", "version": 2}, ["a"]),
        ({"queue": "slow"}, ["a"]),
        ({"tag": "kind:x"}, ["a"]),
        ({"tag": "n:7"}, ["b", "a"]),
        ({"tag": ["n:7", "kind:y"]}, ["b"]),
        ({"id_prefix": "a"}, ["a"]),
        ({"parent": "p"}, ["b"]),
        ({"has_parent": "true"}, ["b"]),
        ({"has_parent": "false"}, ["a", "p"]),
        ({"rerun_from": "a"}, ["b"]),
        ({"attempt": 2}, ["b"]),
        ({"attempt_min": 1}, ["b"]),
        ({"created_since": "2027-01-02T00:00:00Z"}, ["b", "a"]),
        ({"created_before": "2027-01-02T00:00:00Z"}, ["p"]),
        ({"closed_since": "2027-01-04T00:00:00Z"}, ["a"]),
        ({"closed_before": "2027-01-04T00:00:00Z"}, ["b"]),
        ({"ordering": "id"}, ["a", "b", "p"]),
        ({"ordering": "-id"}, ["p", "b", "a"]),
        ({"ordering": "created_at"}, ["p", "a", "b"]),
        ({"ordering": "closed_at"}, ["b", "a"]),
    ],
)
def test_filters_and_orders(api, some, query, found):
    assert ids(api.get("instances/", **query)) == found


@pytest.mark.parametrize(
    "query",
    [
        {"status": "nonsense"},
        {"version": "two"},
        {"version": -1},
        {"version": 2**31},
        {"attempt": "1.5"},
        {"statsu": "failed"},
        {"created_since": "yesterday"},
        {"created_since": "0001-01-01T00:00:00+14:00"},
        {"closed_before": "9999-12-31T23:59:59-14:00"},
        {"tag": "kind"},
        {"workflow": "a\0b"},
        {"tag": "a:\0"},
        {"tag": ["a:1", 'b:"\\u0000"']},
        {"ordering": "input"},
        {"ordering": "--id"},
        {"workflow": ""},
        {"status": ""},
        {"limit": 0},
        {"limit": 1001},
        {"limit": "many"},
    ],
)
def test_what_is_no_filter_is_refused(api, some, query):
    assert next(iter(query)) in problem(api.get("instances/", **query), 400, "invalid_request")["errors"]


def test_lists_come_in_pages(api, some):
    first = api.get("instances/", limit=2).json()
    second = api.client.get(first["next"]).json()

    assert [row["id"] for row in first["results"] + second["results"]] == ["b", "a", "p"]
    assert (first["previous"], second["next"]) == (None, None)


@pytest.mark.parametrize("cursor", ["x", "cD1ub25zZW5zZQ==", "cD1hAGI=", "bz05OTk5OTk5OTk5OTk5OTk5OTk5"])
def test_made_up_cursors_are_refused(api, some, cursor):
    response = api.get("instances/", cursor=cursor)

    assert response.status_code in (200, 404)


# --- what belongs to an instance


def test_history_comes_in_parts(api, failed):
    whole = api.get("instances/order%2F1/history/").json()
    first = api.get("instances/order%2F1/history/", limit=3).json()
    rest = api.client.get(first["next"]).json()

    assert [event["kind"] for event in whole["results"]] == [event.kind for event in failed.history()]
    assert first["results"] + rest["results"] == whole["results"]
    assert (whole["next"], rest["next"]) == (None, None)
    assert [event["event_id"] for event in whole["results"] if event["rerunnable"]] == [0, 1]


def test_history_of_chosen_events(api, failed):
    shown = api.get("instances/order%2F1/history/", kind=["ActivityScheduled"], fields="name").json()["results"]
    assert shown == [{"name": "reserve"}, {"name": "charge"}]

    problem(api.get("instances/order%2F1/history/", after="x"), 400, "invalid_request")
    problem(api.get("instances/order%2F1/history/", execution="x"), 404, "unknown_execution")


def test_executions_of_an_instance(api, engine, failed):
    failed.rewind()

    shown = api.get("instances/order%2F1/executions/").json()["results"]

    assert [(row["number"], row["origin"]) for row in shown] == [(2, "rewind"), (1, "start")]
    assert shown[0]["source"] == shown[1]["id"]
    old = api.get("instances/order%2F1/history/", execution=shown[1]["id"]).json()["results"]
    assert old[-1]["kind"] == "ExecutionFailed"


def test_children_of_an_instance(api, some):
    assert ids(api.get("instances/p/children/")) == ["b"]
    assert ids(api.get("instances/p/children/", status="failed")) == []


# --- the rest


def test_versions_and_definitions(api, failed):
    (version,) = [row for row in api.get("versions/").json() if row["name"] == "flow"]
    found = {row["type"]: row for row in api.get("definitions/").json()}

    assert (version["registered"], version["closed"], version["safe_to_delete"]) == (True, 1, False)
    assert (found["flow"]["kind"], found["flow"]["doc"]) == ("workflow", "Sell something.")
    assert found["charge"]["parameters"] == [
        {"name": "order", "annotation": "int", "required": True},
        {"name": "amount", "annotation": "int", "required": False},
    ]


def test_health_names_what_is_missing(api, failed):
    sick = api.get("health/").json()
    workers.sweep(["default"])
    well = api.get("health/").json()

    assert (sick["healthy"], sick["workers"]) == (False, 0)
    assert "No worker" in sick["problems"][0]
    assert well == {"healthy": True, "problems": [], "workers": 1, "sweeping": 1, "stalled": 0}
    assert [row["alive"] for row in api.get("workers/").json()] == [True]


@pytest.mark.parametrize("path", ["versions/", "definitions/", "workers/"])
def test_short_lists_come_in_parts_for_who_asks_for_them(api, failed, path):
    InstanceFactory(name="other")
    now = clock.now()
    for n in range(3):
        Worker.objects.create(id=n, hostname="h", pid=n, queues=[], started_at=now, heartbeat_at=now)
    whole = api.get(path).json()
    assert len(whole) > 1

    parts = [api.get(path, limit=1, offset=n).json() for n in range(len(whole) + 1)]

    assert parts == [*([each] for each in whole), []]
    for wrong in ({"limit": 0}, {"limit": 1001}, {"offset": -1}, {"limit": "many"}, {"page": 1}):
        assert problem(api.get(path, **wrong), 400, "invalid_request")


def test_workers_alive_are_listed_first(api, db):
    for n, ago in enumerate([900, 0, 600]):
        at = clock.now() - timedelta(seconds=ago)
        Worker.objects.create(id=n, hostname="h", pid=n, queues=[], started_at=at, heartbeat_at=at)

    assert [(row["pid"], row["alive"]) for row in api.get("workers/").json()] == [(1, True), (2, False), (0, False)]


def test_audit_is_listed_and_filtered(api, failed):
    failed.rewind(reason="the bank is back", actor="bob")
    with pytest.raises(UnknownInstance):
        client.rewind("no", actor="eve")

    rows = api.get("audit/").json()["results"]

    assert [(row["verb"], row["actor"], row["outcome"]) for row in rows] == [
        ("rewind", "eve", "refused"),
        ("rewind", "bob", "done"),
    ]
    assert [row["actor"] for row in api.get("audit/", outcome="done").json()["results"]] == ["bob"]
    assert [row["actor"] for row in api.get("audit/", instance="no").json()["results"]] == ["eve"]
    assert Operation.objects.count() == 2


def test_no_cache_keeps_what_is_answered(api, failed, settings):
    settings.MIDDLEWARE = ["django.middleware.http.ConditionalGetMiddleware", *settings.MIDDLEWARE]
    for path in ("instances/order%2F1/", "instances/", "instances/none/", "health/"):
        assert api.get(path).headers["Cache-Control"] == "no-store", path
