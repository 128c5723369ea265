"""Children: recorded before started, started once, and told apart by id."""

from __future__ import annotations

import asyncio

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError

from durable import ChildFailed, RetryPolicy, WorkflowFailed, activity, client, workflow
from durable.engine import children
from durable.engine.advance import advance
from durable.models import Instance
from durable.store import creation
from tests.driving import answers, item, kinds, leftovers


@pytest.fixture
def double(fresh):
    @workflow.defn
    async def double(number: int) -> int:
        return 2 * number

    return double


@pytest.fixture
def waiting(fresh):
    @workflow.defn
    async def waiting() -> str:
        return await workflow.wait_signal("go")

    return waiting


def test_await_runs_a_child_and_gives_its_result(engine, double):
    @workflow.defn
    async def parent() -> int:
        return await double(4)

    handle = parent.options(id="p").start()

    assert engine.result(handle) == 8
    assert kinds(handle) == [
        "ExecutionStarted",
        "ChildScheduled",
        "ChildStarted",
        "ChildCompleted",
        "ExecutionCompleted",
    ]
    assert client.get("p:0000").instance.parent_id == "p"


def test_default_id_is_the_parents_id_and_the_event_id_in_hex(engine, double):
    @activity.defn
    def nothing() -> None: ...

    @workflow.defn
    async def parent() -> list[str]:
        for _ in range(10):
            await nothing()
        handle = double.start_child(1)
        await handle
        return [handle.id, workflow.info().execution_id]

    handle = parent.options(id="p").start()

    child_id, execution_id = engine.result(handle)
    assert child_id == "p:000a"
    assert execution_id not in child_id


def test_given_id_queue_and_tags_are_the_childs(engine, waiting):
    @workflow.defn
    async def parent() -> None:
        await waiting.options(id="kid", queue="slow", tags={"a": 1})()

    handle = parent.start()
    engine.run_until_quiet()

    child = client.get("kid").instance
    assert (child.queue, child.tags, child.parent_id, child.parent_event_id) == ("slow", {"a": 1}, handle.id, 0)


def test_event_holds_what_a_purged_child_would_be_made_of_again(engine, double):
    @workflow.defn
    async def parent() -> None:
        await double.options(tags={"a": 1})(4)

    handle = parent.start()
    engine.run_until_quiet()

    data = item(handle, "ChildScheduled").data
    assert data["input"] == {"args": [4], "kwargs": {}}
    assert (data["tags"], data["version"], data["instance_id"]) == ({"a": 1}, 0, f"{handle.id}:0000")


def test_version_of_a_child_is_recorded(engine):
    @workflow.defn
    async def kid() -> str:
        return "first"

    @workflow.defn
    async def kid2() -> str:
        return f"second, {workflow.version()}"

    @workflow.defn
    async def parent() -> list[str]:
        return [await kid(), await kid2()]

    handle = parent.start()

    assert engine.result(handle) == ["first", "second, 2"]
    assert [i.data["version"] for i in handle.history() if i.kind == "ChildScheduled"] == [0, 2]


def test_failure_of_a_child_raises_child_failed_at_the_await(engine):
    @workflow.defn
    async def kid() -> None:
        raise ValueError("no milk")

    @workflow.defn
    async def parent() -> list[str]:
        try:
            await kid.options(id="kid")()
        except ChildFailed as error:
            return [error.workflow, error.instance_id, error.cause.type, error.cause.message]

    handle = parent.start()

    assert engine.result(handle) == ["kid", "kid", "ValueError", "no milk"]
    assert item(handle, "ChildFailed").data["failure"]["message"] == "no milk"


def test_failure_of_a_child_that_is_not_handled_fails_the_parent_with_its_cause(engine):
    @workflow.defn
    async def kid() -> None:
        raise ValueError("no milk")

    @workflow.defn
    async def parent() -> None:
        await kid()

    with pytest.raises(WorkflowFailed) as failed:
        engine.result(parent.start())

    assert failed.value.failure.type == "ChildFailed"
    assert failed.value.failure.cause.message == "no milk"


