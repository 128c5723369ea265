"""A payload that cannot be decoded is the trouble of its own instance, and of no other."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.utils import timezone

from durable import UndecodableEvent, UndecodablePayload, activity, client, workflow
from durable.codecs import PlainCodec
from durable.core.retry import RetryPolicy
from durable.engine import lost, sweep, together
from durable.engine.advance import advance
from durable.models import ActivityTask, HistoryEvent, Instance
from durable.operations import recovered
from durable.operations.recover import at_start
from durable.store import instances
from tests.driving import item, kinds

SECRET = "secret"


class LostKey(PlainCodec):
    """A codec that lost the key of some texts."""

    lost = False
    away = False

    def decode(self, text: str) -> str:
        if self.away:
            raise OperationalError("the key server is away")
        if self.lost and SECRET in text:
            raise ValueError("no key opens this")
        return text


@pytest.fixture
def codec(settings, monkeypatch):
    """A codec that cannot decode what holds the word ``secret`` once it is told to lose the key."""
    settings.DURABLE = {"CODEC": "tests.test_undecodable.LostKey", "STALL_RETRY": 30}
    monkeypatch.setattr(LostKey, "lost", False)
    monkeypatch.setattr(LostKey, "away", False)
    return LostKey


@pytest.fixture
def handed_out(settings, codec):
    settings.DURABLE = {**settings.DURABLE, "RUN_INLINE": False}
    return codec


@pytest.fixture
def flow(fresh):
    @activity.defn(retry=RetryPolicy(max_attempts=2, initial_interval=1))
    def act(value: Any = None) -> str:
        return "acted"

    @workflow.defn
    async def flow(value: Any = None) -> str:
        return await act(value)

    return flow


def start(flow: Any, id: str, value: Any = None) -> client.Handle:
    handle: client.Handle = flow.options(id=id).start(value)
    return handle


def tasks_of(*handles: client.Handle) -> list[ActivityTask]:
    """Give each instance its first turn, which hands out its task."""
    for handle in handles:
        advance(handle.id)
    return list(ActivityTask.objects.order_by("id"))


def test_task_that_cannot_be_read_waits_and_the_next_ones_of_its_queue_run(engine, handed_out, flow, time):
    bad, good = start(flow, "bad", SECRET), start(flow, "good")
    tasks_of(bad, good)

    handed_out.lost = True
    engine.run_until_quiet()

    assert (bad.status, good.status) == ("running", "completed")
    (told,) = client.why(bad.id).tasks
    assert (told.state, told.attempt, told.last_failure.type) == ("ready", 1, "UndecodablePayload")
    assert "ActivityTask.input cannot be decoded: ValueError: no key opens this" in told.last_failure.message
    assert "UndecodablePayload" in client.why(bad.id).verdict

    handed_out.lost = False
    time.forward(6)
    engine.run_until_quiet()
    assert bad.result() == "acted"


@pytest.mark.parametrize("limit", [None, 3600])
def test_task_that_cannot_be_read_has_a_time_to_begin_and_none_to_end(engine, handed_out, fresh, limit):
    @activity.defn(start_to_close=60, schedule_to_start=limit)
    def act(value: str) -> None: ...

    @workflow.defn
    async def flow() -> None:
        await act(SECRET)

    advance(flow.options(id="bad").start().id)
    handed_out.lost = True

    engine.run_until_quiet()

    task = ActivityTask.objects.defer("input").get()
    until = task.expires_at and round((task.expires_at - task.created_at).total_seconds())
    assert (task.state, until) == ("ready", limit)


def test_headers_that_cannot_be_read_keep_their_task_waiting(engine, handed_out, flow, time):
    bad, good = start(flow, "bad"), start(flow, "good")
    tasks_of(bad, good)
    Instance.objects.filter(pk="bad").update(headers={"token": SECRET})

    handed_out.lost = True
    engine.run_until_quiet()

    assert (bad.status, good.status) == ("running", "completed")
    (told,) = client.why(bad.id).tasks
    assert "Instance.headers cannot be decoded" in told.last_failure.message


@pytest.mark.parametrize("column", ["input", "custom_status"])
def test_what_a_task_does_not_need_need_not_be_read(engine, handed_out, flow, column):
    bad = start(flow, "bad")
    tasks_of(bad)
    Instance.objects.filter(pk="bad").update(**{column: SECRET})

    handed_out.lost = True
    engine.perform_due()

    assert not ActivityTask.objects.exists(), "it ran"


def test_last_failure_that_cannot_be_read_does_not_keep_a_task_from_running(engine, handed_out, flow):
    bad = start(flow, "bad")
    tasks_of(bad)
    ActivityTask.objects.update(last_failure={"type": SECRET, "message": ""})

    handed_out.lost = True
    assert client.why(bad.id).tasks[0].last_failure.type == "UndecodablePayload"
    engine.run_until_quiet()

    assert bad.result() == "acted"


def test_tasks_of_dead_workers_are_given_to_others_whoever_cannot_be_read(engine, handed_out, flow, time):
    handles = [start(flow, "bad", SECRET), start(flow, "good")]
    tasks_of(*handles)
    gone = timezone.now() - timedelta(days=1)
    ActivityTask.objects.update(state="running", worker="dead", lease_until=gone, started_at=gone)
    Instance.objects.filter(pk="bad").update(custom_status=SECRET)

    handed_out.lost = True
    sweep.sweep()

    assert list(ActivityTask.objects.values_list("state", "attempt")) == [("ready", 2)] * 2


def test_tasks_that_run_out_of_time_end_whoever_cannot_be_read(engine, handed_out, flow):
    tasks_of(start(flow, "bad", SECRET), start(flow, "good"))
    ActivityTask.objects.update(expires_at=timezone.now() - timedelta(days=1))

    handed_out.lost = True
    sweep.sweep()

    assert not ActivityTask.objects.exists()
    handed_out.lost = False
    for handle in (client.get("bad"), client.get("good")):
        engine.run_until_quiet()
        assert "schedule_to_start timeout" in str(item(handle, "ActivityFailed").data)


# --- in place


@pytest.fixture
def leased(flow, codec):
    """Two instances whose activities a worker ran in place that is dead now."""
    handles = [start(flow, "bad", SECRET), start(flow, "good")]
    for handle in handles:
        with stopped_in_place():
            advance(handle.id)
    gone = timezone.now() - timedelta(days=1)
    assert Instance.objects.filter(lease__isnull=False).update(lease_worker="dead", lease_until=gone) == 2
    return handles


@contextmanager
def stopped_in_place():
    """Have this process die when it is about to run an activity in place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("durable.engine.in_place.run", lambda *_: None)
        yield


