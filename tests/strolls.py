"""Random workflows on the engine, taken to a random place, and what a verb did to them as their rows tell it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any
from unittest import mock

from django.db import connection

from durable import RetryPolicy, activity, client, workflow
from durable.core import events as ev
from durable.core.errors import ActivityError
from durable.core.failures import Failure
from durable.engine import lost
from durable.models import ActivityTask, Execution, HistoryEvent, InboxEvent, Instance
from durable.operations import replaying
from durable.operations.shapes import Step
from durable.store import clock, history, transcripts
from durable.testing import draining

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from random import Random

    from durable.testing.clocks import Clock

LEAVES = ("activity", "fragile", "fragile", "sleep", "until", "signal", "effect", "tell", "boom", "taken")
BRANCHES = ("sequence", "sequence", "gather", "group", "wait", "collect", "timeout", "clean", "child", "start")
CLOSE = ("terminate", "cancel", "abandon")


def plan(rng: Random, size: int) -> list[Any]:
    """Return a little program of about so many leaves: a list whose first member says what to do with the others."""
    if size <= 1:
        leaf = rng.choice(LEAVES)
        about: dict[str, Any] = {
            "sleep": rng.randint(1, 5),
            "until": rng.randint(1, 5),
            "signal": rng.choice("ab"),
            "boom": None,
            "taken": None,
        }
        about["tell"] = rng.choice(["listener", "listener", "nobody"])
        return [leaf, about.get(leaf, rng.randint(0, 3))]
    match rng.choice(BRANCHES):
        case "timeout":
            return ["timeout", rng.randint(1, 5), plan(rng, size - 1)]
        case "clean":
            return ["clean", plan(rng, size - 1)]
        case "child" | "start" as kind:
            return [kind, rng.choice(CLOSE), plan(rng, size - 1)]
        case kind:
            parts = rng.randint(2, 3)
            return [kind, [plan(rng, max(1, (size + n) // parts)) for n in range(parts)]]


def define() -> Any:
    """Make the workflow known that follows a plan: in versions 0 and 1 alike, in 2 with another activity for one."""
    retry = RetryPolicy(max_attempts=1)

    @activity.defn(retry=retry)
    def work(number: int) -> Any: ...

    @activity.defn(retry=retry)
    def other(number: int) -> Any: ...

    @workflow.defn
    async def stroll(plan: Any) -> Any:
        return await run(plan, work)

    @workflow.defn
    async def stroll1(plan: Any) -> Any:
        return await run(plan, work)

    @workflow.defn
    async def stroll2(plan: Any) -> Any:
        return await run(plan, other)

    async def run(plan: Any, second: Any) -> Any:
        match plan:
            case ["activity" | "fragile" as kind, number]:
                try:
                    return await (second if number == 2 else work)(number)
                except ActivityError:
                    if kind == "fragile":
                        raise
                    return "caught"
            case ["sleep", seconds]:
                return await asyncio.sleep(seconds)
            case ["until", seconds]:
                end = workflow.time() + seconds
                return await workflow.wait_until(lambda: workflow.time() >= end)
            case ["signal", name]:
                return await workflow.wait_signal(name)
            case ["effect", value]:
                return workflow.side_effect(lambda: value)
            case ["tell", instance_id]:
                return await workflow.signal_instance(instance_id, "word")
            case ["boom", _]:
                raise ValueError("boom")
            case ["taken", _]:
                return await stroll.options(id="listener")(["effect", 1])
            case ["sequence", parts]:
                return [await run(part, second) for part in parts]
            case ["gather", parts]:
                return await asyncio.gather(*(run(part, second) for part in parts))
            case ["collect", parts]:
                results = await asyncio.gather(*(run(part, second) for part in parts), return_exceptions=True)
                if failed := [result for result in results if isinstance(result, Exception)]:
                    raise RuntimeError(f"{len(failed)} failed")
                return results
            case ["group", parts]:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(run(part, second)) for part in parts]
                return [task.result() for task in tasks]
            case ["wait", parts]:
                tasks = [asyncio.ensure_future(run(part, second)) for part in parts]
                done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in pending:
                    task.cancel()
                return [task.result() for task in done]
            case ["timeout", seconds, part]:
                try:
                    async with asyncio.timeout(seconds):
                        return await run(part, second)
                except TimeoutError:
                    return "too late"
            case ["clean", part]:
                try:
                    return await run(part, second)
                finally:
                    await work(9)
            case ["child", close, part]:
                return await stroll.options(parent_close=close)(part)
            case ["start", close, part]:
                stroll.options(parent_close=close).start_child(part)
                return await work(8)
        raise AssertionError(plan)

    return stroll


def drive(handle: client.Handle, time: Clock, rng: Random, *, steps: int = 20, halting: bool = False) -> None:
    """Let things happen at random until the instance ends or there were enough.

    Args:
        handle: The instance.
        time: The clock.
        rng: What chooses.
        steps: How many are enough.
        halting: Whether instances are also suspended and resumed.
    """
    for _ in range(steps):
        while draining.advance_due():
            pass
        if handle.instance.closed_at is not None:
            return
        tasks = list(ActivityTask.objects.order_by("pk").select_related("execution__instance"))
        happenings: list[tuple[str, Any]] = [(what, task) for what in ("complete", "fail") for task in tasks]
        happenings += [("signal", "a"), ("signal", "b"), ("wait", None), ("wait", None)]
        if halting:
            happenings += [
                (rng.choice(["suspend", "resume"]), each.pk) for each in Instance.objects.filter(closed_at=None)
            ]
        what, about = rng.choice(happenings)
        time.forward(0.01)
        match what:
            case "complete":
                end_task(about, ev.ActivityCompleted(event_id=about.event_id, result=about.pk))
            case "fail":
                failure = Failure(type="ValueError", message="no")
                end_task(about, ev.ActivityFailed(event_id=about.event_id, failure=failure))
            case "suspend" | "resume":
                getattr(client, what)(about)
            case "signal":
                handle.signal(about, 1)
            case _:
                time.forward(1.5)
    how = rng.choice(["terminate", "cancel", "leave"])
    if how != "leave" and handle.instance.closed_at is None:
        getattr(handle, how)()
    while draining.advance_due():
        pass


def end_task(task: ActivityTask, event: ev.Answer) -> None:
    """Have an activity end so."""
    task.delete()
    lost.end(task, task.execution.instance, event)


def finish(instance_id: str, time: Clock) -> None:
    """Let everything go well, and check that the instance ends and that its history replays."""
    handle = client.get(instance_id)
    for _ in range(30):
        while draining.advance_due():
            pass
        if handle.instance.closed_at is not None:
            break
        for task in ActivityTask.objects.select_related("execution__instance"):
            end_task(task, ev.ActivityCompleted(event_id=task.event_id, result=1))
        for each in Instance.objects.filter(closed_at=None):
            client.resume(each.pk)
            each.refresh_from_db()
            assert each.status in ("pending", "running"), each.stall
            for name in "ab":
                client.signal(each.pk, name, 1)
        time.forward(2)
    found = handle.instance
    waiting = [(item.event_id, item.kind) for item in handle.history()]
    assert found.closed_at is not None, f"{instance_id} hangs: {waiting}"
    (report,) = replaying.replay_stored(transcripts.heads(transcripts.find(ids=[instance_id])))
    assert report.error is None, report.error


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was done, by the numbers of what code had asked for; children by their ids."""

    kept: frozenset[int]
    rerun: frozenset[int]
    dropped: frozenset[int]
    rearmed: frozenset[int]
    signals_dropped: tuple[tuple[str, int], ...]
    version: int
    children: dict[str, Seen] = field(default_factory=dict)
    is_foreseen: bool = True

    def settled(self, happened: Seen) -> Seen:
        """Return what was said; where not all could be foreseen, less may have been done, and that is returned."""
        children = {pk: child.settled(happened.children[pk]) for pk, child in self.children.items()}
        said = replace(self, children=children, is_foreseen=True)
        if self.is_foreseen:
            return said
        assert happened.rerun <= self.rerun
        assert happened.rearmed <= self.rearmed
        spared = (self.rerun - happened.rerun) | (self.rearmed - happened.rearmed)
        adopted = self.dropped & happened.kept
        return replace(
            said,
            rerun=happened.rerun,
            rearmed=happened.rearmed,
            kept=self.kept | spared | adopted,
            dropped=self.dropped - adopted,
        )


