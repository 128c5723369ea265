"""Recovery: every row of its table of outcomes, and what got lost is handed out again."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction

from durable import (
    ConcurrencyConflict,
    InvalidHistory,
    InvalidInput,
    NondeterminismError,
    UndecodableEvent,
    UnknownWorkflow,
    VersionNotAvailable,
    activity,
    client,
    registry,
    workflow,
)
from durable.client import Busy, Failed, Resumed, Stalled, Step, Terminal, verbs
from durable.engine.advance import advance
from durable.models import ActivityTask, HistoryEvent, InboxEvent, Instance, Operation
from durable.operations import recover as recovering
from durable.store import suspects
from tests.driving import cost, kinds


@pytest.fixture(autouse=True)
def acts(fresh):
    """Two activities that count how often they ran."""
    ran: list[str] = []

    @activity.defn
    def first() -> str:
        ran.append("first")
        return "first"

    @activity.defn
    def second() -> str:
        ran.append("second")
        return "second"

    return ran


def flow_of(*names: str, then: str = "") -> Any:
    """Define the workflow ``flow``: these activities, and perhaps a signal after them."""
    if ("flow", 0) in [(known.name, known.version) for known in registry.workflows()]:
        registry.unregister_workflow("flow", 0)

    @workflow.defn
    async def flow() -> list[Any]:
        results: list[Any] = [await workflow.activity_by_name(name)() for name in names]
        if then:
            results.append(await workflow.wait_signal(then))
        return results

    return flow


def everything() -> list[Any]:
    """Return all that is stored in histories, byte by byte."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT * FROM durable_historyevent ORDER BY execution_id, seq")
        return list(cursor.fetchall())


def rows() -> list[Any]:
    """Return what is stored of instances and waits for them."""
    return [
        list(Instance.objects.order_by("pk").values_list("pk", "status", "head", "execution_id", "closed_at", "stall")),
        list(ActivityTask.objects.order_by("pk").values_list("pk", "event_id", "state")),
        list(InboxEvent.objects.order_by("pk").values_list("pk", "kind", "event_id")),
    ]


def only(reports: list[client.RecoveryReport]) -> Any:
    """Return the outcome of the one report."""
    (report,) = reports
    return report.outcome


@pytest.fixture
def waiting(engine):
    """An instance that waits for a signal after an activity, and has nothing to fear."""
    handle = flow_of("first", then="go").options(id="w").start()
    engine.run_until_quiet()
    assert handle.status == "running"
    return handle


# --- resumed


def test_what_waits_for_an_answer_is_resumed_and_nothing_is_written(engine, settings, acts):
    settings.DURABLE = {"RUN_INLINE": False}
    handle = flow_of("first", "second").options(id="a").start()
    advance("a")
    before, around = everything(), rows()

    report = client.recover()

    assert [(each.instance_id, each.outcome) for each in report] == [
        ("a", Resumed(index=0, command=Step(event_id=0, kind="ActivityScheduled", name="first"), head=2))
    ]
    assert (everything(), rows()) == (before, around)
    assert acts == [], "recovery runs no activity itself"
    assert engine.result(handle) == ["first", "second"]


def test_index_and_command_are_those_of_the_first_that_has_no_answer(engine, time):
    @workflow.defn
    async def several() -> None:
        workflow.side_effect(lambda: 1)
        await workflow.activity_by_name("first")()
        await asyncio.gather(asyncio.sleep(10), asyncio.sleep(20))

    several.start()
    engine.run_until_quiet()
    outcome = only(client.recover())
    assert (outcome.index, outcome.command.kind, outcome.command.event_id) == (2, "TimerStarted", 2)

    time.forward(11)
    engine.run_until_quiet()
    assert only(client.recover()).index == 3


def test_what_waits_for_a_signal_alone_is_resumed_without_a_command(engine, waiting):
    assert only(client.recover()) == Resumed(index=1, command=None, head=3)


def test_lost_task_is_handed_out_again(engine, settings, acts):
    settings.DURABLE = {"RUN_INLINE": False}
    handle = flow_of("first", "second").start()
    engine.advance_due()
    ActivityTask.objects.all().delete()
    engine.run_until_quiet()
    assert (handle.status, acts) == ("running", []), "it would wait for ever"
    before = everything()

    outcome = only(client.recover())

    assert outcome.redispatched == [Step(event_id=0, kind="ActivityScheduled", name="first")]
    assert everything() == before
    assert only(client.recover()).redispatched == [], "the second time there is nothing to do"
    assert ActivityTask.objects.count() == 1
    assert engine.result(handle) == ["first", "second"]
    assert acts == ["first", "second"]


