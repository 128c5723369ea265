"""What would reach outside is refused by name, and fails the workflow whatever its code does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable.core import stepping
from durable.core.errors import ForbiddenInWorkflow
from durable.core.events import SideEffectRecorded
from durable.core.execution import Execution
from durable.core.loop import DeterministicLoop
from durable.core.marks import side_effect
from durable.core.payloads import Converter
from durable.core.refusals import OF_THE_LOOP
from durable.core.replay import catch_up, replay
from tests.core.histories import (
    STARTED,
    activity,
    begin,
    completed,
    decide,
    failure_of,
    raised,
    scheduled,
    started,
    workflow,
)


@activity
def a() -> Any: ...


@workflow
async def broad(kind: str = "") -> Any:
    """Do what ``REACHING`` says and swallow whatever comes of it."""
    try:
        return await REACHING[-1]()
    except BaseException:
        await a()
        return "swallowed"


REACHING: list[Any] = []

ANY: Any = None


async def nothing() -> None: ...


CALLS: dict[str, list[Any]] = {
    "loop.run_in_executor": [
        lambda: asyncio.to_thread(print),
        lambda: asyncio.get_running_loop().run_in_executor(None, print),
    ],
    "loop.create_connection": [
        lambda: asyncio.open_connection("localhost", 80),
        lambda: asyncio.get_running_loop().create_connection(asyncio.Protocol, "localhost", 80),
    ],
    "loop.create_unix_connection": [lambda: asyncio.open_unix_connection("/tmp/x")],  # noqa: S108 - never opened
    "loop.create_server": [lambda: asyncio.start_server(print, "localhost", 80)],
    "loop.create_datagram_endpoint": [
        lambda: asyncio.get_running_loop().create_datagram_endpoint(asyncio.DatagramProtocol)
    ],
    "loop.subprocess_exec": [lambda: asyncio.create_subprocess_exec("true")],
    "loop.subprocess_shell": [lambda: asyncio.create_subprocess_shell("true")],
    "loop.getaddrinfo": [lambda: asyncio.get_running_loop().getaddrinfo("localhost", 80)],
    "loop.getnameinfo": [lambda: asyncio.get_running_loop().getnameinfo(("localhost", 80))],
    "loop.call_soon_threadsafe": [lambda: asyncio.get_running_loop().call_soon_threadsafe(print)],
    "loop.add_signal_handler": [lambda: asyncio.get_running_loop().add_signal_handler(2, print)],
    "asyncio.run": [lambda: asyncio.run(nothing()), lambda: asyncio.run(main=nothing())],
    "asyncio.Runner.run": [lambda: asyncio.Runner().run(nothing())],
    "loop.add_reader": [lambda: asyncio.get_running_loop().add_reader(0, print)],
    "loop.sock_connect": [lambda: asyncio.get_running_loop().sock_connect(ANY, ("localhost", 80))],
}


@pytest.mark.parametrize(("call", "reach"), [(call, reach) for call, ways in CALLS.items() for reach in ways])
def test_reaching_outside_fails_the_workflow_and_names_the_call(call, reach):
    REACHING.append(reach)

    decision = decide(broad, [], STARTED)

    failure = failure_of(decision)
    assert failure.type == "ForbiddenInWorkflow"
    assert failure.message.startswith(f"{call} is not allowed in a workflow")
    assert decision.commands == (decision.outcome,)


def test_asyncio_runs_elsewhere():
    async def answer() -> int:
        return 42

    assert asyncio.run(answer()) == 42
    with asyncio.Runner() as runner:
        assert runner.run(answer()) == 42


def test_refusal_names_the_place_and_what_stands_there():
    @workflow
    async def reaching() -> None:
        await asyncio.to_thread(print, "a")

    failure = failure_of(decide(reaching, [], STARTED))

    line = reaching.fn.__code__.co_firstlineno + 2
    assert failure.message == (
        "loop.run_in_executor is not allowed in a workflow: it could not be replayed. Do it in an activity "
        f'(at {__file__}:{line}: await asyncio.to_thread(print, "a"))'
    )


def test_refusal_in_code_that_is_not_the_users_names_the_place_that_waits_for_it():
    @workflow
    async def reaching() -> None:
        await asyncio.gather(asyncio.to_thread(print))

    failure = failure_of(decide(reaching, [], STARTED))

    line = reaching.fn.__code__.co_firstlineno + 2
    assert failure.message.endswith(f"Do it in an activity (at {__file__}:{line})")


@pytest.mark.parametrize("name", OF_THE_LOOP)
def test_every_method_of_the_loop_that_reaches_outside_is_refused(name):
    loop: Any = DeterministicLoop(owner=None, start_timer=lambda *_: 0, cancel_timer=lambda _: None)  # type: ignore[abstract]

    with pytest.raises(ForbiddenInWorkflow, match=rf"^loop\.{name} is not allowed") as caught:
        getattr(loop, name)(1, 2, key=3)

    assert loop.violation is caught.value
    assert getattr(loop, name).__name__ == name


def test_no_method_of_the_loop_is_forgotten():
    ours = {name for name in vars(DeterministicLoop) if not name.startswith("__")}
    theirs = {name for name in vars(asyncio.AbstractEventLoop) if not name.startswith("__")}

    # Left to asyncio's own NotImplementedError: nobody reaches outside with these.
    assert theirs - ours == {"stop", "set_debug", "set_task_factory", "set_exception_handler"}


@workflow
async def swallowing():
    try:
        await asyncio.to_thread(print)
    except Exception:
        return "swallowed"


def test_replay_of_a_refused_call_comes_to_the_same_end():
    log = [STARTED, raised("ForbiddenInWorkflow")]

    assert failure_of(decide(swallowing, log)).type == "ForbiddenInWorkflow"


def test_refusal_in_a_later_step_drops_what_the_step_asked_for():
    @workflow
    async def late():
        await a()
        begin(a())
        await asyncio.sleep(0)
        await asyncio.to_thread(print)

    decision = decide(late, [STARTED, scheduled(0, "a")], completed(0))

    assert decision.commands == (decision.outcome,)
    assert failure_of(decision).type == "ForbiddenInWorkflow"


def test_refusal_in_a_task_that_nobody_awaits_fails_the_workflow():
    @workflow
    async def careless():
        begin(asyncio.to_thread(print))
        await a()

    assert failure_of(decide(careless, [], STARTED)).type == "ForbiddenInWorkflow"


def test_first_refusal_is_the_one_that_is_told():
    loop = DeterministicLoop(owner=None, start_timer=lambda *_: 0, cancel_timer=lambda _: None)  # type: ignore[abstract]

    first = loop.forbid("socket.connect")
    loop.forbid("os.system")

    assert loop.violation is first


def test_reaching_outside_while_the_code_is_unwound_is_refused_and_no_more():
    said = []

    @workflow
    async def rude():
        try:
            await a()
        finally:
            try:
                asyncio.get_running_loop().add_reader(0, print)
            except ForbiddenInWorkflow as error:
                said.append(error.call)

    execution = Execution(rude, converter=Converter())
    stepping.step(execution, STARTED)

    execution.close()

    assert said == ["loop.add_reader"]
    assert execution.loop.violation is None


def test_refused_step_is_replayed_without_running_it():
    ran = []

    @workflow
    async def reaching() -> None:
        ran.append("begun")
        side_effect(lambda: ran.append("looked"))
        await a()
        side_effect(lambda: ran.append("looked again"))

    log = [STARTED, SideEffectRecorded(event_id=0), scheduled(1, "a"), completed(1), raised("ForbiddenInWorkflow")]

    decision = replay(reaching, log)  # not decide: what was cut off would be live, and nothing refuses it here

    assert set(ran) == {"begun"}
    assert decision.outcome == log[-1]
    assert decision.commands == ()


def test_refused_first_step_leaves_what_it_was_started_with():
    @workflow
    async def reaching() -> None: ...

    execution = Execution(reaching, converter=Converter())
    start = started(tags={"kind": "x"}, at=7.0)

    catch_up(execution, [start, raised("ForbiddenInWorkflow")])

    assert execution.started is start
    assert execution.tags == {"kind": "x"}
    assert (execution.head, execution.length, execution.loop.now) == (2, 2, 7.0)
