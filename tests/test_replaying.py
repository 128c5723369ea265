"""Exports keep histories exactly; the replay gate says beforehand what would stall, and changes nothing."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.utils import timezone

from durable import activity, client, registry, workflow
from durable.core import events as ev
from durable.core import transcripts as lines
from durable.core.transcripts import Transcript
from durable.engine import cache
from durable.management.progress import Progress
from durable.models import HistoryEvent, Instance
from durable.operations import replaying
from durable.store import transcripts
from tests.driving import cost


def run(*args):
    """Run a command; return its exit code, its output and what it said of itself."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command(*args, stdout=out, stderr=err, no_color=True)
    except CommandError as error:
        return error.returncode, out.getvalue(), f"{err.getvalue()}{error}\n"
    return 0, out.getvalue(), err.getvalue()


def exported(*args):
    code, out, _ = run("durable_export", *args)
    assert code == 0
    return list(lines.read(io.StringIO(out)))


def would_stall(*args):
    code, out, _ = run("durable_replay", "--json", *args)
    rows = json.loads(out)["would_stall"]
    assert code == (1 if rows else 0)
    return {row["instance"]: row for row in rows}


@pytest.fixture
def defined(fresh):
    @activity.defn
    def charge(amount: int) -> int:
        return amount

    @activity.defn
    def refund(amount: int) -> int:
        return -amount

    @workflow.defn
    async def order(amount: int) -> int:
        charged: int = await charge(amount)
        await workflow.wait_signal("go")
        return charged

    @workflow.defn
    async def trip2(again: bool = True) -> str:
        await workflow.wait_signal("go")
        if again:
            workflow.continue_as_new(False)
        return "there"


@pytest.fixture
def some(engine, defined):
    """Two open orders and a closed one, a trip in its second execution, and one that has not begun."""
    for number in (1, 2, 3):
        client.start("order", [number], id=f"o-{number}")
    client.start("trip2", id="t-1")
    engine.run_until_quiet()
    for instance_id in ("o-3", "t-1"):
        client.signal(instance_id, "go")
    engine.run_until_quiet()
    client.start("order", [4], id="o-4", delay=3600)
    return engine


def change_order():
    """Deploy an order that refunds where it charged."""
    registry.unregister_workflow("order", 0)
    cache.clear()

    @workflow.defn(name="order")
    async def changed(amount: int) -> int:
        refunded: int = await workflow.activity_by_name("refund")(amount)
        await workflow.wait_signal("go")
        return refunded

    return changed


# --- export


def test_export_holds_histories_as_they_are(some, settings):
    (transcript,) = exported("o-1")

    assert (transcript.instance_id, transcript.number) == ("o-1", 1)
    assert (transcript.workflow, transcript.version, transcript.status) == ("order", 0, "running")
    assert transcript.execution_id == str(client.instance("o-1").execution_id)
    stored = client.history("o-1")
    assert [e.kind for e in transcript.events] == [item.kind for item in stored]
    assert [e.at for e in transcript.events] == [item.recorded_at.timestamp() for item in stored]
    assert ev.ActivityCompleted(event_id=0, result=1) in transcript.events


def test_export_is_not_encrypted(engine, defined, settings):
    settings.DURABLE = {"CODEC": "project.encryption.FernetCodec"}
    settings.DURABLE_KEYS = [Fernet.generate_key().decode()]
    client.start("order", [77], id="secret")
    engine.run_until_quiet()

    assert '"args":[77]' in run("durable_export", "secret")[1]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ("", "t-1 o-4 o-3 o-2 o-1"),
        ("o-1 o-3", "o-3 o-1"),
        ("--workflow order", "o-4 o-3 o-2 o-1"),
        ("--status open", "t-1 o-4 o-2 o-1"),
        ("--status completed", "o-3"),
        ("--status closed --status pending", "o-4 o-3"),
        ("--since 1d", "t-1 o-4 o-3 o-2"),
        ("--since 3w", "t-1 o-4 o-3 o-2 o-1"),
        ("--since 2999-01-01", ""),
        ("--since 2020-01-01T12:00:00Z", "t-1 o-4 o-3 o-2 o-1"),
        ("--all-executions --workflow trip", "t-1 t-1"),
    ],
)
def test_export_filters(some, options, ids):
    Instance.objects.filter(pk="o-1").update(created_at=timezone.now() - timedelta(days=2))

    assert sorted(t.instance_id for t in exported(*options.split())) == sorted(ids.split())


