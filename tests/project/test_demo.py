"""The demo counts right, cleans up after itself and leaves other people's databases alone."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import time
import uuid
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

import pytest
from django.core.management import CommandError, call_command

from durable import RetryPolicy, activity, registry, workflow
from durable.client import HistoryItem, steps
from durable.models import Instance, Operation
from project import trace
from project.demo import activities, crash, losses, processes, release2, repairs
from project.demo.console import Narrator
from project.demo.invariants import Invariant, of_crash
from project.demo.workflows import RELEASE
from project.shop.gateway import Gateway
from tests import driving


def item(seq, kind, event_id, at=0.0, *, name="charge", **data):
    moment = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=at)
    return HistoryItem(
        seq=seq, kind=kind, event_id=event_id, name=name, recorded_at=moment, data=data, rerunnable=False
    )


def told(act):
    out = io.StringIO()
    act(Narrator(out))
    return out.getvalue()


def test_every_run_of_an_activity_leaves_a_line(engine, settings, tmp_path):
    settings.TRACE_FILE = str(tmp_path / "trace.jsonl")

    @activity.defn(retry=RetryPolicy(initial_interval=0))
    @trace.traced
    def flaky() -> int:
        if activity.info().attempt == 1:
            raise ValueError("not yet")
        return 1

    @workflow.defn
    async def trying() -> int:
        return await flaky()  # type: ignore[no-any-return]

    handle = trying.options(id="trying").start()

    assert engine.result(handle) == 1
    runs = trace.read(tmp_path / "trace.jsonl")
    assert [(run.activity, run.instance, run.attempt) for run in runs] == [
        ("flaky", "trying", 1),
        ("flaky", "trying", 2),
    ]
    assert len({run.key for run in runs}) == 1
    assert crash.look(tmp_path / "trace.jsonl").finished == {runs[0].key}


def test_what_ran_after_a_crash_is_told_apart(tmp_path):
    file = tmp_path / "trace.jsonl"
    finished, interrupted, new = (f"{uuid.uuid4()}:0" for _ in range(3))
    struck = crash.Crash(finished=frozenset({finished}), interrupted=frozenset({interrupted}), lines=1)
    lines = [
        trace.Run(key=key, activity="a", instance="i", attempt=1, pid=1, at=0.0) for key in (finished, interrupted, new)
    ]
    file.write_text("".join(line + "\n" for line in (json.dumps(asdict(run)) for run in lines)))

    aftermath = crash.after(struck, file)

    assert aftermath == crash.Aftermath(finished_again=0, interrupted_again=1, others=1)
    assert all(invariant.holds for invariant in of_crash(struck, aftermath))


def test_a_second_run_of_what_had_finished_breaks_an_invariant():
    struck = crash.Crash(finished=frozenset({"a"}), interrupted=frozenset({"b"}), lines=0)
    aftermath = crash.Aftermath(finished_again=1, interrupted_again=0, others=1)

    broken = [invariant.sentence for invariant in of_crash(struck, aftermath) if not invariant.holds]

    assert broken == ["nothing that had finished ran again", "all that was interrupted ran again"]


def test_a_broken_invariant_is_told_with_what_speaks_against_it():
    invariants = [Invariant(sentence="all is well", against=()), Invariant(sentence="no loss", against=("one", "two"))]

    text = told(lambda narrator: narrator.invariants(invariants))

    assert "✓ all is well" in text
    assert "✗ NOT SO: no loss\n  one\n  two" in text


def test_without_a_terminal_progress_is_plain_lines():
    def count(narrator):
        with narrator.meter("files") as meter:
            for done in range(101):
                meter(done, 100, "")

    assert told(count).splitlines()[:3] == ["  files: 0 of 100", "  files: 20 of 100", "  files: 40 of 100"]


def test_a_timeline_shows_tries_and_times():
    charged = [item(1, "ActivityScheduled", 0), item(2, "ActivityCompleted", 0, 1.0, attempts=2)]
    found = steps.of([*charged, item(3, "ActivityScheduled", 1, 1.0, name="ship")])

    text = told(lambda narrator: narrator.timeline(found, title="One"))

    assert "activity charge" in text
    assert "1.00 s" in text
    assert "completed" in text


def test_processes_are_killed_whatever_happens(tmp_path):
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"

    def run():
        with processes.killed_at_the_end() as running:
            started = processes.Process([sys.executable, "-c", code], environment={}, log=tmp_path / "log")
            running.append(started)
            assert started.running
            raise RuntimeError(started)

    with pytest.raises(RuntimeError) as error:
        run()
    assert not error.value.args[0].running


def test_a_process_that_is_asked_to_stop_may_do_so_by_itself(tmp_path):
    code = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(os.write(1, b"bye\\n") and None))  # print() may be at work still
print("hi", flush=True)
time.sleep(60)
"""
    process = processes.Process([sys.executable, "-c", code], environment={}, log=tmp_path / "log")
    deadline = time.monotonic() + 10
    while not (tmp_path / "log").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)

    process.stop()

    assert (tmp_path / "log").read_text().split() == ["hi", "bye"]


