"""Sagas: what is undone, in which order, and what stands in its way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable.core.compensations import Compensations
from durable.core.errors import CompensationFailed, InvalidInput, OutsideWorkflow
from tests.core.histories import (
    CANCEL,
    CANCELED,
    STARTED,
    activity,
    completed,
    decide,
    failed,
    failure_of,
    fired,
    given,
    result_of,
    returned,
    scheduled,
    workflow,
)


async def _stand_in(*args: Any) -> Any:
    raise NotImplementedError


reserve, release = activity(_stand_in, name="reserve"), activity(_stand_in, name="release")
charge, refund = activity(_stand_in, name="charge"), activity(_stand_in, name="refund")
ship = activity(_stand_in, name="ship")


@workflow
async def order():
    async with Compensations() as undo:
        undo.add(release, 1)
        await reserve(1)
        receipt = await charge(1)
        undo.add(refund, receipt)
        await ship(1)
    return "shipped"


PAID = [
    STARTED,
    scheduled(0, "reserve", 1),
    completed(0),
    scheduled(1, "charge", 1),
    completed(1, "receipt"),
    scheduled(2, "ship", 1),
]


def test_undoes_in_reverse_order_when_the_block_fails():
    first = decide(order, PAID, failed(2))
    assert first.commands == (scheduled(3, "refund", "receipt"),)

    second = decide(order, [*PAID, failed(2), scheduled(3, "refund", "receipt")], completed(3))
    assert second.commands == (scheduled(4, "release", 1),)

    undone = [*PAID, failed(2), scheduled(3, "refund", "receipt"), completed(3), scheduled(4, "release", 1)]
    assert failure_of(decide(order, undone, completed(4))).type == "ActivityError"


def test_undoes_when_the_workflow_is_cancelled_and_is_canceled_then():
    cancelled = [*PAID, CANCEL]
    decision = decide(order, PAID, CANCEL)
    assert scheduled(3, "refund", "receipt") in decision.commands

    undone = [*cancelled, scheduled(3, "refund", "receipt"), completed(3), scheduled(4, "release", 1)]
    assert decide(order, undone, completed(4)).outcome == CANCELED


def test_undoes_nothing_when_the_block_succeeds():
    assert decide(order, PAID, completed(2)).commands == (returned("shipped"),)


def test_goes_on_when_one_fails_and_says_which():
    history = [*PAID, failed(2), scheduled(3, "refund", "receipt")]
    assert decide(order, history, failed(3)).commands == (scheduled(4, "release", 1),)

    failure = failure_of(decide(order, [*history, failed(3), scheduled(4, "release", 1)], completed(4)))

    assert failure.type == "CompensationFailed"
    assert failure.message.startswith("1 of 2 compensations failed, see to them by hand: refund: activity refund was")
    assert failure.cause.type == "ActivityError"
    assert "activity ship" in failure.cause.message


def test_failed_ones_can_be_told_apart():
    @workflow
    async def told():
        undo = Compensations()
        undo.add(refund, 1)
        undo.add(release, 2)
        try:
            await undo.run()
        except CompensationFailed as error:
            return [[name, str(each)] for name, each in error.failed], error.tried

    history = [STARTED, scheduled(0, "release", 2), completed(0), scheduled(1, "refund", 1)]

    names, tried = result_of(decide(told, history, failed(1)))
    assert ([name for name, _ in names], tried) == (["refund"], 2)


def test_are_run_once_also_by_hand():
    @workflow
    async def by_hand():
        async with Compensations() as undo:
            undo.add(release, 1)
            await undo.run()
            raise ValueError("after all")

    history = [STARTED, scheduled(0, "release", 1)]

    assert failure_of(decide(by_hand, history, completed(0))).type == "ValueError"


def test_arguments_are_those_of_the_moment_of_registering():
    @workflow
    async def changing():
        lines = ["a"]
        async with Compensations() as undo:
            undo.add(release, lines)
            lines.append("b")
            raise ValueError

    assert decide(changing, [], STARTED).commands == (scheduled(0, "release", ["a"]),)


def test_children_and_async_functions_undo_as_well():
    @workflow
    async def child(number: int): ...

    @workflow
    async def mixed():
        async def clean(what: str) -> None:
            await asyncio.sleep(1)
            await release(what)

        async with Compensations() as undo:
            undo.add(child, 7)
            undo.add(clean, "desk")
            raise ValueError

    history = [STARTED, *decide(mixed, [], STARTED).commands]
    assert decide(mixed, history, fired(0, at=1)).commands == (scheduled(1, "release", "desk"),)
    (kid,) = decide(mixed, [*history, fired(0, at=1), scheduled(1, "release", "desk")], completed(1)).commands
    assert (kid.kind, kid.name, kid.input) == ("ChildScheduled", "child", given(7))


def test_cancel_meanwhile_waits_until_all_is_undone():
    @workflow
    async def impatient():
        async def work() -> None:
            async with Compensations() as undo:
                undo.add(release, 1)
                undo.add(refund, 1)
                raise ValueError("broken")

        try:
            async with asyncio.timeout(10):
                await work()
        except TimeoutError:
            return "late"

    begun = [STARTED, *decide(impatient, [], STARTED).commands]
    undoing = [*begun, fired(0, at=10)]
    assert decide(impatient, begun, fired(0, at=10)).commands == ()
    done = [*undoing, completed(1, at=11), scheduled(2, "release", 1)]
    assert result_of(decide(impatient, done, completed(2, at=12))) == "late"


@pytest.mark.parametrize(
    ("undo", "args", "says"),
    [
        (lambda: None, (), "is no activity, workflow or async function"),
        (release, (object(),), "release"),
    ],
)
def test_what_cannot_undo_is_refused_when_it_is_registered(undo, args, says):
    @workflow
    async def wrong():
        try:
            Compensations().add(undo, *args)
        except InvalidInput as error:
            return str(error)

    assert says in result_of(decide(wrong, [], STARTED))


def test_are_registered_in_a_workflow():
    with pytest.raises(OutsideWorkflow):
        Compensations().add(release, 1)


def test_code_that_is_put_away_undoes_nothing():
    assert decide(order, [], STARTED).commands == (scheduled(0, "reserve", 1),)