def test_canceled_child_raises_child_failed(engine, waiting):
    @workflow.defn
    async def parent() -> str:
        try:
            return await waiting.options(id="kid")()
        except ChildFailed as error:
            return error.cause.type

    handle = parent.start()
    engine.run_until_quiet()
    client.cancel("kid")

    assert engine.result(handle) == "WorkflowCanceled"
    assert answers(handle)["ChildCanceled"] == 1


def test_taken_id_fails_the_await_and_leaves_the_other_instance_alone(engine, waiting, double):
    waiting.options(id="taken").start()

    @workflow.defn
    async def parent() -> list[str]:
        try:
            await double.options(id="taken")(1)
        except ChildFailed as error:
            return [error.cause.type, error.instance_id]

    handle = parent.start()

    assert engine.result(handle) == ["AlreadyExists", "taken"]
    assert client.get("taken").status == "running"
    assert kinds(handle)[1:3] == ["ChildScheduled", "ChildFailed"]


@pytest.mark.parametrize("atomic", [None, False, True], ids=["no activity", "activity", "atomic activity"])
def test_id_that_is_taken_after_it_was_looked_up_is_looked_up_again(committing, double, monkeypatch, caplog, atomic):
    double.options(id="taken").start(1)
    look_up, looks, runs = children.Children.look_up, [], []

    def too_early(self, wanted):
        looks.extend(wanted)
        look_up(self, wanted if len(looks) > 1 else [])

    monkeypatch.setattr(children.Children, "look_up", too_early)

    @activity.defn(atomic=bool(atomic))
    def prepare() -> None:
        runs.append(Group.objects.create(name=f"run {len(runs)}"))

    @workflow.defn
    async def parent() -> str:
        if atomic is not None:
            await prepare()
        try:
            await double.options(id="taken")(1)
        except ChildFailed as error:
            return error.cause.type

    handle = parent.start()
    committing.run_until_quiet()

    assert handle.result(timeout=0) == "AlreadyExists"
    assert len(looks) == 2
    assert answers(handle)["ChildScheduled"] == 1
    assert len(runs) == Group.objects.count() == (atomic is not None)
    assert not [
        record
        for record in caplog.records
        if record.name.startswith("durable") and record.levelname in ("WARNING", "ERROR")
    ]


def test_child_that_the_database_never_takes_parks_its_parent(committing, double, settings, monkeypatch):
    settings.DURABLE = {"MAX_FAILED_TURNS": 2}
    tried = []

    def refuse(_rows) -> None:
        tried.append(1)
        assert len(tried) < 50, "it is tried again and again"
        raise IntegrityError("a constraint of the project's own")

    @workflow.defn
    async def parent() -> int:
        return await double(1)

    handle = parent.start()
    with monkeypatch.context() as patch:
        patch.setattr(creation, "insert", refuse)
        for _ in range(2):
            advance(handle.id)

    stall = handle.instance.stall
    assert (handle.status, stall["reason"], stall["error"]) == ("stalled", "poison", "IntegrityError")
    assert (stall["message"], kinds(handle)) == ("a constraint of the project's own", [])


def test_two_children_of_one_id_in_one_step_are_one_child_and_one_failure(engine, double):
    @workflow.defn
    async def parent() -> list:
        results = await asyncio.gather(
            double.options(id="twin")(1), double.options(id="twin")(2), return_exceptions=True
        )
        return [r if isinstance(r, int) else r.cause.type for r in results]

    assert engine.result(parent.start()) == [2, "AlreadyExists"]


def test_invalid_id_of_a_child_fails_the_await(engine, double):
    @workflow.defn
    async def parent() -> str:
        try:
            await double.options(id="x" * 300)(1)
        except Exception as error:
            return f"{type(error).__name__}: {getattr(error, 'cause', error)}"

    result = engine.result(parent.start())

    assert "InvalidId" in result
    assert Instance.objects.count() == 1


def test_unknown_workflow_as_a_child_waits_as_stalled(engine):
    @workflow.defn
    async def parent() -> None:
        await workflow.child_by_name("nobody2").options(id="kid")()

    handle = parent.start()
    engine.run_until_quiet()

    assert handle.status == "running"
    assert client.get("kid").status == "stalled"
    assert client.get("kid").instance.stall["reason"] in ("unknown workflow", "version not available")