def test_lease_of_what_cannot_be_read_stalls_its_instance_and_the_others_are_handed_over(engine, leased, codec, time):
    bad, good = leased

    codec.lost = True
    sweep.sweep()

    assert list(ActivityTask.objects.values_list("execution__instance_id", flat=True)) == [good.id]
    stalled = instances.get(bad.id, payloads=False)
    assert (stalled.status, stalled.stall["reason"]) == ("stalled", "undecodable event")
    assert "no key opens this" in stalled.stall["message"]
    assert client.why(bad.id).leases[0].name == "act"

    codec.lost = False
    time.forward(31)
    engine.run_until_quiet()
    time.forward(31)
    engine.run_until_quiet()
    time.forward(2)
    engine.run_until_quiet()
    assert (bad.status, good.status) == ("completed", "completed")
    assert item(bad, "ActivityCompleted").data["attempts"] == 2, "the lost attempt counts"


@pytest.mark.parametrize("force", [False, True])
def test_instance_whose_activity_in_place_cannot_be_read_can_be_terminated(engine, leased, codec, force):
    bad, _ = leased
    codec.lost = True

    (client.purge if force else client.terminate)(bad.id, **({"force": True} if force else {}))

    assert not ActivityTask.objects.filter(execution__instance=bad.id).exists()
    assert not Instance.objects.filter(pk=bad.id, lease__isnull=False).exists()
    if force:
        assert not Instance.objects.filter(pk=bad.id).exists()
    else:
        assert bad.status == "terminated"
        ends = HistoryEvent.objects.filter(execution__instance=bad.id, kind="ExecutionTerminated")
        assert ends.count() == 1


def test_stall_over_a_lease_is_not_looked_at_hot(engine, leased, codec, time):
    codec.lost = True
    sweep.sweep()

    assert instances.orphans(10) == []
    time.forward(31)
    assert [instance.pk for instance in instances.orphans(10)] == ["bad"]


def test_trouble_with_one_task_does_not_keep_the_others_waiting(engine, handed_out, flow, caplog):
    tasks_of(start(flow, "bad"), start(flow, "good"))
    gone = timezone.now() - timedelta(days=1)
    ActivityTask.objects.update(state="running", worker="dead", lease_until=gone, started_at=gone)
    ActivityTask.objects.filter(execution__instance="bad").update(options={"retry": 5})

    lost.find_dead_tasks()

    attempts = dict(ActivityTask.objects.values_list("execution__instance_id", "attempt"))
    assert attempts == {"bad": 1, "good": 2}
    assert "could not take care of act (0)" in caplog.text


def test_trouble_with_one_look_does_not_keep_the_others_from_being_taken(engine, handed_out, flow, monkeypatch, caplog):
    def break_down() -> None:
        raise ValueError("broken")

    tasks_of(start(flow, "good"))
    ActivityTask.objects.update(dispatched_at=None)
    monkeypatch.setattr(sweep, "LOOKS", (break_down, *sweep.LOOKS))

    assert sweep.sweep() == 1
    assert "could not break_down" in caplog.text


# --- turns


def test_instance_whose_input_cannot_be_read_is_stalled_and_others_go_on(engine, codec, flow, time):
    bad, good = start(flow, "bad", SECRET), start(flow, "good")

    codec.lost = True
    engine.run_until_quiet()

    stalled = instances.get(bad.id, payloads=False)
    assert (stalled.status, stalled.stall["reason"]) == ("stalled", "undecodable payload")
    assert (stalled.stall["error"], stalled.stall["where"]) == ("UndecodablePayload", "Instance.input")
    assert good.status == "completed"
    with pytest.raises(UndecodablePayload):
        assert bad.instance

    codec.lost = False
    time.forward(31)
    engine.run_until_quiet()
    assert bad.result() == "acted"


