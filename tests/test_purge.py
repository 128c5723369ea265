"""Purge: closed instances are deleted with their children and all their rows, and nothing else is."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.utils import timezone

from durable import InvalidInput, NotClosed, UnknownInstance, UpdateTimeout, activity, client, workflow
from durable.engine import presence, retention, sweep
from durable.engine.advance import advance
from durable.models import Execution, HistoryEvent, InboxEvent, Instance, Operation, Update
from durable.store import purging
from tests.driving import answers, cost, kinds, leftovers


@pytest.fixture
def flows(fresh):
    @activity.defn
    def act(value: Any = None) -> Any:
        return value

    @workflow.defn
    async def leaf(wait: bool = False) -> str:
        await act("leaf")
        if wait:
            await workflow.wait_signal("go")
        return "leaf"

    @workflow.defn
    async def middle(name: str) -> str:
        return await leaf.options(id=f"{name}-leaf")()

    @workflow.defn
    async def root(name: str) -> str:
        await act(name)
        return await middle.options(id=f"{name}-middle")(name)

    @workflow.defn
    async def failing() -> None:
        raise ValueError

    class Flows:
        pass

    made = Flows()
    made.leaf, made.middle, made.root, made.failing = leaf, middle, root, failing  # type: ignore[attr-defined]
    return made


def ended(engine: Any, definition: Any, id: str, *args: Any, **kwargs: Any) -> client.Handle:
    handle = definition.options(id=id).start(*args, **kwargs)
    engine.run_until_quiet()
    return handle


def ids() -> set[str]:
    return set(Instance.objects.values_list("pk", flat=True))


def orphans() -> list[str]:
    """Return rows that belong to an execution or an instance that is gone."""
    executions = set(Execution.objects.values_list("pk", flat=True))
    found = []
    for model in apps.get_app_config("durable").get_models():
        for name in {field.attname for field in model._meta.concrete_fields if field.is_relation}:
            target = next(f for f in model._meta.concrete_fields if f.attname == name).related_model
            there = set(target.objects.values_list("pk", flat=True))
            rows = model.objects.exclude(**{name: None}).values_list(name, flat=True)
            found += [f"{model.__name__}.{name}={value}" for value in rows if value not in there]
    found += [str(row) for row in Update.objects.exclude(instance_id__in=ids())]
    assert set(Instance.objects.values_list("execution_id", flat=True)) <= executions
    return found


# --- one


def test_deletes_an_instance_with_its_children_and_all_their_rows(engine, flows):
    ended(engine, flows.root, "a", "a")
    ended(engine, flows.root, "b", "b")
    events = HistoryEvent.objects.filter(execution__instance__id__startswith="a").count()

    purged = client.purge("a", reason="asked to forget", actor="ada")

    assert purged == client.Purged(instances=3, executions=3, events=events)
    assert purged.to_json() == {"instances": 3, "executions": 3, "events": events, "refused": {}, "dry_run": False}
    assert ids() == {"b", "b-middle", "b-leaf"}
    assert (orphans(), leftovers()) == ([], [])
    (row,) = Operation.objects.all()
    assert (row.verb, row.instance_id, row.actor_name, row.reason) == ("purge", "a", "ada", "asked to forget")
    assert (row.outcome, row.arguments) == ("done", {})


def test_all_executions_go_with_their_updates_and_inboxes(engine, flows):
    @workflow.defn
    async def again(number: int) -> None:
        @workflow.update
        def change() -> int:
            return number

        await workflow.wait_signal("go")
        if number:
            workflow.continue_as_new(number - 1)

    handle = ended(engine, again, "a", 2)
    with pytest.raises(UpdateTimeout):
        client.update("a", "change", update_id="u", timeout=0)
    for _ in range(3):
        handle.signal("go")
        engine.run_until_quiet()
    assert handle.status == "completed"

    assert Update.objects.get().state == "completed"

    assert handle.purge().executions == 3
    for model in (Execution, HistoryEvent, Update, InboxEvent, Instance):
        assert not model.objects.exists(), model


@pytest.mark.parametrize("status", ["running", "pending", "suspended", "stalled"])
def test_only_closed_instances_are_purged(engine, flows, status):
    handle = ended(engine, flows.leaf, "a", wait=True)
    Instance.objects.filter(pk="a").update(status=status)
    before = kinds(handle)

    with pytest.raises(NotClosed) as refused:
        client.purge("a")

    assert (refused.value.instance_id, refused.value.status) == ("a", status)
    assert kinds(handle) == before
    assert list(Operation.objects.values_list("verb", "outcome")) == [("purge", "refused")]


def test_what_is_not_there_is_refused(db):
    for unknown in ("nobody", "a\0b"):
        with pytest.raises(UnknownInstance):
            client.purge(unknown)


def test_force_terminates_an_open_one_first_and_tells_its_parent(engine, flows):
    @workflow.defn
    async def parent() -> str:
        try:
            return await flows.leaf.options(id="child")(wait=True)
        except Exception as error:
            return type(error).__name__

    handle = ended(engine, parent, "parent")

    client.purge("child", force=True)
    engine.run_until_quiet()

    assert handle.result(timeout=0) == "ChildFailed"
    assert ids() == {"parent"}
    assert (orphans(), leftovers()) == ([], [])
    assert Operation.objects.get().arguments == {"force": True}


def test_children_can_be_kept(engine, flows):
    ended(engine, flows.root, "a", "a")

    assert client.purge("a", keep_children=True).instances == 1

    assert ids() == {"a-middle", "a-leaf"}
    assert client.instance("a-middle").parent_id is None
    assert client.instance("a-leaf").parent_id == "a-middle"
    assert client.get("a-middle").result(timeout=0) == "leaf"


def test_an_open_child_refuses_unless_it_was_to_be_abandoned(engine, flows):
    @workflow.defn
    async def starter(policy: str) -> None:
        flows.leaf.options(id=f"{policy}-child", parent_close=policy).start_child(wait=True)
        await workflow.wait_signal("go")

    abandoning, waiting = ended(engine, starter, "one", "abandon"), ended(engine, starter, "two", "cancel")
    for handle in (abandoning, waiting):
        handle.signal("go")
    engine.run_until_quiet()
    Instance.objects.filter(pk="cancel-child").update(status="running", closed_at=None)

    assert client.purge("one").instances == 1
    assert client.instance("abandon-child").parent_id is None
    with pytest.raises(NotClosed, match="cancel-child"):
        client.purge("two")
    assert {"two", "cancel-child"} <= ids()
    assert client.purge("two", keep_children=True).instances == 1

    client.signal("abandon-child", "go")
    engine.run_until_quiet()
    assert client.status("abandon-child") == "completed", "nobody is told, and nothing breaks"


def test_a_child_can_be_purged_alone_and_its_parent_goes_on(engine, flows):
    @workflow.defn
    async def parent() -> str:
        result = await flows.leaf.options(id="child")()
        await workflow.wait_signal("go")
        return result

    handle = ended(engine, parent, "parent")

    assert client.purge("child").instances == 1
    handle.signal("go")

    assert engine.result(handle) == "leaf"


# --- reruns


def test_inherited_children_of_a_rerun_are_never_touched(engine, flows):
    @activity.defn
    def last() -> int:
        return 1

    @workflow.defn
    async def flow() -> list[Any]:
        return [await flows.leaf.options(id="child")(), await last()]

    ended(engine, flow, "source")
    again = client.rerun_from_activity("source", 1, new_instance_id="again")
    engine.run_until_quiet()
    assert answers(again)["ChildScheduled"] == 1

    assert again.purge().instances == 1

    assert ids() == {"source", "child"}
    assert client.instance("child").parent_id == "source"


def test_a_rerun_keeps_the_name_of_its_source(engine, flows):
    ended(engine, flows.leaf, "source")
    client.rerun_from_activity("source", 0, new_instance_id="again")
    engine.run_until_quiet()

    client.purge("source")

    again = client.instance("again")
    assert (again.rerun_from, again.status) == ("source", "completed")
    assert again.executions.get().source_id is None
    assert client.get("again").result(timeout=0) == "leaf"
    assert orphans() == []


def test_a_purged_child_is_started_again_by_a_rewind(engine, flows):
    broken = [True]

    @activity.defn
    def mended() -> str:
        if broken:
            raise activity.NonRetryable("broken")
        return "done"

    @workflow.defn
    async def child() -> str:
        return await mended()

    @workflow.defn
    async def parent() -> str:
        return await child.options(id="child")()

    handle = ended(engine, parent, "parent")
    client.purge("child")
    broken.clear()

    handle.rewind()

    assert engine.result(handle) == "done"


# --- a look first


def test_a_dry_run_tells_what_would_go(engine, flows):
    ended(engine, flows.root, "a", "a")
    events = HistoryEvent.objects.count()

    preview = client.purge("a", dry_run=True)

    assert isinstance(preview, client.Preview)
    assert (preview.verb, preview.allowed) == ("purge", True)
    (middle,) = preview.children
    assert (middle.instance_id, [child.instance_id for child in middle.children]) == ("a-middle", ["a-leaf"])
    assert preview.warnings == [f"deletes 3 instances, 3 executions and {events} events"]
    assert len(ids()) == 3
    assert list(Operation.objects.values_list("dry_run", "outcome")) == [(True, "done")]


def test_a_dry_run_names_what_is_ended_left_and_kept(engine, flows):
    @workflow.defn
    async def starter() -> None:
        for policy in ("abandon", "terminate"):
            flows.leaf.options(id=policy, parent_close=policy).start_child(wait=True)
        await workflow.wait_signal("go")

    ended(engine, starter, "a")
    Instance.objects.create(
        **{f.attname: getattr(client.instance("a"), f.attname) for f in Instance._meta.concrete_fields}
        | {"id": "again", "rerun_from": "a", "status": "completed"}
    )

    preview = client.purge("a", force=True, dry_run=True)

    assert isinstance(preview, client.Preview)
    assert preview.warnings[1:] == [
        "a is running, and is terminated first",
        "terminate is running, and is terminated first",
        "child abandon goes on, without its parent",
        "again was begun like this one, and stays",
    ]
    refused = client.purge("a", dry_run=True)
    assert isinstance(refused, client.Preview)
    assert isinstance(refused.refusal, NotClosed)


# --- many


def test_many_go_in_batches_and_what_is_refused_is_told(engine, flows):
    for number in range(5):
        ended(engine, flows.leaf, f"done-{number}")
    ended(engine, flows.leaf, "open", wait=True)
    seen: list[int] = []

    purged = client.purge(
        ["open", "nobody", *(f"done-{n}" for n in range(5))], batch_size=2, progress=seen.append, actor="ada"
    )

    assert isinstance(purged, client.Purged)
    assert (purged.instances, seen) == (5, [2, 4, 6, 7])
    assert {pk: type(error) for pk, error in purged.refused.items()} == {"open": NotClosed, "nobody": UnknownInstance}
    assert ids() == {"open"}
    rows = Operation.objects.values_list("instance_id", "outcome", "actor_name")
    assert sorted(rows) == [
        *((f"done-{n}", "done", "ada") for n in range(5)),
        ("nobody", "refused", "ada"),
        ("open", "refused", "ada"),
    ]


def test_a_queryset_names_instances(engine, flows):
    for number in range(3):
        flows.leaf.options(id=f"p{number}", tags={"old": number < 2}).start()
    engine.run_until_quiet()

    purged = client.purge(Instance.objects.filter(tags={"old": True}))

    assert purged.instances == 2
    assert list(Instance.objects.values_list("pk", flat=True)) == ["p2"]
    with pytest.raises(InvalidInput, match="ids, which are text"):
        client.purge(Operation.objects.all())  # type: ignore[arg-type]


def test_filters_choose_among_the_closed(engine, flows):
    ended(engine, flows.leaf, "leaf")
    ended(engine, flows.failing, "failed")
    ended(engine, flows.root, "r", "r")
    ended(engine, flows.leaf, "open", wait=True)
    Instance.objects.filter(pk="leaf").update(closed_at=timezone.now() - timedelta(days=40))

    def chosen(**filters: Any) -> int:
        purged = client.purge(**filters, dry_run=True)
        assert isinstance(purged, client.Purged)
        assert purged.dry_run
        return purged.instances

    assert chosen(status="failed") == 1
    assert chosen(status=["failed", "completed"]) == 5
    assert chosen(workflow="leaf") == 2
    assert chosen(workflow="leaf", older_than=timedelta(days=30)) == 1
    assert chosen(older_than=86_400) == 1
    assert chosen(older_than=timezone.now() + timedelta(days=1)) == 5
    assert chosen(workflow="leaf", force=True) == 3
    assert len(ids()) == 6
    assert set(Operation.objects.values_list("instance_id", "dry_run", "outcome")) == {("", True, "done")}

    purged = client.purge(workflow="leaf", status=["running"])
    assert isinstance(purged, client.Purged)
    assert list(purged.refused) == ["open"]
    client.purge(older_than=0)
    assert ids() == {"open"}
    assert orphans() == []


@pytest.mark.parametrize(
    "options",
    [{}, {"status": "done"}, {"older_than": "7d"}, {"older_than": -1}, {"batch_size": 0, "workflow": "leaf"}],
)
def test_nothing_is_purged_by_mistake(engine, flows, options):
    ended(engine, flows.leaf, "leaf")

    with pytest.raises(InvalidInput):
        client.purge(**options)

    assert ids() == {"leaf"}


def test_what_was_purged_stays_so_when_a_later_batch_fails(engine, flows):
    for number in range(4):
        ended(engine, flows.leaf, f"leaf-{number}")

    def stop(seen: int) -> None:
        if seen == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.purge(workflow="leaf", batch_size=2, progress=stop)
    assert ids() == {"leaf-2", "leaf-3"}

    client.purge(workflow="leaf")
    assert ids() == set()


def test_parents_and_children_that_are_both_chosen_go_once(engine, flows):
    ended(engine, flows.root, "a", "a")

    purged = client.purge(["a-leaf", "a", "a-middle", "a"])

    assert isinstance(purged, client.Purged)
    assert (purged.instances, purged.refused) == (3, {})


def test_statements_do_not_grow_with_the_number_of_instances(engine, flows):
    for number in range(12):
        ended(engine, flows.leaf, f"leaf-{number:02}")

    with cost() as two:
        client.purge(["leaf-00", "leaf-01"])
    with cost() as ten:
        client.purge([f"leaf-{n:02}" for n in range(2, 12)])

    assert len(ten.statements) == len(two.statements)
    assert ids() == set()


def test_many_instances_are_deleted_in_pieces(engine, flows, monkeypatch):
    monkeypatch.setattr("durable.store.purging._AT_ONCE", 2)
    for number in range(3):
        ended(engine, flows.root, f"a{number}", f"a{number}")

    purged = client.purge(workflow="root")

    assert isinstance(purged, client.Purged)
    assert (purged.instances, ids(), orphans()) == (9, set(), [])


def test_what_runs_while_its_instance_is_purged_ends_quietly(engine, path, caplog):
    @activity.defn
    def act() -> str:
        client.purge("a", force=True)
        return "too late"

    @workflow.defn
    async def flow() -> str:
        return await act()

    with caplog.at_level(logging.WARNING):
        ended(engine, flow, "a")

    assert (ids(), leftovers(), caplog.records) == (set(), [], [])


# --- retention


@pytest.fixture
def month(settings):
    settings.DURABLE = {"RETENTION": {"completed": 30 * 86_400}}


def aged(*pks: str, days: int) -> None:
    Instance.objects.filter(pk__in=pks).update(closed_at=timezone.now() - timedelta(days=days))


@pytest.mark.usefixtures("month")
def test_the_sweep_purges_what_was_kept_for_long_enough(engine, flows):
    for number in range(4):
        ended(engine, flows.root, f"r{number}", f"r{number}")
    ended(engine, flows.failing, "failed")
    ended(engine, flows.leaf, "open", wait=True)
    aged("r0", "r1", "failed", days=31)
    aged("r2", days=29)

    sweep.sweep()

    assert ids() == {"failed", "open", *(f"r{n}{part}" for n in (2, 3) for part in ("", "-middle", "-leaf"))}
    assert (orphans(), leftovers()) == ([], [])
    assert not Operation.objects.exists(), "nobody did it"


@pytest.mark.usefixtures("month")
def test_children_are_kept_with_their_parents(engine, flows):
    @workflow.defn
    async def parent(number: int) -> None:
        await flows.leaf.options(id=f"child-{number}")()
        await workflow.wait_signal("go")
        workflow.continue_as_new(number + 1)

    ended(engine, flows.root, "r", "r")
    handle = ended(engine, parent, "parent", 0)
    aged("r-middle", "r-leaf", "child-0", days=31)

    assert retention.purge_old() == 0

    handle.signal("go")
    engine.run_until_quiet()
    retention.purge_old()
    assert ids() == {"r", "r-middle", "r-leaf", "parent", "child-1"}, "the execution that started child-0 is over"


@pytest.mark.usefixtures("month")
def test_a_parent_is_kept_until_its_children_have_ended(engine, flows, monkeypatch):
    @workflow.defn
    async def starter(policy: str) -> None:
        flows.leaf.options(id=f"{policy}-child", parent_close=policy).start_child(wait=True)

    for policy in ("abandon", "terminate"):
        ended(engine, starter, policy, policy)
    Instance.objects.filter(pk="terminate-child").update(status="running", closed_at=None)
    aged("abandon", "terminate", days=31)
    monkeypatch.setattr(retention, "_AT_ONCE", 1)

    assert retention.purge_old() == 1, "those that have to stay are in nobody's way"

    assert ids() == {"abandon-child", "terminate", "terminate-child"}
    assert not purging.due({"completed": timedelta(days=30)}).exists()


def test_retention_costs_nothing_unless_it_is_set_and_a_statement_when_there_is_nothing(engine, flows, settings):
    ended(engine, flows.leaf, "leaf")

    with cost() as unset:
        retention.purge_old()
    settings.DURABLE = {"RETENTION": {"completed": 3600, "failed": 7200}}
    with cost() as nothing:
        retention.purge_old()

    assert (len(unset.statements), len(nothing.statements)) == (0, 1)


def test_retention_goes_on_batch_after_batch(engine, flows, settings, monkeypatch):
    monkeypatch.setattr(retention, "_AT_ONCE", 2)
    monkeypatch.setattr(retention, "_STAYS_SECONDS", 60)
    for number in range(5):
        ended(engine, flows.leaf, f"leaf-{number}")
    aged(*ids(), days=1)
    settings.DURABLE = {"RETENTION": {"completed": 0}}

    assert retention.purge_old() == 5


@pytest.mark.parametrize(
    "given", [{"running": 1}, {"completed": -1}, {"failed": "30d"}, {"failed": True}, {"failed": None}]
)
def test_check_of_the_setting(settings, given):
    settings.DURABLE = {"RETENTION": given}
    assert [message.id for message in run_checks(tags=["durable"])] == ["durable.E010"]
    settings.DURABLE = {"RETENTION": {"completed": 0, "failed": 1.5}, "UPDATE_OUTCOMES": 60}
    assert run_checks(tags=["durable"]) == []


def test_worker_forgets_what_it_ran_in_place_for_an_instance_that_is_purged_meanwhile(committing, caplog):
    presence.start()

    @activity.defn
    def stopped() -> None:
        client.purge(activity.info().instance_id, force=True)
        raise KeyboardInterrupt

    @workflow.defn
    async def flow() -> None:
        await stopped()

    handle = flow.start()
    with pytest.raises(KeyboardInterrupt):
        advance(handle.id)

    assert "could not give work back yet" not in caplog.text
    with pytest.raises(UnknownInstance):
        client.get(handle.id)