def test_child_by_name_runs_the_named_type(engine, double):
    @workflow.defn
    async def parent() -> int:
        return await workflow.child_by_name("double")(4)

    assert engine.result(parent.start()) == 8


def test_parent_signals_its_child_and_the_child_its_parent(engine):
    @workflow.defn
    async def kid() -> None:
        payload = await workflow.wait_signal("down")
        await workflow.signal_instance(workflow.info().parent_id, "up", payload + 1)

    @workflow.defn
    async def parent() -> int:
        child = kid.start_child()
        await child.signal("down", 1)
        answer = await workflow.wait_signal("up")
        await child
        return answer

    assert engine.result(parent.start()) == 2


def test_children_run_side_by_side(engine, double):
    @workflow.defn
    async def parent(width: int) -> int:
        return sum(await asyncio.gather(*(double(n) for n in range(width))))

    handle = parent.start(20)

    assert engine.result(handle) == 2 * sum(range(20))
    assert answers(handle)["ChildCompleted"] == 20
    assert leftovers() == []


def test_child_starts_exactly_once_though_the_parents_worker_loses_its_memory(engine, waiting):
    @workflow.defn
    async def parent() -> str:
        return await waiting.options(id="kid")()

    handle = parent.start()
    for _ in range(3):
        engine.run_until_quiet()
        engine.restart()
    client.signal("kid", "go", "once")

    assert engine.result(handle) == "once"
    assert answers(handle)["ChildStarted"] == 1
    assert client.get("kid").instance.executions.count() == 1


def test_delayed_child_waits(engine, time, double):
    @workflow.defn
    async def parent() -> int:
        return await double.options(id="kid", delay=60)(1)

    handle = parent.start()
    engine.run_until_quiet()
    assert (handle.status, client.status("kid")) == ("running", "pending")
    time.forward(61)

    assert engine.result(handle) == 2


def test_start_inside_a_workflow_is_refused(engine, double):
    @workflow.defn
    async def parent() -> str:
        try:
            double.start(1)
        except Exception as error:
            return str(error)

    assert "start_child" in engine.result(parent.start())


def test_tree_of_children_passes_results_up(engine):
    @workflow.defn
    async def tree(depth: int) -> int:
        if depth == 0:
            return 1
        return sum(await asyncio.gather(tree(depth - 1), tree(depth - 1)))

    handle = tree.options(id="t").start(3)

    assert engine.result(handle) == 8
    assert Instance.objects.count() == 15
    assert client.get("t:0000:0000:0001").status == "completed"


# --- retried


@pytest.mark.parametrize("given", ["by its definition", "by an option"])
@pytest.mark.lenient
def test_child_is_tried_again_and_the_parent_sees_its_last_end_only(engine, time, given):
    policy, runs = RetryPolicy(max_attempts=3, initial_interval=5), []

    @workflow.defn(retry=policy if given == "by its definition" else None)
    async def flaky() -> int:
        runs.append(1)
        if len(runs) < 3:
            raise ValueError("not yet")
        return len(runs)

    @workflow.defn
    async def parent() -> int:
        return await (flaky if given == "by its definition" else flaky.options(retry=policy))()

    handle = parent.start()
    for wait in (0, 6, 11):
        time.forward(wait)
        engine.run_until_quiet()

    assert handle.result(timeout=0) == 3
    assert kinds(handle) == [
        "ExecutionStarted",
        "ChildScheduled",
        "ChildStarted",
        "ChildCompleted",
        "ExecutionCompleted",
    ]
    assert client.get(f"{handle.id}:0000").instance.executions.count() == 3


def test_child_that_fails_for_good_fails_at_the_await_once(engine, time):
    @workflow.defn
    async def broken() -> None:
        raise ValueError("never")

    @workflow.defn
    async def parent() -> str:
        try:
            await broken.options(retry=RetryPolicy(max_attempts=2, initial_interval=5))()
        except ChildFailed as error:
            return f"{error.cause.type}: {error.cause}"

    handle = parent.start()
    engine.run_until_quiet()
    assert handle.status == "running"
    time.forward(6)

    assert engine.result(handle) == "ValueError: ValueError: never"
