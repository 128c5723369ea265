"""A history is read whole and in order, in whatever way the database gives its rows."""

from __future__ import annotations

import pytest
from django.db import connection, connections

from durable import workflow
from durable.core import events as ev
from durable.store import driver, history


@pytest.fixture
def long(engine, monkeypatch):
    """The id of an execution with more events than are fetched at a time."""

    @workflow.defn
    async def listening() -> None:
        for _ in range(8):
            await workflow.wait_signal("item")

    handle = listening.start()
    for number in range(7):
        handle.signal("item", number)
    engine.run_until_quiet()
    monkeypatch.setattr(history, "_AT_ONCE", 3)
    return handle.instance.execution_id


def signals(events):
    return [event.payload for event in events if isinstance(event, ev.SignalReceived)]


@pytest.mark.parametrize("is_pooled", [False, True])
def test_all_is_read_in_order(long, is_pooled, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", is_pooled)

    assert signals(history.read(long)) == [*range(7)]
    assert signals(history.read(long, after=3)) == [2, 3, 4, 5, 6]
    assert signals(history.read(long, after=3, until=5)) == [2, 3]
    assert signals(history.read(long, after=3, until=4)) == [2]


def test_rest_is_not_read_if_nobody_wants_it(long):
    events = history.read(long)

    assert isinstance(next(events), ev.ExecutionStarted)
    events.close()

    assert signals(history.read(long)) == [*range(7)]


def test_server_keeps_what_was_not_fetched_unless_a_pooler_forbids_it(long, monkeypatch):
    if not driver.is_at_hand(connections["default"]):
        pytest.skip("this database has other cursors")
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", False)

    assert kept(whole=False) == 1
    assert kept(whole=True) == 0
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
    assert kept(whole=False) == 0


def kept(*, whole: bool) -> int:
    with driver.reader(connection, whole=whole) as cursor, connection.cursor() as other:
        cursor.execute("SELECT 1", [])
        other.execute("SELECT count(*) FROM pg_cursors WHERE name LIKE 'durable%'")
        return other.fetchone()[0]
