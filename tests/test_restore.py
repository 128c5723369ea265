"""Restore: an earlier execution is current again, if nothing was done since that would be lost."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from durable import (
    InvalidInput,
    UnknownExecution,
    UnknownInstance,
    WorkflowFailed,
    WorkWouldBeLost,
    activity,
    client,
    workflow,
)
from durable.models import Execution, HistoryEvent, Instance, Operation, Update
from tests.driving import item, kinds, leftovers
from tests.test_rewind import World, failed


@pytest.fixture
def world(fresh):
    return World()


@pytest.fixture
def two(world):
    """A workflow of two activities, the second of which fails."""
    first, second = world.act("first"), world.act("second")

    @workflow.defn
    async def two(number: int = 0) -> list[str]:
        return [await first(), await second()]

    world.broken = {"second"}
    return two


def rewound(engine: Any, definition: Any, *args: Any) -> tuple[client.Handle, uuid.UUID]:
    """Return a handle on an instance that failed and was rewound, and the execution that failed."""
    handle = definition.options(id="a", tags={"colour": "red"}).start(*args)
    failed(engine, handle)
    old = handle.instance.execution_id
    client.rewind("a")
    return handle, old


def facts(instance: Instance) -> dict[str, Any]:
    """Return what a restore is to bring back."""
    changing = {"execution_id", "_state", "closed_at", "failed_at"}
    return {name: value for name, value in vars(instance).items() if name not in changing}


def stored(*executions: Any) -> list[Any]:
    return list(HistoryEvent.objects.filter(execution__in=executions).order_by("execution", "seq").values())


def test_takes_a_rewind_back_in_an_execution_of_its_own(engine, world, two):
    handle = two.options(id="a", tags={"colour": "red"}).start()
    failed(engine, handle)
    before, old = facts(handle.instance), handle.instance.execution_id
    client.rewind("a", reason="by mistake")
    engine.run_until_quiet()
    current = handle.instance.execution_id
    histories = stored(old, current)

    outcome = handle.restore(old, reason="not yet", actor="ada")

    assert facts(handle.instance) == before
    closed_at = Execution.objects.get(pk=old).closed_at
    assert (handle.instance.closed_at, handle.instance.failed_at) == (closed_at, closed_at)
    assert outcome.instance_id == "a"
    assert outcome.execution_id == handle.instance.execution_id not in (old, current)
    assert stored(old, current) == histories, "no recorded event changes"
    runs = handle.instance.executions.order_by("number")
    assert [(run.origin, run.status) for run in runs] == [
        ("start", "failed"),
        ("rewind", "failed"),
        ("restore", "failed"),
    ]
    assert (runs[2].source_id, runs[2].closed_at) == (old, runs[0].closed_at)
    assert [(i.seq, i.kind, i.recorded_at, i.data) for i in handle.history()] == [
        (i.seq, i.kind, i.recorded_at, i.data) for i in handle.history(old)
    ]
    with pytest.raises(WorkflowFailed, match="second is broken"):
        handle.result(timeout=0)
    row = Operation.objects.get(verb="restore")
    assert (row.actor_name, row.reason, row.arguments) == ("ada", "not yet", {"execution": str(old)})


def test_restored_execution_can_be_rewound(engine, path, world, two):
    handle, old = rewound(engine, two)
    engine.run_until_quiet()
    handle.restore(old)
    world.broken.clear()

    handle.rewind()

    assert engine.result(handle) == ["first1", "second3"]
    assert world.ran == {"first": 1, "second": 3}


def test_an_open_execution_ends_if_it_has_done_nothing_yet(engine, settings, world, two):
    settings.DURABLE = {"RUN_INLINE": False}
    handle, old = rewound(engine, two)
    current = handle.instance.execution_id
    assert (handle.status, world.ran["second"]) == ("running", 1)

    handle.restore(old)
    engine.run_until_quiet()

    assert (handle.status, leftovers(), world.ran["second"]) == ("failed", [], 1)
    assert kinds(handle, current)[-1] == "ExecutionTerminated"
    assert Execution.objects.get(pk=current).status == "terminated"
    with pytest.raises(WorkflowFailed):
        handle.result(timeout=0)


# --- what would be lost


def lost(handle: client.Handle, execution: uuid.UUID) -> list[str]:
    """Return what a refusal names; it changes nothing."""
    before = facts(handle.instance), Execution.objects.count(), HistoryEvent.objects.count()
    with pytest.raises(WorkWouldBeLost) as refused:
        client.restore(handle.id, execution)
    preview = client.restore(handle.id, execution, dry_run=True)
    assert isinstance(preview, client.Preview)
    assert isinstance(preview.refusal, WorkWouldBeLost)
    assert (facts(handle.instance), Execution.objects.count(), HistoryEvent.objects.count()) == before
    assert all(text in str(refused.value) for text in refused.value.lost)
    return list(refused.value.lost)


def test_what_completed_since_would_be_lost(engine, world, two):
    handle, old = rewound(engine, two)
    world.broken.clear()
    engine.run_until_quiet()

    assert lost(handle, old) == ["activity second (event 1) of a, which completed", "the result of a"]
    assert set(Operation.objects.filter(verb="restore").values_list("outcome", flat=True)) == {"refused"}


def test_signals_and_updates_since_would_be_lost(engine, settings, world):
    act = world.act("act")

    @workflow.defn
    async def flow() -> None:
        @workflow.update
        def change() -> None:
            pass

        await workflow.wait_signal("begin")
        await act()

    world.broken = {"act"}
    handle = flow.options(id="a").start()
    handle.signal("begin")
    failed(engine, handle)
    old = handle.instance.execution_id
    settings.DURABLE = {"RUN_INLINE": False}
    handle.rewind()
    handle.signal("seen")
    with pytest.raises(TimeoutError):
        handle.update("change", timeout=0)
    engine.advance_due()
    handle.suspend()
    handle.signal("unseen")

    assert lost(handle, old) == [
        "signal seen, which a received",
        "update change, which a accepted",
        "signal unseen, which waits for a",
    ]


@pytest.mark.parametrize("how", ["in place", "handed out", "from outside"])
def test_what_runs_would_be_lost(engine, settings, world, how):
    settings.DURABLE = {"RUN_INLINE": how == "in place"}
    seen = []

    @activity.defn(retry=None)
    def act() -> None:
        if not seen:
            seen.append("failed")
            raise activity.NonRetryable("no")
        if how == "from outside":
            activity.complete_later()
        else:
            seen.extend(lost(client.get("a"), old))

    @workflow.defn
    async def flow() -> None:
        await act()

    handle, old = rewound(engine, flow)
    engine.run_until_quiet()

    if how == "from outside":
        seen += lost(handle, old)
    assert seen == ["failed", "activity act (event 0) of a, which runs"]


def test_what_another_life_did_is_new_though_it_looks_the_same(engine, world):
    @activity.defn
    def same() -> None:
        pass

    @workflow.defn
    async def flow(number: int) -> None:
        await same()
        raise ValueError

    handle = flow.options(id="a").start(1)
    failed(engine, handle)
    old = handle.instance.execution_id
    flow.options(id="a", id_reuse="replace_closed").start(2)
    failed(engine, handle)

    assert lost(handle, old) == ["activity same (event 0) of a, which completed"]


def test_what_another_life_was_started_with_comes_back(engine, world, two):
    handle = two.options(id="a", tags={"n": 1}).start(1)
    failed(engine, handle)
    old = handle.instance.execution_id

    two.options(id="a", tags={"n": 2}, id_reuse="replace_closed").start(2)
    world.broken = {"first"}
    engine.run_until_quiet()
    assert handle.status == "failed"
    handle.restore(old)

    instance = handle.instance
    assert (instance.input["args"], instance.tags) == ([1], {"n": 1})
    assert kinds(handle)[-2:] == ["ActivityFailed", "ExecutionFailed"]

    world.broken = {"second"}
    two.options(id="a", id_reuse="replace_closed").start(3)
    engine.run_until_quiet()
    assert lost(handle, old) == ["activity first (event 0) of a, which completed"]


def test_updates_of_the_restored_execution_have_their_outcomes(engine, settings, world):
    act = world.act("act")

    @workflow.defn
    async def flow() -> None:
        @workflow.update
        async def change(number: int) -> int:
            if number:
                await workflow.wait_signal("never")
            return number

        await workflow.wait_signal("begin")
        await act()

    world.broken = {"act"}
    handle = flow.options(id="a").start()
    engine.run_until_quiet()
    for number in (0, 1):
        with pytest.raises(TimeoutError):
            handle.update("change", number, update_id=f"u{number}", timeout=0)
    engine.run_until_quiet()
    handle.signal("begin")
    failed(engine, handle)
    old, outcomes = handle.instance.execution_id, dict(Update.objects.values_list("update_id", "state"))
    assert outcomes == {"u0": "completed", "u1": "failed"}
    settings.DURABLE = {"RUN_INLINE": False}
    handle.rewind()

    restored = handle.restore(old)

    assert dict(Update.objects.values_list("update_id", "state")) == outcomes
    assert set(Update.objects.values_list("execution_id", flat=True)) == {restored.execution_id}


# --- children


@pytest.fixture
def family(world):
    """A root whose child fails."""
    fine, breaks = world.act("fine"), world.act("breaks")

    @workflow.defn
    async def child() -> str:
        await fine()
        return await breaks()

    @workflow.defn
    async def root() -> str:
        return await child.options(id="child")()

    world.broken = {"breaks"}
    return root


def test_children_that_were_rewound_go_back_as_well(engine, world, family):
    handle, old = rewound(engine, family)
    engine.run_until_quiet()
    child = client.get("child")
    assert (handle.status, child.instance.executions.count()) == ("failed", 2)

    outcome = handle.restore(old)

    (below,) = outcome.children
    assert (below.instance_id, below.execution_id) == ("child", child.instance.execution_id)
    assert child.instance.parent_execution_id == outcome.execution_id
    assert [run.origin for run in child.instance.executions.order_by("number")] == ["start", "rewind", "restore"]
    world.broken.clear()
    handle.rewind()
    assert engine.result(handle) == "breaks3"
    assert world.ran == {"fine": 1, "breaks": 3}


def test_what_a_child_did_since_would_be_lost(engine, world, family):
    handle, old = rewound(engine, family)
    world.broken.clear()
    engine.run_until_quiet()

    assert lost(handle, old) == [
        "child child (event 0) of a, which completed",
        "the result of a",
        "activity breaks (event 1) of child, which completed",
        "the result of child",
    ]


def test_a_child_that_was_started_since_would_be_lost(engine, world):
    act = world.act("act")

    @workflow.defn
    async def sleeping() -> None:
        await workflow.wait_signal("never")

    @workflow.defn
    async def root() -> None:
        try:
            await act()
        finally:
            if world.ran["act"] > 1:
                await sleeping.options(id="new")()

    world.broken = {"act"}
    handle, old = rewound(engine, root)
    engine.run_until_quiet()

    assert lost(handle, old) == ["child new of a, which was started"]


def test_a_child_that_went_on_all_the_time_is_left_alone(engine, world):
    act = world.act("act")

    @workflow.defn
    async def sleeping() -> None:
        await workflow.wait_signal("never")

    @workflow.defn
    async def root() -> None:
        sleeping.options(id="sleeping", parent_close="abandon").start_child()
        await act()

    world.broken = {"act"}
    handle, old = rewound(engine, root)
    engine.run_until_quiet()
    before = client.instance("sleeping")

    handle.restore(old)

    after = client.instance("sleeping")
    assert (after.status, after.execution_id) == ("running", before.execution_id)
    assert after.parent_execution_id == handle.instance.execution_id


def test_a_parent_that_waits_is_told(engine, settings, world):
    settings.DURABLE = {"RUN_INLINE": False}
    act = world.act("act")

    @workflow.defn
    async def child() -> str:
        return await act()

    @workflow.defn
    async def root() -> str:
        return await child.options(id="a")()

    world.broken = {"act"}
    handle = root.options(id="root").start()
    failed(engine, handle)
    old = client.instance("a").execution_id
    handle.rewind()

    client.restore("a", old)
    engine.run_until_quiet()

    assert handle.status == "failed", "it got the failure once more, and does not wait for ever"
    assert leftovers() == []


# --- refusals and previews


def test_refuses_what_is_no_earlier_outcome(engine, world, two):
    @workflow.defn
    async def again(number: int) -> None:
        if number:
            workflow.continue_as_new(number - 1)
        raise ValueError

    handle = again.options(id="c").start(1)
    failed(engine, handle)
    other = two.options(id="b").start()
    failed(engine, other)
    first = Execution.objects.get(instance="c", number=1).pk

    for error, instance_id, execution in (
        (UnknownInstance, "nobody", first),
        (UnknownExecution, "c", uuid.uuid4()),
        (UnknownExecution, "c", "no uuid"),
        (UnknownExecution, "c", other.instance.execution_id),
        (InvalidInput, "c", handle.instance.execution_id),
        (InvalidInput, "c", first),
    ):
        with pytest.raises(error):
            client.restore(instance_id, execution)
    assert handle.instance.executions.count() == 2
    assert Operation.objects.filter(verb="restore", outcome="refused").count() == 6


def test_a_dry_run_says_what_would_be_and_changes_nothing(engine, world):
    first, second = world.act("first"), world.act("second")

    @workflow.defn
    async def flow() -> None:
        await first()
        if world.ran["second"]:
            await second("once more")
        await second()

    world.broken = {"second"}
    handle = flow.options(id="a").start()
    failed(engine, handle)
    old = handle.instance.execution_id
    handle.rewind(to=1)
    engine.run_until_quiet()
    before = facts(handle.instance)

    preview = handle.restore(str(old), dry_run=True)

    assert (preview.verb, preview.allowed, preview.version) == ("restore", True, 0)
    assert [step.name for step in preview.kept] == ["first", "second"]
    assert [(step.event_id, step.name) for step in preview.dropped] == [(1, "second")]
    assert preview.warnings == ["it is failed afterwards"]
    assert facts(handle.instance) == before
    assert Execution.objects.count() == 2


def test_patches_are_those_of_the_restored_execution(engine, world):
    act = world.act("act")

    @workflow.defn
    async def flow() -> None:
        workflow.patched("new")
        await act()

    world.broken = {"act"}
    handle, old = rewound(engine, flow)
    engine.run_until_quiet()
    Instance.objects.update(patches={})

    handle.restore(old)

    assert handle.instance.patches == {"patched": {"new": True}}
    assert item(handle, "PatchMarked").name == "new"
