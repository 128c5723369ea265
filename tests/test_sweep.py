"""What brings work back when messages are lost, and what an idle worker costs."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise
from time import monotonic

import pytest
from django.db import connection

from durable import RetryPolicy, activity, dispatch, tasks, workflow
from durable.conf import settings as durable_settings
from durable.engine import presence, sweep, together
from durable.engine.advance import advance
from durable.engine.perform import perform
from durable.models import ActivityTask, InboxEvent, Instance, Status, Worker
from durable.store import clock, workers
from durable.sweeper import Pace
from tests.driving import Together, cost, kinds, leftovers


@pytest.fixture
def ticking(fresh):
    @activity.defn(retry=RetryPolicy(initial_interval=1))
    def tick() -> str:
        if activity.info().attempt == 1:
            raise ValueError
        return "ticked"

    @workflow.defn
    async def ticking() -> str:
        await asyncio.sleep(5)
        return await tick()

    return ticking


def test_all_work_is_found_though_every_message_is_lost(engine, time, ticking, settings):
    """Within the test's transaction no message is ever sent: each step is found by looking."""
    settings.DURABLE = {"RUN_INLINE": False}
    handles = [ticking.start() for _ in range(3)]

    for _ in range(60):
        found = sweep.look(0)
        for target in {due.target for due in found if due.kind is sweep.Kind.INBOX}:
            advance(target)
        for queue in {due.queue for due in found if due.kind is sweep.Kind.TASK}:
            perform(queue)
        time.forward(3)

    assert [handle.result(timeout=0) for handle in handles] == ["ticked"] * 3
    assert leftovers() == []


def test_work_that_was_announced_is_announced_again_after_a_while(committing, time, ticking, settings):
    settings.DURABLE = {"REDISPATCH": 5}
    handle = ticking.start()
    InboxEvent.objects.update(dispatched_at=time.now())
    assert sweep.look(0) == []

    time.forward(6)

    assert [due.target for due in sweep.look(0)] == [handle.id]
    assert sweep.sweep() == 1
    assert sweep.look(0) == []


def test_message_about_many_instances_asks_only_for_those_that_it_can_still_change(committing, time, ticking):
    """In a backlog all that waits is announced again and again, and most of those messages come too late."""
    idle = [ticking.start() for _ in range(20)]
    tasks.advance(*(handle.id for handle in idle))
    woken, stalled = ticking.start(), idle[7]
    Instance.objects.filter(pk=stalled.id).update(status=Status.STALLED, retry_at=time.now())
    ids = [handle.id for handle in idle]

    with cost() as late:
        tasks.advance(*ids[:7], *ids[8:])
    tasks.advance(*ids, woken.id)

    assert len(late.statements) == 1
    assert [kinds(handle) for handle in (woken, stalled)] == [["ExecutionStarted", "TimerStarted"]] * 2
    assert stalled.status == Status.RUNNING


def test_message_about_many_instances_gives_each_its_turn_in_order(committing, ticking, monkeypatch):
    ids = [ticking.start().id for _ in range(5)]
    turns = []
    monkeypatch.setattr(together.single, "advance", turns.append)

    tasks.advance(*ids[::-1], *ids)

    assert turns == ids[::-1]


def test_suspended_and_closed_instances_are_not_announced(committing, time, ticking):
    suspended, closed = ticking.start(), ticking.start()
    suspended.suspend()
    closed.terminate()
    time.forward(60)

    assert sweep.look(0) == []


def test_idle_worker_asks_one_statement_a_tick(committing):
    pace = Pace()
    workers.sweep([])  # asks for the time as well
    for _ in range(2 * workers.SWEEP_EACH):
        pace._look_at = 0.0
        with cost() as counted:
            pause = pace.tick()
        assert len(counted.statements) <= 1, counted.statements
        assert 0.9 * durable_settings.POLL <= pause <= durable_settings.POLL


def sweeping(*names: str) -> None:
    """Have other workers say that they look for due work."""
    now = clock.now()
    facts = {"hostname": "other", "pid": 1, "queues": [], "started_at": now, "heartbeat_at": now, "swept_at": now}
    Worker.objects.bulk_create(Worker(id=name, **facts) for name in names)


def test_two_idle_workers_together_ask_one_statement_a_second(committing, monkeypatch):
    monkeypatch.setattr(dispatch, "is_private", lambda: False)
    sweeping("other")
    pace = Pace()
    workers.sweep([])
    asked, passed, said = 0, 0.0, 0
    for _ in range(workers.SWEEP_EACH):
        pace._look_at = 0.0
        with cost() as counted:
            passed += pace.tick()
        asked += len(counted.statements)
        said += any("swept_at" in sql and sql.startswith("UPDATE") for sql in counted.statements)

    # The first look finds that there is another worker.
    assert asked <= workers.SWEEP_EACH
    assert passed >= 0.9 * 2 * durable_settings.POLL * (workers.SWEEP_EACH - 1)
    assert said == 2, "as often as if it were alone"


