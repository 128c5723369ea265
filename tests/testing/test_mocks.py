"""Mocks: what activities and children do in a simulation, because a test says so."""

from __future__ import annotations

import asyncio
import re
import sys
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from durable import ChildFailed, InvalidInput, RetryPolicy, activity, testing, workflow
from durable.core.definitions import define_activity

ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture(autouse=True)
def _fresh(fresh):
    pass


@pytest.fixture
def ship():
    @activity.defn(retry=ONCE)
    def ship(line: str, express: bool = False) -> Any:
        raise AssertionError("the real one")

    return ship


@pytest.fixture
def ships(ship):
    @workflow.defn
    async def ships(*lines: str) -> list[Any]:
        return [await ship(line) for line in lines]

    return ships


@pytest.fixture
def simulation(ships):
    return testing.Simulation(ships)


def here(offset: int) -> str:
    """Return the place of a line near the caller's."""
    return f"{__file__}:{sys._getframe(1).f_lineno + offset}"


# --- what they do


def test_mock_returns_a_value_as_the_workflow_would_get_it():
    @activity.defn
    def price() -> Decimal:
        raise AssertionError("the real one")

    @workflow.defn
    async def prices() -> list[str]:
        got = await price()
        return [type(got).__name__, str(got)]

    simulation = testing.Simulation(prices)
    simulation.mock(price).returns(Decimal("9.99"))

    assert simulation.run().result() == ["Decimal", "9.99"]


def test_mock_without_behaviour_returns_none(simulation, ship):
    simulation.mock(ship)

    assert simulation.run("a").result() == [None]


def test_mock_returns_each_value_in_turn_and_raises_errors_among_them(simulation, ship):
    simulation.mock(ship).returns_each(["x", ValueError("sold out")])

    simulated = simulation.run("a", "b")

    assert (simulated.status, simulated.failure.cause.message) == ("failed", "sold out")
    simulation.assert_expectations()


@pytest.mark.parametrize("error", [KeyError, KeyError("line")])
def test_mock_raises_an_error_class_or_object(simulation, ship, error):
    simulation.mock(ship).raises(error)

    assert simulation.run("a").failure.cause.type == "KeyError"


def test_mock_raises_nothing_but_errors(simulation, ship):
    with pytest.raises(InvalidInput, match="'no' is no exception"):
        simulation.mock(ship).raises("no")


def test_mock_calls_a_function_with_the_calls_arguments(simulation, ship):
    simulation.mock(ship).calls(lambda line, **more: f"label-{line}-{more}")

    assert simulation.run("a").result() == ["label-a-{}"]


def test_mock_calls_an_async_function(simulation, ship):
    async def label(line: str) -> str:
        await asyncio.sleep(0)
        return line.upper()

    simulation.mock(ship).calls(label)

    assert simulation.run("a").result() == ["A"]


def test_mocked_activity_may_use_what_activities_use(simulation, ship):
    simulation.mock(ship).calls(lambda line: activity.info().name)

    assert simulation.run("a").result() == ["ship"]


def test_result_of_a_mock_must_have_json(simulation, ship):
    simulation.mock(ship).returns(object())

    assert simulation.run("a").failure.cause.message.startswith("result of ship:")


# --- which one takes a call


def test_mock_takes_calls_with_equal_arguments_however_they_are_given(simulation, ship):
    simulation.mock(ship, line="a", express=False).returns(1)
    simulation.mock(ship, "b").returns(2)

    assert simulation.run("b", "a").result() == [2, 1]


def test_mock_takes_what_a_predicate_says_yes_to_or_anything(simulation, ship):
    simulation.mock(ship, testing.matching(lambda line: line > "m")).returns("late")
    simulation.mock(ship, "b", testing.ANY).returns("b")
    simulation.mock(ship).returns("early")

    assert simulation.run("a", "b", "x").result() == ["early", "b", "late"]


def test_argument_equals_what_it_is_as_json(ship):
    @activity.defn
    def pack(lines: list[str]) -> None:
        raise AssertionError("the real one")

    @workflow.defn
    async def packs() -> None:
        await pack(["a", "b"])

    simulation = testing.Simulation(packs)
    simulation.mock(pack, ("a", "b"))

    assert simulation.run().status == "completed"


def test_mocks_with_a_number_of_calls_go_first_in_order_then_the_newest(simulation, ship):
    simulation.mock(ship).returns("old")
    simulation.mock(ship).returns("one").once()
    simulation.mock(ship).returns("two").times(2)
    simulation.mock(ship).returns("new")

    assert simulation.run(*"abcde").result() == ["one", "two", "two", "new", "new"]


