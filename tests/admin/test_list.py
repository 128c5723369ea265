"""The list of instances: filters, search, pages, badges, and what it says when there is nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import AnonymousUser

from durable import workflow
from durable.core.errors import NondeterminismError
from durable.models import Instance
from durable.store import clock, workers
from durable.testing.factories import InstanceFactory
from tests.admin.conftest import Site
from tests.driving import cost

DAY, ONE = datetime(2026, 3, 1, tzinfo=UTC), timedelta(days=1)


def shown(page):
    """Return the ids that a list shows, in order."""
    return [part.partition('"')[0] for part in page.text.split('data-id="')[1:]]


@pytest.fixture
def some(fresh, db):
    """Return instances that differ in all that can be filtered by."""
    stall = NondeterminismError(seq=2, event_id=0, expected="ActivityScheduled(a)", got=None)
    InstanceFactory(id="a1", name="order2", created_at=DAY, tags={"customer": "Ada", "vip": True})
    InstanceFactory(
        id="a2", name="order", status="failed", error="no route to host", created_at=DAY + timedelta(days=1)
    )
    InstanceFactory(id="b1", name="mail", status="stalled", stall=stall, created_at=DAY + 2 * ONE, queue="slow")
    InstanceFactory(id="b2", name="mail", status="completed", created_at=DAY + timedelta(days=3), tags={"customer": 42})
    InstanceFactory(id="c1", name="mail", created_at=DAY + timedelta(days=4), parent_id="a1")
    Instance.objects.filter(pk="c1").update(attempt=1, rerun_from="b2")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, "c1 b2 b1 a2 a1"),
        ({"status": "failed"}, "a2"),
        ({"status": "open"}, "c1 b1 a1"),
        ({"status": "closed"}, "b2 a2"),
        ({"workflow": "mail"}, "c1 b2 b1"),
        ({"workflow": "order", "version": "2"}, "a1"),
        ({"version": "0"}, "c1 b2 b1 a2"),
        ({"queue": "slow"}, "b1"),
        ({"tag": "customer=Ada"}, "a1"),
        ({"tag": "customer=42"}, "b2"),
        ({"tag": "vip=true"}, "a1"),
        ({"stall": "nondeterminism"}, "b1"),
        ({"stall": "poison"}, ""),
        ({"parent_is": "yes"}, "c1"),
        ({"parent_is": "no"}, "b2 b1 a2 a1"),
        ({"parent": "a1"}, "c1"),
        ({"again": "on"}, "c1"),
        ({"rerun_from": "b2"}, "c1"),
        ({"started_since": "2026-03-03T00:00", "started_before": "2026-03-04T12:00"}, "b2 b1"),
        ({"closed_since": "2026-03-04"}, "b2"),
        ({"closed_before": "2026-03-04"}, "a2"),
        ({"q": "a"}, "a2 a1"),
        ({"q": "customer=Ada"}, "a1"),
        ({"q": "route to"}, "a2"),
        ({"q": "workflow did nothing"}, "b1"),
        ({"q": "nowhere"}, ""),
        ({"q": "a", "status": "open"}, "a1"),
        ({"fingerprint": "none"}, ""),
        ({"unknown": "parameter"}, "c1 b2 b1 a2 a1"),
    ],
    ids=str,
)
def test_filters_choose(site, some, query, expected):
    assert shown(site.get(**query)) == expected.split()


@pytest.mark.parametrize(
    "query",
    [
        *({"version": each} for each in ("-1", "x", "99999999999")),
        *({"started_since": each} for each in ("yesterday", "2026-13-01")),
        *({"tag": each} for each in ("customer", "=", "customer=", "=x")),
        {"status": "none"},
        {"stall": "none"},
        {"q": "nul\0"},
        {"parent_is": "maybe"},
    ],
    ids=str,
)
def test_what_cannot_be_a_filter_is_told_and_shows_nothing(site, some, query):
    page = site.get(**query)

    assert page.status == 200
    assert "errorlist" in page.text
    assert shown(page) == []


@pytest.mark.parametrize("place", ["", "x", "2026-01-01 a1", "2026-01-01T00:00:00Z", "9999-99-99 x", "x y"])
def test_what_is_no_place_shows_the_beginning(site, some, place):
    assert shown(site.get(older=place)) == ["c1", "b2", "b1", "a2", "a1"]


def test_errors_cannot_be_searched_by_those_who_may_not_see_payloads(staff, some):
    site = Site(staff("view_instance"))

    assert shown(site.get(q="route to")) == []
    assert shown(site.get(q="workflow did")) == []
    assert shown(site.get(q="a2")) == ["a2"]


def test_pages_follow_each_other_there_and_back(site, fresh, monkeypatch):
    monkeypatch.setattr("durable.store.listing.page.__defaults__", (3,))
    for n in range(10):  # some at the same moment
        InstanceFactory(id=f"i{n}", created_at=DAY + timedelta(minutes=n // 4))
    whole = shown_all = [i.pk for i in Instance.objects.order_by("-created_at", "id")]

    page, there = site.get(), []
    while True:
        there.append(shown(page))
        older = [link for link in page.links if "older=" in link]
        if not older:
            break
        page = site.get(f"/admin/durable/instance/{older[0]}")
    back = [shown(page)]
    while newer := [link for link in page.links if "newer=" in link]:
        page = site.get(f"/admin/durable/instance/{newer[0]}")
        back.append(shown(page))

    assert [each for some in there for each in some] == whole
    assert back[::-1][0] == there[0]
    assert [each for some in back[::-1] for each in some] == shown_all


def test_badges_count_within_the_filter_up_to_a_limit(site, some, monkeypatch):
    monkeypatch.setattr("durable.admin.lists.COUNTED", 1)

    text = site.get(workflow="mail").text
    assert "completed <b>1</b>" in text
    assert "failed <b>0</b>" in text
    assert "running <b>1</b>" in text
    assert "running <b>1+</b>" in site.get().text


def test_the_list_asks_as_often_for_many_as_for_few(site, fresh):
    def asked(size):
        for n in range(size):
            InstanceFactory(id=f"{size}-{n}", tags={"n": n})
        expected = min(100, Instance.objects.count())
        with cost() as counted:
            assert len(shown(site.get())) == expected
        return counted.statements

    site.get()
    few, lots = asked(2), asked(120)

    assert len(lots) <= len(few) + 1  # and a count, up to a limit
    assert len(few) < 25
    assert not [each for each in lots if "COUNT" in each and "LIMIT" not in each and "worker" not in each]


def test_beside_what_failed_is_what_made_it_fail(site, staff, failed):
    blind = Site(staff("view_instance", name="bob"))

    assert "ConnectionError: " in site.get(status="failed").text
    assert "ConnectionError" not in blind.get(status="failed").text
    assert "order/1" in blind.get(status="failed").text


def test_payloads_are_not_read_for_the_list(site, some):
    with cost() as counted:
        site.get()

    lists = [each for each in counted.statements if "durable_instance" in each and "created_at" in each]
    assert lists
    assert not [each for each in lists if '"durable_instance"."input"' in each]


def test_an_empty_list_says_how_to_begin(site, fresh):
    @workflow.defn
    async def dispatch() -> None: ...

    text = site.get().text
    assert "durable_start dispatch" in text
    assert "celery -A" in text


def test_each_filter_can_be_taken_off(site, some):
    page = site.get(workflow="mail", tag="customer=42", status="completed")

    assert {"?tag=customer%3D42&status=completed", "?workflow=mail&status=completed", "?"} <= set(page.links)


def test_a_filter_that_fits_nothing_says_so(site, some):
    page = site.get(workflow="none")

    assert "No instance fits" in page.text
    assert "?" in page.links


def test_it_says_when_nobody_works(site, some):
    assert "No worker shows a sign of life" in site.get().text
    workers.beat(["default"])
    assert "No worker looks for due work" in site.get().text
    workers.sweep(["default"])
    assert "sign of life:" not in site.get().text
    assert "durable-banner" not in site.get().text


def test_ages_are_those_of_the_database(site, some):
    Instance.objects.filter(pk="a1").update(created_at=clock.now() - timedelta(hours=3))

    assert "3 h ago" in site.get().text


@pytest.mark.parametrize("path", ["", "a1/change/", "a1/live/", "a1/do/cancel/", "failures/"])
def test_those_who_are_not_logged_in_are_sent_to_do_so(some, path):
    page = Site().get(path)

    assert page.status == 302
    assert page.response["Location"].startswith("/admin/login/")
    assert AnonymousUser().is_staff is False


def test_a_box_that_is_not_ticked_is_no_filter(site, some):
    page, ticked = site.get(again="false"), site.get(again="on")

    assert "durable-chip" not in page.text
    assert "Save these filters" not in page.text
    assert "Only reruns and restarts: " in ticked.text.replace("\n", "")
    assert "Save these filters" in ticked.text
