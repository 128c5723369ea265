"""Strict mode: what is not deterministic is caught in the turn that does it."""

from __future__ import annotations

import datetime
import sys
import time
import uuid

import pytest
from django.utils import timezone

from durable import WorkflowFailed, activity, workflow
from durable.core import strictness
from durable.models import Status
from tests.driving import kinds


@pytest.fixture(autouse=True)
def strict(settings):
    settings.DURABLE = {**settings.DURABLE, "STRICT": True}


CALLS = {
    "datetime.now": lambda: datetime.datetime.now(),
    "time.time": lambda: time.time(),
    "uuid.uuid4": lambda: uuid.uuid4(),
    "timezone.now": lambda: timezone.now(),
    "timezone.localtime() without a value": lambda: timezone.localtime(),
    "timezone.localdate() without a value": lambda: timezone.localdate(),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("swallowed", [False, True], ids=["raised", "swallowed"])
def test_call_that_cannot_be_replayed_fails_the_instance(engine, name, swallowed):
    @workflow.defn
    async def looking() -> str:
        try:
            CALLS[name]()
        except Exception:
            if not swallowed:
                raise
        return "ok"

    handle = looking.start()
    with pytest.raises(WorkflowFailed) as failed:
        engine.result(handle)

    assert failed.value.failure.type == "ForbiddenInWorkflow"
    assert failed.value.failure.message.startswith(f"{name} is not allowed in a workflow")
    assert f"{__file__}:" in failed.value.failure.message
    assert kinds(handle) == ["ExecutionStarted", "ExecutionFailed"]


def test_message_names_the_call_the_place_and_what_to_do(engine):
    @workflow.defn
    async def looking() -> datetime.datetime:
        return timezone.now()

    line = looking.fn.__code__.co_firstlineno + 2
    with pytest.raises(WorkflowFailed) as failed:
        engine.result(looking.start())

    assert failed.value.failure.message == (
        "timezone.now is not allowed in a workflow: it could not be replayed. "
        f"Use workflow.now() (at {__file__}:{line}: timezone.now())"
    )


@pytest.mark.parametrize("name", CALLS)
def test_the_same_is_let_through_without_strict_mode(engine, settings, name):
    settings.DURABLE = {**settings.DURABLE, "STRICT": False}

    @workflow.defn
    async def looking() -> str:
        return str(CALLS[name]())[:0]

    assert engine.result(looking.start()) == ""


@pytest.mark.parametrize(
    "call",
    [
        lambda: timezone.localtime(workflow.now()),
        lambda: timezone.localdate(workflow.now()),
        lambda: timezone.make_aware(datetime.datetime(2026, 1, 1)),
        lambda: workflow.side_effect(lambda: timezone.now().isoformat()),
        lambda: workflow.logger.info("it is %s", workflow.now()),
    ],
)
def test_what_is_deterministic_is_let_through(engine, call):
    @workflow.defn
    async def looking() -> str:
        call()
        return "ok"

    assert engine.result(looking.start()) == "ok"


def test_activities_are_let_through(engine, path, settings):
    settings.DURABLE = {**settings.DURABLE, "STRICT": True}

    @activity.defn
    def look() -> bool:
        return all(call() for call in CALLS.values())

    @workflow.defn
    async def outer() -> bool:
        return await look()

    assert engine.result(outer.start()) is True


def test_call_in_a_later_step_fails_the_instance(engine, path, settings):
    settings.DURABLE = {**settings.DURABLE, "STRICT": True}

    @activity.defn
    def work() -> None: ...

    @workflow.defn
    async def looking() -> None:
        await work()
        time.time()

    handle = looking.start()
    with pytest.raises(WorkflowFailed, match="time"):
        engine.result(handle)

    assert kinds(handle)[-2:] == ["ActivityCompleted", "ExecutionFailed"]


def test_runaway_step_is_stopped_and_nothing_of_the_profiler_is_left(committing, settings):
    settings.DURABLE = {**settings.DURABLE, "STRICT": True, "STEP_TIMEOUT": 0.2}

    @workflow.defn
    async def endless() -> None:
        while True:
            len("")

    @workflow.defn
    async def brief() -> str:
        return "".join(str(n) for n in range(9))

    handle = endless.start()
    committing.run_until_quiet()

    assert handle.status == Status.STALLED
    assert sys.getprofile() is None
    assert committing.result(brief.start()) == "012345678", "the interpreter goes on under a profiler"


def test_nothing_is_watched_without_strict_mode(engine, settings, monkeypatch):
    settings.DURABLE = {**settings.DURABLE, "STRICT": False}
    monkeypatch.setattr(strictness, "Watch", None)

    @workflow.defn
    async def brief() -> str:
        return "ok"

    assert engine.result(brief.start()) == "ok"
