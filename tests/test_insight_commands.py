"""The commands that ask, and those that have workflows answer: queries, updates, what-ifs and lineages."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from durable import RetryPolicy, activity, client, errors, workflow
from durable.core.failures import Failure
from durable.management.base import EXIT_CODES, exit_code
from durable.models import HistoryEvent, Instance, Operation
from project.celery import app
from tests.telling import Told

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "commands.md"


@pytest.fixture
def eager(committing):
    """A worker that does what it is told at once, in the test's own thread."""
    app.conf.task_always_eager = True
    yield committing
    app.conf.task_always_eager = False


@pytest.fixture
def cart(fresh, eager):
    @workflow.defn
    async def cart() -> int:
        lines: list[int] = []

        @workflow.query
        def total(more: int = 0, less: int = 0) -> int:
            return sum(lines) + more - less

        def positive(price: int) -> None:
            if price <= 0:
                raise ValueError("not a price")

        @workflow.update(validator=positive)
        async def add(price: int) -> int:
            if price == 13:
                raise RuntimeError("unlucky")
            lines.append(price)
            return len(lines)

        await workflow.wait_signal("pay")
        return sum(lines)

    return cart.options(id="cart").start()


# --- query and update


def test_query_prints_the_answer_as_json(cart):
    cart.update("add", 5)

    assert Told("durable_query", "cart", "total").json == 5
    assert Told("durable_query", "cart", "total", "10", "--kwargs", '{"less": 3}').json == 12
    assert Told("durable_query", "cart", "total", "--json").json == {"id": "cart", "query": "total", "answer": 5}


def test_query_tells_refusals_apart(cart):
    assert Told("durable_query", "nobody", "total").code == 3
    assert Told("durable_query", "cart", "sum").code == 2
    assert Told("durable_query", "cart", "total", "five").code == 2
    assert Told("durable_query", "cart", "total", "1", "2", "3").code == 2


def test_update_runs_once_for_each_id_and_is_audited(cart):
    told = Told("durable_update", "cart", "add", "5", "--update-id", "t-1", "--reason", "they called", "--actor", "ada")
    again = Told("durable_update", "cart", "add", "5", "--update-id", "t-1", "--json")

    assert (told.code, told.json) == (0, 1)
    assert again.json == {"id": "cart", "update": "add", "update_id": "t-1", "value": 1}
    assert Told("durable_query", "cart", "total").json == 5
    first = Operation.objects.filter(verb="update").order_by("pk").first()
    assert (first.actor_name, first.reason, first.outcome) == ("ada", "they called", "done")
    assert first.arguments == {"name": "add", "update_id": "t-1"}


def test_update_makes_up_an_id(cart):
    first, second = (Told("durable_update", "cart", "add", "5", "--json").json for _ in range(2))

    assert first["update_id"] != second["update_id"]
    assert second["value"] == 2


@pytest.mark.parametrize(
    ("args", "code", "outcome"),
    [
        (["nobody", "add", "5"], 3, "refused"),
        (["cart", "add", "-5"], 5, "refused"),
        (["cart", "add", "13"], 5, "refused"),
        (["cart", "subtract", "5", "--timeout", "0"], 6, "done"),
        (["cart", "", "5"], 2, "refused"),
    ],
    ids=["unknown", "rejected", "failed", "late", "no name"],
)
def test_update_tells_what_came_of_it(cart, args, code, outcome):
    assert Told("durable_update", *args).code == code
    assert Operation.objects.get(verb="update").outcome == outcome


def test_update_takes_keywords_that_the_client_has_for_itself(cart):
    told = Told("durable_update", "cart", "add", "--kwargs", '{"timeout": 1, "name": 2, "reason": 3}', "--timeout", "5")

    assert told.code == 5, "the arguments do not fit the update, and that is all that is wrong"


# --- activities that are completed from outside


