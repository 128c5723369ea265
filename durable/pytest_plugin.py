"""Fixtures for pytest, found by it where the package is installed.

Not a part of ``durable.testing``: pytest imports its plugins before Django is
set up. For the same reason, and so that coverage of what they lead to begins
in time, the fixtures import what they need when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from durable.core.definitions import WorkflowDefinition
    from durable.testing import ActivityEnvironment, Simulation, Worker

_passed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note whether a test passed, for the fixtures that it leaves."""
    report = yield
    if call.when == "call":
        item.stash[_passed] = report.passed
    return report


@pytest.fixture
def durable_simulation(request: pytest.FixtureRequest) -> Generator[Callable[..., Simulation], None, None]:
    """Make simulations of workflows; what they expect must have come when the test ends."""
    from durable.testing import Simulation  # noqa: PLC0415 - see above

    made: list[Simulation] = []

    def simulation(workflow: WorkflowDefinition | str, **options: Any) -> Simulation:
        made.append(Simulation(workflow, **options))
        return made[-1]

    yield simulation
    # A test that failed has said what is wrong already.
    if request.node.stash.get(_passed, False):
        for each in made:
            each.assert_expectations()


@pytest.fixture
def durable_worker(db: None) -> Generator[Worker, None, None]:
    """Run the real engine on the test's database, in the test's thread; time can be put forward."""
    from durable.testing import Worker  # noqa: PLC0415 - see above

    with Worker() as worker:
        yield worker


@pytest.fixture
def durable_activity() -> ActivityEnvironment:
    """Run activities as a worker would, with no worker and no database."""
    from durable.testing import ActivityEnvironment  # noqa: PLC0415 - see above

    return ActivityEnvironment()