def check_json(preview: client.Preview) -> None:
    """Check that a preview as JSON says all that it says itself."""
    told = preview.to_json()
    assert json.loads(json.dumps(told)) == told
    assert set(told) == {each.name for each in fields(preview)}
    for name, value in told.items():
        own = getattr(preview, name)
        match name, own:
            case "children", _:
                assert len(own) == len(value)
                for child in own:
                    check_json(child)
                assert value == [child.to_json() for child in own]
            case "refusal", Exception():
                assert value["error"] == type(own).__name__
                assert value["message"] == str(own)
                assert value["facts"] == {
                    field: list(fact) if isinstance(fact, tuple) else fact for field, fact in vars(own).items()
                }
            case _, [Step(), *_]:
                assert [Step(**step) for step in value] == own
            case _:
                assert value == own


def said(preview: client.Preview) -> Seen:
    """Return what a preview says."""
    return Seen(
        **{
            name: frozenset(step.event_id for step in getattr(preview, name))
            for name in ("kept", "rerun", "dropped", "rearmed")
        },
        signals_dropped=_counted(preview.signals_dropped),
        version=preview.version,
        children={child.instance_id: said(child) for child in preview.children},
        is_foreseen=not any("side effect" in warning for warning in preview.warnings),
    )


@contextmanager
def watch_beginnings() -> Iterator[Counter[uuid.UUID]]:
    """Note how many events the executions that begin in the block were given to begin with.

    Their rows do not tell: a timer that is set again is recorded anew, just as one that the code asks for anew.
    """
    begun: Counter[uuid.UUID] = Counter()

    def begin(execution_id: uuid.UUID, events: Sequence[ev.Event]) -> None:
        begun[execution_id] += len(events)
        store(execution_id, events)

    store = history.begin
    with mock.patch.object(history, "begin", begin):
        yield begun


