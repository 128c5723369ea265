"""The audit: a row for each operator verb, whatever becomes of it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction

from durable import InvalidInput, LimitExceeded, NotOpen, PermissionDenied, UnknownInstance, client, workflow
from durable.engine import closing
from durable.models import Execution, HistoryEvent, InboxEvent, Instance, Operation
from durable.operations import audit
from tests.driving import kinds

VERBS = ["cancel", "terminate", "suspend", "resume"]


@pytest.fixture
def waiting(fresh):
    @workflow.defn
    async def waiting() -> Any:
        return await workflow.wait_signal("go")

    return waiting


@pytest.fixture
def handle(engine, waiting):
    started = waiting.options(id="a").start()
    engine.run_until_quiet()
    return started


def operations(*fields: str) -> list[Any]:
    return list(Operation.objects.order_by("id").values_list(*fields))


def written() -> list[Any]:
    """Return what verbs change, apart from the audit."""
    return [list(model.objects.values()) for model in (Instance, Execution, HistoryEvent, InboxEvent)]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_who_and_why(engine, handle, verb):
    ada = get_user_model().objects.create(username="ada")
    if verb == "resume":
        handle.suspend()
        Operation.objects.all().delete()

    assert getattr(client, verb)("a", reason="because", actor=ada) is None

    (row,) = Operation.objects.all()
    assert (row.verb, row.instance_id, row.actor, row.actor_name) == (verb, "a", ada, "ada")
    assert (row.reason, row.arguments, row.dry_run, row.outcome, row.error) == ("because", {}, False, "done", "")
    assert row.at is not None


@pytest.mark.parametrize("verb", VERBS)
def test_a_dry_run_changes_nothing_and_is_recorded(engine, handle, verb):
    before = written()

    preview = getattr(handle, verb)(actor="ada", dry_run=True)

    assert (preview.verb, preview.instance_id, preview.allowed, preview.refusal) == (verb, "a", True, None)
    assert written() == before
    assert operations("verb", "actor_name", "dry_run", "outcome") == [(verb, "ada", True, "done")]
    engine.run_until_quiet()
    assert handle.status == "running"


@pytest.mark.parametrize("verb", VERBS)
def test_refusals_are_recorded_with_the_error(engine, handle, verb):
    handle.signal("go")
    engine.run_until_quiet()

    with pytest.raises(NotOpen):
        getattr(client, verb)("a", actor="ada")
    with pytest.raises(UnknownInstance):
        getattr(client, verb)("nobody")
    preview = getattr(client, verb)("a", dry_run=True)

    assert not preview.allowed
    assert isinstance(preview.refusal, NotOpen)
    rows = operations("verb", "instance_id", "dry_run", "outcome", "error")
    assert [row[:4] for row in rows] == [
        (verb, "a", False, "refused"),
        (verb, "nobody", False, "refused"),
        (verb, "a", True, "refused"),
    ]
    assert (
        rows[0][4]
        == "NotOpen: instance 'a' is completed and cannot be "
        + {
            "cancel": "canceled",
            "terminate": "terminated",
            "suspend": "suspended",
            "resume": "resumed",
        }[verb]
    )


def test_a_refusal_outlives_the_verbs_rollback(engine, handle, settings):
    settings.DURABLE = {"LIMITS": {"inbox": 1}}
    handle.suspend()
    handle.signal("other")

    with pytest.raises(LimitExceeded):
        handle.cancel(actor="ada")

    assert operations("verb", "outcome")[-1] == ("cancel", "refused")
    assert InboxEvent.objects.count() == 1


def test_what_fails_halfway_is_rolled_back_and_recorded(engine, handle, monkeypatch):
    def breaks(*args: Any) -> Any:
        raise ZeroDivisionError("no")

    monkeypatch.setattr(closing, "close", breaks)

    with pytest.raises(ZeroDivisionError):
        handle.terminate()

    assert kinds(handle) == ["ExecutionStarted"], "the end was written, and rolled back"
    assert operations("verb", "outcome", "error") == [("terminate", "failed", "ZeroDivisionError: no")]


def test_a_success_and_its_row_are_one_transaction(engine, handle, monkeypatch):
    def breaks(*args: Any, **options: Any) -> None:
        raise ZeroDivisionError("no row")

    monkeypatch.setattr(Operation, "save", breaks)
    with transaction.atomic(), pytest.raises(ZeroDivisionError):
        handle.terminate()

    assert handle.status == "running"


def test_denials_are_recorded(db):
    with pytest.raises(PermissionDenied), audit.audited("terminate", "a", actor="eve"):
        raise PermissionDenied("eve", "terminate a")

    assert operations("actor_name", "outcome") == [("eve", "denied")]


@pytest.mark.parametrize("reason", ["x" * 1001, "a\0b", 7, "\ud800"])
def test_a_reason_that_cannot_be_stored_is_refused_and_recorded(engine, handle, reason):
    with pytest.raises(InvalidInput, match="reason"):
        handle.suspend(reason=reason)

    assert handle.status == "running"
    assert operations("verb", "outcome") == [("suspend", "refused")]


# --- children


def test_a_dry_run_of_terminate_says_what_becomes_of_children(engine, waiting):
    @workflow.defn
    async def root() -> None:
        for policy in ("terminate", "cancel", "abandon"):
            waiting.options(id=policy, parent_close=policy).start_child()
        await workflow.wait_signal("never")

    handle = root.start()
    engine.run_until_quiet()

    preview = handle.terminate(dry_run=True)

    assert [(child.verb, child.instance_id) for child in preview.children] == [
        ("cancel", "cancel"),
        ("terminate", "terminate"),
    ]
    assert preview.warnings == ["child abandon goes on"]
    handle.terminate()
    assert client.status("terminate") == "terminated"
    assert client.status("abandon") == "running"
    assert handle.terminate(dry_run=True).warnings == ["it is terminated, nothing changes"]


def test_a_dry_run_of_suspend_names_the_children_that_are_halted_too(engine, waiting):
    @workflow.defn
    async def root() -> None:
        await waiting.options(id="child")()

    handle = root.start()
    engine.run_until_quiet()

    assert handle.suspend(dry_run=True).children == []
    (child,) = handle.suspend(children=True, dry_run=True).children
    assert (child.verb, child.instance_id) == ("suspend", "child")
    handle.suspend(children=True)
    (child,) = handle.suspend(children=True, dry_run=True).children
    assert child.warnings == ["it is suspended, nothing changes"]
    assert operations("arguments")[-1] == ({"children": True},)


# --- signals


def test_a_signal_is_an_operation_when_somebody_sends_it(engine, handle):
    handle.signal("other", {"card": "4111"})
    assert operations("verb") == [], "programs signal all the time, and the history says so"

    client.signal("a", "go", {"card": "4111"}, actor="ada", reason="by phone")

    (row,) = Operation.objects.all()
    assert (row.verb, row.instance_id, row.actor_name, row.reason) == ("signal", "a", "ada", "by phone")
    assert row.arguments == {"name": "go", "payload": "***"}
    assert engine.result(handle) == {"card": "4111"}


def test_payloads_are_not_in_the_error_either(engine, handle):
    class Card:
        def __repr__(self) -> str:
            return "4111"

    with pytest.raises(InvalidInput):
        handle.signal("go", Card(), actor="ada")

    ((outcome, error),) = operations("outcome", "error")
    assert (outcome, error) == ("refused", "InvalidInput: signal go: ***")
