"""What steps cost: statements and commits, counted exactly, and no more with a longer history."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from django.db import connection, transaction

from durable import activity, client, dispatch, workflow
from durable.core import events as ev
from durable.engine import cache, holding, pace, together
from durable.engine import perform as performing
from durable.engine.advance import advance
from durable.engine.perform import perform
from durable.models import ActivityTask, HistoryEvent, InboxEvent, Instance
from durable.store import clock, driver, history
from tests.driving import cost, kinds

pytestmark = pytest.mark.lenient

WRITE = 1 if connection.vendor == "postgresql" else 2
"""The statements that change an instance's row and append to its history."""

STEP = (WRITE, 1)
"""Statements and commits of a sequential step."""


@pytest.fixture
def sequence(committing):
    """Return a workflow of sequential activities; the costs between its activities are in the list."""
    costs = []
    counted = None

    @activity.defn
    def tick(number: int) -> int:
        if counted is not None:
            costs.append((len(counted.statements), counted.commits))
        return number

    @workflow.defn
    async def sequence(length: int) -> int:
        for number in range(length):
            await tick(number)
        await workflow.wait_signal("more")
        for number in range(5):
            await tick(number)
        return length

    def start(length: int):
        nonlocal counted
        handle = sequence.start(length)
        with cost() as counted:
            advance(handle.id)
        return handle

    def go_on(handle):
        nonlocal counted
        handle.signal("more")
        with cost() as counted:
            advance(handle.id)

    return start, go_on, costs