def test_lost_timer_is_armed_again_for_its_own_time(engine, time):
    @workflow.defn
    async def sleeping() -> str:
        await asyncio.sleep(100)
        return "slept"

    handle = sleeping.start()
    engine.run_until_quiet()
    InboxEvent.objects.all().delete()
    time.forward(40)
    before = everything()

    assert [step.kind for step in only(client.recover()).redispatched] == ["TimerStarted"]

    assert everything() == before
    time.forward(55)
    engine.run_until_quiet()
    assert handle.status == "running"
    time.forward(6)
    assert engine.result(handle) == "slept"


@pytest.fixture
def family(engine):
    @workflow.defn
    async def kid() -> str:
        return await workflow.wait_signal("go")

    @workflow.defn
    async def parent() -> str:
        return await kid.options(id="kid", tags={"a": 1})()

    handle = parent.options(id="parent").start()
    engine.run_until_quiet()
    return handle


def test_lost_child_is_started_again(engine, family):
    Instance.objects.filter(pk="kid").delete()
    before = everything()

    (report,) = client.recover()

    assert (report.instance_id, [step.kind for step in report.outcome.redispatched]) == ("parent", ["ChildScheduled"])
    assert everything() == before
    assert client.get("kid").instance.tags == {"a": 1}
    client.get("kid").signal("go", "here")
    assert engine.result(family) == "here"


def test_end_of_a_child_that_did_not_reach_its_parent_is_told(engine, family):
    client.get("kid").signal("go", "here")
    advance("kid")
    InboxEvent.objects.all().delete()
    engine.run_until_quiet()
    assert family.status == "running"

    assert only(client.recover()).redispatched == []

    assert engine.result(family) == "here"


def test_child_that_reports_elsewhere_reports_to_its_parent(engine, family):
    Instance.objects.filter(pk="kid").update(parent_execution_id=client.get("kid").instance.execution_id)

    client.recover()

    client.get("kid").signal("go", "here")
    assert engine.result(family) == "here"


def test_lost_signal_to_another_instance_is_sent_again(engine, settings, waiting):
    settings.DURABLE = {"RUN_INLINE": False}

    @workflow.defn
    async def sender() -> str:
        await workflow.signal_instance("w", "go", 5)
        return "sent"

    handle = sender.start()
    advance(handle.id)
    ActivityTask.objects.all().delete()

    (mine,) = [report.outcome for report in client.recover() if report.instance_id == handle.id]

    assert [step.kind for step in mine.redispatched] == ["SignalSent"]
    assert engine.result(handle) == "sent"
    assert engine.result(waiting) == ["first", 5]


def test_activity_that_runs_in_place_just_now_is_not_lost(engine, acts):
    seen: list[Any] = []

    @activity.defn
    def looking() -> str:
        seen.extend(client.recover())
        return "looked"

    handle = flow_of("looking").start()

    assert engine.result(handle) == ["looked"]
    assert only(seen).redispatched == []
    assert kinds(handle).count("ActivityScheduled") == 1


def test_activity_that_nobody_waits_for_any_more_is_not_handed_out_again(engine, settings):
    settings.DURABLE = {"RUN_INLINE": False}

    @workflow.defn
    async def impatient() -> str:
        task = asyncio.ensure_future(workflow.activity_by_name("first")())
        await workflow.wait_signal("stop")
        task.cancel()
        return await workflow.wait_signal("go")

    handle = impatient.start()
    engine.advance_due()
    ActivityTask.objects.update(state="running")
    handle.signal("stop")
    engine.advance_due()
    ActivityTask.objects.all().delete()

    assert only(client.recover()) == Resumed(index=1, command=None, head=3)
    assert ActivityTask.objects.count() == 0


def test_what_the_record_lacks_of_a_step_is_taken_up(engine, acts):
    """Turns are stored whole; a history that was cut is mended all the same."""
    handle = flow_of("first", "second", then="go").start()
    engine.run_until_quiet()
    HistoryEvent.objects.filter(seq__gt=3).delete()
    Instance.objects.update(head=3)
    engine.restart()

    outcome = only(client.recover())

    assert (outcome.index, outcome.head, outcome.command.name) == (1, 3, "second")
    assert [step.name for step in outcome.redispatched] == ["second"]
    handle.signal("go", 1)
    assert engine.result(handle) == ["first", "second", 1]
    assert acts == ["first", "second", "second"]


