"""What the demo's operators repair: invoices, and refunds whose rules change while some wait for an approval."""

from __future__ import annotations

import asyncio
import os
from decimal import Decimal

from durable import workflow

from .activities import archive, ask_manager, collect, look_up, open_claim, pay_back, send_mail

LARGE = Decimal(100)
RELEASE = "DEMO_RELEASE"
"""The environment variable that says which release of the code a process runs."""


@workflow.defn
async def invoice(number: int) -> str:
    """Collect an invoice, and tell the customer at the same time."""
    amount = await look_up(number)
    collecting = asyncio.ensure_future(collect(number, amount))
    await asyncio.wait([collecting, asyncio.ensure_future(send_mail(number))])
    return str(await archive(number, collecting.result()))


@workflow.defn
async def refund(number: int, amount: Decimal) -> str:
    """Pay a refund once it is approved."""
    claim = await open_claim(number)
    if amount >= LARGE:
        await ask_manager(claim)
    await workflow.wait_signal("approve")
    return str(await pay_back(claim, amount))


if os.environ.get(RELEASE) == "2":
    from . import release2  # noqa: F401 - it registers what it defines
