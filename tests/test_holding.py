"""Turns without a lock: what comes between their read and their write comes before them, and nothing is lost."""

from __future__ import annotations

import asyncio
import threading
import uuid
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, transaction

from durable import ChildFailed, UnknownInstance, UpdateTimeout, activity, client, interceptors, workflow
from durable.core import events as ev
from durable.core.errors import ConcurrencyConflict, UnknownWorkflow
from durable.engine import cache, living
from durable.engine.advance import advance
from durable.engine.turn import Turn
from durable.models import ActivityTask, InboxEvent, Instance
from durable.store import history, inbox, loading, tasks, turns
from tests.driving import Together, cost, kinds, leftovers

pytestmark = [
    pytest.mark.lenient,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="elsewhere each turn begins with a lock"),
]

LOCK = "FOR NO KEY UPDATE SKIP LOCKED"


@pytest.fixture
def ran():
    """What ran of activities, by their numbers, and of the code, by its name."""
    return []


@pytest.fixture
def meanwhile():
    """What is done while an activity runs."""
    return []


@pytest.fixture
def order(committing, ran, meanwhile):
    """A workflow in two versions: an activity at once, and one after a signal."""

    @activity.defn
    def act(number: int) -> None:
        ran.append(number)
        for do in meanwhile:
            do()

    async def body() -> int:
        ran.append("code")

        @workflow.update
        def rename() -> str:
            return "renamed"

        await act(1)
        await workflow.wait_signal("go")
        await act(2)
        return workflow.version()

    workflow.defn(name="order2")(body)
    return workflow.defn(name="order")(body)


class Between:
    """Has something done through another connection, once, before the next turn is written.

    Attributes:
        turn: That turn.
        result: What came of it.
    """

    turn: Turn | None = None
    result: object = None

    def __init__(self, monkeypatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, action) -> None:
        store = Turn.store

        def storing(turn, **options) -> None:
            if self.turn is None:
                self.turn = turn
                (self.result,) = Together().add(action).run()
            store(turn, **options)

        self._monkeypatch.setattr(Turn, "store", storing)


@pytest.fixture
def between(monkeypatch):
    """Return what has something done between the read and the write of a turn."""
    found = Between(monkeypatch)
    yield found
    assert found.turn is not None
    assert not isinstance(found.result, Exception), found.result


def goes_on(handle, ran, *, version: int = 0) -> None:
    """Check that an instance goes on to its end, with nothing done twice or left behind."""
    advance(handle.id)
    handle.signal("go")
    advance(handle.id)
    assert handle.result(timeout=0) == version
    assert kinds(handle).count("ExecutionStarted") == 1
    assert [what for what in ran if what != "code"] == [1, 2]
    assert leftovers() == []


def test_of_two_workers_that_begin_an_instance_one_runs_nothing_but_its_code(order, between, ran):
    handle = order.start()
    between(lambda: advance(handle.id))

    advance(handle.id)

    assert ran == ["code", "code", 1]
    assert between.turn.execution.loop.is_closed()
    goes_on(handle, ran)


def test_second_worker_leaves_an_instance_alone_whose_activity_runs(order, between, ran, meanwhile):
    handle = order.start()
    runs, ends = threading.Event(), threading.Event()
    meanwhile += [runs.set, lambda: ends.wait(30)]
    other = threading.Thread(target=lambda: Together().add(lambda: advance(handle.id)).run())
    between(lambda: (other.start(), runs.wait(30)))
    try:
        advance(handle.id)
        assert ran == ["code", "code", 1]
        assert handle.instance.lease is not None
    finally:
        ends.set()
        other.join(30)
    goes_on(handle, ran)


def test_suspended_between(order, between, ran):
    handle = order.start()
    between(lambda: client.suspend(handle.id))

    advance(handle.id)

    assert (handle.status, handle.instance.head, ran) == ("suspended", 0, ["code"])
    client.resume(handle.id)
    goes_on(handle, ran)


def test_suspended_and_resumed_between(order, between, ran):
    handle = order.start()
    between(lambda: (client.suspend(handle.id), client.resume(handle.id)))

    goes_on(handle, ran)

    assert ran.count("code") == 2


def test_terminated_between(order, between, ran):
    handle = order.start()
    between(lambda: client.terminate(handle.id))

    advance(handle.id)

    assert (handle.status, kinds(handle), ran) == ("terminated", ["ExecutionTerminated"], ["code"])
    assert leftovers() == []


def test_canceled_between(order, between, ran):
    handle = order.start()
    between(lambda: client.cancel(handle.id))

    advance(handle.id)

    assert handle.status == "canceled"
    assert 1 not in ran, "it came before the first activity"


def test_purged_between(order, between, ran):
    handle = order.start()
    between(lambda: client.purge(handle.id, force=True))

    advance(handle.id)

    assert ran == ["code"]
    assert not InboxEvent.objects.exists()
    with pytest.raises(UnknownInstance):
        _ = handle.status


def test_upgraded_between(order, between, ran):
    handle = order.start()
    between(lambda: client.upgrade(handle.id, to=2))

    goes_on(handle, ran, version=2)


