"""Restart: a new instance with what an old one was started with."""

from __future__ import annotations

import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from durable import (
    AlreadyExists,
    InvalidId,
    InvalidInput,
    NotClosed,
    RetryPolicy,
    UnknownInstance,
    UnknownWorkflow,
    VersionNotAvailable,
    activity,
    client,
    registry,
    workflow,
)
from durable.converters import DjangoConverter
from durable.models import HistoryEvent, Instance, Operation
from tests.driving import kinds, leftovers


@pytest.fixture
def order(fresh):
    @activity.defn
    def act(amount: Decimal) -> Decimal:
        return amount

    @workflow.defn
    async def order(amount: Decimal, *, wait: bool = False) -> Decimal:
        workflow.set_tags(stage="begun")
        paid = await act(amount)
        if wait:
            await workflow.wait_signal("go")
        return paid

    return order


def begun(engine: Any, definition: Any, *args: Any, **kwargs: Any) -> client.Handle:
    handle = definition.start(*args, **kwargs)
    engine.run_until_quiet()
    return handle


def test_new_instance_has_the_same_input_tags_and_limits(engine, order):
    options = {"tags": {"colour": "red"}, "queue": "slow", "timeout": timedelta(hours=1), "headers": {"tenant": 7}}
    handle = begun(engine, order.options(id="a", retry=RetryPolicy(max_attempts=2), **options), Decimal("9.90"))
    before = list(HistoryEvent.objects.filter(execution__instance_id="a").values())

    again = client.restart("a", reason="once more", actor="ada")

    assert uuid.UUID(again.id).version == 7
    assert engine.result(again) == Decimal("9.90")
    old, new = handle.instance, again.instance
    for field in ("name", "version", "input", "queue", "headers", "options"):
        assert getattr(new, field) == getattr(old, field), field
    assert (old.tags, new.tags) == ({"colour": "red", "stage": "begun"},) * 2
    assert (new.rerun_from, new.rerun_event_id, new.attempt, new.parent_id) == ("a", None, 1, None)
    assert [e.origin for e in new.executions.all()] == ["start"]
    assert new.executions.get().source_id == old.execution_id
    assert list(HistoryEvent.objects.filter(execution__instance_id="a").values()) == before
    (row,) = Operation.objects.all()
    assert (row.verb, row.instance_id, row.actor_name, row.reason) == ("restart", "a", "ada", "once more")
    assert (row.arguments, row.outcome) == ({"id_reuse": "reject"}, "done")


def test_tags_are_those_of_the_start(engine, order):
    begun(engine, order.options(id="a", tags={"colour": "red"}), Decimal(1))

    again = client.restart("a")

    assert again.instance.tags == {"colour": "red"}


def test_tags_and_input_are_those_of_the_first_execution_of_a_chain(engine):
    @workflow.defn
    async def chain(number: int) -> int:
        workflow.set_tags(number=number)
        if number < 2:
            workflow.continue_as_new(number + 1)
        return number

    begun(engine, chain.options(id="a", tags={"colour": "red"}), 0)
    assert client.get("a").instance.tags == {"colour": "red", "number": 2}

    again = client.restart("a")

    assert (again.instance.tags, again.instance.input["args"]) == ({"colour": "red"}, [0])


def test_input_is_neither_decoded_nor_encoded_again(engine, order, monkeypatch):
    begun(engine, order.options(id="a"), Decimal(1))
    Instance.objects.filter(pk="a").update(input={"args": ["1.0000"], "kwargs": {"wait": False}})
    monkeypatch.setattr(DjangoConverter, "encode", lambda *args, **options: 1 / 0 if args[1] else "")

    again = client.restart("a")

    assert again.instance.input == {"args": ["1.0000"], "kwargs": {"wait": False}}


def test_same_id_under_replace_closed(engine, order):
    handle = begun(engine, order.options(id="a"), Decimal(3))
    old = handle.instance.execution_id

    again = handle.restart(id_reuse="replace_closed")

    assert again == handle
    assert engine.result(again) == Decimal(3)
    assert [(e.number, e.origin) for e in again.instance.executions.all()] == [(1, "start"), (2, "start")]
    assert again.instance.executions.get(number=2).source_id == old
    assert kinds(handle, old)[-1] == "ExecutionCompleted"
    assert Instance.objects.count() == 1


def test_given_id_is_taken_or_refused(engine, order):
    begun(engine, order.options(id="a"), Decimal(1))
    begun(engine, order.options(id="closed"), Decimal(2))
    begun(engine, order.options(id="open"), Decimal(2), wait=True)

    assert client.restart("a", new_instance_id="b").id == "b"
    for taken in ("a", "closed", "open"):
        with pytest.raises(AlreadyExists):
            client.restart("a", new_instance_id=taken)
    with pytest.raises(AlreadyExists):
        client.restart("a", new_instance_id="open", id_reuse="replace_closed")
    assert client.restart("a", new_instance_id="open", id_reuse="return_existing").instance.input["args"] == ["2"]
    assert client.restart("a", new_instance_id="closed", id_reuse="replace_closed").instance.input["args"] == ["1"]
    assert Instance.objects.count() == 4


