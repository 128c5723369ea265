"""Patches: what each combination of history and code comes to."""

from __future__ import annotations

from typing import Any

import pytest

from durable import workflow
from durable.core import events as ev
from durable.core.definitions import define_activity, define_workflow
from durable.core.errors import NondeterminismError
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


@pytest.mark.parametrize("patch_id", ["", "p" * 201])
def test_patch_without_a_usable_id_is_refused(patch_id: str) -> None:
    async def asks() -> bool:
        return workflow.patched(patch_id)

    outcome = replay(define_workflow(asks), [], [STARTED]).outcome

    assert isinstance(outcome, ev.ExecutionFailed)
    assert outcome.failure.type == "InvalidInput"
