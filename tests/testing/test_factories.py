"""Rows that are such as the engine leaves, without running any code."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from durable import RetryPolicy, activity, client, workflow
from durable.core.errors import VersionNotAvailable, WorkflowCanceled, WorkflowFailed, WorkflowTerminated
from durable.core.replay import replay
from durable.models import ActivityTask, Execution, HistoryEvent, InboxEvent, Instance, Status
from durable.store import clock, history
from durable.testing import history_of
from durable.testing.factories import ExecutionFactory, InstanceFactory
from tests.driving import kinds, leftovers

BEGUN = datetime(2025, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _fresh(db, fresh):
    pass


def consistent():
    """Check what always holds of the rows."""
    for instance in Instance.objects.all():
        for execution in instance.executions.all():
            seqs = list(execution.history.order_by("seq").values_list("seq", "recorded_at"))
            assert [seq for seq, _ in seqs] == list(range(1, len(seqs) + 1))
            assert [at for _, at in seqs] == sorted(at for _, at in seqs)
            assert execution.history.filter(kind__in=["ExecutionCompleted", "ExecutionFailed"]).count() <= 1
            assert (execution.closed_at is None) == (execution.status == "running")
        current = Execution.objects.get(pk=instance.execution_id)
        assert current.instance_id == instance.pk
        assert instance.head == current.history.count()
        assert (instance.closed_at is None) == (current.closed_at is None) == (instance.status not in ENDS)
        assert instance.closed_at is None or not current.inbox.exists()


ENDS = {
    "completed": "ExecutionCompleted",
    "failed": "ExecutionFailed",
    "canceled": "ExecutionCanceled",
    "terminated": "ExecutionTerminated",
}


@pytest.mark.parametrize("status", Status.values)
def test_every_status_has_the_rows_that_belong_to_it(status):
    instance = InstanceFactory(status=status)

    consistent()
    assert instance.status == status
    assert instance.execution.status == (status if status in ENDS else "running")
    events = list(instance.execution.history.values_list("kind", flat=True))
    assert events[-1:] == {"suspended": ["ExecutionSuspended"], "pending": []}.get(
        status, [ENDS.get(status, "ExecutionStarted")]
    )
    assert instance.closed_at == (HistoryEvent.objects.last().recorded_at if status in ENDS else None)
    assert (instance.started_at is None) == (status == "pending")
    assert (instance.stall is None) == (instance.retry_at is None) == (status != "stalled")


def test_clients_see_them_as_the_engines():
    done = InstanceFactory(status="completed", result={"total": Decimal("9.99")})
    failed = InstanceFactory(status="failed", error=ValueError("no"))

    assert client.get(done.pk).result(timeout=0) == {"total": "9.99"}
    with pytest.raises(WorkflowFailed, match="no") as caught:
        client.get(failed.pk).result(timeout=0)
    assert caught.value.failure.type == "ValueError"
    for status, error in (("canceled", WorkflowCanceled), ("terminated", WorkflowTerminated)):
        with pytest.raises(error):
            client.get(InstanceFactory(status=status).pk).result(timeout=0)


def test_the_plain_fields_are_what_was_given():
    instance = InstanceFactory(
        id="order-1", name="order2", args=(1,), kwargs={"rush": True}, queue="slow", tags={"customer": "Ada"},
        custom_status="packing", progress={"done": 1, "total": 2, "note": ""},
    )  # fmt: skip

    assert (instance.pk, instance.name, instance.version, instance.queue) == ("order-1", "order", 2, "slow")
    assert instance.input == {"args": [1], "kwargs": {"rush": True}}
    assert (instance.tags, instance.custom_status) == ({"customer": "Ada"}, "packing")
    assert instance.progress == {"done": 1, "total": 2, "note": ""}
    started = client.get("order-1").history()[0].data
    assert (started["input"], started["queue"], started["version"]) == (instance.input, "slow", 2)
    assert started["tags"] == {"customer": "Ada"}


def test_ids_differ():
    assert len({instance.pk for instance in InstanceFactory.create_batch(3)}) == 3


def test_nothing_is_built_without_a_database():
    with pytest.raises(TypeError, match=r"create\(\)"):
        InstanceFactory.build()


# --- histories


def test_a_history_is_told_in_a_few_words():
    told = (
        history_of("order", 42)
        .activity("reserve", 42)
        .signal("approve", True)
        .activity("charge", 42, result="receipt", attempts=2)
        .activity("ship", 42, error=ValueError("no"), attempts=3)
        .completed("done")
    )

    instance = InstanceFactory(id="it", history=told)

    consistent()
    assert kinds(client.get("it")) == [
        "ExecutionStarted",
        *("ActivityScheduled", "ActivityCompleted", "SignalReceived"),
        *("ActivityScheduled", "ActivityCompleted", "ActivityScheduled", "ActivityFailed"),
        "ExecutionCompleted",
    ]
    answers = [(i.event_id, i.name, i.data.get("attempts")) for i in client.get("it").history() if "attempts" in i.data]
    assert answers == [(0, "reserve", 1), (1, "charge", 2), (2, "ship", 3)]
    assert (instance.status, instance.result, instance.input) == ("completed", "done", {"args": [42], "kwargs": {}})


def test_a_history_can_be_replayed_by_the_code_that_it_tells_of():
    @activity.defn
    def charge(number: int) -> str: ...

    @workflow.defn
    async def order(number: int) -> str:
        await workflow.wait_signal("go")
        receipt = await charge(number)
        await workflow.wait_signal("on", timeout=60)
        return receipt

    told = history_of("order", 42).signal("go").activity("charge", 42, result="r").timer(60, waiting=True)
    instance = InstanceFactory(history=told)

    decision = replay(order, list(history.read(instance.execution_id)))

    assert (decision.commands, decision.outcome) == ((), None)
    assert [asked.event_id for asked in decision.open] == [1]


def test_times_are_a_step_apart_and_end_now():
    instance = InstanceFactory(history=history_of("order").activity("charge").completed(), seconds=10)

    assert timedelta(seconds=30) <= clock.now() - instance.created_at < timedelta(seconds=40)
    assert instance.closed_at - instance.started_at == timedelta(seconds=30)


def test_timers_fire_in_their_time():
    told = history_of("order").timer(3600).activity("charge").completed()

    instance = InstanceFactory(history=told, created_at=BEGUN)

    at = {item.kind: item.recorded_at for item in client.get(instance.pk).history()}
    assert instance.created_at == instance.started_at == at["ExecutionStarted"] == BEGUN
    assert at["TimerFired"] == BEGUN + timedelta(seconds=3601)
    assert instance.closed_at == at["ExecutionCompleted"] == BEGUN + timedelta(seconds=3604)


def test_what_is_still_to_come_waits_as_in_the_engine():
    told = (
        history_of("order")
        .activity("charge", 42, waiting=True, attempts=2, error="no answer")
        .timer(3600, waiting=True)
    )

    instance = InstanceFactory(history=told)

    task = ActivityTask.objects.get()
    assert (task.name, task.attempt, task.state, task.input["args"]) == ("charge", 2, "ready", [42])
    assert task.last_failure["message"] == "no answer"
    timer = InboxEvent.objects.get()
    assert (timer.kind, timer.event_id) == ("TimerFired", 1)
    assert timedelta(minutes=59) < timer.visible_at - clock.now() < timedelta(minutes=61)
    consistent()
    InstanceFactory(history=history_of("order").activity("charge", waiting=True), status="suspended")
    assert ActivityTask.objects.last().state == "held"
    assert instance.status == "running"


def test_a_history_is_not_changed_by_the_factory():
    told = history_of("order", 1)

    InstanceFactory(history=told, status="completed")
    InstanceFactory(history=told, status="failed")

    consistent()
    assert told.end is None


def test_contradictions_are_refused():
    with pytest.raises(ValueError, match="nothing comes after ExecutionCompleted"):
        history_of("order").completed().signal("late")
    with pytest.raises(ValueError, match="cannot be failed"):
        InstanceFactory(history=history_of("order").completed(), status="failed")
    with pytest.raises(ValueError, match="ExecutionFactory"):
        InstanceFactory(history=history_of("order").continued())
    assert not Instance.objects.exists()


def test_a_stalled_instance_shows_its_error():
    plain = InstanceFactory(status="stalled", history=history_of("order").activity("charge"))
    other = InstanceFactory(status="stalled", stall=VersionNotAvailable("order", 3, registered=[1]))

    assert plain.stall["reason"] == "nondeterminism"
    assert (plain.stall["seq"], plain.stall["expected"]) == (3, "ActivityCompleted(0)")
    assert other.stall["reason"] == "version not available"
    assert "order" in other.stall["message"]
    assert plain.retry_at > clock.now()


# --- children


def test_children_are_instances_that_fit_their_parents_history():
    told = (
        history_of("order", 1)
        .child("ship2", 1, id="shipping-1", result="parcel-1")
        .child("bill", 1, error="no")
        .child("thank", waiting=True)
        .child("pack", history=history_of("pack").activity("wrap").canceled())
    )

    parent = InstanceFactory(id="order-1", history=told)

    consistent()
    children = {child.pk: child for child in parent.children.all()}
    assert {pk: (child.name, child.version, child.status) for pk, child in children.items()} == {
        "shipping-1": ("ship", 2, "completed"),
        "order-1/1": ("bill", 0, "failed"),
        "order-1/2": ("thank", 0, "running"),
        "order-1/3": ("pack", 0, "canceled"),
    }
    assert {child.parent_execution_id for child in children.values()} == {parent.execution_id}
    assert [children[pk].parent_event_id for pk in sorted(children)] == [1, 2, 3, 0]
    assert children["shipping-1"].result == "parcel-1"
    asked = {i.event_id: i.data["instance_id"] for i in client.get("order-1").history() if i.kind == "ChildScheduled"}
    assert asked[1] == "order-1/1"
    started = client.get("shipping-1").history()[0].data
    assert started["parent"]["instance_id"] == "order-1"


# --- executions


def test_an_execution_continues_an_open_instance():
    instance = InstanceFactory(
        id="it", args=(1,), history=history_of("report", 1).timer(60, waiting=True).activity("look", waiting=True)
    )

    execution = ExecutionFactory(instance=instance, args=(2,), status="completed", result="done")

    consistent()
    first = instance.executions.get(number=1)
    assert (first.status, first.history.last().kind) == ("continued", "ExecutionContinued")
    assert first.history.last().data == {"input": {"args": [2], "kwargs": {}}}
    assert (execution.number, execution.origin, execution.source) == (2, "continued", first)
    assert execution.created_at >= first.closed_at
    assert execution.history.first().data["generation"] == 1
    assert (instance.status, instance.result, instance.execution) == ("completed", "done", execution)
    assert leftovers() == []


def test_an_execution_tries_a_closed_instance_again():
    instance = InstanceFactory(status="failed", args=(1,))

    ExecutionFactory(instance=instance, origin="retry", history=None)

    consistent()
    assert (instance.status, instance.failure, instance.closed_at) == ("running", None, None)
    assert client.get(instance.pk).history()[0].data["input"] == {"args": [1], "kwargs": {}}
    assert [e.status for e in instance.executions.all()] == ["failed", "running"]


def test_an_execution_has_an_instance_of_its_own_if_none_is_given():
    execution = ExecutionFactory()

    consistent()
    assert execution.number == execution.instance.executions.count() == 2


@pytest.mark.parametrize(
    ("status", "origin"), [("running", "retry"), ("completed", "continued"), ("pending", "continued")]
)
def test_an_execution_that_cannot_follow_is_refused(status, origin):
    with pytest.raises(ValueError, match=f"is {status}.*{origin}"):
        ExecutionFactory(instance=InstanceFactory(status=status), origin=origin)


def test_timeouts_and_delays_wait_in_the_inbox():
    InstanceFactory(options={"timeout": 60.0, "retry": RetryPolicy().to_json()})
    InstanceFactory(status="pending", options={"delay": 60.0})

    assert sorted(InboxEvent.objects.values_list("kind", flat=True)) == ["ExecutionStarted", "ExecutionTimeout"]

    InboxEvent.objects.all().delete()
    InstanceFactory(status="completed", options={"timeout": 60.0})
    assert leftovers() == []
