"""Restate's services, as an ASGI application."""

from __future__ import annotations

from typing import Any

import restate

from benchmarks.payload import PAYLOAD

service = restate.Service("peer")


async def noop() -> dict[str, Any]:
    """Do nothing and return the payload."""
    return PAYLOAD


@service.handler()
async def sequential(context: restate.Context, activities: int) -> int:
    """Run activities one after the other."""
    total = 0
    for number in range(activities):
        total += (await context.run_typed(f"noop {number}", noop))["scheduled_id"]
    return total


@service.handler()
async def child(context: restate.Context, number: int) -> int:
    """Run one activity."""
    return int((await context.run_typed("noop", noop))["scheduled_id"])


@service.handler()
async def fan_out(context: restate.Context, activities: int) -> int:
    """Run activities all at once, each as a call of its own."""
    calls = [context.service_call(child, arg=number) for number in range(activities)]
    await restate.gather(*calls)
    return sum([await call for call in calls])


app = restate.app(services=[service])
