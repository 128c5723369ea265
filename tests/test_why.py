"""Why an instance does not go on: one sentence, and the facts behind it."""

from __future__ import annotations

import asyncio
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command

from durable import RetryPolicy, UnknownInstance, activity, client, registry, workflow
from durable.engine import cache
from durable.engine.advance import advance
from durable.models import ActivityTask, InboxEvent, Worker
from durable.operations import reasons as reasoning
from durable.store import clock, instances, tasks, workers
from durable.testing import draining
from tests.driving import cost, forget

LEASE_OVER = timedelta(seconds=31)


@pytest.fixture
def handed_out(settings):
    settings.DURABLE = {"RUN_INLINE": False}


@pytest.fixture
def working(engine):
    """A worker that serves the default queue and looks for due work."""
    workers.sweep(["default"])
    return engine


@pytest.fixture
def acting(fresh):
    """A workflow that calls one activity, which can be told to fail."""

    @activity.defn(retry=RetryPolicy(initial_interval=30, max_attempts=3))
    def act(number: int = 0) -> None:
        if number == 1:
            raise ValueError("not yet")
        if number == 2:
            activity.complete_later()

    @workflow.defn
    async def acting(number: int = 0) -> None:
        await act(number)

    return acting


def flow(fn: Any) -> Any:
    return workflow.defn(fn).options(id="it").start()


def kinds(handle: Any) -> list[str]:
    return [reason.kind for reason in handle.why().reasons]


def turn(handle: Any) -> None:
    """Take the turns that are due, and run no activity."""
    advance(handle.id)


# --- every kind of reason


def test_closed_instance_says_how_it_ended(working, acting):
    handle = acting.start(0)
    working.run_until_quiet()

    found = handle.why()

    assert kinds(handle) == ["closed"]
    assert found.verdict.startswith("It completed ")
    assert found.verdict.endswith(" ago.")
    assert (found.status, found.tasks, found.waits) == ("completed", (), ())


def test_failed_instance_says_with_what(working, fresh):
    async def fails() -> None:
        raise ValueError("no")

    handle = flow(fails)
    working.run_until_quiet()

    assert handle.why().verdict.endswith(" ago: ValueError: no.")


@pytest.mark.parametrize(("end", "said"), [("cancel", "It was canceled "), ("terminate", "It was terminated ")])
def test_stopped_instance_says_so(working, end, said):
    async def waits() -> None:
        await workflow.wait_signal("go")

    handle = flow(waits)
    working.run_until_quiet()
    getattr(handle, end)(reason="enough")
    working.run_until_quiet()

    assert handle.why().verdict.startswith(said)


def test_suspended_instance_says_why_and_what_to_do(working):
    async def waits() -> None:
        await workflow.wait_signal("go")

    handle = flow(waits)
    working.run_until_quiet()
    handle.suspend(reason="inventory")

    assert kinds(handle) == ["suspended"]
    assert handle.why().verdict == "It was suspended (inventory): resume it."
    assert [wait.kind for wait in handle.why().waits] == ["signal"]


def test_stalled_instance_says_why_and_when_it_is_tried_again(working, fresh):
    async def waits() -> None:
        await workflow.wait_signal("go")

    handle = flow(waits)
    working.run_until_quiet()
    handle.signal("go")
    cache.clear()
    registry.unregister_workflow("waits", 0)
    working.run_until_quiet()

    found = handle.why()

    assert [reason.kind for reason in found.reasons] == ["stalled"]
    assert found.verdict.startswith("Its code cannot go on (unknown workflow): ")
    assert found.reasons[0].due == handle.instance.retry_at
    assert "waits" in found.trouble


def test_delayed_instance_says_when_it_begins(working, acting):
    handle = acting.options(delay=300).start()

    assert kinds(handle) == ["delayed"]
    assert handle.why().verdict == "It is to start in 5 min."
    assert handle.why().reasons[0].due is not None


