"""Each simulation replays what it produced, wherever it is cut, and complains if the code decides otherwise."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import InvalidInput, NondeterminismError, activity, testing, workflow
from durable.testing import rechecking

calls = [0]


@pytest.fixture(autouse=True)
def _fresh(fresh):
    calls[0] = 0

    @activity.defn
    def note(value: Any) -> Any:
        return value

    @activity.defn
    def other(value: Any) -> None: ...

    globals().update(note=note, other=other)


note: Any = None
other: Any = None


def grows() -> int:
    """Return another number each time, as a clock does that strictness does not know."""
    calls[0] += 1
    return calls[0]


def test_other_command_on_replay_is_nondeterminism():
    @workflow.defn
    async def strays() -> None:
        await (note if grows() == 1 else other)(1)

    with pytest.raises(NondeterminismError) as caught:
        testing.simulate(strays)

    error = caught.value
    assert (error.seq, error.event_id, error.expected, error.got) == (
        2,
        0,
        "ActivityScheduled(note)",
        "ActivityScheduled(other)",
    )
    assert error.location == f"{__file__}:{strays.fn.__code__.co_firstlineno + 2}"


def test_other_argument_on_replay_is_nondeterminism():
    @workflow.defn
    async def strays() -> None:
        await note(grows())

    with pytest.raises(NondeterminismError, match=r"'args': \[1\].* workflow did .*'args': \[2\]"):
        testing.simulate(strays)


def test_other_status_on_replay_is_nondeterminism():
    @workflow.defn
    async def strays() -> None:
        workflow.set_status(grows())
        await note(1)

    with pytest.raises(NondeterminismError, match="status, progress and tags"):
        testing.simulate(strays)


def test_other_result_on_replay_is_nondeterminism():
    @workflow.defn
    async def strays() -> int:
        return grows()

    with pytest.raises(NondeterminismError, match="ExecutionCompleted"):
        testing.simulate(strays)


def test_other_failure_on_replay_is_nondeterminism():
    @workflow.defn
    async def strays() -> None:
        raise (KeyError if grows() == 1 else ValueError)("no")

    with pytest.raises(NondeterminismError, match="ExecutionFailed"):
        testing.simulate(strays)


def test_side_effect_that_is_gone_on_replay_is_nondeterminism():
    @workflow.defn
    async def strays() -> None:
        if grows() == 1:
            workflow.side_effect(lambda: 1)
        await note(1)

    with pytest.raises(NondeterminismError):
        testing.simulate(strays)


def test_side_effect_that_comes_up_on_replay_is_nondeterminism():
    @workflow.defn
    async def strays() -> None:
        if grows() > 1:
            workflow.side_effect(lambda: 1)
        await note(1)
        await note(2)

    with pytest.raises(NondeterminismError) as caught:
        testing.simulate(strays)

    assert (caught.value.seq, caught.value.got) == (2, "SideEffectRecorded(0)")


def test_failure_whose_text_differs_is_the_same():
    @workflow.defn
    async def fails() -> None:
        raise ValueError(object())

    assert testing.simulate(fails).status == "failed"


def test_child_is_replayed_too():
    @workflow.defn
    async def strays() -> None:
        await note(grows())

    @workflow.defn
    async def parent() -> None:
        await strays()

    with pytest.raises(NondeterminismError, match="The code of simulated:0000 decides otherwise"):
        testing.simulate(parent)


def test_side_effects_run_once():
    @workflow.defn
    async def draws() -> list[Any]:
        first = await note(workflow.side_effect(grows))
        return [first, workflow.side_effect(grows), workflow.patched("new"), await note("x")]

    assert testing.simulate(draws).result() == [1, 2, True, "x"]
    assert calls == [2]


def test_every_prefix_of_a_short_history_is_replayed(monkeypatch):
    cuts: list[int] = []
    prefix = rechecking._prefix
    monkeypatch.setattr(rechecking, "_prefix", lambda run, history, cut: (cuts.append(cut), prefix(run, history, cut)))

    @workflow.defn
    async def works() -> None:
        await asyncio.gather(note(1), note(2), asyncio.sleep(5))

    length = len(testing.simulate(works).history)

    assert cuts == list(range(1, length + 1))


def test_prefixes_of_a_long_history_are_spread_and_end_with_the_whole():
    cuts = rechecking.prefixes(5_000, every=False)

    assert (len(cuts), cuts[0], cuts[-1]) == (rechecking.SPREAD, 250, 5_000)
    assert rechecking.prefixes(rechecking.EVERY, every=False) == list(range(1, rechecking.EVERY + 1))


def test_every_prefix_of_a_long_history_is_replayed_if_asked_for(monkeypatch):
    cuts: list[int] = []
    monkeypatch.setattr(rechecking, "_prefix", lambda run, history, cut: cuts.append(cut))

    @workflow.defn
    async def works() -> None:
        for number in range(60):
            await note(number)

    length = len(testing.Simulation(works, prefixes="all").run().history)

    assert length == 122 and cuts == list(range(1, length + 1))
    with pytest.raises(InvalidInput, match="'every' is neither 'sample' nor 'all'"):
        testing.Simulation(works, prefixes="every")


@pytest.mark.parametrize("number", range(1, 59, 13))
def test_each_step_of_a_long_history_is_compared(monkeypatch, number):
    monkeypatch.setattr(rechecking, "_prefix", lambda run, history, cut: None)
    seen: list[int] = []

    @workflow.defn
    async def strays() -> None:
        for each in range(60):
            await note(each)
            if each == number:
                seen.append(each)
                workflow.set_status(len(seen))
        workflow.set_status("done")

    with pytest.raises(NondeterminismError, match="status, progress and tags") as caught:
        testing.simulate(strays)

    assert caught.value.seq == 2 + 2 * (number + 1)
