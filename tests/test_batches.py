"""Batches: a verb done to many instances, each once, whatever happens on the way."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import OperationalError

from durable import (
    InvalidInput,
    LimitExceeded,
    NotClosed,
    PermissionDenied,
    RetryPolicy,
    UnknownInstance,
    activity,
    client,
    workflow,
)
from durable.client import batches, batching, verbs
from durable.core.errors import InvalidId
from durable.engine.advance import advance
from durable.engine.perform import perform
from durable.models import BatchItem, Instance, Operation
from durable.operations import recover as recovering
from durable.operations import rewind as rewinding
from durable.operations.recovered import Busy
from durable.store import batches as store
from durable.store import clock
from tests.driving import Together, cost, kinds

ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture
def small(monkeypatch):
    """Pages of two, and two pages in an execution."""
    monkeypatch.setattr(batches, "PAGE", 2)
    monkeypatch.setattr(batches, "PAGES", 2)


class Orders:
    """Instances of a workflow that fail as long as their id is among the broken ones."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.broken: set[str] = set()
        self.ran: Counter[str] = Counter()

        @activity.defn(name="charge", retry=ONCE)
        def charge(order: str) -> str:
            self.ran[order] += 1
            if order in self.broken:
                raise ValueError(f"{order} is broken")
            return order

        @workflow.defn(name="order")
        async def order(order: str) -> str:
            return await charge(order)

        @workflow.defn(name="waiting")
        async def waiting() -> Any:
            return await workflow.wait_signal("word")

        self.order, self.waiting = order, waiting

    def failed(self, *ids: str) -> list[str]:
        """Return the ids of instances that have failed and would not any more."""
        self.broken = set(ids)
        for each in ids:
            self.order.options(id=each).start(each)
        self.engine.run()
        assert set(Instance.objects.filter(pk__in=ids).values_list("status", flat=True)) == {"failed"}
        self.broken = set()
        return list(ids)

    def open(self, *ids: str) -> list[str]:
        """Return the ids of instances that wait for a signal."""
        for each in ids:
            self.waiting.options(id=each).start()
        self.engine.run()
        return list(ids)


@pytest.fixture
def orders(engine):
    return Orders(engine)


def names(count: int) -> list[str]:
    return [f"o{number}" for number in range(count)]


def outcomes(report: client.BatchReport) -> dict[str, str]:
    return {item.instance_id: item.outcome for item in report.items}


def test_does_a_verb_to_each_instance(engine, orders, small):
    ids = orders.failed(*names(11))

    handle = client.batch("rewind", ids, reason="mended", actor="ada")
    found = engine.result(handle)

    assert found == {"verb": "rewind", "dry_run": False, "total": 11, "done": 11}
    assert set(Instance.objects.filter(pk__in=ids).values_list("status", flat=True)) == {"completed"}
    assert orders.ran == dict.fromkeys(ids, 2)
    audited = Operation.objects.filter(verb="rewind")
    assert sorted(audited.values_list("instance_id", flat=True)) == sorted(ids)
    assert set(audited.values_list("reason", "actor_name", "outcome")) == {("mended", "ada", "done")}
    begun = Operation.objects.get(verb="batch")
    assert (begun.instance_id, begun.arguments, begun.outcome) == (handle.id, {"of": "rewind"}, "done")
    report = client.batch_report(handle)
    assert (report.batch_id, report.verb, report.status, report.total) == (handle.id, "rewind", "completed", 11)
    assert report.counts == {"done": 11}
    assert [item.instance_id for item in report.items] == ids
    rewound = Instance.objects.get(pk="o3")
    assert report.items[3].detail == {"execution_id": str(rewound.execution_id)}
    assert handle.instance.progress == {"done": 11, "total": 11, "note": ""}


def test_goes_on_in_executions_of_bounded_length(engine, orders, small):
    ids = orders.failed(*names(11))

    handle = client.batch("rewind", ids, concurrency=1)
    engine.run()

    executions = list(handle.instance.executions.order_by("number"))
    assert [each.status for each in executions] == ["continued", "continued", "completed"]
    assert [kinds(handle, each.pk).count("ActivityCompleted") for each in executions] == [2, 2, 2]
    assert orders.ran == dict.fromkeys(ids, 2)


