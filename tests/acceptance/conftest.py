"""The database, the broker and the workers that the acceptance tests share."""

from __future__ import annotations

import contextlib
import os
import uuid
from typing import TYPE_CHECKING

import pytest
from celery import current_app
from django.core.management import call_command
from django.db import connection, connections

from durable import worker
from tests import driving
from tests.acceptance import faults, ledger
from tests.acceptance.workers import Broker, GivenBroker, Site, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WATCH_THE_CLOCK = {"test_4_leases.py", "test_7_timers.py"}
_TAIL = 6000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run these tests first and in the order of their files: they share their workers, and wait while others work."""
    here = str(os.path.dirname(__file__))
    ours = [item for item in items if str(item.path).startswith(here)]
    ours.sort(key=lambda item: str(item.path))
    items[:] = ours + [item for item in items if not str(item.path).startswith(here)]
    for item in ours:
        item.add_marker(pytest.mark.acceptance)
        if item.path.name in WATCH_THE_CLOCK:
            # Of a machine that others may use as well: one that fails is tried again, and the report says so.
            # Not the others: a race that is lost one time in ten is lost.
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Show what the workers logged when a test fails."""
    report = yield
    site = item.funcargs.get("site") if hasattr(item, "funcargs") else None
    if report.failed and isinstance(site, Site):
        for each in site.all:
            if (text := each.text()[site.seen.get(each.name, 0) :]).strip():
                report.sections.append((f"log of {each.name}", text[-_TAIL:]))
    return report


@pytest.fixture(scope="package")
def acceptance_site(django_db_blocker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A broker and a database of their own for all of these tests."""
    folder = tmp_path_factory.mktemp("acceptance")
    (folder / "faults").mkdir()
    url = os.environ.get("BROKER_URL", "")
    broker = GivenBroker(url) if url.startswith("amqp") else Broker(folder)
    broker.start()
    with pytest.MonkeyPatch.context() as patch, django_db_blocker.unblock(), _database(folder):
        patch.setenv(ledger.VARIABLE, str(folder / "ledger"))
        patch.setenv(faults.VARIABLE, str(folder / "faults"))
        _talk_to(patch, broker.url)
        from tests.acceptance.app import activities, workflows  # noqa: PLC0415 - known while they run only

        driving.register_all(activities, workflows)
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE {activities.EFFECTS} (what varchar(200) NOT NULL)")
        site = Site(folder, broker, _environment(broker.url))
        try:
            yield site
        finally:
            for each in site.all:
                each.kill()
            broker.stop()


@pytest.fixture
def site(acceptance_site: Site) -> Iterator[Site]:
    """The site, with no fault armed."""
    acceptance_site.seen = {each.name: len(each.text()) for each in acceptance_site.all}
    yield acceptance_site
    faults.disarm()


@pytest.fixture
def launch(site: Site) -> Iterator[Callable[..., Worker]]:
    """Start workers that end with the test; see ``Site.launch``."""
    mine: list[Worker] = []

    def start(**options) -> Worker:
        launched = site.launch(**options)
        mine.append(launched)
        return launched

    yield start
    for each in mine:
        each.kill()


@pytest.fixture(scope="package")
def crew(acceptance_site: Site) -> Worker:
    """The worker that most tests share: two processes on the default queue."""
    return acceptance_site.launch().await_ready()


@pytest.fixture
def key() -> str:
    """What names a test's instance, and what it did in the ledger."""
    return f"k{uuid.uuid4().hex[:12]}"


@contextlib.contextmanager
def _database(folder: Path) -> Iterator[None]:
    """Let this process use a new database, on the server that the settings name.

    The tests' usual one is emptied or rolled back under the workers' feet, and is not there when only these tests run.
    """
    usual, name = connection.settings_dict["NAME"], f"acceptance_{uuid.uuid4().hex[:8]}"
    is_file = connection.vendor == "sqlite"
    if not is_file:
        with connection._nodb_cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
    connections.close_all()
    connection.settings_dict["NAME"] = str(folder / f"{name}.sqlite3") if is_file else name
    try:
        call_command("migrate", verbosity=0, interactive=False)
        yield
    finally:
        connections.close_all()
        connection.settings_dict["NAME"] = usual
        if not is_file:
            with connection._nodb_cursor() as cursor:
                cursor.execute(f"DROP DATABASE {name}")


def _environment(broker_url: str) -> dict[str, str]:
    return {
        "DJANGO_SETTINGS_MODULE": "tests.acceptance.settings",
        "ACCEPTANCE_DATABASE": str(connection.settings_dict["NAME"]),
        "BROKER_URL": broker_url,
        "PYTHONUNBUFFERED": "1",
    }
    # Inherited by the clients and workers as they are: DATABASE_URL, and where faults and ledger lie.


def _talk_to(patch: pytest.MonkeyPatch, broker_url: str) -> None:
    """Let this process, a client, publish to another broker than its settings name."""
    app = current_app._get_current_object()
    patch.setitem(app.conf, "broker_url", broker_url)
    patch.setitem(app.conf, "broker_transport_options", worker.RECOMMENDED["broker_transport_options"])
    for owner, name in ((app, "_pool"), (app.amqp, "_producer_pool")):
        patch.setattr(owner, name, None)