@pytest.mark.parametrize(("others", "most"), [([], 2), (["other"], 4), (["other", "third"], 4)])
def test_what_comes_due_is_seen_before_and_looks_are_no_further_apart_than_documented(
    committing, monkeypatch, others, most
):
    monkeypatch.setattr(dispatch, "is_private", lambda: False)
    sweeping(*others)
    pace, looks, passed = Pace(), [], 0.0
    look_around = sweep.look_around
    monkeypatch.setattr(
        sweep, "look_around", lambda horizon: (looks.append((passed, horizon)), look_around(horizon))[1]
    )
    for _ in range(workers.SWEEP_EACH):
        pace._look_at = 0.0
        passed += pace.tick()

    gaps = [later - at for (at, _), (later, _) in pairwise(looks)]
    assert max(gaps) <= most * durable_settings.POLL
    assert max(gaps) <= min(horizon for _, horizon in looks)


def test_a_worker_looks_alone_where_no_other_can_announce_anything_to_it(committing):
    sweeping("other")
    pace = Pace()

    assert pace.tick() <= durable_settings.POLL


def test_a_worker_looks_for_two_when_the_other_is_gone(committing, monkeypatch):
    monkeypatch.setattr(dispatch, "is_private", lambda: False)
    sweeping("other")
    workers.sweep([])
    pace = Pace()
    pauses = []
    for _ in range(2):
        pace._look_at = 0.0
        pauses.append(pace.tick())
        Worker.objects.exclude(pk=workers.me()).delete()

    assert pauses[0] > 1.5 * durable_settings.POLL > pauses[1]


def test_a_look_that_did_not_find_all_is_repeated_when_the_last_is_due(committing, time, ticking, monkeypatch):
    handles = [ticking.start() for _ in range(3)]
    committing.run_until_quiet()
    for place, handle in enumerate(handles):
        later = time.now() + timedelta(seconds=0.2 + place / 10)
        InboxEvent.objects.filter(execution__instance=handle.id).update(visible_at=later)
    monkeypatch.setattr(sweep, "AT_ONCE", 2)
    pace = Pace()
    pace.tick()

    assert [due.target for due in pace._due] == [handles[0].id, handles[1].id]
    assert pace._look_at - monotonic() < 0.31


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL tells whose rows an update changed")
def test_of_two_workers_that_see_the_same_timer_one_announces_it(committing, time, ticking, monkeypatch):
    told = []
    monkeypatch.setattr(dispatch, "advance", lambda pairs, **_: told.extend(pairs))
    handle = ticking.start()
    committing.run_until_quiet()
    time.forward(10)
    due = sweep.look(0)
    told.clear()

    Together().add(lambda: sweep.announce(due), times=4).run()

    assert told == [("default", handle.id)]


def test_timer_is_announced_when_it_is_due_and_not_at_the_next_look(committing, time):
    @workflow.defn
    async def sleeper() -> None:
        await asyncio.sleep(0.5)

    sleeper.start()
    committing.run_until_quiet()
    pace = Pace()

    pause = pace.tick()
    assert 0 < pause <= 0.51, "sleeps until the timer is due"

    time.forward(1)
    pace.tick()
    assert InboxEvent.objects.get().dispatched_at is not None


def test_each_look_is_one_statement_when_there_is_nothing(committing):
    clock.sync()
    for look in sweep.LOOKS:
        with cost() as counted:
            look()
        assert len(counted.statements) <= 1, (look, counted.statements)


def test_idle_worker_says_now_and_then_that_it_looks_for_due_work(committing, time):
    pace = Pace()
    seen = []
    for _ in range(3 * workers.SWEEP_EACH):
        pace._look_at = 0.0
        pace.tick()
        seen.append(Worker.objects.filter(swept_at__isnull=False).exists())
        Worker.objects.all().delete()

    assert seen.count(True) == 3
    assert not workers.sweeping()
    workers.sweep(["default"])
    assert [worker.pk for worker in workers.serving("default")] == [workers.me()]
    assert workers.serving("other") == []
    time.forward(3 * workers.SWEEP_EACH * durable_settings.POLL + 1)
    assert workers.serving("default") == []


def test_every_look_has_its_turn(committing, monkeypatch):
    looks = [0] * len(sweep.LOOKS)

    def counting(place):
        def look():
            looks[place] += 1

        return look

    monkeypatch.setattr(sweep, "LOOKS", tuple(map(counting, range(len(looks)))))
    pace = Pace()
    for _ in range(12 * len(looks)):
        pace._look_at = 0.0
        pace.tick()

    assert set(looks) == {3}


def test_worker_row_is_fresh_while_it_holds_leases_and_gone_afterwards(committing):
    here = presence.start()
    here.hold()
    row = Worker.objects.get()
    assert (row.pk, row.pid > 0) == (workers.me(), True)
    here.free()
    presence.stop()

    assert not Worker.objects.exists()


def test_silent_workers_are_forgotten_in_the_end(committing, time):
    workers.beat(["default"])
    workers.forget_dead()
    assert Worker.objects.exists()

    time.forward(20 * durable_settings.LEASE + 1)
    workers.forget_dead()
    assert not Worker.objects.exists()


def test_retry_that_is_due_later_is_not_taken_before(committing, time, settings):
    settings.DURABLE = {"RUN_INLINE": False}

    @activity.defn(retry=RetryPolicy(initial_interval=30))
    def failing() -> None:
        raise ValueError

    @workflow.defn
    async def outer() -> None:
        await failing()

    outer.start()
    committing.run_until_quiet()
    time.forward(29)
    committing.run_until_quiet()
    assert ActivityTask.objects.get().attempt == 2

    time.forward(2)
    committing.run_until_quiet()
    assert ActivityTask.objects.get().attempt == 3