def test_queryset_filter_and_list_choose_the_same(engine, orders, small):
    orders.failed(*names(5))
    orders.open("w")

    chosen = []
    for of in (
        Instance.objects.filter(status="failed"),
        {"status": "failed"},
        names(5),
        [client.get(each) for each in names(5)],
        Instance.objects.filter(name="order").order_by("-id")[:5],
    ):
        handle = client.batch("rewind", of, dry_run=True)
        engine.run()
        chosen.append(sorted(outcomes(client.batch_report(handle))))

    assert chosen == [names(5)] * 5


def test_filter_is_collected_bit_by_bit_and_leaves_out_what_came_later(engine, orders, small, monkeypatch):
    monkeypatch.setattr(batching, "_COLLECTS", 2)
    orders.failed(*names(5))

    handle = client.batch("rewind", {"name": "order", "status": "failed"})
    Instance.objects.filter(pk="o1").update(created_at=clock.now() + timedelta(seconds=5))

    assert engine.result(handle)["total"] == 4
    assert "o1" not in outcomes(client.batch_report(handle))
    assert BatchItem.objects.filter(batch_id=handle.id).count() == 4


def test_batch_of_everything_leaves_itself_out(engine, orders):
    orders.open("w")

    handle = client.batch("cancel", {"status__in": ["pending", "running"]})

    assert engine.result(handle)["done"] == 1
    assert client.status("w") == "canceled"


def test_error_of_one_stops_none_of_the_others(engine, orders, monkeypatch):
    ids = orders.failed(*names(4))
    orders.open("w")
    carry_out = rewinding.carry_out

    def fragile(planned: Any, **options: Any) -> Any:
        outcome = carry_out(planned, **options)
        if planned.instance.pk == "o1":
            raise RuntimeError("a bug of ours")
        return outcome

    monkeypatch.setattr(rewinding, "carry_out", fragile)

    handle = client.batch("rewind", [ids[0], "w", "nobody", *ids[1:], ids[0]])
    found = engine.result(handle)

    assert (found["done"], found["refused"], found["failed"], found["total"]) == (3, 2, 1, 6)
    assert client.status("o1") == "failed"
    report = client.batch_report(handle)
    errors = {item.instance_id: item.error.partition(":")[0] for item in report.items if item.error}
    assert errors == {"w": "NotFailed", "nobody": "UnknownInstance", "o1": "RuntimeError"}
    assert handle.instance.progress["note"] == "2 refused, 1 failed"
    assert set(Operation.objects.exclude(error="").values_list("instance_id", "outcome")) == {
        ("w", "refused"),
        ("nobody", "refused"),
        ("o1", "failed"),
    }


def test_database_that_fails_is_tried_again_before_it_counts(engine, orders, time, monkeypatch):
    ids = orders.failed(*names(4))
    carry_out, tries = rewinding.carry_out, Counter()

    def fragile(planned: Any, **options: Any) -> Any:
        tries[planned.instance.pk] += 1
        if planned.instance.pk == "o1" or (planned.instance.pk == "o2" and tries["o2"] == 1):
            raise OperationalError("deadlock")
        return carry_out(planned, **options)

    monkeypatch.setattr(rewinding, "carry_out", fragile)

    handle = client.batch("rewind", ids)
    for _ in range(10):
        engine.run()
        time.forward(timedelta(seconds=61))

    assert outcomes(client.batch_report(handle)) == {"o0": "done", "o1": "failed", "o2": "done", "o3": "done"}
    assert tries == {"o0": 1, "o1": 3, "o2": 2, "o3": 1}
    assert orders.ran == {"o0": 2, "o1": 1, "o2": 2, "o3": 2}


