"""Temporal's workflows, in a module of their own: its sandbox imports it once more."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow

_LIMIT = timedelta(seconds=60)


@workflow.defn(name="sequential")
class Sequential:
    """Activities one after the other."""

    @workflow.run
    async def run(self, activities: int) -> int:
        """Run them."""
        total = 0
        for number in range(activities):
            result = await workflow.execute_activity("noop", number, start_to_close_timeout=_LIMIT)
            total += result["scheduled_id"]
        return total


@workflow.defn(name="fan_out")
class FanOut:
    """Activities all at once."""

    @workflow.run
    async def run(self, activities: int) -> int:
        """Run them."""
        calls = [
            workflow.execute_activity("noop", number, start_to_close_timeout=_LIMIT) for number in range(activities)
        ]
        return sum(result["scheduled_id"] for result in await asyncio.gather(*calls))
