"""Parts of a history, read without the rest of it, are those of the whole."""

from __future__ import annotations

import pytest

from durable import client
from durable.client import parts, steps
from durable.core import events as ev
from durable.testing import history_of
from durable.testing.factories import InstanceFactory
from tests.driving import cost


@pytest.fixture
def long(fresh, db):
    """Steps of all kinds; some end late, and one does not."""
    asked = history_of("order", 1).timer(1000.0, waiting=True).activity("reserve", 1, waiting=True)
    asked.signal("go").child("ship", 1, id="c").timer(5.0).signal("go").activity("charge", 1, attempts=3)
    asked.add(ev.SideEffectRecorded(event_id=5, name="uuid4", value="1"), ev.PatchMarked(event_id=6, name="tax"))
    for n in range(6):
        asked.activity("more", n)
    asked.add(ev.ActivityCompleted(event_id=1, result=7))
    return InstanceFactory(id="long", history=asked)


@pytest.mark.parametrize("soon", [1, 1000])
@pytest.mark.parametrize("few", [1, 500])
@pytest.mark.parametrize("limit", [1, 3, 100])
def test_parts_of_the_steps_are_those_of_the_whole(long, monkeypatch, soon, few, limit):
    monkeypatch.setattr(parts, "_SOON", soon)
    monkeypatch.setattr(parts, "_FEW", few)
    whole = steps.of(client.history("long"))
    assert [step.event_id for step in whole if step.is_open] == [0]

    found, after = [], 0
    while some := parts.steps(long.execution_id, status=long.status, after=after, limit=limit):
        assert len(some) <= limit
        found += some
        after = found[-1].seq

    assert found == whole


def test_a_part_costs_three_statements_at_most(long):
    with cost() as counted:
        parts.steps(long.execution_id, status=long.status, after=0, limit=3)

    assert len(counted.statements) == 3

    with cost() as counted:
        closed = parts.steps(long.execution_id, status=long.status, after=5, limit=3)

    assert not any(step.is_open for step in closed)
    assert len(counted.statements) == 2, "the rest of the history is none of its business"


def test_what_is_told_of_a_history_is_what_it_has(long):
    whole = client.history("long")

    assert parts.length(long.execution_id) == len(whole)
    assert parts.kinds(long.execution_id) == sorted({item.kind for item in whole})
    assert parts.began(long.execution_id) == whole[0].recorded_at
    assert parts.place_of(long.execution_id, 3) == next(item.seq for item in whole if item.event_id == 3)
    assert parts.place_of(long.execution_id, 99) is None