# --- terminal


def unclosed(handle: client.Handle) -> None:
    """Have an instance look as if its closing had got lost."""
    Instance.objects.filter(pk=handle.id).update(status="running", closed_at=None, result=None, failure=None)


def test_end_that_is_recorded_closes_the_instance_once(engine, waiting):
    waiting.signal("go", 7)
    engine.run_until_quiet()
    unclosed(waiting)
    before = everything()

    assert only(client.recover()) == Terminal(result=["first", 7], head=5, kind="ExecutionCompleted")

    assert (waiting.status, waiting.result(timeout=0)) == ("completed", ["first", 7])
    assert everything() == before
    assert client.recover() == [], "it is closed"


def test_end_that_is_recorded_counts_whatever_the_code_would_do(engine, waiting, settings):
    settings.DURABLE = {"ON_NONDETERMINISM": "fail"}
    waiting.signal("go", 7)
    engine.run_until_quiet()
    unclosed(waiting)
    before = everything()
    flow_of("second")

    assert isinstance(only(client.recover()), Terminal)

    assert everything() == before, "no ExecutionFailed after the end"
    assert waiting.status == "completed"


def test_failure_that_is_recorded_closes_as_failed(engine):
    @workflow.defn
    async def failing() -> None:
        raise ValueError("no")

    handle = failing.start()
    engine.run_until_quiet()
    unclosed(handle)

    assert only(client.recover()) == Terminal(result=None, head=2, kind="ExecutionFailed")
    assert (handle.status, handle.instance.failure["message"]) == ("failed", "no")


def test_end_that_the_code_reaches_and_nobody_recorded_is_recorded_once(engine, waiting):
    waiting.signal("go", 7)
    engine.run_until_quiet()
    HistoryEvent.objects.filter(kind="ExecutionCompleted").delete()
    unclosed(waiting)
    Instance.objects.update(head=4)

    assert only(client.recover()) == Terminal(result=["first", 7], head=5, kind="ExecutionCompleted")

    assert waiting.result(timeout=0) == ["first", 7]
    assert kinds(waiting).count("ExecutionCompleted") == 1
    assert client.recover() == []


def test_crash_between_two_executions_is_repaired_once(engine):
    @workflow.defn
    async def again(number: int = 0) -> int:
        await workflow.wait_signal("go")
        if number < 1:
            workflow.continue_as_new(number + 1)
        return number

    handle = again.start()
    engine.run_until_quiet()
    first = handle.instance.execution_id
    handle.signal("go")
    engine.run_until_quiet()
    instance = handle.instance
    HistoryEvent.objects.filter(execution_id=instance.execution_id).delete()
    InboxEvent.objects.all().delete()
    instance.executions.filter(pk=instance.execution_id).delete()
    Instance.objects.update(execution_id=first, head=3)

    assert only(client.recover()).kind == "ExecutionContinued"

    engine.run_until_quiet()
    handle.signal("go")
    assert engine.result(handle) == 1
    assert instance.executions.count() == 2


# --- stalled, failed


def misfit() -> None:
    """Deploy code that does something else than the history of ``waiting`` records."""
    flow_of("second", then="go")


def test_mismatch_stalls_the_instance_with_the_place(engine, waiting):
    misfit()
    before = everything()

    outcome = only(client.recover())

    assert isinstance(outcome, Stalled)
    assert (outcome.error.seq, outcome.error.expected, outcome.head) == (2, "ActivityScheduled(first)", 3)
    assert (waiting.status, waiting.instance.stall["reason"]) == ("stalled", "nondeterminism")
    assert everything() == before
    assert client.recover() == [], "the second recovery does not see it"


def test_mismatch_is_recorded_as_a_failure_once_if_the_settings_say_so(engine, waiting, settings):
    settings.DURABLE = {"ON_NONDETERMINISM": "fail"}
    misfit()

    outcome = only(client.recover())

    assert (type(outcome), outcome.failure_recorded, outcome.conflict) == (Failed, True, None)
    assert isinstance(outcome.error, NondeterminismError)
    last = waiting.history()[-1]
    assert (last.seq, last.kind, waiting.status) == (4, "ExecutionFailed", "failed")
    before = everything()
    assert client.recover() == []
    assert everything() == before


