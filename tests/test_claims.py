"""Tasks that a worker leases together: what that saves, and that nobody waits or suffers for it."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from threading import Event

import pytest
from django.db import connection, transaction

from durable import RetryPolicy, activity, workflow
from durable.engine import claims, lost, pace, perform, presence, running
from durable.engine.advance import advance
from durable.models import ActivityTask, InboxEvent
from durable.store import clock, tasks, workers
from tests.driving import Cost, answers, cost

pytestmark = pytest.mark.lenient
READY, RUNNING = ActivityTask.State.READY, ActivityTask.State.RUNNING


@pytest.fixture(autouse=True)
def patient(monkeypatch, settings):
    """Have workers lease together what takes long in a slow test as well, and run nothing in place."""
    monkeypatch.setattr(perform, "_GATHER_SECONDS", 60.0)
    monkeypatch.setattr(pace, "TOGETHER_SECONDS", 60.0)
    settings.DURABLE = {"RUN_INLINE": False}


@pytest.fixture
def at_work(committing):
    """A process that is a worker."""
    yield presence.start()
    presence.stop()


def fan_out(leaf, width: int):
    """Start a workflow that runs ``leaf`` many times at once, and take its first turn."""

    @workflow.defn(name=f"fan_out_of_{width}_")
    async def fan_out() -> int:
        return len(await asyncio.gather(*(leaf(n) for n in range(width))))

    handle = fan_out.start()
    advance(handle.id)
    assert ActivityTask.objects.filter(state=READY).count() == width
    return handle


def until(condition) -> bool:
    """Wait for something that another thread does."""
    give_up_at = time.monotonic() + 20
    while not condition() and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return bool(condition())


@activity.defn
def any_leaf(number: int) -> int:
    return number


def cost_of_fan_out(width: int) -> Cost:
    @activity.defn(name=f"leaf_of_{width}")
    def leaf(number: int) -> int:
        return number

    handle = fan_out(leaf, width)
    with cost() as counted:
        perform.perform("default")
    assert handle.result(timeout=0) == width
    return counted


def test_cost_of_a_fan_out_does_not_grow_with_its_width(committing):
    few, many = cost_of_fan_out(5), cost_of_fan_out(pace.AT_ONCE + 1)

    assert len(few.statements) == len(many.statements)
    # The first is leased by itself, then the others; their ends; the turn.
    assert few.commits == many.commits == 4


def test_nobody_waits_for_a_long_activity(at_work, committing):
    seen = []

    @activity.defn(start_to_close=timedelta(hours=1))
    def leaf(number: int) -> int:
        if number == 3:
            others = ActivityTask.objects.filter(event_id__gt=3)
            assert until(lambda: others.filter(state=READY).count() == 2), "what has not begun is given back"
            assert until(lambda: InboxEvent.objects.filter(event_id__in=[1, 2]).count() == 2), "what ended is stored"
            assert not others.filter(expires_at__isnull=False).exists(), "and no time is up for it"
            seen.append(ActivityTask.objects.get(event_id=3).state)
        return number

    handle = fan_out(leaf, 6)
    perform.perform("default")
    committing.run_until_quiet()

    assert seen == [RUNNING]
    assert handle.result(timeout=0) == 6
    assert answers(handle)["ActivityCompleted"] == 6


def test_slow_commit_loses_nothing_of_what_it_leases(at_work, committing, monkeypatch):
    monkeypatch.setattr(claims, "_WAITS", timedelta(0))
    fan_out(any_leaf, 4)
    with transaction.atomic():
        claim = claims.take("default", 4)
        assert claim is not None
        due = Event()
        at_work.call_at(clock.now(), due.set)
        assert due.wait(20), "what was to be called before is called by now"

    begun = []
    while (task := claim.next()) is not None:
        begun.append(task.pk)
    others = ActivityTask.objects.exclude(pk__in=begun)
    assert until(lambda: not others.exclude(state=READY).exists()), "what is not run here is given back"


@pytest.mark.skipif(connection.vendor == "sqlite", reason="one writer")
@pytest.mark.parametrize(
    "give_back",
    [
        lambda found: claims.give_back(*found),
        lambda found: claims.Claim(found, expiries=[None] * len(found)).undo(),
    ],
    ids=["ended", "newly leased"],
)
def test_commit_that_comes_through_late_is_given_back(at_work, committing, monkeypatch, give_back):
    monkeypatch.setattr(lost, "_CERTAIN", timedelta(seconds=1))
    fan_out(any_leaf, 4)
    with transaction.atomic():
        found = tasks.take(tasks.next_ready("default", 4), worker=workers.me(), expiries=[None] * 4)
        given = Event()
        at_work.call_at(clock.now(), lambda: (give_back(found), given.set()))
        assert given.wait(20)

    assert ActivityTask.objects.filter(state=RUNNING).count() == 4, "there was no lease to be seen yet"
    assert until(lambda: ActivityTask.objects.filter(state=READY).count() == 4)


@pytest.mark.parametrize(
    ("options", "together"),
    [
        ({}, True),
        ({"retry": RetryPolicy(max_attempts=1)}, False),
        ({"atomic": True}, False),
        ({"heartbeat": 60}, False),
    ],
    ids=["retried", "not retried", "atomic", "heartbeat"],
)
def test_only_what_may_run_twice_is_leased_before_it_begins(committing, options, together):
    running_at_once = []

    @activity.defn(**options)
    def leaf(number: int) -> int:
        running_at_once.append(ActivityTask.objects.filter(state=RUNNING).count())
        return number

    handle = fan_out(leaf, 4)
    perform.perform("default")

    assert running_at_once == ([1, 3, 3, 3] if together else [1, 1, 1, 1])
    assert handle.result(timeout=0) == 4


def test_limit_of_time_counts_from_the_beginning(committing):
    limits = []

    @activity.defn(start_to_close=timedelta(minutes=1))
    def leaf(number: int) -> int:
        deadline = activity.info().deadline
        limits.append((deadline, ActivityTask.objects.get(event_id=number).expires_at))
        return number

    fan_out(leaf, 4)
    perform.perform("default")

    assert len(limits) == 4
    for deadline, expires_at in limits[1:]:
        assert abs((expires_at - deadline).total_seconds()) < 30
    assert [deadline for deadline, _ in limits] == sorted(deadline for deadline, _ in limits)


class Killed(BaseException):
    """The worker is gone."""


@pytest.mark.parametrize("limit", [None, 3600])
def test_what_is_put_back_has_a_time_to_begin_and_none_to_end(committing, monkeypatch, limit):
    @activity.defn(start_to_close=60, schedule_to_start=limit)
    def leaf(number: int) -> int:
        if ActivityTask.objects.filter(state=RUNNING).count() == 1:
            return number  # the first is leased by itself, to see how long it takes
        raise Killed

    fan_out(leaf, 4)
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "put_back", lambda *_, **__: False)  # nobody is there to do so
        with pytest.raises(Killed):
            perform.perform("default")
    waiting = ActivityTask.objects.filter(state=RUNNING, started_at=None)
    assert waiting.count() == 3
    waiting.update(lease_until=clock.now() - timedelta(seconds=1))

    lost.find_dead_tasks()

    found = ActivityTask.objects.filter(state=READY)
    until = [task.expires_at and round((task.expires_at - task.created_at).total_seconds()) for task in found]
    assert until == [limit] * 3


def test_dead_worker_costs_what_it_had_not_begun_no_attempt(committing, monkeypatch):
    attempts = []

    @activity.defn(retry=RetryPolicy(max_attempts=2, initial_interval=0))
    def leaf(number: int) -> int:
        info = activity.info()
        attempts.append((info.event_id, info.attempt))
        if number == 2 and attempts.count((2, 1)) <= 1 and info.attempt == 1:
            raise Killed
        return number

    handle = fan_out(leaf, 5)
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "put_back", lambda *_, **__: False)  # nobody is there to do so
        with pytest.raises(Killed):
            perform.perform("default")
    left = ActivityTask.objects.filter(state=RUNNING)
    assert set(left.values_list("event_id", "started_at")) == {(n, None) for n in range(1, 5)}
    left.update(lease_until=clock.now() - timedelta(seconds=1))

    lost.find_dead_tasks()

    failures = [task.last_failure["type"] for task in ActivityTask.objects.filter(state=READY)]
    assert failures == ["WorkerLost"] * 4
    committing.run_until_quiet()
    assert handle.result(timeout=0) == 5
    assert {attempt for _, attempt in attempts} == {1}


def test_what_a_dead_worker_had_is_leased_by_itself_then(committing):
    started = []

    @activity.defn
    def leaf(number: int) -> int:
        started.append(ActivityTask.objects.filter(state=RUNNING, started_at__isnull=False).count())
        return number

    fan_out(leaf, 4)
    ActivityTask.objects.update(last_failure={"type": "WorkerLost"})
    perform.perform("default")

    assert started == [1, 1, 1, 1]


def test_lost_lease_of_one_is_no_trouble_for_the_others(committing):
    @activity.defn
    def leaf(number: int) -> int:
        if number == 2:
            # It was given to another worker, say.
            ActivityTask.objects.filter(event_id=1).update(lease=workers.me(), lease_until=clock.now())
        return number

    handle = fan_out(leaf, 4)
    perform.perform("default")

    assert handle.status == "running"
    assert answers(handle)["ActivityCompleted"] == 3
    assert [task.event_id for task in ActivityTask.objects.all()] == [1]


def test_worker_that_is_told_to_stop_gives_back_what_has_not_begun(committing):
    ran = []

    @activity.defn(start_to_close=timedelta(hours=1))
    def leaf(number: int) -> int:
        ran.append(number)
        if number == 2:
            running.stop_soon()
        return number

    handle = fan_out(leaf, 6)
    try:
        perform.perform("default")
    finally:
        running.go_on()

    assert ran == [0, 1, 2]
    assert answers(handle)["ActivityCompleted"] == 3
    left = ActivityTask.objects.values_list("event_id", "state", "lease", "expires_at")
    assert set(left) == {(n, READY, None, None) for n in (3, 4, 5)}
    committing.run_until_quiet()
    assert handle.result(timeout=0) == 6


def test_failed_ones_among_many_are_tried_again(committing):
    attempts = []

    @activity.defn(retry=RetryPolicy(max_attempts=2, initial_interval=0))
    def leaf(number: int) -> int:
        attempts.append((number, activity.info().attempt))
        if number % 2 and activity.info().attempt == 1:
            raise ValueError(number)
        return number

    handle = fan_out(leaf, 6)
    committing.run_until_quiet()

    assert handle.result(timeout=0) == 6
    assert sorted(attempts) == sorted([(n, 1) for n in range(6)] + [(n, 2) for n in (1, 3, 5)])


def test_nothing_is_left_open(committing):
    cost_of_fan_out(10)

    assert not connection.in_atomic_block
    assert not ActivityTask.objects.exists()
    assert not InboxEvent.objects.exists()
