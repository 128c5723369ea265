"""What cannot go on is parked with the reason, harms nobody else, and goes on by itself when it can."""

from __future__ import annotations

import asyncio
import select
import time as wall
from datetime import timedelta

import pytest
from django.utils import timezone

from durable import WorkflowFailed, activity, registry, workflow
from durable.codecs import PlainCodec
from durable.core import context
from durable.core.exits import DurableExit
from durable.engine import stalling, sweep, watchdog
from durable.engine.advance import advance
from durable.engine.living import fresh as new_execution
from durable.engine.stalling import retry_all
from durable.models import HistoryEvent, Instance
from durable.store import clock, workers
from tests.driving import cost, kinds, leftovers


@pytest.fixture
def steps(fresh):
    """Register three activities; what ran is in the list."""
    ran = []

    @activity.defn
    def reserve() -> str:
        ran.append("reserve")
        return "reserved"

    @activity.defn
    def charge() -> str:
        ran.append("charge")
        return "charged"

    @activity.defn
    def ship() -> str:
        ran.append("ship")
        return "shipped"

    return ran


def deploy(engine, definition):
    """Replace a workflow's code, as a deploy does: in a process that remembers nothing."""
    registry.unregister_workflow(definition.name, definition.version)
    registry.add_workflow(definition)
    engine.restart()


def first_version():
    @workflow.defn
    async def order() -> str:
        await workflow.activity_by_name("reserve")()
        await workflow.wait_signal("go")
        return await workflow.activity_by_name("ship")()

    return order


def second_version():
    registry.unregister_workflow("order", 0)

    @workflow.defn
    async def order() -> str:
        await workflow.activity_by_name("charge")()
        await workflow.wait_signal("go")
        return await workflow.activity_by_name("ship")()

    return order


# --- nondeterminism


@pytest.fixture
def stalled(engine, steps):
    """Return an instance that waits for a signal, and whose code was then changed under it."""
    handle = first_version().start()
    engine.run_until_quiet()
    deploy(engine, second_version())
    handle.signal("go")
    engine.run_until_quiet()
    return handle


def test_mismatch_stalls_the_instance_with_the_facts(stalled):
    instance = stalled.instance

    assert (instance.status, instance.closed_at) == ("stalled", None)
    facts = {k: instance.stall[k] for k in ("reason", "error", "seq", "event_id", "expected", "got")}
    assert facts == {
        "reason": "nondeterminism",
        "error": "NondeterminismError",
        "seq": 2,
        "event_id": 0,
        "expected": "ActivityScheduled(reserve)",
        "got": "ActivityScheduled(charge)",
    }
    path, _, line = instance.stall["location"].rpartition(":")
    assert path == __file__
    with open(__file__) as source:
        assert 'activity_by_name("charge")' in source.readlines()[int(line) - 1]


def test_stalled_instance_changes_nothing(engine, stalled, steps):
    before = HistoryEvent.objects.count()
    engine.run_until_quiet()

    assert HistoryEvent.objects.count() == before
    assert steps == ["reserve"], "no activity ran"


def test_stalled_instance_is_not_tried_again_hot(engine, stalled, time):
    at = stalled.instance.retry_at

    for _ in range(3):
        stalled.signal("more")
        advance(stalled.id)
        engine.run_until_quiet()
    assert stalled.instance.retry_at == at

    time.forward(31)
    engine.run_until_quiet()
    assert stalled.instance.retry_at > at, "and then once"


def test_stalled_instance_goes_on_by_itself_when_fitting_code_is_back(engine, stalled, time, steps):
    registry.unregister_workflow("order", 0)
    deploy(engine, first_version())
    time.forward(31)

    assert engine.result(stalled) == "shipped"
    assert (stalled.instance.stall, stalled.instance.retry_at) == (None, None)
    assert steps == ["reserve", "ship"]


def test_worker_that_starts_tries_stalled_instances_at_once(engine, stalled, steps):
    registry.unregister_workflow("order", 0)
    deploy(engine, first_version())
    retry_all()

    assert engine.result(stalled) == "shipped"


def test_mismatch_fails_the_instance_if_the_settings_say_so(engine, steps, settings):
    settings.DURABLE = {"ON_NONDETERMINISM": "fail"}
    handle = first_version().start()
    engine.run_until_quiet()
    deploy(engine, second_version())
    handle.signal("go")

    with pytest.raises(WorkflowFailed, match="history has ActivityScheduled"):
        engine.result(handle)
    assert kinds(handle)[-1] == "ExecutionFailed"
    assert handle.instance.failure["type"] == "NondeterminismError"
    assert leftovers() == ["SignalReceived"], "kept in case of a rewind"
    engine.run_until_quiet()
    assert kinds(handle).count("ExecutionFailed") == 1


def test_code_that_does_less_than_was_recorded_stalls(engine, steps):
    handle = first_version().start()
    engine.run_until_quiet()
    registry.unregister_workflow("order", 0)

    @workflow.defn
    async def order() -> str:
        return await workflow.wait_signal("go")

    engine.restart()
    handle.signal("go")
    engine.run_until_quiet()

    assert handle.status == "stalled"
    assert (handle.instance.stall["expected"], handle.instance.stall["got"]) == ("ActivityScheduled(reserve)", None)