def test_answers_count_wherever_they_lie_in_the_history(engine, settings):
    """A signal, a result or a child's end that came before the code asked for the next thing is no mismatch."""
    settings.DURABLE = {"ON_NONDETERMINISM": "fail"}

    @workflow.defn
    async def kid() -> str:
        return "kid"

    @workflow.defn
    async def late() -> Any:
        rest = [asyncio.ensure_future(workflow.activity_by_name("first")()), kid.start_child()]
        await workflow.wait_signal("next")
        await workflow.activity_by_name("second")()
        return [*[await each for each in rest], await workflow.wait_signal("early"), await workflow.wait_signal("go")]

    handle = late.start()
    handle.signal("early", 1)
    engine.run_until_quiet()
    handle.signal("next")
    engine.run_until_quiet()

    assert only(client.recover()) == Resumed(index=3, command=None, head=len(handle.history()))
    handle.signal("go", 2)
    assert engine.result(handle) == ["first", "kid", 1, 2]


@pytest.mark.parametrize("policy", ["stall", "fail"])
def test_conflict_while_recording_is_told_beside_the_mismatch(committing, settings, monkeypatch, policy):
    settings.DURABLE = {"ON_NONDETERMINISM": policy}
    handle = flow_of("first", then="go").options(id="c").start()
    committing.run_until_quiet()
    misfit()
    replay = recovering.catch_up

    def somebody_else() -> None:
        try:
            execution_id = Instance.objects.get(pk="c").execution_id
            HistoryEvent.objects.create(
                execution_id=execution_id,
                seq=4,
                kind="SignalReceived",
                name="go",
                recorded_at=recovering.clock.now(),
                data={"name": "go"},
            )
            Instance.objects.filter(pk="c", head=3).update(head=4)
        finally:
            connections.close_all()

    def overtaken(*args: Any, **options: Any) -> Any:
        try:
            return replay(*args, **options)
        finally:
            other = threading.Thread(target=somebody_else)
            other.start()
            other.join(timeout=30)

    monkeypatch.setattr(recovering, "catch_up", overtaken)
    outcome = only(client.recover())

    assert (type(outcome), outcome.failure_recorded) == (Failed, False)
    assert isinstance(outcome.error, NondeterminismError)
    assert isinstance(outcome.conflict, ConcurrencyConflict)
    assert (outcome.conflict.expected, outcome.conflict.found) == (3, 4)
    assert (handle.status, handle.instance.stall) == ("running", None)
    assert kinds(handle)[-1] == "SignalReceived", "nothing of ours is written"


def test_appended_event_without_a_head_is_a_conflict_too(engine, waiting, settings, monkeypatch):
    """Whoever appends without minding the head is stopped by the database itself."""
    settings.DURABLE = {"ON_NONDETERMINISM": "fail"}
    misfit()
    record = recovering.stalling.record

    def squeezed(instance: Instance, error: Any) -> bool:
        HistoryEvent.objects.create(
            execution_id=instance.execution_id, seq=4, kind="X", recorded_at=recovering.clock.now(), data={}
        )
        return record(instance, error)

    monkeypatch.setattr(recovering.stalling, "record", squeezed)
    outcome = only(client.recover())

    assert (outcome.failure_recorded, type(outcome.conflict)) == (False, ConcurrencyConflict)
    assert waiting.status == "running"


def test_instance_that_moves_on_meanwhile_is_looked_at_again(engine, waiting, monkeypatch):
    replay, times = recovering.catch_up, []

    def overtaken(*args: Any, **options: Any) -> Any:
        times.append(1)
        if len(times) == 1:
            waiting.signal("other")
            advance("w")
        return replay(*args, **options)

    monkeypatch.setattr(recovering, "catch_up", overtaken)

    assert only(client.recover()) == Resumed(index=1, command=None, head=4)
    assert len(times) == 2


def test_instance_that_moves_on_whenever_it_is_looked_at_is_busy_and_has_not_failed(engine, waiting, monkeypatch):
    replay = recovering.catch_up

    def overtaken(*args: Any, **options: Any) -> Any:
        waiting.signal("other")
        advance("w")
        return replay(*args, **options)

    monkeypatch.setattr(recovering, "catch_up", overtaken)
    (report,) = client.recover()

    assert report.outcome == Busy(head=5)
    assert report.to_json() == {"id": "w", "outcome": "busy", "head": 5}
    assert told()[1].splitlines()[1].split() == ["w", "busy", "8"]
    assert waiting.status == "running"


