"""Many rows by one statement: the same as the ORM stores."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from durable import workflow
from durable.core import events as ev
from durable.models import ActivityTask, InboxEvent
from durable.store import clock, inbox, many, tasks, turns
from tests.driving import cost

DATA = {"text": 'quote " backslash \\ nul \0 line \n é 漢 😀', "b": 1, "a": [None, True, 1.5, -(2**70)]}


@pytest.fixture
def execution_id(committing):
    """The id of an execution to make rows for."""

    @workflow.defn
    async def held() -> None:
        await workflow.wait_signal("never")

    handle = held.start()
    committing.run_until_quiet()
    return handle.instance.execution_id


def new_tasks(execution_id):
    now = clock.now()
    values = {"name": "é", "input": {"args": [DATA]}, "queue": 'a "queue"', "priority": -3, "created_at": now}
    later = now + timedelta(days=1, microseconds=1)
    states = [
        {"options": {"retry": {"max_attempts": 2}, "a": [None, 1.5]}, "available_at": later},
        {"state": tasks.State.RUNNING, "worker": "me", "lease": uuid.uuid4(), "lease_until": later, "started_at": now},
        {"last_failure": {"type": "E", "message": DATA["text"]}, "heartbeat_details": [DATA], "attempt": 7},
        {"cancel_requested": True, "expires_at": later, "heartbeat_at": now},
    ]
    return [
        tasks.row(execution_id, ev.ActivityScheduled(event_id=number), **values, **states[number % len(states)])
        for number in range(20)
    ]


def new_inbox(execution_id):
    later = clock.now() + timedelta(seconds=1)
    signals = [inbox.row(execution_id, ev.SignalReceived(name=f"é{n}", payload=DATA)) for n in range(10)]
    timers = [inbox.row(execution_id, ev.TimerFired(event_id=n), visible_at=later) for n in range(10)]
    return [*signals, *timers]


@pytest.mark.parametrize(("model", "make"), [(ActivityTask, new_tasks), (InboxEvent, new_inbox)])
def test_many_rows_are_stored_like_few(execution_id, monkeypatch, model, make):
    rows = make(execution_id)
    stored = []
    for way in (turns.in_one_statement, lambda: False):
        monkeypatch.setattr(turns, "in_one_statement", way)
        with cost() as counted:
            many.insert(rows)
        assert len(counted.statements) == 1
        found = list(model.objects.order_by("id").values())
        stored.append([{name: value for name, value in row.items() if name != "id"} for row in found])
        model.objects.all().delete()

    assert stored[0] == stored[1]
    assert len(stored[0]) == len(rows)
    for row, given in zip(stored[0], rows, strict=True):
        assert row == {name: getattr(given, name) for name in row}


def test_nothing_is_no_statement(execution_id):
    with cost() as counted:
        many.insert([])

    assert counted.statements == []


def test_few_learn_their_keys(execution_id):
    row = new_tasks(execution_id)[0]
    many.insert([row])

    assert ActivityTask.objects.get(pk=row.pk).name == "é"
