"""Commands do what the client does, and their exit codes say how it went."""

from __future__ import annotations

import asyncio
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.utils import timezone

from durable import activity, client, workflow
from durable.client import HistoryItem, steps
from durable.management import commands, timeline
from durable.models import Instance, Operation
from project.celery import app

COMMANDS = sorted(path.stem for path in Path(commands.__file__).parent.glob("durable_*.py"))


@pytest.fixture
def eager(committing):
    """A worker that does what it is told at once, in the test's own thread."""
    app.conf.task_always_eager = True
    yield committing
    app.conf.task_always_eager = False


@pytest.fixture
def defined(fresh):
    @activity.defn
    def double(number: int) -> int:
        if number < 0:
            raise activity.NonRetryable("too small")
        return 2 * number

    @workflow.defn
    async def doubling(number: int, plus: int = 0) -> int:
        workflow.set_tags(customer="Ada")
        workflow.set_progress(1, 2, "doubling")
        doubled: int = await double(number)
        return doubled + plus

    @workflow.defn
    async def asking2(question: str = "?") -> object:
        workflow.set_status("asks")
        return await workflow.wait_signal("answer")

    @workflow.defn
    async def sleeping() -> None:
        await asyncio.sleep(3600)


@pytest.fixture
def ready(eager, defined):
    return eager


def run(*args, **options):
    out = io.StringIO()
    call_command(*args, stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


def refused(*args):
    with pytest.raises(CommandError) as error:
        run(*args)
    return error.value.returncode, str(error.value)


# --- start


def test_start_prints_the_id(ready):
    printed = run("durable_start", "doubling", "21", "--id", "d-1")

    assert printed == "d-1\n"
    assert client.get("d-1").result(timeout=0) == 42


def test_start_is_an_operation(ready):
    run("durable_start", "doubling", "21", "--id", "d-1", "--reason", "by hand", "--actor", "ada")
    refused("durable_start", "doubling", '"21"', "--id", "d-2")

    rows = Operation.objects.order_by("pk").values_list("verb", "instance_id", "actor_name", "reason", "outcome")
    assert list(rows) == [("start", "d-1", "ada", "by hand", "done"), ("start", "d-2", "", "", "refused")]


def test_start_waits_and_prints_the_result_as_json(ready):
    plain = run("durable_start", "doubling", "21", "--kwargs", '{"plus": 1}', "--wait")
    as_json = json.loads(run("durable_start", "doubling", "1", "--id", "d-2", "--wait", "5", "--json"))

    assert json.loads(plain) == 43
    assert as_json == {"id": "d-2", "status": "completed", "result": 2}


def test_start_takes_queue_tags_and_delay(ready):
    started = json.loads(
        run("durable_start", "asking2", "--queue", "slow", "--tag", "n=1", "--tag", "who=Ada", "--delay=60", "--json")
    )

    instance = Instance.objects.get(pk=started["id"])
    assert (instance.name, instance.version, instance.queue) == ("asking", 2, "slow")
    assert instance.tags == {"n": 1, "who": "Ada"}
    assert started["status"] == "pending"


def test_a_failure_is_told_by_its_own_exit_code(ready):
    code, message = refused("durable_start", "doubling", "--id=d-3", "--wait", "5", "-1")

    assert code == 5
    assert "too small" in message


def test_what_does_not_end_in_time_has_its_own_exit_code(ready):
    code, message = refused("durable_start", "sleeping", "--wait", "0.01")

    assert code == 6
    assert "still running" in message


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["redoubling", "1"], 3),
        (["doubling"], 2),
        (["doubling", "1", "2", "3"], 2),
        (["doubling", "1", "--id", "taken"], 4),
        (["doubling", "1", "--id", "x" * 256], 2),
        (["doubling", "1", "--delay=-1"], 2),
        (["doubling", '"one"'], 2),
    ],
    ids=["unknown", "too few", "too many", "taken", "bad id", "bad delay", "another type"],
)
def test_start_refuses_and_starts_nothing(ready, args, code):
    run("durable_start", "asking2", "--id", "taken")

    assert refused("durable_start", *args)[0] == code
    assert Instance.objects.count() == 1


