"""The audit log: its name, its filters, and its rows as a file."""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime, timedelta
from html import unescape

from durable import client
from durable.admin import operations
from durable.models import Operation
from tests.admin.conftest import Site

AUDIT = "/admin/durable/operation/"
DAY = datetime(2026, 3, 1, tzinfo=UTC)


def rows(page):
    """Return the rows of a file."""
    return list(csv.DictReader(b"".join(page.streaming_content).decode().splitlines()))


def test_the_log_goes_by_its_name_wherever_it_is_named(site, waiting):
    client.suspend("talk", actor=site.user)

    assert "Audit log entries" in site.get("/admin/").text
    assert "1 audit log entry" in site.get(AUDIT).text
    assert ">Operations<" not in site.get("/admin/").text


def test_what_the_list_shows_can_be_had_as_a_file(site, waiting):
    client.suspend("talk", actor=site.user, reason="=1+1")
    client.resume("talk", actor="bob", reason="again")
    client.signal("talk", "go", {"secret": 1}, actor="bob")
    link = next(link for link in site.get(AUDIT, verb="suspend").links if "export" in link)

    (suspended,) = rows(site.client.get(link))
    everything = site.client.get(f"{AUDIT}export/")

    assert everything.headers["Content-Disposition"] == 'attachment; filename="audit-log.csv"'
    told = rows(everything)
    assert [row["verb"] for row in told] == ["signal", "resume", "suspend"]
    assert [row["actor_name"] for row in told] == ["bob", "bob", "ada"]
    assert "secret" not in str(told)
    assert suspended == told[-1]
    assert (suspended["instance_id"], suspended["outcome"], suspended["dry_run"]) == ("talk", "done", "False")
    assert suspended["reason"] == "'=1+1"  # a spreadsheet would work it out


def test_a_file_of_what_cannot_be_a_filter_is_none(site, waiting):
    assert site.get(f"{AUDIT}export/", dry_run__exact="perhaps").status == 302


def test_the_file_is_for_those_who_may_see_the_list(staff, waiting):
    assert Site(staff("operate_instance", name="a")).get(f"{AUDIT}export/").status == 403
    assert Site(staff("view_instance", name="b")).client.get(f"{AUDIT}export/").status_code == 200


def test_it_is_filtered_by_verb_outcome_and_time(site, waiting):
    client.suspend("talk", actor=site.user)

    page = site.get(AUDIT)

    for name in ("verb", "outcome", "dry run", "time"):
        assert f"By {name}" in page.text
    for verb in ("update", "start", "batch", "suspend", "complete", "fail"):
        assert len([link for link in page.links if link == f"?verb={verb}"]) == 1
    (today,) = [link for link in page.links if link.startswith("?at__gte=") and "at__lt=" in link][:1]
    assert "talk" in site.get(f"{AUDIT}{today}").text


def test_a_day_is_enough_of_a_time(site, waiting):
    client.suspend("talk", actor=site.user)

    assert "1 audit log entry" in site.get(AUDIT, at__gte="2020-01-01").text
    assert "0 audit log entries" in site.get(AUDIT, at__gte="2020-01-01", at__lt="2020-01-02").text


def test_it_is_filtered_by_nothing_but_its_filters(site):
    for lookup in ("reason__regex", "at__year", "arguments__a", "at__lte", "nothing"):
        assert site.get(AUDIT, **{lookup: "1"}).status == 400
        assert site.get(f"{AUDIT}export/", **{lookup: "1"}).status == 400


def test_what_cannot_be_stored_is_not_looked_for(site):
    wrong = {"at__gte": "0001-01-01T00:00:00+14:00", "at__lt": "yesterday", "instance": "a\0b", "verb": "\0", "q": "\0"}
    for name, value in wrong.items():
        page = site.get(AUDIT, **{name: value})

        assert (page.status, page.response.headers["Location"]) == (302, f"{AUDIT}?e=1")
        assert site.get(f"{AUDIT}export/", **{name: value}).status == 302


def test_what_no_index_finds_is_looked_for_among_so_many(site, monkeypatch):
    monkeypatch.setattr(operations, "_AMONG", 4)
    Operation.objects.bulk_create(
        Operation(verb="rewind" if n in (1, 9) else "suspend", instance_id=f"i{n}", at=DAY + timedelta(minutes=n // 2))
        for n in range(10)
    )

    pages = [site.get(AUDIT, verb="rewind")]
    while further := re.findall('href="([^"]+)" rel="next"', pages[-1].text):
        pages.append(site.get(AUDIT + unescape(further[0])))
        assert len(pages) < 9

    assert [re.findall(r"/instance/(i\d)/", page.text) for page in pages] == [["i9"], [], ["i1"]]
    assert ["no further" in page.text for page in pages] == [True, True, False]
    for query in ({}, {"instance": "i1"}, {"at__gte": "2020-01-01"}, {"instance": "i1", "verb": "rewind"}):
        assert "no further" not in site.get(AUDIT, **query).text
    assert [row["instance_id"] for row in rows(site.client.get(f"{AUDIT}export/?verb=rewind"))] == ["i9", "i1"]
