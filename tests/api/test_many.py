"""Batches, groups of failures and recovery over the API."""

from __future__ import annotations

import json

import pytest

from durable import client
from durable.models import BatchItem, Instance, Operation
from tests.api.conftest import EVERY, Api
from tests.api.test_reading import ids, problem
from tests.api.test_verbs import done


@pytest.fixture
def flows(engine, flow, bank, batches):
    for number in range(3):
        flow.options(id=f"f{number}").start(number)
    engine.run_until_quiet()
    bank["up"] = True


@pytest.fixture
def batches(fresh):
    """The workflow that a batch is, which tests begin without."""
    from durable.client import batching  # noqa: PLC0415
    from tests import driving  # noqa: PLC0415

    driving.register_all(batching)


def test_batch(api, engine, flows, bank):
    response = api.post("batches/", {"verb": "rewind", "ids": ["f0", "f1", "no"], "id": "b", "reason": "up"})
    engine.run_until_quiet()

    assert done(response, 201)["total"] == 3
    report = done(api.client.get(response.headers["Location"]))
    assert (report["status"], report["counts"]) == ("completed", {"done": 2, "refused": 1})
    assert [item["instance_id"] for item in done(api.get("batches/b/", outcome="refused"))["items"]] == ["no"]
    assert ids(api.get("batches/")) == ["b"]
    assert bank["charged"] == [1, 1]
    assert set(Operation.objects.filter(verb="rewind").values_list("actor_name", flat=True)) == {"ada"}


def test_batch_of_a_failure_group_tried_first(api, engine, flows):
    (group,) = done(api.get("failure-groups/"))
    assert (group["count"], group["workflow"], group["message"]) == (3, "flow", "down")

    look = done(api.post("batches/?dry_run=true", {"verb": "rewind", "filter": group["filter"]}), 201)
    engine.run_until_quiet()
    assert done(api.get(f"batches/{look['batch_id']}/"))["counts"] == {"done": 3}
    assert Instance.objects.filter(status="failed").count() == 3

    again = done(api.post(f"batches/{look['batch_id']}/retry/", {"outcomes": ["done"]}), 201)
    engine.run_until_quiet()
    assert done(api.get(f"batches/{again['batch_id']}/"))["counts"] == {"done": 3}
    assert not Instance.objects.filter(status="failed").exists()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"verb": "dance", "ids": ["a"]}, 400, "invalid_request"),
        ({"verb": "rewind"}, 400, "invalid_request"),
        ({"verb": "rewind", "ids": ["a"], "filter": {"id": "a"}}, 400, "invalid_request"),
        ({"verb": "rewind", "ids": ["a"], "arguments": {"actor": "root"}}, 400, "invalid_request"),
        ({"verb": "rewind", "ids": ["a"], "arguments": {"nonsense": 1}}, 400, "invalid_input"),
        ({"verb": "rewind", "filter": {}}, 400, "invalid_input"),
        ({"verb": "rewind", "filter": {"input": 1}}, 400, "invalid_input"),
        ({"verb": "rewind", "ids": ["a\nb"]}, 400, "invalid_id"),
    ],
)
def test_batches_are_refused(api, batches, body, status, code):
    problem(api.post("batches/", body), status, code)
    assert not Instance.objects.exists()


def test_what_is_no_batch_is_refused(api, failed):
    problem(api.get("batches/order%2F1/"), 400, "invalid_input")
    problem(api.get("batches/no/"), 404, "unknown_instance")
    problem(api.post("batches/no/retry/"), 404, "unknown_instance")


def test_batches_need_the_permission_of_their_verb(someone, batches, failed):
    body = {"verb": "rewind", "ids": ["order/1"], "id": "b"}

    problem(Api(someone("view_instance", "operate_instance")).post("batches/", body), 403, "permission_denied")
    problem(Api(someone("repair_instance", name="bob")).post("batches/", body), 403, "permission_denied")
    assert [row.instance_id for row in Operation.objects.filter(outcome="denied")] == ["b", "b"]
    assert done(Api(someone("view_instance", "repair_instance", name="eve")).post("batches/", body), 201)


def test_errors_of_items_without_payloads(someone, failed, batches):
    handle = client.batch("rewind", ["order/1"])
    told = {"ValueError: hunter2": "ValueError: ***", "NotFailed: it is open": "NotFailed: it is open", "": ""}
    for text, shown in told.items():
        BatchItem.objects.update(error=text)
        report = done(Api(someone("view_instance", name=f"user{len(text)}")).get(f"batches/{handle.id}/"))
        assert [item["error"] for item in report["items"]] == [shown]


def test_failure_groups_without_payloads(someone, failed):
    (group,) = done(Api(someone("view_instance")).get("failure-groups/"))

    assert (group["redacted"], group["error"]) == (True, "ConnectionError")
    assert '"down"' not in json.dumps(group)


def test_groups_take_no_nonsense(api):
    problem(api.get("failure-groups/", status="running"), 400, "invalid_input")
    problem(api.get("failure-groups/", since="yesterday"), 400, "invalid_request")
    problem(api.get("failure-groups/", since_="x"), 400, "invalid_request")


def test_recover(api, someone, waiting):
    (report,) = done(api.post("recover/?dry_run=true", {"workflow": "talk", "reason": "half a backup"}))
    assert (report["id"], report["outcome"]) == ("talk", "resumed")
    assert done(api.post("recover/", {"workflow": "other"})) == []
    problem(api.post("recover/", {"limit": 0}), 400, "invalid_request")

    problem(Api(someone("view_instance", "operate_instance", name="bob")).post("recover/"), 403, "permission_denied")
    outcomes = Operation.objects.order_by("id").values_list("verb", "dry_run", "outcome", "reason")
    assert list(outcomes) == [
        ("recover", True, "done", "half a backup"),
        ("recover", False, "done", ""),
        ("recover", False, "denied", ""),
    ]
    assert [bool(row.actor_key) for row in Operation.objects.all()] == [True] * 3


def test_purge(api, someone, failed):
    assert done(api.do("order/1", "purge", query="?dry_run=true"))["allowed"] is True
    first = api.do("order/1", "purge", Idempotency_Key="k")
    again = api.do("order/1", "purge", Idempotency_Key="k")

    assert done(first)["instances"] == 1
    assert again.json() == first.json()
    problem(api.get("instances/order%2F1/"), 404, "unknown_instance")
    problem(api.do("order/1", "purge"), 404, "unknown_instance")
    assert set(EVERY) >= {"destroy_instance"}