@pytest.mark.parametrize("args", [["doubling", "Ada"], ["doubling", "--kwargs", "[]"], ["doubling", "1", "--tag", "n"]])
def test_what_is_not_json_is_refused_with_a_hint(ready, args):
    _, message = refused("durable_start", *args)

    assert "not" in message
    assert "'" in message


# --- signal


def test_signal_delivers_its_payload(ready):
    handle = client.start("asking2", id="a-1")

    said = run("durable_signal", "a-1", "answer", '{"yes": true}')

    assert said == "a-1 has got the signal answer\n"
    assert handle.result(timeout=0) == {"yes": True}


def test_signal_without_a_payload_is_null(ready):
    handle = client.start("asking2", id="a-2")

    said = json.loads(run("durable_signal", "a-2", "answer", "--json"))

    assert said == [{"id": "a-2", "outcome": "done"}]
    assert handle.result(timeout=0) is None


def test_signal_refuses_unknown_and_closed_instances(ready):
    run("durable_start", "doubling", "1", "--id", "closed")

    assert refused("durable_signal", "nobody", "answer")[0] == 3
    assert refused("durable_signal", "closed", "answer")[0] == 4
    assert refused("durable_signal", "closed", "")[0] == 2


# --- list


@pytest.fixture
def some(ready):
    client.start("doubling", [1], id="d-1")
    client.start("doubling", [-1], id="d-2")
    client.start("asking2", id="a-1", tags={"customer": "Bo", "n__gt": 5})


def listed(*args):
    return {row["id"] for row in json.loads(run("durable_list", "--json", *args))}


def test_list_says_what_there_is(some):
    lines = run("durable_list", no_color=True).splitlines()

    assert [line.split()[0] for line in lines] == ["a-1", "d-2", "d-1"]
    assert "running" in lines[0]
    assert "asking2  asks" in lines[0]
    assert "customer=Bo" in lines[0]
    assert "failed" in lines[1]
    assert "doubling  1/2 doubling  customer=Ada" in lines[2]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ("", "a-1 d-1 d-2"),
        ("--status open", "a-1"),
        ("--status closed", "d-1 d-2"),
        ("--status failed --status running", "a-1 d-2"),
        ("--workflow doubling", "d-1 d-2"),
        ("--tag customer=Ada", "d-1 d-2"),
        ("--tag customer=Bo --tag n__gt=5", "a-1"),
        ("--tag n__gt=4", ""),
        ("--tag customer=Ada --status completed", "d-1"),
        ("--limit 1", "a-1"),
        ("--parent d-1", ""),
        ("--roots", "a-1 d-1 d-2"),
    ],
)
def test_list_filters(some, options, ids):
    assert listed(*options.split()) == set(ids.split())


def test_list_knows_parents_from_children(ready):
    @workflow.defn
    async def parent() -> None:
        await workflow.child_by_name("doubling")(1)

    client.start("parent", id="p")

    assert listed("--parent", "p") == {"p:0000"}
    assert listed("--roots") == {"p"}


def test_list_knows_who_has_a_patch_and_who_is_on_the_old_path(ready):
    @workflow.defn
    async def patching(*ids: str) -> None:
        for patch_id in ids:
            workflow.patched(patch_id)
        workflow.deprecate_patch("ancient")
        await workflow.wait_signal("go")

    client.start("patching", id="p-0")
    client.start("patching", ["tax"], id="p-1")
    client.start("patching", ["tax", "discount"], id="p-2")

    assert listed("--patch", "tax") == {"p-1", "p-2"}
    assert listed("--patch", "tax", "--patch", "discount") == {"p-2"}
    assert listed("--workflow", "patching", "--without-patch", "discount") == {"p-0", "p-1"}
    assert listed("--patch", "ancient") == set()
    assert listed("--without-patch", "ancient") == set()
    assert "  patches        tax, ancient (deprecated)\n" in run("durable_show", "p-1", no_color=True)


def test_list_goes_back_as_far_as_it_is_told(some):
    Instance.objects.filter(pk="d-1").update(created_at=timezone.now() - timedelta(days=3))

    assert listed("--since", "2d") == {"d-2", "a-1"}
    assert listed("--since", "4d") == {"d-1", "d-2", "a-1"}


@pytest.mark.parametrize("args", [["--limit", "-1"], ["--limit", "many"], ["--since", "yesterday"]], ids=" ".join)
def test_list_refuses_what_is_no_limit_and_no_time(args):
    assert refused("durable_list", *args)[0] == 2


