"""What the shop does with an order, from the shelf to the carrier, and its report at the end of a day."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from decimal import Decimal

from durable import workflow
from durable.errors import ActivityError

from .activities import (
    book_payment,
    charge,
    count_open,
    hand_over,
    print_label,
    release,
    report_day,
    reserve,
)

LARGE = Decimal(180)
"""From this total on, somebody has to approve an order."""


@workflow.defn
async def fulfil_order(number: int, approval_within: float = 24 * 3600) -> str:
    """See to an order, and return what became of it.

    Args:
        number: The order's number.
        approval_within: How long to wait for the signal ``approve``, in seconds. Its payload is true or false.
    """
    reserved = await reserve(number)
    if reserved is None:
        return "sold out"
    workflow.set_tags(customer=reserved.customer)
    if reserved.total >= LARGE and (why := await _objection(approval_within)):
        await release(number, why)
        return why
    try:
        receipt = await charge(number, reserved.total)
    except ActivityError as error:
        # Anything else leaves it open whether the customer has paid: the instance fails, for somebody to look.
        if error.cause.type != "CardDeclined":
            raise
        await release(number, "card declined")
        return "card declined"
    await book_payment(number, receipt)
    await ship.options(id=f"shipping-{number}")(number)
    return "shipped"


async def _objection(approval_within: float) -> str:
    """Wait for an approval and return what speaks against it, or an empty text."""
    workflow.set_status("waits for approval")
    try:
        approved = await workflow.wait_signal("approve", timeout=approval_within)
    except TimeoutError:
        return "not approved in time"
    finally:
        workflow.set_status(None)
    return "" if approved else "refused"


@workflow.defn
async def ship(number: int, pick_up_after: float = 0.5) -> str:
    """Pack an order, wait for the carrier and hand the parcel over; return its label."""
    label: str = await print_label(number)
    await asyncio.sleep(pick_up_after)
    await hand_over(number, label)
    return label


@workflow.defn
async def daily_report(day: date, last: date, look_every: float = 1.0) -> str:
    """Report on each day up to the last once all its orders are settled; every day is an execution of its own."""
    while await count_open(day):
        await asyncio.sleep(look_every)
    await report_day(day)
    if day < last:
        workflow.continue_as_new(day + timedelta(days=1), last, look_every)
    return f"reported up to {day}"
