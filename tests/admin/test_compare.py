"""Two executions side by side."""

from __future__ import annotations

import pytest

from durable.testing import history_of
from durable.testing.factories import InstanceFactory
from tests.admin.conftest import Site


@pytest.fixture
def two(fresh, db):
    InstanceFactory(id="a", history=history_of("order", 1).activity("reserve", 1).activity("charge", "dear"))
    InstanceFactory(id="b", history=history_of("order", 1).activity("reserve", 1).activity("charge", "cheap"))


def test_only_what_differs_is_shown_or_all(site, two):
    page = site.page("a", "compare/", **{"with": "b"})

    assert "dear" in page.text
    assert "cheap" in page.text
    assert "reserve" not in page.text
    assert "changed" in page.text
    toggle = next(link for link in page.links if "all=1" in link)
    assert "reserve" in site.get(f"a/compare/{toggle}").text


def test_two_executions_of_one_instance(site, failed):
    first = str(failed.instance.execution_id)
    failed.rewind()
    link = next(link for link in site.page("order/1").links if "compare/?execution=" in link)

    assert first in link
    assert "ExecutionRewound" in site.get(link).text


def test_reruns_lead_there(site, failed):
    failed.rerun_from_activity(1, new_instance_id="a/b c")

    link = next(link for link in site.page("order/1").links if "compare/?with=" in link)
    assert "a/b c" in site.get(link).text


def test_payloads_are_hidden_on_both_sides(staff, two):
    page = Site(staff("view_instance")).page("a", "compare/", **{"with": "b"})

    assert "charge" in page.text
    assert "dear" not in page.text
    assert "cheap" not in page.text


@pytest.mark.parametrize("query", [{"with": "none"}, {"execution": "none"}, {"with": "b", "other_execution": "x"}])
def test_what_is_not_there_leads_back(site, two, query):
    assert site.page("a", "compare/", **query).response["Location"] == "/admin/durable/instance/a/change/"


def test_an_instance_that_may_not_be_seen_is_not_there(settings, staff, two):
    settings.AUTHENTICATION_BACKENDS = ["tests.admin.test_permissions.OwnOnly"]
    InstanceFactory(id="own")
    site = Site()
    site.client.force_login(staff("view_instance"), backend="tests.admin.test_permissions.OwnOnly")

    hidden, unknown = (site.page("own", "compare/", **{"with": each}) for each in ("a", "z"))

    assert hidden.status == unknown.status == 302
    told = site.page("own").text
    for each in ("a", "z"):
        assert f"o instance has the id &#x27;{each}&#x27;" in told
