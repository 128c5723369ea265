"""What callers give is taken as it is, or refused with what to give instead."""

from __future__ import annotations

from collections import UserDict
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from durable.core import given
from durable.core.errors import InvalidInput
from durable.core.errors.telling import quoted

NOW = datetime(2026, 1, 31, tzinfo=UTC)
EAST = timezone(timedelta(hours=14))
CHOICES = ("a", "b")


@pytest.mark.parametrize(
    ("take", "value"),
    [
        (given.integer, -(10**30)),
        (given.whole, 0),
        (given.whole, 2**31 - 1),
        (given.flag, True),
        (given.flag, False),
        (given.moment, NOW),
        (given.patience, None),
        (given.patience, 1.5),
        (given.patience, float("inf")),
        (given.patience, -1),
        (given.named, {"a": 1}),
    ],
)
def test_what_fits_is_taken_as_it_is(take, value):
    assert take(value, "x") == value


def refusal(take: Any, value: Any, **options: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        take(value, "verb(x)", **options)
    assert caught.value.where == "verb(x)"
    return str(caught.value)


@pytest.mark.parametrize(
    ("take", "values", "instead"),
    [
        (given.integer, [None, True, 1.0, "1", [1]], "give a whole number"),
        (given.whole, [None, True, 1.0, "1", -1, 2**31], "give a whole number from 0 to 2,147,483,647"),
        (given.flag, [None, 0, 1, "true", []], "give True or False"),
        (given.moment, [None, 5, "2026-01-31"], "give a datetime with a time zone"),
        (given.moment, [NOW.replace(tzinfo=None)], "no time zone; give a datetime with one"),
        (given.moment, [datetime.min.replace(tzinfo=EAST)], "not in the years 1 to 9999 of UTC"),
        (given.patience, ["5", True, float("nan"), []], "give a number of seconds, or None"),
        (given.named, [[], "", 0, {5: 5}], "give a dict with names as keys"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_give(take, values, instead):
    for value in values:
        assert instead in refusal(take, value)


def test_whole_number_has_bounds():
    assert given.whole(5, "x", least=5, most=5) == 5
    assert "0 cannot be taken; give a whole number from 1 to 100" in refusal(given.whole, 0, least=1, most=100)


def test_one_word_of_several():
    assert given.choice("a", "x", CHOICES) == "a"
    for value in ("c", None, ["a"], 5):
        assert "is not one of a, b" in refusal(given.choice, value, choices=CHOICES)


def test_several_words_come_as_one_or_as_many():
    assert given.words("a", "x", CHOICES) == ["a"]
    assert given.words(("a", "b"), "x", CHOICES) == ["a", "b"]
    assert given.words((), "x", CHOICES) == []
    assert "'c' is not one of" in refusal(given.words, ["a", "c"], choices=CHOICES)
    assert "give any of a, b" in refusal(given.words, 5, choices=CHOICES)


def test_several_are_no_text_and_no_mapping():
    assert given.several([1], "x", "ids") == [1]
    for value in ("ab", b"ab", {"a": 1}, 5, None):
        assert "give ids" in refusal(given.several, value, instead="ids")


def test_names_come_in_any_mapping():
    assert given.named(None, "x") == {}
    assert given.named(UserDict(a=1), "x") == {"a": 1}


def test_none_is_taken_where_it_has_a_meaning():
    assert given.optional(given.whole, None, "x") is None
    assert given.optional(given.whole, 3, "x") == 3
    assert "0 to 2" in refusal(lambda value, where: given.optional(given.whole, value, where, most=2), 3)


class Silent:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("a\0b", r"'a\x00b'"),
        ("\ud800", r"'\ud800'"),
        ("x" * 1000, f"'{'x' * 296}..."),
        (Silent(), "<Silent>"),
        (10**5000, "<int>"),
        ("größer", "'größer'"),
    ],
    ids=["NUL", "half", "long", "silent", "huge", "letters"],
)
def test_whatever_is_quoted_can_be_stored(value, told):
    assert quoted(value) == told
