"""A worker in the test's own thread, inside the test's transaction and outside."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase

from durable import RetryPolicy, activity, client, registry, testing, workflow
from durable.core.errors import UnknownInstance, WorkflowFailed
from durable.models import ActivityTask, Instance
from durable.store import clock, tasks
from durable.testing import draining

HOUR = timedelta(hours=1)


@pytest.fixture
def define(fresh):
    """Some workflows, known for the test only."""

    class Defined:
        runs = 0
        begun = 0

        @staticmethod
        @activity.defn(retry=RetryPolicy(initial_interval=60, max_attempts=3))
        def flaky(failures: int) -> int:
            Defined.runs += 1
            if activity.info().attempt <= failures:
                raise ValueError("not yet")
            return activity.info().attempt

        @staticmethod
        @workflow.defn
        async def work(failures: int = 0) -> int:
            Defined.begun += 1
            return await Defined.flaky(failures)

        @staticmethod
        @workflow.defn
        async def wait() -> str:
            return await workflow.wait_signal("go")

        @staticmethod
        @workflow.defn
        async def nap(seconds: float, times: int = 1) -> list[float]:
            begun = workflow.time()
            woken = []
            for _ in range(times):
                await asyncio.sleep(seconds)
                woken.append(round(workflow.time() - begun))
            return woken

        @staticmethod
        @workflow.defn
        async def parent(seconds: float) -> None:
            await Defined.nap.options(id="child")(seconds)

    return Defined


# --- running


def test_what_is_due_is_done_inside_the_tests_transaction(db, define):
    handle = define.work.start()

    testing.run_worker()

    assert handle.status == "completed"
    assert handle.result(timeout=0) == 1
    assert connection.in_atomic_block


@pytest.mark.parametrize("path", [True, False], ids=["in place", "handed out"])
def test_what_is_due_is_done_with_real_commits(transactional_db, define, settings, path):
    settings.DURABLE = {"RUN_INLINE": path}

    with testing.run_worker() as worker:
        assert worker.result(define.work.start()) == 1


def test_a_worker_takes_what_came_since(db, define):
    handle = define.wait.start()

    with testing.run_worker() as worker:
        handle.signal("go", "on")
        assert worker.result(handle) == "on"
        assert worker.result(define.work.options(id="second").start().id) == 1


def test_the_result_of_a_failed_instance_is_its_error(db, define):
    @workflow.defn
    async def fail() -> None:
        raise ValueError("no")

    with testing.run_worker() as worker, pytest.raises(WorkflowFailed, match="no"):
        worker.result(fail.start())


def test_until_takes_an_instances_id(db, define):
    testing.run_worker(until=define.work.options(id="it").start().id)

    assert client.get("it").status == "completed"
    with pytest.raises(UnknownInstance):
        testing.run_worker(until="nobody")


def test_until_does_not_begin_what_is_not_needed(db, define):
    ended = define.work.start()
    testing.run_worker()
    other = define.work.start()

    testing.run_worker(until=ended)

    assert other.status == "pending"


def test_what_has_no_end_is_reported(db, define, monkeypatch):
    monkeypatch.setattr("durable.testing.workers._ROUNDS", 2)

    @activity.defn(retry=RetryPolicy(initial_interval=0, max_attempts=1_000_000))
    def never() -> None:
        raise ValueError

    @workflow.defn
    async def stubborn() -> None:
        await never()

    stubborn.start()

    with pytest.raises(testing.Stuck, match="no end of what is due, after 2 rounds: default"):
        testing.run_worker()


def test_a_restart_replays(db, define):
    @workflow.defn
    async def twice() -> None:
        define.begun += 1
        await workflow.wait_signal("go")

    handle = twice.start()
    with testing.run_worker() as worker:
        worker.restart()
        handle.signal("go")
        worker.result(handle)

    assert define.begun == 2


# --- time


def test_time_passes_step_by_step(db, define):
    with testing.run_worker() as worker:
        handle = define.nap.start(60, 3)
        worker.advance(HOUR)
        assert worker.result(handle) == [60, 120, 180]


def test_time_passes_after_what_is_due_now_has_begun(db, define):
    @activity.defn
    def work_a_while() -> None:
        worker._clock.forward(1)

    @workflow.defn
    async def work_and_nap() -> None:
        await work_a_while()
        await asyncio.sleep(60)

    with testing.run_worker() as worker:
        handle = work_and_nap.start()
        worker.advance(60)
        assert handle.status == "completed"


def test_time_stops_where_it_is_told(db, define):
    with testing.run_worker() as worker:
        before = clock.now()
        handle = define.nap.start(60, 3)
        worker.advance(119)
        assert [item.kind for item in handle.history()].count("TimerFired") == 1
        worker.advance(timedelta(seconds=2))
        assert [item.kind for item in handle.history()].count("TimerFired") == 2
        assert timedelta(seconds=120) <= clock.now() - before < timedelta(seconds=180)


def test_retries_come_with_time(db, define):
    handle = define.work.start(2)

    with testing.run_worker() as worker:
        assert define.runs == 1
        worker.advance(60)
        assert define.runs == 2
        worker.advance(120)
        assert worker.result(handle) == 3


def test_a_delayed_start_and_a_timeout_come_with_time(db, define):
    handle = define.wait.options(delay=HOUR, timeout=HOUR).start()

    with testing.run_worker() as worker:
        worker.advance(HOUR)
        assert handle.status == "running"
        worker.advance(HOUR)
        assert handle.status == "failed"


def test_several_retries_come_in_one_go(db, define):
    handle = define.work.start(2)

    with testing.run_worker() as worker:
        worker.advance(HOUR)
        assert worker.result(handle) == 3


def test_timeouts_of_activities_come_with_time(db, define):
    @activity.defn(start_to_close=60, retry=RetryPolicy(initial_interval=60, max_attempts=2))
    def ask() -> None:
        activity.complete_later()

    @workflow.defn
    async def asking() -> None:
        await ask()

    handle = asking.start()
    with testing.run_worker() as worker:
        worker.advance(HOUR)

    assert handle.status == "failed"


@pytest.fixture
def held(db, define, settings):
    """An instance whose activity a worker began that is not there any more."""
    settings.DURABLE = {"RUN_INLINE": False}
    handle = define.work.start()
    draining.advance_due()
    return handle


def test_a_task_that_a_dead_worker_held_is_taken_over_with_time(held):
    tasks.take(tasks.next_ready("default", 1), worker="gone", expiries=[None])

    with pytest.raises(testing.Stuck, match="another worker runs it"):
        testing.run_worker(until=held)
    with testing.run_worker() as worker:
        worker.advance(HOUR)
        assert worker.result(held) == 2


def test_what_a_dead_worker_ran_in_place_is_taken_over_with_time(held):
    ActivityTask.objects.all().delete()
    lease = {"lease": uuid.uuid4(), "lease_worker": "gone", "lease_event_id": 0}
    Instance.objects.update(**lease, lease_until=clock.now() + timedelta(seconds=30))

    with pytest.raises(testing.Stuck, match="another worker runs an activity of it"):
        testing.run_worker(until=held)
    with testing.run_worker() as worker:
        worker.advance(HOUR)
        assert worker.result(held) == 2


def test_the_clock_is_put_back(db, define):
    before = clock.now()
    with testing.run_worker() as worker:
        worker.advance(HOUR)
        assert clock.now() - before >= HOUR

    assert clock.now() - before < HOUR
    with pytest.raises(RuntimeError, match="with testing"):
        worker.advance(1)


def test_a_worker_within_a_worker_leaves_the_outer_ones_time_alone(db, define):
    before = clock.now()
    with testing.run_worker() as outer:
        outer.advance(HOUR)
        with testing.run_worker() as inner:
            inner.advance(HOUR)
            assert clock.now() - before >= 2 * HOUR
        assert HOUR <= clock.now() - before < 2 * HOUR


# --- queues


def test_only_the_given_queues_are_served(db, define):
    @activity.defn(queue="slow")
    def slow() -> None: ...

    @workflow.defn
    async def both() -> None:
        await slow()

    handle, elsewhere = both.start(), define.work.options(queue="other").start()

    with pytest.raises(testing.Stuck, match="activity slow: its queue is 'slow', which this worker does not serve"):
        testing.run_worker(until=handle, queues=["default"])
    assert (handle.status, elsewhere.status) == ("running", "pending")
    with pytest.raises(testing.Stuck, match="its queue is 'other', which this worker does not serve"):
        testing.run_worker(until=elsewhere, queues=["default"])

    testing.run_worker(queues=["slow"])
    assert handle.status == "running"
    testing.run_worker()
    assert (handle.status, elsewhere.status) == ("completed", "completed")


def test_an_activity_of_a_queue_that_is_not_served_is_not_run_in_place(db, define):
    @activity.defn(queue="default")
    def here() -> None: ...

    @workflow.defn(queue="own")
    async def owning() -> None:
        await here()

    handle = owning.start()

    testing.run_worker(queues=["own"])
    assert [task.queue for task in ActivityTask.objects.all()] == ["default"]
    testing.run_worker(until=handle, queues=["own", "default"])


# --- what it waits for


def stuck(handle):
    """Return what a worker says that it waits for."""
    with pytest.raises(testing.Stuck) as caught:
        testing.run_worker(until=handle)
    return str(caught.value)


def test_a_signal_is_shown_by_the_line_that_waits_for_it(db, define):
    said = stuck(define.wait.options(id="it").start())

    assert "nothing is due any more, and it is running, waiting at " in said
    assert "test_workers.py:" in said
    assert said.endswith('return await workflow.wait_signal("go")')


def test_timers_are_shown(db, define):
    assert "timer 0 is due in 1:00:00" in stuck(define.nap.start(3600)).replace("0:59:59.9", "1:00:00")


def test_retries_are_shown_with_what_went_wrong(db, define):
    said = stuck(define.work.start(2))

    assert "activity flaky: attempt 2 is due in " in said
    assert said.endswith("after ValueError: not yet")


def test_delays_and_timeouts_are_shown(db, define):
    said = stuck(define.wait.options(id="it", delay=HOUR, timeout=HOUR).start())

    assert "it is pending\n" in said
    assert "its start is due in " in said
    assert "its timeout is due in " in said


def test_children_are_shown_with_what_they_wait_for(db, define):
    said = stuck(define.parent.start(3600))

    assert "  child is running, waiting at " in said
    assert "    timer 0 is due in " in said


def test_what_is_left_to_others_is_shown(db, define):
    @activity.defn
    def ask() -> None:
        activity.complete_later()

    @workflow.defn
    async def asking() -> None:
        await ask()

    assert "activity ask: somebody has to call client.complete_activity" in stuck(asking.start())


def test_operators_doings_are_shown(db, define, settings):
    settings.DURABLE = {"RUN_INLINE": False}
    waiting, working = define.wait.start(), define.work.start(1)
    testing.run_worker()
    waiting.suspend()
    working.suspend()

    assert "it was suspended: resume it" in stuck(waiting)
    assert "activity flaky: held while its instance is suspended" in stuck(working)


def test_code_that_cannot_go_on_is_shown(db, define):
    handle = define.wait.start()
    testing.run_worker()
    handle.signal("go")
    registry.unregister_workflow("wait", 0)
    testing.Worker().restart()

    assert "its code cannot go on: " in stuck(handle)


# --- in the test cases of Django


class Rename:
    """An activity that writes, registered for one test."""

    @activity.defn(atomic=True)
    def rename_group(self, pk: int) -> str:
        group = Group.objects.get(pk=pk)
        group.name = "new"
        group.save()
        return group.name


@pytest.mark.usefixtures("fresh")
class RollingBack(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.group = Group.objects.create(name="old")

    def start(self):
        activity.register(Rename())

        @workflow.defn
        async def renaming(pk: int) -> str:
            await asyncio.sleep(60)
            return await activity_of()(pk)

        return renaming.options(id="renaming").start(self.group.pk)

    def test_it_runs_in_the_transaction(self):
        with transaction.atomic():
            handle = self.start()
        worker = self.enterContext(testing.run_worker())

        worker.advance(60)

        assert worker.result(handle) == "new"
        self.group.refresh_from_db()
        assert self.group.name == "new"

    def test_it_leaves_nothing_to_the_next_test(self):
        assert not Instance.objects.exists()
        assert Group.objects.get().name == "old"

    async def test_it_runs_from_async_code(self):
        handle = await sync_to_async(self.start)()

        def run():
            with testing.run_worker() as worker:
                worker.advance(60)
                return worker.result(handle)

        assert await sync_to_async(run)() == "new"
        assert await handle.aresult() == "new"


@pytest.mark.usefixtures("fresh")
class Committing(TransactionTestCase):
    def test_it_runs_with_real_commits(self):
        activity.register(Rename())
        group = Group.objects.create(name="old")

        @workflow.defn
        async def renaming(pk: int) -> str:
            return await activity_of()(pk)

        handle = renaming.start(group.pk)
        with testing.run_worker() as worker:
            assert worker.result(handle) == "new"


def activity_of():
    return workflow.activity_by_name("rename_group")
