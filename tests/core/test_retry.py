"""Retry policies: how long to wait, and when to stop."""

from __future__ import annotations

import pickle
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.core.errors import InvalidInput, NonRetryable
from durable.core.failures import Failure
from durable.core.retry import NO_RETRY, RetryPolicy, seconds


class DeclinedError(ValueError):
    pass


FAILURE = Failure.of(DeclinedError("no money"))
FOR_EVER = RetryPolicy(max_attempts=0)


def test_first_wait_is_the_initial_interval_and_each_next_one_is_multiplied():
    policy = RetryPolicy(initial_interval=2, backoff=3, max_interval=100)

    assert [policy.interval(n) for n in range(1, 6)] == [2, 6, 18, 54, 100]


def test_intervals_are_timedeltas_or_seconds():
    for interval in (timedelta(seconds=1.5), 1.5):
        assert RetryPolicy(initial_interval=interval).interval(1) == 1.5


def test_defaults_are_as_documented():
    policy = RetryPolicy()

    assert [policy.interval(n) for n in (1, 2, 3, 8)] == [1, 2, 4, 100]
    assert [policy.wait_after(n, FAILURE) for n in (1, 2, 3)] == [1, 2, None]


def test_max_attempts_counts_the_first():
    assert RetryPolicy(max_attempts=1).wait_after(1, FAILURE) is None
    assert NO_RETRY.wait_after(1, FAILURE) is None


@pytest.mark.parametrize("backoff", [2, 2.0, 1e308, float("inf")])
def test_wait_never_overflows(backoff):
    policy = RetryPolicy(backoff=backoff, max_attempts=0)

    assert policy.wait_after(100_000, FAILURE) == 100


def test_no_initial_interval_means_no_wait_however_many_attempts():
    policy = RetryPolicy(initial_interval=0, max_attempts=0)

    assert {policy.wait_after(n, FAILURE) for n in (1, 2, 5_000)} == {0}


@given(st.floats(0, 1e6), st.floats(1, 1e6), st.floats(0, 1e6), st.integers(1, 10**6))
def test_wait_is_never_over_the_longest(first, backoff, longest, attempt):
    policy = RetryPolicy(initial_interval=first, backoff=backoff, max_interval=longest)

    assert 0 <= policy.interval(attempt) <= longest


def test_jitter_adds_its_share_at_most():
    policy = RetryPolicy(initial_interval=10, jitter=0.5)

    assert [policy.wait_after(1, FAILURE, chance=chance) for chance in (0, 0.5, 1)] == [10, 12.5, 15]


@pytest.mark.parametrize("stop", [DeclinedError, ValueError, Exception, "DeclinedError", "ValueError"])
def test_listed_class_stops_by_itself_by_name_and_by_base(stop):
    assert RetryPolicy(non_retryable=(stop,)).wait_after(1, FAILURE) is None


@pytest.mark.parametrize("go_on", [KeyError, "KeyError", "Declined", "declinederror"])
def test_other_class_does_not_stop(go_on):
    assert RetryPolicy(non_retryable=(go_on,)).wait_after(1, FAILURE) == 1


def test_record_without_bases_is_known_by_its_own_name():
    assert RetryPolicy(non_retryable=("Odd",)).wait_after(1, Failure(type="Odd")) is None


def test_failure_that_says_so_stops_whatever_the_policy():
    assert FOR_EVER.wait_after(1, Failure.of(NonRetryable("never"))) is None


def test_policy_comes_back_from_json_with_classes_as_names():
    policy = RetryPolicy(initial_interval=timedelta(seconds=2), non_retryable=(ValueError, "KeyError"), jitter=0.1)

    data = policy.to_json()

    assert data == {
        "initial_interval": 2.0,
        "backoff": 2.0,
        "max_interval": 100.0,
        "max_attempts": 3,
        "non_retryable": ["ValueError", "KeyError"],
        "jitter": 0.1,
    }
    assert RetryPolicy.from_json(data).to_json() == data


def test_policy_can_be_pickled():
    assert pickle.loads(pickle.dumps(FOR_EVER)) == FOR_EVER  # noqa: S301 - our own


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("initial_interval", -1, "cannot be -1 s"),
        ("max_interval", timedelta(seconds=-1), "cannot be -1 s"),
        ("backoff", 0.5, "0.5 would make waits shorter"),
        ("backoff", float("nan"), "nan would make waits shorter"),
        ("max_attempts", -1, "use 0 for no limit"),
        ("jitter", 1.5, "use a share from 0 to 1"),
        ("jitter", -0.1, "use a share from 0 to 1"),
        ("non_retryable", "ValueError", "'ValueError' is not a tuple"),
        ("non_retryable", (ValueError("x"),), "is not a tuple of exception classes"),
    ],
)
def test_bad_policy_is_refused_by_option(option, value, problem):
    with pytest.raises(InvalidInput, match=problem) as caught:
        RetryPolicy(**{option: value})

    assert caught.value.where == f"RetryPolicy({option})"


@pytest.mark.parametrize(("value", "expected"), [(timedelta(minutes=1), 60.0), (5, 5.0), (0.5, 0.5), (0, 0.0)])
def test_durations_become_seconds(value, expected):
    assert seconds(value, "x") == expected
    assert type(seconds(value, "x")) is float


@pytest.mark.parametrize("value", [-1, timedelta(seconds=-1), float("inf"), float("nan"), True, "5", None])
def test_what_is_no_duration_is_refused(value):
    with pytest.raises(InvalidInput, match="sleep: a duration"):
        seconds(value, "sleep")
