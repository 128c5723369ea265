"""Every case runs on live executions, and on ones that are replayed before each turn."""

from __future__ import annotations

import pytest

from durable import registry
from tests import driving
from tests.conformance.kit import Kit, Work


@pytest.fixture(params=["live", "replayed"])
def memory(request, settings):
    """What workers remember between two turns: all, or nothing, so that each turn begins with a replay."""
    live = request.param == "live"
    settings.DURABLE = {"CACHE_SIZE": 1000 if live else 0, "RUN_INLINE": live}
    return request.param


@pytest.fixture
def engine(memory, db, time):
    """All workers; what the case recorded is replayed at its end."""
    for definition in [*registry.workflows(), *registry.activities()]:
        if definition.fn.__module__.startswith("tests."):  # of other modules; ``fresh`` brings them back
            driving.forget(definition)
    kit = Kit(time)
    yield kit
    kit.replay_all()


@pytest.fixture(params=["in place", "handed out"])
def path(request, memory, settings):
    """Both ways an activity can run, with either memory."""
    settings.DURABLE = {**settings.DURABLE, "RUN_INLINE": request.param == "in place"}
    return request.param


@pytest.fixture
def handed_out(memory, settings):
    """Have no activity run where a turn ended, so that the case can choose when it runs."""
    settings.DURABLE = {**settings.DURABLE, "RUN_INLINE": False}


@pytest.fixture
def work(engine):
    """Activities that most cases need."""
    return Work()
