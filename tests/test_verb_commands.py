"""The commands of the verbs that repair: what they do, what they say, and how scripts tell it apart."""

from __future__ import annotations

import io
from functools import wraps

import pytest
from django.core.management import load_command_class

from durable import RetryPolicy, activity, client, workflow
from durable.client.verbs import VERBS, Verb
from durable.models import Operation
from tests.telling import Told

OWN_WAYS = {"purge", "recover"}
"""Verbs whose commands are about many instances in a way of their own."""


@pytest.fixture
def up():
    return {"up": False}


@pytest.fixture
def flow(engine, up):
    @activity.defn
    def first() -> str:
        return "first"

    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def second(amount: int = 1) -> int:
        if not up["up"]:
            raise ConnectionError("down")
        return amount

    @workflow.defn
    async def flow() -> int:
        await first()
        try:
            return await second()
        finally:
            await first()

    return flow


@pytest.fixture
def failed(engine, flow, up):
    """Two instances that failed; what they failed at is up again."""
    handles = [flow.options(id=instance_id).start() for instance_id in ("a", "b")]
    engine.run_until_quiet()
    assert [handle.status for handle in handles] == ["failed", "failed"]
    up["up"] = True
    return handles


@pytest.fixture
def stdin(monkeypatch):
    def give(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    return give


# --- rewind


def test_rewind_does_it_and_says_so(engine, failed):
    told = Told("durable_rewind", "a", "--reason", "it is up", "--actor", "ada")

    assert (told.code, told.err) == (0, "")
    assert told.out == f"a: rewound, in execution {client.get('a').instance.execution_id}\n"
    assert engine.result("a") == 1
    row = Operation.objects.get()
    assert (row.verb, row.instance_id, row.reason, row.actor_name) == ("rewind", "a", "it is up", "ada")


def test_dry_run_prints_the_preview_and_changes_nothing(failed):
    told = Told("durable_rewind", "a", "--dry-run")

    assert told.code == 0
    assert told.out == (
        "a: rewind, on version 0, would\n"
        "  keep           0  ActivityScheduled(first)\n"
        "  run again      1  ActivityScheduled(second)\n"
        "  drop           2  ActivityScheduled(first)\n"
    )
    assert client.get("a").status == "failed"
    assert Operation.objects.get().dry_run


def test_dry_run_as_json_has_the_fields_of_the_preview(failed):
    told = Told("durable_rewind", "a", "--dry-run", "--json")

    (preview,) = told.json
    assert preview["id"] == preview["instance_id"] == "a"
    assert (preview["verb"], preview["allowed"], preview["refusal"]) == ("rewind", True, None)
    assert preview["rerun"] == [{"event_id": 1, "kind": "ActivityScheduled", "name": "second"}]


def test_ids_come_from_standard_input_too(engine, failed, stdin):
    stdin("a\n\n b \na\n")

    told = Told("durable_rewind", "-", "--json")

    assert [(each["id"], each["outcome"]) for each in told.json] == [("a", "done"), ("b", "done")]
    assert [engine.result(each) for each in ("a", "b")] == [1, 1]


def test_no_id_at_all_is_refused(stdin):
    stdin("\n")

    piped, given = Told("durable_rewind", "-"), Told("durable_rewind", " ")

    assert (piped.code, piped.error) == (2, "no ids came on standard input; nothing is done")
    assert (given.code, given.error) == (2, "no ids were given; nothing is done")


@pytest.mark.parametrize("text", ["one", "-1", "1.5", "9" * 5000])
def test_what_is_no_event_id_is_refused_with_a_hint(failed, text):
    told = Told("durable_rewind", "a", f"--to={text}")

    assert told.code == 2
    assert "`durable_show ID` lists them" in told.error


def test_ids_of_a_list_can_be_piped_into_a_verb(failed, stdin):
    listed = Told("durable_list", "--status", "failed", "--ids")
    stdin(listed.out)

    assert sorted(each["id"] for each in Told("durable_rewind", "-", "--json").json) == ["a", "b"]


def test_refusal_of_one_keeps_no_other_from_it(engine, failed):
    told = Told("durable_rewind", "nobody", "a", "b")

    assert engine.result("b") == 1
    assert told.code == 3, "the only kind of refusal"
    assert told.error == "2 of 3 done, 1 refused"
    assert told.err == "nobody: no instance has the id 'nobody'\n"
    assert Told("durable_rewind", "nobody", "a").code == 1, "refusals of two kinds"


def test_refusal_has_the_code_of_its_kind_in_a_dry_run_as_well(engine, failed, up):
    client.rewind("a")
    engine.run_until_quiet()

    for options in ([], ["--dry-run"]):
        told = Told("durable_rewind", "a", *options)
        assert (told.code, told.error, told.out) == (4, "instance 'a' is completed, not failed", "")
    assert Told("durable_rewind", "nobody", "--dry-run").code == 3
    assert Told("durable_rewind", "a", "--to", "77").code == 3


def test_refusal_as_json_has_its_facts(engine, failed):
    told = Told("durable_rewind", "nobody", "--json")

    assert told.json == [
        {
            "id": "nobody",
            "outcome": "refused",
            "error": "UnknownInstance",
            "message": "no instance has the id 'nobody'",
            "facts": {"instance_id": "nobody"},
        }
    ]
    (preview,) = Told("durable_rewind", "nobody", "--dry-run", "--json").json
    assert (preview["allowed"], preview["refusal"]["error"]) == (False, "UnknownInstance")


def test_rewind_goes_back_to_an_event(engine, failed):
    client.rewind("a")
    assert engine.result("a") == 1

    told = Told("durable_rewind", "a", "--to", "1")

    assert told.code == 0
    assert client.get("a").status == "running"


def test_children_are_shown_below_their_parent(engine, flow, up):
    @workflow.defn
    async def parent() -> int:
        return await flow.options(id="kid")()

    parent.options(id="parent").start()
    engine.run_until_quiet()
    up["up"] = True

    would = Told("durable_rewind", "parent", "--dry-run").out.splitlines()
    (as_json,) = Told("durable_rewind", "parent", "--dry-run", "--json").json
    did = Told("durable_rewind", "parent").out.splitlines()

    assert would[0] == "parent: rewind, on version 0, would be done"
    assert would[1] == "  kid: rewind, on version 0, would"
    assert would[3] == "    run again      1  ActivityScheduled(second)"
    assert as_json["children"][0]["rerun"][0]["name"] == "second"
    assert [line[:14] for line in did] == ["parent: rewoun", "  kid: rewound"]


def test_many_steps_are_counted_not_listed(engine, up):
    @activity.defn
    def step() -> None: ...

    @workflow.defn
    async def long() -> None:
        for _ in range(30):
            await step()
        raise ValueError

    long.options(id="long").start()
    engine.run_until_quiet()

    assert "  keep           0 to 29, 30 steps\n" in Told("durable_rewind", "long", "--dry-run").out


def test_interrupt_says_what_was_done_and_stops(monkeypatch, failed):
    @wraps(client.rewind)
    def interrupted(instance_id, **options):
        if instance_id == "b":
            raise KeyboardInterrupt
        return client.rewind(instance_id, **options)

    monkeypatch.setitem(VERBS, "rewind", Verb(interrupted, VERBS["rewind"].permission))
    told = Told("durable_rewind", "a", "b", "--json")

    assert (told.code, told.error) == (130, "interrupted; so far: 1 of 2 done, 0 refused")
    assert [each["id"] for each in told.json] == ["a"]
    assert client.get("b").status == "failed"


# --- rerun


def test_rerun_makes_a_new_instance_with_new_input(engine, failed):
    told = Told("durable_rerun", "a", "1", "--new-id", "a-2", "--input", "250")

    assert (told.code, told.out) == (0, "a: rerun as a-2\n")
    assert engine.result("a-2") == 250


@pytest.mark.parametrize("given", ['{"args": [7], "kwargs": {}}', '{"args": [], "kwargs": {"amount": 7}}', "7"])
def test_rerun_takes_arguments_as_json(engine, failed, given):
    (made,) = Told("durable_rerun", "a", "1", "--input", given, "--json").json

    assert engine.result(made["new_id"]) == 7


def test_rerun_of_many_from_standard_input(engine, failed, stdin):
    stdin("a\nb\n")

    made = Told("durable_rerun", "-", "1", "--json").json

    assert [each["id"] for each in made] == ["a", "b"]
    assert [engine.result(each["new_id"]) for each in made] == [1, 1]


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["nobody", "1"], 3),
        (["a", "9"], 3),
        (["a", "1", "--new-id", "b"], 4),
        (["a", "1", "--new-id", "a"], 2),
        (["a", "1", "--input", '{"args": 7, "kwargs": {}}'], 2),
        (["a", "1", "--input", '"seven"'], 2),
        (["a", "1", "--execution", "nonsense"], 3),
        (["a", "1", "--on-version", "3"], 3),
    ],
)
def test_rerun_tells_refusals_apart(failed, args, code):
    assert Told("durable_rerun", *args).code == code
    assert not client.get("a").instance.children.exists()