def test_mock_by_name_stands_for_what_is_not_registered():
    @workflow.defn
    async def asks() -> list:
        return [await workflow.activity_by_name("far")(1, b=2), await workflow.child_by_name("away2")("x")]

    simulation = testing.Simulation(asks)
    simulation.mock("far", 1, b=2).returns({"near": True})
    simulation.mock("away2", "x").returns("back")

    assert simulation.run().result() == [{"near": True}, "back"]


def test_mock_of_a_definition_stands_for_one_that_is_not_registered():
    far = define_activity(lambda number: number, name="far", retry=ONCE)

    @workflow.defn
    async def asks() -> int:
        return await workflow.activity_by_name("far")(4)

    simulation = testing.Simulation(asks)
    simulation.mock(far, number=4).raises(ValueError)

    assert [call.failure.type for call in simulation.run().calls] == ["ValueError"]


def test_mock_of_something_else_is_refused(simulation):
    with pytest.raises(InvalidInput, match=r"mock\(target\)"):
        simulation.mock(print)


def test_mock_with_arguments_that_do_not_fit_is_refused(simulation, ship):
    with pytest.raises(InvalidInput, match=r"ship\(\.\.\.\): too many positional arguments"):
        simulation.mock(ship, 1, 2, 3)


def test_number_of_calls_is_not_negative(simulation, ship):
    with pytest.raises(InvalidInput, match="-1 is negative"):
        simulation.mock(ship).times(-1)


# --- what is complained about


def test_call_that_no_mock_takes_is_an_error_that_names_the_mocks(simulation, ship):
    simulation.mock(ship, "b").returns(1)
    first = here(-1)
    simulation.mock(ship, testing.ANY).returns(2).once()
    second = here(-1)

    with pytest.raises(testing.UnexpectedCall) as caught:
        simulation.run("a", "c")

    error = caught.value
    assert (error.name, error.arguments) == ("ship", {"line": "c", "express": False})
    assert error.mocks == (
        f"mock(ship, 'b') at {first}: other arguments",
        f"mock(ship, ANY) at {second}: used up: 1 of 1",
    )
    assert re.search(r"ship\(line='c', express=False\), called at .*test_mocks.py:\d+, fits none", str(error))


def test_call_of_what_is_neither_registered_nor_mocked_names_near_names_and_place(ship):
    @workflow.defn
    async def asks() -> None:
        await workflow.activity_by_name("shp")()

    line = asks.fn.__code__.co_firstlineno + 2
    with pytest.raises(testing.UnknownCall) as caught:
        testing.simulate(asks)

    error = caught.value
    assert (error.kind, error.name, error.near, error.location) == ("activity", "shp", ("ship",), f"{__file__}:{line}")
    assert "did you mean ship?" in str(error)


def test_child_that_is_neither_registered_nor_mocked_is_named(ships):
    @workflow.defn
    async def asks() -> None:
        await workflow.child_by_name("ship2")()

    with pytest.raises(testing.UnknownCall, match=r"workflow 'ship2', called at .*; did you mean ships\?"):
        testing.simulate(asks)


def test_expectations_are_that_each_mock_was_used_as_often_as_it_said(simulation, ship):
    simulation.mock(ship, "a").returns(1).times(2)
    first = here(-1)
    simulation.mock(ship, "b").returns(2)
    second = here(-1)
    simulation.mock(ship, "c").returns(3).times(0)
    simulation.mock(ship)
    simulation.run("a", "x")

    with pytest.raises(testing.ExpectationFailed) as caught:
        simulation.assert_expectations()

    assert caught.value.problems == (
        f"mock(ship, 'a') at {first} was called 1 of 2 times",
        f"mock(ship, 'b') at {second} was never called",
    )


def test_expectations_hold_when_all_mocks_were_used(simulation, ship):
    simulation.mock(ship, "a").once()
    simulation.mock(ship, "b")
    simulation.run("a", "b", "b")

    simulation.assert_expectations()


def test_order_may_have_others_between(simulation, ship):
    @activity.defn
    def weigh() -> None: ...

    @workflow.defn
    async def kid() -> None: ...

    @workflow.defn
    async def works() -> None:
        await ship("a")
        await weigh()
        await kid()

    simulation = testing.Simulation(works)
    simulation.mock(ship)
    simulation.run()

    simulation.assert_order(ship, "kid")
    simulation.assert_order(ship, weigh, kid)
    with pytest.raises(testing.ExpectationFailed, match="wanted weigh, ship; begun were ship, weigh, kid"):
        simulation.assert_order(weigh, ship)


# --- children


