"""The commands of the verbs about an instance's life: each does its verb, and its dry run changes nothing."""

from __future__ import annotations

import io

import pytest

from durable import RetryPolicy, activity, client, workflow
from durable.models import ActivityTask, Execution, HistoryEvent, InboxEvent, Instance, Operation
from tests.telling import Told

VERBS = ("cancel", "terminate", "suspend", "resume", "restart", "restore")


@pytest.fixture
def flow(engine):
    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def fragile(fails: bool) -> str:
        if fails:
            raise ConnectionError("down")
        return "done"

    @workflow.defn
    async def flow(fails: bool = False) -> object:
        if fails:
            return await fragile(fails)
        return await workflow.wait_signal("go")

    @workflow.defn
    async def parent() -> object:
        return await flow.options(id="kid")()

    return flow


@pytest.fixture
def world(engine, flow):
    """One that waits, one that is halted, one that failed, one whose rewind is not what was wanted, and a family."""
    for instance_id in ("waits", "halted"):
        flow.options(id=instance_id).start()
    for instance_id in ("failed", "rewound"):
        flow.options(id=instance_id).start(True)
    client.start("parent", id="parent")
    engine.run_until_quiet()
    client.suspend("halted")
    client.rewind("rewound")
    return engine


TARGETS = {
    "cancel": "waits",
    "terminate": "waits",
    "suspend": "waits",
    "resume": "halted",
    "restart": "failed",
    "restore": "rewound",
}


def stored():
    return [list(model.objects.order_by("pk").values()) for model in (Instance, Execution, HistoryEvent)] + [
        model.objects.count() for model in (InboxEvent, ActivityTask)
    ]


# --- what they have in common


@pytest.mark.parametrize("verb", VERBS)
def test_dry_run_says_what_would_be_and_changes_nothing(world, verb):
    target, before = TARGETS[verb], stored()

    told = Told(f"durable_{verb}", target, "--dry-run")
    (preview,) = Told(f"durable_{verb}", target, "--dry-run", "--json").json

    assert (told.code, told.err) == (0, "")
    assert told.out.startswith(f"{target}: {verb}, on version 0, would")
    assert (preview["id"], preview["verb"], preview["allowed"], preview["refusal"]) == (target, verb, True, None)
    assert stored() == before


@pytest.mark.parametrize("verb", VERBS)
def test_it_is_done_and_the_audit_says_by_whom_and_why(world, verb):
    told = Told(f"durable_{verb}", TARGETS[verb], "--reason", "so be it", "--actor", "ada", "--json")

    (done,) = told.json
    assert (told.code, done["id"], done["outcome"]) == (0, TARGETS[verb], "done")
    row = Operation.objects.get(verb=verb, instance_id=TARGETS[verb], reason="so be it")
    assert (row.actor_name, row.outcome, row.dry_run) == ("ada", "done", False)


