"""Every error of the package has a status and a code."""

from __future__ import annotations

import re

import pytest

from durable import errors
from durable.api import problems
from durable.client import redacting
from durable.core.errors import DurableError
from durable.core.failures import Failure

STATUSES = {
    "unknown": 404,
    "already_exists": 409,
    "not_open": 409,
    "not_closed": 409,
    "not_failed": 409,
    "concurrency_conflict": 409,
    "version_not_available": 409,
    "nondeterminism_error": 409,
    "not_an_activity": 400,
    "invalid_input": 400,
    "invalid_id": 400,
    "limit_exceeded": 400,
    "payload_too_large": 413,
    "permission_denied": 403,
}


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_has_a_status_and_a_code(name):
    kind = getattr(errors, name)
    made = kind.__new__(kind)

    code, status = problems.code_of(kind), problems.status_of(made)

    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)
    assert status == STATUSES.get(code, STATUSES["unknown"] if code.startswith("unknown") else status)
    assert status in (400, 403, 404, 409, 413)


def test_codes_are_different():
    codes = [problems.code_of(getattr(errors, name)) for name in errors.__all__]

    assert len(set(codes)) == len(codes)


def test_an_error_keeps_its_class_when_its_payload_is_left_out():
    error = errors.UpdateFailed("a", "say", update_id="u", failure=Failure(type="ValueError", message="hunter2"))

    hidden = redacting.error(error)

    assert isinstance(hidden, errors.UpdateFailed)
    assert "hunter2" not in f"{hidden} {vars(hidden)}"
    assert isinstance(hidden, DurableError)


def test_steps_that_differ_are_named_without_their_arguments():
    error = errors.NondeterminismError(
        seq=3, event_id=1, expected="ActivityScheduled(pay) input={'args': ['hunter2']}", got="TimerStarted(5.0 s)"
    )

    hidden = redacting.error(error)

    assert (vars(hidden)["seq"], vars(hidden)["expected"]) == (3, "ActivityScheduled(pay)")
    assert "hunter2" not in f"{hidden} {vars(hidden)}"


def test_what_is_no_error_of_ours_is_left_to_django():
    assert problems.handle(RuntimeError("secret"), {}) is None
