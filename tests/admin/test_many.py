"""From the list to a batch: what is chosen, what would become of it, and what does."""

from __future__ import annotations

import pytest
from django.contrib.admin.utils import quote

from durable import client
from durable.client import batching
from durable.models import BatchItem, Instance, Operation
from durable.testing.factories import InstanceFactory
from tests.admin.conftest import EVERY, Site
from tests.admin.test_verbs import everything
from tests.driving import register


@pytest.fixture
def crowd(engine, talk):
    """Return a dozen instances that wait, and two that have ended."""
    register(batching.run)
    for each in (batching.collect, batching.do_page, batching.skip):
        register(each)
    for n in range(12):
        talk.options(id=f"t{n:02}", tags={"n": n % 2}).start("hush")
    InstanceFactory(id="z1", name="talk", status="completed")
    InstanceFactory(id="z2", name="talk", status="failed")
    engine.run_until_quiet()
    return engine


def chosen(site, verb, ids=(), query="", **more):
    """Return the page that the list leads to."""
    return site.post("batch/", {"verb": verb, "id": list(ids), "query": query, **more})


def confirm(site, page, ids=(), **changed):
    """Look at a changed form again, and confirm."""
    if changed:
        page = site.post("batch/", {**page.form(**changed, preview="1"), "id": list(ids)})
    return site.post("batch/", {**page.form(confirm="1"), "id": list(ids)})


def test_what_would_become_of_the_chosen_ones_is_said_and_nothing_is_done(site, crowd):
    before = everything()

    page = chosen(site, "cancel", ["t00", "t01", "z1"])

    assert "Of the first 3, 2 would be done and 1 refused." in page.text
    assert "is completed" in page.text
    assert everything() == before


def test_the_chosen_ones_are_done_and_no_others(site, crowd):
    page = chosen(site, "suspend", ["t00", "t01", "z1"])

    done = confirm(site, page, ["t00", "t01", "z1"], reason="wait", children="on")
    crowd.run_until_quiet()

    report = client.batch_report(done.response["Location"].split("/")[-3])
    assert report.counts == {"done": 2, "refused": 1}
    assert set(Instance.objects.filter(status="suspended").values_list("pk", flat=True)) == {"t00", "t01"}
    assert Operation.objects.filter(verb="suspend", outcome="done", reason="wait").count() == 2
    shown = site.get(done.response["Location"])
    assert "is completed" in shown.text
    assert "3/3" in shown.text
    assert done.response["Location"] in site.get("batches/").links


@pytest.mark.parametrize(
    ("query", "expected"),
    [("?workflow=talk&status=open&tag=n%3D1", 6), ("?q=t0", 10), ("", 14), ("?q=hush", 0), ("?status=failed", 1)],
)
def test_all_that_match_are_done(site, crowd, query, expected):
    page = chosen(site, "cancel", query=query, all="1")
    if not expected:
        assert page.status == 302
        return
    assert f"to {expected} instance{'s' if expected > 1 else ''}" in page.text

    done = confirm(site, page)
    crowd.run_until_quiet()

    report = client.batch_report(done.response["Location"].split("/")[-3])
    assert report.total == expected


def test_all_that_an_error_matches_are_done(site, crowd):
    page = chosen(site, "purge", query="?q=it+failed", all="1")

    confirm(site, page)
    crowd.run_until_quiet()

    assert not Instance.objects.filter(pk="z2").exists()
    assert Instance.objects.filter(pk="z1").exists()


def test_a_batch_that_is_sent_twice_is_begun_once(site, crowd):
    page = chosen(site, "cancel", ["t00"])

    first, second = confirm(site, page, ["t00"]), confirm(site, page, ["t00"])

    batch_id = first.response["Location"].split("/")[-3]
    assert second.response["Location"].endswith(f"/{batch_id}/change/")
    assert Instance.objects.filter(name="durable.batch").count() == 1


def test_a_confirmation_has_to_be_of_what_was_previewed(site, crowd):
    page = chosen(site, "suspend", ["t00"])

    done = site.post("batch/", {**page.form(children="on", confirm="1"), "id": ["t00"]})

    assert done.status == 409
    assert not Instance.objects.filter(name="durable.batch").exists()


def test_a_try_of_all_changes_nothing(site, crowd):
    page = chosen(site, "cancel", query="?status=open", all="1")

    done = site.post("batch/", page.form(look="1"))
    crowd.run_until_quiet()

    assert client.batch_report(done.response["Location"].split("/")[-3]).counts == {"done": 12}
    assert "only a try" in site.get(done.response["Location"]).text
    assert Instance.objects.filter(status="canceled").count() == 0


def test_signals_and_upgrades_take_their_arguments(site, crowd):
    page = chosen(site, "signal", ["t00", "t01"])
    assert 'name="confirm"' not in page.text

    confirm(site, page, ["t00", "t01"], name="go", payload='{"a": 1}')
    crowd.run_until_quiet()

    assert client.get("t00").result() == {"a": 1}
    assert "Version" in chosen(site, "restart", ["z2"]).text
    assert "Id of the new instance" not in chosen(site, "restart", ["z2"]).text


