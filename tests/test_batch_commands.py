"""The commands for many instances: what they choose, what they say, and their exit codes."""

from __future__ import annotations

import io
import json

import pytest

from durable import RetryPolicy, activity, client, workflow
from durable.management.commands import durable_batch
from durable.models import Instance, Operation
from project.celery import app
from tests.telling import Told


@pytest.fixture
def eager(committing):
    """A worker that does what it is told at once, in the test's own thread."""
    app.conf.task_always_eager = True
    yield committing
    app.conf.task_always_eager = False


@pytest.fixture
def failed(eager):
    """Three instances that have failed, and would not any more."""
    service = {"up": False}

    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def charge(order: int) -> int:
        if not service["up"]:
            raise ConnectionError(f"no answer for {order}")
        return order

    @workflow.defn
    async def buy(order: int) -> int:
        return await charge(order)

    for order in range(3):
        buy.options(id=f"o{order}").start(order)
    service["up"] = True
    assert {client.status(each) for each in ("o0", "o1", "o2")} == {"failed"}


@pytest.fixture
def stdin(monkeypatch):
    def give(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    return give


def test_waits_and_says_what_was_not_done(failed):
    told = Told("durable_batch", "rewind", "o0", "nobody", "o2", "--reason", "it is up", "--actor", "ada", "--wait")

    assert (told.code, told.error) == (1, "1 of 3 were not done")
    first, titles, line = told.out.splitlines()
    assert first.endswith(": rewind, completed; 2 done, 1 refused")
    assert titles.split() == ["instance", "outcome"]
    assert line.split(maxsplit=2) == ["nobody", "refused", "UnknownInstance: no instance has the id 'nobody'"]
    assert [client.status(each) for each in ("o0", "o1", "o2")] == ["completed", "failed", "completed"]
    assert Operation.objects.filter(verb="rewind", actor_name="ada", reason="it is up").count() == 3


def test_without_wait_it_says_which_batch_it_began(failed, stdin):
    stdin("o0\n\no1\n")

    told = Told("durable_batch", "rewind", "-", "--json")

    assert told.code == 0
    assert (told.json["verb"], told.json["items"]) == ("rewind", [])
    assert client.get(told.json["batch_id"]).result(5)["total"] == 2


def test_dry_run_report_and_retry(failed):
    batch_id = Told("durable_batch", "rewind", "o0", "o1", "x", "--dry-run", "--json").json["batch_id"]
    assert client.status("o0") == "failed"

    report = Told("durable_batch", "report", batch_id, "--outcome", "done")
    assert "rewind, dry run, completed; 2 done, 1 refused" in report.out
    assert "o0        done     rerun 1" in report.out
    assert "UnknownInstance" not in report.out
    refused = Told("durable_batch", "report", batch_id, "--outcome", "refused", "--json").json
    assert [item["instance_id"] for item in refused["items"]] == ["x"]

    told = Told("durable_batch", "retry", batch_id, "--outcome", "done", "--wait")
    assert (told.code, told.out.partition(": ")[2]) == (0, "rewind, completed; 2 done\n")
    assert client.status("o0") == "completed"


def test_chooses_by_filter_and_by_group(failed):
    (group,) = Told("durable_failures", "--json").json
    assert (group["count"], group["workflow"], group["error"]) == (3, "buy", "ConnectionError")
    assert group["message"] == "no answer for <n>"

    by_filter = Told(
        "durable_batch", "rewind", "--filter", json.dumps(group["filter"]), "--dry-run", "--json", "--wait"
    )
    by_group = Told("durable_batch", "rewind", "--group", group["fingerprint"], "--wait", "--json")

    assert by_filter.json["counts"] == by_group.json["counts"] == {"done": 3}
    assert Told("durable_failures").err == "nothing has failed or is stalled\n"


def test_table_of_failures(failed):
    told = Told("durable_failures", "--workflow", "buy", "--status", "failed", "--since", "1d")

    titles, row, message, group = told.out.splitlines()
    assert titles.split()[:4] == ["count", "status", "workflow", "error"]
    assert row.split()[:4] == ["3", "failed", "buy", "ConnectionError"]
    assert row.split()[-4:] == ["3", "0", "0", "0"]
    assert "test_batch_commands.py:charge:" in row
    assert message.strip() == "no answer for <n>"
    assert group.strip().startswith("group ")
    assert group.endswith("for example o2")
    assert told.err == "3 in 1 groups\n"
    assert Told("durable_failures", "--workflow", "other").out == ""


def test_arguments_of_the_verb(eager):
    @workflow.defn
    async def waiting() -> object:
        return await workflow.wait_signal("word")

    handle = waiting.options(id="w").start()

    told = Told("durable_batch", "signal", "w", "--argument", "name=word", "--argument", 'payload={"a": 1}', "--wait")

    assert told.code == 0
    assert handle.result(5) == {"a": 1}


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        (["rewind"], 2, "give ids"),
        (["rewind", "a", "--group", "b"], 2, "give ids"),
        (["rewind", "--group", "b"], 2, "no instance is chosen"),
        (["rewind", "--filter", '{"name": "nothing"}'], 2, "no instance is chosen"),
        (["rewind", "--filter", '{"colour": "red"}'], 2, "no such field"),
        (["signal", "a"], 2, "name"),
        (["report"], 2, "the id of one batch"),
        (["retry", "a", "b"], 2, "the id of one batch"),
        (["report", "nobody"], 3, "nobody"),
    ],
)
def test_what_cannot_be_taken_is_refused(db, args, code, error):
    told = Told("durable_batch", *args)

    assert told.code == code
    assert error in told.error
    assert not Instance.objects.exists()


def test_interrupting_the_wait_leaves_the_batch_alone(committing, monkeypatch):
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(durable_batch.time, "sleep", interrupt)

    told = Told("durable_batch", "rewind", "a", "--wait")

    batch = Instance.objects.get()
    assert (told.code, batch.status) == (130, "pending")
    assert f"durable_batch report {batch.pk}" in told.error