def test_event_that_no_worker_took_yet_is_unread(working, acting):
    handle = acting.start()

    assert kinds(handle) == ["unread"]
    assert "ExecutionStarted came in " in handle.why().verdict
    assert handle.why().unread == {"ExecutionStarted": 1}


def test_event_on_a_queue_that_nobody_serves_is_told_so(working, acting):
    handle = acting.options(queue="far").start()

    assert kinds(handle) == ["no_worker"]
    assert "no worker that serves queue 'far' shows a sign of life" in handle.why().verdict
    assert {queue.name: queue.workers for queue in handle.why().queues} == {"far": 0}


def test_activity_on_a_queue_that_nobody_serves_is_told_so(working, fresh):
    @activity.defn(queue="gpu")
    def render() -> None: ...

    async def renders() -> None:
        await render()

    handle = flow(renders)
    turn(handle)

    assert kinds(handle) == ["no_worker"]
    assert "Activity 'render' (event 0) waits on queue 'gpu', and no worker that serves it" in handle.why().verdict
    Worker.objects.update(queues=["default", "gpu"])
    assert kinds(handle) == ["queued"]


def test_worker_that_is_silent_does_not_count(engine, handed_out, acting, time):
    workers.sweep(["default"])
    handle = acting.start()
    turn(handle)
    assert kinds(handle) == ["queued"]

    time.forward(3600)

    assert kinds(handle) == ["no_worker"]
    workers.beat(["default"])
    assert kinds(handle) == ["queued"], "it works, though it does not look for what is due"


def test_activity_that_waits_for_its_turn_says_for_how_long_and_behind_how_many(working, handed_out, acting, time):
    handles = [acting.start() for _ in range(3)]
    for each in handles:
        turn(each)
    time.forward(20)
    workers.sweep(["default"])

    found = handles[2].why()

    assert [reason.kind for reason in found.reasons] == ["queued"]
    assert found.verdict == "Activity 'act' (event 0) has waited on queue 'default' for 20 s, with 2 others."
    (queue,) = found.queues
    assert (queue.backlog, queue.workers) == (3, 1)
    assert queue.oldest == ActivityTask.objects.order_by("available_at")[0].available_at


def test_retry_says_when_and_after_what(working, acting):
    handle = acting.start(1)
    working.run_until_quiet()

    found = handle.why()

    assert [reason.kind for reason in found.reasons] == ["retry"]
    assert found.verdict.startswith("Activity 'act' (event 0) is tried again in ")
    assert found.verdict.endswith(" s, attempt 2, after ValueError: not yet.")
    (task,) = found.tasks
    assert (task.attempt, task.last_failure.message) == (2, "not yet")
    assert found.reasons[0].due == task.due


def test_activity_that_runs_says_where(working, handed_out, acting):
    handle = acting.start()
    turn(handle)
    task = ActivityTask.objects.get()
    assert tasks.take([task], worker=workers.me(), expiries=[None])

    found = handle.why()

    assert [reason.kind for reason in found.reasons] == ["running"]
    assert found.verdict == f"Activity 'act' (event 0) runs on {Worker.objects.get()}."
    (lease,) = found.leases
    assert (lease.is_alive, lease.in_place, lease.event_id) == (True, False, 0)


def test_activity_of_a_dead_worker_is_lost(working, handed_out, acting, time):
    handle = acting.start()
    turn(handle)
    Worker.objects.create(
        id="dead", hostname="far", pid=7, queues=["default"], started_at=clock.now(), heartbeat_at=clock.now()
    )
    assert tasks.take([ActivityTask.objects.get()], worker="dead", expiries=[None])
    time.forward(LEASE_OVER)
    workers.sweep(["default"])

    assert kinds(handle) == ["lost_worker"]
    assert "The worker far:7, which ran activity 'act' (event 0), has shown no sign of life" in handle.why().verdict
    assert [lease.is_alive for lease in handle.why().leases] == [False]