def test_instance_that_another_connection_has_is_busy_and_nobody_waits_for_it(committing, settings):
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("this database has no locks of rows that could be skipped")
    settings.DURABLE = {"RUN_INLINE": False}
    flow = flow_of("first")
    held, lost = flow.options(id="held").start(), flow.options(id="lost").start()
    committing.advance_due()
    ActivityTask.objects.all().delete()
    has_it, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                Instance.objects.select_for_update().get(pk="held")
                has_it.set()
                assert let_go.wait(30)
        finally:
            connections.close_all()

    other = threading.Thread(target=hold)
    other.start()
    assert has_it.wait(30)
    try:
        outcomes = {report.instance_id: report.outcome for report in client.recover()}
    finally:
        let_go.set()
        other.join()

    assert outcomes["held"] == Busy(head=2)
    assert [step.name for step in outcomes["lost"].redispatched] == ["first"]
    outcomes = {report.instance_id: report.outcome for report in client.recover()}
    assert [step.name for step in outcomes["held"].redispatched] == ["first"]
    assert {held.status, lost.status} == {"running"}


def test_instance_that_ends_meanwhile_is_passed_over(engine, waiting, monkeypatch):
    replay = recovering.catch_up

    def overtaken(*args: Any, **options: Any) -> Any:
        waiting.terminate()
        return replay(*args, **options)

    monkeypatch.setattr(recovering, "catch_up", overtaken)

    assert client.recover() == []
    assert waiting.status == "terminated"


# --- anything else


def broken(kind: str, handle: client.Handle) -> type[Exception]:
    """Break an instance in a way that recovery cannot mend; return the error that it should tell."""
    events = HistoryEvent.objects.filter(execution_id=handle.instance.execution_id)
    match kind:
        case "unreadable kind":
            events.filter(seq=2).update(kind="SomethingNewer")
            return UndecodableEvent
        case "unreadable data":
            events.filter(seq=3).update(data={"event_id": "zero"})
            return UndecodableEvent
        case "no events":
            events.delete()
            return InvalidHistory
        case "no start":
            events.filter(seq=1).delete()
            return InvalidHistory
        case "another workflow":
            Instance.objects.filter(pk=handle.id).update(name="other")
            return InvalidHistory
        case "unknown workflow":
            registry.unregister_workflow("flow", 0)
            return UnknownWorkflow
        case "unknown version":
            Instance.objects.filter(pk=handle.id).update(version=3)
            return VersionNotAvailable
        case "head":
            Instance.objects.filter(pk=handle.id).update(head=7)
            return ConcurrencyConflict
    raise ValueError(kind)


@pytest.mark.parametrize(
    "kind",
    [
        "unreadable kind",
        "unreadable data",
        "no events",
        "no start",
        "another workflow",
        "unknown workflow",
        "unknown version",
        "head",
    ],
)
def test_anything_else_is_told_and_nothing_is_written_and_the_others_go_on(engine, waiting, settings, kind):
    settings.DURABLE = {"ON_NONDETERMINISM": "fail"}

    @workflow.defn
    async def other() -> None:
        await workflow.wait_signal("go")

    before_it, after_it = other.options(id="z").start(), other.options(id="a").start()
    engine.run_until_quiet()
    error = broken(kind, waiting)
    before, around = everything(), rows()

    outcomes = {report.instance_id: report.outcome for report in client.recover()}

    assert set(outcomes) == {"w", before_it.id, after_it.id}
    assert (type(outcomes["w"]), type(outcomes["w"].error), outcomes["w"].failure_recorded) == (Failed, error, False)
    assert isinstance(outcomes["a"], Resumed)
    assert (everything(), rows()) == (before, around)


def test_code_that_breaks_in_a_way_nobody_thought_of_is_told(engine, waiting, monkeypatch):
    def shattered(*_: Any, **__: Any) -> Any:
        raise MemoryError("shattered")

    monkeypatch.setattr(recovering, "catch_up", shattered)

    assert isinstance(only(client.recover()).error, MemoryError)
    assert waiting.status == "running"