def steps(costs: list[tuple[int, int]]) -> set[tuple[int, int]]:
    """Return what each step cost, from one activity to the next: (statements, commits)."""
    return {(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(costs)}


def lengthen(handle, count: int) -> None:
    """Give a history that ends at a wait as many more activities, straight into the tables."""
    instance = handle.instance
    events: list[ev.Event] = []
    for event_id in range(count):
        events.append(ev.ActivityScheduled(event_id=event_id, name="tick", input={"args": [event_id], "kwargs": {}}))
        events.append(ev.ActivityCompleted(event_id=event_id, result=event_id))
    history.append(instance.execution_id, instance.head, [history.record(e) for e in events], at=clock.now())
    Instance.objects.filter(pk=instance.pk).update(head=instance.head + len(events))


def test_sequential_step_in_place_is_1_commit_and_1_statement_or_2(sequence):
    start, _, costs = sequence

    handle = start(20)

    assert steps(costs) == {STEP}
    assert kinds(handle).count("ActivityCompleted") == 20


@pytest.mark.parametrize("length", [10, 5000])
def test_step_costs_the_same_at_any_length_of_the_history(committing, sequence, length):
    _, go_on, costs = sequence
    handle = sequence[0](0)  # the wait is its first await
    with transaction.atomic():
        Instance.objects.filter(pk=handle.id).update(input={"args": [length // 2], "kwargs": {}})
        HistoryEvent.objects.filter(execution_id=handle.instance.execution_id).delete()
        started = ev.ExecutionStarted(name="sequence", input={"args": [length // 2], "kwargs": {}}, seed="s")
        history.append(handle.instance.execution_id, 0, [history.record(started)], at=clock.now())
        Instance.objects.filter(pk=handle.id).update(head=1)
        lengthen(handle, length // 2)
    cache.clear()
    costs.clear()

    go_on(handle)

    assert len(costs) == 5
    assert steps(costs) == {STEP}
    assert handle.result(timeout=0) == length // 2
    assert len(kinds(handle)) == 1 + 2 * (length // 2) + 1 + 10 + 1


def test_signal_costs_the_same_at_any_length_while_the_execution_is_cached(committing):
    @workflow.defn
    async def listening() -> None:
        while True:
            await workflow.wait_signal("item")

    handle = listening.start()
    committing.run_until_quiet()
    costs = []
    for number in range(60):
        handle.signal("item", number)
        with cost() as counted:
            advance(handle.id)
        costs.append((len(counted.statements), counted.commits))

    assert len(set(costs[1:])) == 1, "no turn costs more than the second one"
    assert costs[-1][1] == 1


def cursors(monkeypatch):
    """Return the list that the database's cursors to come are noted in."""
    made = []
    chunked, reader = connection.chunked_cursor, driver.reader

    def read(connection, *, whole):
        made.extend([1] * (not whole))
        return reader(connection, whole=whole)

    monkeypatch.setattr(connection, "chunked_cursor", lambda: made.append(1) or chunked())
    monkeypatch.setattr(driver, "reader", read)
    return made


def test_replay_of_a_short_history_declares_no_cursor(sequence, monkeypatch):
    start, _, _ = sequence
    handle = start(5)
    cache.clear()
    made = cursors(monkeypatch)

    handle.signal("more")
    advance(handle.id)

    assert handle.result(timeout=0) == 5
    assert made == []


def test_replay_of_a_long_history_keeps_little_of_it_in_memory(sequence, monkeypatch):
    start, _, _ = sequence
    handle = start(5)
    cache.clear()
    made = cursors(monkeypatch)
    monkeypatch.setattr(history, "_AT_ONCE", 10)
    monkeypatch.setattr(holding, "FEW_EVENTS", 10)

    handle.signal("more")
    advance(handle.id)

    assert handle.result(timeout=0) == 5
    assert made


def test_handed_out_activity_is_at_most_3_commits(committing, settings):
    settings.DURABLE = {"RUN_INLINE": False}
    in_activity = []

    @activity.defn
    def work() -> None:
        in_activity.append(counted.commits)

    @workflow.defn
    async def outer() -> None:
        await workflow.wait_signal("go")
        await work()
        await workflow.wait_signal("end")

    handle = outer.start()
    committing.run_until_quiet()
    handle.signal("go")
    with cost() as counted:
        advance(handle.id)  # schedules it, as any turn may
        scheduled = counted.commits
        perform("default")  # takes it, stores its end, gives the instance its turn

    assert (scheduled, counted.commits - scheduled) == (1, 3)
    assert in_activity == [2]
    assert kinds(handle)[-1] == "ActivityCompleted"


def fan_out_cost(committing, width: int) -> tuple[int, int]:
    @activity.defn(name=f"leaf{width}")
    def leaf(number: int) -> int:
        return number

    @workflow.defn(name=f"fan_out_of_{width}_")
    async def fan_out() -> int:
        return sum(await asyncio.gather(*(leaf(n) for n in range(width))))

    handle = fan_out.start()
    with cost() as counted:
        advance(handle.id)
    assert ActivityTask.objects.filter(name=f"leaf{width}").count() == width
    return len(counted.statements), counted.commits


def test_statements_of_a_fan_out_do_not_grow_with_its_width(committing, settings):
    settings.DURABLE = {"RUN_INLINE": False}

    assert fan_out_cost(committing, 2) == fan_out_cost(committing, 40)


def test_children_of_a_step_are_stored_together(committing):
    def children_cost(width: int) -> int:
        @workflow.defn(name=f"kid_of_{width}_")
        async def kid() -> None:
            await workflow.wait_signal("never")

        @workflow.defn(name=f"parent_of_{width}_")
        async def parent() -> None:
            await asyncio.gather(*(kid() for _ in range(width)))

        handle = parent.start()
        with cost() as counted:
            advance(handle.id)
        assert Instance.objects.filter(parent_id=handle.id).count() == width
        return len(counted.statements)

    assert children_cost(2) == children_cost(20)


@pytest.fixture
def kin(committing):
    """Return what starts a parent of so many children, each of which waits for a signal."""

    @activity.defn
    def tick() -> None:
        pass

    @workflow.defn
    async def kid() -> None:
        await workflow.wait_signal("go")
        await tick()

    @workflow.defn
    async def parent(width: int) -> None:
        await asyncio.gather(*(kid() for _ in range(width)))

    def begin(width: int) -> list[str]:
        handle = parent.start(width)
        advance(handle.id)
        children = list(Instance.objects.filter(parent_id=handle.id).order_by("pk").values_list("pk", flat=True))
        for pk in children:
            advance(pk)
            client.get(pk).signal("go")
        return children

    return begin


def test_costs_of_the_end_of_a_child(kin):
    (child,) = kin(1)
    with cost() as counted:
        advance(child)

    assert client.get(child).status == "completed"
    assert InboxEvent.objects.get().kind == "ChildCompleted"
    # Look, turn; turn with the end and what the parent is told. Elsewhere, lock and inbox, two for each turn, one to
    # take the row from the inbox, and with the end those for execution, inbox, children, the parent and its inbox.
    assert (len(counted.statements), counted.commits) == (3 if WRITE == 1 else 12, 2)


@pytest.mark.skipif(WRITE != 1, reason="elsewhere the tasks of each instance are deleted by themselves")
def test_costs_of_children_that_end_together(kin, settings, monkeypatch):
    settings.DURABLE = {"RUN_INLINE": False}
    monkeypatch.setattr(performing, "_GATHER_SECONDS", 60.0)
    monkeypatch.setattr(pace, "TOGETHER_SECONDS", 60.0)
    monkeypatch.setattr(together, "_SECONDS", 60.0)
    costs = []
    for width in (10, 40):
        children = kin(width)
        together.advance_all(children)
        pace.note("tick", 0.001)
        pace.end_round("default", ["tick"])
        with cost() as counted:
            perform("default")
        assert set(Instance.objects.filter(pk__in=children).values_list("status", flat=True)) == {"completed"}
        costs.append((len(counted.statements), counted.commits))

    # To lease the tasks, 2; to store their ends, and look for more, 3. The turns: lock, inbox and history, children;
    # rows, events, executions, inboxes; the parent and its inbox. The parent's turn, with its end, 2. A last look.
    assert costs == [(17, 4)] * 2


def test_turn_with_nothing_to_do_writes_nothing(committing):
    @workflow.defn
    async def waiting() -> None:
        await workflow.wait_signal("go")

    handle = waiting.start()
    committing.run_until_quiet()
    with cost() as counted:
        advance(handle.id)

    assert len(counted.statements) <= 3
    assert not [sql for sql in counted.statements if not sql.startswith("SELECT")]


def test_atomic_activity_in_place_costs_no_further_commit(committing):
    costs = []

    @activity.defn(atomic=True)
    def tick(number: int) -> None:
        costs.append((len(counted.statements), counted.commits))

    @workflow.defn
    async def ticking() -> None:
        for number in range(5):
            await tick(number)

    handle = ticking.start()
    with cost() as counted:
        advance(handle.id)

    assert handle.status == "completed"
    assert {commits for _, commits in steps(costs)} == {1}
    assert connection.in_atomic_block is False


def test_costs_of_the_shortest_workflow(committing, monkeypatch):
    @activity.defn
    def tick() -> None:
        pass

    @workflow.defn
    async def short() -> str:
        await tick()
        return "done"

    messages: list[str] = []
    monkeypatch.setattr(dispatch, "_send", lambda task, *_: messages.append(task))
    short.start()  # asks for the time
    messages.clear()
    with cost() as starting:
        handle = short.start()
    assert messages == ["durable.advance"]
    with cost() as counted:
        advance(handle.id)

    with cost() as looking:
        assert handle.result(timeout=0) == "done"
    assert messages == ["durable.advance"], "neither the activity nor the end is announced"
    assert (len(looking.statements), looking.commits) == (1, 0)
    # The instance, its execution, and what begins it.
    assert (len(starting.statements), starting.commits) == (1 if WRITE == 1 else 3, 1)
    # Look, turn; turn with the end. Elsewhere, lock and inbox, two for each turn, one to take the row from the inbox,
    # and with the end those for execution, inbox and children.
    assert (len(counted.statements), counted.commits) == (3 if WRITE == 1 else 10, 2)


@pytest.fixture
def napping(committing):
    """Return what starts an instance that sleeps, gives it its first turn, forgets its execution and lets it be due."""

    @activity.defn
    def tick() -> None:
        pass

    @workflow.defn
    async def napping(then: str) -> str:
        await asyncio.sleep(3600)
        if then == "sleep":
            await asyncio.sleep(3600)
        elif then == "work":
            await tick()
        elif then == "child":
            napping.start_child("sleep")
            await asyncio.sleep(0)
        return then

    def nap(then: str = "end"):
        handle = napping.start(then)
        advance(handle.id)
        make_due(handle)
        cache.clear()
        return handle

    return nap


def make_due(*handles) -> None:
    """Have the timers of instances be due now."""
    ids = [handle.id for handle in handles]
    InboxEvent.objects.filter(execution__instance__in=ids, kind="TimerFired").update(visible_at=clock.now())


def test_turn_of_an_instance_that_is_not_cached_and_ends(napping):
    handle = napping()
    with cost() as counted:
        advance(handle.id)

    assert handle.result(timeout=0) == "end"
    # Look, lock, turn with the end. Elsewhere, lock, inbox, history, and what a turn and an end take.
    assert (len(counted.statements), counted.commits) == (3 if WRITE == 1 else 9, 1)


def test_turn_of_an_instance_that_is_not_cached_and_goes_on(napping):
    handle = napping("sleep")
    with cost() as counted:
        advance(handle.id)

    assert kinds(handle)[-2:] == ["TimerFired", "TimerStarted"]
    # Look, lock, turn, timer; whether more came.
    assert (len(counted.statements), counted.commits) == (5 if WRITE == 1 else 8, 1)
