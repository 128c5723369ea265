"""Billing's workflows: versions of an invoice and of a ledger, and one of a sale that it should not use."""

from __future__ import annotations

import os

from durable import registry, workflow
from durable.core.type_names import split_version
from tests.acceptance.two import project


@workflow.defn(name="invoice", version=1)
async def invoice1() -> list[str]:
    """Write an invoice as of old."""
    return [await project()]


@workflow.defn(name="invoice", version=3)
async def invoice3() -> list[str]:
    """Write an invoice."""
    return [f"invoice {workflow.version()} by {await project()}"]


@workflow.defn(name="ledger", version=0)
async def ledger() -> list[str]:
    """Keep the books; excluded from routing."""
    return [f"ledger {workflow.version()} by {await project()}"]


@workflow.defn(name="ledger", version=4)
async def ledger4() -> list[str]:
    """Keep the books in a way that is not wanted yet."""
    return [await project()]


@workflow.defn(name="sale", version=7)
async def sale7() -> list[str]:
    """Sell what is not ours."""
    return [await project()]


@workflow.defn(name="reminder", version=1)
async def reminder1() -> list[str]:
    """Remind of nothing."""
    return [await project()]


@workflow.defn(name="reminder", version=2)
async def reminder2() -> list[str]:
    """Wait, then have the other project sell."""
    await workflow.wait_signal("go")
    return [f"reminder {workflow.version()} by {await project()}", *await workflow.child_by_name("sale")()]


@workflow.defn(name="watch", version=1)
async def watch1(round_: int) -> list[str]:
    """Wait, and begin anew."""
    await workflow.wait_signal("go")
    workflow.continue_as_new(round_ + 1)


@workflow.defn(name="watch", version=2)
async def watch2(round_: int) -> list[str]:
    """Say how far it came."""
    return [f"watch {workflow.version()} by {await project()}, round {round_}"]


for _type_name in os.environ.get("ACCEPTANCE_WITHOUT", "").split():
    registry.unregister_workflow(*split_version(_type_name))  # as before it was written
