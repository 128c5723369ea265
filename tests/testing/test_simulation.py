"""Simulations: workflows in memory and in virtual time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from durable import activity, testing, workflow


@pytest.fixture(autouse=True)
def _fresh(fresh):
    pass


def test_workflow_runs_its_activities():
    @activity.defn
    def double(number: int) -> int:
        return 2 * number

    @workflow.defn
    async def sums(*numbers: int) -> int:
        return sum(await asyncio.gather(*map(double, numbers)))

    simulated = testing.simulate(sums, 1, 2, 3)

    assert simulated.status == "completed"
    assert simulated.result() == 12
    assert [item.kind for item in simulated.history] == [
        "ExecutionStarted",
        *["ActivityScheduled"] * 3,
        *["ActivityCompleted"] * 3,
        "ExecutionCompleted",
    ]


def test_year_of_sleep_is_over_at_once():
    @workflow.defn
    async def nap() -> str:
        await asyncio.sleep(365 * 86400)
        return workflow.now().isoformat()

    simulated = testing.simulate(nap)

    assert simulated.elapsed == timedelta(days=365)
    assert simulated.result() == "2027-01-01T00:00:00+00:00"
