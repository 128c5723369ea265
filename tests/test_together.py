"""Turns of many instances that are taken together: what that saves, and that each comes out as by itself."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, connections, transaction

from durable import activity, client, dispatch, workflow
from durable.core import events as ev
from durable.core.errors import ConcurrencyConflict
from durable.engine import advance as single
from durable.engine import cache, following, holding, pace, presence, running, together
from durable.engine import perform as performing
from durable.engine.advance import advance
from durable.engine.perform import perform
from durable.engine.together import advance_all, advance_told
from durable.models import ActivityTask, Execution, HistoryEvent, InboxEvent, Instance
from durable.store import clock, gathered, history, inbox
from tests.driving import Together, cost, kinds, leftovers

pytestmark = pytest.mark.lenient

POSTGRESQL = connection.vendor == "postgresql"


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Have slow tests take as many turns together as quick workers."""
    monkeypatch.setattr(together, "_SECONDS", 60.0)
    monkeypatch.setattr(performing, "_GATHER_SECONDS", 60.0)
    monkeypatch.setattr(pace, "TOGETHER_SECONDS", 60.0)


@pytest.fixture
def napping(committing):
    """Return what starts instances that sleep, forgets their executions and lets them be due."""

    @activity.defn
    def tick() -> None:
        pass

    @workflow.defn
    async def brief() -> str:
        await workflow.wait_signal("never")
        return "brief"

    @workflow.defn
    async def napping(then: str) -> str:
        await asyncio.sleep(3600)
        if then == "sleep":
            await asyncio.sleep(3600)
        elif then == "work":
            await tick()
        elif then == "parent":
            brief.start_child()
            await asyncio.sleep(0)
        elif then == "listen":
            await workflow.wait_signal("go")
        elif then == "fail":
            raise ValueError("tired")
        elif then == "continue":
            workflow.continue_as_new("end")
        elif then == "show":
            workflow.set_status({"mood": "rested"})
            workflow.set_tags(rested="yes")
            await asyncio.sleep(3600)
        return then

    def nap(*then: str) -> list[client.Handle]:
        handles = [napping.start(each) for each in then]
        for handle in handles:
            advance(handle.id)
        make_due(handles)
        cache.clear()
        return handles

    return nap


def make_due(handles) -> None:
    """Have what waits for instances be due now."""
    ids = [handle.id for handle in handles]
    InboxEvent.objects.filter(execution__instance__in=ids).update(visible_at=clock.now() - timedelta(seconds=1))


def ids(handles) -> list[str]:
    return [handle.id for handle in handles]


@pytest.fixture
def alone(monkeypatch):
    """Return the list of the instances that get a turn by themselves from now on."""
    took = []

    def counting(instance_id: str) -> None:
        took.append(instance_id)
        advance(instance_id)

    monkeypatch.setattr(single, "advance", counting)
    return took


def test_cost_does_not_grow_with_the_number(napping, alone):
    few, many = napping(*["end"] * 20), napping(*["end"] * 60)

    costs = []
    for handles in (few, many):
        with cost() as counted:
            advance_all(ids(handles))
        assert {handle.result(timeout=0) for handle in handles} == {"end"}
        costs.append((len(counted.statements), counted.commits))

    assert alone == []
    # What is due at all. Twice: lock, inbox and history, children; rows, events, executions, inboxes.
    assert costs == [(1 + 2 * (7 if POSTGRESQL else 8), 2)] * 2
    assert leftovers() == []


@pytest.mark.parametrize("then", ["sleep", "show", "listen", "work", "end"])
def test_what_is_stored_is_what_a_turn_by_itself_stores(napping, alone, then, settings):
    settings.DURABLE = {"RUN_INLINE": False}
    handles = napping(*[then] * 9)
    advance(handles[0].id)
    cache.clear()

    advance_all(ids(handles)[1:])

    assert alone == []
    expected, *others = [stored(handle) for handle in handles]
    assert all(other == expected for other in others)
    assert Execution.objects.filter(closed_at__isnull=False).count() == (9 if then == "end" else 0)