def test_list_of_nothing_is_empty(ready):
    assert run("durable_list") == ""
    assert json.loads(run("durable_list", "--json")) == []


def test_list_says_how_many_it_left_out(some):
    err = io.StringIO()

    call_command("durable_list", "--limit", "2", stdout=io.StringIO(), stderr=err)

    assert err.getvalue() == "2 of 3\n"


# --- show


def test_show_tells_the_state_and_a_timeline(some):
    text = run("durable_show", "d-1", no_color=True)

    assert text.startswith("d-1: doubling is completed\n")
    assert '  tags           {"customer": "Ada"}' in text
    assert "  result         2" in text
    assert [line.split()[:3] for line in text.splitlines()[-3:]] == [
        ["ExecutionStarted", "doubling", "0.000"],
        ["0", "activity", "double"],
        ["ExecutionCompleted", text.splitlines()[-1].split()[1], "s"],
    ]


def test_show_tells_of_failures_and_earlier_executions(some):
    client.start("doubling", [2], id="d-2", id_reuse="replace_closed")
    first = Instance.objects.get(pk="d-2").executions.order_by("number").first()
    assert first is not None

    now = run("durable_show", "d-2", no_color=True)
    then = run("durable_show", "d-2", "--execution", str(first.pk), "--history", no_color=True)
    failed = client.start("doubling", [-1], id="d-4")

    assert "executions     2" in now
    assert "ActivityFailed" in then
    assert "too small" in run("durable_show", failed.id, no_color=True)


def test_show_prints_the_history(some):
    lines = run("durable_show", "d-1", "--history", no_color=True).splitlines()[-4:]

    assert [line.split()[0] for line in lines] == ["1", "2", "3", "4"]
    assert '{"result": 2' in lines[2]


def test_show_as_json_has_everything(some):
    shown = json.loads(run("durable_show", "d-1", "--json"))

    assert (shown["id"], shown["status"], shown["result"]) == ("d-1", "completed", 2)
    assert [item["kind"] for item in shown["history"]] == [
        "ExecutionStarted", "ActivityScheduled", "ActivityCompleted", "ExecutionCompleted"
    ]  # fmt: skip
    assert [execution["number"] for execution in shown["executions"]] == [1]


def test_show_refuses_what_is_not_there(some):
    assert refused("durable_show", "nobody")[0] == 3
    assert refused("durable_show", "d-1", "--execution", "nonsense")[0] == 3


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_and_exit_codes(name):
    text = load_command_class("durable", name).create_parser("manage.py", name).format_help()

    assert f"examples:\n  manage.py {name}" in text
    assert "exit codes:" in text


# --- the timeline behind show


def item(seq, kind, event_id=None, at=0.0, **data):
    moment = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=at)
    return HistoryItem(
        seq=seq, kind=kind, event_id=event_id, name="it", recorded_at=moment, data=data, rerunnable=False
    )


def test_timeline_pairs_what_was_asked_for_with_its_end():
    items = [
        item(1, "ExecutionStarted"),
        item(2, "ActivityScheduled", 0, at=0.0),
        item(3, "TimerStarted", 1, at=0.0),
        item(4, "ActivityCompleted", 0, at=2.0, attempts=3),
        item(5, "SideEffectRecorded", 2, at=2.0),
    ]

    found = steps.of(items)

    began, later = items[0].recorded_at, items[-1].recorded_at
    assert [(s.kind, s.began, s.ended, s.outcome, s.attempts) for s in found] == [
        ("ExecutionStarted", began, began, "", None),
        ("activity", began, later, "completed", 3),
        ("timer", began, None, "", None),
        ("side effect", later, later, "", None),
    ]
    assert timeline.span(found) == 2.0


@pytest.mark.parametrize(
    ("began", "ended", "bar"),
    [(0.0, 10.0, "━━━━━━━━━━━"), (5.0, 5.0, "     ◆     "), (5.0, 10.0, "     ━━━━━━"), (5.0, None, "     ━━━━━▶")],
    ids=["whole", "moment", "half", "open"],
)
def test_bars_are_as_long_as_they_should_be(began, ended, bar):
    assert timeline.bar(began, ended, 10.0, 11) == bar
    assert len(timeline.bar(began, ended, 0.0, 11)) == 11