def test_what_was_done_before_a_crash_is_not_done_again(engine, orders, monkeypatch):
    ids = orders.open(*names(6))
    describe, done = verbs.describe, Counter()

    def crashing(result: Any) -> Any:
        done["calls"] += 1
        if done["calls"] == 4:
            raise KeyboardInterrupt
        return describe(result)

    monkeypatch.setattr(verbs, "describe", crashing)
    handle = client.batch("signal", ids, name="word", payload="go")
    with pytest.raises(KeyboardInterrupt):
        engine.run()
    assert Counter(outcomes(client.batch_report(handle)).values()) == {"done": 3, "pending": 3}

    assert engine.result(handle)["done"] == 6
    assert [kinds(client.get(each)).count("SignalReceived") for each in ids] == [1] * 6
    assert {client.get(each).result(0) for each in ids} == {"go"}


def test_second_worker_at_the_same_page_undoes_its_own(engine, orders, monkeypatch):
    @workflow.defn(name="two")
    async def two() -> list[Any]:
        return [await workflow.wait_signal("word"), await workflow.wait_signal("word")]

    only = two.options(id="two").start()
    engine.run()
    handle = client.batch("signal", [only], name="word", payload=1, actor="ada")
    next_item = store.next_item

    def overtaken(batch_id: str, *args: Any, **options: Any) -> Any:
        item = next_item(batch_id, *args, **options)
        if item is not None:
            only.signal("word", "the other worker")
            store.settle(batch_id, [only.id], "done")
        return item

    monkeypatch.setattr(store, "next_item", overtaken)

    assert engine.result(handle)["done"] == 1
    assert [event.data["payload"] for event in only.history() if event.kind == "SignalReceived"] == ["the other worker"]
    assert not Operation.objects.filter(verb="signal").exists()


def test_children_that_are_rewound_with_their_parent_are_done(engine, orders):
    @workflow.defn(name="family")
    async def family(child: str) -> str:
        return await orders.order.options(id=child)(child)

    orders.broken = {"child"}
    family.options(id="parent").start("child")
    engine.run()
    orders.broken = set()

    handle = client.batch("rewind", ["parent", "child"], concurrency=1)
    engine.run()

    report = client.batch_report(handle)
    assert outcomes(report) == {"parent": "done", "child": "done"}
    assert report.items[1].detail == {"with": "parent"}
    assert client.get("parent").result(0) == "child"


def test_children_that_are_purged_with_their_parent_are_done(engine, orders):
    @workflow.defn(name="family")
    async def family(child: str) -> str:
        return await orders.order.options(id=child)(child)

    family.options(id="parent").start("child")
    engine.run()

    look = client.batch("purge", ["parent", "child"], dry_run=True)
    assert engine.result(look)["done"] == 2
    handle = client.batch("purge", ["parent", "child", "nobody"], concurrency=1, actor="ada")
    engine.run()

    assert outcomes(client.batch_report(handle)) == {"parent": "done", "child": "done", "nobody": "refused"}
    assert not Instance.objects.filter(pk__in=["parent", "child"]).exists()
    audited = Operation.objects.filter(verb="purge", dry_run=False).order_by("pk")
    assert list(audited.values_list("instance_id", "outcome")) == [("parent", "done"), ("nobody", "refused")]


@pytest.mark.parametrize("verb", ["cancel", "terminate", "suspend"])
def test_halts_half_way(engine, orders, small, monkeypatch, verb):
    ids = orders.open(*names(9))
    describe, calls = verbs.describe, Counter()

    def describe_and_stop(result: Any) -> Any:
        calls["n"] += 1
        if calls["n"] == 3:
            getattr(client, verb)(handle.id)
        return describe(result)

    monkeypatch.setattr(verbs, "describe", describe_and_stop)
    handle = client.batch("signal", ids, name="word", payload="go")
    engine.run()

    report = client.batch_report(handle)
    rest = "pending" if verb == "suspend" else "skipped"
    assert report.counts == {"done": 3, rest: 6}
    assert Counter(outcomes(report).values()) == {"done": 3, rest: 6}
    got = [each for each in ids if client.status(each) == "completed"]
    assert len(got) == 3
    if verb == "cancel":
        assert report.status == "canceled"
        assert handle.instance.progress == {"done": 9, "total": 9, "note": "6 skipped"}
    if verb == "suspend":
        client.resume(handle.id)
        assert engine.result(handle)["done"] == 9
    else:
        again = client.batch_retry(handle)
        assert engine.result(again)["done"] == 6
    assert {client.get(each).result(0) for each in ids} == {"go"}


