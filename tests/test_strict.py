"""Strict mode: what is not deterministic is caught in the turn that does it."""

from __future__ import annotations

import asyncio
import datetime
import sys
import time
import uuid

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.utils import timezone
from django.utils.crypto import get_random_string

from durable import WorkflowFailed, activity, registry, workflow
from durable.core import strictness
from durable.models import Instance, Status
from tests.driving import forget, kinds


@pytest.fixture(autouse=True)
def strict(settings):
    settings.DURABLE = {**settings.DURABLE, "STRICT": True}


CALLS = {
    "datetime.now": lambda: datetime.datetime.now(),
    "time.time": lambda: time.time(),
    "uuid.uuid4": lambda: uuid.uuid4(),
    "timezone.now": lambda: timezone.now(),
    "get_random_string": lambda: get_random_string(8),
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


# --- every turn once more

COUNTS = []


@pytest.fixture
def counts():
    COUNTS.clear()
    return COUNTS


def define(*, late):
    """Define a workflow that goes by a global, in its first or in a later step; and its activities."""

    @activity.defn
    def work(number: int) -> int:
        COUNTS.append("worked")
        return number

    @workflow.defn
    async def counting() -> int:
        if late:
            await work(0)
        SEEN.append(1)
        return await work(len(SEEN))

    return counting


SEEN: list[int] = []


@pytest.mark.usefixtures("counts")
def test_first_turn_that_is_not_deterministic_is_not_stored(engine, path, settings):
    settings.DURABLE = {**settings.DURABLE, "STRICT": True}
    SEEN.clear()

    handle = define(late=False).start()
    engine.run_until_quiet()

    assert handle.status == Status.STALLED
    stall = Instance.objects.get().stall
    assert stall["reason"] == "nondeterminism"
    assert stall["expected"] == "ActivityScheduled(work) input={'args': [1], 'kwargs': {}}"
    assert stall["got"] == "ActivityScheduled(work) input={'args': [2], 'kwargs': {}}"
    assert "The code is not deterministic" in stall["message"]
    assert stall["location"].startswith(f"{__file__}:")
    assert kinds(handle) == []
    assert COUNTS == []


def test_later_turn_that_is_not_deterministic_is_not_stored_and_its_activity_runs_once(
    engine, path, settings, counts, time
):
    settings.DURABLE = {**settings.DURABLE, "STRICT": True}
    SEEN.clear()

    handle = define(late=True).start()
    engine.run_until_quiet()

    assert handle.status == Status.STALLED
    assert kinds(handle) == ["ExecutionStarted", "ActivityScheduled"]
    assert counts == ["worked"]
    for _ in range(3):
        time.forward(60)
        engine.run_until_quiet()
    assert counts == ["worked"], "what it came to waits with the instance"


def test_instance_goes_on_when_its_code_is_mended(engine, path, settings, counts, time):
    settings.DURABLE = {**settings.DURABLE, "STRICT": True}
    SEEN.clear()
    broken = define(late=True)
    handle = broken.start()
    engine.run_until_quiet()
    assert handle.status == Status.STALLED
    work = next(each for each in registry.activities() if each.name == "work")
    forget(broken)

    @workflow.defn(name="counting")
    async def mended() -> int:
        await work(0)
        return await work(7)

    time.forward(60)

    assert engine.result(handle) == 7
    assert counts == ["worked", "worked"]


def test_atomic_activity_is_rolled_back_with_the_turn(engine, settings, counts):
    settings.DURABLE = {**settings.DURABLE, "STRICT": True}
    SEEN.clear()

    @activity.defn(atomic=True)
    def write() -> None:
        COUNTS.append(User.objects.create(username=f"user-{len(COUNTS)}").pk)

    @workflow.defn
    async def writing() -> int:
        await write()
        SEEN.append(1)
        return len(SEEN)

    handle = writing.start()
    engine.run_until_quiet()

    assert handle.status == Status.STALLED
    assert User.objects.count() == 1
    assert kinds(handle) == ["ExecutionStarted", "ActivityScheduled"]


def test_instance_fails_if_the_settings_say_so(engine, settings):
    settings.DURABLE = {**settings.DURABLE, "STRICT": True, "ON_NONDETERMINISM": "fail"}
    SEEN.clear()
    handle = define(late=False).start()

    with pytest.raises(WorkflowFailed, match="The code is not deterministic") as failed:
        engine.result(handle)

    assert failed.value.failure.type == "NondeterminismError"


def test_turns_are_not_taken_again_without_strict_mode(engine, path, settings):
    settings.DURABLE = {**settings.DURABLE, "STRICT": False}
    SEEN.clear()

    assert engine.result(define(late=True).start()) == 1


def test_deterministic_code_passes_all_the_way(engine, path, settings, time):
    settings.DURABLE = {**settings.DURABLE, "STRICT": True}

    @activity.defn
    def draw(number: float) -> float:
        return number

    @workflow.defn
    async def child(number: int) -> int:
        return number

    @workflow.defn
    async def much() -> list[object]:
        workflow.set_status("begun")
        secret = workflow.side_effect(lambda: str(uuid.uuid4()))
        drawn = await asyncio.gather(*(draw(workflow.random()) for _ in range(3)))
        await asyncio.sleep(60)
        workflow.set_progress(1, 2)
        born = await child(2)
        said = await workflow.wait_signal("go")
        workflow.set_tags(secret=secret)
        return [len(drawn), born, said, str(workflow.uuid4()) != secret]

    handle = much.start()
    engine.run_until_quiet()
    time.forward(61)
    engine.run_until_quiet()
    handle.signal("go", "on")

    assert engine.result(handle) == [3, 2, "on", True]


def test_encrypted_histories_are_read_again(engine, settings):
    settings.DURABLE = {**settings.DURABLE, "STRICT": True, "CODEC": "project.encryption.FernetCodec"}
    settings.DURABLE_KEYS = [Fernet.generate_key()]

    @activity.defn
    def work() -> int:
        return 1

    @workflow.defn
    async def outer() -> int:
        return await work() + await work()

    assert engine.result(outer.start()) == 2


def test_instance_that_moves_on_during_an_activity_is_deterministic_all_the_same(engine):
    @activity.defn
    def slow() -> str:
        handle.signal("knock")
        engine.advance_due()
        return "done"

    @workflow.defn
    async def outer() -> str:
        done = asyncio.create_task(slow())
        await workflow.wait_signal("knock")
        return await done

    handle = outer.start()

    assert engine.result(handle) == "done"