def test_inbox_row_that_cannot_be_read_stalls_its_instance(engine, codec, time):
    @workflow.defn
    async def waiting() -> str:
        return await workflow.wait_signal("go")

    handle = waiting.start()
    engine.run_until_quiet()
    handle.signal("go", SECRET)

    codec.lost = True
    engine.run_until_quiet()
    assert (handle.status, handle.instance.stall["where"]) == ("stalled", "InboxEvent.data (SignalReceived)")

    codec.lost = False
    time.forward(31)
    engine.run_until_quiet()
    assert handle.result() == SECRET


def test_row_that_cannot_be_read_keeps_none_of_those_that_are_due_with_it_waiting(engine, codec, fresh):
    @workflow.defn
    async def waiting() -> str:
        return await workflow.wait_signal("go")

    handles = [waiting.start() for _ in range(together._FEW + 2)]
    engine.run_until_quiet()
    for handle in handles:
        handle.signal("go", "plain")
    handles[3].signal("go", SECRET)

    codec.lost = True
    together.advance_all([handle.id for handle in handles])

    states = [handle.status for handle in handles]
    assert states.pop(3) == "stalled"
    assert set(states) == {"completed"}


def test_database_that_a_codec_has_its_keys_in_may_be_away(engine, codec, flow):
    handle = start(flow, "bad")

    codec.away = True
    with pytest.raises(OperationalError):
        advance(handle.id)

    codec.away = False
    engine.run_until_quiet()
    assert handle.result() == "acted"


@pytest.mark.parametrize("verb", [client.terminate, client.suspend, client.cancel])
def test_instance_that_cannot_be_read_can_be_stopped(engine, codec, flow, verb):
    bad = start(flow, "bad", SECRET)
    codec.lost = True
    engine.run_until_quiet()

    verb(bad.id)

    if verb is client.terminate:
        assert bad.status == "terminated"
    codec.lost = False
    assert bad.instance.input


# --- recovery and retention


def test_recovery_tells_of_what_cannot_be_read_and_goes_on(engine, codec, time):
    @workflow.defn
    async def waiting(value: Any = None) -> None:
        await workflow.wait_signal(str(value))

    bad, good = start(waiting, "bad", SECRET), start(waiting, "good")
    engine.run_until_quiet()

    codec.lost = True
    of_bad, of_good = client.recover()

    assert isinstance(of_bad.outcome, recovered.Failed)
    assert isinstance(of_bad.outcome.error, UndecodableEvent)
    assert isinstance(of_good.outcome, recovered.Resumed)
    assert (bad.status, good.status) == ("running", "running")
    at_start()  # raises nothing


def test_recovery_needs_no_payload_that_the_history_has(engine, codec, flow):
    handle = start(flow, "odd")
    with stopped_in_place():
        advance(handle.id)
    Instance.objects.update(input=SECRET, **instances.NO_LEASE)

    codec.lost = True
    (report,) = client.recover()

    assert [step.name for step in report.outcome.redispatched] == ["act"]


def test_what_cannot_be_read_is_purged_when_it_is_old(engine, codec, flow, settings):
    for name in ("bad", "good"):
        start(flow, name, SECRET)
    engine.run_until_quiet()
    Instance.objects.update(closed_at=timezone.now() - timedelta(days=2), failure={"message": SECRET})
    settings.DURABLE = {**settings.DURABLE, "RETENTION": {"completed": 86_400}}

    codec.lost = True
    sweep.sweep()

    assert not Instance.objects.exists()


def test_lists_leave_out_what_cannot_be_read(engine, codec, flow):
    @workflow.defn
    async def shown(value: str) -> None:
        workflow.set_status(value)
        await workflow.wait_signal("go")

    for name, value in (("bad", SECRET), ("good", "well")):
        start(shown, name, value)
    engine.run_until_quiet()
    now = timezone.now()
    for name, word in (("bad", SECRET), ("good", "down")):
        failure = {"type": "ValueError", "message": word}
        Instance.objects.filter(pk=name).update(status="failed", failed_at=now, fingerprint=name, failure=failure)

    codec.lost = True
    out = StringIO()
    call_command("durable_list", "--json", stdout=out, stderr=StringIO())
    groups = client.failure_groups()

    listed = {row["id"]: row["custom_status"] for row in json.loads(out.getvalue())}
    assert listed == {"bad": None, "good": "well"}
    assert {group.fingerprint: group.message for group in groups} == {"bad": "", "good": "down"}


def test_damaged_json_is_told_of(engine, codec, flow):
    handle = start(flow, "bad")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE durable_instance SET input = %s", ['{"args": ['])

    with pytest.raises(UndecodablePayload, match=r"Instance\.input cannot be decoded: Input data was truncated"):
        assert handle.instance
    assert kinds(handle) == []
