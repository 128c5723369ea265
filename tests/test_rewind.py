"""Rewind: a failed instance goes on from before its failure, and only what failed runs again."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import pytest
from django.db import transaction

from durable import (
    ActivityError,
    NondeterminismError,
    NotClosed,
    NotFailed,
    RetryPolicy,
    UnknownInstance,
    activity,
    client,
    registry,
    workflow,
)
from durable.core.errors import UnknownEvent
from durable.engine import advance as advance_module
from durable.engine.advance import advance
from durable.engine.perform import perform
from durable.models import Execution, HistoryEvent, Instance, Operation
from tests.driving import answers, item, kinds

ONCE = RetryPolicy(max_attempts=1)


class World:
    """Activities that count how often they ran, and fail as long as they are told to."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()
        self.broken: set[str] = set()

    def act(self, name: str, **options: Any) -> Any:
        """Return an activity of this name."""

        @activity.defn(name=name, **{"retry": ONCE, **options})
        def act(*args: Any) -> str:
            self.ran[name] += 1
            if name in self.broken:
                raise ValueError(f"{name} is broken")
            return f"{name}{self.ran[name]}"

        return act


@pytest.fixture
def world(fresh):
    return World()


def failed(engine: Any, handle: client.Handle) -> None:
    engine.run_until_quiet()
    assert handle.status == "failed", handle.status


def test_goes_on_from_before_the_failure_in_a_new_execution(engine, path, world):
    first, second = world.act("first"), world.act("second")

    @workflow.defn
    async def flow() -> list[str]:
        workflow.set_status("under way")
        return [await first(), await second()]

    world.broken = {"second"}
    handle = flow.options(id="a", tags={"colour": "red"}).start()
    failed(engine, handle)
    before, old = handle.history(), handle.instance.execution_id
    world.broken.clear()

    outcome = client.rewind("a", reason="mended", actor="ada")

    assert (outcome.instance_id, outcome.children, outcome.advice) == ("a", [], "")
    assert handle.status == "running"
    assert engine.result(handle) == ["first1", "second2"]
    assert world.ran == {"first": 1, "second": 2}
    instance = handle.instance
    assert instance.execution_id == outcome.execution_id != old
    assert (instance.failure, instance.custom_status, instance.tags) == (None, "under way", {"colour": "red"})
    assert kinds(handle) == [
        "ExecutionStarted",
        "ActivityScheduled",
        "ActivityCompleted",
        "ActivityScheduled",
        "ExecutionRewound",
        "ActivityCompleted",
        "ExecutionCompleted",
    ]
    rewound = item(handle, "ExecutionRewound").data
    assert (rewound["reason"], rewound["actor"], rewound["source"]) == ("mended", "ada", str(old))
    assert handle.history(old) == before, "the failed execution stays as it was"
    assert handle.history()[0].recorded_at == before[0].recorded_at
    assert [e.origin for e in instance.executions.order_by("number")] == ["start", "rewind"]


def test_can_be_done_again_and_again(engine, world):
    act = world.act("act")

    @workflow.defn
    async def flow() -> str:
        return await act()

    world.broken = {"act"}
    handle = flow.start()
    for number in range(3):
        failed(engine, handle)
        client.rewind(handle.id, reason=f"try {number}")
    world.broken.clear()

    assert engine.result(handle) == "act4"
    reasons = [i.data["reason"] for i in handle.history() if i.kind == "ExecutionRewound"]
    assert reasons == ["try 0", "try 1", "try 2"]
    assert handle.instance.executions.count() == 4


@pytest.mark.parametrize("verb", ["cleanup", "child", "signal"])
def test_what_was_done_about_a_failure_is_undone_with_it(engine, path, world, verb):
    act, cleanup = world.act("act"), world.act("cleanup")

    @workflow.defn
    async def target() -> None:
        await workflow.wait_signal("never")

    @workflow.defn
    async def helper() -> str:
        return await cleanup()

    @workflow.defn
    async def flow() -> str:
        try:
            return await act()
        except ActivityError:
            match verb:
                case "cleanup":
                    await cleanup()
                case "child":
                    await helper()
                case _:
                    await workflow.signal_instance("target", "help")
            raise

    target.options(id="target").start()
    world.broken = {"act"}
    handle = flow.start()
    failed(engine, handle)
    world.broken.clear()

    client.rewind(handle.id)

    assert engine.result(handle) == "act2"
    assert world.ran["act"] == 2


