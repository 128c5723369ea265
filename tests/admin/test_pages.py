"""Every page shows, needs nothing that a strict policy forbids, and asks the database a bounded number of times."""

from __future__ import annotations

import pytest

from durable import client
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
