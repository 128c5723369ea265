"""Filters that are saved: for oneself, for everybody, and for those who may."""

from __future__ import annotations

from datetime import timedelta

import pytest

from durable.models import Instance, Operation, SavedFilter
from durable.store import clock
from tests.admin.conftest import Site
from tests.admin.test_list import shown, some

__all__ = ["some"]


def save(site, name, query="?status=failed", **more):
    return site.post("filters/", {"query": query, "name": name, **more}, follow=True)


def links(page):
    """Return where the saved filters of a list lead, by their names as they are shown."""
    nav = page.text.partition("durable-saved")[2].partition("</nav>")[0]
    return [part.partition('"')[0].replace("&amp;", "&") for part in nav.split('href="')[1:-1]]


def test_a_filter_is_saved_by_a_name_and_gone_by(site, some):
    assert "Save these filters" not in site.get().text
    page = site.get(workflow="mail", status="completed", tag="customer=42")
    done = save(site, "Ada's mail", page.fields["query"])
    assert "is saved" in done.text

    (link,) = links(site.get())

    assert shown(site.get(f"/admin/durable/instance/{link}")) == ["b2"]
    assert 'aria-current="true" translate="no">Ada&#x27;s mail' in site.get(f"/admin/durable/instance/{link}").text


def test_the_place_in_the_list_is_not_saved(site, some):
    save(site, "mail", "?workflow=mail&older=2026-03-05T00%3A00%3A00%2B00%3A00+c1&unknown=1")

    assert links(site.get()) == ["?workflow=mail"]


def test_a_name_that_is_used_again_is_another_filter(site, some):
    save(site, "mine", "?status=failed")
    save(site, "mine", "?status=stalled")

    assert links(site.get()) == ["?status=stalled"]
    assert SavedFilter.objects.count() == 1


@pytest.mark.parametrize(
    ("name", "query", "problem"),
    [
        ("", "?status=failed", "by a name of"),
        ("x" * 101, "?status=failed", "by a name of"),
        ("a\0b", "?status=failed", "by a name of"),
        ("mine", "", "nothing to save"),
        ("mine", "?unknown=1", "nothing to save"),
        ("mine", "?status=none", "nothing to save"),
        ("mine", "?version=x&status=failed", "nothing to save"),
    ],
    ids=["no-name", "long-name", "unprintable-name", "no-filter", "unknown-field", "no-status", "no-version"],
)
def test_what_cannot_be_saved_is_told(site, some, name, query, problem):
    assert problem in save(site, name, query).text
    assert not SavedFilter.objects.exists()


def test_nobody_saves_without_end(site, some, monkeypatch):
    monkeypatch.setattr("durable.admin.saved.MOST", 2)
    for name in ("a", "b"):
        save(site, name)

    assert "delete some first" in save(site, "c").text
    assert "is saved" in save(site, "b").text


def test_what_is_saved_for_oneself_nobody_else_sees(staff, some):
    ada = Site(staff("view_instance", "share_savedfilter", name="ada"))
    bob = Site(staff("view_instance", "share_savedfilter", name="bob"))
    save(ada, "mine", "?status=failed")
    save(ada, "ours", "?status=stalled", is_shared="1")

    assert links(bob.get()) == ["?status=stalled"]
    assert links(ada.get()) == ["?status=failed", "?status=stalled"]
    assert "mine" not in bob.get("filters/").text
    mine = SavedFilter.objects.get(name="mine")
    bob.post("filters/", {"delete": str(mine.pk)})
    assert SavedFilter.objects.filter(name="mine").exists()


def test_to_save_for_everybody_takes_a_permission(staff, some):
    carl = Site(staff("view_instance", name="carl"))
    ada = Site(staff("view_instance", "share_savedfilter", name="ada"))

    assert save(carl, "ours", is_shared="1").status == 403
    assert "for everybody" not in carl.get(status="failed").text
    assert "for everybody" in ada.get(status="failed").text
    save(ada, "ours", is_shared="1")
    ours = SavedFilter.objects.get()
    assert "Delete" not in carl.get("filters/").text
    assert carl.post("filters/", {"delete": str(ours.pk)}).status == 403
    denied = Operation.objects.order_by("pk").values_list("verb", "actor_name", "arguments", "outcome")
    assert list(denied) == [(verb, "carl", {"name": "ours"}, "denied") for verb in ("save_filter", "delete_filter")]
    assert "Save a filter" in ada.get("/admin/durable/operation/").text
    save(carl, "ours", "?status=stalled")  # one of the same name, for himself
    assert SavedFilter.objects.count() == 2


def test_what_is_saved_can_be_deleted(site, some):
    save(site, "mine")
    assert "Delete" in site.get("filters/").text
    (found,) = SavedFilter.objects.all()

    site.post("filters/", {"delete": str(found.pk)})

    assert not SavedFilter.objects.exists()
    for nothing in (str(found.pk), "x", "9" * 30):
        assert site.post("filters/", {"delete": nothing}).status == 302
    assert "No filter is saved" in site.get("filters/").text


def test_they_are_for_those_who_may_see_the_list(staff, some):
    site = Site(staff("operate_instance", "share_savedfilter"))

    bea = Site(staff("view_instance", "share_savedfilter", name="bea"))
    save(bea, "ours", is_shared="1")
    save(bea, "hers")
    Operation.objects.all().delete()

    assert site.get("filters/").status == 403
    assert save(site, "mine").status == 403
    for each in (*SavedFilter.objects.order_by("name"), SavedFilter(pk=0)):
        assert site.post("filters/", {"delete": str(each.pk)}).status == 403
    denied = Operation.objects.order_by("pk").values_list("verb", "arguments__name", "outcome")
    assert list(denied) == [("save_filter", "mine", "denied")] + [
        ("delete_filter", name, "denied")
        for name in ("", "ours", "")  # whose they are, the names are for
    ]
    assert SavedFilter.objects.count() == 2


def test_a_field_that_is_no_more_is_passed_over(site, some):
    save(site, "mine", "?status=failed")
    SavedFilter.objects.update(fields={"status": "failed", "colour": "red"})

    assert links(site.get()) == ["?status=failed"]
    assert "red" not in site.get("filters/").text


def test_how_long_ago_it_began_is_counted_from_when_one_looks(site, some, monkeypatch):
    save(site, "fresh", "?started=hour")
    now = clock.now()
    Instance.objects.filter(pk="a1").update(started_at=now - timedelta(minutes=50))
    Instance.objects.filter(pk="b2").update(started_at=now - timedelta(hours=3))
    (link,) = links(site.get())

    page = site.get(f"/admin/durable/instance/{link}")
    assert shown(page) == ["a1"]
    assert "in the last hour" in page.text
    assert "in the last hour" in site.get("filters/").text
    assert shown(site.get(started="day")) == ["b2", "a1"]
    assert shown(site.get(started="day", started_since=f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M}")) == ["a1"]

    monkeypatch.setattr("durable.admin.filtering.clock.now", lambda: now + timedelta(minutes=20))
    assert shown(site.get(f"/admin/durable/instance/{link}")) == []