def test_asked_for_its_first_update_between(order, between, ran):
    handle = order.start()

    def ask() -> None:
        with pytest.raises(UpdateTimeout):
            client.update(handle.id, "rename", update_id="u", timeout=0)

    between(ask)
    goes_on(handle, ran)

    assert client.update(handle.id, "rename", update_id="u", timeout=0) == "renamed"


def test_moved_to_another_queue_between(order, between, settings):
    settings.DURABLE = {"RUN_INLINE": False}
    handle = order.start()
    between(lambda: Instance.objects.filter(pk=handle.id).update(queue="other"))

    advance(handle.id)

    assert ActivityTask.objects.get().queue == "other"


def test_signal_between_is_not_left_behind_by_an_end(committing, between, caplog):
    @workflow.defn
    async def brief() -> None:
        pass

    handle = brief.start()
    between(lambda: handle.signal("news"))

    advance(handle.id)

    assert handle.status == "completed"
    assert leftovers() == []
    assert "ended before it saw a signal" in caplog.text


def test_signal_between_is_seen_by_the_same_turn(order, between, ran):
    handle = order.start()
    between(lambda: handle.signal("go"))

    advance(handle.id)

    assert kinds(handle)[:4] == ["ExecutionStarted", "ActivityScheduled", "SignalReceived", "ActivityCompleted"]
    assert handle.result(timeout=0) == 0


def test_rewound_child_takes_back_between_what_it_told(committing, between):
    reasons = ["broken"]

    @workflow.defn
    async def child() -> str:
        if reasons:
            raise ValueError(*reasons)
        return "done"

    @workflow.defn
    async def parent() -> str:
        try:
            return await child.options(id="child")()
        except ChildFailed:
            return "failed"

    handle = parent.start()
    advance(handle.id)
    advance("child")
    assert InboxEvent.objects.get().kind == "ChildFailed"
    reasons.clear()
    between(lambda: client.rewind("child"))

    advance(handle.id)
    committing.run_until_quiet()

    assert handle.result(timeout=0) == "done"


def test_nobody_waits_for_who_has_it_locked(order, between, ran):
    handle = order.start()
    locked, ends = threading.Event(), threading.Event()

    def keep() -> None:
        with transaction.atomic():
            handle.signal("go")
            locked.set()
            assert ends.wait(30)

    other = threading.Thread(target=lambda: Together().add(keep).run())
    between(lambda: (other.start(), locked.wait(30)))
    try:
        advance(handle.id)
        assert (handle.instance.head, ran) == (0, ["code"])
    finally:
        ends.set()
        other.join(30)
    advance(handle.id)
    assert handle.result(timeout=0) == 0


def test_lease_is_given_back_if_the_answer_to_a_write_got_lost(order, ran, monkeypatch):
    handle = order.start()
    write = turns.write

    def lose(*args, **options):
        write(*args, **options)
        monkeypatch.setattr(turns, "write", write)
        raise OperationalError("the connection broke")

    monkeypatch.setattr(turns, "write", lose)
    with pytest.raises(OperationalError):
        advance(handle.id)

    assert (handle.instance.head, handle.instance.lease, ran) == (2, None, ["code"])
    assert ActivityTask.objects.get().name == "act"


def test_what_is_wrong_with_an_instance_as_it_was_does_not_stall_it(order, ran, monkeypatch):
    handle = order.start()
    live = living.live

    def live_without_the_code(*_args):
        monkeypatch.setattr(living, "live", live)
        Together().add(lambda: advance(handle.id)).run()
        raise UnknownWorkflow("order")

    monkeypatch.setattr(living, "live", live_without_the_code)
    advance(handle.id)

    assert handle.status == "running"
    goes_on(handle, ran)


def test_nothing_of_a_turn_is_stored_that_fails_half_way(order, settings, monkeypatch):
    settings.DURABLE = {"RUN_INLINE": False}
    handle = order.start()

    def fail(_rows) -> None:
        raise OperationalError

    monkeypatch.setattr(tasks, "insert", fail)
    with pytest.raises(OperationalError):
        advance(handle.id)

    assert (handle.instance.head, kinds(handle)) == (0, [])
    assert InboxEvent.objects.get().kind == "ExecutionStarted"


def test_turn_in_a_transaction_of_somebody_else_is_locked(order):
    handle = order.start()
    with transaction.atomic(), cost() as counted:
        advance(handle.id)

    assert counted.statements[0].endswith(LOCK)


def test_nobody_replays_what_somebody_else_has_locked(order, ran):
    handle = order.start()
    advance(handle.id)
    handle.signal("go")
    cache.clear()
    ran.clear()
    locked, ends = threading.Event(), threading.Event()

    def keep() -> None:
        with transaction.atomic():
            client.suspend(handle.id)
            locked.set()
            assert ends.wait(30)

    other = threading.Thread(target=lambda: Together().add(keep).run())
    other.start()
    try:
        assert locked.wait(30)
        advance(handle.id)
        assert ran == []
    finally:
        ends.set()
        other.join(30)


