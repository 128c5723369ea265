"""The rules where people meet them: in system checks, and in ``durable_lint``."""

from __future__ import annotations

import io
import json
import time

import pytest
from django.apps import apps
from django.core import checks
from django.core.management import CommandError, call_command

from durable import activity, analyzer, workflow
from durable.checks import check_code


@pytest.fixture
def faulty(fresh):
    @workflow.defn
    async def hasty() -> None:
        time.sleep(1)
        print(time.time())  # noqa: T201 - what is to be found

    @workflow.defn
    async def clean() -> None: ...

    @activity.defn
    def beating() -> None:
        activity.heartbeat()

    return hasty.fn.__code__.co_firstlineno + 2


def run(*args):
    """Return the exit code, and what was printed."""
    out = io.StringIO()
    try:
        call_command("durable_lint", *args, stdout=out, stderr=io.StringIO())
    except CommandError as error:
        return error.returncode, out.getvalue()
    return 0, out.getvalue()


# --- checks


def test_checks_report_findings(faulty):
    blocking, *_, beating = check_code()

    assert blocking == checks.Warning(
        "DUR001: time.sleep() blocks the worker and is not recorded.",
        hint="Use await asyncio.sleep(...), which is a durable timer in a workflow.",
        obj=f"{__file__}:{faulty}",
        id="durable.W101",
    )
    assert beating.id == "durable.W122"


def test_hints_do_not_fail_a_check_of_warnings(faulty):
    levels = {message.id: message.level for message in check_code()}

    assert levels["durable.W120"] == checks.INFO
    assert levels["durable.W102"] == levels["durable.W122"] == checks.WARNING


def test_checks_run_with_the_tag_and_can_be_silenced(faulty, settings):
    settings.SILENCED_SYSTEM_CHECKS = ["durable.W101"]

    found = checks.run_checks(tags=["durable"])

    assert [each.id for each in found if not each.is_silenced() and each.id.startswith("durable.W1")] == [
        "durable.W120",
        "durable.W102",
        "durable.W122",
    ]


def test_checks_of_an_app_leave_out_the_others(faulty):
    assert check_code(app_configs=[apps.get_app_config("shop")]) == []


def test_a_broken_converter_is_left_to_its_own_check(faulty, settings):
    settings.DURABLE = {"CONVERTER": "no.such"}

    assert check_code()[0].id == "durable.W101"


# --- durable_lint


def test_lint_prints_findings_and_fails(faulty, monkeypatch):
    code, printed = run()

    assert code == 1
    assert f"tests/test_lint.py:{faulty}:9: DUR001 time.sleep() blocks the worker" in printed
    assert "Use await asyncio.sleep(...)" in printed


def test_lint_of_clean_code_succeeds(faulty):
    assert run("clean") == (0, "")


def test_lint_takes_workflows_activities_and_apps(faulty):
    assert [run(name)[0] for name in ("hasty", "beating", "clean", "shop")] == [1, 1, 0, 0]
    assert "DUR001" not in run("beating")[1]


def test_lint_of_an_app_takes_all_that_is_in_it(faulty, monkeypatch):
    monkeypatch.setattr(apps.get_app_config("shop"), "name", "tests")

    assert run("shop")[1] == run()[1]


def test_lint_of_what_is_not_there_has_its_own_exit_code(faulty):
    assert run("hast")[0] == 3


def test_lint_can_look_at_one_rule(faulty):
    found = json.loads(run("--json", "--rule", "DUR002", "--rule", "DUR022")[1])

    assert [each["rule"] for each in found] == ["DUR002", "DUR022"]


def test_lint_as_json(faulty):
    code, printed = run("--json", "--rule=DUR001")

    assert code == 1
    assert json.loads(printed) == [
        {
            "rule": "DUR001",
            "severity": "error",
            "message": "time.sleep() blocks the worker and is not recorded",
            "hint": "Use await asyncio.sleep(...), which is a durable timer in a workflow.",
            "file": "tests/test_lint.py",
            "line": faulty,
            "column": 9,
            "workflow": "hasty",
        }
    ]
    assert run("clean", "--json") == (0, "[]\n")


def test_lint_as_annotations_of_github(faulty):
    first, *_, last = run("--github")[1].splitlines()

    assert first == (
        f"::error file=tests/test_lint.py,line={faulty},col=9,title=DUR001 blocking call::"
        "time.sleep() blocks the worker and is not recorded. "
        "Use await asyncio.sleep(...), which is a durable timer in a workflow."
    )
    assert last.startswith("::warning file=tests/test_lint.py,")


def test_annotations_escape_what_github_would_read(monkeypatch, faulty):
    finding = analyzer.Finding(
        rule="DUR001", message="100%\nsure", hint="a: b, c", file="a,b:c.py", line=1, column=2, workflow="w"
    )
    monkeypatch.setattr(analyzer, "analyze_all", lambda *_, **__: [finding])

    assert run("--github")[1] == (
        "::error file=a%2Cb%3Ac.py,line=1,col=2,title=DUR001 blocking call::100%25%0Asure. a: b, c\n"
    )


def test_lint_lists_the_rules(fresh):
    code, printed = run("--list-rules")

    assert code == 0
    assert [line.split()[0] for line in printed.splitlines()] == list(analyzer.RULES)
    assert json.loads(run("--list-rules", "--json")[1])[2]["check"] == "durable.W103"