def stored(handle) -> list:
    """Return all that is stored of an instance but its names and times."""
    (row,) = Instance.objects.filter(pk=handle.id).values()
    times = {name for name in row if name.endswith("_at")}
    facts = {name: value for name, value in row.items() if name not in {"id", "execution_id"} | times}
    facts["times"] = {name for name, value in row.items() if name in times and value is not None}
    of = {"execution_id": row["execution_id"]}
    return [
        facts,
        list(Execution.objects.filter(pk=row["execution_id"]).values_list("status", "number")),
        [
            (seq, kind, event_id, name, set(data))
            for seq, kind, event_id, name, data in HistoryEvent.objects.filter(**of)
            .order_by("seq")
            .values_list("seq", "kind", "event_id", "name", "data")
        ],
        list(InboxEvent.objects.filter(**of).values_list("kind", "event_id", "data")),
        list(ActivityTask.objects.filter(**of).values_list("event_id", "name", "input", "state")),
    ]


def test_recorded_times_are_those_that_the_code_saw(committing):
    @workflow.defn
    async def watching() -> list[str]:
        await workflow.wait_signal("go")
        seen = [workflow.now().isoformat()]
        await workflow.wait_signal("go")
        return [*seen, seen[0]]

    handles = [watching.start() for _ in range(8)]
    for handle in handles:
        advance(handle.id)
        handle.signal("go")
    advance_all(ids(handles))
    cache.clear()
    for handle in handles:
        handle.signal("go")
    advance_all(ids(handles))

    for handle in handles:
        recorded = HistoryEvent.objects.get(execution__instance=handle.id, seq=2).recorded_at
        assert handle.result(timeout=0)[0] == recorded.isoformat()


def test_whatever_asks_for_more_gets_a_turn_by_itself(napping, alone):
    plain = napping(*["end"] * 8)
    special = napping("parent", "fail", "continue")

    advance_all(ids([*plain, *special]))
    make_due(special[:1])
    advance_all(ids([*plain, special[0]]))

    assert set(alone) >= set(ids(special))
    assert not set(alone) & set(ids(plain))
    assert [handle.status for handle in special] == ["completed", "failed", "running"]
    child = Instance.objects.get(parent=special[0].id)
    assert child.status == "terminated", "its parent ended"


def test_end_of_a_parent_whose_child_is_open_is_seen_though_nothing_else_tells(napping, alone, committing):
    handles = napping(*["end"] * 9)
    parent, child = handles[0].instance, handles[1].instance
    of = {"parent": parent, "parent_execution_id": parent.execution_id, "parent_event_id": 7}
    Instance.objects.filter(pk=child.pk).update(**of)

    advance_all(ids([handles[0], *handles[2:]]))

    assert alone == [parent.pk]
    assert [handle.status for handle in handles[:3]] == ["completed", "terminated", "completed"]


def test_child_that_ends_tells_its_parent(napping, committing):
    @workflow.defn
    async def dozing() -> str:
        await asyncio.sleep(3600)
        return "dozed"

    @workflow.defn
    async def outer() -> list[str]:
        return await asyncio.gather(*(dozing() for _ in range(9)))

    handle = outer.start()
    committing.run_until_quiet()
    children = list(Instance.objects.filter(parent=handle.id).values_list("pk", flat=True))
    make_due([client.get(pk) for pk in children])
    cache.clear()

    advance_all(children)
    advance(handle.id)

    assert handle.result(timeout=0) == ["dozed"] * 9


def test_turn_that_is_thrown_away_has_called_nothing_off(napping, alone, settings):
    """What it called off would stay so, and the turn by itself find nothing any more that it could call off."""
    settings.DURABLE = {"RUN_INLINE": False}

    @activity.defn
    def work() -> None:
        pass

    @workflow.defn
    async def spare() -> None:
        pass

    @workflow.defn
    async def impatient() -> None:
        try:
            async with asyncio.timeout(3600):
                await work()
        except TimeoutError:
            await spare()

    handles = [impatient.start() for _ in range(8)]
    for handle in handles:
        advance(handle.id)
    assert ActivityTask.objects.count() == 8
    make_due(handles)

    advance_all(ids(handles))

    assert sorted(alone) == sorted(ids(handles))
    assert not ActivityTask.objects.exists()
    assert {kinds(handle).count("ActivityCanceled") for handle in handles} == {1}


def test_one_that_cannot_go_on_keeps_nobody_from_it(napping, alone):
    handles = napping(*["end"] * 8)
    HistoryEvent.objects.filter(execution__instance=handles[3].id, kind="TimerStarted").update(kind="Nonsense")

    advance_all(ids(handles))

    assert alone == [handles[3].id]
    assert handles[3].status == "stalled"
    assert {handle.status for handle in handles if handle is not handles[3]} == {"completed"}