def test_only_a_failure_to_list_escapes(engine, monkeypatch):
    monkeypatch.setattr(recovering, "running", lambda **_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        client.recover()


# --- which, and how often


def test_only_running_instances_are_looked_at(engine, waiting):
    flow = flow_of("first", then="go")
    suspended, closed = flow.options(id="s").start(), flow.options(id="c").start()
    flow.options(id="p", delay=1000).start()
    flow.options(id="x").start()
    engine.run_until_quiet()
    suspended.suspend()
    closed.terminate()
    waiting.terminate()

    assert [report.instance_id for report in client.recover()] == ["x"]
    assert [report.instance_id for report in client.recover(limit=1)] == ["x"], "the others do not count"


def test_workflow_and_limit_narrow_it(engine, waiting):
    @workflow.defn
    async def other() -> None:
        await workflow.wait_signal("go")

    for number in range(3):
        other.options(id=f"o-{number}").start()
    engine.run_until_quiet()

    assert {report.instance_id for report in client.recover(workflow="flow")} == {"w"}
    assert [report.instance_id for report in client.recover(workflow="other", limit=2)] == ["o-0", "o-1"]
    assert client.recover(limit=0) == client.recover(workflow="nothing") == []


def test_each_history_is_read_once(engine, waiting):
    flow_of("first", then="go").start()
    engine.run_until_quiet()

    with cost() as counted:
        assert len(client.recover()) == 2

    reads = [sql for sql in counted.statements if "FROM" in sql and "durable_historyevent" in sql]
    assert len(reads) == 2


def test_second_recovery_changes_nothing_at_all(engine, settings, time):
    settings.DURABLE = {"RUN_INLINE": False}

    @workflow.defn
    async def kid() -> None:
        await workflow.wait_signal("go")

    @workflow.defn
    async def all_kinds() -> None:
        await asyncio.gather(workflow.activity_by_name("first")(), asyncio.sleep(50), kid(), workflow.wait_signal("go"))

    all_kinds.start()
    engine.advance_due()
    engine.advance_due()
    InboxEvent.objects.all().delete()
    ActivityTask.objects.all().delete()
    engine.restart()

    assert len(client.recover()[0].outcome.redispatched) == 2
    before, around = everything(), rows()
    assert [report.outcome.redispatched for report in client.recover()] == [[], []]
    assert (everything(), rows()) == (before, around)


@pytest.mark.parametrize("policy", ["stall", "fail"])
def test_dry_run_tells_the_same_and_changes_nothing(engine, settings, policy):
    settings.DURABLE = {"RUN_INLINE": False, "ON_NONDETERMINISM": policy}
    flow = flow_of("first", "second")
    lost, ended = flow.options(id="lost").start(), flow.options(id="ended").start()
    engine.run_until_quiet()
    unclosed(ended)
    unclosed(lost)
    HistoryEvent.objects.filter(execution_id=lost.instance.execution_id, seq__gt=2).delete()
    Instance.objects.filter(pk="lost").update(head=2)

    @workflow.defn(name="misfit")
    async def changed() -> None:
        await workflow.activity_by_name("first")()
        await workflow.wait_signal("go")

    changed.options(id="misfit").start()
    engine.run_until_quiet()
    registry.unregister_workflow("misfit", 0)

    @workflow.defn(name="misfit")
    async def changed_again() -> None:
        await workflow.wait_signal("go")

    before, around = everything(), rows()
    would = {report.instance_id: report.outcome for report in client.recover(dry_run=True)}
    assert (everything(), rows()) == (before, around)
    did = {report.instance_id: report.outcome for report in client.recover()}

    assert (would["lost"], would["ended"]) == (did["lost"], did["ended"])
    assert type(would["misfit"]) is type(did["misfit"])
    assert rows() != around


# --- at the start of a worker


def test_worker_that_starts_recovers_what_nothing_would_move(engine, settings, acts):
    settings.DURABLE = {"RUN_INLINE": False}
    handle = flow_of("first", then="go").start()
    engine.advance_due()
    ActivityTask.objects.all().delete()

    recovering.at_start()

    handle.signal("go", 1)
    assert engine.result(handle) == ["first", 1]


def test_worker_that_starts_reads_no_history_of_what_is_well(engine, settings, waiting, family, time):
    @workflow.defn(timeout=1000)
    async def sleeping() -> None:
        await asyncio.sleep(100)

    sleeping.start()
    settings.DURABLE = {"RUN_INLINE": False}
    flow_of("first").start()
    engine.advance_due()

    with cost() as counted:
        recovering.at_start()

    assert len(counted.statements) == 3
    assert not [sql for sql in counted.statements if '"data"' in sql]


def test_suspects_are_those_that_nothing_moves_and_that_lack_an_answer_or_have_an_end(engine, settings, family):
    settings.DURABLE = {"RUN_INLINE": False}
    flow = flow_of("first", then="go")
    closed = flow.options(id="closed").start()
    closed.signal("go")
    engine.run_until_quiet()
    kept, lost = (flow.options(id=instance_id).start() for instance_id in ("kept", "lost"))
    engine.advance_due()
    ActivityTask.objects.filter(execution__instance=lost.id).delete()
    Instance.objects.filter(pk="closed").update(status="running", closed_at=None)

    assert set(suspects.find(1000)) == {"lost", "closed"}
    assert list(suspects.find(0)) == []
    assert kept.status == "running"


def test_time_limit_moves_nothing_by_itself(engine, settings):
    """Its row waits for as long as the instance runs, so it must not hide that all else is lost."""
    settings.DURABLE = {"RUN_INLINE": False}
    flow_of("first").options(id="limited", timeout=1000).start()
    engine.advance_due()
    ActivityTask.objects.all().delete()

    assert list(suspects.find(1000)) == ["limited"]


def test_suspects_are_looked_for_among_the_newest_only_page_by_page(engine, settings, monkeypatch):
    monkeypatch.setattr(suspects, "_PAGE", 2)
    settings.DURABLE = {"RUN_INLINE": False}
    flow = flow_of("first")
    for number in range(5):
        flow.options(id=f"f-{number}").start()
    engine.advance_due()
    ActivityTask.objects.all().delete()

    assert sorted(suspects.find(100)) == ["f-0", "f-1", "f-2", "f-3", "f-4"]
    assert sorted(suspects.find(3)) == ["f-2", "f-3", "f-4"]


def test_instances_that_cannot_be_recovered_do_not_keep_others_from_it_at_every_start(engine, settings, monkeypatch):
    monkeypatch.setattr(recovering, "_RECOVERED", 2)
    settings.DURABLE = {"RUN_INLINE": False}
    flow = flow_of("first")
    good, *bad = [flow.options(id=name).start() for name in ("good", "bad-1", "bad-2", "bad-3")]
    engine.advance_due()
    ActivityTask.objects.all().delete()
    executions = [handle.instance.execution_id for handle in bad]
    HistoryEvent.objects.filter(execution_id__in=executions, seq=1).update(data={"name": 5})

    for _ in range(100):  # each draws two of four
        recovering.at_start()
        if ActivityTask.objects.exists():
            break

    assert engine.result(good) == ["first"]


def test_bad_instance_does_not_stop_a_worker(engine, settings, caplog):
    settings.DURABLE = {"RUN_INLINE": False}
    flow = flow_of("first")
    bad, good = flow.options(id="bad").start(), flow.options(id="good").start()
    engine.advance_due()
    ActivityTask.objects.all().delete()
    HistoryEvent.objects.filter(execution_id=bad.instance.execution_id, seq=1).update(data={"name": 5})

    recovering.at_start()

    assert "bad was left behind" in caplog.text
    assert engine.result(good) == ["first"]
    assert bad.status == "running"


# --- the audit


def audited() -> list[tuple[Any, ...]]:
    """Return what the audit has of recoveries, the oldest first."""
    fields = ("instance_id", "actor_name", "reason", "dry_run", "outcome", "arguments")
    return list(Operation.objects.filter(verb="recover").order_by("pk").values_list(*fields))


def test_audit_has_the_call_and_each_instance_that_was_changed(engine, settings, waiting):
    settings.DURABLE = {"RUN_INLINE": False}
    flow = flow_of("first", then="go")
    flow.options(id="lost").start()
    ended = flow.options(id="ended").start()
    ended.signal("go")
    engine.advance_due()
    ActivityTask.objects.filter(execution__instance="lost").delete()
    engine.run_until_quiet()
    unclosed(ended)
    told = {"reason": "half a backup", "actor": "ann"}

    client.recover(dry_run=True, workflow="flow", **told)
    client.recover(limit=7, **told)
    client.recover()

    assert audited() == [
        ("", "ann", "half a backup", True, "done", {"workflow": "flow"}),
        ("", "ann", "half a backup", False, "done", {"limit": 7}),
        ("lost", "ann", "half a backup", False, "done", {"outcome": "resumed", "redispatched": [0]}),
        ("ended", "ann", "half a backup", False, "done", {"outcome": "terminal", "kind": "ExecutionCompleted"}),
        ("", "", "", False, "done", {}),
    ]


@pytest.mark.parametrize("policy", ["stall", "fail"])
def test_audit_has_the_mismatch(engine, waiting, settings, policy):
    settings.DURABLE = {"ON_NONDETERMINISM": policy}
    misfit()

    client.recover()

    facts = {"outcome": {"stall": "stalled", "fail": "failed"}[policy], "error": "NondeterminismError"}
    assert [row[-1] for row in audited()] == [{}, facts]


def test_row_of_what_could_not_be_changed_is_not_stored(engine, settings, monkeypatch):
    settings.DURABLE = {"RUN_INLINE": False}
    flow_of("first").options(id="lost").start()
    engine.advance_due()
    ActivityTask.objects.all().delete()
    monkeypatch.setattr(recovering.dispatch, "advance_on_commit", lambda *_: 1 / 0)

    assert isinstance(only(client.recover()).error, ZeroDivisionError)
    assert [row[0] for row in audited()] == [""]


def test_reason_that_cannot_be_stored_is_refused_and_recorded(engine, waiting):
    with pytest.raises(InvalidInput, match="reason"):
        client.recover(reason="x" * 1001)

    ((instance_id, _, _, _, outcome, _),) = audited()
    assert (instance_id, outcome) == ("", "refused")


def test_audit_has_what_a_worker_recovers_when_it_starts(engine, settings, waiting):
    settings.DURABLE = {"RUN_INLINE": False}
    flow_of("first").options(id="lost").start()
    engine.advance_due()
    ActivityTask.objects.all().delete()

    recovering.at_start()

    facts = {"outcome": "resumed", "redispatched": [0]}
    assert audited() == [("lost", "", "a worker started", False, "done", facts)]


def test_audit_of_a_batch_has_one_row_for_each_instance(engine, settings):
    settings.DURABLE = {"RUN_INLINE": False}
    flow_of("first").options(id="lost").start()
    engine.advance_due()
    ActivityTask.objects.all().delete()

    verbs.recover("lost", reason="why not", actor="ann")

    assert [row[:3] for row in audited()] == [("lost", "ann", "why not")]


# --- the command


def told(*args: str) -> tuple[int, str, str]:
    out, err, code, error = io.StringIO(), io.StringIO(), 0, ""
    try:
        call_command("durable_recover", *args, stdout=out, stderr=err, no_color=True)
    except CommandError as raised:
        code, error = raised.returncode, str(raised)
    return code, out.getvalue(), error or err.getvalue()


def test_command_prints_a_table(engine, settings, waiting):
    settings.DURABLE = {"RUN_INLINE": False}
    flow_of("first", then="go").options(id="lost").start()
    engine.advance_due()
    ActivityTask.objects.all().delete()

    code, out, said = told()

    assert (code, said) == (0, "2 looked at, 0 cannot go on\n")
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["w", "resumed", "3"],
        ["lost", "resumed", "2", "ActivityScheduled(first)", "ActivityScheduled(first)"],
    ]


