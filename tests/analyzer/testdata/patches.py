"""Patch ids, used once and used again."""

from __future__ import annotations

from durable import activity, workflow
from durable.workflow import patched as changed


@activity.defn
def charge(amount: int) -> str: ...


@workflow.defn
async def two_changes() -> None:
    await charge(1 if workflow.patched("tax") else 2)
    if workflow.patched("other"):
        await charge(3)
    if changed("tax"):  # want: DUR026 patch 'tax' is used here and by patched() at
        await charge(4)
    if workflow.patched(patch_id="tax"):  # want: DUR026 patch 'tax' is used here and by patched() at
        await charge(5)


@workflow.defn
async def contradicts() -> None:
    workflow.deprecate_patch("tax")
    if workflow.patched("tax"):  # want: DUR026 by deprecate_patch() at
        await charge(1)


def in_a_helper() -> int:
    return 1 if workflow.patched("helped") else 2  # want: DUR026 (in in_a_helper(), which


@workflow.defn
async def through_a_helper() -> None:
    if workflow.patched("helped"):
        await charge(1)
    await charge(in_a_helper())


def asks() -> bool:
    return workflow.patched("shared")


@workflow.defn
async def fine(name: str) -> None:
    workflow.deprecate_patch("gone")
    await charge(1)
    workflow.deprecate_patch("gone")
    for number in range(3):
        if workflow.patched("in-a-loop"):
            await charge(number)
    if asks() and asks():
        await charge(4)
    if workflow.patched(name) or workflow.patched(name):
        await charge(5)
    if workflow.patched("both") or workflow.patched("tax"):
        await charge(6)


@workflow.defn
async def other() -> None:
    if workflow.patched("tax") and asks():
        await charge(1)
