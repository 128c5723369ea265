"""Lists of the API that look for what no index finds: a page may be short, and yet none is lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from durable.models import Instance, Operation
from durable.store import listing
from durable.testing.factories import InstanceFactory

DAY = datetime(2026, 3, 1, tzinfo=UTC)
SLOW = ["i00", "i05", "i06", "i07", "i13", "i19"]


@pytest.fixture
def some(fresh, db, monkeypatch):
    monkeypatch.setattr(listing, "SPAN", 4)
    for n in range(20):
        slow = {"queue": "slow"} if f"i{n:02}" in SLOW else {}
        InstanceFactory(id=f"i{n:02}", created_at=DAY + timedelta(minutes=n // 2), status="failed", **slow)


def follow(api, answer, link):
    found = [answer.json()["results"]]
    while address := answer.json()[link]:
        answer = api.client.get(address)
        assert answer.status_code == 200
        found.append(answer.json()["results"])
        assert len(found) < 30
    return found, answer


@pytest.mark.parametrize("order", ["-created_at", "created_at", "id", "-id", "closed_at", "-started_at"])
@pytest.mark.parametrize("query", [{}, {"status": "failed"}, {"limit": "2"}])
def test_pages_lose_none_there_and_back(api, some, order, query):
    expected = list(Instance.objects.filter(queue="slow").order_by(order, "pk").values_list("pk", flat=True))

    there, last = follow(api, api.get("instances/", queue="slow", ordering=order, **query), "next")
    back, _first = follow(api, last, "previous")

    assert [each["id"] for some in there for each in some] == expected
    assert [each["id"] for some in back[::-1] for each in some] == expected
    assert len(there) > 2


def test_what_an_index_finds_is_on_full_pages(api, some):
    there, _last = follow(api, api.get("instances/", limit="7", status="failed"), "next")

    assert [len(page) for page in there] == [7, 7, 6]
    assert [each["id"] for each in api.get("instances/", id_prefix="i1").json()["results"]] != []


def test_the_audit_is_looked_through_in_parts_too(api, some):
    kinds = [("suspend", "a")] * 9 + [("rewind", "b")] + [("suspend", "a")] * 9 + [("rewind", "a")]
    Operation.objects.bulk_create(
        Operation(verb=verb, instance_id=name, actor_name="ada", at=DAY + timedelta(minutes=n // 2))
        for n, (verb, name) in enumerate(kinds)
    )

    for query in ({"verb": "rewind"}, {"verb": "rewind", "since": DAY.isoformat()}):
        there, last = follow(api, api.get("audit/", **query), "next")
        back, _first = follow(api, last, "previous")
        assert [row["instance_id"] for page in there for row in page] == ["a", "b"]
        assert [row["instance_id"] for page in back[::-1] for row in page] == ["a", "b"]
        assert len(there) > 2
    for query in ({"instance": "b", "verb": "rewind"}, {"since": DAY.isoformat(), "limit": "20"}):
        assert api.get("audit/", **query).json()["next"] is None
