"""Processes that are gone without a word, at every point between claiming work and announcing what follows."""

from __future__ import annotations

import random

import pytest
from django.db import connection, transaction

from durable import client, dispatch
from durable.errors import UnknownInstance
from durable.models import Instance
from tests.acceptance import faults, ledger
from tests.acceptance.checks import effects, sound
from tests.acceptance.workers import wait_for

pytestmark = pytest.mark.usefixtures("crew")

STEPS = 6
IN_A_TURN = [
    "turn.before",
    "turn.after",
    "run.before",
    "step",
    "run.after",
    "commit.before",
    "commit.after",
]
# The workflow of sequential activities runs in place; of parallel ones, all but one are handed out.
POINTS = {
    "relay": IN_A_TURN,
    "save": IN_A_TURN,
    "spread": [
        *(*IN_A_TURN, "publish-task.before", "task-insert.after", "claim.after"),
        *("finish-all.before", "finish-all.after", "inbox-insert.after"),
    ],
    "save_all": [*IN_A_TURN, "claim.after", "finish.before", "finish.after", "inbox-insert.after"],
}


def test_point_that_nobody_comes_by_cannot_be_armed(tmp_path, monkeypatch):
    monkeypatch.setenv(faults.VARIABLE, str(tmp_path))

    for point in ("pay.before", "commit.during", "commit", "steps", "lost.commit"):
        with pytest.raises(ValueError, match="nobody comes by"):
            faults.arm(point)
    assert list(tmp_path.iterdir()) == []
    for point in ("commit.before", "commit.lost", "step", "turn.after.stop", "broken-k-1"):
        faults.arm(point)
        assert faults.armed(point)


@pytest.mark.parametrize("shape", POINTS)
def test_workers_killed_at_each_point(site, key, shape):
    points = POINTS[shape]
    for point in points:
        faults.arm(point, skip=random.randrange(2 * STEPS))

    handles = [client.start(f"acceptance.{shape}", [f"{key}-{n}", STEPS]) for n in range(len(points))]

    assert [handle.result(60) for handle in handles] == [list(range(STEPS))] * len(points)
    assert [point for point in points if faults.armed(point)] == []
    for handle in handles:
        sound(handle.id)
        assert [event.kind for event in handle.history()].count("ActivityCompleted") == STEPS
    ended = ledger.counts("end", key)
    assert len(ended) == len(points) * STEPS
    assert set(ledger.of_the_living("begin", key).values()) == {1}, "only what the killed were at is done again"
    if shape.startswith("save"):
        assert effects(key) == dict.fromkeys(ended, 1)


TOGETHER = [f"{name}.{when}" for name in ("gathered", "tell", "follow") for when in ("before", "after")]
"""Around what several turns write, around what they tell parents in it, and between the commit and who follows."""


def test_workers_killed_in_the_middle_of_turns_taken_together(site, key, monkeypatch):
    for point in TOGETHER:
        faults.arm(point, skip=random.randrange(4))
    monkeypatch.setattr(dispatch, "_MESSAGES_AT_ONCE", 1)

    handles: list[client.Handle] = []
    while any(faults.armed(point) for point in TOGETHER) and len(handles) < 40:
        with transaction.atomic():
            born = [client.start("acceptance.family", [f"{key}-{len(handles) + n}", 12, 1]) for n in range(4)]
        assert [handle.result(60) for handle in born] == [[[0]] * 12] * 4
        handles += born

    assert [point for point in TOGETHER if faults.armed(point)] == []
    for handle in handles:
        kinds = [event.kind for event in handle.history()]
        assert [kinds.count(kind) for kind in ("ChildScheduled", "ChildStarted", "ChildCompleted")] == [12] * 3
        children = Instance.objects.filter(parent=handle.id)
        assert len(children) == 12
        for child in children:
            assert [event.kind for event in client.get(child.pk).history()].count("ActivityCompleted") == 1
            sound(child.pk)
        sound(handle.id)
    assert len(ledger.counts("end", key)) == len(handles) * 12
    assert set(ledger.of_the_living("begin", key).values()) <= {1}, "only what the killed were at is done again"


def test_child_of_killed_worker_is_started_once(site, key):
    faults.arm("follow.before")  # the parent's turn is stored, and its children wait for nobody

    handle = client.start("acceptance.family", [key, 3, 2])

    assert handle.result(30) == [[0, 1]] * 3
    sound(handle.id)
    assert set(ledger.counts("end", key).values()) == {1}


def test_client_killed_between_commit_and_announcement(site, key):
    faults.arm("publish-turn.before")

    assert site.client("acceptance.relay", key, [key, 2]) != 0

    assert not faults.armed("publish-turn.before")
    assert client.get(key).result(20) == [0, 1]
    sound(key)


def test_client_killed_before_commit_leaves_nothing(site, key):
    # On PostgreSQL a start is one statement, which commits itself.
    faults.arm("birth.before" if connection.vendor == "postgresql" else "commit.before")

    assert site.client("acceptance.relay", key, [key, 2]) != 0

    with pytest.raises(UnknownInstance):
        client.get(key)


def test_kills_at_random(site, key):
    handles = [client.start(f"acceptance.{shape}", [f"{key}-{shape}-{n}", 8]) for n in range(4) for shape in POINTS]
    for _ in range(8):
        point = random.choice([f"{name}.{when}" for name in faults.POINTS for when in ("before", "after")])
        if all(handle.instance.closed_at for handle in handles):
            break
        faults.arm(point, skip=random.randrange(12))
        wait_for(
            lambda p=point: not faults.armed(p) or all(handle.instance.closed_at for handle in handles),
            f"{point} or the end",
            seconds=60,
        )
        faults.disarm()

    assert [handle.result(60) for handle in handles] == [list(range(8))] * len(handles)
    for handle in handles:
        sound(handle.id)
    assert all(count == 1 for count in effects(f"{key}-save").values())
    assert len(effects(f"{key}-save")) == 2 * 4 * 8
    assert set(ledger.of_the_living("begin", key).values()) == {1}


def test_all_of_a_worker_killed(site, launch, key):
    first = launch(queues=[key]).await_ready()
    handles = [client.start("acceptance.wait_on_many", [f"{key}-{n}", 3, 0.3], queue=key) for n in range(2)]
    wait_for(lambda: len(ledger.entries("begin", key)) >= 3, "work is under way")

    first.kill()
    launch(queues=[key])

    assert [handle.result(30) for handle in handles] == [3, 3]
    begun, ended = ledger.counts("begin", key), ledger.counts("end", key)
    assert len(ended) == 6
    assert sum(begun.values()) <= 6 + 2
    for handle in handles:
        sound(handle.id)
