"""Explaining an instance: from the rows, in any state, and without touching anything."""

from __future__ import annotations

import io
import json
import time as stdlib_time
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from durable import (
    InvalidInput,
    NondeterminismError,
    UndecodableEvent,
    UnknownExecution,
    UnknownInstance,
    UnknownWorkflow,
    activity,
    client,
    registry,
    workflow,
)
from durable.engine import cache
from durable.errors import RunawayStep
from durable.models import HistoryEvent, Instance
from tests.driving import cost


class Shop:
    """Stands for anything whose repr looks where it must not."""

    def __repr__(self) -> str:
        return f"{Instance.objects.count()} instances"


DECLINED = 13


@pytest.fixture
def order(fresh):
    @activity.defn
    def charge(amount: int) -> str:
        if amount == DECLINED:
            raise activity.NonRetryable("declined")
        return f"receipt {amount}"

    @workflow.defn
    async def order(amount: int) -> str:
        shop = Shop()
        receipt = await charge(amount)
        total = amount + 1
        answer = await workflow.wait_signal("approve")
        return f"{receipt} {total} {answer} {shop is not None}"

    return order


@pytest.fixture
def waiting(engine, order):
    handle = order.options(id="o").start(5)
    engine.run_until_quiet()
    return handle


def main(explanation: client.Explanation) -> client.TaskStack:
    (task,) = explanation.tasks
    return task


def test_open_instance_shows_where_it_waits(waiting):
    explanation = waiting.explain()

    task = main(explanation)
    assert (task.waits.kind, task.waits.name) == ("signal", "approve")
    assert task.waits.since == waiting.history()[-1].recorded_at.timestamp()
    assert task.stack[0].source == 'answer = await workflow.wait_signal("approve")'
    assert task.stack[0].variables["receipt"] == "'receipt 5'"
    assert (explanation.instance_id, explanation.seq, explanation.length) == ("o", 3, 3)
    assert explanation.execution_id == str(waiting.instance.execution_id)


def test_variable_whose_repr_asks_the_database_is_refused_that(waiting):
    with cost() as counted:
        shown = main(waiting.explain()).stack[0].variables["shop"]

    assert "its repr raised ForbiddenInWorkflow" in shown
    assert not any("COUNT" in statement for statement in counted.statements)


def test_nothing_is_written_and_nobody_is_disturbed(waiting, engine):
    with cost() as counted:
        waiting.explain()
        waiting.explain(at=1)

    assert all(statement.startswith("SELECT") for statement in counted.statements)
    assert counted.commits == 0
    waiting.signal("approve", "yes")
    assert engine.result(waiting) == "receipt 5 6 yes True"


def test_closed_instance_can_be_looked_at_as_it_was_then(waiting, engine):
    waiting.signal("approve", "yes")
    engine.run_until_quiet()

    assert client.explain("o").end == "ExecutionCompleted"
    assert main(client.explain("o", at=2)).waits.text == "activity 'charge'"
    assert "total" not in main(client.explain("o", at=2)).stack[0].variables


def test_failed_instance_shows_what_it_raised_and_where(engine, order):
    handle = order.start(DECLINED)
    engine.run_until_quiet()

    explanation = handle.explain()

    assert explanation.raised is not None
    assert explanation.raised.type == "ActivityError"
    assert explanation.raised.stack[0].source == "receipt = await charge(amount)"
    assert explanation.raised.stack[0].variables["amount"] == str(DECLINED)


def test_rerun_is_explained_by_its_own_history(waiting, engine):
    client.terminate("o")
    again = client.rerun_from_activity("o", 0, input=7)
    engine.run_until_quiet()

    assert main(again.explain()).stack[0].variables["receipt"] == "'receipt 7'"
    assert main(client.explain("o")).stack[0].variables["receipt"] == "'receipt 5'"


def test_earlier_execution_is_explained_by_its_id(engine, order):
    handle = order.start(DECLINED)
    engine.run_until_quiet()
    failed = handle.instance.execution_id
    client.rewind(handle.id)

    assert handle.explain(execution=failed).end == "ExecutionFailed"
    assert handle.explain().end is None


def test_execution_from_before_its_id_was_used_for_another_workflow_is_explained_by_its_own(waiting, engine):
    first = waiting.instance.execution_id
    waiting.terminate()

    @workflow.defn
    async def other2() -> None:
        await workflow.wait_signal("go")

    other2.options(id=waiting.id, id_reuse="replace_closed").start()
    engine.run_until_quiet()

    assert (client.explain(waiting.id).workflow, client.explain(waiting.id).version) == ("other", 2)
    explanation = client.explain(waiting.id, execution=first)
    assert (explanation.workflow, explanation.end, explanation.trouble) == ("order", "ExecutionTerminated", None)