def test_dry_run_changes_nothing_and_says_what_would_be_done(engine, orders):
    ids = orders.failed(*names(2))
    orders.open("w")

    handle = client.batch("rewind", [*ids, "w"], dry_run=True, actor="ada")
    found = engine.result(handle)

    assert found == {"verb": "rewind", "dry_run": True, "total": 3, "done": 2, "refused": 1}
    assert [client.status(each) for each in [*ids, "w"]] == ["failed", "failed", "running"]
    report = client.batch_report(handle)
    assert report.dry_run
    assert report.items[0].detail["rerun"] == 1
    assert report.items[0].detail["dropped"] == 0
    assert report.items[2].error.startswith("NotFailed: ")

    applied = client.batch_retry(handle, outcomes=["done"])
    assert engine.result(applied) == {"verb": "rewind", "dry_run": False, "total": 2, "done": 2}


@pytest.mark.parametrize("verb", ["cancel", "terminate", "suspend", "resume", "signal"])
def test_dry_run_of_verbs_without_a_preview_of_their_own(engine, orders, verb):
    orders.open("w")
    orders.failed("o0")
    arguments = {"name": "word"} if verb == "signal" else {}

    handle = client.batch(verb, ["w", "o0"], dry_run=True, **arguments)
    engine.run()

    assert outcomes(client.batch_report(handle)) == {"w": "done", "o0": "refused"}
    assert (client.status("w"), kinds(client.get("w"))) == ("running", ["ExecutionStarted"])
    assert not Operation.objects.filter(verb=verb, dry_run=False).exclude(outcome="refused").exists()


def test_each_verb(engine, orders):
    open_ones, failed_ones = orders.open("w0", "w1"), orders.failed("o0", "o1")

    def status_after(verb: str, ids: list[str], **arguments: Any) -> set[str]:
        handle = client.batch(verb, ids, reason="because", actor="ada", **arguments)
        assert engine.result(handle)["done"] == len(ids), client.batch_report(handle)
        rows = Operation.objects.filter(verb=verb, instance_id__in=ids)
        assert set(rows.values_list("actor_name", "reason", "outcome")) == {("ada", "because", "done")}
        return {client.status(each) for each in ids}

    assert status_after("suspend", open_ones) == {"suspended"}
    assert status_after("resume", open_ones) == {"running"}
    assert status_after("recover", open_ones) == {"running"}
    assert status_after("signal", open_ones[:1], name="word") == {"completed"}
    assert status_after("terminate", open_ones[1:]) == {"terminated"}
    assert status_after("rerun", failed_ones, event_id=0, input=client.Args("fresh")) == {"failed"}
    assert orders.ran["fresh"] == 2
    assert status_after("restart", failed_ones) == {"failed"}
    assert Instance.objects.filter(name="order").count() == 6
    assert status_after("rewind", failed_ones) == {"completed"}
    orders.open("w2")
    assert status_after("cancel", ["w2"]) == {"canceled"}
    handle = client.batch("purge", [*open_ones, "w2"])
    assert engine.result(handle)["done"] == 3
    assert not Instance.objects.filter(pk__in=[*open_ones, "w2"]).exists()


def test_restores_take_the_last_rewind_of_each_back(engine, orders):
    ids = orders.failed("a", "b", "c")
    for each in ids:
        client.rewind(each)
    client.get("c").signal("word")

    batch = client.batch("restore", ids, reason="too early", actor="ada")
    engine.run_until_quiet()

    report = client.batch_report(batch)
    outcomes = {item.instance_id: item.outcome for item in report.items}
    assert outcomes == {"a": "done", "b": "done", "c": "refused"}
    origins = [
        list(each.executions.order_by("number").values_list("origin", flat=True)) for each in map(client.instance, "ab")
    ]
    assert origins == [["start", "rewind", "restore"]] * 2
    with pytest.raises(InvalidInput, match="one by one"):
        client.batch("restore", ["a"], execution="x")
    with pytest.raises(InvalidInput, match="signal does not take this; give name, payload"):
        client.batch("signal", ["a"], word="x")


