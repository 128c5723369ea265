"""Rewinds that other engines are known to get wrong, each done right."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from durable import RetryPolicy, activity, client, workflow
from durable.engine.advance import advance
from durable.engine.perform import perform
from durable.models import Instance
from tests.driving import item, leftovers

ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture
def ran(fresh) -> Counter[str]:
    return Counter()


@pytest.fixture
def broken() -> set[str]:
    """The keys of what fails."""
    return set()


@pytest.fixture
def act(ran, broken) -> Any:
    """An activity that counts how often it ran for a key, and fails while that is broken."""

    @activity.defn(retry=ONCE)
    def act(key: str) -> str:
        ran[key] += 1
        if key in broken:
            raise ValueError(f"{key} is broken")
        return key

    return act


def failed(engine: Any, handle: client.Handle) -> None:
    engine.run_until_quiet()
    assert handle.status == "failed"


# --- the tree: what succeeded runs once, whatever failed first, and however often it is rewound


@pytest.mark.parametrize("order", [("ok", "one", "two"), ("one", "ok", "two"), ("two", "one", "ok")])
def test_failing_activities_run_once_more_with_each_rewind_and_everything_else_once(
    engine, path, act, ran, broken, order
):
    @workflow.defn
    async def child(key: str) -> list[str]:
        return await asyncio.gather(*(act(f"{key} child {name}") for name in order))

    @workflow.defn
    async def parent(key: str) -> list[str]:
        return [await act(f"{key} ok"), *await child(key)]

    @workflow.defn
    async def root() -> list[Any]:
        return await asyncio.gather(act("first ok"), parent("p1"), parent("p2"), act("last ok"))

    fails = [f"{key} child {name}" for key in ("p1", "p2") for name in ("one", "two")]
    fine = ["first ok", "last ok", "p1 ok", "p2 ok", "p1 child ok", "p2 child ok"]
    handle = root.options(id="root").start()
    broken.update(fails)
    for _ in range(2):
        failed(engine, handle)
        client.rewind("root")
    failed(engine, handle)
    broken.clear()
    client.rewind("root")

    result = engine.result(handle)
    assert result[0] == "first ok"
    assert result[1] == ["p1 ok", *(f"p1 child {name}" for name in order)]
    assert {key: ran[key] for key in fine} == dict.fromkeys(fine, 1)
    assert max(ran[key] for key in fails) <= 4, "once, and once with each rewind"
    assert Instance.objects.exclude(status="completed").count() == 0
    assert leftovers() == []


def test_counts_are_exact_when_all_have_failed_before_each_rewind(engine, settings, act, ran, broken):
    settings.DURABLE = {"RUN_INLINE": False}

    @workflow.defn
    async def child() -> list[str]:
        done = await asyncio.gather(act("ok"), act("one"), act("two"), return_exceptions=True)
        for each in done:
            if isinstance(each, Exception):
                raise each
        return [str(each) for each in done]

    @workflow.defn
    async def root() -> list[str]:
        return [await act("before"), *await child()]

    handle = root.options(id="root").start()
    broken.update({"one", "two"})
    for _ in range(3):
        failed(engine, handle)
        client.rewind("root")
    failed(engine, handle)
    broken.clear()
    client.rewind("root")

    assert engine.result(handle) == ["before", "ok", "one", "two"]
    assert ran["before"] == ran["ok"] == 1
    assert ran["one"] == 1 + 4
    # The error that left the code was that of the first; the other was never raised, and is taken back as well
    # only as far as it came in the same step or later.
    assert ran["two"] >= 2


# --- retries


def test_child_with_a_retry_policy_of_its_own_begins_its_retries_afresh(engine, time, act, ran, broken):
    @workflow.defn(retry=RetryPolicy(max_attempts=2, initial_interval=5))
    async def kid() -> str:
        return await act("kid")

    @workflow.defn
    async def parent() -> str:
        return await kid.options(id="kid")()

    broken.add("kid")
    handle = parent.options(id="p").start()
    engine.run_until_quiet()
    time.forward(6)
    failed(engine, handle)
    assert ran["kid"] == 2
    broken.clear()

    client.rewind("p")

    assert engine.result(handle) == "kid"
    assert ran["kid"] == 3
    assert [e.origin for e in client.get("kid").instance.executions.order_by("number")] == ["start", "retry", "rewind"]


# --- children that are asked for after the cut


def test_child_of_the_dropped_part_is_not_in_the_way_of_the_next_one(engine, path, act, broken):
    """Both get their ids by their number, and the number is the same."""

    @workflow.defn
    async def tidy() -> str:
        return "tidy"

    @workflow.defn
    async def proceed() -> str:
        return "proceeded"

    @workflow.defn
    async def parent() -> str:
        try:
            await act("act")
        except Exception:
            await tidy()
            raise
        return await proceed()

    broken.add("act")
    handle = parent.options(id="p").start()
    failed(engine, handle)
    assert client.get("p:0001").instance.name == "tidy"
    broken.clear()

    client.rewind("p")

    assert engine.result(handle) == "proceeded"


def test_children_and_theirs_run_again_when_all_of_them_are_rewound_to_before(engine, path, act, ran):
    @workflow.defn
    async def grandkid() -> str:
        return await act("grandkid")

    @workflow.defn
    async def kid() -> str:
        return await grandkid()

    @workflow.defn
    async def parent() -> str:
        return await kid.options(id="kid")()

    handle = parent.options(id="p").start()
    assert engine.result(handle) == "grandkid"

    preview = client.rewind("p", to=0, dry_run=True)
    client.rewind("p", to=0)

    assert engine.result(handle) == "grandkid"
    assert preview.allowed
    assert ran == {"grandkid": 2}
    assert [e.origin for e in client.get("kid").instance.executions.order_by("number")] == ["start", "rewind"]
    assert len(client.history("kid", client.get("kid").instance.executions.order_by("number")[0].pk)) == 5


def test_child_keeps_the_id_that_it_had(engine, act, broken):
    @workflow.defn
    async def kid() -> str:
        return await act("kid")

    @workflow.defn
    async def parent() -> str:
        await act("before")
        return await kid()

    broken.add("kid")
    handle = parent.options(id="p").start()
    failed(engine, handle)
    before = item(handle, "ChildScheduled").data["instance_id"]
    broken.clear()

    client.rewind("p")

    assert engine.result(handle) == "kid"
    assert item(handle, "ChildScheduled").data["instance_id"] == before == "p:0001"


# --- failures handled before


def test_handled_child_failure_stays_handled_when_a_later_one_is_rewound(engine, act, ran, broken):
    @workflow.defn
    async def kid() -> str:
        return await act("kid")

    @workflow.defn
    async def parent() -> list[str]:
        try:
            results = [await kid.options(id="kid")()]
        except Exception:
            results = ["without"]
        return [*results, await act("second"), await act("third")]

    broken.update({"kid", "third"})
    handle = parent.options(id="p").start()
    failed(engine, handle)
    broken.clear()

    outcome = client.rewind("p")

    assert outcome.children == []
    assert engine.result(handle) == ["without", "second", "third"]
    assert ran == {"kid": 1, "second": 1, "third": 2}
    assert client.get("kid").status == "failed"


def test_sibling_that_nobody_had_taken_is_handed_out_again_after_fail_fast(engine, settings, act, ran, broken):
    settings.DURABLE = {"RUN_INLINE": False}

    @workflow.defn
    async def flow() -> list[str]:
        return await asyncio.gather(act("quick"), act.options(queue="slow")("slow"))

    broken.add("quick")
    handle = flow.options(id="f").start()
    advance("f")
    perform("default")
    advance("f")
    assert handle.status == "failed"
    broken.clear()

    client.rewind("f")

    assert engine.result(handle) == ["quick", "slow"]
    assert ran == {"quick": 2, "slow": 1}
    assert leftovers() == []