def test_execution_that_continued_on_another_version_is_explained_by_its_own(engine, settings):
    settings.DURABLE = {"VERSIONING": {}}

    @workflow.defn
    async def loop1(again: bool) -> None:
        await workflow.wait_signal("go")
        if again:
            workflow.continue_as_new(False)

    handle = loop1.start(True)
    engine.run_until_quiet()
    first = handle.instance.execution_id

    @workflow.defn
    async def loop2(again: bool) -> None:
        await workflow.wait_signal("another")

    handle.signal("go")
    engine.run_until_quiet()

    assert handle.instance.version == 2
    explanation = client.explain(handle.id, at=1, execution=first)
    assert (explanation.version, explanation.trouble) == (1, None)
    assert main(explanation).waits.name == "go"


def test_execution_that_was_upgraded_is_explained_by_the_version_that_it_is_on(engine):
    @workflow.defn
    async def flow1() -> None:
        await workflow.wait_signal("go")

    handle = flow1.start()
    engine.run_until_quiet()

    @workflow.defn
    async def flow2() -> None:
        await workflow.wait_signal("go")
        await workflow.wait_signal("more")

    handle.upgrade(to=2)
    engine.run_until_quiet()
    handle.signal("go")
    engine.run_until_quiet()

    explanation = client.explain(handle.id, execution=handle.instance.execution_id)
    assert (explanation.version, main(explanation).waits.name) == (2, "more")


def test_stalled_instance_is_explained_up_to_the_mismatch(waiting, engine):
    registry.unregister_workflow("order", 0)

    @activity.defn
    def reserve(amount: int) -> str: ...

    @workflow.defn(name="order")
    async def changed(amount: int) -> None:
        mark = amount * 2  # noqa: F841
        await workflow.wait_signal("first")
        await reserve(amount)

    waiting.signal("approve")
    cache.clear()
    engine.run_until_quiet()
    assert waiting.status == "stalled"

    explanation = waiting.explain()

    assert isinstance(explanation.trouble, NondeterminismError)
    assert explanation.trouble.seq == waiting.instance.stall["seq"]
    assert explanation.seq == 0


def test_history_is_explained_up_to_an_event_that_cannot_be_read(waiting):
    HistoryEvent.objects.filter(execution__instance_id="o", seq=3).update(kind="ActivityMoved")

    explanation = waiting.explain()

    assert isinstance(explanation.trouble, UndecodableEvent)
    assert (explanation.seq, explanation.length) == (2, 2)


def test_pending_instance_has_nothing_to_show(engine, order):
    handle = order.options(delay=60).start(5)

    assert (handle.explain().tasks, handle.explain().length) == ((), 0)


def test_what_is_not_there_is_refused(waiting):
    with pytest.raises(UnknownInstance):
        client.explain("nobody")
    with pytest.raises(UnknownExecution):
        client.explain("o", execution="0190b0a0-0000-7000-8000-000000000000")
    with pytest.raises(InvalidInput, match="the events 1 to 3"):
        client.explain("o", at=4)
    registry.unregister_workflow("order", 0)
    with pytest.raises(UnknownWorkflow):
        client.explain("o")


@pytest.mark.lenient
def test_repr_that_never_ends_is_stopped(engine, settings):
    settings.DURABLE = {"STEP_TIMEOUT": 0.3}

    class Endless:
        def __repr__(self) -> str:
            until = stdlib_time.monotonic() + 30
            while stdlib_time.monotonic() < until:
                pass
            return "late"

    @workflow.defn
    async def holds() -> None:
        endless = Endless()  # noqa: F841
        await workflow.wait_signal("go")

    handle = holds.start()
    engine.run_until_quiet()

    with pytest.raises(RunawayStep):
        handle.explain()


# --- the command


def run(*args: Any) -> str:
    out = io.StringIO()
    call_command("durable_explain", *args, stdout=out, no_color=True)
    return out.getvalue()


def test_command_prints_stacks_variables_and_waits(waiting):
    printed = run("o")

    assert "o: order after event 3 of 3" in printed
    assert "main waits for signal 'approve' at" in printed
    assert "    answer = await workflow.wait_signal" in printed
    assert "      receipt = 'receipt 5'" in printed
    assert "open: 0 ActivityScheduled charge, since" in run("o", "--at", "2")


def test_command_prints_what_was_raised(engine, order):
    order.options(id="f").start(DECLINED)
    engine.run_until_quiet()

    printed = run("f")

    assert "ended: ExecutionFailed" in printed
    assert "raised ActivityError: " in printed


def test_command_prints_json(waiting):
    printed = json.loads(run("o", "--json"))

    assert printed["tasks"][0]["stack"][0]["variables"]["total"] == "6"
    assert printed["trouble"] is None


def test_command_says_why_it_cannot_go_on(waiting):
    HistoryEvent.objects.filter(execution__instance_id="o", seq=3).update(kind="ActivityMoved")

    assert "cannot be replayed further: " in run("o")
    assert json.loads(run("o", "--json"))["trouble"]["type"] == "UndecodableEvent"


@pytest.mark.django_db
def test_command_refuses_what_is_not_there():
    with pytest.raises(CommandError) as refused:
        run("nobody")
    assert refused.value.returncode == 3