@pytest.mark.parametrize(
    "given",
    [{"verb": "cancel"}, {"verb": "", "id": "t00"}, {"verb": "rerun", "id": "t00"}, {"id": "t00"}, {}],
    ids=str,
)
def test_what_cannot_be_taken_leads_back_to_the_list(site, crowd, given):
    page = site.post("batch/", {"query": "?status=open", **given})

    assert page.response["Location"] == "/admin/durable/instance/?status=open"


def test_it_leads_nowhere_else(site, crowd):
    page = site.post("batch/", {"query": "https://example.com/"})

    assert page.response["Location"] == "/admin/durable/instance/"
    assert site.get("batch/").status == 302


@pytest.mark.parametrize("verb", ["cancel", "rewind", "purge"])
def test_verbs_need_their_permission(staff, crowd, verb):
    site = Site(staff("view_instance"))

    assert chosen(site, verb, ["t00"]).status == 403
    assert Operation.objects.filter(verb=verb, outcome="denied").count() == 1
    assert 'name="verb"' not in site.get().text


def test_a_restart_that_terminates_first_needs_to_terminate_beside(staff, crowd):
    site = Site(staff("view_instance", "repair_instance"))
    page = chosen(site, "restart", ["t00"])

    assert site.post("batch/", {**page.form(terminate_first="on", preview="1"), "id": ["t00"]}).status == 403


def test_those_not_done_are_tried_again(site, crowd):
    done = confirm(site, chosen(site, "cancel", ["t00", "z1"]), ["t00", "z1"])
    crowd.run_until_quiet()
    where = done.response["Location"]
    assert "Once more" in site.get(where).text

    again = site.post(where, {})
    crowd.run_until_quiet()

    assert client.batch_report(again.response["Location"].split("/")[-3]).counts == {"refused": 1}


def test_no_report_of_what_is_no_batch(site, crowd):
    assert site.page("t00", "report/").status == 404
    assert Site(site.user).page("none", "report/").status == 302


def test_errors_in_the_report_quote_no_payloads(staff, site, crowd, fresh):
    done = confirm(site, chosen(site, "upgrade", ["t00"]), ["t00"], to="7")
    crowd.run_until_quiet()
    where = done.response["Location"]
    assert "version 7" in Site(staff("view_instance", name="eve")).get(where).text, "which is no payload"

    BatchItem.objects.update(error="InvalidInput: charge(amount): 'swordfish' is no int")

    assert "swordfish" in site.get(where).text
    assert "InvalidInput: ***" in Site(staff("view_instance", name="bob")).get(where).text


def test_a_group_of_failures_is_rewound_from_its_row(site, staff, engine, flow, bank, crowd):
    Instance.objects.filter(pk="z2").delete()
    for n in range(3):
        flow.options(id=f"f{n}").start(n)
    engine.run_until_quiet()
    bank["up"] = True
    page = site.get("failures/")
    assert "Rewind all" in page.text
    assert "last hour: 3" in page.text
    assert "Rewind all" not in Site(staff("view_instance", name="bob")).get("failures/").text

    sent = {name: page.fields[name] for name in ("verb", "all", "query")}
    looked = site.post("batch/", sent)
    assert "Of the first 3, 3 would be done and 0 refused." in looked.text
    confirm(site, looked)
    crowd.run_until_quiet()

    assert {client.status(f"f{n}") for n in range(3)} == {"completed"}


def test_a_batch_can_be_cancelled_from_its_report(site, staff, crowd):
    batch = client.batch("suspend", ["t00"])
    report = f"{batch.id}/report/"
    link = f"/admin/durable/instance/{quote(batch.id)}/do/cancel/"
    assert link in site.get(report).links
    assert link not in Site(staff("view_instance", name="bob")).get(report).links

    crowd.run_until_quiet()

    assert link not in site.get(report).links


def test_a_batch_says_who_began_it_and_why(site, crowd):
    done = confirm(site, chosen(site, "cancel", ["t00"]), ["t00"], reason="two of them were typed in by hand")
    crowd.run_until_quiet()

    text = site.get(done.response["Location"]).text

    assert '<dd translate="no">ada</dd>' in text
    assert "two of them were typed in by hand" in text


def test_of_a_batch_nobody_learns_of_instances_that_they_may_not_see(staff, settings, crowd, talk):
    batch = client.batch("cancel", ["t00", "t01"], id="own-batch", actor="ada")
    crowd.run_until_quiet()
    assert client.batch_report(batch.id).counts == {"done": 2}
    settings.AUTHENTICATION_BACKENDS = ["tests.admin.test_permissions.OwnOnly"]
    site = Site()
    site.client.force_login(staff(*EVERY), backend=settings.AUTHENTICATION_BACKENDS[0])

    shown = [site.page("own-batch", rest) for rest in ("change/", "explain/", "download/")]
    shown.append(site.page("own-batch", history="full"))
    shown += [site.get(f"/api/v1/instances/own-batch/{part}") for part in ("", "history/", "timeline/", "work/")]
    hidden = [site.page("own-batch", "report/"), site.get("/api/v1/batches/own-batch/")]

    assert [page.status for page in shown] == [200] * len(shown)
    assert [page.status for page in hidden] == [403, 403]
    assert not [page.text for page in (*shown, *hidden) if "t00" in page.text or "t01" in page.text]
