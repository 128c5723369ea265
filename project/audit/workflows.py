"""The audit: a child workflow a package, and in each an activity for every few files."""

from __future__ import annotations

import asyncio

from durable import workflow

from .activities import begin_audit, finish_audit, hash_files, list_packages, store_package
from .record import Package, Verified

FILES_AT_ONCE = 64
"""How many files one activity hashes: a few milliseconds' work, so that a crash costs no more than that."""


@workflow.defn
async def audit_environment(packages_at_once: int = 6) -> dict[str, int]:
    """Verify every installed file against its package's RECORD, and return the report."""
    instance_id = workflow.info().instance_id
    audit = await begin_audit(instance_id)
    packages = await list_packages()
    gate = asyncio.Semaphore(packages_at_once)
    done, total = 0, sum(package.files for package in packages)

    async def check(package: Package) -> None:
        nonlocal done
        async with gate:
            await audit_package.options(id=f"{instance_id}/{package.name}")(audit, package)
        done += package.files
        workflow.set_progress(done, total, package.name)

    workflow.set_progress(done, total)
    async with asyncio.TaskGroup() as group:
        for package in packages:
            group.create_task(check(package))
    report: dict[str, int] = await finish_audit(audit)
    return report


@workflow.defn
async def audit_package(audit: int, package: Package, chunks_at_once: int = 4) -> int:
    """Verify the files of one package and return how many problems there are."""
    gate = asyncio.Semaphore(chunks_at_once)

    async def check(start: int) -> Verified:
        async with gate:
            verified: Verified = await hash_files(package.name, start, start + FILES_AT_ONCE)
            return verified

    chunks = await asyncio.gather(*(check(start) for start in range(0, package.files, FILES_AT_ONCE)))
    verified = sum(chunks, Verified())
    await store_package(audit, package, verified)
    return len(verified.problems)
