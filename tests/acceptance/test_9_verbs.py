"""Operators who repair: against each other, against workers and against a database that fails them half-way."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, transaction

from durable import AlreadyExists, NotClosed, NotFailed, UnknownInstance, client
from durable.client import Handle, Outcome
from durable.errors import DurableError
from durable.models import ActivityTask, Execution, HistoryEvent, InboxEvent, Instance, Operation
from durable.store import history, turns
from tests.acceptance import faults, ledger
from tests.acceptance.app.activities import broken
from tests.acceptance.checks import sound
from tests.acceptance.workers import wait_for
from tests.driving import Together

pytestmark = pytest.mark.usefixtures("crew")

NODES = ("", ":0001", ":0002", ":0001:0001", ":0002:0001")
"""What the ids of a tree's instances end with."""


def failed_tree(key: str) -> Handle:
    """Start a tree whose leaves fail, and wait until all of it has."""
    for number in (1, 2):
        faults.arm(broken(key, number))
    handle = client.start("acceptance.tree", [key], id=key)
    wait_for(lambda: handle.status == "failed", "the tree has failed")
    return handle


def failed(key: str) -> Handle:
    """Start a leaf that fails, and wait until it has."""
    faults.arm(broken(key, 1))
    handle = client.start("acceptance.leaf", [key], id=key)
    wait_for(lambda: handle.status == "failed", "it has failed")
    return handle


def mend(key: str) -> None:
    """Have what failed go well from now on."""
    faults.disarm()


def stored(key: str) -> dict[str, list[object]]:
    """Return all rows of the instances whose ids begin so; the audit, which records refusals too, apart."""
    models = (Execution, HistoryEvent, ActivityTask, InboxEvent)
    path = {Execution: "instance__pk", **dict.fromkeys(models[1:], "execution__instance__pk")}
    rows: dict[str, list[object]] = {
        model.__name__: list(model.objects.filter(**{f"{path[model]}__startswith": key}).order_by("pk").values())
        for model in models
    }
    return {**rows, "Instance": list(Instance.objects.filter(pk__startswith=key).order_by("pk").values())}


def runs(key: str) -> dict[str, int]:
    """Return how often each activity of an instance began."""
    return {name.removeprefix(key): times for name, times in ledger.counts("begin", key).items()}


def split(results: list[object]) -> tuple[list[object], list[DurableError]]:
    """Return what came of calls: what was done, and the refusals; anything else is raised."""
    errors = [each for each in results if isinstance(each, DurableError)]
    for each in results:
        if isinstance(each, BaseException) and each not in errors:
            raise each
    return [each for each in results if each not in errors], errors


def test_tree_runs_what_failed_once_more_for_each_rewind_and_all_else_once(site, key):
    handle = failed_tree(key)
    faults.disarm()
    faults.arm(broken(key, 2))
    client.rewind(key, reason="first")
    wait_for(lambda: handle.status == "failed", "it has failed again")
    faults.disarm()

    outcome = client.rewind(key, reason="second")

    assert handle.result(30) == [0, [0, [0, 1, 2]], [0, [0, 1, 2]], 1]
    assert {child.instance_id for child in outcome.children} == {f"{key}:0001", f"{key}:0002"}
    expected = dict.fromkeys((":0", ":1", ".b1:0", ".b2:0", ".b1.leaf:0", ".b2.leaf:0"), 1)
    assert runs(key) == {**expected, **{f".{b}.leaf:{n}": 1 + n for b in ("b1", "b2") for n in (1, 2)}}
    for node in NODES:
        sound(f"{key}{node}")
        assert Execution.objects.filter(instance_id=f"{key}{node}").count() == 3


@pytest.mark.parametrize("shape", ["leaf", "tree"])
def test_two_operators_rewind_one_instance(site, key, shape):
    handle = failed(key) if shape == "leaf" else failed_tree(key)
    mend(key)

    done, refused = split(Together().add(lambda: client.rewind(key), times=4).run())

    assert [type(each) for each in done] == [Outcome]
    assert {type(error) for error in refused} == {NotFailed}
    assert handle.result(30)
    for instance in Instance.objects.filter(pk__startswith=key):
        sound(instance.pk)
        assert instance.executions.count() == 2
    assert max(runs(key).values()) == 2
    outcomes = Operation.objects.filter(instance_id=key).values_list("outcome", flat=True)
    assert sorted(outcomes) == ["done", "refused", "refused", "refused"]


def test_operators_rewind_a_child_and_its_root(site, key):
    handle = failed_tree(key)
    mend(key)
    child = f"{key}:0001"

    done, refused = split(
        Together().add(lambda: client.rewind(key)).add(lambda: client.rewind(child)).run(),
    )

    # The child may be first; then the root goes on with it. Else the root took it along.
    assert len(done) == 2 or [type(error) for error in refused] == [NotFailed]
    assert handle.result(30)
    for node in NODES:
        sound(f"{key}{node}")
    assert runs(key) == {name: 2 if name[-2:] in (":1", ":2") and "leaf" in name else 1 for name in runs(key)}
    assert Execution.objects.filter(instance_id=child).count() == 2


