"""Patches on running instances: those that passed before the change keep the old path."""

from __future__ import annotations

import pytest

from durable import activity, registry, workflow
from durable.engine import cache
from durable.models import Instance
from durable.store import patches
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


# --- which patches an instance has


def test_row_says_which_patches_the_current_execution_has(engine, path):
    @activity.defn
    def work() -> None: ...

    @workflow.defn
    async def flow(again: bool) -> None:
        if again:
            workflow.patched("tax")
        workflow.deprecate_patch("old")
        await work()
        workflow.patched("discount")
        await workflow.wait_signal("go")
        workflow.continue_as_new(False)

    handle = flow.start(True)
    engine.run_until_quiet()
    assert handle.instance.patches == {"patched": {"tax": True, "discount": True}, "deprecated": {"old": True}}

    handle.signal("go")
    engine.run_until_quiet()
    assert handle.instance.patches == {"patched": {"discount": True}, "deprecated": {"old": True}}


def test_row_forgets_patches_when_the_id_is_used_anew(engine):
    @workflow.defn
    async def flow(patched: bool) -> None:
        if patched:
            workflow.patched("tax")

    flow.options(id="f").start(True)
    engine.run_until_quiet()

    handle = flow.options(id="f", id_reuse="replace_closed").start(False)
    engine.run_until_quiet()

    assert handle.instance.patches == {}


IDS = ["tax", "TAX", "ta", "0", "a.b", "it's 100 %", "[0]", "$", "back\\slash", "ü"]


@pytest.mark.parametrize("patch_id", IDS)
def test_instances_are_found_by_their_patches(engine, patch_id):
    @workflow.defn
    async def flow(kind: str, patch_id: str) -> None:
        if kind == "patched":
            workflow.patched(patch_id)
        if kind == "deprecated":
            workflow.deprecate_patch(patch_id)
        await workflow.wait_signal("go")

    for kind in ("patched", "deprecated", "unmarked"):
        flow.options(id=kind).start(kind, patch_id)
    for number, other in enumerate(set(IDS) - {patch_id}):
        flow.options(id=f"other-{number}").start("patched", other)
    engine.run_until_quiet()
    ids = Instance.objects.order_by("id").values_list("pk", flat=True)

    assert [*ids.filter(patches.marked_by_patched(patch_id))] == ["patched"]
    assert {*ids} - {*ids.filter(patches.without(patch_id))} == {"patched", "deprecated"}


def test_patch_that_is_asked_for_and_deprecated_stalls_the_instance(engine):
    @workflow.defn
    async def flow() -> None:
        workflow.patched("tax")
        workflow.deprecate_patch("tax")

    handle = flow.start()
    engine.run_until_quiet()

    stall = handle.instance.stall
    assert (handle.status, stall["reason"], stall["patch_id"]) == ("stalled", "patch reused", "tax")
    assert stall["first"] != stall["second"]