class Watching(interceptors.Interceptor):
    """Notes whether turns are within a transaction."""

    saw: list[tuple[bool, int]]

    @contextmanager
    def turn(self, call):
        yield
        self.saw.append((connection.in_atomic_block, call.head))


def test_interceptors_of_turns_are_within_the_transaction_that_stores_them(order, settings):
    settings.DURABLE = {"INTERCEPTORS": [f"{__name__}.Watching"]}
    Watching.saw = []
    handle = order.start()
    advance(handle.id)

    assert Watching.saw[0] == (True, 0)


def test_turn_that_calls_off_a_task_is_locked_before(committing, settings):
    settings.DURABLE = {"RUN_INLINE": False}

    @activity.defn
    def slow() -> None:
        pass

    @workflow.defn
    async def impatient() -> None:
        work = asyncio.ensure_future(slow())
        await workflow.wait_signal("stop")
        work.cancel()
        await workflow.wait_signal("never")

    handle = impatient.start()
    advance(handle.id)
    handle.signal("stop")
    with cost() as counted:
        advance(handle.id)

    verbs = [sql.split()[0] for sql in counted.statements]
    assert counted.statements[1].endswith(LOCK)
    assert verbs[:2] == ["SELECT", "SELECT"]
    assert counted.commits == 1
    assert kinds(handle)[-2:] == ["SignalReceived", "ActivityCanceled"]


def test_turn_that_comes_to_nothing_is_locked_before_it_drops_what_came(order):
    handle = order.start()
    advance(handle.id)
    execution_id = handle.instance.execution_id
    inbox.insert([inbox.row(execution_id, ev.ActivityCompleted(event_id=0, result="late"))])
    with cost() as counted:
        advance(handle.id)

    assert counted.statements[1].endswith(LOCK)
    assert leftovers() == []


@pytest.fixture
def drawing(committing, ran):
    """A workflow with a side effect that leaves something behind, outside and in the database."""

    def draw() -> str:
        ran.append(connection.in_atomic_block)
        return Group.objects.create(name="drawn").name

    @workflow.defn
    async def drawing() -> str:
        return workflow.side_effect(draw)

    return drawing


def test_side_effect_runs_for_one_worker_only(drawing, between, ran):
    handle = drawing.start()
    between(lambda: advance(handle.id))

    advance(handle.id)

    assert handle.result(timeout=0) == "drawn"
    assert ran == [True]
    assert leftovers() == []


def test_side_effect_of_whoever_comes_second_does_not_run(drawing, ran, monkeypatch):
    handle = drawing.start()
    lock = turns.lock

    def come_second(instance, seen) -> bool:
        monkeypatch.setattr(turns, "lock", lock)
        Together().add(lambda: advance(handle.id)).run()
        return lock(instance, seen)

    monkeypatch.setattr(turns, "lock", come_second)
    advance(handle.id)

    assert handle.result(timeout=0) == "drawn"
    assert ran == [True]


def test_what_a_side_effect_wrote_goes_with_its_turn(drawing, monkeypatch):
    handle = drawing.start()

    def fail(*_args, **_options) -> None:
        raise OperationalError

    monkeypatch.setattr(turns, "write", fail)
    with pytest.raises(OperationalError):
        advance(handle.id)

    assert not Group.objects.exists()


@pytest.fixture
def waiting(committing):
    """A workflow that ends with a signal."""

    @workflow.defn
    async def waiting() -> str:
        return await workflow.wait_signal("go")

    return waiting


@pytest.mark.parametrize("what", ["a child", "a lease"])
def test_end_is_one_commit_though_there_is_more_than_its_code_knows(waiting, what):
    handle, child = waiting.start(), waiting.start()
    advance(handle.id)
    if what == "a child":
        its = {"parent_id": handle.id, "parent_execution_id": handle.instance.execution_id, "parent_event_id": 0}
        Instance.objects.filter(pk=child.id).update(**its)
    else:
        its = {"lease": uuid.uuid4(), "lease_worker": "other", "lease_event_id": 0}
        Instance.objects.filter(pk=handle.id).update(**its)
    handle.signal("go", "done")
    with cost() as counted:
        advance(handle.id)

    assert handle.result(timeout=0) == "done"
    assert child.status == ("terminated" if what == "a child" else "pending")
    # What found the child wrote nothing.
    assert counted.commits == (2 if what == "a child" else 1)


@pytest.fixture
def repeatable():
    """A transaction whose isolation level makes an error of a conflict, and the snapshot of which is taken."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield
        transaction.set_rollback(True)


def look(handle):
    instance, _, seen = loading.look(handle.id, (None, 0), limit=9, events=9)
    return instance, seen


@pytest.mark.parametrize("what", ["lock", "write"])
def test_conflict_is_one_at_any_isolation_level(order, repeatable, what):
    Together().add(lambda: order.options(id="one").start()).run()
    instance, seen = look(client.get("one"))
    Together().add(lambda: client.suspend("one")).run()

    with pytest.raises(ConcurrencyConflict):
        if what == "lock":
            turns.lock(instance, seen)
        else:
            records = [history.record(ev.SignalReceived(name="go"))]
            turns.write(instance, {"head": 1}, records, head=0, at=instance.created_at, seen=seen)