def test_failure_that_was_handled_before_stays_handled(engine, world):
    first, second, third = world.act("first"), world.act("second"), world.act("third")

    @workflow.defn
    async def flow() -> list[str]:
        try:
            await first()
        except ActivityError:
            workflow.set_status("second best")
        return [await second(), await third()]

    world.broken = {"first", "third"}
    handle = flow.start()
    failed(engine, handle)
    world.broken.clear()

    client.rewind(handle.id)

    assert engine.result(handle) == ["second1", "third2"]
    assert world.ran == {"first": 1, "second": 1, "third": 2}


def test_retries_of_activities_begin_afresh(engine, time, world):
    act = world.act("act", retry=RetryPolicy(max_attempts=2, initial_interval=5))

    @workflow.defn
    async def flow() -> str:
        return await act()

    world.broken = {"act"}
    handle = flow.start()
    engine.run_until_quiet()
    time.forward(6)
    failed(engine, handle)

    client.rewind(handle.id)
    engine.run_until_quiet()
    assert (world.ran["act"], handle.status) == (3, "running")
    world.broken.clear()
    time.forward(6)

    assert engine.result(handle) == "act4"
    assert item(handle, "ActivityCompleted").data["attempts"] == 2


def test_input_of_what_failed_is_what_the_code_gives_it_now(engine, world):
    seen = []

    @activity.defn(retry=ONCE)
    def act(number: int) -> int:
        seen.append(number)
        if number < 0:
            raise ValueError
        return number

    number = [-1]

    @workflow.defn
    async def flow() -> int:
        return await act(number[0])

    handle = flow.start()
    failed(engine, handle)
    number[0] = 7
    engine.restart()

    client.rewind(handle.id)

    assert engine.result(handle) == 7
    assert seen == [-1, 7]


def test_siblings_in_flight_run_again_and_their_results_are_not_lost(engine, world):
    slow, quick, other = world.act("slow"), world.act("quick"), world.act("other")

    @workflow.defn
    async def flow() -> list[str]:
        return await asyncio.gather(other(), quick(), slow.options(queue="elsewhere")())

    world.broken = {"quick"}
    handle = flow.start()
    advance(handle.id)
    perform("default")
    advance(handle.id)
    assert handle.status == "failed"
    world.broken.clear()

    client.rewind(handle.id)

    assert engine.result(handle) == ["other1", "quick2", "slow1"]


def test_pending_timer_goes_on_with_the_time_it_had_left(engine, time, world):
    act = world.act("act")

    @workflow.defn
    async def flow() -> str:
        rest = asyncio.create_task(asyncio.sleep(100))
        await asyncio.sleep(40)
        result = await act()
        await rest
        return result

    world.broken = {"act"}
    handle = flow.start()
    engine.run_until_quiet()
    time.forward(41)
    failed(engine, handle)
    time.forward(1000)
    world.broken.clear()

    client.rewind(handle.id)
    engine.run_until_quiet()
    assert handle.status == "running", "it did not fire while nobody was there"
    time.forward(55)
    engine.run_until_quiet()
    assert handle.status == "running", "it has 60 seconds left"
    time.forward(6)

    assert engine.result(handle) == "act2"


def test_signals_are_kept_and_not_waited_for_again(engine, world):
    act = world.act("act")

    @workflow.defn
    async def flow() -> list[Any]:
        first = await workflow.wait_signal("go")
        result = await act()
        return [first, result, await workflow.wait_signal("go")]

    world.broken = {"act"}
    handle = flow.start()
    handle.signal("go", 1)
    handle.signal("go", 2)
    failed(engine, handle)
    world.broken.clear()

    client.rewind(handle.id)

    assert engine.result(handle) == [1, "act2", 2]


def test_bug_in_the_code_heals_once_it_is_mended(engine, world):
    act = world.act("act")
    buggy = [True]

    @workflow.defn
    async def flow() -> str:
        result = await act()
        if buggy:
            raise TypeError("a bug")
        return result

    handle = flow.start()
    failed(engine, handle)

    client.rewind(handle.id)
    assert handle.status == "failed", "it is still there"
    buggy.clear()
    client.rewind(handle.id)

    assert handle.result(timeout=0) == "act1"
    assert world.ran == {"act": 1}