@pytest.mark.parametrize(("forward", "kind"), [(0, "running"), (31, "lost_worker")])
def test_lease_on_the_instance_is_told_by_whether_its_worker_lives(working, acting, time, forward, kind):
    handle = acting.start()
    seen = []
    registry.unregister_activity("act")

    @activity.defn(name="act")
    def looks(number: int = 0) -> None:
        time.forward(forward)
        Worker.objects.update(swept_at=clock.now())
        seen.append(handle.why())

    working.run_until_quiet()

    (found,) = seen
    assert "ctivity 'act' (event 0)" in found.verdict
    assert [reason.kind for reason in found.reasons] == [kind]
    assert [(lease.in_place, lease.event_id) for lease in found.leases] == [(True, 0)]


def test_lease_holds_for_as_long_as_its_worker_shows_signs_of_life(working, handed_out, acting, time):
    handle = acting.start()
    turn(handle)
    assert tasks.take([ActivityTask.objects.get()], worker=workers.me(), expiries=[None])
    time.forward(LEASE_OVER)
    workers.beat(["default"])
    workers.sweep(["default"])

    assert kinds(handle) == ["running"]
    assert handle.why().leases[0].until < clock.now()


def test_activity_that_is_left_to_others_says_so(working, acting):
    handle = acting.start(2)
    working.run_until_quiet()

    assert kinds(handle) == ["external"]
    assert "has to be completed from outside, with client.complete_activity" in handle.why().verdict


def test_timer_says_how_long_and_where(working):
    async def sleeps() -> None:
        await asyncio.sleep(3600)

    handle = flow(sleeps)
    working.run_until_quiet()

    found = handle.why()

    assert [reason.kind for reason in found.reasons] == ["timer"]
    assert found.verdict.startswith("It sleeps at ")
    assert found.waits[0].location in found.verdict
    assert found.verdict.endswith(": await asyncio.sleep(3600), for 60 min more.")
    assert found.reasons[0].due == InboxEvent.objects.get().visible_at


def test_signal_says_its_name_since_when_and_until_when(working, time):
    async def waits() -> None:
        await workflow.wait_signal("approve", timeout=7200)

    handle = flow(waits)
    working.run_until_quiet()
    handle.signal("Approve")
    working.run_until_quiet()

    found = handle.why()

    assert [reason.kind for reason in found.reasons] == ["signal"]
    assert found.verdict.startswith("Nobody has sent signal 'approve' yet; unread are 'Approve' (1): it waits at ")
    assert found.verdict.endswith(", for 120 min more.")
    assert found.reasons[0].since == handle.history()[0].recorded_at
    assert found.unread_signals == {"Approve": 1}


def test_child_says_what_the_child_waits_for(working):
    @workflow.defn
    async def child() -> None:
        await workflow.wait_signal("go")

    async def parent() -> None:
        await child()

    handle = flow(parent)
    working.run_until_quiet()

    assert kinds(handle) == ["child"]
    found = handle.why()
    assert found.verdict.startswith("It waits for child 'it:0000', which is running [Nobody has sent signal 'go' yet")
    assert found.children == {"it:0000": client.why("it:0000").verdict}


def test_conditions_channels_and_other_waits_are_told(working):
    async def waits() -> None:
        asyncio.create_task(workflow.wait_until(lambda: False))
        asyncio.create_task(workflow.Channel().receive())
        asyncio.create_task(asyncio.Event().wait())
        await asyncio.gather(workflow.wait_signal("a"))

    handle = flow(waits)
    working.run_until_quiet()

    assert kinds(handle) == ["signal", "condition", "channel", "other"]
    assert handle.why().verdict.endswith(" (and 3 more).")


def test_nobody_who_looks_for_due_work_is_told(engine, time):
    async def sleeps() -> None:
        await asyncio.sleep(3600)

    handle = flow(sleeps)
    engine.run_until_quiet()

    assert kinds(handle) == ["no_sweep", "timer"]
    assert handle.why().verdict.startswith("No worker looks for due work: ")
    assert not handle.why().is_swept
    workers.sweep([])
    assert kinds(handle) == ["timer"]


