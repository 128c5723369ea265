"""Patches on running instances: those that passed before the change keep the old path."""

from __future__ import annotations

from durable import registry, workflow
from durable.engine import cache
from tests.driving import kinds


def test_instance_that_waits_where_a_patch_was_put_keeps_the_old_path(engine):
    @workflow.defn
    async def flow() -> str:
        return str(await workflow.wait_signal("go"))

    old = flow.start()
    engine.run_until_quiet()
    registry.unregister_workflow("flow", 0)
    cache.clear()

    @workflow.defn(name="flow")
    async def changed() -> str:
        path = "new" if workflow.patched("p") else "old"
        return f"{path} {await workflow.wait_signal('go')}"

    new = changed.start()
    engine.run_until_quiet()
    for handle in (old, new):
        handle.signal("go", "on")

    assert engine.result(old) == "old on"
    assert engine.result(new) == "new on"
    assert "PatchMarked" not in kinds(old)
    assert "PatchMarked" in kinds(new)
