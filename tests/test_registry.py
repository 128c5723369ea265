"""The registry: names, versions, and near names when one is not known."""

from __future__ import annotations

import functools

import pytest

from durable import DuplicateName, InvalidDefinition, UnknownActivity, UnknownWorkflow, activity, registry, workflow
from durable.core.errors import VersionNotAvailable


@pytest.mark.parametrize(
    ("function", "name", "version"),
    [("order", "order", 0), ("order2", "order", 2), ("order10", "order", 10), ("o2rder", "o2rder", 0)],
)
def test_trailing_digits_of_the_name_are_the_version(fresh, function, name, version):
    async def fn() -> None: ...

    definition = workflow.defn(name=function)(fn)

    assert (definition.name, definition.version, definition.type_name) == (name, version, function)
    assert registry.workflow(name, version) is definition
    assert registry.workflow_type(function) is definition


def test_name_and_version_may_be_given_apart(fresh):
    @workflow.defn(name="order", version=7)
    async def anything() -> None: ...

    assert registry.workflow_type("order7") is anything


def test_name_that_ends_in_digits_may_be_a_name_of_its_own(fresh):
    @workflow.defn(name="form1040", version=0)
    async def form() -> None: ...

    assert registry.workflow_type("form1040") is form


def test_two_workflows_of_one_name_and_version_are_refused(fresh):
    @workflow.defn
    async def order2() -> None: ...

    with pytest.raises(DuplicateName) as refused:

        @workflow.defn(name="order", version=2)
        async def other() -> None: ...

    assert "order2" in refused.value.first
    assert "other" in refused.value.second


@pytest.mark.parametrize("first", [("thing", 31), ("thing3", 1), ("thing31", 0)])
def test_types_that_read_the_same_are_refused(fresh, first):
    for name, version in [first, ("thing", 3), ("other", 31)]:
        workflow.defn(name=name, version=version)(_nothing)

    for name, version in {("thing", 31), ("thing3", 1), ("thing31", 0)} - {first}:
        with pytest.raises(DuplicateName, match="'thing31' is defined twice"):
            workflow.defn(name=name, version=version)(_nothing)
    registry.unregister_workflow(*first)
    assert "thing31" not in registry.workflow_types()


async def _nothing() -> None: ...


def test_place_of_a_decorated_function_is_its_own(fresh):
    def original() -> None: ...

    @activity.defn(name="charge")
    @functools.wraps(original)
    def traced() -> None: ...

    with pytest.raises(DuplicateName) as refused:
        activity.defn(name="charge")(lambda: None)

    assert refused.value.first.endswith(f"({__file__}:{original.__code__.co_firstlineno})")


def test_same_definition_may_come_twice(fresh):
    """Modules are imported twice now and then, under another name."""

    async def order() -> None: ...

    workflow.defn(order)
    workflow.defn(order)

    assert "order" in registry.workflow_types()


def test_unknown_names_offer_near_ones(fresh):
    @workflow.defn
    async def order2() -> None: ...

    @activity.defn
    def charge() -> None: ...

    with pytest.raises(UnknownWorkflow) as unknown:
        registry.workflow_type("ordre2")
    assert unknown.value.near == ("order2",)
    with pytest.raises(UnknownActivity, match="did you mean charge"):
        registry.activity("chrage")
    with pytest.raises(VersionNotAvailable) as missing:
        registry.workflow("order", 3)
    assert missing.value.registered == (2,)


def test_unregistering_what_is_not_there_does_nothing(fresh):
    registry.unregister_workflow("nobody", 3)
    registry.unregister_activity("nobody")


def test_plain_function_is_no_workflow(fresh):
    with pytest.raises(InvalidDefinition, match="must be an async def"):

        @workflow.defn
        def order() -> None: ...
