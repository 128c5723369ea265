"""What operators come for, from the first page to the last, in a browser."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from playwright.sync_api import expect

from durable import client
from durable.models import Instance, Operation
from project.demo.workflows import refund
from tests.browser.conftest import INVOICES

pytestmark = pytest.mark.timeout(300)
FIRST, LAST = f"invoice-{INVOICES[0]}", f"invoice-{INVOICES[-1]}"


def test_somebody_signs_in_finds_what_failed_and_looks_at_it(arrive, invoices, operator):
    operator.set_password("correct horse")
    operator.save()
    visit = arrive()
    page = visit.go("durable/instance/").page

    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill("correct horse")
    visit.click("button", "Log in")
    page.get_by_role("searchbox", name="Search", exact=True).fill("invoice-18")
    page.get_by_role("searchbox", name="Search", exact=True).press("Enter")
    page.get_by_role("navigation", name="By status").get_by_role("link", name=re.compile("failed")).click()

    expect(page.locator("#result_list tbody tr")).to_have_count(10)
    page.get_by_text("Filters", exact=True).click()
    page.locator("#durable-filters input[name=workflow]").fill("refund")
    visit.click("button", "Filter")
    expect(page.get_by_text("No instance fits these filters.")).to_be_visible()
    page.get_by_role("link", name=re.compile("Workflow: refund")).click()
    visit.click("link", "invoice-185")
    expect(page.get_by_text("BankDown: no answer about invoice 185").first).to_be_visible()
    expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
    bars = page.locator(".durable-timeline .durable-bar")
    assert bars.count() >= 3
    assert all(bars.nth(n).bounding_box()["width"] > 0 for n in range(3))
    visit.shoot("found")


def test_a_rewind_says_what_would_come_of_it_and_does_that(visit, crew, invoices):
    page = visit.instance(LAST).page

    visit.click("link", "Rewind")
    expect(page.locator("#preview")).to_contain_text("Run again (1)")
    page.get_by_label("Reason:").fill("the bank is back")
    visit.click("button", "Preview")
    expect(page.locator("#preview")).to_contain_text("Kept, not done again (2)")
    assert client.status(LAST) == "failed"
    visit.shoot("rewind-preview")
    visit.click("button", "Rewind")
    expect(page.locator(".messagelist .success")).to_be_visible()
    crew.work()

    expect(page.locator(".durable-head .durable-badge")).to_have_text("completed")  # by itself
    assert client.status(LAST) == "completed"
    assert (
        Operation.objects.filter(verb="rewind", outcome="done", dry_run=False, reason="the bank is back").count() == 1
    )


def test_a_rerun_begins_with_another_input(visit, crew, invoices):
    page = visit.instance(LAST).page

    page.get_by_role("row", name=re.compile("activity collect")).get_by_role("link", name="Rerun from here").click()
    page.get_by_label("Id of the new instance:").fill("corrected")
    page.get_by_label("Input of the activity:").fill('{"args": [190, "71.10"], "kwargs": {}}')
    page.get_by_label("Activities that were scheduled with it:").select_option("keep")
    visit.click("button", "Preview")
    visit.click("button", "Rerun from an activity")
    crew.work()

    page.reload()
    expect(page.get_by_role("heading", name="corrected")).to_be_visible()
    expect(page.get_by_text('"invoice 190: receipt for 71.10"').first).to_be_visible()
    assert client.get("corrected").result(timeout=0) == "invoice 190: receipt for 71.10"
    visit.shoot("rerun-done")


def test_an_upgrade_that_does_not_fit_is_refused_and_one_that_fits_is_done(visit, crew, refunds):
    page = visit.instance("refund-2").page

    visit.click("link", "Upgrade")
    expect(page.locator("#preview")).to_contain_text("history has ActivityScheduled(ask_manager)")
    expect(page.get_by_role("button", name="Upgrade")).to_have_count(0)
    expect(page.get_by_role("link", name=re.compile("Rerun from event 0"))).to_be_visible()

    visit.instance("refund-1")
    visit.click("link", "Upgrade")
    expect(page.locator("#preview")).to_contain_text("on version 2")
    visit.click("button", "Upgrade")
    expect(page.locator(".messagelist .success")).to_be_visible()

    versions = Instance.objects.filter(name="refund").order_by("pk").values_list("version", flat=True)
    assert list(versions) == [2, 0]


def test_a_group_of_failures_is_rewound_by_a_batch(visit, crew, invoices):
    page = visit.go("durable/instance/failures/").page

    visit.click("link", "20")
    expect(page.locator("#result_list tbody tr")).to_have_count(len(INVOICES))
    page.get_by_label("Choose all on this page").check()
    expect(page.locator(".durable-count")).to_have_text("20 chosen")
    page.get_by_label(FIRST, exact=True).uncheck()
    expect(page.locator(".durable-count")).to_have_text("19 chosen")
    page.get_by_label("With the chosen ones:").select_option("rewind")
    visit.click("button", "Preview")
    expect(page.locator("#preview")).to_contain_text("Of the first 19, 19 would be done and 0 refused.")
    page.get_by_label("Reason:").fill("the bank is back")
    visit.click("button", "Preview")
    visit.shoot("many-preview")
    visit.click("button", "Rewind: 19 instances")
    expect(page.locator(".durable-head .durable-badge")).not_to_have_text("completed")
    crew.work()

    expect(page.get_by_text("19/19")).to_be_visible()  # by itself
    visit.shoot("batch-report")
    assert Instance.objects.filter(name="invoice", status="completed").count() == len(INVOICES) - 1
    visit.click("link", "Audit log")
    expect(page.locator("#result_list tbody tr")).to_have_count(20)
    expect(page.locator("#result_list")).to_contain_text("the bank is back")


def test_somebody_who_may_only_look_sees_no_action(arrive, invoices, staff):
    visit = arrive().sign_in(staff("view_instance", name="bob"))
    page = visit.go("durable/instance/?status=failed").page

    expect(page.locator("#result_list tbody tr")).to_have_count(len(INVOICES))
    expect(page.locator("#content button:visible")).to_have_count(1)  # the search
    expect(page.get_by_role("checkbox")).to_have_count(0)
    visit.click("link", LAST)

    expect(page.get_by_text("The failure is hidden")).to_be_visible()
    expect(page.locator(".durable-verbs")).to_have_count(0)
    expect(page.get_by_role("link", name=re.compile("Rewind|Rerun"))).to_have_count(0)
    expect(page.locator("#content")).not_to_contain_text("no answer")


def test_a_rewind_needs_no_mouse(visit, crew, invoices):
    page = visit.instance(LAST).page

    visit.tab_to("Rewind")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Rewind")).to_be_visible()
    visit.tab_to("Rewind")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Enter")
    expect(page.locator(".messagelist .success")).to_be_visible()
    crew.work()

    assert client.status(LAST) == "completed"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system_and_can_be_chosen(arrive, operator, invoices, scheme):
    visit = arrive(scheme=scheme).sign_in(operator)
    page = visit.go("durable/instance/").page

    assert is_dark(page) == (scheme == "dark")
    page.evaluate("theme => localStorage.setItem('theme', theme)", "light" if scheme == "dark" else "dark")
    page.reload()
    assert is_dark(page) == (scheme != "dark")


def is_dark(page):
    """Say whether our badges are light letters on a dark ground."""
    ground, letters = (
        sum(
            int(n) for n in re.findall(r"\d+", page.locator(css).first.evaluate(f"e => getComputedStyle(e).{what}"))[:3]
        )
        for css, what in (("body", "backgroundColor"), ("#result_list .durable-failed", "color"))
    )
    return ground < letters


def test_a_list_keeps_what_was_chosen_as_it_refreshes(visit, invoices):
    page = visit.go("durable/instance/").page
    page.get_by_label(LAST, exact=True).check()
    Instance.objects.filter(pk=FIRST).update(status="terminated")

    expect(page.locator(f"tr[data-id={FIRST}] .durable-badge")).to_have_text("terminated")
    expect(page.get_by_label(LAST, exact=True)).to_be_checked()


def test_a_workflow_is_started_by_a_form(visit, crew):
    page = visit.go("durable/instance/definitions/").page

    expect(page.get_by_role("row", name=re.compile(r"^refund \("))).to_contain_text("number: int, amount: Decimal")
    visit.shoot("definitions")
    page.get_by_role("row", name=re.compile(r"^refund \(")).get_by_role("link").click()
    page.get_by_label("number:").fill("7")
    page.get_by_label("Id of the new instance:").fill("refund-7")
    page.get_by_label("Tags:").fill("customer=Ada\nvip=true")
    visit.click("button", "Preview")  # and forgets the amount
    expect(page.locator(".errorlist")).to_contain_text("This field is required.")
    visit.complaints.clear()  # that it is answered so
    page.get_by_label("amount:").fill("12.50")
    visit.click("button", "Preview")
    expect(page.locator("#preview")).to_contain_text('"12.50"')
    assert not Instance.objects.exists()
    visit.shoot("start-preview")
    visit.click("button", "Start")

    expect(page.get_by_role("heading", name="refund-7")).to_be_visible()
    expect(page.locator(".messagelist .success")).to_be_visible()
    crew.work()
    found = client.get("refund-7").instance
    assert found.input == {"args": [7, "12.50"], "kwargs": {}}
    assert found.tags == {"customer": "Ada", "vip": True}
    assert Operation.objects.get(verb="start").actor_name == "ada"


def test_a_filter_is_saved_and_gone_by(visit, invoices, refunds, arrive, staff):
    page = visit.go("durable/instance/?status=failed&workflow=invoice").page

    page.get_by_text("Save these filters").click()
    page.get_by_label("Name", exact=True).fill("Unpaid")
    page.get_by_label("for everybody").check()
    visit.click("button", "Save")
    expect(page.locator(".messagelist .success")).to_be_visible()

    other = arrive().sign_in(staff("view_instance", name="bob"))
    seen = other.go("durable/instance/").page
    expect(seen.locator("#result_list tbody tr")).to_have_count(len(INVOICES) + 2)
    seen.get_by_role("navigation", name="Saved filters").get_by_role("link", name=re.compile("Unpaid")).click()
    expect(seen.locator("#result_list tbody tr")).to_have_count(len(INVOICES))
    other.shoot("saved-filter")
    other.click("link", "Manage")
    expect(seen.get_by_role("button", name=re.compile("Delete"))).to_have_count(0)
    visit.click("link", "Manage")
    assert visit.barriers() == []
    visit.shoot("saved-filters")
    page.get_by_role("button", name="Delete Unpaid").click()
    expect(page.get_by_text("No filter is saved.")).to_be_visible()


def test_time_travel_shows_the_code_as_it_stood(visit, invoices):
    page = visit.instance(LAST).page

    visit.click("link", "Where the code stands")
    expect(page.get_by_role("heading", name=re.compile("ActivityError: activity collect"))).to_be_visible()
    last = 8
    for _ in range(2):  # what the code did at once is one moment
        page.get_by_role("link", name=re.compile("A step back")).click()
        page.wait_for_url(lambda url, last=last: 0 < int(re.search(r"at=(\d+)", url).group(1)) < last)
        last = int(re.search(r"at=(\d+)", page.url).group(1))
    expect(page.locator(".durable-head")).to_contain_text(f"after event {last} of 8")
    expect(page.get_by_role("heading", name=re.compile("Task .* waits for"))).not_to_have_count(0)
    visit.shoot("time-travel")
    page.get_by_role("link", name=re.compile("A step on")).click()
    expect(page.locator(".durable-head")).to_contain_text("of 8")
    visit.instance(LAST)
    page.get_by_role("row", name=re.compile("activity look_up")).get_by_role("link", name="Code then").click()
    expect(page.get_by_role("heading", name="Where the code stands")).to_be_visible()
    expect(page.locator("#content")).to_contain_text("look_up")


def test_what_a_rewind_changed_is_laid_side_by_side(visit, crew, invoices, operator):
    crew.do(lambda: client.rewind(LAST, reason="the bank is back", actor=operator))
    crew.work()
    page = visit.instance(LAST).page

    visit.click("link", "Compare with the current one")
    expect(page.get_by_role("heading", name="Side by side")).to_be_visible()
    changes = page.locator(".durable-compare tbody tr")
    some = changes.count()
    assert some > 0
    expect(page.locator(".durable-change-only_b").first).to_contain_text("Execution")
    visit.click("link", "All events")
    expect(page.get_by_text("same", exact=True).first).to_be_visible()
    assert changes.count() > some


def test_two_hundred_are_canceled_by_a_batch_that_shows_its_progress(visit, crew):
    crew.do(lambda: [refund.options(id=f"many-{n:03}", delay=3600).start(n, Decimal(20)) for n in range(200)])
    page = visit.go("durable/instance/?q=many-").page

    page.get_by_label("all 200 that match").check()
    page.get_by_label("With the chosen ones:").select_option("cancel")
    visit.click("button", "Preview")
    expect(page.locator("#preview")).to_contain_text("Of the first 20, 20 would be done and 0 refused.")
    visit.click("button", "Cancel: 200 instances")
    expect(page.get_by_text("0/200").or_(page.get_by_text("0/0"))).to_be_visible()
    crew.work()

    expect(page.get_by_text("200/200")).to_be_visible()  # by itself
    expect(page.locator("progress")).to_have_attribute("max", "200")
    visit.shoot("batch-of-200")


def test_forms_work_without_scripts(arrive, crew, invoices, operator):
    visit = arrive(scripts=False).sign_in(operator)
    page = visit.go("durable/instance/?status=failed").page

    expect(page.get_by_label("Refresh by itself")).to_be_hidden()
    page.get_by_label(LAST, exact=True).check()
    page.get_by_label("With the chosen ones:").select_option("rewind")
    visit.click("button", "Preview")
    visit.click("button", "Rewind: 1 instance")
    crew.work()

    assert client.status(LAST) == "completed"


@pytest.mark.parametrize("width", [1280, 390])
def test_pages_can_be_read_from_right_to_left(arrive, invoices, operator, width):
    visit = arrive(locale="ar", width=width).sign_in(operator)
    for name, address in {"list": "", "failed": f"{LAST}/change/", "rewind": f"{LAST}/do/rewind/"}.items():
        page = visit.go(f"durable/instance/{address}").page
        assert page.locator("html").get_attribute("dir") == "rtl"
        visit.shoot(f"rtl-{name}-{width}")
        assert visit.overflow() <= 0, name
    for n in range(page.locator("pre").count()):
        assert page.locator("pre").nth(n).evaluate("e => getComputedStyle(e).direction") == "ltr"


@pytest.mark.parametrize("language", ["de", "fr", "es"])
def test_words_of_other_languages_fit(arrive, invoices, operator, language):
    visit = arrive(locale=language, width=390, height=844).sign_in(operator)
    for name, address in {"list": "", "failed": f"{LAST}/change/", "rewind": f"{LAST}/do/rewind/"}.items():
        page = visit.go(f"durable/instance/{address}").page
        assert page.locator("html").get_attribute("lang") == language
        visit.shoot(f"{language}-{name}")
        assert visit.overflow() <= 0, name