def test_rerun_from_what_is_no_activity_is_bad_input(engine):
    @workflow.defn
    async def waiting() -> None:
        workflow.side_effect(lambda: 5)

    waiting.options(id="w").start()
    engine.run_until_quiet()

    assert Told("durable_rerun", "w", "0").code == 2


# --- upgrade


@pytest.fixture
def versions(engine):
    @activity.defn
    def act() -> int:
        return 1

    @activity.defn
    def other() -> int:
        return 2

    async def order(number: int) -> int:
        result = await (act if number < 3 else other)()
        await workflow.wait_signal("go")
        return result * number

    @workflow.defn(name="order", version=1)
    async def order1() -> int:
        return await order(1)

    @workflow.defn(name="order", version=2)
    async def order2() -> int:
        return await order(2)

    @workflow.defn(name="order", version=3)
    async def order3() -> int:
        return await order(3)

    for instance_id in ("o-1", "o-2"):
        order1.options(id=instance_id).start()
    engine.run_until_quiet()


def test_upgrade_goes_on_with_the_version(engine, versions):
    told = Told("durable_upgrade", "o-1", "o-2", "--to", "2", "--reason", "new tax")

    assert told.code == 0
    assert [line.split(",")[0] for line in told.out.splitlines()] == ["o-1: upgraded", "o-2: upgraded"]
    client.get("o-1").signal("go")
    assert engine.result("o-1") == 2


