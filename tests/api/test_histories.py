"""What belongs to one instance over the API: its history in parts, its steps, its open work."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from durable import RetryPolicy, activity, client, workflow
from durable.engine import perform
from durable.models import ActivityTask, Instance
from durable.store import clock, tasks, workers
from tests import driving
from tests.api.conftest import Api
from tests.api.test_reading import problem
from tests.api.test_verbs import done

ORDER = "instances/order%2F1"


# --- history


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_parts_of_a_history_are_those_of_the_whole(api, failed, limit):
    whole = done(api.get(f"{ORDER}/history/"))["results"]

    found, address = [], f"/api/v1/{ORDER}/history/?limit={limit}"
    while address:
        answer = done(api.client.get(address))
        found += answer["results"]
        address = answer["next"]

    assert found == whole
    assert [event["name"] for event in found if event["kind"] == "ActivityFailed"] == ["charge"]


def test_answers_of_chosen_kinds_go_by_the_names_of_what_they_answer(api, failed):
    (event,) = done(api.get(f"{ORDER}/history/", kind="ActivityFailed"))["results"]

    assert event["name"] == "charge"


def test_a_part_of_a_history_costs_what_it_holds(api, failed):
    with driving.cost() as cost:
        api.get(f"{ORDER}/history/", limit=1, after=3)

    events = [sql for sql in cost.statements if "durable_historyevent" in sql]
    assert len(events) <= 2
    assert "LIMIT 2" in events[0]


# --- timeline


def test_timeline_has_a_step_for_each_thing_asked_for(api, failed):
    steps = done(api.get(f"{ORDER}/timeline/"))["results"]

    by_name = {step["name"]: step for step in steps if step["kind"] == "activity"}
    assert list(by_name) == ["reserve", "charge"]
    assert (by_name["reserve"]["outcome"], by_name["charge"]["outcome"]) == ("completed", "failed")
    assert by_name["charge"]["events"] == [4, 5]
    assert by_name["charge"]["seconds"] >= 0
    assert by_name["charge"]["rerunnable"] is True
    assert by_name["charge"]["attempts"] == 1


def test_timeline_of_what_is_open(api, engine, fresh):
    @workflow.defn
    async def naps() -> None:
        await asyncio.sleep(1000)

    naps.options(id="naps").start()
    engine.run_until_quiet()

    (nap,) = [step for step in done(api.get("instances/naps/timeline/"))["results"] if step["kind"] == "timer"]
    assert (nap["ended"], nap["outcome"], nap["seconds"]) == (None, "", None)


def test_timeline_comes_in_parts_and_with_chosen_fields(api, failed):
    whole = done(api.get(f"{ORDER}/timeline/", fields="seq,name"))
    first = done(api.get(f"{ORDER}/timeline/", fields="seq,name", limit=2))
    rest = done(api.client.get(first["next"]))

    assert first["results"] + rest["results"] == whole["results"]
    assert (whole["next"], rest["next"]) == (None, None)
    assert whole["results"][0].keys() == {"seq", "name"}


def test_timeline_of_an_earlier_execution(api, engine, failed):
    old = failed.instance.execution_id
    failed.rewind()
    engine.run_until_quiet()

    def outcomes(**query: Any) -> list[str]:
        return [step["outcome"] for step in done(api.get(f"{ORDER}/timeline/", **query))["results"] if step["outcome"]]

    assert outcomes(execution=old) == ["completed", "failed"]
    assert outcomes() == ["completed", "completed"]


def test_timeline_has_no_payloads(someone, failed):
    response = Api(someone("view_instance")).get(f"{ORDER}/timeline/")

    assert response.status_code == 200
    assert "down" not in response.content.decode()


@pytest.mark.parametrize("path", ["history", "timeline"])
@pytest.mark.parametrize("query", [{"after": "x"}, {"after": -1}, {"limit": 0}, {"limit": 10_001}, {"aftre": 1}])
def test_parts_that_cannot_be_are_refused(api, failed, path, query):
    problem(api.get(f"{ORDER}/{path}/", **query), 400, "invalid_request")


@pytest.mark.parametrize("path", ["history", "timeline"])
def test_parts_of_executions_that_are_not_there(api, failed, path):
    problem(api.get(f"{ORDER}/{path}/", execution="x"), 404, "unknown_execution")


# --- open work


@pytest.fixture
def busy(engine, fresh, settings):
    """An instance with four activities: one to be tried again, one running, one that waits, one left to others."""
    settings.DURABLE = {"RUN_INLINE": False}

    @activity.defn(retry=RetryPolicy(max_attempts=9, initial_interval=1000))
    def flaky() -> None:
        raise ConnectionError("hunter2 was refused")

    @activity.defn(queue="elsewhere")
    def waits() -> None: ...

    @activity.defn
    def left() -> None:
        activity.complete_later()

    @activity.defn(queue="busy")
    def beats() -> None: ...

    @workflow.defn
    async def busy() -> None:
        await asyncio.gather(flaky(), waits(), left(), beats())

    handle = busy.options(id="busy").start()
    engine.advance_due()
    perform.perform("default")
    (task,) = tasks.take(ActivityTask.objects.filter(name="beats"), worker=workers.me(), expiries=[None])
    tasks.keep(task, heartbeat_at=clock.now(), heartbeat_details={"row": "hunter2"})
    return handle


def work_of(api: Api, **query: Any) -> dict[str, Any]:
    return {each["name"]: each for each in done(api.get("instances/busy/work/", **query))["results"]}


def test_work_tells_of_attempts_and_failures(api, busy):
    found = work_of(api)

    assert list(found) == ["flaky", "waits", "left", "beats"]
    assert (found["flaky"]["state"], found["flaky"]["attempt"]) == ("ready", 2)
    assert found["flaky"]["due"] > found["flaky"]["created_at"]
    assert found["flaky"]["last_failure"]["message"] == "hunter2 was refused"
    assert (found["waits"]["queue"], found["waits"]["last_failure"]) == ("elsewhere", None)
    assert (found["left"]["state"], found["left"]["due"]) == ("external", None)
    assert {each["redacted"] for each in found.values()} == {False}


def test_work_tells_of_heartbeats_and_workers(api, busy):
    running = work_of(api)["beats"]

    assert (running["state"], running["due"], running["is_alive"]) == ("running", None, True)
    assert running["heartbeat_details"] == {"row": "hunter2"}
    assert running["heartbeat_at"]
    assert running["worker"] == workers.me()
    workers.beat(["default"])
    assert work_of(api)["beats"]["worker"] == f"{socket.gethostname()}:{os.getpid()}"
    ActivityTask.objects.filter(name="beats").update(lease_until=clock.now() - timedelta(seconds=1), worker="gone")
    assert (work_of(api)["beats"]["worker"], work_of(api)["beats"]["is_alive"]) == ("gone", False)


def test_work_without_payloads(someone, busy):
    api = Api(someone("view_instance", name="bob"))
    with driving.cost() as cost:
        response = api.get("instances/busy/work/")

    assert response.status_code == 200
    assert "hunter2" not in response.content.decode()
    assert {each["redacted"] for each in response.json()["results"]} == {True}
    assert not [sql for sql in cost.statements if "heartbeat_details" in sql]


def test_work_comes_in_pages_filtered_and_ordered(api, busy):
    first = done(api.get("instances/busy/work/", limit=3, fields="name"))
    rest = done(api.client.get(first["next"]))

    assert [each["name"] for each in first["results"] + rest["results"]] == ["flaky", "waits", "left", "beats"]
    assert list(work_of(api, ordering="-event_id")) == ["beats", "left", "waits", "flaky"]
    assert list(work_of(api, state=["running", "external"])) == ["left", "beats"]
    assert list(work_of(api, name="waits")) == ["waits"]
    assert list(work_of(api, queue="elsewhere")) == ["waits"]
    problem(api.get("instances/busy/work/", stat="ready"), 400, "invalid_request")


def test_what_runs_in_place_comes_first(api, busy):
    asked = {"lease": uuid.uuid4(), "lease_event_id": 1, "lease_worker": "me", "lease_until": clock.now()}
    Instance.objects.filter(pk="busy").update(**asked)

    first = done(api.get("instances/busy/work/", limit=2, fields="event_id,name,in_place,state,attempt"))
    rest = done(api.client.get(first["next"]))

    here = {"event_id": 1, "name": "waits", "in_place": True, "state": "running", "attempt": 1}
    assert first["results"][0] == here
    assert [each["in_place"] for each in first["results"] + rest["results"]] == [True, False, False, False, False]
    back = done(api.client.get(rest["previous"]))
    assert [each["in_place"] for each in back["results"]] == [True, False, False]
    assert [each["in_place"] for each in done(api.get("instances/busy/work/", name="flaky"))["results"]] == [False]
    assert [each["in_place"] for each in done(api.get("instances/busy/work/", state="external"))["results"]] == [False]


def test_damaged_work_does_not_hide_the_rest(api, busy):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE durable_activitytask SET last_failure = 'garbage' WHERE name = 'flaky'")

    found = work_of(api)

    assert found["flaky"]["last_failure"]["type"] == "UndecodablePayload"
    assert found["beats"]["heartbeat_details"] == {"row": "hunter2"}


def test_closed_instances_have_no_work(api, busy):
    client.terminate("busy")

    assert work_of(api) == {}
