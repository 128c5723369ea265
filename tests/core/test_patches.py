"""Patches: what each combination of history and code comes to."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from durable import workflow
from durable.core import events as ev
from durable.core.definitions import define_activity, define_workflow
from durable.core.errors import NondeterminismError, PatchReused
from durable.core.replay import replay
from tests.core.histories import decide

STARTED = ev.ExecutionStarted(name="flow", input={"args": [], "kwargs": {}}, at=1.0)
NO_INPUT = {"args": [], "kwargs": {}}


def step(name: str) -> Any:
    def run() -> None: ...

    return define_activity(run, name=name)


old, new, after = step("old"), step("new"), step("after")


async def before_the_patch() -> None:
    await old()
    await after()


async def patched() -> None:
    await (new() if workflow.patched("p") else old())
    await after()


async def deprecated() -> None:
    workflow.deprecate_patch("p")
    await new()
    await after()


async def cleaned_up() -> None:
    await new()
    await after()


def scheduled(event_id: int, name: str) -> ev.Event:
    return ev.ActivityScheduled(event_id=event_id, name=name, input=NO_INPUT)


def completed(event_id: int) -> ev.Event:
    return ev.ActivityCompleted(event_id=event_id)


OLD = [STARTED, scheduled(0, "old"), completed(0), scheduled(1, "after")]
MARKED = [STARTED, ev.PatchMarked(event_id=0, name="p"), scheduled(1, "new"), completed(1), scheduled(2, "after")]
DEPRECATED = [
    STARTED,
    ev.PatchMarked(event_id=0, name="p", deprecated=True),
    scheduled(1, "new"),
    completed(1),
    scheduled(2, "after"),
]


def commands(fn: Any, history: list[ev.Event]) -> list[str]:
    decision = replay(define_workflow(fn), history)
    return [str(command) for command in decision.commands]


def test_new_execution_marks_the_patch_and_takes_the_new_path() -> None:
    decision = replay(define_workflow(patched), [], [STARTED])

    assert [str(c) for c in decision.commands] == ["PatchMarked(p)", "ActivityScheduled(new)"]


def test_new_execution_marks_a_deprecated_patch_as_deprecated() -> None:
    decision = replay(define_workflow(deprecated), [], [STARTED])

    assert decision.commands == (ev.PatchMarked(event_id=0, name="p", deprecated=True), scheduled(1, "new"))


def test_history_without_mark_takes_the_old_path_and_keeps_to_it() -> None:
    assert commands(patched, OLD) == []


def test_history_with_mark_takes_the_new_path() -> None:
    assert commands(patched, MARKED) == []


def test_removing_a_patch_that_is_marked_is_a_mismatch() -> None:
    with pytest.raises(NondeterminismError) as caught:
        commands(cleaned_up, MARKED)

    assert (caught.value.seq, caught.value.expected) == (2, "PatchMarked(p)")


def test_deprecating_accepts_histories_with_and_without_mark() -> None:
    assert commands(deprecated, MARKED) == []
    assert commands(deprecated, [STARTED, scheduled(0, "new"), completed(0), scheduled(1, "after")]) == []


def test_deprecated_mark_is_passed_over_when_the_code_asks_no_more() -> None:
    assert commands(cleaned_up, DEPRECATED) == []
    assert commands(deprecated, DEPRECATED) == []
    assert commands(patched, DEPRECATED) == []


def test_answer_is_remembered_when_replay_is_over() -> None:
    async def asks_twice() -> list[bool]:
        first = workflow.patched("p")
        await old()
        return [first, workflow.patched("p")]

    decision = replay(define_workflow(asks_twice), [STARTED, scheduled(0, "old")], [completed(0)])

    assert decision.outcome == ev.ExecutionCompleted(result=[False, False])


def test_numbers_go_on_after_a_mark_that_was_passed_over() -> None:
    decision = replay(define_workflow(cleaned_up), DEPRECATED[:3], [completed(1)])

    assert decision.commands == (scheduled(2, "after"),)


@pytest.mark.parametrize("fn", [patched, deprecated])
def test_decision_does_not_depend_on_where_the_history_is_cut(fn: Any) -> None:
    decision = decide(define_workflow(fn), [], STARTED, completed(1))

    assert decision.commands[-1] == scheduled(2, "after")


@pytest.mark.parametrize("patch_id", [5, "", "p" * 201, 'a "new" way', "two\nlines"])
def test_patch_without_a_usable_id_is_refused(patch_id: str) -> None:
    async def asks() -> bool:
        return workflow.patched(patch_id)

    outcome = replay(define_workflow(asks), [], [STARTED]).outcome

    assert isinstance(outcome, ev.ExecutionFailed)
    assert outcome.failure.type == "InvalidInput"


# --- one id for two things


async def deprecates_after_asking() -> None:
    if workflow.patched("p"):
        await new()
    workflow.deprecate_patch("p")


async def asks_after_deprecating() -> None:
    workflow.deprecate_patch("p")
    await new()
    workflow.patched("p")


def line_of(fn: Any, text: str) -> str:
    lines, first = inspect.getsourcelines(fn)
    return f"{__file__}:{first + next(n for n, line in enumerate(lines) if text in line)}"


@pytest.mark.parametrize(
    ("fn", "first", "second"),
    [(deprecates_after_asking, "patched", "deprecate_patch"), (asks_after_deprecating, "deprecate_patch", "patched")],
)
@pytest.mark.parametrize("history", [[STARTED], MARKED[:4], DEPRECATED[:4]])
def test_patch_that_is_asked_for_and_deprecated_is_refused_with_both_places(
    fn: Any, first: str, second: str, history: list[ev.Event]
) -> None:
    with pytest.raises(PatchReused) as caught:
        replay(define_workflow(fn), history, [] if len(history) > 1 else [completed(1)])

    assert (caught.value.first, caught.value.second) == (line_of(fn, f"{first}("), line_of(fn, f"{second}("))
    assert f"patch 'p' is used for two things, by {first}() at " in str(caught.value)


def test_code_cannot_catch_the_refusal() -> None:
    async def catches() -> None:
        workflow.patched("p")
        try:
            workflow.deprecate_patch("p")
        except Exception:
            await new()

    with pytest.raises(PatchReused):
        replay(define_workflow(catches), [], [STARTED])


def test_refusal_does_without_a_place_that_is_not_in_the_code() -> None:
    async def from_the_loop() -> None:
        asyncio.get_running_loop().call_soon(workflow.deprecate_patch, "p")
        asyncio.get_running_loop().call_soon(workflow.deprecate_patch, "p")
        asyncio.get_running_loop().call_soon(workflow.patched, "p")
        await new()

    with pytest.raises(PatchReused) as caught:
        replay(define_workflow(from_the_loop), [], [STARTED])

    assert (caught.value.first, caught.value.second) == ("", "")


async def two_changes_with_one_id() -> None:
    await (new() if workflow.patched("p") else old())
    await (new() if workflow.patched("p") else after())


def test_mismatch_names_the_patch_that_is_asked_for_in_two_places() -> None:
    with pytest.raises(NondeterminismError) as caught:
        commands(two_changes_with_one_id, MARKED)

    one, two = (f"{__file__}:{int(line_of(two_changes_with_one_id, 'old()').rpartition(':')[2]) + n}" for n in (0, 1))
    assert (caught.value.expected, caught.value.got) == ("ActivityScheduled(after)", "ActivityScheduled(new)")
    assert caught.value.note == (
        f"Patch 'p' is asked for at {one} and at {two}: if these are two changes, give the later one an id of its own"
    )


def test_mismatch_does_not_blame_a_patch_that_is_asked_for_in_one_place_or_not_taken() -> None:
    async def again_and_again() -> None:
        for _ in range(2):
            await (new() if workflow.patched("p") else old())
        await after()

    async def not_taken() -> None:
        await (new() if workflow.patched("p") else old())
        await (new() if workflow.patched("p") else old())

    for fn, history in ((again_and_again, MARKED), (not_taken, OLD)):
        with pytest.raises(NondeterminismError) as caught:
            commands(fn, history)
        assert caught.value.note == ""
