"""What is seeded is what the engine might have left."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from django.core.management import CommandError, call_command

from durable import client
from durable.models import ActivityTask, Execution, HistoryEvent, InboxEvent, Instance, Operation, Status
from durable.operations import replaying
from durable.store import clock, transcripts
from project.demo import release2, seeding
from tests import driving


@pytest.fixture
def seeded(engine):
    driving.register_all(release2)
    return seeding.seed(60)


def test_all_histories_replay_on_the_demos_code_but_those_of_what_is_stalled(seeded):
    found = transcripts.find(all_executions=True)
    reports = list(replaying.replay_stored(transcripts.heads(found)))

    wrong = {report.head.instance_id: report.error for report in reports if report.error is not None}
    stalled = Instance.objects.filter(status=Status.STALLED).values_list("pk", flat=True)

    assert len(reports) == seeded.executions == Execution.objects.count()
    assert set(wrong) == set(stalled), wrong


def test_there_is_something_of_everything(seeded):
    assert set(Instance.objects.values_list("status", flat=True)) == set(Status.values)
    assert set(Instance.objects.exclude(stall=None).values_list("stall__reason", flat=True)) == {
        "nondeterminism", "version not available", "unknown workflow",
    }  # fmt: skip
    assert set(Execution.objects.values_list("origin", flat=True)) == {"start", "continued", "rewind"}
    assert set(ActivityTask.objects.values_list("state", flat=True)) == {"ready", "external"}
    assert {"TimerFired", "ExecutionStarted"} <= set(InboxEvent.objects.values_list("kind", flat=True))
    assert {"rewind", "signal", "suspend"} <= set(Operation.objects.values_list("verb", flat=True))
    assert Instance.objects.exclude(parent=None).exists()
    assert Instance.objects.exclude(rerun_from=None).exists()
    assert Instance.objects.filter(version=2).exists()


def test_instances_that_failed_alike_are_in_one_group(seeded):
    groups = Counter((group.workflow, group.status, group.error) for group in client.failure_groups())

    assert set(groups.values()) == {1}
    assert len(groups) == 6


def test_what_is_open_waits_for_what_is_there(seeded):
    verdicts = [client.why(pk) for pk in Instance.objects.filter(closed_at=None).values_list("pk", flat=True)]

    kinds = {reason.kind for why in verdicts for reason in why.reasons}

    assert "lost_work" not in kinds
    assert kinds >= {"signal", "suspended", "stalled", "delayed", "external", "child"}


def test_nothing_has_happened_in_the_future(seeded):
    now = clock.now()

    assert not HistoryEvent.objects.filter(recorded_at__gt=now).exists()
    assert not Instance.objects.filter(closed_at__gt=now).exists()
    waiting = InboxEvent.objects.exclude(execution__instance__status=Status.SUSPENDED)
    assert not waiting.filter(visible_at__lt=now).exists()


def test_workers_leave_it_as_it_is_but_for_work_on_a_queue_of_nobody(seeded, engine):
    unserved = ActivityTask.objects.filter(queue="bank").values_list("execution__instance_id", flat=True)
    expected = set(unserved)
    before = dict(Instance.objects.values_list("pk", "status"))

    engine.run_until_quiet()

    changed = {pk for pk, status in Instance.objects.values_list("pk", "status") if before[pk] != status}
    assert changed == expected


def test_an_invoice_that_failed_can_be_rewound_and_ends(seeded, engine):
    failed = Instance.objects.filter(name="invoice", status=Status.FAILED)[0]

    client.rewind(failed.pk)
    engine.run_until_quiet()

    failed.refresh_from_db()
    assert failed.status == Status.COMPLETED


def test_a_database_with_instances_is_left_alone_unless_told_otherwise(engine, capsys):
    call_command("durable_seed", instances=30, json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["instances"] == Instance.objects.count() >= 30
    assert told["events"] == HistoryEvent.objects.count()

    with pytest.raises(CommandError, match="has instances already") as refused:
        call_command("durable_seed")
    assert refused.value.returncode == 4

    call_command("durable_seed", instances=30, yes=True)
    assert Instance.objects.count() >= told["instances"] + 30
    assert "seeded" in capsys.readouterr().out


def test_histories_can_be_longer(engine):
    few = seeding.seed(40)
    many = seeding.seed(40, events_each=30)

    assert many.events - few.events > 100
    with pytest.raises(CommandError, match="at least 8"):
        call_command("durable_seed", events_each=3)