def test_recover_tells_what_it_found(engine, orders):
    open_ones, failed_ones = orders.open("w0", "w1"), orders.failed("o0")
    Instance.objects.filter(pk="w1").update(name="unheard_of")

    handle = client.batch("recover", [*open_ones, *failed_ones, "nobody"])
    engine.run()

    items = client.batch_report(handle).items
    assert [(item.outcome, item.error.partition(":")[0], item.detail) for item in items] == [
        ("done", "", {"outcome": "Resumed"}),
        ("refused", "InvalidHistory", {}),
        ("refused", "NotOpen", {}),
        ("refused", "UnknownInstance", {}),
    ]
    audited = Operation.objects.filter(verb="recover").order_by("pk").values_list("instance_id", "outcome")
    assert list(audited) == [("w0", "done"), ("w1", "refused"), ("o0", "refused"), ("nobody", "refused")]


def test_rerun_goes_by_the_name_of_the_clients_function_too(engine, orders):
    orders.failed("o0", "o1")

    handle = client.batch("rerun_from_activity", ["o0", "o1"], event_id=0)
    engine.run()

    report = client.batch_report(handle)
    assert (report.verb, report.counts) == ("rerun", {"done": 2})
    assert set(Operation.objects.exclude(verb="batch").values_list("verb", flat=True)) == {"rerun"}


def test_recover_leaves_what_others_are_at_for_a_retry(engine, orders, monkeypatch):
    orders.open("w0", "w1")
    seen = recovering._outcome
    monkeypatch.setattr(
        recovering, "_outcome", lambda pk, **options: Busy(head=2) if pk == "w1" else seen(pk, **options)
    )

    handle = client.batch("recover", ["w0", "w1"])
    engine.run()

    items = client.batch_report(handle).items
    assert [(item.outcome, item.error.partition(":")[0]) for item in items] == [
        ("done", ""),
        ("refused", "ConcurrencyConflict"),
    ]
    assert Operation.objects.get(verb="recover", instance_id="w1").outcome == "refused"
    monkeypatch.setattr(recovering, "_outcome", seen)
    again = client.batch_retry(handle)
    engine.run()
    assert [(item.instance_id, item.outcome) for item in client.batch_report(again).items] == [("w1", "done")]


@pytest.mark.parametrize(
    "again",
    [
        client.restart,
        lambda batch_id, **options: client.rerun_from_activity(batch_id, 1, **options),
    ],
    ids=["restart", "rerun"],
)
def test_nobody_does_again_what_another_asked_for(engine, orders, django_user_model, again):
    root = django_user_model.objects.create_superuser("root")
    handle = client.batch("rewind", orders.failed(*names(2)), actor=root)
    engine.run()

    with pytest.raises(InvalidInput, match="batch_retry"):
        again(handle.id, actor="ada")
    preview = again(handle.id, actor="ada", dry_run=True)
    assert not preview.allowed
    assert set(Operation.objects.filter(actor_name="ada").values_list("outcome", flat=True)) == {"refused"}


def test_new_instances_are_named_in_the_report(engine, orders):
    ids = orders.failed(*names(2))

    handle = client.batch("rerun", ids, event_id=0)
    engine.run()

    found = [item.detail["new_instance_id"] for item in client.batch_report(handle).items]
    assert sorted(found) == sorted(Instance.objects.filter(rerun_from__in=ids).values_list("pk", flat=True))