def test_two_reruns_to_one_new_id(site, key):
    handle = client.start("acceptance.relay", [key, 4], id=key)
    assert handle.result(30) == [0, 1, 2, 3]
    again = lambda: client.rerun_from_activity(key, 2, new_instance_id=f"{key}-new")  # noqa: E731

    done, refused = split(Together().add(again, times=4).run())

    assert [type(each) for each in done] == [Handle]
    assert {type(error) for error in refused} == {AlreadyExists}
    assert client.get(f"{key}-new").result(30) == [0, 1, 2, 3]
    sound(f"{key}-new")
    assert runs(key) == {":0": 1, ":1": 1, ":2": 2, ":3": 2}


@pytest.mark.parametrize("other", ["rewind", "purge"])
def test_rerun_while_its_source_goes_away(site, key, other):
    for number in range(5):
        source = f"{key}{number}"
        failed(source)
        mend(source)
        new = f"{source}-new"

        done, refused = split(
            Together()
            .add(lambda: client.rerun_from_activity(source, 0, new_instance_id=new))  # noqa: B023 - run here
            .add(lambda: getattr(client, other)(source))  # noqa: B023 - run here
            .run()
        )

        if refused:  # whoever came second found no closed instance any more
            assert (len(refused), type(refused[0])) == (1, NotClosed if other == "rewind" else UnknownInstance)
            assert not Instance.objects.filter(pk=new).exists()
        else:
            assert len(done) == 2
            assert client.get(new).result(30) == [0, 1, 2]
            assert client.get(new).instance.rerun_from == source
            sound(new)
        if other == "rewind":
            assert client.get(source).result(30) == [0, 1, 2]
            sound(source)
        else:
            assert not Instance.objects.filter(pk=source).exists()


def test_late_result_comes_after_a_rewind(site, launch, key):
    launch(pool="threads", queues=[key]).await_ready()
    faults.arm(broken(key, 1))
    handle = client.start("acceptance.hasty", [key, 2.0], id=key, queue=key)
    wait_for(lambda: handle.status == "failed", "it has failed")
    assert not ledger.entries("end", f"{key}:0"), "the long activity is still running"
    mend(key)

    client.rewind(key)

    assert handle.result(30) == [0, 1]
    sound(key)
    assert runs(key)[":1"] == 2
    assert runs(key)[":0"] <= 2, "begun anew at most once, since nobody knew its end"
    answered = [item.event_id for item in handle.history() if item.kind == "ActivityCompleted"]
    assert sorted(answered) == [0, 1]


@pytest.mark.parametrize("point", ["step", "turn.before", "turn.after", "commit.before", "inbox-insert.after"])
def test_worker_killed_while_a_rewound_tree_runs_again(site, key, point):
    handle = failed_tree(key)
    mend(key)
    faults.arm(point)
    client.rewind(key)

    assert handle.result(60) == [0, [0, [0, 1, 2]], [0, [0, 1, 2]], 1]
    assert not faults.armed(point)
    for node in NODES:
        sound(f"{key}{node}")
    once = [name for name in runs(key) if not ("leaf" in name and name[-1] in "12")]
    assert {runs(key)[name] for name in once} == {1}
    assert max(runs(key).values()) <= 2 + 1, "what is short and was interrupted before its end was stored"


@pytest.mark.parametrize("skip", range(5))
def test_operator_killed_in_the_middle_of_a_tree_leaves_it_as_it_was(site, key, skip):
    handle = failed_tree(key)
    before = stored(key)
    mend(key)
    faults.arm("begin.after", skip=skip)

    assert site.client("rewind", key, []) != 0

    assert not faults.armed("begin.after")
    assert stored(key) == before
    client.rewind(key)
    assert handle.result(30)


@pytest.mark.parametrize(("module", "at"), [(history, "begin"), (turns, "write")], ids=["begin", "write"])
def test_database_error_in_the_middle_of_a_tree_leaves_it_as_it_was(site, key, module, at, monkeypatch):
    handle = failed_tree(key)
    before = stored(key)
    mend(key)
    real, calls = getattr(module, at), []

    def failing(*args: object, **options: object) -> object:
        calls.append(args)
        if len(calls) == 3:
            raise DatabaseError("the disk is full")
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, at, failing)
        with pytest.raises(DatabaseError):
            client.rewind(key)

    assert stored(key) == before
    assert Operation.objects.filter(instance_id=key, outcome="failed").count() == 1
    client.rewind(key)
    assert handle.result(30)
    for node in NODES:
        sound(f"{key}{node}")


def test_verb_in_a_transaction_that_is_rolled_back_was_not(site, key):
    handle = failed(key)
    before = stored(key)
    mend(key)

    with transaction.atomic():
        client.rewind(key)
        transaction.set_rollback(True)

    assert stored(key) == before
    assert ledger.counts("begin", key)[f"{key}:1"] == 1
    client.rewind(key)
    assert handle.result(30) == [0, 1, 2]
