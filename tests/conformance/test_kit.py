"""The kit itself: it replays when it says so, and it notices what does not replay."""

from __future__ import annotations

import pytest

from durable import NondeterminismError, workflow


def test_each_turn_begins_with_a_replay_when_nothing_is_remembered(engine, work, memory, path):
    begun = []

    @workflow.defn
    async def waiting() -> None:
        begun.append(1)
        await work.double(1)
        for _ in range(3):
            await workflow.wait_signal("go")

    handle = waiting.start()
    for _ in range(3):
        engine.run_until_quiet()
        handle.signal("go")
    engine.run_until_quiet()

    assert handle.status == "completed"
    turns = {"in place": 4, "handed out": 5}[path]  # in place, the activity's result goes on with the same execution
    assert len(begun) == {"live": 1, "replayed": turns}[memory]


@pytest.mark.parametrize("differs", ["argument", "order"])
def test_code_that_depends_on_more_than_its_history_is_noticed(engine, work, differs):
    seen: list[int] = []

    @workflow.defn
    async def leaking() -> None:
        seen.append(1)
        if differs == "argument":
            await work.double(len(seen))
        elif len(seen) > 3:
            await work.note("another path")
        await workflow.wait_signal("go")
        await work.double(1)

    handle = leaking.start()
    engine.run_until_quiet()
    assert handle.status == "running"
    seen.extend([1, 1, 1])

    with pytest.raises((AssertionError, NondeterminismError)):
        engine.replay_all()
    engine.unfit.add(handle.id)
