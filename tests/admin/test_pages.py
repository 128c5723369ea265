"""Every page shows, needs nothing that a strict policy forbids, and asks the database a bounded number of times."""

from __future__ import annotations

import pytest

OVERVIEWS = ("", "failures/", "versions/", "batches/", "workers/", "/admin/durable/operation/", "/admin/")


@pytest.mark.parametrize("path", OVERVIEWS)
def test_overviews_show_what_is_there(site, failed, waiting, path):
    page = site.get(path)

    assert page.status == 200


@pytest.mark.parametrize("path", OVERVIEWS)
def test_overviews_show_that_nothing_is_there(site, fresh, path):
    assert site.get(path).status == 200
