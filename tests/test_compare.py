"""Two executions side by side: reruns with their sources, rewinds with what failed."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import call_command

from durable import UnknownExecution, UnknownInstance, activity, client, workflow
from tests.driving import cost


@pytest.fixture
def sums(fresh):
    @activity.defn
    def double(number: int) -> int:
        if number == 13:
            raise activity.NonRetryable("unlucky")
        return 2 * number

    @workflow.defn
    async def sums(number: int) -> int:
        first = await double(number)
        return await double(first + 1)

    return sums


@pytest.fixture
def reran(engine, sums):
    sums.options(id="a").start(1)
    engine.run_until_quiet()
    client.rerun_from_activity("a", 1, input=10, new_instance_id="b")
    engine.run_until_quiet()


def told(comparison: client.Comparison) -> list[Any]:
    return [
        (event.change, (event.b or event.a).kind, event.fields) for event in comparison.events if event.change != "same"
    ]


def test_rerun_differs_from_its_source_from_the_step_on(reran):
    found = client.compare("a", "b")

    assert told(found) == [
        ("changed", "ExecutionStarted", ("attempt",)),
        ("changed", "ActivityScheduled", ("input", "rerun_of")),
        ("changed", "ActivityCompleted", ("result",)),
        ("changed", "ExecutionCompleted", ("result",)),
    ]
    assert found.counts == {"same": 2, "changed": 4, "only_a": 0, "only_b": 0}
    assert not found.is_same
    assert (found.a.instance_id, found.b.instance_id) == ("a", "b")
    assert found.a.execution_id == client.instance("a").execution_id
    last = found.events[-1]
    assert (last.a.data["result"], last.b.data["result"]) == (6, 20)


def test_execution_is_the_same_as_itself(reran):
    found = client.compare("a", "a")

    assert found.is_same
    assert [event.a for event in found.events] == client.history("a")
    assert [event.b for event in found.events] == client.history("a")


def test_two_executions_of_one_instance_are_named_by_their_ids(engine, sums):
    handle = sums.options(id="a").start(6)
    engine.run_until_quiet()
    failed = handle.instance.execution_id
    handle.rewind()

    found = handle.compare("a", execution=failed)

    assert told(found) == [
        ("only_a", "ActivityFailed", ()),
        ("only_a", "ExecutionFailed", ()),
        ("only_b", "ExecutionRewound", ()),
    ]
    assert (found.a.execution_id, found.b.execution_id) == (failed, handle.instance.execution_id)


def test_what_is_not_there_is_refused(reran):
    with pytest.raises(UnknownInstance):
        client.compare("a", "nobody")
    with pytest.raises(UnknownExecution):
        client.compare("a", "b", other_execution=client.instance("a").execution_id)


def test_nothing_is_written(reran):
    with cost() as counted:
        client.compare("a", "b")

    assert all(statement.startswith("SELECT") for statement in counted.statements)


# --- the command


def run(*args: Any) -> str:
    out = io.StringIO()
    call_command("durable_compare", *args, stdout=out, no_color=True)
    return out.getvalue()


def test_command_prints_what_differs(reran):
    lines = run("a", "b").splitlines()

    assert lines[2:5] == [
        "~      4     1 ActivityScheduled double",
        '    input: {"args": [3], "kwargs": {}} -> {"args": [10], "kwargs": {}}',
        '    rerun_of: null -> {"instance": "a", "event_id": 1}',
    ]
    assert lines[-1] == "2 same, 4 changed, 0 only a, 0 only b"
    assert "       2     0 ActivityScheduled double" in run("a", "b", "--all").splitlines()


def test_command_prints_json(reran):
    printed = json.loads(run("a", "b", "--json"))

    assert printed["counts"]["changed"] == 4
    assert printed["events"][0]["a"]["kind"] == "ExecutionStarted"
    assert printed["is_same"] is False