def test_those_that_are_not_on_their_way_are_left_as_they_are(napping, alone):
    handles = napping(*["end"] * 12)
    suspended, closed, leased, asked = handles[:4]
    suspended.suspend()
    closed.terminate()
    Instance.objects.filter(pk=leased.id).update(lease=leased.instance.execution_id, lease_event_id=7)
    Instance.objects.filter(pk=asked.id).update(has_updates=True)

    advance_all(ids(handles))

    assert {handle.status for handle in handles[2:]} == {"completed"}
    assert [suspended.status, closed.status] == ["suspended", "terminated"]
    assert set(alone) == {leased.id, asked.id, suspended.id}


def test_of_two_workers_one_takes_each_turn(napping):
    handles = napping(*["end", "sleep"] * 12)

    Together().add(lambda: advance_all(ids(handles)), times=4).run()

    slept = ["ExecutionStarted", "TimerStarted", "TimerFired"]
    assert {tuple(kinds(handle)) for handle in handles} == {(*slept, "ExecutionCompleted"), (*slept, "TimerStarted")}
    assert InboxEvent.objects.count() == 12


def test_signals_that_come_meanwhile_are_taken_too(napping, monkeypatch):
    handles = napping(*["listen"] * 8)
    write = gathered.write

    def late(parts):
        write(parts)
        inbox.insert([inbox.row(part.instance.execution_id, ev.SignalReceived(name="go")) for part in parts])

    with monkeypatch.context() as patched:
        patched.setattr(gathered, "write", late)
        advance_all(ids(handles))

    assert {handle.status for handle in handles} == {"completed"}


@pytest.mark.parametrize("error", [ValueError, OperationalError, KeyboardInterrupt])
def test_what_could_not_be_stored_together_leaves_nothing_behind(napping, alone, monkeypatch, error):
    handles = napping(*["sleep"] * 8)
    before = [stored(handle) for handle in handles]
    write = gathered.write

    def failing(parts):
        write(parts)
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(gathered, "write", failing)
        if error is ValueError:
            advance_all(ids(handles))
        else:
            with pytest.raises(error):
                advance_all(ids(handles))
            assert [stored(handle) for handle in handles] == before
            assert not any(cache.head(handle.instance.execution_id) for handle in handles)
            assert alone == []

    advance_all(ids(handles))
    assert {tuple(kinds(handle)[-2:]) for handle in handles} == {("TimerFired", "TimerStarted")}


def test_executions_that_go_on_are_cached(napping, alone):
    handles = napping(*["sleep"] * 8)
    advance_all(ids(handles))
    assert all(cache.head(handle.instance.execution_id) == handle.instance.head for handle in handles)
    make_due(handles)

    advance_all(ids(handles))

    assert alone == []
    assert {handle.result(timeout=0) for handle in handles} == {"sleep"}


def test_never_all_are_taken_together(napping, monkeypatch):
    """One that kills its worker would otherwise take the same ones with it, time and again."""
    handles = napping(*["end"] * 30)
    sizes, take = [], together._take
    monkeypatch.setattr(together, "_take", lambda some, line: sizes.append(frozenset(some)) or take(some, line))

    advance_all(ids(handles))

    assert [len(some) for some in sizes] == [15, 15]
    assert set(sizes) != {frozenset(ids(handles)[:15]), frozenset(ids(handles)[15:])}


def test_locks_are_not_held_for_long(napping, alone, monkeypatch):
    monkeypatch.setattr(together, "_SECONDS", 0.0)
    handles = napping(*["end"] * 8)

    with cost() as counted:
        advance_all(ids(handles))

    assert {handle.status for handle in handles} == {"completed"}
    assert len(alone) == 1, "the last, as there is nobody left to take it together with"
    assert counted.commits == 8, "one each, as there was time for no second one"


def test_long_histories_are_not_read_together(napping, alone, monkeypatch):
    monkeypatch.setattr(holding, "FEW_EVENTS", 1)
    handles = napping(*["end"] * 8)

    advance_all(ids(handles))

    assert sorted(alone) == sorted(ids(handles))


def test_not_more_is_read_together_than_fits(napping, alone, monkeypatch):
    monkeypatch.setattr(together, "_EVENTS", 4)
    handles = napping(*["end"] * 8)

    with cost() as counted:
        advance_all(ids(handles))

    assert alone == []
    assert counted.commits == 4


