"""Lists that look for what no index finds: among so many at a time, and on from there, without losing any."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from django.core.management import call_command

from durable.models import Instance
from durable.store import listing
from durable.testing.factories import InstanceFactory

DAY = datetime(2026, 3, 1, tzinfo=UTC)
SLOW = ["i00", "i05", "i06", "i07", "i13", "i19"]


@pytest.fixture
def some(fresh, db, monkeypatch):
    """Twenty instances, some at the same moment, and six that no index finds."""
    monkeypatch.setattr(listing, "SPAN", 4)
    monkeypatch.setattr(listing, "SEARCHED", 4)
    for n in range(20):
        slow = {"queue": "slow"} if f"i{n:02}" in SLOW else {}
        failed = {"status": "failed", "error": f"no route {n}"} if n % 2 else {}
        InstanceFactory(id=f"i{n:02}", created_at=DAY + timedelta(minutes=n // 2), **slow, **failed)


def newest_first(ids):
    return list(Instance.objects.filter(pk__in=ids).order_by("-created_at", "id").values_list("pk", flat=True))


def shown(page):
    return [part.partition('"')[0] for part in page.text.split('data-id="')[1:]]


def follow(site, page, word):
    """Return what a page and all that it leads to show, and the last of them."""
    found = [shown(page)]
    while links := [link for link in page.links if f"{word}=" in link]:
        page = site.get(f"/admin/durable/instance/{links[0]}")
        found.append(shown(page))
        assert len(found) < 30
    return found, page


@pytest.mark.parametrize("query", [{}, {"status": "open"}, {"status": "failed"}, {"status": "closed"}])
def test_pages_lose_none_there_and_back(site, some, query):
    fitting = Instance.objects.filter(queue="slow")
    if query:
        closed = query["status"] != "open"
        fitting = fitting.filter(closed_at__isnull=not closed)
    expected = newest_first(fitting.values("pk"))

    there, last = follow(site, site.get(queue="slow", **query), "older")
    back, _first = follow(site, last, "newer")

    assert [each for some in there for each in some] == expected
    assert [each for some in back[::-1] for each in some] == expected
    assert len(there) > 1


def test_a_page_says_how_far_it_looked(site, some):
    text = site.get(queue="slow").text

    assert "Look further" in text
    assert "no further" in text
    assert "1+" in text
    assert "Look further" not in site.get().text


def test_a_page_without_any_leads_on(site, some):
    Instance.objects.exclude(pk="i00").update(queue="other")
    page = site.get(queue="slow")

    assert shown(page) == []
    assert "so far" in page.text
    there, _last = follow(site, page, "older")
    assert [each for some in there for each in some] == ["i00"]


@pytest.mark.parametrize(
    ("query", "shown"),
    [({"queue": "slow"}, "1+"), ({"status": "failed"}, "10"), ({"status": "closed"}, "10"), ({"queue": "none"}, "0+")],
)
def test_all_that_match_are_counted_no_further_than_a_list_looks(site, some, query, shown):
    sent = {"verb": "suspend", "all": "1", "query": f"?{urlencode(query)}"}

    page = site.client.post("/admin/durable/instance/batch/", sent)

    assert page.context["chosen"].total == shown


def test_errors_are_searched_bit_by_bit(site, some):
    there, _last = follow(site, site.get(q="no route 1"), "older")

    assert [each for some in there for each in some] == newest_first(["i01", "i11", "i13", "i15", "i17", "i19"])
    assert len(there) > 1


def test_the_command_looks_as_far_as_it_takes(some):
    out, err = io.StringIO(), io.StringIO()
    Instance.objects.filter(pk__in=SLOW).update(parent_execution_id="00000000-0000-0000-0000-000000000001")

    call_command("durable_list", "--roots", "--limit", "13", "--ids", stdout=out, stderr=err)
    roots = Instance.objects.exclude(pk__in=SLOW).order_by("-created_at", "id")
    assert out.getvalue().split() == [each.pk for each in roots[:13]]
    assert "13 of 13 or more" in err.getvalue()

    call_command("durable_list", "--roots", "--ids", stdout=out, stderr=err)
    assert err.getvalue().strip().endswith("14 in all")