@pytest.fixture
def token(fresh, engine):
    tokens = []

    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def sign() -> str:
        tokens.append(activity.complete_later())
        return ""

    @workflow.defn
    async def signing() -> str:
        return await sign()

    signing.options(id="signing").start()
    engine.run_until_quiet()
    return tokens[0]


def test_complete_gives_an_activity_its_result(engine, token):
    told = Told("durable_complete", token, '"signed"')

    assert (told.code, told.out) == (0, f"{token}: completed\n")
    assert engine.result("signing") == "signed"
    assert Told("durable_complete", token, '"again"').code == 3


def test_complete_fails_an_activity(engine, token):
    told = Told("durable_complete", token, "--fail", "they did not", "--json")
    engine.run_until_quiet()

    assert told.json == {"token": token, "outcome": "failed"}
    assert client.get("signing").status == "failed"


@pytest.mark.parametrize("args", [["5", "--fail", "no"], ["five"]], ids=" ".join)
def test_complete_tells_refusals_apart(token, args):
    assert Told("durable_complete", token, *args).code == 2
    assert Told("durable_complete", "nonsense").code == 2


# --- what if


@pytest.fixture
def sums(fresh, engine):
    ran = []

    @activity.defn
    def double(number: int) -> int:
        ran.append(number)
        return 2 * number

    @activity.defn
    def note(text: str) -> str:
        ran.append(text)
        return f"noted {text}"

    @workflow.defn
    async def sums(number: int) -> str:
        first = await double(number)
        return await note(str(first))

    sums.options(id="s").start(1)
    engine.run_until_quiet()
    ran.clear()
    return ran


def test_what_if_tells_how_it_would_end_and_what_would_differ(sums):
    before = HistoryEvent.objects.count()

    told = Told("durable_what_if", "s", "1", "--input", '"else"', "--mock", "note=noted else")

    assert (told.code, told.err) == (0, "")
    lines = told.out.splitlines()
    assert lines[-1] == 'it would be completed, with "noted else"'
    assert lines[-2] == "2 same, 4 changed, 0 only a, 0 only b"
    assert any(line.startswith("~") and "ActivityScheduled note" in line for line in lines)
    assert (sums, HistoryEvent.objects.count(), Instance.objects.count()) == ([], before, 1)


def test_what_if_names_what_nobody_knows_and_mocks_that_nothing_asked_for(sums):
    out = Told("durable_what_if", "s", "0", "--input", "5", "--mock", "9=1", "--mock", "ship=1").out

    assert "  nobody knows the answer to 0 ActivityScheduled(double): give a --mock\n" in out
    assert "  nothing asked for the mock of 9\n" in out
    assert "  nothing asked for the mock of ship\n" in out
    assert "  it would wait for activity 'double' at " in out


def test_what_if_an_activity_fails(sums):
    told = Told("durable_what_if", "s", "0", "--fail", "double=no funds")

    assert "it would be failed: ActivityError: " in told.out
    assert "no funds" in told.out


def test_what_if_as_json(sums):
    found = Told("durable_what_if", "s", "0", "--mock", "0=50", "--mock", "note=n", "--json").json

    assert (found["status"], found["result"], found["failure"]) == ("completed", "n", None)
    assert found["counts"]["same"] + found["counts"]["changed"] == len(found["history"])
    assert [item["seq"] for item in found["history"]] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["nobody", "0"], 3),
        (["s", "9"], 3),
        (["s", "zero"], 2),
        (["s", "0", "--mock", "double"], 2),
        (["s", "0", "--input", '{"args": 7, "kwargs": {}}'], 2),
        (["s", "0", "--on-version", "7"], 3),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_what_if_tells_refusals_apart(sums, args, code):
    assert Told("durable_what_if", *args).code == code


# --- lineage


