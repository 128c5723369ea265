"""Definitions: which functions can be workflows and activities, and how they are called."""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Any

import pytest

from durable.core import definitions
from durable.core import events as ev
from durable.core.definitions import anything, define_activity, define_workflow
from durable.core.errors import InvalidDefinition, InvalidInput, OutsideWorkflow
from durable.core.retry import NO_RETRY, RetryPolicy
from durable.core.type_names import split_version
from tests.core.histories import STARTED, completed, decide, failure_of, given, result_of, scheduled


async def order(order_id: int = 0) -> str:
    """Sell something."""
    return f"order {order_id}"


async def order2() -> None: ...


def charge(amount: int) -> int:
    """Take money."""
    return amount * 2


async def acharge(amount: int) -> int: ...  # type: ignore[empty-body]


class Till:
    """Activities with shared state."""

    def __init__(self, currency: str) -> None:
        self.currency = currency

    def take(self, amount: int) -> str:
        return f"{amount} {self.currency}"

    take_money = define_activity(take, name="take")

    @staticmethod
    def count(amount: int) -> int: ...  # type: ignore[empty-body]


def outer():
    class Local:
        def method(self, amount: int) -> None: ...

    def function(self, amount: int) -> None: ...

    return Local.method, function


# --- names and versions


@pytest.mark.parametrize(
    ("type_name", "expected"),
    [
        ("order", ("order", 0)),
        ("order2", ("order", 2)),
        ("order10", ("order", 10)),
        ("order02", ("order", 2)),
        ("v2_order", ("v2_order", 0)),
        ("v2_order3", ("v2_order", 3)),
        ("2", ("2", 0)),
        ("order1234567890", ("order1234567890", 0)),
        ("", ("", 0)),
        ("a\n2", ("a\n", 2)),
    ],
)
def test_trailing_digits_are_the_version(type_name, expected):
    assert split_version(type_name) == expected


def test_versions_compare_as_numbers():
    names = ["order10", "order9", "order", "order2"]

    assert sorted(names, key=split_version) == ["order", "order2", "order9", "order10"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("order", 2)),
        ({"version": 5}, ("order", 5)),
        ({"version": 0}, ("order", 0)),
        ({"name": "sale"}, ("sale", 0)),
        ({"name": "sale7"}, ("sale", 7)),
        ({"name": "sale7", "version": 1}, ("sale7", 1)),
    ],
)
def test_name_and_version_may_be_given_apart(options, expected):
    definition = define_workflow(order2, **options)

    assert (definition.name, definition.version) == expected


@pytest.mark.parametrize("type_name", ["order", "order2"])
def test_type_name_is_the_name_with_its_version(type_name):
    assert define_workflow(order, name=type_name).type_name == type_name


@pytest.mark.parametrize("version", [-1, 1.5, "2", True])
def test_version_is_a_whole_number(version):
    with pytest.raises(InvalidDefinition, match="a version is a whole number from 0"):
        define_workflow(order, version=version)


@pytest.mark.parametrize("name", ["x" * 201, "a\nb", "\0"])
@pytest.mark.parametrize("define", [define_workflow, define_activity])
def test_name_is_of_1_to_200_printable_characters(define, name):
    with pytest.raises(InvalidDefinition, match="1 to 200 printable characters"):
        define(order, name=name)


# --- workflows


async def generating():
    yield 1


@pytest.mark.parametrize("fn", [charge, generating, Till])
def test_workflow_must_be_an_async_def(fn):
    with pytest.raises(InvalidDefinition, match="a workflow must be an async def") as caught:
        define_workflow(fn)

    assert caught.value.name == fn.__name__


def test_definition_looks_like_its_function():
    pairs: list[Any] = [(define_workflow(order), order), (define_activity(charge), charge)]
    for definition, fn in pairs:
        assert definition.__doc__ == fn.__doc__
        assert (definition.__name__, definition.__module__) == (fn.__name__, __name__)
        assert inspect.unwrap(definition) is fn


