"""What a turn writes: both ways to write it keep the same conditions and store the same."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction

from durable import workflow
from durable.core import events as ev
from durable.core.errors import LimitExceeded
from durable.models import Execution, HistoryEvent, InboxEvent, Instance, Status
from durable.store import clock, history, inbox, instances, turns
from tests.driving import Together, cost

LEASE = uuid.uuid4()
DATA = {"text": 'quote " backslash \\ nul \0 line \n é 漢 😀', "b": 1, "a": [None, True, 1.5]}
EVENTS = [
    ev.ActivityCompleted(event_id=0, result=DATA),
    ev.ActivityScheduled(event_id=1, name='a "name"', input={"args": [DATA]}),
    ev.SignalReceived(name="no event id", payload=None),
]


@pytest.fixture(params=["one statement", "two statements"])
def way(request, monkeypatch):
    """Both ways, where the database has both."""
    if request.param == "two statements":
        monkeypatch.setattr(turns, "in_one_statement", lambda: False)
    elif not turns.in_one_statement():
        pytest.skip("this database takes two statements")
    return request.param


@pytest.fixture
def instance(committing, way):
    """An instance that has begun, with an activity in place."""

    @workflow.defn
    async def held() -> None:
        await workflow.wait_signal("never")

    handle = held.start()
    committing.run_until_quiet()
    instances.rows().update(lease=LEASE, lease_worker="me", lease_event_id=0, lease_until=clock.now())
    return handle.instance


def write(instance, events=EVENTS, *, lease=LEASE, consumed=(), ends=False, **values):
    records = [history.record(event) for event in events]
    values = {"head": instance.head + len(events), **values}
    with transaction.atomic():
        return turns.write(
            instance, values, records, head=instance.head, at=clock.now(), lease=lease, consumed=consumed, ends=ends
        )


def stored(instance):
    rows = HistoryEvent.objects.filter(execution_id=instance.execution_id, seq__gt=1).order_by("seq")
    return list(rows.values_list("seq", "kind", "event_id", "name", "data"))


@pytest.mark.parametrize("lease", [LEASE, None], ids=["in place", "locked"])
def test_turn_stores_the_row_and_the_events(instance, lease):
    until = clock.now() + timedelta(seconds=5)

    assert write(
        instance,
        lease=lease,
        lease_event_id=None,
        lease_until=until,
        tags={"a": "ä"},
        custom_status=DATA,
        progress=None,
        status=Status.STALLED,
        lease_worker="",
    )

    now = Instance.objects.get(pk=instance.pk)
    assert (now.head, now.lease, now.lease_event_id, now.lease_until) == (4, LEASE, None, until)
    assert (now.tags, now.progress, now.status, now.lease_worker) == ({"a": "ä"}, None, "stalled", "")
    assert now.custom_status == DATA
    assert list(now.custom_status) == list(DATA), "in the order that they were in"
    assert stored(instance) == [
        (2, "ActivityCompleted", 0, "", {"event_id": 0, "result": DATA}),
        (3, "ActivityScheduled", 1, 'a "name"', {"event_id": 1, "name": 'a "name"', "input": {"args": [DATA]}}),
        (4, "SignalReceived", None, "no event id", {"name": "no event id"}),
    ]
    assert list(history.read(instance.execution_id, after=1)) == EVENTS


@pytest.mark.parametrize(
    "moved",
    [
        {"head": 2},
        {"lease": uuid.uuid4()},
        {"lease": None},
        {"status": Status.SUSPENDED},
        {"status": Status.CANCELED},
        {"has_updates": True},
        {"parent_execution_id": uuid.uuid4()},
    ],
    ids=lambda moved: next(iter(moved)),
)
def test_instance_that_moved_is_left_alone(instance, moved):
    instances.rows().update(**moved)
    before = Instance.objects.values().get(pk=instance.pk)

    assert not write(instance, tags={"a": "b"})

    assert Instance.objects.values().get(pk=instance.pk) == before
    assert stored(instance) == []


def test_instance_with_something_due_is_left_alone(instance):
    inbox.insert([inbox.row(instance.execution_id, ev.SignalReceived(name="hello"))])

    assert not write(instance)
    assert stored(instance) == []
    assert write(instance, lease=None), "whoever locked it took what was due"


@pytest.mark.parametrize("moved", [False, True], ids=["as seen", "moved"])
def test_what_is_in_the_history_leaves_the_inbox(instance, moved):
    inbox.insert([inbox.row(instance.execution_id, ev.SignalReceived(name=name)) for name in "abc"])
    *consumed, kept = [pk for pk, _, _ in inbox.due(instance.execution_id, limit=9)]
    if moved:
        instances.rows().update(head=2)

    assert bool(write(instance, lease=None, consumed=consumed)) is not moved

    left = [kept] if not moved else [*consumed, kept]
    assert [pk for pk, _, _ in inbox.due(instance.execution_id, limit=9)] == left


def end(instance, *, lease):
    ended = [ev.ExecutionCompleted(result=1)]
    return write(instance, ended, lease=lease, ends=True, status=Status.COMPLETED, closed_at=clock.now())


@pytest.mark.parametrize("lease", [LEASE, None], ids=["in place", "locked"])
def test_end_closes_the_execution_and_empties_the_inbox(instance, way, lease):
    if way != "one statement":
        pytest.skip("elsewhere an end is written by closing it")
    later = clock.now() + timedelta(hours=1)
    inbox.insert([inbox.row(instance.execution_id, ev.TimerFired(event_id=7), visible_at=later)])

    with cost() as counted:
        assert end(instance, lease=lease)

    assert len(counted.statements) == 1
    execution = Execution.objects.get(pk=instance.execution_id)
    now = Instance.objects.get(pk=instance.pk)
    assert (execution.status, execution.closed_at) == (now.status, now.closed_at) == ("completed", now.closed_at)
    assert not InboxEvent.objects.exists()
    assert [kind for _, kind, *_ in stored(instance)] == ["ExecutionCompleted"]


@pytest.mark.parametrize("lease", [LEASE, None], ids=["in place", "locked"])
@pytest.mark.parametrize("what", ["children", "moved"])
def test_end_of_an_instance_that_has_open_children_or_moved_writes_nothing(instance, way, lease, what):
    if way != "one statement":
        pytest.skip("elsewhere an end is written by closing it")
    later = clock.now() + timedelta(hours=1)
    inbox.insert([inbox.row(instance.execution_id, ev.TimerFired(event_id=7), visible_at=later)])
    if what == "moved":
        instances.rows().update(head=2)
    else:
        child = Instance.objects.get(pk=instance.pk)
        child.pk, child.parent_id, child.parent_execution_id = "child", instance.pk, instance.execution_id
        child.save(force_insert=True)

    assert not end(instance, lease=lease)

    assert Execution.objects.get(pk=instance.execution_id).status == "running"
    assert Instance.objects.get(pk=instance.pk).status == "running"
    assert InboxEvent.objects.count() == 1
    assert stored(instance) == []
    Instance.objects.filter(pk="child").update(status=Status.COMPLETED)
    assert bool(end(instance, lease=lease)) is (what == "children")


def test_turn_without_events_deletes_what_it_dropped(instance):
    inbox.insert([inbox.row(instance.execution_id, ev.TimerFired(event_id=7))])
    consumed = [pk for pk, _, _ in inbox.due(instance.execution_id, limit=9)]

    assert write(instance, [], lease=None, consumed=consumed)

    assert not inbox.has_due(instance.execution_id)


def test_timer_to_come_is_nothing_due(instance):
    due = clock.now() + timedelta(hours=1)
    inbox.insert([inbox.row(instance.execution_id, ev.TimerFired(event_id=0), visible_at=due)])

    assert write(instance)
    assert InboxEvent.objects.count() == 1


def test_locked_turn_needs_its_head(instance):
    instances.rows().update(head=2)

    assert not write(instance, lease=None)
    assert stored(instance) == []


def test_history_that_would_be_too_long_is_refused_before_anything_is_written(instance, settings):
    settings.DURABLE = {"LIMITS": {"history": 3}}

    with pytest.raises(LimitExceeded):
        write(instance)

    assert Instance.objects.get(pk=instance.pk).head == 1
    assert stored(instance) == []


def test_turn_without_events_changes_the_row(instance):
    assert write(instance, [], lease=None, tags={"a": "b"})
    assert Instance.objects.get(pk=instance.pk).tags == {"a": "b"}


@pytest.mark.skipif(
    not connection.features.has_select_for_update, reason="writers wait for each other before they look"
)
def test_of_two_writers_one_wins(instance):
    won = Together().add(lambda: write(instance), times=6).run()

    assert sum(written is not None for written in won) == 1
    assert len(stored(instance)) == len(EVENTS)


def test_of_writers_in_no_transaction_one_wins(instance, way):
    if way != "one statement":
        pytest.skip("two statements need a transaction")
    records = [history.record(event) for event in EVENTS]

    def alone():
        return turns.write(instance, {"head": 4}, records, head=1, at=clock.now(), lease=LEASE)

    assert sum(written is not None for written in Together().add(alone, times=6).run()) == 1
    assert len(stored(instance)) == len(EVENTS)


def test_one_way_is_one_statement_whatever_the_number_of_events(instance, way):
    with cost() as counted:
        write(instance, EVENTS * 20)

    assert len(counted.statements) == {"one statement": 1, "two statements": 2}[way]
    assert len(stored(instance)) == 20 * len(EVENTS)