def test_failure_by_a_mismatch_heals_once_the_code_fits(engine, world, settings):
    settings.DURABLE = {"ON_NONDETERMINISM": "fail"}
    a, b = world.act("a"), world.act("b")
    which = [a]

    @workflow.defn
    async def flow() -> str:
        first = await which[0]()
        await workflow.wait_signal("go")
        return first

    handle = flow.start()
    engine.run_until_quiet()
    which[0] = b
    engine.restart()
    handle.signal("go")
    failed(engine, handle)

    with pytest.raises(NondeterminismError):
        client.rewind(handle.id)
    assert handle.status == "failed"
    which[0] = a
    client.rewind(handle.id)
    # The signal that came to code that did not fit still counts.

    assert engine.result(handle) == "a1"


def test_continued_execution_is_rewound_in_itself(engine, world):
    act = world.act("act")

    @workflow.defn
    async def flow(number: int) -> str:
        if number < 3:
            workflow.continue_as_new(number + 1)
        return await act()

    world.broken = {"act"}
    handle = flow.start(1)
    failed(engine, handle)
    world.broken.clear()

    client.rewind(handle.id)

    assert engine.result(handle) == "act2"
    assert item(handle, "ExecutionStarted").data["input"] == {"args": [3], "kwargs": {}}
    assert [e.origin for e in handle.instance.executions.order_by("number")][-2:] == ["continued", "rewind"]


def test_timed_out_instance_gets_its_time_again(engine, time, world):
    @workflow.defn(timeout=50)
    async def flow() -> str:
        return await workflow.wait_signal("go")

    handle = flow.start()
    engine.run_until_quiet()
    time.forward(51)
    failed(engine, handle)

    client.rewind(handle.id)
    time.forward(40)
    engine.run_until_quiet()
    assert handle.status == "running"
    time.forward(11)
    failed(engine, handle)
    client.rewind(handle.id)
    handle.signal("go", "gone")

    assert engine.result(handle) == "gone"


# --- trees


@pytest.fixture
def tree(world):
    """Root = gather(ok, parent1, parent2, ok); parent = ok, then child; child = gather(ok, fail1, fail2)."""
    acts = {name: world.act(name) for name in ("ok", "fail1", "fail2")}

    @workflow.defn
    async def child() -> list[str]:
        return await asyncio.gather(acts["ok"](), acts["fail1"](), acts["fail2"]())

    @workflow.defn
    async def parent(number: int) -> list[str]:
        return [await acts["ok"](), *await child()]

    @workflow.defn
    async def root() -> int:
        results = await asyncio.gather(acts["ok"](), parent(1), parent(2), acts["ok"]())
        return len(results)

    return root


def test_whole_tree_is_rewound_and_everything_that_succeeded_runs_once(engine, path, world, tree):
    world.broken = {"fail1", "fail2"}
    handle = tree.options(id="root").start()
    failed(engine, handle)
    world.broken = {"fail2"}

    outcome = client.rewind("root", reason="again")
    assert len(outcome.children) >= 1
    assert all(child.children for child in outcome.children)
    failed(engine, handle)
    world.broken.clear()
    client.rewind("root")

    assert engine.result(handle) == 4
    assert world.ran["ok"] == 2 + 2 + 2, "each once"
    assert Instance.objects.exclude(status="completed").count() == 0


def test_child_rewound_by_itself_completes_and_says_what_else_to_do(engine, world):
    act = world.act("act")

    @workflow.defn
    async def kid() -> str:
        return await act()

    @workflow.defn
    async def parent() -> str:
        return await kid.options(id="kid")()

    world.broken = {"act"}
    handle = parent.options(id="parent").start()
    failed(engine, handle)
    world.broken.clear()

    outcome = client.rewind("kid")

    assert "rewind parent" in outcome.advice
    assert engine.result(client.get("kid")) == "act2"
    assert handle.status == "failed"
    client.rewind("parent")
    assert engine.result(handle) == "act2"
    assert world.ran["act"] == 2, "the child did not run again"


