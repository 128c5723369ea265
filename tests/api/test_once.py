"""Idempotency keys: the first answer again, and nothing twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import connection, transaction

from durable.api import verbs
from durable.models import Answer, Instance, Operation
from durable.store import answers
from tests.api.conftest import EVERY, Api
from tests.api.test_reading import problem
from tests.driving import Together

START = {"workflow": "flow", "args": [1]}


def test_the_same_request_gets_the_first_answer(api, flow):
    first = api.post("instances/", START, Idempotency_Key="k")
    again = api.post("instances/", START, Idempotency_Key="k")

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert [again.headers[name] for name in ("Location", "ETag")] == [first.headers["Location"], first.headers["ETag"]]
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")
    assert Instance.objects.count() == Operation.objects.count() == 1


def test_refusals_are_first_answers_too(api, failed):
    first = api.do("order/1", "resume", Idempotency_Key="k")
    again = api.do("order/1", "resume", Idempotency_Key="k")

    problem(first, 409, "not_open")
    problem(again, 409, "not_open")
    assert again.json() == first.json()
    assert Operation.objects.count() == 1, "the refusal is audited, once"


def test_without_a_key_all_is_done_again(api, flow):
    assert api.post("instances/", START).json()["id"] != api.post("instances/", START).json()["id"]
    assert not Answer.objects.exists()


@pytest.mark.parametrize(
    ("path", "body", "match"),
    [("instances/", {**START, "args": [2]}, ""), ("instances/?dry_run=true", START, ""), ("instances/", START, "*")],
)
def test_a_key_is_for_one_request(api, flow, path, body, match):
    api.post("instances/", START, Idempotency_Key="k")

    problem(
        api.post(path, body, Idempotency_Key="k", **({"If_Match": match} if match else {})),
        422,
        "idempotency_key_reused",
    )
    assert Instance.objects.count() == 1


def test_keys_are_each_users_own(api, someone, flow):
    other = Api(someone(*EVERY, name="bob"))

    assert api.post("instances/", START, Idempotency_Key="k").status_code == 201
    assert other.post("instances/", START, Idempotency_Key="k").status_code == 201
    assert Instance.objects.count() == 2


def test_who_was_denied_may_try_again(someone, failed):
    user = someone("view_instance")
    problem(Api(user).do("order/1", "rewind", Idempotency_Key="k"), 403, "permission_denied")
    seer = someone(*EVERY, name="bob")
    user.user_permissions.set(seer.user_permissions.all())

    assert Api(type(user).objects.get(pk=user.pk)).do("order/1", "rewind", Idempotency_Key="k").status_code == 200
    assert list(Operation.objects.order_by("id").values_list("outcome", flat=True)) == ["denied", "done"]


@pytest.mark.parametrize("key", ["x" * 256, "a\x7fb"])
def test_keys_that_cannot_be_kept_are_refused(api, flow, key):
    problem(api.post("instances/", START, Idempotency_Key=key), 400, "invalid_request")
    assert not Instance.objects.exists()


def test_a_crash_undoes_the_work_and_its_key(api, flow, monkeypatch):
    start = verbs.start

    def crash(*args: Any, **options: Any) -> None:
        start(*args, **options)
        raise RuntimeError("the power went off")

    with mock.patch.object(verbs, "start", crash), pytest.raises(RuntimeError):
        api.post("instances/", START, Idempotency_Key="k")
    assert not Instance.objects.exists()
    assert not Answer.objects.exists()

    assert api.post("instances/", START, Idempotency_Key="k").status_code == 201


def test_old_answers_are_forgotten(api, flow, time):
    api.post("instances/", START, Idempotency_Key="old")
    time.forward(answers.KEPT + timedelta(minutes=1))
    api.post("instances/", START, Idempotency_Key="new")

    assert list(Answer.objects.values_list("key", flat=True)) == ["new"]


def test_many_at_once_do_it_once(someone, committing, flow):
    user = someone(*EVERY)

    def ask() -> Any:
        return Api(user).post("instances/", START, Idempotency_Key="k")

    responses = Together().add(ask, times=5).run()

    assert [getattr(response, "status_code", response) for response in responses] == [201] * 5
    assert len({response.json()["id"] for response in responses}) == 1
    assert sum("Idempotent-Replayed" in response.headers for response in responses) == 4
    assert Instance.objects.count() == 1


@pytest.mark.skipif(connection.vendor != "postgresql", reason="elsewhere the levels of isolation are others")
def test_key_whose_row_cannot_be_seen_is_refused_and_not_looked_for_for_ever(someone, committing, flow):
    user = someone(*EVERY)

    def ask() -> Any:
        return Api(user).post("instances/", START, Idempotency_Key="k")

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert not Answer.objects.exists(), "and so it stays for this transaction"
        Together().add(ask).run()
        refused = ask()

    problem(refused, 409, "idempotency_key_in_use")
    assert ask().headers["Idempotent-Replayed"] == "true"


def test_answers_are_kept_through_the_codec(api, flow, settings):
    settings.DURABLE = {"CODEC": "project.encryption.FernetCodec"}
    settings.DURABLE_KEYS = ["Zm9yIHRlc3RzIG9ubHksIDMyIGJ5dGVzIGxvbmchISE="]
    first = api.post("instances/", START, Idempotency_Key="k")
    again = api.post("instances/", START, Idempotency_Key="k")

    assert again.json() == first.json()
    with connection.cursor() as cursor:
        cursor.execute("SELECT body FROM durable_answer")
        assert first.json()["id"] not in cursor.fetchone()[0]
