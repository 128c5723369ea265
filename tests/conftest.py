"""What all tests share."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from durable import conf
from durable.engine import cache, pace, presence, running
from durable.store import clock
from durable.testing.clocks import Clock
from tests import driving

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

STRICT = os.environ.get("DURABLE_STRICT") == "1"


@pytest.fixture(autouse=True)
def strictness(request, monkeypatch):
    """Run all in strict mode, if the environment says so, but what is marked."""
    monkeypatch.setattr(conf.Settings, "STRICT", STRICT and request.node.get_closest_marker("lenient") is None)


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
