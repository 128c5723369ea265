"""Branches beside the target of a rerun: what they came to in the source is not done again."""

from __future__ import annotations

import asyncio
from typing import Any

from durable.core import edit, stepping
from durable.core import events as ev
from durable.core.branches import Replies
from durable.core.execution import Execution
from durable.core.payloads import Converter
from durable.core.replay import catch_up
from tests.core.histories import activity, completed, failed, returned, signal, workflow
from tests.core.test_edit import THREE, kinds, played


async def _stand_in(*args: Any) -> Any:
    raise NotImplementedError


a, b, c = (activity(_stand_in, name=name) for name in ("a", "b", "c"))


@workflow
async def pipelines():
    async def pipeline(act: Any) -> Any:
        return [await act(1), await act(2), await act(3)]

    return await asyncio.gather(pipeline(a), pipeline(b))


# The first is done before the second has its first result.
LOG = played(
    pipelines,
    *(completed(number, f"A{number}", at=number) for number in (0, 2, 3)),
    *(completed(number, f"B{number}", at=number) for number in (1, 4, 5)),
)


def seen(flow: Any, log: list[ev.Event], target: int, *, keep: bool = True) -> tuple[list[str], Replies, Execution]:
    """Return what comes in, as text, when a rerun begins at an activity."""
    edited = edit.fork(log, target, keep_siblings=keep)
    replies = Replies(edited)
    execution = Execution(flow, converter=Converter(), dry=True)
    catch_up(execution, edited.kept, whole=not edited.is_cut)
    came = []
    for event in replies.given(execution):
        came.append(event)
        replies.follow(stepping.step(execution, event))
    return [f"{event}={getattr(event, 'result', '')}" for event in came], replies, execution


def test_branch_beside_the_target_goes_on_with_the_results_that_it_had():
    assert kinds(LOG[-1:]) == [str(returned())]

    came, replies, execution = seen(pipelines, LOG, 0)

    # Events 4 and 5 of the source: the code comes to them sooner, as the first pipeline waits.
    assert came == ["ActivityCompleted(1)=B1", "ActivityCompleted(2)=B4", "ActivityCompleted(3)=B5"]
    assert replies.adopted == {2: 4, 3: 5}
    assert list(execution.open) == [0]
    execution.close()


def test_only_what_was_asked_for_on_the_same_result_has_its_own():
    @workflow
    async def alike():
        async def branch(first: Any) -> Any:
            return [await first(), await c()]

        return await asyncio.gather(branch(a), branch(b))

    log = played(alike, completed(0), completed(2, "of a"), completed(1), completed(3, "of b"))

    came, replies, execution = seen(alike, log, 0)

    assert came[1:] == ["ActivityCompleted(2)=of b"]
    assert replies.adopted == {2: 3}
    execution.close()


def test_what_is_asked_for_otherwise_or_did_not_succeed_runs_again():
    @workflow
    async def fragile():
        async def branch() -> Any:
            return [await b(), await asyncio.gather(b(1), c(), asyncio.sleep(1), return_exceptions=True)]

        return await asyncio.gather(a(), branch())

    log = played(fragile, completed(0), completed(1, "B", at=1), completed(2, "b1", at=2), failed(3))

    @workflow
    async def changed():
        async def branch() -> Any:
            return [await b(), await asyncio.gather(b(2), c(), asyncio.sleep(1), return_exceptions=True)]

        return await asyncio.gather(a(), branch())

    for flow, adopted in ((fragile, {2: 2}), (changed, {})):
        _, replies, execution = seen(flow, log, 0)

        assert replies.adopted == adopted
        assert sorted(execution.open) == [0, *({2, 3, 4} - set(adopted))]
        execution.close()


def test_what_the_code_gives_up_on_first_is_not_answered():
    @workflow
    async def hasty():
        async def branch() -> Any:
            await b()
            waits = [asyncio.ensure_future(act()) for act in (b, c)]
            _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for each in pending:
                each.cancel()

        return await asyncio.gather(a(), branch())

    log = played(hasty, completed(0), completed(1), completed(3), completed(2))

    came, replies, execution = seen(hasty, log, 0)

    assert came == ["ActivityCompleted(1)=None", "ActivityCompleted(3)=None"]
    assert replies.adopted == {3: 3}
    assert execution.open[2].called_off
    execution.close()


def test_without_siblings_that_keep_their_results_nothing_is_adopted():
    came, replies, execution = seen(pipelines, LOG, 0, keep=False)

    assert (came, replies.adopted) == ([], {})
    execution.close()


def test_replies_come_in_their_order_behind_what_comes_first():
    edited = edit.rewind_to([*THREE[:2], signal("x"), *THREE[2:4], signal("y"), *THREE[4:]], 0)
    edited = edit.without(edited, ())
    execution = Execution(pipelines, converter=Converter(), dry=True)

    first: list[ev.Event] = [ev.ExecutionRewound()]
    given = list(Replies(edited, first).given(execution))

    assert given == [ev.ExecutionRewound(), signal("x"), signal("y")]
    execution.close()
