"""What all tests share."""

from __future__ import annotations

import os

import pytest
from django.conf import settings as django_settings
from django.db import connections
from django.test import TransactionTestCase
from hypothesis import HealthCheck, settings

from durable import conf
from durable.engine import cache, pace, presence, running
from durable.store import clock
from durable.testing.clocks import Clock
from tests import driving, emptying

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

STRICT = os.environ.get("DURABLE_STRICT") == "1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out on other databases what is marked ``once``."""
    if django_settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        return
    once = [item for item in items if item.get_closest_marker("once")]
    if once:
        config.hook.pytest_deselected(items=once)
        items[:] = [item for item in items if item not in set(once)]


@pytest.fixture(autouse=True)
def strictness(request, monkeypatch):
    """Run all in strict mode, if the environment says so, but what is marked."""
    monkeypatch.setattr(conf.Settings, "STRICT", STRICT and request.node.get_closest_marker("lenient") is None)


@pytest.fixture(scope="session", autouse=True)
def quick_emptying():
    """Empty the database after tests with real commits in our own way, not by Django's ``flush``."""

    def teardown(case):
        for alias in case._databases_names(include_mirrors=False):
            emptying.empty(connections[alias])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", teardown)
        yield


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix):
    """Let SQLite not wait for the disk: what a test writes need not outlive the machine."""
    for database in django_settings.DATABASES.values():
        if command := database.get("OPTIONS", {}).get("init_command"):
            database["OPTIONS"]["init_command"] = command.replace("synchronous=FULL", "synchronous=OFF")


@pytest.fixture
def fresh():
    """Leave nothing behind: no definitions, no live executions, no thread, no time asked for."""
    with driving.definitions():
        yield
    presence.stop()
    cache.clear()
    running.close_connections()
    clock.forget()
    pace.forget()


@pytest.fixture
def engine(db, fresh):
    """All workers of a project, in the test's thread; the database is rolled back afterwards."""
    return driving.Engine()


@pytest.fixture
def committing(transactional_db, fresh):
    """The same with real commits: ``on_commit`` runs, and other threads see what was written."""
    return driving.Engine()


@pytest.fixture
def time(fresh):
    """The database's clock, which a test can put forward."""
    with Clock() as driven:
        yield driven


@pytest.fixture(params=["in place", "handed out"])
def path(request, settings):
    """Both ways an activity can run: in the worker that ended the turn, or in any that takes its task."""
    settings.DURABLE = {"RUN_INLINE": request.param == "in place"}
    return request.param
