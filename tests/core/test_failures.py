"""An exception is recorded with all that can be known of it later."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise

import pytest

from durable.core.errors import ActivityError, NonRetryable, RecordedError
from durable.core.failures import Failure


class DeclinedError(ValueError):
    pass


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def chain(length: int) -> Exception:
    error = ValueError("0")
    for number in range(1, length):
        following = ValueError(str(number))
        following.__cause__ = error
        error = following
    return error


def length(failure: Failure | None) -> int:
    return 0 if failure is None else 1 + length(failure.cause)


def test_records_class_message_and_place():
    failure = Failure.of(raised(DeclinedError("no money")))

    assert (failure.type, failure.message) == ("DeclinedError", "no money")
    assert failure.kinds == ("DeclinedError", "ValueError", "Exception", "BaseException")
    assert failure.traceback.startswith("Traceback (most recent call last):\n")
    assert "in raised" in failure.traceback
    assert failure.traceback.endswith("DeclinedError: no money\n")
    assert failure.retryable
    assert (failure.cause, failure.exceptions) == (None, ())


def test_error_that_was_never_raised_has_no_traceback():
    assert Failure.of(ValueError("x")).traceback == ""


def test_notes_are_in_the_traceback():
    error = raised(ValueError("x"))
    error.add_note("while charging order 5")

    assert "while charging order 5" in Failure.of(error).traceback


def test_non_retryable_error_is_not_retryable():
    class BadCardError(NonRetryable):
        pass

    assert not Failure.of(NonRetryable("x")).retryable
    assert not Failure.of(BadCardError("x")).retryable


def test_cause_is_recorded():
    error = DeclinedError("no money")
    error.__cause__ = KeyError("balance")

    assert Failure.of(error).cause == Failure.of(KeyError("balance"))


def test_error_raised_while_handling_another_has_it_for_cause():
    def handle() -> None:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second")  # noqa: B904 - that is the point

    with pytest.raises(ValueError, match="second") as caught:
        handle()

    failure = Failure.of(caught.value)
    assert failure.cause is not None
    assert failure.cause.type == "KeyError"
    assert "KeyError" not in failure.traceback


def test_suppressed_context_is_no_cause():
    error = ValueError("second")
    error.__context__ = KeyError("first")
    error.__suppress_context__ = True

    assert Failure.of(error).cause is None


def test_circle_of_causes_ends():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one

    assert length(Failure.of(one)) == 2


def test_long_chain_of_causes_is_cut():
    assert length(Failure.of(chain(5))) == 5
    assert length(Failure.of(chain(50))) == 11


def test_members_of_a_group_are_recorded():
    group = ExceptionGroup("both", [ValueError("a"), ExceptionGroup("inner", [KeyError("b")])])

    failure = Failure.of(group)

    assert failure.message == "both (2 sub-exceptions)"
    assert [each.type for each in failure.exceptions] == ["ValueError", "ExceptionGroup"]
    assert failure.exceptions[1].exceptions == (Failure.of(KeyError("b")),)


def test_members_of_a_large_group_are_cut():
    group = ExceptionGroup("many", [ValueError(str(number)) for number in range(1000)])

    assert len(Failure.of(group).exceptions) == 50


def test_group_that_is_nested_too_deeply_is_cut():
    group: Exception = ValueError("core")
    for _ in range(50):
        group = ExceptionGroup("shell", [group])

    failure, depth = Failure.of(group), 1
    while failure.exceptions:
        failure, depth = failure.exceptions[0], depth + 1

    assert depth == 11


def test_error_that_appears_twice_is_recorded_once():
    inner = ValueError("x")
    group = ExceptionGroup("twice", [inner, inner])
    group.__cause__ = inner

    failure = Failure.of(group)

    assert failure.cause == Failure.of(inner)
    assert failure.exceptions == ()


def test_recorded_error_keeps_its_record():
    first = Failure.of(raised(DeclinedError("no money")))

    assert Failure.of(raised(RecordedError(first))) is first


def test_cause_survives_several_hops():
    first = Failure.of(raised(DeclinedError("no money")))
    hop = ActivityError("charge", event_id=0, attempts=3, cause=RecordedError(first))

    second = Failure.from_json(Failure.of(hop).to_json())

    assert second.type == "ActivityError"
    assert second.cause == first


def test_error_without_words_is_recorded():
    failure = Failure.of(raised(MuteError()))

    assert failure.type == "MuteError"
    assert failure.message == "<MuteError with an unreadable message>"
    assert "in raised" in failure.traceback


def test_long_message_is_cut_in_the_middle():
    failure = Failure.of(ValueError("a" * 50_000 + "z"))

    assert len(failure.message) < 11_000
    assert failure.message.endswith("az")
    assert "[40001 characters left out]" in failure.message


def test_long_traceback_is_cut_in_the_middle():
    failure = Failure.of(raised(ValueError("x" * 30_000 + "end")))

    assert len(failure.traceback) < 21_000
    assert failure.traceback.startswith("Traceback")
    assert failure.traceback.endswith("end\n")


def test_all_tracebacks_of_a_chain_are_bounded_together():
    errors = [raised(ValueError("x" * 30_000)) for _ in range(10)]
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    failure: Failure | None = Failure.of(errors[0])

    total = 0
    while failure:
        total, failure = total + len(failure.traceback), failure.cause

    assert total < 42_000


def test_text_that_could_not_be_stored_is_escaped():
    failure = Failure.of(OSError("no file \udcff\0"))

    assert failure.message == "no file \\udcff\\x00"


def test_cancellation_is_recorded_like_any_other():
    assert Failure.of(asyncio.CancelledError()).kinds == ("CancelledError", "BaseException")


def test_comes_back_from_json():
    error = raised(ExceptionGroup("both", [ValueError("a"), NonRetryable("b")]))
    error.__cause__ = raised(KeyError("c"))
    failure = Failure.of(error)

    assert Failure.from_json(json.loads(json.dumps(failure.to_json()))) == failure


def test_record_with_nothing_but_a_type_can_be_read():
    assert Failure.from_json({"type": "Timeout"}) == Failure(type="Timeout")


def test_failure_known_by_its_message_alone_can_be_stored():
    failure = Failure.told("ActivityFailed", "a\0b\ud800" + "x" * 20_000)

    assert (failure.type, failure.message[:9]) == ("ActivityFailed", r"a\x00b\ud")
    assert len(failure.message) < 11_000