def test_upgrade_that_does_not_fit_is_refused_with_the_place(versions):
    told = Told("durable_upgrade", "o-1", "--json")

    (refusal,) = told.json
    assert told.code == 4
    assert (refusal["error"], refusal["facts"]["event_id"], refusal["facts"]["offer"]) == (
        "NondeterminismError",
        0,
        None,
    )


def test_upgrade_of_a_closed_one_says_how_it_goes_on(engine, versions):
    client.get("o-1").signal("go")
    assert engine.result("o-1") == 1

    told = Told("durable_upgrade", "o-1", "--to", "2")

    assert told.out.startswith("o-1: closed, so it is rerun as ")
    new = client.get(told.out.split()[-1])
    new.signal("go")
    assert engine.result(new) == 2


# --- versions


def test_versions_are_listed(versions):
    told = Told("durable_versions", "--workflow", "order")

    titles, *rows = [line.split() for line in told.out.splitlines()]
    assert titles[:3] == ["workflow", "version", "registered"]
    assert [(row[:6], row[-1]) for row in rows] == [
        (["order", "1", "yes", "2", "0", "0"], "no"),
        (["order", "2", "yes", "0", "0", "0"], "yes"),
        (["order", "3", "yes", "0", "0", "0"], "yes"),
    ]
    assert Told("durable_versions", "--workflow", "other").out == ""


def test_versions_as_json(versions):
    uses = Told("durable_versions", "--workflow", "order", "--json").json

    assert [(use["version"], use["open"], use["safe_to_delete"]) for use in uses] == [
        (1, 2, False),
        (2, 0, True),
        (3, 0, True),
    ]


# --- what they have in common


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_a_command_with_all_of_its_options(verb):
    if verb in OWN_WAYS:
        return
    command = load_command_class("durable", f"durable_{verb}")
    parser = command.create_parser("manage.py", f"durable_{verb}")

    names = {action.dest for action in parser._actions}
    assert (command.verb, VERBS[verb].takes - names) == (verb, set())
    assert "--json" in parser.format_help()