def test_other_instances_go_on_beside_a_stalled_one(engine, stalled, steps):
    @workflow.defn
    async def other() -> str:
        return await workflow.activity_by_name("ship")()

    assert engine.result(other.start()) == "shipped"


# --- unknown code


def test_unknown_workflow_waits_and_shows_why(engine, time):
    @workflow.defn
    async def order() -> int:
        return 5

    handle = order.start()
    registry.unregister_workflow("order", 0)
    engine.run_until_quiet()

    assert handle.status == "stalled"
    assert handle.instance.stall["reason"] == "unknown workflow"
    assert "order" in handle.instance.stall["message"]

    registry.add_workflow(order)
    time.forward(31)
    assert engine.result(handle) == 5


def test_unknown_version_waits_and_shows_which_there_are(engine, time):
    @workflow.defn
    async def order2() -> int:
        return 2

    @workflow.defn
    async def order3() -> int:
        return 3

    handle = order2.start()
    registry.unregister_workflow("order", 2)
    engine.run_until_quiet()

    assert handle.status == "stalled"
    assert handle.instance.stall["reason"] == "version not available"
    assert handle.instance.stall["message"].endswith("is not registered here (there are: 3)")

    registry.add_workflow(order2)
    time.forward(31)
    assert engine.result(handle) == 2


def test_undecodable_event_stalls_and_names_its_place(engine, steps):
    handle = first_version().start()
    engine.run_until_quiet()
    row = HistoryEvent.objects.filter(execution_id=handle.instance.execution_id, seq=2)
    row.update(kind="SomethingNewer")
    engine.restart()
    handle.signal("go")
    engine.run_until_quiet()

    stall = handle.instance.stall
    assert (handle.status, stall["reason"], stall["seq"], stall["kind"]) == (
        "stalled",
        "undecodable event",
        2,
        "SomethingNewer",
    )

    row.update(kind="ActivityScheduled")
    retry_all()
    assert engine.result(handle) == "shipped"


def test_undecodable_data_stalls(engine, steps):
    handle = first_version().start()
    engine.run_until_quiet()
    HistoryEvent.objects.filter(execution_id=handle.instance.execution_id, seq=3).update(data={"event_id": "zero"})
    engine.restart()
    handle.signal("go")
    engine.run_until_quiet()

    assert handle.instance.stall["reason"] == "undecodable event"


# --- runaway steps


@pytest.fixture
def impatient(settings):
    settings.DURABLE = {"STEP_TIMEOUT": 0.2}


def runaways():
    @workflow.defn
    async def spinning() -> None:
        while True:
            pass

    @workflow.defn
    async def yielding() -> None:
        while True:
            await asyncio.sleep(0)

    @workflow.defn
    async def sleeping() -> None:
        while True:
            select.select([], [], [], 0.01)  # a call into C; time.sleep is refused

    @workflow.defn
    async def catching() -> None:
        try:
            while True:
                sum(range(100))
        except BaseException:
            while True:
                sum(range(100))

    @workflow.defn
    async def swallowing() -> str:
        try:
            while True:
                sum(range(100))
        except BaseException:
            return "got away"

    return spinning, yielding, sleeping, catching, swallowing


@pytest.mark.parametrize("number", range(5))
def test_runaway_step_is_parked_with_its_stack_and_the_thread_goes_on(engine, impatient, number):
    handle = runaways()[number].start()

    before = wall.monotonic()
    engine.run_until_quiet()

    assert wall.monotonic() - before < 5
    assert (handle.status, handle.instance.stall["reason"]) == ("stalled", "runaway step")
    assert __file__ in handle.instance.stall["stack"]
    assert handle.instance.stall["seconds"] == 0.2

    @workflow.defn
    async def other() -> str:
        total = 0
        for number in range(100_000):
            total += number
        return "fine"

    assert engine.result(other.start()) == "fine"


def test_runaway_step_in_replay_is_parked_too(engine, impatient):
    spin = False

    @workflow.defn
    async def later() -> int:
        while spin:
            pass
        return await workflow.wait_signal("go")

    handle = later.start()
    engine.run_until_quiet()
    engine.restart()
    spin = True
    handle.signal("go", 1)
    engine.run_until_quiet()
    assert handle.instance.stall["reason"] == "runaway step"

    spin = False
    retry_all()
    assert engine.result(handle) == 1


# --- poison


def test_long_replay_is_no_runaway_step(engine, settings):
    """The limit is for a step; a replay takes all of them at once."""
    settings.DURABLE = {"STEP_TIMEOUT": 0.2}

    @workflow.defn
    async def slow() -> int:
        for _ in range(40):
            select.select([], [], [], 0.01)  # a call into C; time.sleep is refused
            await workflow.wait_signal("item")
        return 40

    handle = slow.start()
    for _ in range(39):
        handle.signal("item")
        engine.run_until_quiet()
    engine.restart()
    handle.signal("item")

    assert engine.result(handle) == 40


