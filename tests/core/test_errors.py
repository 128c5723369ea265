"""Errors say their facts, have them as fields, and survive the way to another process."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from durable.core import errors
from durable.core.errors import DurableError, RecordedError
from durable.core.failures import Failure

FAILURE = Failure(type="ValueError", message="no money", kinds=("ValueError",), cause=Failure(type="KeyError"))
CAUSE = RecordedError(FAILURE)

GROUP = Failure(type="ExceptionGroup", message="two", exceptions=(FAILURE, Failure(type="KeyError")))
LARGE = Failure(type="ExceptionGroup", message="many", exceptions=(Failure(type="KeyError"), GROUP, FAILURE, FAILURE))

# Each error, its message and its fields.
ONE_OF_EACH = [
    (errors.UnknownInstance("a"), "no instance has the id 'a'", {"instance_id": "a"}),
    (errors.UnknownExecution("a", "e"), "instance 'a' has no execution e", {"instance_id": "a", "execution_id": "e"}),
    (errors.UnknownEvent("e", 5), "execution e has no event with the id 5", {"execution_id": "e", "event_id": 5}),
    (errors.UnknownWorkflow("a"), "no workflow is registered as 'a'", {"name": "a", "version": None, "near": ()}),
    (
        errors.UnknownWorkflow("a", instance_id="b", queue="c", app_id="d"),
        "no workflow is registered as 'a'; it is the code of 'b', which belongs to the app 'd': do this where that is "
        "installed, as its workers are, which serve the queue 'c'",
        {"instance_id": "b", "queue": "c", "app_id": "d"},
    ),
    (
        errors.UnknownWorkflow("a", instance_id="b", queue="c"),
        "no workflow is registered as 'a'; it is the code of 'b': do this where that is installed, as its workers are, "
        "which serve the queue 'c'",
        {"app_id": ""},
    ),
    (
        errors.UnknownWorkflow("a", version=2, near=["b", "c"]),
        "no workflow is registered as 'a (version 2)'; did you mean b, c?",
        {"name": "a", "version": 2, "near": ("b", "c")},
    ),
    (
        errors.UnknownActivity("a", near=["b"]),
        "no activity is registered as 'a'; did you mean b?",
        {"name": "a", "near": ("b",)},
    ),
    (errors.RecordedError(GROUP), "ExceptionGroup: two: ValueError: no money; KeyError", {"failure": GROUP}),
    (
        errors.RecordedError(LARGE),
        "ExceptionGroup: many: KeyError; ExceptionGroup: two: ValueError: no money; KeyError; "
        "ValueError: no money; ...",
        {"failure": LARGE},
    ),
    (
        errors.UnknownToken("e:0:1"),
        "no open activity has the token 'e:0:1': it was used, or the activity was given up or called off",
        {"token": "e:0:1", "name": "", "near": ()},
    ),
    (errors.AlreadyExists("a"), "an instance with the id 'a' exists", {"instance_id": "a", "status": ""}),
    (
        errors.AlreadyExists("a", status="running"),
        "an instance with the id 'a' exists and is running",
        {"instance_id": "a", "status": "running"},
    ),
    (
        errors.DuplicateName("workflow", "a", first="m.a", second="n.a"),
        "workflow 'a' is defined twice: in m.a and in n.a",
        {"kind": "workflow", "name": "a", "first": "m.a", "second": "n.a"},
    ),
    (
        errors.NotOpen("a", status="failed", verb="signal"),
        "instance 'a' is failed and cannot signal",
        {"instance_id": "a", "status": "failed", "verb": "signal"},
    ),
    (
        errors.NotOpen("a", status="failed"),
        "instance 'a' is failed",
        {"instance_id": "a", "status": "failed", "verb": ""},
    ),
    (
        errors.NotClosed("a", status="running", verb="purge"),
        "instance 'a' is running; end it before you purge",
        {"instance_id": "a", "status": "running", "verb": "purge"},
    ),
    (
        errors.WorkWouldBeLost("a", "e", lost=["signal go, which a received", "the result of a"]),
        "execution e of 'a' cannot be restored without losing: signal go, which a received; the result of a",
        {"instance_id": "a", "execution_id": "e", "lost": ("signal go, which a received", "the result of a")},
    ),
    (
        errors.NotFailed("a", status="running"),
        "instance 'a' is running, not failed",
        {"instance_id": "a", "status": "running"},
    ),
    (
        errors.NotAnActivity(3, "TimerStarted"),
        "event 3 is a TimerStarted, not an activity",
        {"event_id": 3, "kind": "TimerStarted"},
    ),
    (
        errors.ConcurrencyConflict("a", expected=3, found=5),
        "instance 'a' moved on: its head was 3, it is 5 now",
        {"instance_id": "a", "expected": 3, "found": 5},
    ),
    (
        errors.ConcurrencyConflict("a", expected=3),
        "instance 'a' moved on: its head was 3",
        {"instance_id": "a", "expected": 3, "found": None},
    ),
    (
        errors.VersionNotAvailable("a", 2, registered=[10, 9]),
        "version 2 of workflow 'a' is not registered here (there are: 9, 10)",
        {"name": "a", "version": 2, "registered": (9, 10)},
    ),
    (
        errors.VersionNotAvailable("a", 2),
        "version 2 of workflow 'a' is not registered here (there are: none)",
        {"name": "a", "version": 2, "registered": ()},
    ),
    (errors.PermissionDenied("ann", "purge"), "ann may not purge", {"actor": "ann", "verb": "purge"}),
    (
        errors.InvalidInput("charge(amount)", "expected int"),
        "charge(amount): expected int",
        {"where": "charge(amount)", "problem": "expected int"},
    ),
    (errors.InvalidId("", "it is empty"), "'' cannot be an instance id: it is empty", {"instance_id": ""}),
    (errors.InvalidDefinition("a", "no"), "a: no", {"name": "a", "problem": "no"}),
    (
        errors.PayloadTooLarge("x", size=2_000_000, limit=1_000),
        "x: 2,000,000 bytes of JSON, the limit is 1,000",
        {"where": "x", "size": 2_000_000, "limit": 1_000},
    ),
    (
        errors.LimitExceeded("fan_out", value=2_000, maximum=1_000, advice="work in batches"),
        "fan_out: 2,000 is over the limit of 1,000; work in batches",
        {"limit": "fan_out", "value": 2_000, "maximum": 1_000},
    ),
    (
        errors.LimitExceeded("fan_out", value=2, maximum=1),
        "fan_out: 2 is over the limit of 1",
        {"limit": "fan_out", "value": 2, "maximum": 1},
    ),
    (
        errors.UndecodableEvent(3, "TimerFired", "no"),
        "event 3 (TimerFired) cannot be read: no",
        {"seq": 3, "kind": "TimerFired", "problem": "no"},
    ),
    (
        errors.UndecodablePayload("Instance.input", "no key"),
        "Instance.input cannot be decoded: no key; "
        'DURABLE["CODEC"] must be able to decode what was stored under earlier settings',
        {"where": "Instance.input", "problem": "no key"},
    ),
    (
        errors.OutsideWorkflow("now()", "do not"),
        "now() works only inside a running workflow or activity; do not",
        {"call": "now()", "advice": "do not"},
    ),
    (
        errors.ForbiddenInWorkflow("socket.connect"),
        "socket.connect is not allowed in a workflow: it could not be replayed. Do it in an activity",
        {"call": "socket.connect"},
    ),
    (
        errors.ReadOnly("set_tags"),
        "set_tags is not allowed in a query or a validator: it may look, and not touch",
        {"call": "set_tags"},
    ),
    (
        errors.NondeterminismError(
            seq=3, event_id=1, expected="A(a)", got="A(b)", location="f.py:5", offer=0, note="A note"
        ),
        "event 3: history has A(a), workflow did A(b) (at f.py:5). A note",
        {
            "seq": 3,
            "event_id": 1,
            "expected": "A(a)",
            "got": "A(b)",
            "location": "f.py:5",
            "offer": 0,
            "note": "A note",
        },
    ),
    (
        errors.NondeterminismError(seq=3, event_id=None, expected="A(a)", got=None),
        "event 3: history has A(a), workflow did nothing",
        {"seq": 3, "event_id": None, "got": None, "location": "", "offer": None, "note": ""},
    ),
    (errors.ChannelClosed("send"), "cannot send: the channel is closed", {"verb": "send"}),
    (
        errors.InvalidHistory("order-7", "it has no ExecutionStarted"),
        "the history of 'order-7' cannot be one of its workflow: it has no ExecutionStarted",
        {"instance_id": "order-7", "problem": "it has no ExecutionStarted"},
    ),
    (
        errors.InvalidTranscript("a.jsonl", 3, "event 2 is missing"),
        "a.jsonl, line 3 is no transcript: event 2 is missing",
        {"source": "a.jsonl", "line": 3, "problem": "event 2 is missing"},
    ),
    (
        errors.InvalidTranscript("", 1, "no JSON"),
        "line 1 is no transcript: no JSON",
        {"source": "", "line": 1, "problem": "no JSON"},
    ),
    (
        errors.PatchReused("tax", first="a.py:1", second="a.py:2", deprecated=True),
        "patch 'tax' is used for two things, by patched() at a.py:1 and by deprecate_patch() at a.py:2: "
        "give each change an id of its own, and deprecate one in all its places at once",
        {"patch_id": "tax", "first": "a.py:1", "second": "a.py:2"},
    ),
    (
        errors.RunawayStep(2.0, "line 1"),
        "the workflow ran for 2 s without waiting for anything; it was here:\nline 1",
        {"seconds": 2.0, "stack": "line 1"},
    ),
    (CAUSE, "ValueError: no money", {"failure": FAILURE, "type": "ValueError", "message": "no money"}),
    (RecordedError(Failure(type="KeyError")), "KeyError", {"type": "KeyError", "message": ""}),
    (errors.NonRetryable("never"), "never", {}),
    (
        errors.ActivityError("charge", event_id=1, attempts=3, cause=CAUSE),
        "activity charge was tried 3 times and failed: ValueError: no money",
        {"activity": "charge", "event_id": 1, "attempts": 3},
    ),
    (
        errors.ActivityError("charge", event_id=1, attempts=1, cause=CAUSE),
        "activity charge was tried once and failed: ValueError: no money",
        {"attempts": 1},
    ),
    (
        errors.CompensationFailed([("refund", ValueError("no money")), ("release", KeyError())], tried=3),
        "2 of 3 compensations failed, see to them by hand: refund: no money; release: KeyError",
        {"tried": 3},
    ),
    (
        errors.ChildFailed("ship", instance_id="a", cause=CAUSE),
        "child workflow ship (a) did not complete: ValueError: no money",
        {"workflow": "ship", "instance_id": "a"},
    ),
    (
        errors.SideEffectError(event_id=3, cause=CAUSE),
        "side_effect failed: ValueError: no money",
        {"event_id": 3},
    ),
    (
        errors.SignalError("a", "go", cause=CAUSE),
        "signal 'go' to 'a' was not delivered: ValueError: no money",
        {"instance_id": "a", "name": "go"},
    ),
    (errors.WorkflowFailed("a", FAILURE), "instance 'a' failed: ValueError: no money", {"failure": FAILURE}),
    (errors.WorkflowCanceled("a"), "instance 'a' was canceled", {"instance_id": "a"}),
    (errors.WorkflowTerminated("a"), "instance 'a' was terminated", {"instance_id": "a", "reason": ""}),
    (errors.WorkflowTerminated("a", reason="old"), "instance 'a' was terminated: old", {"reason": "old"}),
    (
        errors.ResultTimeout("a", 5, status="running"),
        "instance 'a' is still running after 5 s",
        {"instance_id": "a", "timeout": 5, "status": "running"},
    ),
    (
        errors.InTransaction("update 'add'"),
        "update 'add' would wait for ever inside a transaction: no worker sees the request before the commit. "
        "Call it outside, or with timeout=0 and ask for the outcome later, by the same update_id",
        {"verb": "update 'add'"},
    ),
    (
        errors.UpdateRejected("a", "add", update_id="u", failure=FAILURE),
        "update 'add' of instance 'a' was rejected: ValueError: no money",
        {"instance_id": "a", "name": "add", "update_id": "u", "failure": FAILURE},
    ),
    (
        errors.UpdateFailed("a", "add", update_id="u", failure=FAILURE),
        "update 'add' of instance 'a' failed: ValueError: no money",
        {"instance_id": "a", "name": "add", "update_id": "u", "failure": FAILURE},
    ),
    (
        errors.UpdateTimeout("a", "add", 5, update_id="u", state="accepted", status="suspended"),
        "update 'add' of instance 'a', which is suspended, is still accepted after 5 s; ask again with update_id='u'",
        {"instance_id": "a", "timeout": 5, "status": "suspended", "state": "accepted", "registered": None},
    ),
    (
        errors.UpdateTimeout("a", "ad", 5, update_id="u", state="waiting", status="running", registered=["b", "add"]),
        "update 'ad' of instance 'a', which is running, is still waiting for the workflow to register an update of "
        "this name (there are: add, b; did you mean add?) after 5 s; ask again with update_id='u'",
        {"name": "ad", "update_id": "u", "state": "waiting", "registered": ("add", "b")},
    ),
    (
        errors.UpdateTimeout("a", "ad", 5, update_id="u", state="waiting", status="running"),
        "update 'ad' of instance 'a', which is running, is still waiting for the workflow to register an update of "
        "this name after 5 s; ask again with update_id='u'",
        {"registered": None},
    ),
    (
        errors.UpdateTimeout("a", "ad", 5, update_id="u", state="waiting", status="pending", registered=[]),
        "update 'ad' of instance 'a', which is pending, is still waiting for the workflow to register an update of "
        "this name (there are: none) after 5 s; ask again with update_id='u'",
        {"registered": ()},
    ),
]

CASES = pytest.mark.parametrize(("error", "message", "fields"), ONE_OF_EACH, ids=lambda v: type(v).__name__)


@CASES
def test_error_says_its_facts_and_has_them_as_fields(error, message, fields):
    assert str(error) == message
    assert {name: getattr(error, name) for name in fields} == fields


@CASES
def test_error_survives_the_way_to_another_process(error, message, fields):
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own

    assert type(back) is type(error)
    assert (str(back), back.args) == (message, error.args)
    assert {name: getattr(back, name) for name in fields} == fields


@pytest.mark.parametrize(
    "kind",
    [
        "ActivityError",
        "ChildFailed",
        "SideEffectError",
        "SignalError",
        "WorkflowFailed",
        "UpdateRejected",
        "UpdateFailed",
    ],
)
def test_cause_is_kept_as_field_and_as_cause(kind):
    error: Any = next(error for error, _, _ in ONE_OF_EACH if type(error).__name__ == kind)

    assert error.__cause__ is error.cause
    assert (error.cause.type, error.cause.failure) == ("ValueError", FAILURE)
    assert pickle.loads(pickle.dumps(error)).cause.failure == FAILURE  # noqa: S301 - our own


def test_every_error_is_tried_above_and_is_a_durable_error():
    tried = {type(error).__name__ for error, _, _ in ONE_OF_EACH}

    assert tried | {"DurableError"} == set(errors.__all__)
    assert all(isinstance(error, DurableError) for error, _, _ in ONE_OF_EACH)


def test_every_class_of_error_is_public():
    defined = {n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, DurableError)}

    assert defined == set(errors.__all__)


def test_long_id_is_cut_in_the_message_and_kept_in_the_field():
    error = errors.InvalidId("x" * 500, "too long")

    assert len(str(error)) < 150
    assert error.instance_id == "x" * 500


def test_late_result_is_a_timeout_error():
    assert isinstance(errors.ResultTimeout("a", 5, status="running"), TimeoutError)


@pytest.mark.parametrize("got", ["ActivityScheduled(pay) input={'args': ['swordfish']}", None])
def test_steps_can_be_told_without_their_arguments(got):
    error = errors.NondeterminismError(
        seq=3, event_id=1, expected="ActivityScheduled(pay) input={'args': ['hunter2']}", got=got, offer=0, note="so"
    )

    told = error.without_arguments()

    did = "ActivityScheduled(pay)" if got else "nothing"
    assert str(told) == f"event 3: history has ActivityScheduled(pay), workflow did {did}. so"
    assert {**vars(told), "expected": "", "got": ""} == {**vars(error), "expected": "", "got": ""}


@pytest.mark.parametrize("name", errors.__all__)
def test_tracebacks_name_the_module_that_callers_import_from(name):
    assert getattr(errors, name).__module__ == "durable.core.errors"
