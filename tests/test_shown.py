"""What operators see of an instance: status, progress, tags; and side effects, which run once."""

from __future__ import annotations

import asyncio
import random
import uuid

import pytest

from durable import SideEffectError, activity, workflow
from tests.driving import item, kinds


def test_status_progress_and_tags_are_columns(engine):
    @workflow.defn
    async def showing() -> None:
        workflow.set_status({"step": "packing"})
        workflow.set_progress(3, 10, "boxes")
        workflow.set_tags(customer=7, city="Oslo")
        await workflow.wait_signal("go")

    handle = showing.options(tags={"region": "north"}).start()
    engine.run_until_quiet()

    instance = handle.instance
    assert instance.custom_status == {"step": "packing"}
    assert instance.progress == {"done": 3, "total": 10, "note": "boxes"}
    assert instance.tags == {"region": "north", "customer": 7, "city": "Oslo"}
    assert type(instance).objects.filter(tags__customer=7).count() == 1


def test_what_is_shown_follows_the_code_and_stays_at_the_end(engine, path):
    @activity.defn
    def work() -> None: ...

    @workflow.defn
    async def showing() -> None:
        for number in range(1, 4):
            workflow.set_progress(number, 3)
            await work()
        workflow.set_status("done")

    handle = showing.start()
    engine.run_until_quiet()

    assert (handle.status, handle.instance.custom_status) == ("completed", "done")
    assert handle.instance.progress["done"] == 3


def test_none_removes_a_tag(engine):
    @workflow.defn
    async def showing() -> None:
        workflow.set_tags(a=1, b=2)
        await workflow.wait_signal("go")
        workflow.set_tags(a=None)

    handle = showing.start()
    handle.signal("go")
    engine.run_until_quiet()

    assert handle.instance.tags == {"b": 2}


def test_nothing_shown_is_no_event(engine):
    @workflow.defn
    async def showing() -> None:
        workflow.set_status("busy")

    handle = showing.start()
    engine.run_until_quiet()

    assert kinds(handle) == ["ExecutionStarted", "ExecutionCompleted"]


def test_replay_does_not_write_what_was_shown_before(engine):
    @workflow.defn
    async def showing() -> None:
        workflow.set_status("begun")
        await workflow.wait_signal("go")
        await workflow.wait_signal("end")

    handle = showing.start()
    engine.run_until_quiet()
    type(handle.instance).objects.update(custom_status="changed by hand")
    engine.restart()
    handle.signal("go")
    engine.run_until_quiet()

    assert handle.instance.custom_status == "changed by hand"


def test_side_effect_runs_once_and_is_replayed_after(engine):
    drawn = []

    def draw() -> int:
        drawn.append(random.random())
        return len(drawn)

    @workflow.defn
    async def lottery() -> list[int]:
        first = workflow.side_effect(draw)
        await workflow.wait_signal("go")
        return [first, workflow.side_effect(draw)]

    handle = lottery.start()
    engine.run_until_quiet()
    engine.restart()
    handle.signal("go")

    assert engine.result(handle) == [1, 2]
    assert len(drawn) == 2
    assert kinds(handle)[1] == "SideEffectRecorded"
    assert item(handle, "SideEffectRecorded", 0).data["value"] == 1


def test_side_effect_that_raises_is_an_error_at_its_call_and_on_replay(engine):
    def fail() -> None:
        raise ValueError("no luck")

    @workflow.defn
    async def lottery() -> str:
        try:
            workflow.side_effect(fail)
        except SideEffectError as error:
            await workflow.wait_signal("go")
            return error.cause.message

    handle = lottery.start()
    engine.run_until_quiet()
    engine.restart()
    handle.signal("go")

    assert engine.result(handle) == "no luck"
    assert item(handle, "SideEffectRecorded", 0).data["failure"]["type"] == "ValueError"


@pytest.mark.lenient
def test_time_randomness_and_ids_are_the_same_on_replay(engine):
    seen = []

    @workflow.defn
    async def drawing() -> None:
        values = (workflow.now(), workflow.time(), workflow.random(), workflow.uuid4(), workflow.info().started_at)
        await workflow.wait_signal("go")
        seen.append(values)

    handle = drawing.start()
    engine.run_until_quiet()
    for _ in range(2):
        engine.restart()
        handle.signal("other")
        engine.run_until_quiet()
    handle.signal("go")
    engine.run_until_quiet()
    other = drawing.start()
    other.signal("go")
    engine.run_until_quiet()

    assert len(seen) == 2
    assert seen[0][2:4] != seen[1][2:4], "each execution draws its own"
    assert isinstance(seen[0][3], uuid.UUID)
    assert seen[0][0].timestamp() == pytest.approx(item(handle, "ExecutionStarted").recorded_at.timestamp(), abs=1e-3)


def test_replay_in_each_step_gives_what_the_live_run_gave(engine):
    @workflow.defn
    async def drawing(rounds: int) -> list:
        values = []
        for _ in range(rounds):
            values += [workflow.random(), str(workflow.uuid4()), workflow.time()]
            await workflow.wait_signal("go")
        return [values, [workflow.random(), workflow.info().history_length]]

    kept, forgetful = [drawing.start(5) for _ in range(2)]
    recorded = []
    for handle in (kept, forgetful):
        for _ in range(5):
            engine.run_until_quiet()
            if handle is forgetful:
                engine.restart()
            handle.signal("go")
        recorded.append(engine.result(handle))

    assert [len(r[0]) for r in recorded] == [15, 15]
    assert recorded[0][1][1] == recorded[1][1][1]


def test_info_says_what_runs(engine):
    @workflow.defn
    async def who2() -> list:
        info = workflow.info()
        return [info.instance_id, info.name, info.version, info.queue, info.attempt, info.parent_id, workflow.version()]

    @workflow.defn
    async def parent() -> list:
        return await who2.options(id="kid")()

    assert engine.result(who2.options(id="one").start()) == ["one", "who", 2, "default", 0, None, 2]
    assert engine.result(parent.options(id="p").start())[-2:] == ["p", 2]


def test_order_of_keys_is_the_same_on_replay(engine):
    ran = []

    @activity.defn
    def work(name: str) -> str:
        ran.append(name)
        return name

    @activity.defn
    def plan() -> dict:
        return {"zebra": 1, "ant": 2, "mole": 3}

    @workflow.defn
    async def looping() -> list[str]:
        todo = await plan()
        await workflow.wait_signal("go")
        return [await work(name) for name in todo]

    handle = looping.start()
    engine.run_until_quiet()
    engine.restart()
    handle.signal("go")

    assert engine.result(handle) == ["zebra", "ant", "mole"]


def test_gathered_work_is_recorded_in_the_order_it_was_asked_for(engine):
    @activity.defn
    def work(number: int) -> int:
        return number

    @workflow.defn
    async def gathering() -> list[int]:
        return list(await asyncio.gather(*(work(n) for n in range(4))))

    handle = gathering.start()
    assert engine.result(handle) == [0, 1, 2, 3]
    scheduled = [i for i in handle.history() if i.kind == "ActivityScheduled"]
    assert [(i.event_id, i.data["input"]["args"]) for i in scheduled] == [(n, [n]) for n in range(4)]
