"""A browser, the site under a strict policy, and the demo project with work that went wrong."""

from __future__ import annotations

import shutil
from decimal import Decimal

import pytest
from django.conf import settings as project_settings
from django.test import override_settings
from playwright.sync_api import sync_playwright

from durable import client
from project.demo import activities, release2
from project.demo.workflows import invoice, refund
from project.shop import orders
from tests.admin.conftest import EVERY, someone, staff
from tests.browser.visiting import Crew, Visit
from tests.driving import forget, register

__all__ = ["someone", "staff"]

ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
INVOICES = range(171, 191)
REFUNDS = {1: Decimal(20), 2: Decimal(250)}
"""By number: of the second one, managers are told."""


def pytest_collection_modifyitems(items):
    """Mark all that is here."""
    for item in items:
        if "tests/browser/" in item.nodeid:
            item.add_marker("browser")


@pytest.fixture(scope="session")
def driver():
    """Chromium, as Debian packages it."""
    # The driver's event loop runs in the tests' thread, and Django refuses to ask a database there otherwise.
    with pytest.MonkeyPatch.context() as patched, sync_playwright() as playwright:
        patched.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def _strict():
    middleware = [*project_settings.MIDDLEWARE, "tests.browser.policy.strict"]
    with override_settings(MIDDLEWARE=middleware):  # the server reads it once, as it starts
        yield


@pytest.fixture(scope="session")
def site(_strict, live_server):
    """The address of the site."""
    return live_server.url


@pytest.fixture
def arrive(driver, site, transactional_db):
    """Open a browser; whatever is wrong on its console fails the test."""
    visits = []

    def make(
        *, width: int = 1280, height: int = 800, scheme: str = "light", locale: str = "en-US", scripts: bool = True
    ) -> Visit:
        context = driver.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            locale=locale,
            java_script_enabled=scripts,
            timezone_id="UTC",
        )
        # The site has no icon, and Chromium asks for one.
        context.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        visits.append(Visit(context.new_page(), site))
        return visits[-1]

    yield make

    for visit in visits:
        visit.page.context.close()
    complaints = [each for visit in visits for each in visit.complaints]
    assert not complaints, "\n".join(complaints)


@pytest.fixture
def operator(staff):
    """Somebody who may do everything."""
    return staff(*EVERY, "share_savedfilter")


@pytest.fixture
def visit(arrive, operator):
    """The visit of somebody who may do everything."""
    return arrive().sign_in(operator)


@pytest.fixture
def crew(transactional_db):
    """The workers."""
    crew = Crew()
    yield crew
    crew.leave()


@pytest.fixture
def bank(tmp_path, monkeypatch):
    """The file whose presence says that the bank is down."""
    monkeypatch.setattr(activities, "BANK_IS_DOWN", tmp_path / "bank-is-down")
    return tmp_path / "bank-is-down"


@pytest.fixture
def invoices(crew, bank):
    """Twenty invoices that failed while the bank was down; it is back."""
    bank.touch()
    crew.do(lambda: [invoice.options(id=f"invoice-{n}", tags={"number": n}).start(n) for n in INVOICES])
    crew.work()
    bank.unlink()


@pytest.fixture
def refunds(crew):
    """Refunds that wait for their approval, and a new version of their code, which one of them does not fit."""
    forget(release2.refund2)
    crew.do(lambda: [refund.options(id=f"refund-{n}").start(n, amount) for n, amount in REFUNDS.items()])
    crew.work()
    register(release2.refund2)
    yield
    forget(release2.refund2)


@pytest.fixture
def shop(crew, settings, tmp_path):
    """A shop's orders: some shipped, some waiting for somebody to approve them."""
    settings.GATEWAY_FILE = tmp_path / "gateway.sqlite3"
    few = tmp_path / "orders.csv"
    few.write_text("\n".join((orders.DATA / "orders.csv").read_text().splitlines()[:15]) + "\n")

    def begin() -> None:
        orders.fill_shelves()
        placed = orders.take_in(few, approval_within=24 * 3600)
        client.suspend(f"report-{placed[0].placed_on}", reason="not before all is shipped", actor="ada")

    crew.do(begin)
    crew.work()
