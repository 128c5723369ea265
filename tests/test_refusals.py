"""Verbs that repair refuse what makes no sense, in the order that is promised, and write nothing but the audit."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from django.apps import apps

from durable import (
    AlreadyExists,
    InvalidId,
    InvalidInput,
    NondeterminismError,
    NotAnActivity,
    NotClosed,
    NotFailed,
    UnknownEvent,
    UnknownExecution,
    UnknownInstance,
    VersionNotAvailable,
    activity,
    client,
    registry,
    workflow,
)
from durable.client import Args
from durable.models import Operation
from durable.operations.audit import REASON


def rows() -> dict[str, list[Any]]:
    """Return all that is stored, but for the audit."""
    models = (model for model in apps.get_app_config("durable").get_models() if model is not Operation)
    return {model.__name__: list(model._default_manager.order_by("pk").values()) for model in models}


def refused(error: type[Exception], verb: Any, *args: Any, match: str | None = None, **options: Any) -> None:
    """Check that a verb is refused, really and in a dry run, and leaves nothing but a row of the audit."""
    before, tries = rows(), Operation.objects.count()
    with pytest.raises(error, match=match):
        verb(*args, **options)
    preview = verb(*args, **options, dry_run=True)
    assert (preview.allowed, type(preview.refusal)) == (False, error)
    assert rows() == before
    last = Operation.objects.order_by("-pk")[:2]
    assert Operation.objects.count() == tries + 2
    assert [(row.outcome, row.dry_run) for row in last] == [("refused", True), ("refused", False)]
    assert all(row.error.startswith(error.__name__) for row in last)


@pytest.fixture
def act(fresh):
    @activity.defn
    def act(number: int, more: str = "") -> int:
        return number

    return act


@pytest.fixture
def places(engine, act):
    """A closed instance ``a`` whose code does something else by now, but for version 1; ``open``; and ``taken``."""

    @workflow.defn
    async def flow() -> None:
        await asyncio.sleep(0.0001)
        await act(1)

    @workflow.defn
    async def flow1() -> None:
        await asyncio.sleep(0.0001)
        await act(1)

    @workflow.defn
    async def waiting() -> None:
        await workflow.wait_signal("go")

    handle = flow.options(id="a").start()
    engine.run_until_quiet()
    while handle.instance.closed_at is None:
        engine.run_until_quiet()
    waiting.options(id="open").start()
    waiting.options(id="taken").start()
    engine.run_until_quiet()
    registry.unregister_workflow("flow", 0)

    @workflow.defn(name="flow", version=0)
    async def changed() -> None:
        await act(1)

    return handle


def test_rerun_refuses_in_the_promised_order_each_shadowing_what_comes_later(places):
    verb = client.rerun_from_activity
    wrong: dict[str, Any] = {"input": object(), "version": 9}

    refused(InvalidId, verb, "", 99, new_instance_id="", **wrong)
    refused(InvalidId, verb, "nobody", 99, new_instance_id="nobody", **wrong, match="source's")
    refused(UnknownInstance, verb, "nobody", 99, new_instance_id="taken", **wrong)
    refused(NotClosed, verb, "open", 99, new_instance_id="taken", **wrong, match="running")
    refused(UnknownEvent, verb, "a", 99, new_instance_id="taken", **wrong)
    refused(NotAnActivity, verb, "a", 0, new_instance_id="taken", **wrong, match="TimerStarted")
    refused(InvalidInput, verb, "a", 1, new_instance_id="taken", **wrong, match="act")
    refused(InvalidInput, verb, "a", 1, new_instance_id="taken", input="seven", version=9, match="number")
    refused(VersionNotAvailable, verb, "a", 1, new_instance_id="taken", input=7, version=9, match="0, 1")
    refused(NondeterminismError, verb, "a", 1, new_instance_id="taken", input=7, match="TimerStarted")
    refused(AlreadyExists, verb, "a", 1, new_instance_id="taken", input=7, version=1)
    assert verb("a", 1, new_instance_id="free", input=7, version=1).id == "free"


@pytest.mark.parametrize("event_id", [-1, 2, 10**30])
def test_events_that_are_not_there(places, event_id):
    refused(UnknownEvent, client.rerun_from_activity, "a", event_id)
    refused(UnknownEvent, client.rewind, "a", to=event_id)


@pytest.mark.parametrize("event_id", ["1", 1.0, True, None])
def test_what_is_no_number_of_an_event(places, event_id):
    refused(InvalidInput, client.rerun_from_activity, "a", event_id, match="event_id")
    with pytest.raises(InvalidInput, match="event_id"):
        client.what_if("a", event_id)
    if event_id is not None:
        refused(InvalidInput, client.rewind, "a", to=event_id, match="to")


@pytest.mark.parametrize("status", ["pending", "running", "suspended", "stalled"])
def test_open_instances_are_neither_rerun_nor_rewound(engine, act, status):
    @workflow.defn
    async def flow() -> None:
        await act(1)
        await workflow.wait_signal("go")

    handle = flow.options(id="a", delay=1000 if status == "pending" else 0).start()
    engine.run_until_quiet()
    if status == "suspended":
        handle.suspend()
    if status == "stalled":
        registry.unregister_workflow("flow", 0)
        engine.restart()
        handle.signal("go")
        engine.run_until_quiet()
    assert handle.status == status

    refused(NotClosed, client.rerun_from_activity, "a", 0, match=status)
    refused(NotFailed, client.rewind, "a", match=status)
    refused(NotClosed, client.rewind, "a", to=0, match=status)


def test_only_activities_can_be_rerun_from(engine, act):
    @workflow.defn
    async def kid() -> None: ...

    @workflow.defn
    async def flow() -> None:
        await kid()
        workflow.side_effect(lambda: 1)
        workflow.patched("patch")
        try:
            await workflow.signal_instance("nobody", "go")
        except Exception:
            await act(1)

    flow.options(id="a").start()
    engine.run_until_quiet()

    for event_id, kind in enumerate(["ChildScheduled", "SideEffectRecorded", "PatchMarked", "SignalSent"]):
        refused(NotAnActivity, client.rerun_from_activity, "a", event_id, match=kind)
    assert client.rerun_from_activity("a", 4, dry_run=True).allowed


def test_events_of_another_execution_are_unknown(engine, act):
    @workflow.defn
    async def flow(number: int) -> None:
        for _ in range(number):
            await act(number)
        if number > 1:
            workflow.continue_as_new(number - 1)

    handle = flow.options(id="a").start(3)
    other = flow.options(id="b").start(1)
    engine.run_until_quiet()
    first = handle.instance.executions.order_by("number").first()
    assert first is not None

    refused(UnknownEvent, client.rerun_from_activity, "a", 2)
    refused(UnknownEvent, client.rewind, "a", to=2)
    assert client.rerun_from_activity("a", 2, execution=first.pk, dry_run=True).allowed
    refused(UnknownEvent, client.rerun_from_activity, "a", 3, execution=first.pk)
    refused(UnknownExecution, client.rerun_from_activity, "a", 0, execution=other.instance.execution_id)
    refused(UnknownExecution, client.rerun_from_activity, "a", 0, execution="no uuid")
    refused(UnknownExecution, client.rerun_from_activity, "a", 0, execution=uuid.uuid4())


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("seven", r"act\(number\)"),
        (Args(1, more=5), r"act\(more\)"),
        (Args(1, "a", 3), "act"),
        (Args(), "number"),
        (Args(1, other=2), "other"),
        (object(), "act"),
    ],
)
def test_input_that_does_not_fit_names_the_parameter(places, given, named):
    refused(InvalidInput, client.rerun_from_activity, "a", 1, version=1, input=given, match=named)


@pytest.mark.parametrize("bad", ["x" * (REASON + 1), "a\ud800b", "a\0b", 7])
@pytest.mark.parametrize("verb", ["rerun_from_activity", "rewind", "upgrade"])
def test_reason_that_cannot_be_kept(places, verb, bad):
    args = (1,) if verb == "rerun_from_activity" else ()

    refused(InvalidInput, getattr(client, verb), "a", *args, reason=bad, match="reason")


@pytest.mark.parametrize("new_id", ["x" * 256, "a\nb", "a\0b", "a\ud800b", 5, uuid.uuid4(), float("nan"), {1}])
def test_new_ids_that_cannot_be_ids(places, new_id):
    refused(InvalidId, client.rerun_from_activity, "a", 1, version=1, new_instance_id=new_id)


def test_ids_that_cannot_exist_are_unknown(places):
    for bad in ("x" * 300, "a\0b", "a\nb"):
        refused(UnknownInstance, client.rerun_from_activity, bad, 1)
        refused(UnknownInstance, client.rewind, bad)
        refused(UnknownInstance, client.upgrade, bad)
    refused(UnknownInstance, client.rewind, "")
    refused(UnknownInstance, client.upgrade, "")


def test_upgrade_to_a_version_that_is_not_there_lists_those_that_are(places):
    refused(VersionNotAvailable, client.upgrade, "a", to=9, match="0, 1")
