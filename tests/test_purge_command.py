"""The command that purges: which instances, how it asks, and how it says what came of it."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from durable import client, workflow
from durable.models import Instance, Operation
from tests.test_commands import refused, run


@pytest.fixture
def some(engine):
    """Three that are done, one that failed, and one that is open."""

    @workflow.defn
    async def quick() -> int:
        return 1

    @workflow.defn
    async def failing() -> None:
        raise ValueError

    @workflow.defn
    async def waiting() -> Any:
        return await workflow.wait_signal("go")

    for number in range(3):
        quick.options(id=f"q{number}").start()
    failing.options(id="f").start()
    waiting.options(id="w").start()
    engine.run_until_quiet()
    Instance.objects.filter(pk="q0").update(closed_at=timezone.now() - timedelta(days=10))
    return engine


def ids() -> set[str]:
    return set(Instance.objects.values_list("pk", flat=True))


def test_ids_are_purged_for_a_reason(some):
    assert run("durable_purge", "q0", "q1", "--reason", "gone", "--actor", "ada") == (
        "deleted 2 instances, 2 executions, 4 events\n"
    )
    assert ids() == {"q2", "f", "w"}
    assert set(Operation.objects.values_list("reason", "actor_name")) == {("gone", "ada")}


def test_ids_come_from_standard_input(some, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("q0\n\nq2\n"))

    run("durable_purge", "-")

    assert ids() == {"q1", "f", "w"}


def test_filters_choose(some):
    told = json.loads(run("durable_purge", "--older-than", "7d", "--dry-run", "--json"))
    assert told == {"instances": 1, "executions": 1, "events": 2, "refused": {}, "dry_run": True}
    assert len(ids()) == 5

    run("durable_purge", "--status", "failed", "--older-than", "2100-01-01")
    assert ids() == {"q0", "q1", "q2", "w"}
    run("durable_purge", "q1", "w", "--workflow", "quick")
    assert ids() == {"q0", "q2", "w"}
    run("durable_purge", "--status", "closed", "--batch-size", "1")
    assert ids() == {"w"}
    run("durable_purge", "w", "--force")
    assert ids() == set()


def test_exit_codes_tell_why_some_were_left(some):
    assert refused("durable_purge", "q0", "w") == (4, "1 refused")
    assert refused("durable_purge", "nobody")[0] == 3
    assert refused("durable_purge", "nobody", "w")[0] == 4
    assert refused("durable_purge")[0] == 2
    assert refused("durable_purge", "--workflow", "quick", "--batch-size", "0")[0] == 2
    assert ids() == {"q1", "q2", "f", "w"}


def test_a_person_is_asked_first(some, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    asked = []

    def answer(text: str) -> str:
        asked.append(text)
        return "n"

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("builtins.input", answer)

    assert refused("durable_purge", "--workflow", "quick") == (2, "nothing was deleted")
    assert asked == ["Delete 3 instances with 6 events for good? [y/N] "]
    run("durable_purge", "--workflow", "quick", "--no-input")
    assert ids() == {"f", "w"}


def test_interrupted_it_says_so_and_can_be_run_again(some, monkeypatch):
    purge = client.purge

    def stopped(chosen: Any, *, progress: Any, **options: Any) -> Any:
        def stop(number: int) -> None:
            progress(number)
            raise KeyboardInterrupt

        return purge(chosen, progress=stop, **options)

    monkeypatch.setattr(client, "purge", stopped)
    code, message = refused("durable_purge", "--workflow", "quick", "--batch-size", "2")
    assert (code, message) == (130, "interrupted after 2 instances; run it again to go on")
    assert ids() == {"q2", "f", "w"}
