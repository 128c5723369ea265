"""Failures that are alike have one fingerprint, and those that are not have not."""

from __future__ import annotations

import json
import sys

import pytest

from durable.core import likeness
from durable.core.errors import ActivityError, ChildFailed, NondeterminismError, RecordedError
from durable.core.failures import Failure


def fail(message: str) -> None:
    raise ValueError(message)


def recorded(call) -> Failure:
    try:
        call()
    except Exception as error:
        return Failure.of(error)
    raise AssertionError("it did not fail")


@pytest.mark.parametrize(
    ("message", "plain"),
    [
        ("order 42 of 7,100.5 is late", "order <n> of <n> is late"),
        ("order-42", "order-<n>"),
        ("at 12:30:05", "at <n>"),
        ("no user 'Ada' here", "no user <text> here"),
        ("no user \"Ada 'Countess' L.\" here", "no user <text> here"),
        ("no user 'O'Hara' here", "no user <text> here"),
        ("can't do it, won't do it", "can't do it, won't do it"),
        ("key 0xDEADbeef", "key <hex>"),
        ("commit 3f2a91bc", "commit <hex>"),
        ("defaced decade feedback", "defaced decade feedback"),
        ("Instance 0197aaf2-6c1e-7b6a-8c2e-000000000001 is gone", "Instance <id> is gone"),
        ("two\n  lines\tand tabs", "two lines and tabs"),
        ("x" * 300, "x" * 197 + "..."),
        ("", ""),
    ],
)
def test_what_differs_is_replaced(message, plain):
    assert likeness.plain(message) == plain


def test_place_is_the_innermost_one_in_the_users_code():
    found = likeness.of_failure(recorded(lambda: json.loads("{")))

    assert (found.error, found.message) == ("JSONDecodeError", likeness.plain("Expecting property name enclosed in "
        "double quotes: line 1 column 2 (char 1)"))  # fmt: skip
    file, function, line = found.place.rsplit(":", 2)
    assert file.endswith("tests/core/test_likeness.py")
    assert function == "<lambda>"
    assert line.isdecimal()


def test_path_begins_below_the_folder_that_it_is_imported_from(monkeypatch):
    failure = Failure(type="E", traceback='  File "/srv/release-7/shop/orders.py", line 3, in charge\n    x\n')

    monkeypatch.setattr(sys, "path", ["", "/srv", "/srv/release-7/", "/elsewhere"])
    assert likeness.of_failure(failure).place == "shop/orders.py:charge:3"
    monkeypatch.setattr(sys, "path", ["/elsewhere"])
    assert likeness.of_failure(failure).place == "/srv/release-7/shop/orders.py:charge:3"


def test_without_code_of_the_user_the_place_is_the_innermost_one():
    frame = '  File "/x/site-packages/lib/{0}.py", line 1, in {0}\n'
    failure = Failure(type="E", traceback=frame.format("outer") + frame.format("inner"))

    assert likeness.of_failure(failure).place.endswith("inner.py:inner:1")
    assert likeness.of_failure(Failure(type="ExecutionTimeout")).place == ""


def test_what_an_activity_or_a_child_raised_goes_for_the_workflows_own():
    inner = recorded(lambda: fail("order 7 is broken"))
    activity = Failure.of(ActivityError("charge", event_id=3, attempts=2, cause=RecordedError(inner)))
    child = Failure.of(ChildFailed("pay", instance_id="x.1", cause=RecordedError(activity)))

    found = likeness.of_failure(child)

    assert found == likeness.of_failure(inner)
    assert (found.error, found.message) == ("ValueError", "order <n> is broken")
    assert ":fail:" in found.place
    assert likeness.of_failure(Failure(type="ActivityError", message="m")).error == "ActivityError"


def test_groups_go_by_their_first_member():
    def both() -> None:
        raise ExceptionGroup("two", [recorded_error(1), KeyError("x")])

    def recorded_error(number: int) -> Exception:
        try:
            fail(f"order {number}")
        except ValueError as error:
            return error
        raise AssertionError

    found = likeness.of_failure(recorded(both))

    assert (found.error, found.message) == ("ExceptionGroup[ValueError]", "order <n>")
    assert ":fail:" in found.place


def test_stalls_show_where_the_code_differs_from_the_history():
    error = NondeterminismError(
        seq=4, event_id=1, expected="ActivityScheduled(a)", got="ActivityScheduled(b)", location="/srv/shop/flows.py:12"
    )
    facts = {"error": "NondeterminismError", "message": str(error), "location": error.location}

    found = likeness.of_stall(facts)

    assert (found.error, found.place) == ("NondeterminismError", "/srv/shop/flows.py:12")
    assert found == likeness.of_stall({**facts, "message": str(error).replace("4", "6")})


def test_poison_shows_where_it_raised():
    failure = recorded(lambda: fail("x"))

    found = likeness.of_stall({"error": "ValueError", "message": "x", "traceback": failure.traceback})

    assert found == likeness.of_failure(failure)
    assert likeness.of_stall({}).place == ""


def test_fingerprint_tells_apart_what_is_not_alike():
    one = likeness.Likeness(error="E", place="a.py:f:1", message="m")
    others = [
        likeness.Likeness(error="F", place="a.py:f:1", message="m"),
        likeness.Likeness(error="E", place="a.py:f:2", message="m"),
        likeness.Likeness(error="E", place="a.py:f:1", message="n"),
    ]

    prints = {one.fingerprint("order"), one.fingerprint("pay"), *(each.fingerprint("order") for each in others)}

    assert len(prints) == 5
    assert all(len(each) == 32 for each in prints)
    assert one.fingerprint("order") == one.fingerprint("order")