def test_open_one_is_refused_unless_it_is_to_be_terminated_first(engine, order):
    handle = begun(engine, order.options(id="a"), Decimal(1), wait=True)

    with pytest.raises(NotClosed, match="terminate_first") as refused:
        handle.restart()
    assert (refused.value.status, handle.status, Instance.objects.count()) == ("running", "running", 1)

    again = handle.restart(terminate_first=True, reason="stuck")
    engine.run_until_quiet()

    assert (handle.status, handle.instance.failure["message"]) == ("terminated", "stuck")
    assert again.status == "running"


def test_open_one_can_begin_anew_under_its_own_id(engine, order):
    handle = begun(engine, order.options(id="a"), Decimal(1), wait=True)
    old = handle.instance.execution_id

    with pytest.raises(AlreadyExists):
        handle.restart(terminate_first=True, new_instance_id="a")
    assert handle.status == "running", "the end was rolled back"
    handle.restart(terminate_first=True, id_reuse="replace_closed")
    engine.run_until_quiet()
    handle.signal("go")

    assert engine.result(handle) == Decimal(1)
    assert kinds(handle, old)[-1] == "ExecutionTerminated"
    assert leftovers() == []


def test_restart_of_a_child_is_nobodys(engine, order):
    @workflow.defn
    async def root() -> Decimal:
        return await order.options(id="child", parent_close="abandon")(Decimal(5))

    begun(engine, root)

    again = client.restart("child")

    assert engine.result(again) == Decimal(5)
    assert (again.instance.parent_id, again.instance.parent_execution_id) == (None, None)
    assert "parent_close" not in again.instance.options
    (warning,) = client.restart("child", dry_run=True).warnings
    assert "nobody's" in warning


def test_another_version_can_be_asked_for(engine, order):
    begun(engine, order.options(id="a"), Decimal(1))

    @workflow.defn(name="order", version=2)
    async def order2(amount: Decimal, *, wait: bool = False) -> str:
        return f"two {amount}"

    assert engine.result(client.restart("a", version=2)) == "two 1"
    assert client.restart("a").instance.version == 0


def test_version_is_routed_as_at_a_start(engine, order, settings):
    begun(engine, order.options(id="a"), Decimal(1))

    @workflow.defn(name="order", version=2)
    async def order2(amount: Decimal, *, wait: bool = False) -> str:
        return f"two {amount}"

    settings.DURABLE = {"VERSIONING": {"MAP_MULTI_APP_TYPES": {"other": "shop"}}}
    assert client.restart("a").instance.version == 2
    assert client.restart("a", version=0).instance.version == 0
    settings.DURABLE = {"VERSIONING": {"MAP_MULTI_APP_TYPES": {"order": "shop"}}}
    elsewhere = client.restart("a").instance
    assert (elsewhere.app_id, elsewhere.queue, elsewhere.input) == (
        "shop",
        "durable.shop",
        {"args": ["1"], "kwargs": {}},
    )


def test_refusals_write_nothing_but_their_row(engine, order):
    begun(engine, order.options(id="a"), Decimal(1))
    Operation.objects.all().delete()

    def refused(error: type[Exception], *args: Any, **options: Any) -> None:
        with pytest.raises(error):
            client.restart(*args, **options)
        preview = client.restart(*args, **options, dry_run=True)
        assert isinstance(preview, client.Preview)
        assert not preview.allowed
        assert isinstance(preview.refusal, error)

    refused(UnknownInstance, "nobody")
    refused(InvalidId, "a", new_instance_id="")
    refused(InvalidInput, "a", id_reuse="always")
    refused(VersionNotAvailable, "a", version=9)
    Instance.objects.filter(pk="a").update(input={"args": ["no number"], "kwargs": {}})
    refused(InvalidInput, "a")
    assert "no number" not in "".join(Operation.objects.values_list("error", flat=True)), "that is a payload"
    registry.unregister_workflow("order", 0)
    refused(UnknownWorkflow, "a")

    assert Instance.objects.count() == 1
    assert set(Operation.objects.values_list("verb", "outcome")) == {("restart", "refused")}
    assert Operation.objects.count() == 12


def test_a_dry_run_says_what_is_lost_and_changes_nothing(engine, order):
    handle = begun(engine, order.options(id="a"), Decimal(1), wait=True)
    handle.signal("other")
    engine.run_until_quiet()

    preview = client.restart("a", terminate_first=True, id_reuse="replace_closed", dry_run=True)

    assert isinstance(preview, client.Preview)
    assert (preview.verb, preview.allowed, [step.name for step in preview.dropped]) == ("restart", True, ["act"])
    assert preview.signals_dropped == ["other"]
    assert [(child.verb, child.instance_id) for child in preview.children] == [("terminate", "a")]
    assert preview.warnings == [
        "it is running, and is terminated first",
        "instance a begins a new execution, and keeps the old ones",
    ]
    assert (handle.status, Instance.objects.count()) == ("running", 1)
    assert kinds(handle)[-1] == "SignalReceived"


def test_what_was_never_begun_can_be_restarted(engine, order):
    handle = order.options(id="a", delay=3600, tags={"n": 1}).start(Decimal(1))
    handle.terminate()

    again = handle.restart()

    assert engine.result(again) == Decimal(1)
    assert again.instance.tags == {"n": 1, "stage": "begun"}
