"""Every page shows, needs nothing that a strict policy forbids, and asks the database a bounded number of times."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import uuid4

import pytest

from durable import client
from durable.models import ActivityTask, Instance, Worker
from durable.store import clock, workers
from durable.testing import history_of
from durable.testing.factories import InstanceFactory
from tests.driving import cost

OVERVIEWS = (
    "",
    "failures/",
    "definitions/",
    "versions/",
    "batches/",
    "workers/",
    "/admin/durable/operation/",
    "/admin/",
)


@pytest.mark.parametrize("path", OVERVIEWS)
def test_overviews_show_what_is_there(site, failed, waiting, path):
    page = site.get(path)

    assert page.status == 200


def test_the_audit_log_is_not_counted_to_its_end(site, failed):
    client.get("order/1").rewind(actor=site.user)
    with cost() as counted:
        page = site.get("/admin/durable/operation/", verb="rewind", _facets="")

    counts = [each for each in counted.statements if "COUNT" in each and "operation" in each]
    assert counts
    assert all("LIMIT" in each for each in counts)
    assert "order/1" in page.text
    assert "ada" in page.text


def test_the_workers_page_says_what_they_run(site, fresh):
    workers.beat(["default"])
    workers.sweep(["default"])
    now, me = clock.now(), workers.me()
    asked = history_of("order").activity("charge", waiting=True)
    taken = {"state": "running", "lease": uuid4(), "lease_until": now, "started_at": now - timedelta(minutes=7)}
    handed = InstanceFactory(id="handed", history=asked)
    InstanceFactory(id="in-place", history=asked)
    task = {"execution_id": handed.execution_id, "event_id": 0, "name": "charge", "queue": "default"}
    ActivityTask.objects.update_or_create(
        **task, defaults={"created_at": now, "available_at": now, "worker": "gone", **taken}
    )
    Instance.objects.filter(pk="in-place").update(lease=uuid4(), lease_worker=me, lease_event_id=0, lease_until=now)

    page = site.get("workers/")

    rows = {row.partition("</a>")[0].rpartition(">")[2]: row for row in page.text.split("<tr>") if "charge" in row}
    assert set(rows) == {"handed", "in-place"}
    assert "7 min" in rows["handed"]
    assert "silent" in rows["handed"]
    assert str(Worker.objects.get(pk=me)) in rows["in-place"]
    assert "silent" not in rows["in-place"]
    assert "/admin/durable/instance/handed/change/" in page.links


def test_many_workers_have_many_pages_those_alive_first(site, fresh, monkeypatch):
    monkeypatch.setattr("durable.admin.overviews.SHOWN", 3)
    now = clock.now()
    for n, ago in enumerate([900, 0, 600, 0, 700, 800, 60]):
        at = now - timedelta(seconds=ago)
        Worker.objects.create(
            id=n, hostname=f"host{n}", pid=n, queues=["default", f"on{n}"], started_at=at, heartbeat_at=at
        )
    asked = history_of("order").activity("charge", waiting=True)
    execution_id = InstanceFactory(id="handed", history=asked).execution_id
    ActivityTask.objects.filter(execution_id=execution_id).update(queue="on3", available_at=now)

    pages = [site.get("workers/")]
    while forth := [link for link in pages[-1].links if link == f"?page={len(pages) + 1}"]:
        pages.append(site.get(f"workers/{forth[0]}"))

    hosts = [re.findall(r"host(\d):", page.text) for page in pages]
    assert hosts == [["1", "3", "6"], ["2", "4", "5"], ["0"]]
    assert [page.text.count("silent") for page in pages] == [1, 3, 1]
    assert [link for link in pages[1].links if link.startswith("?page=")] == ["?page=1", "?page=3"]
    assert not any("by nobody" in page.text for page in pages), "whoever serves the queue is on the first page"
    assert "host1:1" in site.get("workers/", page="none").text


@pytest.mark.parametrize("path", OVERVIEWS)
def test_overviews_ask_as_often_for_many_rows_as_for_few(site, fresh, path):
    def asked(size):
        for n in range(size):
            error = ConnectionError(f"down at {chr(97 + n)}")
            InstanceFactory(name=f"order{n}", status="failed", error=error)
        with cost() as counted:
            assert site.get(path).status == 200
        return len(counted.statements)

    site.get(path)
    assert asked(2) == asked(20)


@pytest.mark.parametrize("path", OVERVIEWS)
def test_overviews_show_that_nothing_is_there(site, fresh, path):
    assert site.get(path).status == 200