def test_signal_without_a_limit_needs_no_sweep(engine):
    async def waits() -> None:
        await workflow.wait_signal("go")

    handle = flow(waits)
    engine.run_until_quiet()

    assert kinds(handle) == ["signal"]


@pytest.mark.parametrize("what", ["activity", "timer", "child"])
def test_wait_with_nothing_behind_it_is_lost(working, handed_out, acting, what):
    @workflow.defn
    async def child() -> None:
        await workflow.wait_signal("go")

    async def waits() -> None:
        await {"activity": acting, "timer": lambda: asyncio.sleep(60), "child": child}[what]()

    handle = flow(waits)
    turn(handle)
    if what == "activity":
        draining.advance_due()
        handle = client.get("it:0000")
    ActivityTask.objects.all().delete()
    InboxEvent.objects.all().delete()
    instances.rows().filter(pk="it:0000").update(**({"status": "completed"} if what == "child" else {"lease": None}))

    assert kinds(handle) == ["lost_work"]
    assert "Nothing stands behind " in handle.why().verdict
    assert handle.why().verdict.endswith(": recover it.")


def test_answer_that_is_on_its_way_is_not_lost(working, handed_out, acting):
    handle = acting.start()
    turn(handle)
    task = ActivityTask.objects.get()
    InboxEvent.objects.create(
        execution_id=task.execution_id, kind="ActivityCompleted", event_id=0, data={}, visible_at=clock.now()
    )
    task.delete()

    assert kinds(handle) == ["unread"]


# --- the rest


def test_unknown_instance_is_refused(db):
    with pytest.raises(UnknownInstance):
        client.why("nobody")


def test_nothing_is_written(working, handed_out, acting):
    handle = acting.start()
    turn(handle)

    with cost() as counted:
        handle.why()

    assert all(statement.startswith("SELECT") for statement in counted.statements)


def test_many_tasks_are_counted(working, handed_out, acting):
    @workflow.defn
    async def many() -> None:
        act = workflow.activity_by_name("act")
        await asyncio.gather(*(act(n) for n in range(105)))

    handle = many.start()
    turn(handle)

    found = handle.why()

    assert (len(found.tasks), found.tasks_omitted) == (100, 5)
    assert {reason.kind for reason in found.reasons} == {"queued"}
    assert found.verdict.endswith(" (and 99 more).")


def test_facts_are_known_without_the_code(working, handed_out, acting):
    handle = acting.start()
    turn(handle)
    forget(acting)

    found = handle.why()

    assert [reason.kind for reason in found.reasons] == ["queued"]
    assert found.waits == ()
    assert "acting" in found.trouble


def test_every_reason_has_a_rank_and_a_test():
    with open(__file__) as source:
        text = source.read()

    assert [kind for kind in reasoning.RANKS if f'"{kind}"' not in text] == []


# --- the command


def run(*args: Any) -> str:
    out = io.StringIO()
    call_command("durable_why", *args, stdout=out, no_color=True)
    return out.getvalue()


def test_command_prints_the_verdict_and_the_facts(working, acting):
    acting.options(id="it").start(1)
    working.run_until_quiet()

    printed = run("it")

    assert printed.startswith("it is running: Activity 'act' (event 0) is tried again in ")
    assert "  queue      default: 1 worker(s), 0 activities due\n" in printed
    assert "  task       act (event 0) on default: ready, attempt 2, due " in printed
    assert "  sweep      alive\n" in printed


def test_command_prints_json(working, acting):
    acting.options(id="it").start(1)
    working.run_until_quiet()

    printed = json.loads(run("it", "--json"))

    assert printed["reasons"][0]["kind"] == "retry"
    assert printed["tasks"][0]["last_failure"]["type"] == "ValueError"
