"""What verbs did to instances, as their rows tell it, and what a preview says that they do."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from durable import client
from durable.models import OPEN, Execution, HistoryEvent, InboxEvent, Instance
from tests.strolls import ASKED

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOT_THE_STEP = {"fire_at": None}
"""A timer that was set again is the same step."""


@dataclass(frozen=True, kw_only=True)
class State:
    """How an instance stands.

    Attributes:
        cancels: How often it is told to stop and has not read it.
    """

    status: str
    execution_id: Any
    head: int
    version: int
    cancels: int


def states() -> dict[str, State]:
    """Return how all instances stand, by id."""
    told = Counter(InboxEvent.objects.filter(kind="CancelRequested").values_list("execution_id", flat=True))
    return {
        each.pk: State(
            status=each.status,
            execution_id=each.execution_id,
            head=each.head,
            version=each.version,
            cancels=told[each.execution_id],
        )
        for each in Instance.objects.all()
    }


def counts() -> tuple[int, int, int]:
    """Return how many instances, executions and events there are."""
    return Instance.objects.count(), Execution.objects.count(), HistoryEvent.objects.count()


def tree(preview: client.Preview) -> Iterator[client.Preview]:
    """Yield a preview and those below it."""
    yield preview
    for child in preview.children:
        yield from tree(child)


def foretold(preview: client.Preview, before: dict[str, State]) -> dict[str, State]:
    """Return how the instances stand after the verb of a preview that only ends, halts and lets go on."""
    after = dict(before)
    for node in tree(preview):
        state = after[node.instance_id]
        if f"it is {state.status}, nothing changes" in node.warnings:
            continue
        match node.verb:
            case "terminate":
                state = replace(state, status="terminated", head=state.head + 1, cancels=0)
            case "cancel":
                state = replace(state, cancels=state.cancels + 1)
            case "suspend":
                state = replace(state, status="suspended", head=state.head + bool(state.head))
            case "resume":
                status = "running" if state.head else "pending"
                state = replace(state, status=status, head=state.head + bool(state.head))
        after[node.instance_id] = state
    return after


def check_end(preview: client.Preview, new_id: str) -> bool:
    """Check that an instance ended at once if the preview said so; return whether it did."""
    said = [warning for warning in preview.warnings if warning.startswith("the code ends at once")]
    ended = Instance.objects.get(pk=new_id).status not in OPEN
    if said:
        assert ended or "ExecutionContinued" in said[0]
    elif ended:
        assert any("side effect" in warning for warning in preview.warnings)
    return ended


def check_purge(preview: client.Preview, before: dict[str, State], numbers: tuple[int, int, int], done: Any) -> None:
    """Check that a purge deleted what its preview said, and left what it said."""
    gone = {node.instance_id for node in tree(preview)}
    after = states()
    assert set(before) - set(after) == gone
    left = {pk: state for pk, state in before.items() if pk not in gone}
    said_to_end = {pk for pk in left if f"child {pk} is terminated, and stays" in preview.warnings}
    assert {pk: state.status for pk, state in after.items()} == {
        pk: "terminated" if pk in said_to_end else state.status for pk, state in left.items()
    }
    assert {pk for pk in left if after[pk].cancels > left[pk].cancels} == {
        pk for pk in left if f"child {pk} is told to stop, and stays" in preview.warnings
    }
    ended = sum(before[pk].status in OPEN for pk in gone)
    assert [one - other for one, other in zip(numbers, counts(), strict=True)] == [
        done.instances,
        done.executions,
        done.events - ended - len(said_to_end),
    ]
    said = [int(number) for number in re.findall(r"(\d+) (?:instance|execution|event)", preview.warnings[0])]
    assert said == [done.instances, done.executions, done.events]
    for pk, state in before.items():
        assert (f"{pk} is {state.status}, and is terminated first" in preview.warnings) == (
            pk in gone and state.status in OPEN
        )
    for pk in after:
        if f"child {pk} goes on, without its parent" in preview.warnings:
            assert Instance.objects.get(pk=pk).parent_id is None


def check_restart(preview: client.Preview, before: dict[str, State], new_id: str) -> None:
    """Check that a restart began what its preview said, and ended what it said."""
    source, after = before[preview.instance_id], states()
    assert [(step.event_id, step.kind) for step in preview.dropped] == [
        (event.event_id, event.kind) for event in _events(source.execution_id) if event.kind in ASKED
    ]
    assert preview.signals_dropped == [e.name for e in _events(source.execution_id) if e.kind == "SignalReceived"]
    expected = foretold(preview.children[0], before) if preview.children else dict(before)
    new = after.pop(new_id)
    assert (new.status, new.head, new.version) == ("pending", 0, preview.version)
    replaced = expected.pop(new_id, None)
    assert (f"instance {new_id} begins a new execution, and keeps the old ones" in preview.warnings) == bool(replaced)
    assert after == expected


def check_restore(preview: client.Preview, before: dict[str, State]) -> None:
    """Check that a restore took back what its preview said."""
    nodes, after = list(tree(preview)), states()
    for node in nodes:
        old, new = before[node.instance_id], after[node.instance_id]
        assert new.version == node.version
        assert f"it is {new.status} afterwards" in node.warnings
        kept = [event for event in _events(new.execution_id) if event.kind in ASKED]
        assert _steps(node.kept) == [(event.event_id, event.kind, event.name) for event in kept]
        # Whatever it restores was another life, if it began otherwise.
        gone = [event for event in _events(old.execution_id) if event.kind in ASKED]
        rest = Counter(map(_step, kept if _seed(old.execution_id) == _seed(new.execution_id) else []))
        lost = [event for event in gone if not _take(rest, _step(event))]
        assert _steps(node.dropped) == [(event.event_id, event.kind, event.name) for event in lost]
    others = set(before) - {node.instance_id for node in nodes}
    assert {pk: after[pk] for pk in others} == {pk: before[pk] for pk in others}


def _take(rest: Counter[str], step: str) -> bool:
    rest[step] -= 1
    return rest[step] >= 0


def _step(event: HistoryEvent) -> str:
    return f"{event.event_id} {event.kind} {event.name} { {**event.data, **_NOT_THE_STEP} }"


def _steps(steps: Any) -> list[tuple[int, str, str]]:
    return [(step.event_id, step.kind, step.name) for step in steps]


def _events(execution_id: Any) -> list[HistoryEvent]:
    return list(HistoryEvent.objects.filter(execution=execution_id).order_by("seq"))


def _seed(execution_id: Any) -> Any:
    first = _events(execution_id)[:1]
    return first[0].data.get("seed") if first else None
