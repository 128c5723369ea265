"""What the second release of the demo's code brings: another version of refunds."""

from __future__ import annotations

from decimal import Decimal

from durable import workflow

from .activities import ask_two_managers, open_claim, pay_back, send_letter

LARGE = Decimal(100)


@workflow.defn
async def refund2(number: int, amount: Decimal) -> str:
    """Pay a refund once it is approved; two managers know of a large one, and the customer gets a letter."""
    claim = await open_claim(number)
    if amount >= LARGE:
        await ask_two_managers(claim)
    await workflow.wait_signal("approve")
    paid = str(await pay_back(claim, amount))
    await send_letter(claim)
    return paid