@pytest.mark.parametrize("reader", ["code", "record"])
def test_parent_that_failed_of_something_else_is_not_to_be_rewound_for_its_child(engine, world, reader):
    act, other = world.act("act"), world.act("other")

    @workflow.defn
    async def kid() -> str:
        return await act()

    @workflow.defn
    async def parent() -> str:
        with suppress(Exception):
            await kid.options(id="kid")()
        return await other()

    world.broken = {"act", "other"}
    handle = parent.options(id="parent").start()
    failed(engine, handle)
    if reader == "record":
        registry.unregister_workflow("parent", 0)
    blamed = reader == "record"  # nobody can tell without the code: that it is named does no harm
    world.broken.clear()

    preview, outcome = client.rewind("kid", dry_run=True), client.rewind("kid")

    assert ("rewind parent" in outcome.advice, "rewind parent" in str(preview.warnings)) == (blamed, blamed)
    assert engine.result(client.get("kid")) == "act2"


def test_advice_names_the_highest_that_failed_because_of_it(engine, world):
    act, other = world.act("act"), world.act("other")

    @workflow.defn
    async def kid() -> str:
        return await act()

    @workflow.defn
    async def parent() -> str:
        return await kid.options(id="kid")()

    @workflow.defn
    async def root() -> str:
        with suppress(Exception):
            await parent.options(id="parent")()
        return await other()

    world.broken = {"act", "other"}
    handle = root.options(id="root").start()
    failed(engine, handle)

    advice = client.rewind("kid").advice

    assert "its parent parent has failed" in advice
    assert "rewind parent to have both go on" in advice


def test_purged_child_is_started_again(engine, world):
    act = world.act("act")

    @workflow.defn
    async def kid(number: int) -> str:
        return f"{number}{await act()}"

    @workflow.defn
    async def parent() -> str:
        return await kid.options(id="kid", tags={"a": 1})(5)

    world.broken = {"act"}
    handle = parent.start()
    failed(engine, handle)
    Instance.objects.filter(pk="kid").delete()
    world.broken.clear()

    client.rewind(handle.id)

    assert engine.result(handle) == "5act2"
    assert client.get("kid").instance.tags == {"a": 1}


def test_children_that_ended_only_because_the_parent_did_go_on(engine, world):
    act = world.act("act")

    @workflow.defn
    async def terminated() -> str:
        return await workflow.wait_signal("go")

    @workflow.defn
    async def cancelled() -> str:
        return await workflow.wait_signal("go")

    @workflow.defn
    async def parent() -> list[str]:
        kids = [
            terminated.options(id="terminated").start_child(),
            cancelled.options(id="cancelled", parent_close="cancel").start_child(),
        ]
        await act()
        return [await kid for kid in kids]

    world.broken = {"act"}
    handle = parent.start()
    failed(engine, handle)
    assert (client.get("terminated").status, client.get("cancelled").status) == ("terminated", "canceled")
    world.broken.clear()

    outcome = client.rewind(handle.id)
    assert {child.instance_id for child in outcome.children} == {"terminated", "cancelled"}
    for kid in ("terminated", "cancelled"):
        client.get(kid).signal("go", kid)

    assert engine.result(handle) == ["terminated", "cancelled"]


def test_child_that_is_still_open_reports_to_the_new_execution(engine, world):
    act = world.act("act")

    @workflow.defn
    async def kid() -> str:
        return await workflow.wait_signal("go")

    @workflow.defn
    async def parent() -> str:
        kid_handle = kid.options(id="kid", parent_close="abandon").start_child()
        await act()
        return await kid_handle

    world.broken = {"act"}
    handle = parent.start()
    failed(engine, handle)
    world.broken.clear()

    client.rewind(handle.id)
    client.get("kid").signal("go", "here")

    assert engine.result(handle) == "here"


def test_child_that_ended_while_nobody_listened_is_heard(engine, world):
    act = world.act("act")

    @workflow.defn
    async def kid() -> str:
        return await workflow.wait_signal("go")

    @workflow.defn
    async def parent() -> str:
        kid_handle = kid.options(id="kid", parent_close="abandon").start_child()
        await act()
        return await kid_handle

    world.broken = {"act"}
    handle = parent.start()
    failed(engine, handle)
    client.get("kid").signal("go", "early")
    assert engine.result(client.get("kid")) == "early"
    world.broken.clear()

    client.rewind(handle.id)

    assert engine.result(handle) == "early"
    assert client.get("kid").instance.executions.count() == 1