def test_what_was_lost_is_handed_out_again(engine, settings):
    settings.DURABLE = {"RUN_INLINE": False}

    @activity.defn
    def act() -> int:
        return 1

    @workflow.defn
    async def both() -> int:
        sleeping = asyncio.ensure_future(asyncio.sleep(10))
        result = await act()
        await sleeping
        return result  # type: ignore[no-any-return]

    handles = [both.options(id=f"both-{number}").start() for number in range(7)]
    engine.advance_due()

    lost = losses.lose_rows()
    assert (len(lost), len(driving.leftovers())) == (10, 4)
    out = io.StringIO()
    checked = list(losses.recover(Narrator(out), lost))

    assert [invariant.holds for invariant in checked] == [True, True]
    assert ["resumed", "7", "10"] in [line.split() for line in out.getvalue().splitlines()]
    assert len(driving.leftovers()) == 2 * len(handles)
    assert Operation.objects.filter(verb="recover", actor_name="ada").count() == 1 + 5


def test_what_is_not_handed_out_again_breaks_an_invariant(db):
    checked = list(losses.recover(Narrator(io.StringIO()), frozenset({("order-1", 3)})))

    assert [(invariant.holds, invariant.against) for invariant in checked] == [(False, ("order-1: 3",)), (True, ())]


@pytest.mark.lenient
def test_the_operators_repair_all_that_went_wrong(engine, time, settings, tmp_path, monkeypatch):
    settings.TRACE_FILE = str(tmp_path / "trace.jsonl")
    settings.DURABLE = {"RUN_INLINE": True}
    monkeypatch.setenv(RELEASE, "1")
    for module in (activities, repairs):
        monkeypatch.setattr(module, "BANK_IS_DOWN", tmp_path / "bank-is-down")
    out = io.StringIO()

    def wait_until(condition):
        for _ in range(20):
            engine.run_until_quiet()
            if condition():
                return
            time.forward(0.5)
        raise AssertionError(out.getvalue())

    def deploy():
        if not any((w.name, w.version) == ("refund", 2) for w in registry.workflows()):
            driving.register_all(release2)

    mending = repairs.Repairs(Narrator(out), wait_until, tmp_path / "trace.jsonl")
    found = [*mending.of_failures(), *mending.of_an_amount(), *mending.of_versions(deploy)]

    assert [each for each in found if not each.holds] == []
    text = out.getvalue()
    assert "20 invoices failed" in text
    assert "19 x BankDown" in text
    assert "ActivityScheduled(ask_two_managers)" in text
    assert text.count("rerun from 0, open_claim") == 2
    assert mending.superseded == ["refund-4"]
    again = Instance.objects.get(pk="refund-4-again")
    assert (again.status, again.version, again.rerun_from) == ("completed", 2, "refund-4")
    assert Operation.objects.filter(verb="rewind", dry_run=False, actor_name="ada").count() == 20


def test_the_demo_refuses_a_database_that_is_not_its_own(db):
    with pytest.raises(CommandError, match="unset DATABASE_URL") as error:
        call_command("durable_demo")

    assert error.value.returncode == 2


class Broken(Decimal):
    def __str__(self):
        raise InvalidOperation


def test_the_ledger_survives_a_request_that_is_cut_short(tmp_path):
    gateway = Gateway(tmp_path / "ledger.sqlite3")

    with pytest.raises(InvalidOperation):
        gateway.charge(key="order-1", account="Ada", amount=Broken())

    assert gateway.charges() == []
    assert gateway.requests() == {}
