"""Filters that JSON can hold."""

from __future__ import annotations

import pytest

from durable.core.errors import InvalidInput, NondeterminismError
from durable.store import filters
from durable.testing.factories import InstanceFactory


def found(filter):
    return set(filters.find(filter).values_list("pk", flat=True))


@pytest.fixture
def some(db, fresh):
    stall = NondeterminismError(seq=2, event_id=0, expected="ActivityScheduled(a)", got=None)
    InstanceFactory(id="text", tags={"n": "42", "of": "x"})
    InstanceFactory(id="number", tags={"n": 42, "exact": 1})
    InstanceFactory(id="stalled", status="stalled", stall=stall)


def test_tags_have_one_of_some_values(some):
    assert found({"tags__in": {"n": ["42", 42]}}) == {"text", "number"}
    assert found({"tags__in": {"n": [42]}}) == {"number"}
    assert found({"tags__in": {"n": []}}) == set()
    assert found({"tags__in": {"n": [42, "42"], "of": ["x"]}}) == {"text"}
    assert found({"tags": {"exact": 1}, "tags__in": {"n": [42, "42"]}}) == {"number"}


def test_stalled_ones_are_found_by_their_reason(some):
    assert found({"stall_reason": "nondeterminism"}) == {"stalled"}
    assert found({"stall_reason": "poison"}) == set()


@pytest.mark.parametrize(
    "given", [{"tags__in": []}, {"tags__in": {"n": "42"}}, {"tags": [1]}, {"stall": {}}, {"tags__lt": {}}]
)
def test_what_is_no_filter_is_refused(db, given):
    with pytest.raises(InvalidInput):
        filters.find(given)