def test_tree_with_a_node_that_diverges_is_left_alone(engine, world):
    a, b = world.act("a"), world.act("b")
    which = [a]

    @workflow.defn
    async def kid() -> str:
        await which[0]()
        return await b()

    @workflow.defn
    async def parent() -> str:
        return await kid.options(id="kid")()

    world.broken = {"b"}
    handle = parent.start()
    failed(engine, handle)
    which[0] = b

    with pytest.raises(NondeterminismError):
        client.rewind(handle.id)

    assert (handle.status, client.get("kid").status) == ("failed", "failed")
    assert handle.instance.executions.count() == 1


def test_child_that_the_code_gave_up_on_stays_canceled(engine, time, world, settings):
    settings.DURABLE = {"RUN_INLINE": False}
    act, quick = world.act("act"), world.act("quick")

    @workflow.defn
    async def kid() -> str:
        try:
            return await workflow.wait_signal("go")
        finally:
            await quick()

    @workflow.defn
    async def parent() -> str:
        try:
            async with asyncio.timeout(10):
                await kid.options(id="kid", parent_close="abandon")()
        except TimeoutError:
            return await act()
        return "in time"

    world.broken = {"act"}
    handle = parent.start()
    engine.run_until_quiet()
    time.forward(11)
    advance(handle.id)  # the kid is told to stop, and the activity handed out
    perform("default")
    advance(handle.id)
    assert handle.status == "failed"
    engine.run_until_quiet()
    assert "ChildCanceled" not in kinds(handle)
    assert client.get("kid").status == "canceled"
    world.broken.clear()

    preview = client.rewind(handle.id, dry_run=True)
    client.rewind(handle.id)

    assert ([step.kind for step in preview.kept], preview.children) == (["TimerStarted", "ChildScheduled"], [])
    assert engine.result(handle) == "act2"
    assert client.get("kid").instance.executions.count() == 1


def test_child_that_was_ended_just_when_it_continued_goes_on_with_the_new_arguments(engine, world):
    act = world.act("act")

    @workflow.defn
    async def kid(number: int) -> int:
        if number < 5:
            await workflow.wait_signal("on")
            workflow.continue_as_new(5)
        return number

    @workflow.defn
    async def parent() -> int:
        waiting = kid.options(id="kid").start_child(1)
        await workflow.wait_signal("go")
        await act()
        return await waiting

    world.broken = {"act"}
    handle = parent.start()
    engine.run_until_quiet()
    with patch.object(advance_module, "STAYS_SECONDS", -1):
        client.get("kid").signal("on")
        advance("kid")  # it continued, and did not begin again yet
    assert (kinds(client.get("kid")), client.get("kid").status) == ([], "running")
    handle.signal("go")
    advance(handle.id)
    assert (handle.status, client.get("kid").status) == ("failed", "terminated")
    world.broken.clear()

    client.rewind(handle.id)

    assert engine.result(handle) == 5


def test_child_whose_id_somebody_else_has_fails_again_and_does_not_hang(engine, world):
    @workflow.defn
    async def other() -> str:
        return await workflow.wait_signal("go")

    @workflow.defn
    async def parent() -> str:
        return await other.options(id="taken")()

    other.options(id="taken").start()
    handle = parent.start()
    failed(engine, handle)

    client.rewind(handle.id)
    failed(engine, handle)
    Instance.objects.filter(pk="taken").delete()
    client.rewind(handle.id)
    engine.run_until_quiet()
    client.get("taken").signal("go", "went")

    assert engine.result(handle) == "went"


def test_parent_that_fails_at_once_again_takes_its_rewound_children_with_it(engine, world):
    act = world.act("act")

    @workflow.defn
    async def kid() -> str:
        return await workflow.wait_signal("go")

    @workflow.defn
    async def parent() -> None:
        kid.options(id="kid").start_child()
        await act()
        raise TypeError("a bug")

    handle = parent.start()
    failed(engine, handle)
    assert client.get("kid").status == "terminated"

    outcome = client.rewind(handle.id)

    assert [child.instance_id for child in outcome.children] == ["kid"]
    assert (handle.status, client.get("kid").status) == ("failed", "terminated")
    assert client.get("kid").instance.executions.count() == 2


