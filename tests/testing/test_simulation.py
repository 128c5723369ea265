"""Simulations: workflows in memory, operated by the test."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group

from durable import (
    ChildFailed,
    InvalidId,
    InvalidInput,
    LimitExceeded,
    NondeterminismError,
    NotOpen,
    PayloadTooLarge,
    ReadOnly,
    RetryPolicy,
    UnknownInstance,
    UnknownWorkflow,
    WorkflowCanceled,
    WorkflowFailed,
    WorkflowTerminated,
    activity,
    testing,
    workflow,
)
from durable.interceptors import Interceptor

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _fresh(fresh):
    pass


@pytest.fixture
def approval():
    @workflow.defn
    async def approval(number: int = 1) -> list[Any]:
        got: list[Any] = []

        @workflow.query
        def state(first: int = 0) -> list[Any]:
            return got[first:]

        while len(got) < number:
            got.append(await workflow.wait_signal("approve"))
            workflow.set_progress(len(got), number)
        return got

    return approval


# --- running


def test_workflow_runs_its_activities():
    @activity.defn
    def double(number: int) -> int:
        return 2 * number

    @workflow.defn
    async def sums(*numbers: int) -> int:
        return sum(await asyncio.gather(*map(double, numbers)))

    simulated = testing.simulate(sums, 1, 2, 3)

    assert (simulated.status, simulated.result(), simulated.failure) == ("completed", 12, None)
    assert [(call.name, call.args, call.kwargs, call.attempt, call.outcome) for call in simulated.calls] == [
        ("double", (n,), {}, 1, "completed") for n in (1, 2, 3)
    ]


def test_year_of_sleep_is_over_at_once():
    @workflow.defn
    async def nap() -> str:
        await asyncio.sleep(365 * 86400)
        return workflow.now().isoformat()

    simulated = testing.simulate(nap)

    assert simulated.elapsed == timedelta(days=365)
    assert simulated.result() == "2027-01-01T00:00:00+00:00"


def test_workflow_is_given_by_its_type_name():
    @workflow.defn
    async def order2(number: int) -> list[Any]:
        return [number, workflow.version()]

    assert testing.simulate("order2", number=3).result() == [3, 2]
    with pytest.raises(UnknownWorkflow, match="did you mean order2"):
        testing.Simulation("order3")


def test_options_are_those_of_a_start():
    @workflow.defn(timeout=60)
    async def order() -> list[Any]:
        await asyncio.sleep(50)
        workflow.set_tags(colour=None, size=3)
        workflow.set_status({"half": True})
        info = workflow.info()
        return [info.instance_id, info.queue, info.headers]

    options: dict[str, Any] = {"tags": {"colour": "red"}, "queue": "slow", "headers": {"a": 1}, "delay": 30}
    simulated = testing.Simulation(order.options(id="order-1"), **options).run()

    assert simulated.result() == ["order-1", "slow", {"a": 1}]
    assert (simulated.id, simulated.type, simulated.tags) == ("order-1", "order", {"size": 3})
    assert (simulated.custom_status, simulated.elapsed) == ({"half": True}, timedelta(seconds=80))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"id": "a\nb"}, InvalidId),
        ({"tags": {"": 1}}, InvalidInput),
        ({"tags": {str(n): n for n in range(101)}}, LimitExceeded),
        ({"colour": "red"}, InvalidInput),
    ],
)
def test_bad_options_are_refused(approval, options, error):
    with pytest.raises(error):
        testing.Simulation(approval, **options)


def test_arguments_that_do_not_fit_are_refused(approval, settings):
    with pytest.raises(InvalidInput, match="too many positional arguments"):
        testing.simulate(approval, 1, 2)

    settings.DURABLE = {"LIMITS": {"payload": 100}}
    with pytest.raises(PayloadTooLarge, match="input of approval"):
        testing.simulate(approval, "x" * 100)


def test_simulation_runs_once(approval):
    simulation = testing.Simulation(approval)
    simulation.at(0).signal("approve")
    simulation.run()

    with pytest.raises(testing.SimulationError, match="runs once"):
        simulation.run()


def test_result_raises_what_a_handle_would():
    @workflow.defn
    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(WorkflowFailed, match="'simulated' failed: ValueError: no"):
        testing.simulate(fails).result()


def test_simulation_runs_inside_an_event_loop():
    @activity.defn
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    @workflow.defn
    async def doubles() -> int:
        return await double(2)

    async def test() -> int:
        simulated = testing.simulate(doubles)
        await asyncio.sleep(0)
        return simulated.result()

    assert asyncio.run(test()) == 4


def test_atomic_activity_is_a_plain_function_without_a_database():
    @activity.defn(atomic=True)
    def count() -> int:
        return 7

    @workflow.defn
    async def counts() -> int:
        return await count()

    assert testing.simulate(counts).result() == 7


@pytest.mark.django_db
def test_atomic_activity_that_fails_leaves_no_writes_if_there_is_a_database():
    @activity.defn(atomic=True, retry=RetryPolicy(max_attempts=2))
    def write() -> int:
        Group.objects.create(name=str(activity.info().attempt))
        if activity.info().attempt == 1:
            raise ValueError("again")
        return Group.objects.count()

    @workflow.defn
    async def writes() -> int:
        return await write()

    assert testing.simulate(writes).result() == 1


# --- what the test does to it


def test_signals_come_at_their_time(approval):
    simulation = testing.Simulation(approval)
    simulation.at(DAY).signal("approve", {"b": 2})
    simulation.at(timedelta(hours=1)).signal("approve", {"a": 1}).signal("approve", {"a": 2})

    simulated = simulation.run(3)

    assert simulated.result() == [{"a": 1}, {"a": 2}, {"b": 2}]
    assert (simulated.elapsed, simulated.progress) == (DAY, {"done": 3, "total": 3, "note": ""})


def test_signal_at_the_start_is_kept_for_who_waits_later(approval):
    simulation = testing.Simulation(approval, delay=100)
    simulation.at(0).signal("approve", 1)

    assert simulation.run().result() == [1]


def test_query_looks_while_it_runs_and_afterwards(approval):
    simulation = testing.Simulation(approval)
    simulation.at(1).signal("approve", "x")
    answer = simulation.at(2).query("state")
    simulation.at(3).signal("approve", "y")
    with pytest.raises(testing.SimulationError, match=r"has not come"):
        answer.value  # noqa: B018 - looking is what raises

    simulation.run(2)

    assert answer.value == ["x"]
    assert simulation.query("state", first=1) == ["y"]
    with pytest.raises(InvalidInput, match="no such query; there are: state"):
        simulation.query("other")


def test_query_before_the_start_is_refused(approval):
    simulation = testing.Simulation(approval, delay=10)
    simulation.at(1).query("state")

    with pytest.raises(InvalidInput, match="has not begun yet"):
        simulation.run()


def test_query_that_changes_something_is_refused():
    @workflow.defn
    async def waits() -> None:
        @workflow.query
        def bad() -> None:
            workflow.set_status("x")

        await workflow.wait_signal("go")

    simulation = testing.Simulation(waits)

    def ask() -> None:
        with pytest.raises(ReadOnly):
            simulation.query("bad")

    simulation.at(1).call(ask)
    simulation.at(2).signal("go")

    assert simulation.run().custom_status is None


@pytest.fixture
def looked_at():
    @workflow.defn
    async def looked_at() -> int:
        looks = []

        @workflow.query
        def look() -> int:
            looks.append(1)
            return len(looks)

        @workflow.query
        def count() -> int:
            return len(looks)

        await workflow.wait_signal("go")
        if looks:
            await asyncio.sleep(1)
        return len(looks)

    return looked_at


def test_query_that_changes_a_variable_is_found_and_named(looked_at):
    simulation = testing.Simulation(looked_at)
    answers = [simulation.at(1).query("look"), simulation.at(2).query("look")]
    simulation.at(3).signal("go")
    simulation.at(4).query("count")

    with pytest.raises(
        NondeterminismError, match=r"It had answered query 'look' before: does that change a variable"
    ) as e:
        simulation.run()

    assert [answer.value for answer in answers] == [1, 2]
    assert "TimerStarted" in e.value.expected


def test_query_that_looks_changes_nothing(looked_at):
    simulation = testing.Simulation(looked_at)
    simulation.at(1).query("count")
    simulation.at(3).signal("go")

    assert simulation.run().result() == 0
    assert (simulation.query("look"), simulation.query("look")) == (1, 1)  # on replays, each its own


def test_query_that_tried_to_change_something_leaves_the_workflow_as_it_was():
    @workflow.defn
    async def shop() -> list[int]:
        sold = []

        @workflow.query
        def sneaky() -> None:
            sold.append(1)
            workflow.set_status("x")

        await workflow.wait_signal("go")
        return sold

    simulation = testing.Simulation(shop)

    def ask() -> None:
        with pytest.raises(ReadOnly, match="query 'sneaky'"):
            simulation.query("sneaky")

    simulation.at(1).call(ask)
    simulation.at(2).signal("go")

    assert simulation.run().result() == []


def test_cancel_reaches_the_code_and_its_children(approval):
    @workflow.defn
    async def cleans_up() -> None:
        kid = approval.start_child()
        try:
            await kid
        finally:
            with suppress(ChildFailed):
                await kid
            workflow.set_status("cleaned")

    simulation = testing.Simulation(cleans_up)
    simulation.at(60).cancel(reason="enough")

    simulated = simulation.run()

    assert (simulated.status, simulated.custom_status, simulated.elapsed) == (
        "canceled",
        "cleaned",
        timedelta(minutes=1),
    )
    assert [child.status for child in simulated.children] == ["canceled"]
    with pytest.raises(WorkflowCanceled):
        simulated.result()


def test_terminate_ends_it_and_its_children_without_running_code(approval):
    @workflow.defn
    async def cleans_up() -> None:
        try:
            await approval()
        finally:
            workflow.set_status("cleaned")

    simulation = testing.Simulation(cleans_up)
    simulation.at(60).terminate(reason="enough").terminate()

    simulated = simulation.run()

    assert (simulated.status, simulated.custom_status) == ("terminated", None)
    assert [child.status for child in simulated.children] == ["terminated"]
    with pytest.raises(WorkflowTerminated, match="enough"):
        simulated.result()


def test_children_are_operated_by_id(approval):
    @workflow.defn
    async def parent() -> list[Any]:
        return [await approval.options(id="kid")(1), await workflow.wait_signal("go")]

    simulation = testing.Simulation(parent)
    simulation.at(1).signal("approve", "x", to="kid")
    answer = simulation.at(2).query("state", to="kid")
    simulation.at(3).signal("go", "y")

    assert simulation.run().result() == [["x"], "y"]
    assert answer.value == ["x"]


@pytest.mark.parametrize(
    ("verb", "error"),
    [
        (lambda s: s.signal("approve", to="nobody"), UnknownInstance),
        (lambda s: s.signal("approve", to="kid"), NotOpen),
        (lambda s: s.cancel(to="kid"), NotOpen),
        (lambda s: s.terminate(to="kid"), NotOpen),
        (lambda s: s.signal(""), InvalidInput),
        (lambda s: s.signal("approve", object()), InvalidInput),
    ],
)
def test_verbs_refuse_what_the_clients_refuse(approval, verb, error):
    @workflow.defn
    async def kid() -> None: ...

    @workflow.defn
    async def parent() -> None:
        await kid.options(id="kid")()
        await workflow.wait_signal("go")

    simulation = testing.Simulation(parent)
    simulation.at(1).call(lambda: verb(simulation))

    with pytest.raises(error):
        simulation.run()


def test_activity_may_operate_the_simulation(approval):
    @activity.defn
    def approve() -> None: ...

    @workflow.defn
    async def asks() -> Any:
        await approve()
        return await workflow.wait_signal("approved")

    simulation = testing.Simulation(asks)
    simulation.mock(approve).calls(lambda: simulation.signal("approved", "by mock"))

    assert simulation.run().result() == "by mock"


def test_moment_after_the_end_never_comes(approval):
    simulation = testing.Simulation(approval)
    simulation.at(1).signal("approve")
    simulation.at(2).signal("approve")

    assert simulation.run().elapsed == timedelta(seconds=1)
    over = r"never came: 'simulated' was completed after 0:00:01"
    with pytest.raises(
        testing.ExpectationFailed, match=rf"signal 'approve' at 0:00:02 \(.*test_simulation.py:\d+\) {over}"
    ):
        simulation.assert_expectations()


def test_error_at_a_moment_says_which_moment(approval):
    simulation = testing.Simulation(approval)
    simulation.at(2).signal("approve", to="nobody")

    with pytest.raises(UnknownInstance) as caught:
        simulation.run()

    (note,) = caught.value.__notes__
    assert re.fullmatch(r"in signal 'approve' at 0:00:02 \(.*test_simulation\.py:\d+\)", note)


# --- executions, children


def test_executions_of_a_continued_instance_are_all_there():
    @workflow.defn
    async def counts(number: int = 0) -> list[Any]:
        if number < 40:
            workflow.continue_as_new(number + 1)
        return [number, await workflow.wait_signal("kept")]

    simulation = testing.Simulation(counts)
    simulation.at(0).signal("kept", "x")

    simulated = simulation.run()

    assert simulated.result() == [40, "x"]
    assert [(each.number, each.origin, each.status) for each in simulated.executions[:2]] == [
        (1, "start", "continued"),
        (2, "continued", "continued"),
    ]
    assert len(simulated.executions) == 41
    assert simulated.history == simulated.executions[-1].history


def test_instance_that_is_tried_again_waits_first():
    @activity.defn
    def works() -> str: ...  # type: ignore[empty-body]

    @workflow.defn(retry=RetryPolicy(initial_interval=90, max_attempts=2))
    async def tries() -> str:
        return await works.options(retry=RetryPolicy(max_attempts=1))()

    simulation = testing.Simulation(tries)
    simulation.mock(works).returns_each([ValueError("no"), "yes"])

    simulated = simulation.run()

    assert (simulated.result(), simulated.elapsed) == ("yes", timedelta(seconds=90))
    assert [(each.origin, each.status) for each in simulated.executions] == [
        ("start", "failed"),
        ("retry", "completed"),
    ]


def test_timeout_ends_an_instance_that_waits_to_be_tried_again():
    @workflow.defn(retry=RetryPolicy(initial_interval=90), timeout=60)
    async def tries() -> None:
        raise ValueError("no")

    simulated = testing.simulate(tries)

    assert (simulated.failure.type, simulated.elapsed) == ("ExecutionTimeout", timedelta(minutes=1))
    assert [item.kind for item in simulated.history] == ["ExecutionFailed"]


def test_cancel_does_not_wait_for_a_delayed_start(approval):
    simulation = testing.Simulation(approval, delay=DAY)
    simulation.at(5).cancel()

    simulated = simulation.run()

    assert (simulated.status, simulated.elapsed) == ("canceled", timedelta(seconds=5))
    assert [item.kind for item in simulated.history] == ["ExecutionStarted", "CancelRequested", "ExecutionCanceled"]


def test_abandoned_child_goes_on_to_its_end_or_until_it_waits(approval):
    @workflow.defn
    async def naps() -> str:
        await asyncio.sleep(DAY.total_seconds())
        return "rested"

    @workflow.defn
    async def leaves() -> None:
        naps.options(parent_close="abandon").start_child()
        approval.options(parent_close="abandon").start_child()

    simulated = testing.simulate(leaves)

    napping, waiting = simulated.children
    assert (simulated.elapsed, napping.result(), napping.elapsed) == (timedelta(), "rested", DAY)
    assert waiting.status == "running"
    with pytest.raises(TimeoutError):
        waiting.result()


def test_calls_are_those_of_an_instance_and_of_those_below_it():
    @activity.defn
    def note(name: str) -> None: ...

    @workflow.defn
    async def kid(name: str) -> None:
        await note(name)

    @workflow.defn
    async def parent() -> None:
        await kid("a")
        await note("b")
        await kid("c")

    simulated = testing.simulate(parent)

    assert [call.args for call in simulated.calls] == [("a",), ("b",), ("c",)]
    assert [[call.args for call in child.calls] for child in simulated.children] == [[("a",)], [("c",)]]


def test_what_code_does_to_its_arguments_stays_its_own():
    @activity.defn(retry=RetryPolicy(initial_interval=0, max_attempts=2))
    def takes(lines: list[str]) -> list[str]:
        lines.append("activity")
        if activity.info().attempt == 1:
            raise ValueError("again")
        return lines

    @workflow.defn
    async def kid(lines: list[str]) -> list[str]:
        lines.append("kid")
        return lines

    @workflow.defn(retry=RetryPolicy(initial_interval=0, max_attempts=2))
    async def parent(lines: list[str]) -> list[Any]:
        lines.append("parent")
        came = [list(lines), await takes(lines), await kid(lines)]
        if workflow.info().execution_id.startswith(first):
            raise ValueError("again")
        return came

    first = ""
    first = testing.simulate(parent, ["x"]).executions[0].id

    simulated = testing.simulate(parent, ["x"])

    assert simulated.result() == [["x", "parent"], ["x", "parent", "activity"], ["x", "parent", "kid"]]


# --- as the settings say


def test_limits_are_those_of_the_settings(settings):
    @activity.defn
    def nothing() -> None: ...

    @workflow.defn
    async def many(number: int) -> None:
        await asyncio.gather(*(nothing() for _ in range(number)))

    settings.DURABLE = {"LIMITS": {"fan_out": 3}}
    assert testing.simulate(many, 3).status == "completed"
    with pytest.raises(LimitExceeded, match="fan_out"):
        testing.simulate(many, 4)

    settings.DURABLE = {"LIMITS": {"history": 8}}
    assert testing.simulate(many, 3).status == "completed"
    with pytest.raises(LimitExceeded, match="history"):
        testing.simulate(many, 5)


def test_simulations_are_strict():
    @workflow.defn
    async def draws() -> int:
        return random.randint(1, 6)

    assert testing.simulate(draws).failure.type == "ForbiddenInWorkflow"


class Recorder(Interceptor):
    """Adds a header to each start, and notes what happens."""

    seen: list[str] = []

    @contextmanager
    def start(self, call: Any) -> Iterator[None]:
        call.headers["by"] = f"start of {call.workflow}"
        yield

    @contextmanager
    def turn(self, call: Any) -> Iterator[None]:
        yield
        self.seen += [f"{call.workflow} took {event}" for event in call.events]

    @contextmanager
    def end(self, call: Any) -> Iterator[None]:
        yield
        self.seen.append(f"{call.workflow} ended after {call.ended_at - call.started_at:g} s by {call.end}")


def test_interceptors_are_around_all_that_happens(settings):
    @activity.defn
    def note() -> str:
        return activity.info().headers["by"]

    @workflow.defn
    async def kid() -> str:
        await asyncio.sleep(5)
        return await note()

    @workflow.defn
    async def parent() -> str:
        return await kid()

    Recorder.seen.clear()
    settings.DURABLE = {"INTERCEPTORS": [f"{__name__}.Recorder"]}

    assert testing.simulate(parent).result() == "start of kid"
    assert Recorder.seen == [
        "parent took ExecutionStarted(parent)",
        "parent took ChildStarted(0)",
        "kid took ExecutionStarted(kid)",
        "kid took TimerFired(0)",
        "kid ended after 5 s by ExecutionCompleted",
        "kid took ActivityCompleted(1)",
        "parent ended after 5 s by ExecutionCompleted",
        "parent took ChildCompleted(0)",
    ]


@pytest.mark.parametrize(
    ("slip", "message"),
    [
        (lambda s: s.at(1).call(s.now), r"at\(\.\.\.\)\.call\(fn\): .* give a function"),
        (lambda s: testing.matching(5), r"matching\(fn\): 5 cannot be called"),
        (lambda s: s.mock("ship").calls("x"), r"calls\(fn\): 'x' cannot be called; .* say returns\('x'\)"),
        (lambda s: s.mock("ship").times("x"), r"times\(number\): 'x' is no whole number"),
        (
            lambda s: testing.Simulation("approval", start="2026-01-01"),
            r"Simulation\(start\): '2026-01-01' is no datetime",
        ),
        (lambda s: testing.Simulation("approval", max_time="5"), r"Simulation\(max_time\): a duration is a timedelta"),
    ],
)
def test_slips_of_the_test_are_told_where_they_are_made(approval, slip, message):
    with pytest.raises(InvalidInput, match=message):
        slip(testing.Simulation(approval))


def test_limit_of_time_may_be_seconds(approval):
    simulation = testing.Simulation(approval, max_time=5)
    simulation.at(4).signal("approve", 1)

    assert simulation.run().result() == [1]