def test_timers_that_end_soon_are_announced_together(napping, monkeypatch):
    calls = []

    class Here:
        def call_at(self, when, callback):
            calls.append((when, callback))

    monkeypatch.setattr(presence, "current", Here)
    monkeypatch.setattr(presence, "soon", lambda when: True)
    handles = napping(*["sleep"] * 8)
    calls.clear()

    advance_all(ids(handles))

    due = InboxEvent.objects.order_by("-visible_at").values_list("visible_at", flat=True)
    assert 1 <= len(calls) < 8
    assert {instance_id for _, callback in calls for _, instance_id in callback.args[0]} == set(ids(handles))
    assert timedelta(0) <= max(when for when, _ in calls) - due[0] <= timedelta(seconds=0.05)


def test_nothing_is_written_for_what_moved(napping):
    handles = napping("end", "end")
    records = [history.record(ev.ExecutionCompleted(result=1))]
    parts = [
        gathered.Part(
            instance=handle.instance,
            values={"head": handle.instance.head + 1},
            records=records,
            at=clock.now(),
            consumed=[],
            ended=True,
            tasks=[],
            inbox=[],
        )
        for handle in handles
    ]
    Instance.objects.filter(pk=handles[1].id).update(head=9)

    with pytest.raises(ConcurrencyConflict), transaction.atomic():
        gathered.write(parts)

    assert [handle.instance.head for handle in handles] == [2, 9]
    assert HistoryEvent.objects.filter(kind="ExecutionCompleted").count() == 0


@pytest.fixture
def family(committing, settings):
    """Return a workflow that starts children, has each run an activity, and adds up what they return."""
    settings.DURABLE = {"RUN_INLINE": False}

    @activity.defn
    def work(number: int) -> int:
        return number

    @workflow.defn
    async def kid(number: int) -> int:
        return await work(number)

    @workflow.defn
    async def family(width: int, *, ids: str = "") -> int:
        named = [kid.options(id=f"{ids}{n}") if ids else kid for n in range(width)]
        kids = [each.start_child(n) for n, each in enumerate(named)]
        return sum([await each for each in kids])

    return family


def children_of(handles) -> list[str]:
    return list(Instance.objects.filter(parent__in=ids(handles)).order_by("pk").values_list("pk", flat=True))


def test_children_are_born_work_and_end_together(family, alone):
    handles = [family.start(4) for _ in range(10)]
    with cost() as starting:
        advance_all(ids(handles))
    # Those that were born were given their first turns at once, too, as many as could wait here.
    assert alone == []
    assert ActivityTask.objects.count() == 30
    assert len(children_of(handles)) == 40
    assert starting.commits == 4, "half of the parents; the other half and some children; twice children"

    advance_all(children_of(handles))
    assert ActivityTask.objects.count() == 40
    with cost() as ending:
        perform("default")

    assert alone == []
    assert {handle.result(timeout=0) for handle in handles} == {6}
    started, born, ended = ["ExecutionStarted"], ["ChildScheduled"] * 4 + ["ChildStarted"] * 4, ["ChildCompleted"] * 4
    assert {tuple(kinds(handle)) for handle in handles} == {(*started, *born, *ended, "ExecutionCompleted")}
    # One leased; its end stored and the rest leased; stored; turns of the children; turns of the parents.
    assert ending.commits == 5
    assert leftovers() == []


@pytest.mark.parametrize(("width", "singly"), [(7, 8), (12, 1)])
def test_many_children_of_a_parent_that_came_by_itself_are_taken_together(family, alone, width, singly):
    handle = family.start(width)

    advance_all([handle.id])

    assert len(alone) == singly
    assert ActivityTask.objects.count() == width


def test_id_of_a_child_that_is_taken_concerns_its_parent_alone(family, alone, committing):
    good, bad = [family.start(2) for _ in range(8)], [family.start(2, ids="same-") for _ in range(2)]

    advance_all(ids([*good, *bad]))
    committing.run_until_quiet()

    assert set(alone) & set(ids(bad))
    assert {handle.result(timeout=0) for handle in good} == {1}
    assert sorted(handle.status for handle in bad) == ["completed", "failed"]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="there, whoever writes has the whole database")