def test_cancel_that_a_child_had_not_seen_yet_is_taken_back_with_its_reason(engine, world, settings):
    settings.DURABLE = {"RUN_INLINE": False}
    act = world.act("act")

    @workflow.defn
    async def kid() -> str:
        return await workflow.wait_signal("go")

    @workflow.defn
    async def parent() -> str:
        waiting = kid.options(id="kid", parent_close="cancel").start_child()
        await act()
        return await waiting

    world.broken = {"act"}
    handle = parent.start()
    advance(handle.id)
    advance("kid")
    perform("default")
    advance(handle.id)
    assert (handle.status, client.get("kid").status) == ("failed", "running")
    world.broken.clear()

    client.rewind(handle.id)
    client.get("kid").signal("go", "went")

    assert engine.result(handle) == "went"


# --- to an event


def test_activity_that_the_code_had_given_up_on_does_not_run(engine, path, world):
    slow, quick, last = world.act("slow"), world.act("quick"), world.act("last")

    @workflow.defn
    async def flow() -> str:
        pending = [asyncio.ensure_future(act()) for act in (slow.options(queue="slow"), quick)]
        _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return await last()

    handle = flow.start()
    advance(handle.id)
    perform("default")
    advance(handle.id)
    engine.run_until_quiet()
    assert handle.status == "completed"

    preview = client.rewind(handle.id, to=2, dry_run=True)
    client.rewind(handle.id, to=2)

    assert preview.rerun == []
    assert engine.result(handle) == "last2"
    assert world.ran["slow"] == 0


def test_timer_that_the_code_gives_up_on_at_once_is_not_said_to_be_set(engine, world):
    first, second = world.act("first"), world.act("second")

    @workflow.defn
    async def flow() -> str:
        async with asyncio.timeout(50):
            both = await asyncio.gather(first(), second(), return_exceptions=True)
        if isinstance(both[0], Exception):
            raise both[0]
        return str(both)

    world.broken = {"first"}
    handle = flow.start()
    failed(engine, handle)
    # While the first is still to come, the timer is.
    assert [step.kind for step in client.rewind(handle.id, dry_run=True).rearmed] == ["TimerStarted"]

    @workflow.defn
    async def hasty() -> str:
        rest = asyncio.ensure_future(asyncio.sleep(50))
        await first()
        rest.cancel()
        return await second()

    world.broken = {"second"}
    handle = hasty.start()
    failed(engine, handle)

    preview = client.rewind(handle.id, to=2, dry_run=True)

    assert [step.kind for step in preview.kept] == ["ActivityScheduled", "TimerStarted"]
    assert (preview.rearmed, preview.rerun) == ([], [])


@pytest.mark.parametrize("end", ["completed", "canceled", "terminated", "failed"])
def test_goes_back_to_before_an_event_whatever_the_end(engine, world, end):
    first, second = world.act("first"), world.act("second")

    @workflow.defn
    async def flow() -> list[Any]:
        results = [await first(), await second()]
        if end != "completed":
            results.append(await workflow.wait_signal("go"))
        if end == "failed" and results[-1] == "fail":
            raise ValueError("told to")
        return results

    handle = flow.start()
    engine.run_until_quiet()
    match end:
        case "canceled":
            handle.cancel()
        case "terminated":
            handle.terminate()
        case "failed":
            handle.signal("go", "fail")
    engine.run_until_quiet()
    assert handle.status == end

    client.rewind(handle.id, to=1)
    if end != "completed":
        engine.run_until_quiet()
        handle.signal("go", "on") if end != "failed" else None

    if end == "failed":
        failed(engine, handle)  # the signal is kept, and says the same
    else:
        result = engine.result(handle)
        assert result[:2] == ["first1", "second2"]
    assert world.ran == {"first": 1, "second": 2}


# --- refusals


def test_refuses_what_has_not_failed(engine):
    @workflow.defn
    async def flow() -> str:
        return await workflow.wait_signal("go")

    handle = flow.start()
    engine.run_until_quiet()

    with pytest.raises(NotFailed, match="running"):
        client.rewind(handle.id)
    with pytest.raises(NotClosed):
        client.rewind(handle.id, to=0)
    handle.signal("go", "x")
    assert engine.result(handle) == "x"
    with pytest.raises(NotFailed, match="completed"):
        client.rewind(handle.id)
    with pytest.raises(UnknownEvent):
        client.rewind(handle.id, to=5)
    with pytest.raises(UnknownInstance):
        client.rewind("nobody")