def test_user_needs_the_permission_for_each_when_it_is_done(engine, orders, django_user_model):
    ids = orders.failed(*names(2))
    ada = django_user_model.objects.create_user("ada")

    with pytest.raises(PermissionDenied):
        client.batch("rewind", ids, actor=ada)
    assert Operation.objects.get().outcome == "denied"

    ada.user_permissions.add(Permission.objects.get(codename="repair_instance"))
    ada = User.objects.get(pk=ada.pk)
    handle = client.batch("rewind", ids[:1], actor=ada)
    engine.run()
    done = Operation.objects.get(verb="rewind")
    assert (done.actor, done.actor_name, done.outcome) == (ada, "ada", "done")
    assert client.batch_report(handle).counts == {"done": 1}

    handle = client.batch("rewind", ids[1:], actor=ada)
    ada.user_permissions.clear()
    engine.run()
    assert client.batch_report(handle).counts == {"denied": 1}
    assert client.status(ids[1]) == "failed"
    assert Operation.objects.get(verb="rewind", instance_id=ids[1]).outcome == "denied"

    handle = client.batch_retry(handle, actor="system")
    User.objects.filter(pk=ada.pk).delete()
    assert engine.result(handle)["done"] == 1


def test_restart_that_terminates_needs_the_permission_to_terminate(engine, orders, django_user_model):
    ids = orders.failed(*names(2))
    ada = django_user_model.objects.create_user("ada")
    ada.user_permissions.add(Permission.objects.get(codename="repair_instance"))
    ada = User.objects.get(pk=ada.pk)

    with pytest.raises(PermissionDenied):
        client.batch("restart", ids, actor=ada, terminate_first=True)

    assert client.batch("restart", ids, actor=ada)


def test_deleted_user_may_do_nothing(engine, orders, django_user_model):
    ids = orders.failed("o0")
    root = django_user_model.objects.create_superuser("root")
    handle = client.batch("rewind", ids, actor=root)
    User.objects.all().delete()

    engine.run()

    assert client.batch_report(handle).counts == {"denied": 1}
    assert Operation.objects.get(verb="rewind").actor_name == "root"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: client.batch("explode", ["a"]), "'explode' is not one of"),
        (lambda: client.batch("rewind", ["a"], too=1), "too"),
        (lambda: client.batch("signal", ["a"]), "name"),
        (lambda: client.batch("signal", ["a"], name="x", payload=object()), r"batch\(payload\)"),
        (lambda: client.batch("rerun", ["a"], event_id=0, new_instance_id="b"), "one by one"),
        (lambda: client.batch("rewind", "a"), "give ids"),
        (lambda: client.batch("rewind", User.objects.all()), "queryset of User"),
        (lambda: client.batch("rewind", ["a"], concurrency=0), "from 1 to 100"),
        (lambda: client.batch("rewind", {}), "empty"),
        (lambda: client.batch("rewind", {"input__contains": "x"}), "no such field"),
        (lambda: client.batch("rewind", {"name__regex": "x"}), "no such lookup"),
        (lambda: client.batch("rewind", {"parent__name": "x"}), "no such lookup"),
        (lambda: client.batch("rewind", {"created_at__gte": "yesterday"}), "created_at__gte"),
        (lambda: client.batch("rewind", {"version": "x"}), "version"),
        (lambda: client.batch("rewind", {"started_at__in": {"2027-01-01": None}}), "a list"),
        (lambda: client.batch("rewind", {"tags": "x"}), "maps names"),
    ],
)
def test_what_cannot_be_taken_is_refused_at_once(engine, orders, call, error):
    with pytest.raises(InvalidInput, match=error):
        call()

    assert not Instance.objects.exists()
    assert not BatchItem.objects.exists()


def test_more_than_the_limit_is_refused(engine, orders, settings):
    settings.DURABLE = {"LIMITS": {"batch": 2}}
    orders.open(*names(3))

    for of in (names(3), {"name": "waiting"}, Instance.objects.all()):
        with pytest.raises(LimitExceeded):
            client.batch("cancel", of)

    assert not BatchItem.objects.exists()
    with pytest.raises(InvalidId):
        client.batch("cancel", ["a\0"])