def test_nobody_waits_with_a_parent_for_the_id_that_somebody_is_about_to_take(family, alone, caplog):
    handles, bad = [family.start(0) for _ in range(7)], family.start(1, ids="same-")

    def work() -> None:
        try:
            advance_all([*ids(handles), bad.id])
        finally:
            connections.close_all()

    with transaction.atomic():
        family.options(id="same-0").start(0)
        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        assert [client.get(pk).result(timeout=10) for pk in ids(handles)] == [0] * 7
        assert worker.is_alive()
    worker.join(timeout=10)

    assert not worker.is_alive()
    assert alone == [bad.id]
    assert bad.status == "failed"
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_parent_gets_one_turn_for_many_children(committing, alone):
    @workflow.defn
    async def kid() -> str:
        return await workflow.wait_signal("go")

    @workflow.defn
    async def outer() -> list[str]:
        return await asyncio.gather(*(kid() for _ in range(9)))

    handle = outer.start()
    advance(handle.id)
    advance_all(children_of([handle]))
    for pk in children_of([handle]):
        client.get(pk).signal("go", "went")
    with cost() as counted:
        advance_told([("default", pk) for pk in children_of([handle])], queue="default")

    assert alone == [handle.id]
    assert handle.result(timeout=0) == ["went"] * 9
    assert counted.commits == 2
    told = HistoryEvent.objects.filter(execution_id=handle.instance.execution_id, kind="ChildCompleted")
    assert len(set(told.values_list("recorded_at", flat=True))) == 1


def test_timers_that_are_dropped_are_dropped_together(committing, alone):
    @workflow.defn
    async def patient() -> str:
        async with asyncio.timeout(3600):
            said = await workflow.wait_signal("go")
        await workflow.wait_signal("end")
        return said

    handles = [patient.start() for _ in range(16)]
    advance_all(ids(handles))
    kept = patient.start()
    advance(kept.id)
    assert InboxEvent.objects.count() == 17
    for handle in handles:
        handle.signal("go", "now")
    with cost() as counted:
        advance_all(ids(handles))

    assert alone == []
    assert InboxEvent.objects.get().execution_id == kept.instance.execution_id
    assert {tuple(kinds(handle)[-2:]) for handle in handles} == {("SignalReceived", "TimerCanceled")}
    # What is due at all. Twice: lock, inbox and history; rows, events, inbox, timers; whether more came.
    assert (len(counted.statements), counted.commits) == (1 + 2 * 7, 2)


def test_parent_that_runs_no_more_is_not_told(family, alone):
    handles = [family.start(4) for _ in range(2)]
    for handle in handles:
        advance(handle.id)
    children = children_of(handles)
    advance_all(children)
    Execution.objects.filter(pk=handles[0].instance.execution_id).update(status="failed")

    perform("default")

    assert handles[1].result(timeout=0) == 6
    assert Instance.objects.filter(pk__in=children, status="completed").count() == 8
    assert kinds(handles[0])[-1] == "ChildStarted"
    assert leftovers() == []


def test_activity_that_is_the_only_one_runs_in_place(napping, alone):
    handles = napping("work", *["end"] * 5)

    with cost() as counted:
        advance_told([("default", pk) for pk in ids(handles)], queue="default")

    assert alone == []
    assert not any("durable_activitytask" in sql for sql in counted.statements)
    assert counted.commits == 2
    assert handles[0].result(timeout=0) == "work"


def test_result_in_place_is_taken_though_a_signal_came_before_it(committing, alone):
    @activity.defn
    def hail() -> str:
        client.get(activity.info().instance_id).signal("go")
        return "hailed"

    @workflow.defn
    async def caller(calls: bool) -> str | None:
        await workflow.wait_signal("go")
        return await hail() if calls else None

    handles = [caller.start(calls) for calls in (True, False, False)]
    for handle in handles:
        advance(handle.id)
        handle.signal("go")

    advance_told([("default", pk) for pk in ids(handles)], queue="default")

    assert alone == [handles[0].id]
    assert handles[0].result(timeout=0) == "hailed"


def test_instance_whose_code_fails_after_its_activity_in_place_stalls(committing, alone, settings):
    settings.DURABLE = {"STEP_TIMEOUT": 0.2}

    @activity.defn
    def work() -> None:
        pass

    @workflow.defn
    async def stuck(works: bool) -> None:
        await workflow.wait_signal("go")
        if works:
            await work()
            while True:
                pass

    handles = [stuck.start(works) for works in (True, False, False)]
    for handle in handles:
        advance(handle.id)
        handle.signal("go")

    advance_told([("default", pk) for pk in ids(handles)], queue="default")

    assert alone == [handles[0].id]
    assert [handle.status for handle in handles] == ["stalled", "completed", "completed"]
    assert InboxEvent.objects.get().kind == "ActivityCompleted"