def test_says_before_what_it_will_do_and_does_it(engine, world):
    first, second = world.act("first"), world.act("second")

    @workflow.defn
    async def flow() -> None:
        await first()
        try:
            await second()
        finally:
            await first()

    world.broken = {"second"}
    handle = flow.start()
    failed(engine, handle)

    preview = client.rewind(handle.id, dry_run=True)

    assert (preview.allowed, preview.refusal, preview.verb) == (True, None, "rewind")
    assert [step.name for step in preview.kept] == ["first"]
    assert [step.name for step in preview.rerun] == ["second"]
    assert [step.name for step in preview.dropped] == ["first"]
    assert handle.status == "failed"
    refused = client.rewind("nobody", dry_run=True)
    assert (refused.allowed, type(refused.refusal)) == (False, UnknownInstance)


def test_every_try_is_recorded(engine, world):
    act = world.act("act")

    @workflow.defn
    async def flow() -> str:
        return await act()

    world.broken = {"act"}
    handle = flow.options(id="a").start()
    failed(engine, handle)

    client.rewind("a", dry_run=True, actor="ada")
    client.rewind("a", reason="because", actor="ada")
    with pytest.raises(NotFailed):
        client.rewind("a")

    rows = Operation.objects.order_by("id").values_list("verb", "instance_id", "actor_name", "dry_run", "outcome")
    assert list(rows) == [
        ("rewind", "a", "ada", True, "done"),
        ("rewind", "a", "ada", False, "done"),
        ("rewind", "a", "", False, "refused"),
    ]
    assert answers(handle)["ExecutionRewound"] == 1


def test_a_repair_and_its_row_in_the_audit_are_one_transaction(engine, world, monkeypatch):
    broken = world.act("broken")
    world.broken.add("broken")

    @workflow.defn
    async def one() -> Any:
        return await broken()

    handle = one.start()
    engine.run_until_quiet()
    rows = (Instance.objects.count(), Execution.objects.count(), HistoryEvent.objects.count())

    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Operation, "save", fail)
    for repair in (lambda: client.rewind(handle.id), lambda: client.rerun_from_activity(handle.id, 0)):
        with transaction.atomic(), pytest.raises(ZeroDivisionError):
            repair()

    assert (Instance.objects.count(), Execution.objects.count(), HistoryEvent.objects.count()) == rows


def test_failed_child_that_a_rerun_inherited_is_run_again_as_its_own(engine, path, world):
    inner, between = world.act("inner"), world.act("between")
    world.broken = {"inner"}

    @workflow.defn
    async def kid() -> str:
        return str(await inner())

    @workflow.defn
    async def flow() -> str:
        results: list[Any] = await asyncio.gather(kid(), return_exceptions=True)
        await between()
        if isinstance(results[0], Exception):
            raise results[0]
        return str(results[0])

    failed(engine, flow.options(id="f").start())
    again = client.rerun_from_activity("f", 1, new_instance_id="g")
    failed(engine, again)
    world.broken = set()

    preview = client.rewind("g", dry_run=True)
    client.rewind("g")

    assert engine.result(again) == "inner2"
    assert [child.pk for child in Instance.objects.filter(parent="g")] == ["g:0000"]
    assert item(again, "ChildScheduled").data["inherited"] is False
    assert [step.name for step in preview.rerun] == ["kid"]
    assert client.status("f:0000") == "failed"


def test_parent_that_has_not_read_the_failure_of_a_child_waits_for_the_rewound_one(engine, path, world):
    inner = world.act("inner")
    world.broken = {"inner"}

    @workflow.defn
    async def kid() -> str:
        await workflow.wait_signal("go")
        return str(await inner())

    @workflow.defn
    async def flow() -> str:
        return str(await kid())

    handle = flow.options(id="f").start()
    engine.run_until_quiet()
    client.suspend("f", children=False)
    client.signal("f:0000", "go")
    failed(engine, client.get("f:0000"))
    world.broken = set()

    client.rewind("f:0000")
    engine.run_until_quiet()
    client.resume("f")

    assert engine.result(handle) == "inner2"
    assert "ChildFailed" not in kinds(handle)
