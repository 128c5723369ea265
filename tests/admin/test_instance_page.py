"""The page of an instance."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import timedelta

import pytest

from durable import client
from durable.codecs import PlainCodec
from durable.core import events as ev
from durable.core.errors import NondeterminismError, UpdateTimeout
from durable.fields import Dumped
from durable.models import ActivityTask, HistoryEvent, Operation
from durable.store import clock
from durable.testing import history_of
from durable.testing.factories import ExecutionFactory, InstanceFactory
from tests.admin.conftest import Site
from tests.driving import cost


def seqs(page):
    return [int(each.partition("-")[2]) for each in page.ids if each.startswith("seq-")]


def many(count, **options):
    history = history_of("order", 1)
    for n in range(count):
        history.activity("charge", n, result=n, **options)
    return history


def test_a_failed_instance_shows_its_failure_and_its_steps(site, failed):
    page = site.page("order/1")

    assert page.status == 200
    for shown in ("ConnectionError", "Traceback", "charge", "customer=42", "Rerun from here", "Rewind to here"):
        assert shown in page.text
    assert {"event-0", "event-1"} <= set(page.ids)


def test_links_to_events_find_timers_and_children_among_all_events(site, fresh):
    InstanceFactory(id="slow", history=history_of("order", 1).timer(60).child("ship", 1).activity("charge", 1))

    page = site.page("slow", history="full")

    assert {"event-0", "event-1", "event-2"} <= set(page.ids)


def test_a_waiting_instance_says_why(site, waiting):
    page = site.page("talk")

    assert "Nobody has sent signal" in page.text
    assert "hush" in page.text
    assert 'data-live="/admin/durable/instance/talk/live/"' in page.text


def test_a_stalled_instance_says_where(site, staff, fresh):
    error = NondeterminismError(
        seq=2, event_id=0, expected="ActivityScheduled(a) (1, 'hush')", got=None, location="o.py:7"
    )
    InstanceFactory(id="stuck", status="stalled", stall=error)

    page, blind = site.page("stuck"), Site(staff("view_instance", name="bob")).page("stuck")

    for shown in ("nondeterminism", "ActivityScheduled(a)", "o.py:7"):
        assert shown in page.text
        assert shown in blind.text
    assert "hush" in page.text
    assert "hush" not in blind.text


def test_payloads_are_hidden_from_those_who_may_not_see_them(staff, failed, waiting):
    site = Site(staff("view_instance", "repair_instance"))

    for page in (site.page("talk"), site.page("talk", history="full"), site.page("talk", "download/")):
        assert page.status == 200
        assert "hush" not in page.text
    for page in (site.page("order/1"), site.page("order/1", history="full"), site.page("order/1", "download/")):
        assert "ConnectionError" not in page.text
    assert site.page("order/1", "do/rerun/", event_id=1).fields["input"] == ""


def test_the_history_shows_all_events_or_those_of_a_kind(site, failed):
    assert seqs(site.page("order/1", history="full")) == [1, 2, 3, 4, 5, 6]
    assert seqs(site.page("order/1", kind="ActivityFailed")) == [5]
    assert seqs(site.page("order/1")) == [1, 2, 4, 6]


@pytest.mark.parametrize("query", [{}, {"history": "full"}])
def test_a_long_history_comes_in_parts(site, fresh, monkeypatch, query):
    monkeypatch.setattr("durable.admin.page.SHOWN", 3)
    InstanceFactory(id="long", history=many(4))
    whole = {1, 2, 4, 6, 8} if not query else set(range(1, 10))

    page, found = site.page("long", **query), []
    while True:
        found += seqs(page)
        assert len(seqs(page)) <= 3
        more = [link for link in page.links if link.endswith("#history")]
        if not more:
            break
        page = site.get(f"long/change/{more[0].partition('#')[0]}")

    assert found == sorted(whole)


@pytest.mark.parametrize(("query", "shown"), [({}, [5, 6, 7]), ({"history": "full"}, [10, 11, 12])])
def test_the_end_of_a_history_that_ends_with_answers_shows_steps(site, fresh, monkeypatch, query, shown):
    monkeypatch.setattr("durable.admin.page.SHOWN", 3)
    history = history_of("order", 1)
    for number in range(6):
        history.activity("charge", number, waiting=True)
    InstanceFactory(id="fan", history=history.add(*(ev.ActivityCompleted(event_id=n, result=n) for n in range(5))))

    page = site.page("fan", **query)

    *_, end = (link for link in page.links if link.endswith("#history"))
    assert seqs(site.get(f"fan/change/{end.partition('#')[0]}")) == shown


def test_two_thousand_events_make_a_page_of_bounded_size(site, fresh):
    InstanceFactory(id="long", history=many(1000, attempts=2))

    page = site.page("long")

    assert page.text.count("<rect") <= 1100
    assert len(page.text) < 1_500_000
    assert "those of a name share a row" in page.text


@pytest.mark.parametrize("query", [{}, {"after": "21"}, {"event": "9"}])
def test_a_very_long_history_is_drawn_from_where_it_is_shown(site, fresh, monkeypatch, query):
    monkeypatch.setattr("durable.admin.page.SHOWN", 4)
    monkeypatch.setattr("durable.admin.page.DRAWN", 8)
    InstanceFactory(id="long", history=many(30), status="completed", result=1)
    InstanceFactory(id="short", history=many(3))
    drawn = "too long to be drawn as a whole"

    page = site.page("long", **query)

    first = {"": 1, "after": 22, "event": 20}[next(iter(query), "")]
    assert seqs(page)[0] == first
    assert drawn in page.text
    bars = [row.seq for row in page.response.context["timeline"].rows if row.kind == "activity"]
    assert bars == [seq for seq in range(first, first + 16) if seq % 2 == 0][: 8 - (first == 1)]
    end = next(link for link in page.links if link.endswith("after=55#history"))
    assert seqs(site.get(f"long/change/{end.partition('#')[0]}")) == [56, 58, 60, 62]
    assert drawn not in site.page("short").text


def test_queries_do_not_grow_with_the_history_or_the_children(site, fresh):
    def made(name, size):
        InstanceFactory(id=name, history=many(size))
        for n in range(size):
            InstanceFactory(id=f"{name}:{n}", parent_id=name)
        with cost() as counted:
            assert site.page(name).status == 200
        return len(counted.statements)

    site.page("warm")
    few, lots = made("few", 2), made("lots", 60)

    assert few == lots
    assert few < 60


def test_earlier_executions_are_shown_and_can_be_restored(site, failed):
    first = failed.instance.execution_id
    failed.rewind()

    current, earlier = site.page("order/1"), site.page("order/1", execution=str(first))

    assert any(str(first) in link for link in current.links)
    assert "This is execution 1, an earlier one." in earlier.text
    assert "ConnectionError" in earlier.text


def test_an_execution_that_does_not_exist_leads_to_the_current_one(site, failed):
    page = site.get("order_2F1/change/", execution="no-uuid", follow=True)

    assert page.response.redirect_chain == [("/admin/durable/instance/order_2F1/change/", 302)]
    assert "has no execution" in page.text


def test_family_is_linked(site, engine, failed, bank):
    rerun = failed.rerun_from_activity(1, new_instance_id="again")
    InstanceFactory(id="child", parent_id="order/1")
    InstanceFactory(id="grandchild", parent_id="child")

    source, new = site.page("order/1"), site.page(rerun.id)

    assert "/admin/durable/instance/again/change/" in source.links
    assert "/admin/durable/instance/order_2F1/change/" in new.links
    assert {f"/admin/durable/instance/{each}/change/" for each in ("child", "grandchild")} <= set(source.links)
    assert "durable-depth-2" in source.text


def test_open_work_shows_attempts_and_the_last_failure(site, staff, engine, fresh, time):
    history = history_of("order", 1).activity("charge", 1, error=ConnectionError("away"), attempts=3, waiting=True)
    InstanceFactory(id="busy", history=history)
    ActivityTask.objects.update(heartbeat_at=time.now() - timedelta(minutes=3))

    page = site.page("busy")

    assert "Open work" in page.text
    assert "ConnectionError: away" in page.text
    assert "3 min ago" in page.text
    assert "activity charge (0), still open, 3 attempts" in page.text
    blind = Site(staff("view_instance", name="bob")).page("busy")
    assert "Open work" in blind.text
    assert "away" not in blind.text


def test_polling_says_when_something_happened_and_when_it_is_over(site, engine, waiting):
    def live():
        return json.loads(site.page("talk", "live/").text)

    before = live()
    assert live() == before
    assert before["state"] in site.page("talk").text
    client.signal("talk", "go", 1)
    engine.run_until_quiet()

    assert live()["state"] != before["state"]
    assert live()["closed"] is True
    assert "data-live" not in site.page("talk").text


def test_looking_writes_nothing(site, failed, waiting):
    for path in (
        "",
        "failures/",
        "versions/",
        "batches/",
        "workers/",
        "talk/change/",
        "talk/live/",
        "talk/download/",
        "talk/explain/",
    ):
        with cost() as counted:
            site.get(path)
        assert [
            s for s in counted.statements if not s.startswith(("SELECT", "WITH RECURSIVE", "UPDATE django_session"))
        ] == []
    assert not Operation.objects.exists()


def test_the_download_is_the_history(site, failed):
    found = json.loads(site.page("order/1", "download/").text)

    assert [event["kind"] for event in found["history"]] == [item.kind for item in failed.history()]
    assert found["history"][0]["data"]["input"] == {"args": [1], "kwargs": {}}
    assert found["redacted"] is False


def test_a_long_download_comes_in_parts_and_ends_at_what_cannot_be_read(site, staff, fresh, monkeypatch):
    monkeypatch.setattr("durable.admin.feeds.AT_ONCE", 4)
    InstanceFactory(id="long", history=many(5))
    whole = [(item.seq, item.kind, item.name) for item in client.history("long")]

    found = json.loads(site.page("long", "download/").text)
    assert [(event["seq"], event["kind"], event["name"]) for event in found["history"]] == whole
    assert "unread" not in found

    HistoryEvent.objects.filter(seq=7).update(data=Dumped("{no json"))
    found = json.loads(site.page("long", "download/").text)
    assert len(found["history"]) == 4
    assert "cannot be decoded" in found["unread"]
    blind = json.loads(Site(staff("view_instance", name="bob")).page("long", "download/").text)
    assert {event["data"] for event in blind["history"]} == {None}
    assert "{no json" not in blind["unread"]


def test_markup_in_names_and_payloads_is_text(site, fresh):
    history = history_of("<script>alert(1)</script>", "<img src=x onerror=alert(2)>").activity("<b>bold</b>")
    InstanceFactory(id="<i>id</i>", history=history, tags={"<u>": "<s>"}, error="<em>no</em>", status="failed")

    for page in (site.get(""), site.page("<i>id</i>"), site.page("<i>id</i>", "do/rewind/"), site.get("failures/")):
        assert page.status == 200
        for markup in ("<script>alert", "<img", "<b>bold", "<i>id", "<u>", "<s>", "<em>"):
            assert markup not in page.text


def test_an_instance_that_does_not_exist_leads_back(site, fresh, db):
    page = site.get("none/change/", follow=True)

    assert page.response.redirect_chain == [("/admin/", 302)]
    assert "There is no instance “none”" in page.text


def test_it_can_be_shown_at_an_odd_id(site, fresh):
    for odd in ("a/b", "a b", "ä", "a_2Fb", "a?b=c", "a#b", "do/rewind", "%", "..", "."):
        InstanceFactory(id=odd)
        page = site.page(odd)
        assert page.status == 200, odd
        assert site.page(odd, "live/").status == 200


def test_an_execution_that_continued_is_shown(site, fresh):
    ExecutionFactory(instance=InstanceFactory(id="loop"))

    assert "continued as new" in site.page("loop").text


@pytest.mark.parametrize("language", ["de", "fr", "ar"])
def test_numbers_in_addresses_and_drawings_are_the_same_in_every_language(site, fresh, settings, language):
    progress = {"done": 1.5, "total": 2000, "note": ""}
    InstanceFactory(id="long", status="canceled", history=many(1100), progress=progress)
    settings.USE_THOUSAND_SEPARATOR = True
    first = site.page("long", history="full", after=2100)
    settings.LANGUAGE_CODE = language

    page = site.page("long", history="full", after=2100)

    assert sorted(page.ids) == sorted(first.ids)  # the menu goes by the alphabet
    assert "event-1099" in page.ids
    assert sorted(page.links) == sorted(first.links)
    assert any("event_id=1099" in link for link in page.links)
    drawn = r' (?:x|x1|width)="[^"]*"'
    assert re.findall(drawn, page.text) == re.findall(drawn, first.text)
    assert 'value="1.5" max="2000"' in page.text


def test_what_cannot_be_decoded_is_said_and_the_rest_is_shown(site, failed, settings):
    settings.DURABLE = {**settings.DURABLE, "CODEC": "tests.admin.test_instance_page.Broken"}

    page = site.page("order/1")
    assert page.status == 200
    assert "cannot be decoded" in page.text
    assert "the key is lost" in page.text
    assert any("do/purge/" in link for link in page.links)
    assert site.get("").status == 200
    assert site.page("order/1", "live/").status == 200
    assert site.page("order/1", "download/").status == 302
    for verb in ("rewind", "rerun", "restart", "upgrade", "recover", "signal", "suspend", "terminate", "purge"):
        assert site.page("order/1", f"do/{verb}/", event_id=0).status == 200


class Broken(PlainCodec):
    """Cannot decode anything any more."""

    def decode(self, text: str) -> str:
        raise ValueError("the key is lost")


def test_updates_are_shown_with_their_state(site, engine, waiting):
    with suppress(UpdateTimeout):
        client.update("talk", "say", "louder", update_id="u-1", timeout=0)
    assert "u-1" in site.page("talk").text
    engine.run_until_quiet()

    page = site.page("talk")

    assert "completed" in page.text[page.text.index("u-1") :][:200]


def test_the_timeline_can_be_zoomed_and_leave_out_idle_time(site, failed):
    page = site.page("order/1")
    assert "durable-zoom-1" in page.text
    closer = next(link for link in page.links if "zoom=2" in link and "scale=time" in link)

    page = site.page("order/1", **dict(part.split("=") for part in closer[1:].partition("#")[0].split("&")))
    assert "durable-zoom-2" in page.text
    assert any("scale=work&zoom=2" in link for link in page.links)
    assert "zoom=4" in page.text
    assert "zoom=1" in page.text
    assert "zoom=32" not in site.page("order/1", zoom="16", scale="work").text
    for odd in ("0", "3", "x", "99999999999", "-1", ""):
        assert "durable-zoom-1" in site.page("order/1", zoom=odd, scale=odd).text


def test_links_to_events_lead_to_the_part_of_the_history_that_has_them(site, fresh):
    InstanceFactory(id="long", history=many(300))

    first = site.page("long")
    assert "event-250" not in first.ids
    page = site.page("long", event="250")
    assert "event-250" in page.ids
    later = site.page("long", after="500")
    assert 2 not in seqs(later)
    (link,) = {link for link in later.links if link.endswith("#seq-2")}
    query = dict(part.split("=") for part in link[1:].partition("#")[0].split("&"))
    assert 2 in seqs(site.page("long", **query))
    assert "event-0" in site.page("long", event="0").ids
    for odd in ("99999", "x", "-1"):
        assert "event-0" in site.page("long", event=odd).ids


def test_open_work_shows_what_was_told_with_the_last_heartbeat(site, staff, engine, waiting):
    ActivityTask.objects.create(
        execution_id=waiting.instance.execution_id,
        event_id=0,
        name="copy",
        input={"args": [], "kwargs": {}},
        queue="default",
        state="running",
        created_at=clock.now(),
        available_at=clock.now(),
        heartbeat_at=clock.now(),
        heartbeat_details=[{"rows": 4711}],
    )

    assert "4711" in site.page("talk").text
    assert "4711" not in Site(staff("view_instance", name="bob")).page("talk").text