def seen(instance_id: str, source: Any, *, since: datetime, begun: Counter[uuid.UUID]) -> Seen:
    """Return what a verb did since then, by the rows that it left.

    Args:
        instance_id: The instance that it left.
        source: The id of the execution that it began with.
        since: When it began.
        begun: With how many events its executions began.
    """
    instance = Instance.objects.get(pk=instance_id)
    before = _events(source)
    after = _events(instance.execution_id)
    asked = [e.event_id for e in before if e.kind in ASKED]
    carried = {e.event_id for e in after[: begun[instance.execution_id]] if e.kind in ASKED}
    adopted = _adopted(source, instance.execution_id, carried)
    children = Instance.objects.filter(parent_id=instance_id)
    born = set(children.filter(created_at__gte=since).values_list("parent_event_id", flat=True))
    rewound = {
        child.pk: child
        for child in children.filter(created_at__lt=since)
        if Execution.objects.filter(pk=child.execution_id, created_at__gte=since).exists()
    }
    tasks = set(ActivityTask.objects.filter(execution=instance.execution_id).values_list("event_id", flat=True))
    timers = InboxEvent.objects.filter(execution=instance.execution_id, kind="TimerFired")
    again = frozenset(carried & (tasks | born))
    rearmed = frozenset(carried & set(timers.values_list("event_id", flat=True)))
    signals = Counter(e.name for e in before if e.kind == "SignalReceived")
    signals.subtract(e.name for e in after if e.kind == "SignalReceived")
    return Seen(
        kept=frozenset(carried - again - rearmed - {child.parent_event_id for child in rewound.values()}) | adopted,
        rerun=again,
        dropped=frozenset(set(asked) - carried - adopted),
        rearmed=rearmed,
        signals_dropped=_counted(signals.elements()),
        version=instance.version,
        children={
            pk: seen(pk, Execution.objects.get(pk=child.execution_id).source_id, since=since, begun=begun)
            for pk, child in rewound.items()
        },
    )


ASKED = {"ActivityScheduled", "TimerStarted", "ChildScheduled", "SignalSent", "SideEffectRecorded", "PatchMarked"}


def _adopted(source: Any, execution_id: Any, carried: set[Any]) -> frozenset[int]:
    """Return the numbers in the source of activities that the code asked for anew and whose results it kept."""
    ended = HistoryEvent.objects.filter(kind="ActivityCompleted")
    # No two results of ours are the same.
    before = {str(e.data): e.event_id for e in ended.filter(execution=source)}
    after = ended.filter(execution=execution_id).exclude(event_id__in=carried)
    return frozenset(before[str(e.data)] for e in after)


def _events(execution_id: Any) -> list[HistoryEvent]:
    return list(HistoryEvent.objects.filter(execution=execution_id).order_by("seq").defer("data"))


def _counted(names: Any) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(Counter(names).items()))


def rows() -> list[Any]:
    """Return what must not change when nothing is done."""
    tables = (model._meta.db_table for model in (Execution, HistoryEvent, ActivityTask, InboxEvent))
    counts = ", ".join(f"(SELECT COUNT(*) FROM {table})" for table in tables)  # noqa: S608 - our own tables
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, execution_id, head, status, version, lease FROM durable_instance ORDER BY id")
        instances = cursor.fetchall()
        cursor.execute(f"SELECT {counts}")
        return [instances, cursor.fetchone()]


def now() -> datetime:
    """Return the time by the database's clock."""
    return clock.now()
