"""The shop's workflows: two versions of a sale, and one of an invoice that it should not use."""

from __future__ import annotations

from durable import workflow
from tests.acceptance.two import project


@workflow.defn(name="sale", version=1)
async def sale1() -> list[str]:
    """Sell as of old."""
    return [await project()]


@workflow.defn(name="sale", version=2)
async def sale2() -> list[str]:
    """Sell, and have the other project write the invoice."""
    bill = await workflow.child_by_name("invoice")()
    return [f"sale {workflow.version()} by {await project()}", *bill]


@workflow.defn(name="invoice", version=9)
async def invoice9() -> list[str]:
    """Write an invoice that nobody wants."""
    return [await project()]