def test_parents_and_children_that_end_at_once_do_not_block_each_other(family):
    handles = [family.start(3) for _ in range(6)]
    for handle in handles:
        advance(handle.id)
    everybody = [*ids(handles), *children_of(handles)]
    advance_all(everybody)
    both = Together().add(lambda: perform("default"), times=2).add(lambda: advance_all(everybody), times=2)

    for result in both.run():
        assert result is None
    advance_all(everybody)

    assert {handle.result(timeout=0) for handle in handles} == {3}
    assert {kinds(handle).count("ChildCompleted") for handle in handles} == {3}


def test_worker_that_is_to_stop_leaves_the_rest_to_others(napping, alone, messages, monkeypatch):
    handles = napping(*["end"] * 16)
    messages.clear()
    monkeypatch.setattr(running, "stopping", lambda: True)

    advance_all(ids(handles))

    left = {handle.id for handle in handles if handle.status == "running"}
    assert len(left) == 8
    assert {pk for _, args, _ in messages for pk in args} == left


def test_worker_that_is_to_stop_takes_one_turn_more_at_most(fresh, db, messages, monkeypatch):
    @workflow.defn
    async def counting(left: int = 3) -> int:
        if left:
            workflow.continue_as_new(left - 1)
        return left

    handle = counting.start()
    messages.clear()
    monkeypatch.setattr(running, "stopping", lambda: True)

    advance(handle.id)

    assert handle.status == "running"
    assert [args for _, args, _ in messages] == [[handle.id]]


@pytest.fixture
def messages(monkeypatch):
    """Return the list of what is announced from now on."""
    sent = []
    monkeypatch.setattr(dispatch, "_send", lambda task, args, queue: sent.append((task, args, queue)))
    return sent


def test_others_and_too_many_are_announced(family, messages):
    with following.line() as line:
        line.follow([("elsewhere", "x"), *(("default", f"{n:02}") for n in range(60)), ("default", "00")], at_most=25)

        assert messages.pop(0) == ("durable.advance", [f"{n:02}" for n in range(25, 50)], "default")
        assert messages == [
            ("durable.advance", [f"{n:02}" for n in range(50, 60)], "default"),
            ("durable.advance", ["x"], "elsewhere"),
        ]
        messages.clear()
        assert list(line.take(20)) == [f"{n:02}" for n in range(20)]

    assert messages == [("durable.advance", [f"{n:02}" for n in range(20, 25)], "default")]


def test_nobody_waits_for_a_long_activity_in_place(committing, messages, monkeypatch):
    calls = []

    class Here:
        def hold(self):
            pass

        free = hold

        def call_at(self, when, callback):
            calls.append(callback)
            return presence.Call(callback)

    monkeypatch.setattr(presence, "current", Here)

    @activity.defn
    def long() -> None:
        for call in calls:
            call()
        seen.extend(messages)

    @workflow.defn
    async def working() -> None:
        await long()

    handles, seen = [working.start() for _ in range(3)], []
    messages.clear()
    advance_all(ids(handles))

    assert seen[:1] == [("durable.advance", sorted(ids(handles)[1:]), "default")]
    assert [handle.status for handle in handles] == ["completed", "pending", "pending"]


def test_whom_an_activity_in_place_starts_is_announced_at_once(committing, messages):
    @activity.defn
    def tick() -> None:
        pass

    @activity.defn
    def operate(instance_id: str) -> None:
        messages.clear()
        client.rerun_from_activity(instance_id, 0)
        seen.extend(args for task, args, _ in messages if task == "durable.advance")

    @workflow.defn
    async def kid() -> None:
        pass

    @workflow.defn
    async def outer() -> None:
        await asyncio.gather(tick(), kid())

    @workflow.defn
    async def operator(instance_id: str) -> None:
        await operate(instance_id)

    first, seen = outer.start(), []
    committing.run_until_quiet()
    assert first.status == "completed"
    advance_all([operator.start(first.id).id])

    assert seen == [[pk] for pk in Instance.objects.filter(name="kid", status="pending").values_list("pk", flat=True)]
    assert len(seen) == 1


def test_a_worker_that_stayed_for_long_announces_who_follows(family, messages, monkeypatch):
    monkeypatch.setattr(following, "_STAYS_SECONDS", -1.0)
    handle = family.start(2)
    messages.clear()

    advance_all([handle.id])

    born = children_of([handle])
    assert [args for task, args, _ in messages if task == "durable.advance"] == [[pk] for pk in born]
    assert not ActivityTask.objects.exists()