def test_interrupt_that_comes_while_the_loop_is_left_leaves_no_loop_behind(impatient, fresh):
    @workflow.defn
    async def idle() -> None: ...

    execution = new_execution("idle", 0, instance_id="i", execution_id="")

    with pytest.raises(DurableExit), watchdog.watch(execution):
        execution.loop.enter()
        raise DurableExit

    assert (asyncio._get_running_loop(), context.running()) == (None, None)


@pytest.fixture
def brittle(settings, monkeypatch):
    """Have whatever a workflow shows break in the codec, until told otherwise."""
    settings.DURABLE = {"CODEC": "tests.test_stalling.BrittleCodec", "MAX_FAILED_TURNS": 3}

    @workflow.defn
    async def brittle() -> str:
        workflow.set_status("fragile")
        return await workflow.wait_signal("go")

    monkeypatch.setattr(BrittleCodec, "broken", True)
    return brittle


class BrittleCodec(PlainCodec):
    """Stands for code of the project's own that the engine calls in the middle of a turn."""

    broken = False

    def encode(self, text: str) -> str:
        if self.broken and "fragile" in text:
            raise MemoryError("shattered")
        return text


def test_instance_whose_turns_keep_raising_is_parked(engine, brittle, monkeypatch):
    handle = brittle.start()
    for turn in (1, 2):
        advance(handle.id)
        assert (handle.status, handle.instance.failed_turns) == ("pending", turn)
    advance(handle.id)

    stall = handle.instance.stall
    assert (handle.status, stall["reason"], stall["error"], stall["turns"]) == ("stalled", "poison", "MemoryError", 3)
    assert "BrittleCodec" in stall["traceback"] or "in encode" in stall["traceback"]
    assert kinds(handle) == [], "nothing is half-written"

    monkeypatch.setattr(BrittleCodec, "broken", False)
    retry_all()
    engine.run_until_quiet()
    assert (handle.status, handle.instance.custom_status, handle.instance.failed_turns) == ("running", "fragile", 0)


def test_parked_instance_that_raises_again_is_not_tried_again_hot(engine, brittle, time):
    handle = brittle.start()
    for _ in range(3):
        advance(handle.id)
    assert handle.status == "stalled"

    time.forward(31)
    engine.run_until_quiet()

    assert handle.instance.retry_at > time.now()
    assert handle.instance.failed_turns == 3


def test_turn_that_works_forgets_those_that_failed(engine, brittle, monkeypatch):
    handle = brittle.start()
    advance(handle.id)
    monkeypatch.setattr(BrittleCodec, "broken", False)
    engine.run_until_quiet()

    assert (handle.status, handle.instance.failed_turns) == ("running", 0)


def test_stall_is_logged_once(engine, stalled, time, caplog):
    time.forward(31)
    engine.run_until_quiet()

    assert not [r for r in caplog.records if "is stalled" in r.getMessage()], "it was said when it happened"


# --- who is tried again


@pytest.fixture
def announced(monkeypatch):
    """What is announced, in order, two of a queue at once."""
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(stalling, "_AT_ONCE", 2)
    monkeypatch.setattr(stalling.dispatch, "advance", told.extend)
    return told


@pytest.fixture
def many_stalled(engine, steps):
    """Three stalled instances on each of two queues, the latest first of the alphabet."""
    flow = first_version()
    for queue in ("dead", "live"):
        for name in "cab":
            flow.options(id=f"{queue}-{name}", queue=queue).start()
    engine.run_until_quiet()
    now = timezone.now()
    for age, name in enumerate("abc", 1):
        due = now - timedelta(seconds=age)
        Instance.objects.filter(pk__endswith=name).update(status="stalled", stall={}, retry_at=due)


def works(*queues: str) -> None:
    """Have a worker serve queues."""
    workers.sweep(list(queues))


def test_stalled_instances_on_a_queue_that_nobody_serves_keep_no_others_from_being_tried(many_stalled, announced):
    works("live")

    sweep.sweep()

    assert announced == [("live", "live-c"), ("live", "live-b")], "those that wait for longest"


def test_stalled_instances_of_one_queue_keep_those_of_no_other_from_being_tried(many_stalled, announced):
    works("dead", "live")

    stalling.retry_stalled()

    assert announced == [("dead", "dead-c"), ("dead", "dead-b"), ("live", "live-c"), ("live", "live-b")]


def test_each_stalled_instance_is_tried_in_turn(many_stalled, announced, time):
    works("live")
    tried = []

    for _ in range(3):
        stalling.retry_stalled()
        for _, instance_id in announced:
            Instance.objects.filter(pk=instance_id).update(retry_at=time.now() + timedelta(seconds=30))
        tried += [instance_id for _, instance_id in announced]
        announced.clear()

    assert sorted(tried) == ["live-a", "live-b", "live-c"]


def test_look_for_stalled_instances_is_one_statement_when_there_is_none(engine):
    clock.sync()

    with cost() as counted:
        stalling.retry_stalled()

    assert len(counted.statements) == 1
