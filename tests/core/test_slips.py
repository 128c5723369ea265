"""Slips that every author makes once get an error that says what to write."""

from __future__ import annotations

import asyncio
import warnings
from datetime import timedelta
from typing import Any

import pytest

from durable.core import calls, context, marks
from durable.core.channels import Channel
from durable.core.replay import replay
from durable.core.selecting import on, receive, select, send
from tests.core.histories import STARTED, activity, failure_of, returned, workflow


@activity
def charge(n: int) -> Any: ...


@workflow
async def child() -> None: ...


HOUR: Any = timedelta(hours=1)


async def later() -> bool:
    return True


SLIPS = {
    "activity not called": (lambda: charge, "await charge: it was not called; write await charge(...)"),
    "child not called": (lambda: child, "await child: it was not called; write await child(...)"),
    "channel as a case": (lambda: select(Channel()), "wrap it in on, receive, send or default"),
    "awaitable among cases": (
        lambda: select(on(asyncio.get_running_loop().create_future(), print), 3),
        "select(): 3 is no case",
    ),
    "receive from a name": (lambda: select(receive("x", print)), "signals are one by workflow.signals(name)"),
    "send to a name": (lambda: select(send("x", 1, print)), "send(channel): 'x' is no Channel"),
    "condition that waits": (lambda: calls.wait_until(later), "wait_until(predicate): it must be a plain function"),
    "condition that is none": (lambda: calls.wait_until(True), "give a function: lambda: ..."),
    "side effect that waits": (lambda: marks.side_effect(later), "what waits belongs in an activity"),
    "side effect that is none": (lambda: marks.side_effect(5), "side_effect(fn): 5 cannot be called"),
    "duration for asyncio": (lambda: asyncio.sleep(HOUR), "give it delay.total_seconds()"),
    "signal without a name": (lambda: calls.wait_signal(""), "signal(name): 0 characters"),
    "signal by no text": (lambda: calls.signals(7), "signal(name): give a str, not 7"),
    "progress in words": (lambda: context.set_progress("half", 1), "set_progress(done): give a number, not 'half'"),
    "progress of words": (lambda: context.set_progress(1, "all"), "set_progress(total): give a number, not 'all'"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_slip_is_told_with_what_to_write(slip):
    make, said = SLIPS[slip]

    @workflow
    async def slipping() -> None:
        await make()

    with warnings.catch_warnings(action="error"):
        failure = failure_of(replay(slipping, [STARTED]))

    assert failure.type == "InvalidInput"
    assert said in failure.message


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("call", [lambda: charge(1), child], ids=["charge", "child"])
def test_warning_of_what_nobody_awaits_names_it(call, request):
    @workflow
    async def forgetting() -> None:
        call()

    with pytest.warns(RuntimeWarning, match=f"coroutine '{request.node.callspec.id}' was never awaited"):
        assert replay(forgetting, [STARTED]).outcome == returned()