def test_filter_by_tags_and_times(engine, orders):
    orders.waiting.options(id="a", tags={"customer": "Ada", "a__b": 1}).start()
    orders.waiting.options(id="b", tags={"customer": "Ben"}).start()
    now = clock.now()

    def chosen(**filter: Any) -> list[str]:
        handle = client.batch("cancel", filter, dry_run=True)
        engine.run()
        return sorted(set(outcomes(client.batch_report(handle))) & {"a", "b"})

    assert chosen(tags={"customer": "Ada"}) == ["a"]
    assert chosen(tags={"customer": "Ada", "a__b": 1}) == ["a"]
    assert chosen(tags={"customer": "Ben", "a__b": 1}) == []
    assert chosen(name="waiting", created_at__gte=now - timedelta(hours=1)) == ["a", "b"]
    assert chosen(name="waiting", created_at__gte=(now + timedelta(hours=1)).isoformat()) == []
    assert chosen(name="waiting", created_at__range=["2026-01-01", "2126-01-01"], id__in=["b"]) == ["b"]


def test_empty_batch_completes(engine, orders):
    assert engine.result(client.batch("rewind", []))["total"] == 0
    assert engine.result(client.batch("rewind", {"name": "nothing"}))["total"] == 0


def test_report_in_parts(engine, orders):
    handle = client.batch("cancel", [*orders.open(*names(3)), "nobody"])
    engine.run()

    assert [item.instance_id for item in client.batch_report(handle.id, limit=2).items] == ["o0", "o1"]
    assert [item.instance_id for item in client.batch_report(handle.id, limit=2, after="o1").items] == ["o2", "nobody"]
    assert list(outcomes(client.batch_report(handle, outcomes=["refused"]))) == ["nobody"]
    with pytest.raises(InvalidInput, match="not one of"):
        client.batch_report(handle, outcomes=["lost"])
    with pytest.raises(InvalidInput, match="not a batch"):
        client.batch_report("o0")
    with pytest.raises(UnknownInstance):
        client.batch_report("nobody")


def test_open_batch_cannot_be_retried(engine, orders):
    handle = client.batch("cancel", orders.open("w"))

    with pytest.raises(NotClosed):
        client.batch_retry(handle)


@pytest.mark.lenient
def test_an_item_costs_two_statements_beside_its_verb(committing):
    orders = Orders(committing)

    def statements(count: int) -> int:
        ids = orders.failed(*(f"{count}-{n}" for n in range(count)))
        client.batch("rewind", ids, concurrency=1, dry_run=True)
        with cost() as counted:
            committing.run()
        return len(counted.statements)

    (alone,) = orders.failed("alone")
    with cost() as verb:
        client.rewind(alone, dry_run=True)

    assert statements(15) - statements(5) == 10 * (len(verb.statements) + 2)


def test_rows_are_gone_with_the_batch(engine, orders):
    handle = client.batch("cancel", orders.open("w"))
    engine.run()

    Instance.objects.filter(pk=handle.id).delete()

    assert not BatchItem.objects.exists()


def test_batches_are_no_versions_of_the_projects(engine, orders):
    engine.result(client.batch("rewind", []))

    names = {use.name for use in client.versions()}
    assert names >= {"order", "waiting"}
    assert not [name for name in names if name.startswith("durable.")]


@pytest.mark.lenient
def test_workers_at_several_pages_with_the_same_families(committing, settings, monkeypatch):
    settings.DURABLE = {"RUN_INLINE": False}
    monkeypatch.setattr(batches, "PAGE", 4)
    orders = Orders(committing)

    @workflow.defn(name="family")
    async def family(child: str) -> str:
        return await orders.order.options(id=child)(child)

    parents, children = [f"p{n}" for n in range(8)], [f"c{n}" for n in range(8)]
    orders.broken = set(children)
    for parent, child in zip(parents, children, strict=True):
        family.options(id=parent).start(child)
    committing.run()
    assert set(Instance.objects.values_list("status", flat=True)) == {"failed"}
    orders.broken = set()
    handle = client.batch("rewind", [*parents, *reversed(children)])
    advance(handle.id)

    raised = Together().add(lambda: perform("default"), times=4).run()

    assert raised == [None] * 4
    assert committing.result(handle)["done"] == 16
    assert {client.get(parent).result(0) for parent in parents} == set(children)
    assert orders.ran == dict.fromkeys(children, 2)
