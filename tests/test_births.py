"""How new instances are stored: in one statement where the database can, and the same as elsewhere."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.core import serializers
from django.db import DataError, IntegrityError, connection, connections, transaction

from durable import AlreadyExists, client, workflow
from durable.models import Execution, InboxEvent, Instance
from durable.store import births, clock, creation, turns
from tests.driving import cost

ONE = connection.vendor == "postgresql"

DATA = {"text": 'quote " backslash \\ nul \0 line \n é 漢 😀', "b": 1, "a": [None, True, 1.5, -(2**70)]}


@pytest.fixture
def order(fresh):
    @workflow.defn
    async def order(data: object = None) -> object:
        return data

    return order


def newborn(instance_id: str, **values) -> creation.Newborn:
    given = {"arguments": {"args": [DATA], "kwargs": {}}, "queue": "a", "tags": {}, "options": {}}
    return creation.new(instance_id=instance_id, name="order", **{"version": 0, **given, **values})


PARENT = creation.Parent(instance_id="p", execution_id=uuid.uuid4(), event_id=3)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"tags": {"é": [None, 1.5]}, "headers": {"h": DATA}, "version": 3, "app_id": "x", "queue": 'a "queue"'},
        {"options": {"timeout": 1.5, "delay": 3600.0, "retry": {"max_attempts": 2}, "resolve": True}},
        {"parent": PARENT, "generation": 4, "rerun_from": "other", "attempt": 2},
    ],
)
def test_new_instances_are_stored_like_by_the_orm(committing, monkeypatch, values):
    born = [newborn(f"one-{n}", **values) for n in range(2)]
    stored = []
    for way in (turns.in_one_statement, lambda: False):
        monkeypatch.setattr(turns, "in_one_statement", way)
        with transaction.atomic():
            creation.insert(born)
            stored.append(everything())
            transaction.set_rollback(True)
        for row in (row for each in born for row in each.inbox):
            row.pk = None

    assert stored[0] == stored[1]
    assert [len(rows) for rows in stored[0]] == [2, 2, 2 * len(born[0].inbox)]


def everything():
    """Return all that is stored of all instances, but for the keys that the database gives."""
    orders = {Instance: ("pk",), Execution: ("pk",), InboxEvent: ("execution", "visible_at")}
    found = [serializers.serialize("python", model.objects.order_by(*order)) for model, order in orders.items()]
    return [
        [(row["pk"] if row["model"] != "durable.inboxevent" else None, row["fields"]) for row in of] for of in found
    ]


@pytest.mark.parametrize("options", [{}, {"id": "mine"}, {"timeout": 5.0, "tags": {"a": 1}, "headers": {"b": 2}}])
def test_start_is_one_statement_in_no_transaction(committing, order, options):
    order.start()  # asks for the time
    with cost() as counted:
        order.options(**options).start(DATA)

    own = not ONE and "id" in options
    assert (len(counted.statements), counted.commits) == (1 if ONE else 3 + own, 1)
    assert connection.in_atomic_block is False


def test_start_in_a_callers_transaction_adds_no_savepoint(committing, order, django_assert_num_queries):
    order.start()
    with transaction.atomic(), django_assert_num_queries(1 if ONE else 5):
        order.start()


@pytest.mark.skipif(not ONE, reason="this database's transactions are of another kind without autocommit")
def test_start_without_autocommit_waits_for_the_callers_commit(committing, order, monkeypatch):
    told = []
    monkeypatch.setattr("durable.dispatch.advance", told.extend)
    transaction.set_autocommit(False)
    try:
        order.options(id="dropped").start()
        transaction.rollback()
        order.options(id="kept").start()
        before = list(told)
        transaction.commit()
    finally:
        transaction.set_autocommit(True)  # Django's time to say that it is committed

    assert list(Instance.objects.values_list("pk", flat=True)) == ["kept"]
    assert (before, [pk for _, pk in told]) == ([], ["kept"])


@pytest.mark.parametrize("reuse", ["reject", "return_existing", "replace_closed"])
@pytest.mark.parametrize("commits", [True, False])
def test_start_waits_for_whoever_is_about_to_take_its_id(committing, order, reuse, commits):
    inserted, waits = threading.Event(), threading.Event()
    outcome: list[object] = []

    def other() -> None:
        try:
            with transaction.atomic():
                order.options(id="one", tags={"by": "other"}).start()
                inserted.set()
                waits.wait(timeout=10)
                transaction.set_rollback(not commits)
        finally:
            connections.close_all()

    def late() -> None:
        try:
            outcome.append(order.options(id="one", id_reuse=reuse, tags={"by": "late"}).start())
        except AlreadyExists as error:
            outcome.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=target, daemon=True) for target in (other, late)]
    threads[0].start()
    assert inserted.wait(timeout=10)
    threads[1].start()
    threads[1].join(timeout=0.3)
    assert threads[1].is_alive(), "it waits"
    waits.set()
    for thread in threads:
        thread.join(timeout=30)

    refused = commits and reuse != "return_existing"
    assert isinstance(outcome[0], AlreadyExists if refused else client.Handle)
    assert client.get("one").instance.tags == {"by": "other" if commits else "late"}
    assert [Model.objects.count() for Model in (Instance, Execution, InboxEvent)] == [1, 1, 1]


def test_refused_start_of_many_in_a_callers_transaction_keeps_what_was_written(committing, order):
    order.options(id="taken").start()

    with transaction.atomic():
        for name in ("one", "taken", "two"):
            try:
                order.options(id=name).start()
            except AlreadyExists:
                Group.objects.create(name=name)

    assert sorted(Instance.objects.values_list("pk", flat=True)) == ["one", "taken", "two"]
    assert [group.name for group in Group.objects.all()] == ["taken"]


@pytest.mark.skipif(not ONE, reason="elsewhere the ORM stores it")
def test_error_of_the_database_spoils_a_callers_transaction_as_with_any_model(committing, order, monkeypatch):
    order.start()
    monkeypatch.setattr(births, "_statement", lambda: "SELECT %s, %s, %s, 1 / 0")

    told = []
    with transaction.atomic():
        transaction.on_commit(lambda: told.append("committed"))
        with pytest.raises(DataError), transaction.atomic():
            order.start()
        Group.objects.create(name="kept by a savepoint of the caller's")
    with transaction.atomic():
        transaction.on_commit(lambda: told.append("given up"))
        with pytest.raises(DataError):
            order.start()
        with pytest.raises(transaction.TransactionManagementError):
            Group.objects.create(name="refused")

    assert told == ["committed"]
    assert Group.objects.count() == 1


@pytest.mark.parametrize("taken", ["of another", "among them"])
def test_id_that_is_taken_keeps_all_that_are_stored_together_from_being_stored(committing, order, taken):
    if taken == "of another":
        order.options(id="b").start()
    before = [Model.objects.count() for Model in (Instance, Execution, InboxEvent)]
    born = [newborn(pk) for pk in ("a", "b", *(["a"] if taken == "among them" else []))]

    with pytest.raises(IntegrityError), transaction.atomic():
        creation.insert(born)

    assert [Model.objects.count() for Model in (Instance, Execution, InboxEvent)] == before


def test_delayed_start_is_due_later(committing, order):
    order.options(delay=3600.0, timeout=5.0).start()

    due = sorted(InboxEvent.objects.values_list("visible_at", flat=True))
    assert due[0] > clock.now() + timedelta(seconds=3500)
    assert due[1] - due[0] == timedelta(seconds=5)