@pytest.fixture
def parent():
    @workflow.defn
    async def kid(number: int) -> Decimal:
        raise AssertionError("the real one")

    @workflow.defn
    async def parent() -> str:
        try:
            return str(await kid(1))
        except ChildFailed as error:
            return f"{error.cause.type}: {error.cause.message}"

    parent.__dict__["kid"] = kid
    return parent


def test_mocked_child_returns_as_the_real_one_would(parent):
    simulation = testing.Simulation(parent)
    simulation.mock("kid", 1).returns(Decimal("1.50")).takes(timedelta(hours=1))

    simulated = simulation.run()

    assert (simulated.result(), simulated.elapsed) == ("1.50", timedelta(hours=1))
    assert [item.kind for item in simulated.history][1:4] == ["ChildScheduled", "ChildStarted", "ChildCompleted"]
    assert [(child.id, child.status) for child in simulated.children] == [("simulated:0000", "completed")]


def test_mocked_child_raises(parent):
    simulation = testing.Simulation(parent)
    simulation.mock(parent.kid).raises(LookupError("none"))

    assert simulation.run().result() == "LookupError: none"


def test_mocked_child_calls_a_function(parent):
    async def double(number: int) -> int:
        return 2 * number

    simulation = testing.Simulation(parent)
    simulation.mock(parent.kid).calls(double)

    assert simulation.run().result() == "2"


def test_mocked_child_is_canceled(parent):
    simulation = testing.Simulation(parent)
    simulation.mock(parent.kid).raises(asyncio.CancelledError).takes(60)

    simulated = simulation.run()

    assert (simulated.children[0].status, simulated.elapsed) == ("canceled", timedelta(minutes=1))
    assert [item.kind for item in simulated.history][3] == "ChildCanceled"


@pytest.mark.filterwarnings("ignore::durable.testing.LeftOpen")
def test_mocked_child_takes_signals_and_goes_with_its_parent(parent):
    @workflow.defn
    async def leaves() -> None:
        handle = parent.kid.start_child(1)
        await handle.signal("hello")

    simulation = testing.Simulation(leaves)
    simulation.mock(parent.kid).takes(timedelta(days=1))

    simulated = simulation.run()

    assert [child.status for child in simulated.children] == ["terminated"]
    assert "SignalDelivered" in [item.kind for item in simulated.history]


def test_child_that_no_mock_takes_is_an_error(parent):
    simulation = testing.Simulation(parent)
    simulation.mock(parent.kid, 2)

    with pytest.raises(testing.UnexpectedCall, match=r"kid\(number=1\), called at .*test_mocks.py:\d+"):
        simulation.run()


def test_version_tells_mocks_of_children_apart():
    @workflow.defn
    async def kid() -> int:
        return 1

    @workflow.defn
    async def kid2() -> int:
        return 2

    @workflow.defn
    async def asks() -> list[int]:
        return [await kid(), await kid2()]

    simulation = testing.Simulation(asks)
    simulation.mock(kid2).returns(22)

    assert simulation.run().result() == [1, 22]


def test_signal_to_an_instance_outside_can_be_mocked():
    @workflow.defn
    async def tells() -> None:
        await workflow.signal_instance("elsewhere", "hello", {"a": 1})

    simulation = testing.Simulation(tells)
    simulation.mock("durable.signal", "elsewhere", "hello", {"a": 1})

    simulated = simulation.run()

    assert simulated.status == "completed"
    assert [call.args for call in simulated.calls] == [("elsewhere", "hello", {"a": 1})]


def test_error_in_a_matcher_names_the_mock(simulation):
    simulation.mock("ship", testing.matching(lambda amount: amount["none"])).returns("x")

    with pytest.raises(TypeError) as caught:
        simulation.run("a")

    (note,) = caught.value.__notes__
    assert re.fullmatch(r"\(matching an argument of mock\(ship, matching\(<lambda>\)\) at .*test_mocks.py:\d+\)", note)


def test_error_of_a_mocks_function_names_the_mock(simulation):
    simulation.mock("ship").calls(lambda line: 1 / 0)

    failure = simulation.run("a").failure

    while failure.type != "ZeroDivisionError":
        failure = failure.cause
    assert re.search(r"\(called by mock\(ship\) at .*test_mocks.py:\d+\)", failure.traceback)


@pytest.mark.parametrize("function", [lambda: None, lambda line, more: None])
def test_function_that_does_not_take_the_call_is_a_mistake_of_the_test(simulation, function):
    simulation.mock("ship").calls(function)

    with pytest.raises(
        testing.SimulationError, match=r"the function of mock\(ship\) at .* cannot be called as ship\('a'\): "
    ):
        simulation.run("a")


def test_builtin_may_be_a_mocks_function(simulation):
    simulation.mock("ship").calls(str)

    assert simulation.run("a").status == "completed"