def test_command_exits_with_1_if_one_cannot_go_on(engine, waiting):
    misfit()

    code, out, said = told("--dry-run")
    assert (code, said, waiting.status) == (1, "1 looked at, 1 cannot go on", "running")
    assert "NondeterminismError: event 2: history has ActivityScheduled(first)" in out
    assert __file__ in out

    assert told()[0] == 1
    assert waiting.status == "stalled"
    assert told() == (0, "", "0 looked at, 0 cannot go on\n")


def test_command_prints_json(engine, waiting):
    code, out, _ = told("--json", "--workflow", "flow", "--limit", "1")
    assert code == 0
    assert json.loads(out) == [
        {"id": "w", "outcome": "resumed", "index": 1, "command": None, "head": 3, "redispatched": []}
    ]

    registry.unregister_workflow("flow", 0)
    (report,) = json.loads(told("--json")[1])
    assert (report["outcome"], report["error"], report["failure_recorded"]) == ("failed", "UnknownWorkflow", False)


def test_command_says_who_and_why(engine, waiting):
    assert told("--actor", "ann", "--reason", "half a backup", "--dry-run")[0] == 0

    assert audited() == [("", "ann", "half a backup", True, "done", {})]


def test_command_that_is_interrupted_tells_what_it_did(engine, waiting, monkeypatch):
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(recovering, "catch_up", interrupted)

    assert told()[0] == 130