def test_workflow_keeps_its_options():
    retry = RetryPolicy(max_attempts=5)

    definition = define_workflow(order, queue="slow", timeout=timedelta(minutes=1), retry=retry)

    assert (definition.queue, definition.timeout, definition.retry) == ("slow", 60.0, retry)


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("queue", 5, "give a str, not 5"),
        ("queue", "", "0 characters; it has 1 to 100"),
        ("retry", 3, "3 cannot be taken; give a RetryPolicy"),
        ("timeout", -1, "cannot be -1 s"),
        ("timeout", "1h", "a duration is a timedelta or a number of seconds, not str"),
    ],
)
def test_option_of_a_definition_is_checked(option, value, problem):
    for define, fn in ((define_workflow, order), (define_activity, charge)):
        name = "start_to_close" if (option, define) == ("timeout", define_activity) else option
        with pytest.raises(InvalidInput, match=problem) as caught:
            define(fn, **{name: value})
        assert caught.value.where == f"{fn.__name__}.options({name})"


def test_options_of_a_start_are_checked_and_kept_as_json():
    definition = define_workflow(order)

    changed = definition.options(
        id="order-1", queue="slow", tags={"a": 1}, delay=timedelta(seconds=5), timeout=60,
        id_reuse="replace_closed", parent_close="cancel", retry=NO_RETRY,
    ).options(queue="fast", timeout=None)  # fmt: skip

    assert changed.overrides == {
        "id": "order-1",
        "queue": "fast",
        "tags": {"a": 1},
        "delay": 5.0,
        "timeout": 60.0,
        "id_reuse": "replace_closed",
        "parent_close": "cancel",
        "retry": NO_RETRY.to_json(),
    }
    assert definition.overrides == {}
    assert (changed.name, changed.fn) == (definition.name, definition.fn)


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("lane", "slow", "there is no such option; there are id, queue, tags, headers, delay, timeout"),
        ("id", 5, "5 cannot be taken; give a str"),
        ("tags", ["a"], r"\['a'\] cannot be taken; give a dict"),
        ("headers", ["a"], r"\['a'\] cannot be taken; give a dict"),
        ("headers", {"": 1}, "0 characters; it has 1 to 200"),
        ("id_reuse", "always", "'always' is not one of reject, replace_closed, return_existing"),
        ("parent_close", "", "'' is not one of terminate, cancel, abandon"),
    ],
)
def test_bad_option_of_a_start_is_refused_by_name(option, value, problem):
    with pytest.raises(InvalidInput, match=problem) as caught:
        define_workflow(order).options(**{option: value})

    assert caught.value.where == f"order.options({option})"


def test_call_outside_a_workflow_is_refused_and_names_start():
    definition = define_workflow(order2)

    for call in (definition, definition.start_child):
        with pytest.raises(OutsideWorkflow, match=r"order2\(\.\.\.\) works only .* use order2\.start\(\.\.\.\)"):
            call()


def test_start_without_the_app_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(definitions, "_starter", None)

    with pytest.raises(OutsideWorkflow, match=r'order\.start\(\.\.\.\).*add "durable" to INSTALLED_APPS'):
        define_workflow(order).start(1)


def test_start_is_passed_to_whoever_is_installed(monkeypatch):
    monkeypatch.setattr(definitions, "_starter", None)
    definition = define_workflow(order)

    definitions.install_starter(lambda *given: given)

    assert definition.start(1, order_id=2) == (definition, (1,), {"order_id": 2})


def test_start_inside_a_workflow_is_refused(monkeypatch):
    monkeypatch.setattr(definitions, "_starter", lambda *_: None)

    @define_workflow
    async def starting():
        define_workflow(order).start(1)

    failure = failure_of(decide(starting, [], STARTED))

    assert failure.type == "InvalidInput"
    assert failure.message == "order.start(...): inside a workflow, await it or use start_child(...)"


def test_arguments_of_a_child_are_refused_at_the_call():
    @define_workflow
    async def starting():
        for call in (define_workflow(order), define_workflow(order).start_child):
            with pytest.raises(InvalidInput, match=r"order\(order_id\)"):
                call(object())

    assert result_of(decide(starting, [], STARTED)) is None


# --- activities


def test_plain_function_is_at_hand():
    assert define_activity(charge).run(5) == 10


@pytest.mark.parametrize("fn", [charge, acharge])
def test_call_of_an_activity_outside_a_workflow_is_refused_and_names_run(fn):
    definition = define_activity(fn)

    with pytest.raises(OutsideWorkflow, match=rf"to call the plain function, use {fn.__name__}\.run\(\.\.\.\)"):
        _ = definition(5)