@pytest.mark.parametrize("verb", [*VERBS, "signal"])
def test_refusal_of_an_unknown_instance_has_its_code(world, verb):
    more = ["go"] if verb == "signal" else []

    assert Told(f"durable_{verb}", "nobody", *more).code == 3
    assert Told(f"durable_{verb}", "nobody", *more, "--json").json[0]["error"] == "UnknownInstance"


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["cancel", "failed"], 4),
        (["terminate", "failed"], 4),
        (["suspend", "failed"], 4),
        (["resume", "failed"], 4),
        (["restart", "waits"], 4),
        (["restart", "failed", "--new-id", "waits"], 4),
        (["restart", "failed", "--id-reuse", "whatever"], 2),
        (["restart", "failed", "--on-version", "7"], 3),
        (["restore", "failed"], 2),
        (["restore", "rewound", "--execution", "nonsense"], 3),
        (["signal", "failed", "go"], 4),
        (["signal", "waits", "go", "not JSON"], 2),
        (["cancel", "waits", "--reason", "x" * 1001], 2),
        (["cancel"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_refusals_are_told_apart_and_change_nothing(world, args, code):
    verb, *rest = args
    before = stored()

    assert Told(f"durable_{verb}", *rest).code == code
    assert stored() == before


# --- each of them


def test_cancel_asks_the_code_to_stop(world):
    told = Told("durable_cancel", "waits")
    world.run_until_quiet()

    assert told.out == "waits: asked to stop\n"
    assert client.status("waits") == "canceled"


def test_terminate_ends_at_once_and_shows_whom_it_takes_along(world):
    would = Told("durable_terminate", "parent", "--dry-run").out
    told = Told("durable_terminate", "parent", "waits")

    assert would == ("parent: terminate, on version 0, would be done\n  kid: terminate, on version 0, would be done\n")
    assert told.out == "parent: terminated\nwaits: terminated\n"
    assert [client.status(each) for each in ("parent", "kid", "waits")] == ["terminated"] * 3


def test_suspend_and_resume_take_children_along_if_asked_to(world):
    assert Told("durable_suspend", "parent").out == "parent: suspended\n"
    assert client.status("kid") == "running"

    Told("durable_suspend", "parent", "--children")
    assert (client.status("parent"), client.status("kid")) == ("suspended", "suspended")
    note = "  note: it is suspended, nothing changes\n"
    assert Told("durable_suspend", "parent", "--dry-run").out.endswith(note)

    assert Told("durable_resume", "parent", "--children").out == "parent: resumed\n"
    assert (client.status("parent"), client.status("kid")) == ("running", "running")


def test_ids_of_a_list_can_be_piped_into_them(world, monkeypatch):
    listed = Told("durable_list", "--status", "running", "--workflow", "flow", "--ids", "--roots")
    monkeypatch.setattr("sys.stdin", io.StringIO(listed.out))

    told = Told("durable_suspend", "-")

    assert told.out.splitlines() == ["rewound: suspended", "waits: suspended"]


def test_restart_begins_a_new_instance(world):
    told = Told("durable_restart", "failed", "--new-id", "again")

    assert told.out == "failed: restarted as again\n"
    assert client.get("again").instance.rerun_from == "failed"


def test_restart_can_end_what_is_open_and_take_its_id(world):
    told = Told("durable_restart", "waits", "--terminate-first", "--id-reuse", "replace_closed", "--json")

    assert told.json == [{"id": "waits", "outcome": "done", "new_id": "waits"}]
    runs = client.get("waits").instance.executions.order_by("number")
    assert [run.status for run in runs] == ["terminated", "running"]


def test_restore_takes_the_last_rewind_back(world):
    told = Told("durable_restore", "rewound")

    instance = client.instance("rewound")
    assert told.out == f"rewound: restored, in execution {instance.execution_id}\n"
    assert instance.status == "failed"
    assert Told("durable_restore", "rewound").code == 2, "it is a restore already"


def test_restore_names_an_execution_and_refuses_what_would_lose_work(world):
    first = client.instance("rewound").executions.get(number=1)
    client.signal("rewound", "go")

    told = Told("durable_restore", "rewound", "--execution", str(first.pk), "--json")

    assert told.code == 4
    assert told.json[0]["error"] == "WorkWouldBeLost"


def test_signal_is_audited_if_somebody_is_named(world):
    Told("durable_signal", "waits", "other")
    assert not Operation.objects.filter(verb="signal").exists()

    told = Told("durable_signal", "waits", "go", "5", "--reason", "approved", "--actor", "ada")

    assert told.out == "waits has got the signal go\n"
    row = Operation.objects.get(verb="signal")
    assert (row.actor_name, row.reason, row.arguments) == ("ada", "approved", {"name": "go", "payload": "***"})
    assert world.result("waits") == 5


def test_signal_reads_ids_from_standard_input(world, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("waits\nnobody\n"))

    told = Told("durable_signal", "-", "go", "5")

    assert (told.code, told.error) == (3, "1 of 2 done, 1 refused")
    assert world.result("waits") == 5
