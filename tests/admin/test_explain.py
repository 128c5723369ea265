"""Where the code stands."""

from __future__ import annotations

import re

import pytest

from durable import client
from tests.admin.conftest import Site

BACK, ON = (re.compile(rf'href="(\?at=\d+)" class="button" accesskey="{key}"') for key in "pn")


def test_it_shows_the_stack_and_the_variables(site, waiting):
    page = site.page("talk", "explain/")

    assert "Task main waits for signal" in page.text
    assert "wait_signal(&quot;go&quot;)" in page.text
    assert "secret" in page.text
    assert "hush" in page.text


def test_variables_are_hidden_from_those_who_may_not_see_payloads(staff, waiting):
    page = Site(staff("view_instance")).page("talk", "explain/")

    assert "Task main waits for signal" in page.text
    assert "hush" not in page.text


def test_one_can_walk_through_the_history_and_back(site, failed):
    page, seen = site.page("order/1", "explain/", at=1), []
    while after := ON.search(page.text):
        seen.append(page.text)
        page = site.get(f"order_2F1/explain/{after[1]}")

    assert len(seen) == 2
    assert "waits for activity &#x27;reserve&#x27;" in seen[0]
    assert "waits for activity &#x27;charge&#x27;" in seen[1]
    assert "ConnectionError" in page.text
    assert any(link.startswith("?at=") for link in page.links)


def test_a_step_back_from_any_event_of_a_step_is_the_step_before(site, failed):
    last = site.page("order/1", "explain/")
    assert "ActivityFailed" in last.text.partition("What had just happened:")[2].partition("</p>")[0]

    back = site.get(f"order_2F1/explain/{BACK.search(last.text)[1]}")

    assert "ConnectionError" in last.text
    assert "waits for activity &#x27;charge&#x27;" in back.text


@pytest.mark.parametrize("query", [{"at": "99"}, {"execution": "none"}])
def test_what_is_not_there_leads_back(site, waiting, query):
    assert site.page("talk", "explain/", **query).response["Location"] == "/admin/durable/instance/talk/change/"


def test_events_lead_to_the_code_as_it_stood(site, waiting):
    link = next(link for link in site.page("talk").links if "explain/" in link and "at=1" in link)

    assert site.get(link).status == 200
    assert client.status("talk") == "running"