def test_atomic_activity_must_be_a_plain_def():
    assert define_activity(charge, atomic=True).atomic

    with pytest.raises(InvalidDefinition, match="an atomic activity must be a plain def"):
        define_activity(acharge, atomic=True)


def test_activity_keeps_its_options():
    definition = define_activity(
        charge, name="debit", queue="slow", priority=5, start_to_close=timedelta(seconds=30),
        schedule_to_start=1, schedule_to_close=2, heartbeat=3, retry=None,
    )  # fmt: skip

    assert (definition.name, definition.queue, definition.priority) == ("debit", "slow", 5)
    assert (definition.start_to_close, definition.schedule_to_start) == (30.0, 1.0)
    assert (definition.schedule_to_close, definition.heartbeat) == (2.0, 3.0)
    assert definition.retry == RetryPolicy()
    assert definition.overrides == {}


def test_unknown_option_of_an_activity_is_refused_with_those_that_there_are():
    for call in (lambda: define_activity(charge, timeout=5), lambda: define_activity(charge).options(timeout=5)):
        with pytest.raises(InvalidInput, match="there is no such option; there are queue, retry, priority"):
            call()


def test_options_of_a_call_are_recorded_and_come_back():
    definition = define_activity(charge, queue="slow")

    changed = definition.options(retry=RetryPolicy(max_attempts=9), start_to_close=timedelta(seconds=5))
    back = definition.with_overrides(changed.overrides)

    assert changed.overrides == {"retry": RetryPolicy(max_attempts=9).to_json(), "start_to_close": 5.0}
    assert (back.retry.max_attempts, back.start_to_close, back.queue) == (9, 5.0, "slow")
    assert definition.with_overrides({}) is definition
    assert definition.with_overrides({"priority": 3}).priority == 3
    assert definition.options(retry=None).retry == NO_RETRY


def test_options_of_a_call_are_in_its_event():
    @define_workflow
    async def calling():
        await define_activity(charge).options(queue="slow")(5)

    assert decide(calling, [], STARTED).commands == (
        ev.ActivityScheduled(event_id=0, name="charge", input=given(5), options={"queue": "slow"}),
    )


# --- methods


def test_method_is_an_activity_without_self():
    till = Till("EUR")

    assert till.take_money.run(5) == "5 EUR"
    assert till.take_money.name == "take"

    @define_workflow
    async def selling():
        return [await till.take_money(5), await Till.take_money(6)]

    log = [STARTED, scheduled(0, "take", 5), completed(0, "5 EUR"), scheduled(1, "take", 6)]

    assert result_of(decide(selling, log, completed(1, "6 EUR"))) == ["5 EUR", "6 EUR"]


def test_activity_that_is_no_method_stays_the_same_on_a_class():
    class Shop:
        count = define_activity(Till.count)

    assert Shop().count is Shop.count


@pytest.mark.parametrize(
    ("fn", "expected"),
    [(Till.take, True), (Till.count, False), (charge, False), (outer()[0], True), (outer()[1], False)],
)
def test_method_is_told_by_its_class_and_self(fn, expected):
    assert definitions.is_method(fn) is expected


# --- by name


def test_function_known_by_name_only_takes_anything_and_does_not_run_here():
    by_name = define_activity(anything, name="elsewhere")
    child = define_workflow(anything, name="other2")

    @define_workflow
    async def calling():
        first: Any = await by_name(1, b=[2])
        return [first, await child(3)]

    log = [
        STARTED,
        ev.ActivityScheduled(event_id=0, name="elsewhere", input=given(1, b=[2])),
        completed(0, {"a": 1}),
        ev.ChildScheduled(event_id=1, name="other", version=2, instance_id=":0001", input=given(3)),
    ]
    assert result_of(decide(calling, log, ev.ChildCompleted(event_id=1, result="x"))) == [{"a": 1}, "x"]
    with pytest.raises(NotImplementedError):
        by_name.run().send(None)


def test_workflow_must_not_be_a_method():
    class Shop:
        async def open(self) -> None: ...

    Shop.open.__qualname__ = "Shop.open"
    with pytest.raises(InvalidDefinition, match="a workflow must be a function, no method"):
        define_workflow(Shop.open)


def test_activity_cannot_yield():
    def rows():
        yield 1

    async def pages():
        yield 1

    for fn in (rows, pages):
        with pytest.raises(InvalidDefinition, match="an activity returns its result; it cannot yield"):
            define_activity(fn)
