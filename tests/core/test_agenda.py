"""Virtual time: what is due when, and in which order."""

from __future__ import annotations

import pytest

from durable.core.agenda import Agenda


@pytest.fixture
def agenda():
    return Agenda(100.0)


def taken(agenda):
    found = []
    while (entry := agenda.take()) is not None:
        found.append((entry.what, agenda.now))
    return found


def test_what_is_due_comes_in_order_of_time_then_of_arrival(agenda):
    agenda.add(print, "late", wait=10)
    agenda.add(print, "soon", at=105.0)
    agenda.add(print, "also soon", wait=5)
    agenda.add(print, "first of those", wait=5, first=True)

    assert agenda.next().what == "first of those"
    assert agenda.now == 100.0
    assert taken(agenda) == [("first of those", 105.0), ("soon", 105.0), ("also soon", 105.0), ("late", 110.0)]


def test_what_is_past_is_due_now(agenda):
    agenda.add(print, "past", at=3.0)

    assert taken(agenda) == [("past", 100.0)]


def test_what_is_canceled_does_not_come(agenda):
    agenda.add(print, "canceled").cancel()
    agenda.add(print, "other", by_test=True)

    assert agenda.next().by_test
    assert taken(agenda) == [("other", 100.0)]
    assert agenda.next() is None