def test_earlier_executions_are_exported_with_how_they_ended(some):
    first, second = exported("t-1", "--all-executions")

    assert [(t.number, t.version, t.status) for t in (first, second)] == [(1, 2, "continued"), (2, 2, "running")]
    assert isinstance(first.events[-1], ev.ExecutionContinued)
    assert exported("t-1") == [second]


def test_earlier_execution_of_an_id_that_was_used_for_another_workflow_is_exported_as_its_own(some, engine):
    client.terminate("t-1")
    client.start("order", [5], id="t-1", id_reuse="replace_closed")
    engine.run_until_quiet()

    assert [(t.workflow, t.number) for t in exported("t-1", "--all-executions")] == [
        ("trip", 1),
        ("trip", 2),
        ("order", 3),
    ]


def test_export_to_a_file_appears_when_it_is_whole(some, tmp_path):
    path = tmp_path / "orders.jsonl"

    code, out, err = run("durable_export", "--workflow", "order", "-o", str(path))

    assert (code, out, err) == (0, "", "4 exported\n")
    assert len(list(lines.read(path.read_text().splitlines()))) == 4
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.fixture
def interruptible():
    """Take Ctrl-C as Python does, also where the tests were started in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_interrupted_export_leaves_the_old_file_alone(some, interruptible, tmp_path, monkeypatch):
    path = tmp_path / "orders.jsonl"
    path.write_text("as it was")
    monkeypatch.setattr(transcripts, "read", lambda _: signal.raise_signal(signal.SIGINT))

    assert run("durable_export", "-o", str(path))[0] == 130
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("orders.jsonl", "as it was")]


def test_export_tells_what_cannot_be_read_and_exports_the_rest(some):
    HistoryEvent.objects.filter(execution__instance="o-1", seq=2).update(kind="MoonRose")

    code, out, err = run("durable_export")

    assert code == 1
    assert sorted(t.instance_id for t in lines.read(io.StringIO(out))) == ["o-2", "o-3", "o-4", "t-1"]
    assert "o-1: event 2 (MoonRose) cannot be read" in err


@pytest.mark.parametrize("command", ["durable_export", "durable_replay"])
@pytest.mark.parametrize(
    ("options", "code"),
    [("nobody", 3), ("--since yesterday", 2), ("--since 2020-13-41", 2), ("--status well", 2)],
)
def test_wrong_use_is_refused(some, command, options, code):
    assert run(command, *options.split())[0] == code


def test_output_into_no_folder_is_refused(some, tmp_path):
    for args in (("durable_export", "-o"), ("durable_replay", "--export")):
        code, _, err = run(*args, str(tmp_path / "no" / "file"))
        assert (code, "No such file" in err) == (2, True)


# --- the gate


def test_instances_that_fit_pass_the_gate(some):
    assert run("durable_replay") == (0, "", "4 replayed, all would go on\n")


def test_changed_code_is_told_of_with_the_place(some):
    changed = change_order()

    code, out, err = run("durable_replay")

    titles, *rows = out.splitlines()
    line = changed.fn.__code__.co_firstlineno + 2
    assert (code, err) == (1, "2 of 4 would stall\n")
    assert titles.split("  ")[0] == "instance"
    for row, name in zip(rows, ("o-2", "o-1"), strict=True):
        cells = [cell.strip() for cell in row.split("  ") if cell]
        assert cells[:4] == [name, "order", "nondeterminism", "2"]
        assert cells[4:] == ["0", "ActivityScheduled(charge)", "ActivityScheduled(refund)", f"{__file__}:{line}"]


def test_gate_says_what_the_engine_does(some):
    change_order()
    registry.unregister_workflow("trip", 2)
    foreseen = would_stall()

    for instance_id in ("o-1", "o-2", "t-1"):
        client.signal(instance_id, "go")
    some.run_until_quiet()

    stalled = {i.pk: i.stall for i in Instance.objects.filter(status="stalled")}
    assert stalled.keys() == foreseen.keys() == {"o-1", "o-2", "t-1"}
    for instance_id, stall in stalled.items():
        for name in stall.keys() & {"reason", "error", "message", "seq", "event_id", "expected", "got", "location"}:
            assert foreseen[instance_id][name] == stall[name]


def test_missing_workflows_and_versions_are_told_of_even_before_they_begin(some):
    registry.unregister_workflow("order", 0)
    registry.unregister_workflow("trip", 2)

    @workflow.defn
    async def trip3() -> None: ...

    found = would_stall()

    assert {name: row["reason"] for name, row in found.items()} == {
        "o-1": "unknown workflow",
        "o-2": "unknown workflow",
        "o-4": "unknown workflow",
        "t-1": "version not available",
    }
    assert "    version 2 of workflow 'trip' is not registered here (there are: 3)\n" in run("durable_replay")[1]


def test_events_that_cannot_be_read_are_told_of(some):
    HistoryEvent.objects.filter(execution__instance="o-1", seq=2).update(kind="MoonRose")

    row = would_stall()["o-1"]

    assert (row["reason"], row["seq"]) == ("undecodable event", 2)


def test_instance_that_is_not_of_the_workflow_of_its_history_is_told_of(some):
    Instance.objects.filter(pk="o-1").update(name="trip", version=2)

    row = would_stall()["o-1"]

    assert (row["error"], row["workflow"]) == ("InvalidHistory", "trip")
    assert "it is one of 'order', and the instance of 'trip'" in row["message"]


def test_runaway_code_and_other_trouble_are_told_of(some, settings, monkeypatch):
    settings.DURABLE = {"STEP_TIMEOUT": 0.2}
    registry.unregister_workflow("order", 0)

    @workflow.defn(name="order")
    async def for_ever(amount: int) -> int:
        while True:
            amount += 1

    def odd(*_: object, **__: object) -> None:
        raise LookupError("odd")

    assert {name: row["reason"] for name, row in would_stall().items()} == {
        "o-1": "runaway step",
        "o-2": "runaway step",
    }
    monkeypatch.setattr(replaying, "catch_up", odd)
    row = would_stall("o-1")["o-1"]
    assert (row["reason"], row["error"], row["message"]) == ("poison", "LookupError", "odd")


def test_other_interpreter_is_named(some):
    event = HistoryEvent.objects.get(execution__instance="o-1", seq=1)
    event.data["python"] = "3.4"
    HistoryEvent.objects.filter(execution=event.execution, seq=1).update(data=event.data)
    change_order()

    assert "    It began on Python 3.4 and this is 3." in run("durable_replay", "o-1")[1]


def test_gate_writes_nothing_and_runs_nothing_beyond_the_record(some):
    registry.unregister_workflow("order", 0)
    ran = []

    @workflow.defn(name="order")
    async def curious(amount: int) -> int:
        charged: int = await workflow.activity_by_name("charge")(amount)
        workflow.side_effect(lambda: ran.append(1))
        return charged

    with cost() as counted:
        found = would_stall()

    assert {"o-1", "o-2"} == found.keys()
    assert (ran, counted.commits) == ([], 0)
    assert all(sql.startswith(("SELECT", "DECLARE", "FETCH", "CLOSE")) for sql in counted.statements)
    assert client.status("o-1") == "running"


def test_closed_instances_are_replayed_if_they_are_asked_for(some):
    change_order()

    assert would_stall().keys() == {"o-1", "o-2"}
    assert would_stall("o-3").keys() == {"o-3"}
    assert would_stall("--status", "completed").keys() == {"o-3"}
    assert would_stall("--workflow", "trip") == {}


def test_limit_takes_the_newest(some):
    assert run("durable_replay", "--workflow", "order", "--limit", "2")[2] == "2 replayed, all would go on\n"
    change_order()
    assert would_stall("--limit", "3").keys() == {"o-2"}


def test_interrupted_gate_prints_what_it_has(some, interruptible):
    registry.unregister_workflow("order", 0)

    @workflow.defn(name="order")
    async def stopping(amount: int) -> int:
        if amount == 1:
            signal.raise_signal(signal.SIGINT)
        return 0

    code, out, err = run("durable_replay", "--workflow", "order")

    assert (code, err) == (130, "interrupted; so far: 1 of 2 would stall\n")
    assert [row.split()[0] for row in out.splitlines()] == ["instance", "o-2"]
    assert json.loads(run("durable_replay", "--workflow", "order", "--json")[1])["interrupted"] is True


def test_nothing_to_replay_is_no_error(engine):
    assert run("durable_replay") == (0, "", "nothing to replay\n")


# --- from files


def test_gate_exports_what_it_replays(some, tmp_path):
    path = tmp_path / "open.jsonl"

    code, _, _ = run("durable_replay", "--workflow", "order", "--export", str(path))

    assert code == 0
    assert list(lines.read(path.read_text().splitlines())) == exported("--workflow", "order", "--status", "open")


STARTED = ev.ExecutionStarted(name="order", input={"args": [1], "kwargs": {}}, at=1.0)
CHARGING = ev.ActivityScheduled(event_id=0, name="charge", input={"args": [1], "kwargs": {}}, at=1.0)


@pytest.fixture
def export(tmp_path, defined):
    """Return an export of an open order; no database is there."""
    path = tmp_path / "orders.jsonl"
    made = [Transcript(instance_id=f"o-{n}", workflow="order", events=(STARTED, CHARGING)) for n in (1, 2)]
    made.append(Transcript(instance_id="t-1", workflow="trip", version=2, events=()))
    path.write_text("".join(f"{lines.dumps(transcript)}\n" for transcript in made))
    return str(path)


def test_export_is_replayed_without_a_database(export):
    assert run("durable_replay", "--from-file", export) == (0, "", "3 replayed, all would go on\n")
    assert run("durable_replay", "--from-file", export, "--from-file", export)[2].startswith("6 replayed")

    change_order()

    assert would_stall("--from-file", export).keys() == {"o-1", "o-2"}
    assert would_stall("--from-file", export, "o-2").keys() == {"o-2"}
    assert would_stall("--from-file", export, "--limit", "1").keys() == {"o-1"}
    assert would_stall("--from-file", export, "--workflow", "trip") == {}


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ("--from-file nothing.jsonl", 2, "nothing.jsonl: No such file or directory"),
        ("--from-file {bad}", 2, "line 2 is no transcript"),
        ("--from-file {export} nobody", 3, "no instance has the id 'nobody'"),
        ("--from-file {export} --export x", 2, "takes no --export"),
        ("--from-file {export} --since 1d", 2, "takes no"),
        ("--from-file {export} --status open", 2, "takes no"),
        ("--sample 0", 2, "not a number from 1"),
        ("--limit -1", 2, "not a number from 1"),
    ],
)
def test_wrong_use_of_the_gate_is_refused(export, tmp_path, options, code, message):
    bad = tmp_path / "bad.jsonl"
    with open(export, "rb") as good:
        bad.write_bytes(good.readline() + b"\xff\n")

    found = run("durable_replay", *options.format(export=export, bad=bad).split())

    assert found[0] == code
    assert message in found[2]


# --- sampling


def heads(workflow_name, numbers):
    return [Transcript(instance_id=f"{workflow_name}-{n}", workflow=workflow_name, events=()) for n in numbers]


def test_sample_is_of_each_workflow_and_in_the_order_it_came_in():
    many, few = heads("order", range(1000)), heads("trip", range(3))

    chosen = replaying.sample([*few, *many], 10)

    assert chosen[:3] == few
    assert len(chosen) == 13
    assert chosen == [head for head in [*few, *many] if head in chosen]


def test_sample_is_always_the_same_and_hardly_changes_with_what_is_added():
    before = replaying.sample(heads("order", range(1000)), 100)
    after = replaying.sample(heads("order", range(100, 1100)), 100)

    assert replaying.sample(reversed(heads("order", range(1000))), 100) == before[::-1]
    assert len({t.instance_id for t in before} & {t.instance_id for t in after}) > 70


def test_sample_is_asked_for_by_number(some):
    assert run("durable_replay", "--sample", "1")[2] == "2 replayed, all would go on\n"
    assert run("durable_replay", "--sample", "5", "--limit", "3")[2] == "3 replayed, all would go on\n"


# --- progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def write(self, text, style=None, ending=None):
        return super().write(text)


def test_progress_is_shown_on_a_terminal_and_taken_away_again():
    known, unknown, elsewhere = Terminal(), Terminal(), io.StringIO()

    for stream, total in ((known, 4), (unknown, None), (elsewhere, 4)):
        progress = Progress(stream, total)
        progress.step()
        progress.end()

    assert known.getvalue().split("\r")[1:3] == ["[#######.......................] 1 of 4", " " * 39]
    assert unknown.getvalue().split("\r")[1:3] == ["1", " "]
    assert elsewhere.getvalue() == ""
    assert os.linesep not in known.getvalue()