def test_lineage_is_a_table_from_the_first_to_the_last(sums, engine):
    client.rerun_from_activity("s", 0, new_instance_id="s-2")
    engine.run_until_quiet()
    client.restart("s-2", new_instance_id="s-3")
    engine.run_until_quiet()
    client.purge("s")

    titles, *rows = Told("durable_lineage", "s-2").out.splitlines()

    assert titles.split() == ["instance", "status", "begun", "created"]
    assert rows[0].split() == ["s", "purged"]
    assert rows[1].startswith(">  s-2")
    assert "completed  rerun from event 0 of s" in rows[1]
    assert "restarted from s-2" in rows[2]
    found = Told("durable_lineage", "s-3", "--json").json
    assert [each["instance_id"] for each in found["ancestors"]] == ["s-2", "s"]
    assert Told("durable_lineage", "nobody").code == 3


# --- exit codes


OTHERS = {
    # What workflow code meets; a client gets it as WorkflowFailed and the like.
    "ActivityError",
    "ChannelClosed",
    "ChildFailed",
    "CompensationFailed",
    "NonRetryable",
    "RecordedError",
    "SideEffectError",
    "SignalError",
    # What cannot happen in a command.
    "InTransaction",
}


def test_every_error_of_the_client_has_an_exit_code():
    unmapped = set()
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, errors.DurableError) and kind is not errors.DurableError:
            error = kind.__new__(kind)
            unmapped |= {name} if exit_code(error) == 1 else set()

    assert unmapped == OTHERS


def test_page_of_commands_names_the_errors_of_each_exit_code():
    listed = {
        int(cells[0]): set(re.findall(r"`(\w+)`", cells[2]))
        for line in PAGE.read_text().splitlines()
        if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 3 and cells[0].isdecimal()
    }

    assert {code: names for code, names in listed.items() if names} == {
        code: {kind.__name__ for kind in kinds} for code, kinds in EXIT_CODES
    }


def test_exit_codes_say_who_is_to_do_something():
    failure = Failure(type="ValueError", message="no")
    told = {
        4: errors.WorkWouldBeLost("a", "e", lost=["all"]),
        5: errors.UpdateRejected("a", "add", update_id="u", failure=failure),
        7: errors.PermissionDenied("ada", "terminate"),
        8: errors.ReadOnly("workflow.sleep"),
    }

    assert {exit_code(error) for error in told.values()} == set(told)
    assert all(exit_code(error) == code for code, error in told.items())


# --- what ends a command from outside


def test_interrupt_has_its_own_exit_code(monkeypatch, sums):
    def interrupted(instance_id: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "why", interrupted)

    told = Told("durable_why", "s")
    assert (told.code, told.error) == (130, "interrupted")


def test_interrupt_says_what_goes_on(monkeypatch, cart):
    sleep = time.sleep

    def interrupted(seconds: float) -> None:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        sleep(seconds)  # those that watch go on watching

    monkeypatch.setattr("time.sleep", interrupted)

    waiting = Told("durable_start", "cart", "--id", "cart-2", "--wait")
    asking = Told("durable_update", "cart", "subtract", "5", "--update-id", "u-1")

    assert (waiting.code, waiting.error) == (130, "it goes on without you; see `durable_show cart-2`")
    assert (asking.code, asking.error) == (130, "what was asked for goes on; ask again with --update-id u-1")
    assert client.status("cart-2") == "running"


def test_pipe_that_nobody_reads_ends_a_command_without_a_traceback():
    command = [sys.executable, "manage.py", "durable_lint", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        process.stdout.close()
        said = process.stderr.read()

    assert (process.returncode, said) == (141, "")


def test_database_without_tables_is_told_in_a_sentence(tmp_path):
    env = {**os.environ, "DATABASE_URL": f"sqlite:///{tmp_path / 'empty.sqlite3'}"}

    done = subprocess.run(
        [sys.executable, "manage.py", "durable_show", "a"], capture_output=True, text=True, env=env, check=False
    )

    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: the database says: no such table: durable_instance")
    assert "migrate" in done.stderr
