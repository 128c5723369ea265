"""Edits of a history: what is kept, what counts again, what the code decides anew."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from durable.core import blame, calls, context, edit, marks, updates
from durable.core import commands as cmd
from durable.core import events as ev
from durable.core.errors import ActivityError, ChildFailed, NondeterminismError
from durable.core.execution import Execution
from durable.core.exits import BeyondRecord
from durable.core.payloads import Converter
from durable.core.replay import catch_up, replay
from tests.core.histories import (
    STARTED,
    activity,
    begin,
    completed,
    failed,
    fired,
    scheduled,
    signal,
    started,
    timer,
    workflow,
)
from tests.core.test_properties import PLANS, answers, interpreter


async def _stand_in(*args: Any) -> Any:
    raise NotImplementedError


a, b, c, clean = (activity(_stand_in, name=name) for name in ("a", "b", "c", "clean"))


def played(flow: Any, *events: ev.Event) -> list[ev.Event]:
    """Return the history that comes about when these events come in from outside."""
    log: list[ev.Event] = []
    for event in [STARTED, *events]:
        commands = replay(flow, log, [event]).commands
        log += [event, *(ev.replace(c, at=event.at) for c in commands if isinstance(c, cmd.Recordable))]
    return log


def kinds(events: Any) -> list[str]:
    return [str(event) for event in events]


def blamed(flow: Any, log: list[ev.Event]) -> set[int]:
    return set(blame.culprits(flow, log, converter=Converter()))


def rewound(flow: Any, log: list[ev.Event]) -> edit.Edit:
    edited = edit.rewind(log, blamed(flow, log))
    check(flow, edited)
    return edited


def check(flow: Any, edited: edit.Edit) -> None:
    """Assert that the code accepts what was kept."""
    replay(flow, edited.kept, edited.replies)


@workflow
async def in_turn():
    return [await a(1), await b(2), await c(3)]


THREE = played(in_turn, completed(0, "A", at=1), completed(1, "B", at=2), completed(2, "C", at=3))


# --- rerun from an activity


def test_fork_keeps_what_came_before_the_target():
    forked = edit.fork(THREE, 1)

    assert forked.kept == (STARTED, scheduled(0, "a", 1), completed(0, "A"), scheduled(1, "b", 2))
    assert forked.rerun == (scheduled(1, "b", 2),)
    assert forked.dropped == (scheduled(2, "c", 3),)
    assert (forked.replies, forked.rearmed, forked.children) == ((), (), ())
    check(in_turn, forked)


@workflow
async def abreast():
    return await asyncio.gather(a(), b(), c())


FAN = played(abreast, completed(1, "B", at=1), completed(0, "A", at=2), completed(2, "C", at=3))


@pytest.mark.parametrize("target", [0, 1, 2])
def test_fork_runs_all_members_of_a_fan_out_again(target):
    forked = edit.fork(FAN, target)

    again = {event.event_id for event in (*forked.rerun, *forked.dropped)}
    assert again == {0, 1, 2}
    assert forked.rerun[0].event_id == target
    assert [event.event_id for event in forked.rerun[1:]] == list(range(target))
    check(abreast, forked)


@pytest.mark.parametrize("target", [0, 1, 2])
def test_fork_that_keeps_siblings_runs_the_target_alone(target):
    forked = edit.fork(FAN, target, keep_siblings=True)

    assert [event.event_id for event in forked.rerun] == [target]
    assert {event.event_id for event in forked.replies} == {0, 1, 2} - {target}
    assert forked.dropped == ()
    decision = replay(abreast, forked.kept, forked.replies)
    assert [event.event_id for event in decision.open] == [target]


def test_fork_that_keeps_siblings_runs_failed_ones_again():
    log = played(abreast, completed(1, "B"), failed(0))

    forked = edit.fork(log, 2, keep_siblings=True)

    assert [event.event_id for event in forked.rerun] == [2, 0]
    assert forked.replies == (completed(1, "B"),)


@workflow
async def guarded():
    word = await calls.wait_signal("go")
    try:
        async with asyncio.timeout(60):
            await a(word)
    finally:
        await b()


def test_fork_keeps_earlier_signals_and_drops_later_ones():
    log = played(guarded, signal("go", 1), signal("go", 2), completed(1), signal("go", 3), completed(2))

    forked = edit.fork(log, 2)

    assert [e for e in forked.kept if isinstance(e, ev.SignalReceived)] == [signal("go", 1), signal("go", 2)]
    assert forked.signals_dropped == (signal("go", 3),)


def test_timers_that_are_open_at_the_fork_keep_the_time_they_had_left():
    log = played(guarded, signal("go", 1, at=100.0), completed(1, at=130.0), completed(2, at=140.0))

    forked = edit.fork(log, 1)

    assert forked.rearmed == (timer(0, 160.0),)
    assert forked.time_left(forked.rearmed[0]) == 60.0
    assert edit.fork(log, 2).rearmed == (), "it was canceled by then"


def test_timers_that_were_set_again_count_from_then():
    log = played(guarded, signal("go", 1, at=100.0), completed(1, at=130.0), completed(2, at=140.0))
    forked = edit.fork(log, 1)
    again = forked.set_again(1000.0)

    second = edit.fork([again.get(getattr(event, "event_id", None), event) for event in forked.kept], 1)

    assert [(each.at, each.fire_at) for each in second.rearmed] == [(1000.0, 1060.0)]
    assert second.time_left(second.rearmed[0]) == 60.0, "not what was left since the first cut"


@pytest.mark.parametrize(
    ("events", "is_halted"),
    [
        ([], False),
        ([ev.ExecutionSuspended()], True),
        ([ev.ExecutionSuspended(), ev.ExecutionUpgraded(version=2)], True),
        ([ev.ExecutionSuspended(), ev.ExecutionResumed()], False),
        ([ev.ExecutionSuspended(), ev.ExecutionResumed(), ev.ExecutionSuspended()], True),
    ],
)
def test_what_was_halted_at_the_end_is_known(events, is_halted):
    log = [*played(guarded), *events, ev.ExecutionTerminated()]

    assert edit.reopen(log).is_halted == is_halted


@pytest.mark.parametrize("suspended", [True, False])
def test_what_was_halted_before_it_began_is_known(suspended):
    assert edit.reopen([ev.ExecutionTerminated(suspended=suspended)]).is_halted == suspended


def test_limits_are_raised_where_an_execution_goes_on_elsewhere():
    started = ev.ExecutionStarted(name="w", limits={"payload": 100, "tags": 9})
    edited = edit.reopen([started, ev.ExecutionTerminated()])

    assert edit.on_limits(edited, {"payload": 200, "tags": 1}).kept[0].limits == {"payload": 200, "tags": 9}
    unbegun = edit.reopen([ev.ExecutionTerminated()])
    assert edit.on_limits(unbegun, {"payload": 200}) == unbegun


def test_time_left_is_never_negative():
    log = played(guarded, signal("go", 1, at=100.0), fired(0, at=170.0), completed(2, at=180.0))

    forked = edit.rewind_to(log, 2)

    assert forked.rearmed == ()
    assert forked.time_left(timer(0, 160.0)) == 0.0


# --- whose fault it was


def test_failure_that_leaves_the_code_is_to_blame():
    log = played(in_turn, completed(0), failed(1))

    assert blamed(in_turn, log) == {1}


@pytest.mark.parametrize("how", ["raise", "raise another", "from another", "from None"])
def test_failure_is_to_blame_however_the_code_cleans_up_and_raises(how):
    @workflow
    async def tidy():
        try:
            await a()
        except ActivityError as error:
            await clean()
            match how:
                case "raise":
                    raise
                case "raise another":
                    raise ValueError("broken")  # noqa: B904 - without saying from what
                case "from another":
                    raise ValueError("broken") from error
                case _:
                    raise ValueError("broken") from None

    log = played(tidy, failed(0), completed(1))

    assert blamed(tidy, log) == {0}
    assert kinds(rewound(tidy, log).dropped) == ["ActivityScheduled(clean)"]


def test_all_members_of_a_group_of_failures_are_to_blame():
    @workflow
    async def grouped():
        async def calm(act: Any) -> None:
            try:
                await act()
            except ActivityError as error:
                raise ExceptionGroup("one", [error]) from None

        async with asyncio.TaskGroup() as group:
            group.create_task(calm(a))
            group.create_task(b())

    log = played(grouped, failed(0))

    assert blamed(grouped, log) == {0}


def test_failures_kept_as_values_are_to_blame_when_no_success_follows():
    @workflow
    async def collected():
        results = await asyncio.gather(a(), b(), c(), return_exceptions=True)
        if any(isinstance(result, ActivityError) for result in results):
            raise RuntimeError("some failed")

    log = played(collected, failed(2, "KeyError"), completed(1), failed(0))

    assert blamed(collected, log) == {0, 2}
    edited = rewound(collected, log)
    assert [event.event_id for event in edited.rerun] == [0, 2]
    assert edited.replies == (completed(1),)


def test_failures_that_the_code_only_collected_are_to_blame_with_the_one_that_it_raises():
    @workflow
    async def collected():
        results = await asyncio.gather(a(), b(), c(), return_exceptions=True)
        raise next(result for result in results if isinstance(result, ActivityError))

    log = played(collected, failed(2), completed(1), failed(0))

    assert blamed(collected, log) == {0, 2}
    edited = rewound(collected, log)
    assert [event.event_id for event in edited.rerun] == [0, 2]
    assert edited.replies == (completed(1),)


def test_failure_after_which_the_code_went_on_is_not_to_blame():
    @workflow
    async def tolerant():
        results = await asyncio.gather(a(), b(), return_exceptions=True)
        await clean(str(results))
        await c()

    log = played(tolerant, failed(0), completed(1), completed(2), failed(3))

    assert blamed(tolerant, log) == {3}


def test_failure_that_a_later_try_made_good_is_not_to_blame():
    @workflow
    async def stubborn():
        for _ in range(2):
            try:
                return await a(1)
            except ActivityError:
                pass
            finally:
                await b()
        raise RuntimeError("unreachable")

    log = [*played(stubborn, failed(0), completed(1), completed(2)), completed(3)]

    assert edit.unresolved(log) == set()


def test_nothing_is_to_blame_for_a_bug_in_the_code():
    @workflow
    async def buggy():
        await a()
        raise TypeError("a bug")

    log = played(buggy, completed(0))

    assert blamed(buggy, log) == set()
    assert kinds(rewound(buggy, log).kept) == kinds(log[:-1])


def test_earlier_failure_that_was_handled_stays_handled():
    @workflow
    async def fallback():
        try:
            await a()
        except ActivityError:
            await b()
        await c()

    log = played(fallback, failed(0), completed(1), failed(2))

    edited = rewound(fallback, log)
    assert edited.kept == tuple(log[:-2])
    assert edited.rerun == (scheduled(2, "c"),)


def test_mended_code_keeps_all_but_the_failure():
    broken = [True]

    @workflow
    async def mended():
        try:
            await a()
        except ActivityError:
            await b()
        if broken:
            raise TypeError("a bug")
        return "well"

    log = played(mended, failed(0), completed(1))
    broken.clear()

    assert blamed(mended, log) == set()
    assert replay(mended, rewound(mended, log).kept).outcome == ev.ExecutionCompleted(result="well")


def test_mended_code_gets_another_result_for_the_failure_that_it_ended_on():
    broken = [True]

    @workflow
    async def mended():
        try:
            await a()
        except ActivityError:
            if broken:
                raise
            return "handled"

    log = played(mended, failed(0))
    broken.clear()

    assert blamed(mended, log) == {0}


def test_look_ahead_runs_no_side_effect():
    ran: list[int] = []
    broken = [True]

    @workflow
    async def mended():
        await a()
        if broken:
            raise TypeError("a bug")
        return marks.side_effect(lambda: ran.append(1))

    log = played(mended, completed(0))
    broken.clear()

    assert blamed(mended, log) == set()
    assert ran == []


def test_nothing_is_to_blame_for_an_end_from_outside():
    log = [*THREE[:-1], ev.ExecutionFailed(failure=THREE[-1] and failed(0).failure, imposed=True)]

    assert blamed(in_turn, log) == set()
    assert blamed(in_turn, THREE) == set()


def test_code_that_does_something_else_by_now_is_told():
    @workflow
    async def other():
        return [await b(1)]

    with pytest.raises(NondeterminismError):
        blamed(other, played(in_turn, failed(0)))


@pytest.mark.parametrize(
    ("recorded", "error"),
    [
        ([scheduled(0, "b")], BeyondRecord),
        ([ev.PatchMarked(event_id=0, name="p", deprecated=True), scheduled(1, "b")], BeyondRecord),
        ([scheduled(0, "a")], NondeterminismError),
        ([scheduled(0, "b"), scheduled(1, "a")], NondeterminismError),
    ],
)
def test_look_ahead_compares_what_the_code_asked_for_before_a_side_effect(recorded, error):
    @workflow
    async def flow():
        begin(b())
        await asyncio.sleep(0)
        marks.side_effect(lambda: 1)

    execution = Execution(flow, converter=Converter(), dry=True)
    try:
        with pytest.raises(error):
            catch_up(execution, [STARTED, *recorded])
    finally:
        execution.close()


def test_exception_that_is_its_own_cause_ends_the_search():
    @workflow
    async def circular():
        try:
            await a()
        except ActivityError as error:
            other = ValueError("x")
            other.__cause__, error.__context__ = error, other
            raise other from error

    assert blamed(circular, played(circular, failed(0))) == {0}


# --- rewind


def test_rewind_keeps_siblings_that_succeeded_before_and_after():
    log = played(abreast, completed(1, "B"), failed(0))
    late = [*log[:-1], completed(2, "C"), log[-1]]  # while the code cleaned up, say

    edited = edit.rewind(late, {0})

    assert edited.rerun == (scheduled(0, "a"),)
    assert edited.replies == (completed(2, "C"),)
    assert completed(1, "B") in edited.kept


def test_rewind_keeps_signals_for_the_code_to_find_again():
    @workflow
    async def waiting():
        word = await calls.wait_signal("go")
        await a(word)
        return await calls.wait_signal("go")

    log = played(waiting, signal("go", 1), signal("go", 2), failed(0))
    late = [*log[:-2], signal("go", 3), *log[-2:]]

    edited = rewound(waiting, late)

    assert [e.payload for e in (*edited.kept, *edited.replies) if isinstance(e, ev.SignalReceived)] == [1, 2, 3]
    assert edited.signals_dropped == ()


def test_what_comes_after_the_end_counts_if_it_is_a_signal_or_answers_what_is_kept():
    log = played(abreast, failed(0))

    edited = edit.rewind(log, {0})
    late = edit.with_late(
        edited, [failed(2), completed(1, "B"), signal("go"), completed(1, "again"), completed(7), fired(2, at=1.0)]
    )

    assert [asked.event_id for asked in edited.rerun] == [0, 1, 2]
    assert [asked.event_id for asked in late.rerun] == [0, 2]
    assert late.replies == (completed(1, "B"), signal("go"))


def test_rewind_keeps_updates_that_were_let_in_later_and_not_what_came_of_them():
    @workflow
    async def waiting():
        @updates.update
        def change() -> None: ...

        try:
            return await a()
        finally:
            await calls.wait_signal("go")

    request = ev.UpdateAccepted(update_id="u", name="change")
    log = played(waiting, failed(0), request, signal("go"))

    edited = rewound(waiting, log)

    assert kinds(log)[3:5] == ["UpdateAccepted(change)", "UpdateCompleted(change)"]
    assert edited.replies == (request, signal("go"))


def test_rewind_keeps_failed_children_asked_for():
    @workflow
    async def child(): ...

    @workflow
    async def parent():
        return await asyncio.gather(child.start_child(), a())

    no = ev.ChildFailed(event_id=0, failure=failed(0).failure)
    log = played(parent, ev.ChildStarted(event_id=0), completed(1), no)

    edited = rewound(parent, log)

    assert [child.event_id for child in edited.children] == [0]
    assert blamed(parent, log) == {0}
    assert edited.rerun == ()


def test_rewind_undoes_a_signal_that_could_not_be_delivered():
    @workflow
    async def caller():
        await calls.signal_instance("other", "go")

    log = played(caller, ev.SignalFailed(event_id=0, failure=failed(0).failure))

    assert kinds(rewound(caller, log).rerun) == ["SignalSent(go)"]


def test_timer_that_fired_after_the_failure_fires_again_at_once():
    @workflow
    async def patient():
        rest = begin(asyncio.sleep(10))
        try:
            await a()
        finally:
            await rest

    log = played(patient, failed(0, "KeyError"), fired(1, at=10))

    edited = rewound(patient, log)

    assert edited.replies == (fired(1, at=10),)
    assert edited.rearmed == ()


def test_children_that_are_caught_and_wrapped_are_to_blame():
    @workflow
    async def child(): ...

    @workflow
    async def parent():
        try:
            await child()
        except ChildFailed as error:
            raise ValueError from error

    log = played(parent, ev.ChildStarted(event_id=0), ev.ChildFailed(event_id=0, failure=failed(0).failure))

    assert blamed(parent, log) == {0}


def test_rewind_to_an_event_drops_it_and_all_that_was_asked_for_later():
    edited = edit.rewind_to(THREE, 1)

    assert edited.kept == tuple(THREE[:3])
    assert kinds(edited.dropped) == ["ActivityScheduled(b)", "ActivityScheduled(c)"]
    check(in_turn, edited)
    assert replay(in_turn, edited.kept).commands == (scheduled(1, "b", 2),)


def test_what_the_code_gave_up_on_is_answered_and_not_handed_out_again():
    @workflow
    async def child(): ...

    @workflow
    async def impatient():
        kid = child.start_child()
        waits = [begin(act()) for act in (a, b)] + [asyncio.ensure_future(kid)]
        _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in pending:
            each.cancel()
        await asyncio.sleep(0)
        return await c()

    log = played(impatient, ev.ChildStarted(event_id=0), completed(2), completed(3))
    edited = edit.rewind_to(log, 3)
    assert ([e.event_id for e in edited.rerun], [e.event_id for e in edited.children]) == ([1], [0])

    spared = edit.without(edited, {0, 1})

    assert (spared.rerun, spared.children) == ((), ())
    assert spared.replies == (ev.ActivityCanceled(event_id=1), ev.ChildCanceled(event_id=0))
    decision = replay(impatient, spared.kept, spared.replies)
    assert [event.event_id for event in decision.open] == [3]


# --- whatever the workflow


@settings(max_examples=100)
@for_all(PLANS, st.data())
def test_every_edit_replays_and_keeps_what_it_says(plan, data):
    log: list[Any] = []
    event: ev.Event = started(plan, seed="x", at=1.0)
    for _ in range(12):
        decision = replay(interpreter, log, [event])
        log += [event, *(command for command in decision.commands if isinstance(command, cmd.Recordable))]
        if decision.outcome is not None:
            break
        event = data.draw(st.sampled_from(answers(decision.open, event.at + 1)))
    asked = [event for event in log if isinstance(event, ev.Asked)]
    finished = {e.event_id for e in log if isinstance(e, ev.ActivityCompleted | ev.ChildCompleted)}
    # Each with what it must not repeat, of what it keeps asked for.
    edits = [(edit.rewind(log, {e.event_id for e in log if isinstance(e, ev.ActivityFailed)}), finished)]
    edits += [(edit.rewind_to(log, event.event_id), finished) for event in asked]
    edits.append((edit.reopen(log if log[-1].ends else [*log, ev.ExecutionTerminated()]), finished))
    assert not any(edited.signals_dropped for edited, _ in edits), "a rewind keeps all signals"
    for target in (event.event_id for event in asked if isinstance(event, ev.ActivityScheduled)):
        by_then = {
            e.event_id for e in log[: log_place(log, target)] if isinstance(e, ev.ActivityCompleted | ev.ChildCompleted)
        }
        edits.append((edit.fork(log, target), by_then))
        edits.append((edit.fork(log, target, keep_siblings=True), finished - {target}))
        assert all(edited.rerun[0].event_id == target for edited, _ in edits[-2:]), "the target runs, and first"
        assert len(edits[-1][0].dropped) <= len(edits[-2][0].dropped)
        beside = log[log_place(log, target) :]
        siblings = itertools.takewhile(lambda e: isinstance(e, ev.Asked), beside)
        assert all(each in edits[-1][0].kept for each in siblings), "siblings are kept with it"

    for edited, not_again in edits:
        assert not not_again & {e.event_id for e in (*edited.rerun, *edited.children)}, (
            "nothing finished is repeated that the rule keeps"
        )
        dropped = {e.event_id for e in edited.dropped}
        assert dropped == {e.event_id for e in asked} - {e.event_id for e in edited.kept if isinstance(e, ev.Asked)}
        signals = [
            e for e in (*edited.kept, *edited.replies, *edited.signals_dropped) if isinstance(e, ev.SignalReceived)
        ]
        assert signals == [e for e in log if isinstance(e, ev.SignalReceived)], "no signal is lost without a word"
        replay(interpreter, edited.kept, edited.replies)
        assert edited.kept == tuple(log[: len(edited.kept)]), "a beginning, unchanged"
        done = {e.event_id for e in (*edited.kept, *edited.replies) if isinstance(e, ev.ActivityCompleted)}
        again = {e.event_id for e in edited.rerun}
        assert not done & again, "nothing is repeated whose result is kept"
        open_now = {e.event_id for e in edited.kept if isinstance(e, ev.ActivityScheduled)} - done
        failed_for_good = {e.event_id for e in edited.kept if isinstance(e, ev.ActivityFailed | ev.ActivityCanceled)}
        assert again == open_now - failed_for_good


def log_place(log: list[Any], event_id: int) -> int:
    return next(i for i, e in enumerate(log) if isinstance(e, ev.Asked) and e.event_id == event_id)


@pytest.mark.parametrize(
    ("end", "kept"),
    [
        ([ev.ExecutionTerminated()], 3),
        ([ev.CancelRequested(), ev.ExecutionCanceled()], 3),
        ([ev.CancelRequested(), ev.CancelRequested(), ev.ExecutionTerminated()], 3),
    ],
)
def test_reopening_goes_back_to_before_it_was_told_to_stop(end, kept):
    edited = edit.reopen([*THREE[:3], *end])

    assert edited.kept == tuple(THREE[:kept])
    assert not edited.is_cut
    check(in_turn, edit.reopen([*THREE[:4], *end]))


def test_version_is_that_of_the_last_upgrade():
    @workflow
    async def told():
        first = context.version()
        await calls.wait_signal("go")
        return [first, context.version(), context.info().version]

    log = played(told, ev.ExecutionUpgraded(version=3), signal("go"))

    assert log[-1] == ev.ExecutionCompleted(result=[0, 3, 3])


# --- on another version


def _upgraded_log(*upgrades: tuple[int, int]) -> list[ev.Event]:
    """Return three activities' history in which an upgrade follows the results of some."""
    after = dict(upgrades)
    log: list[ev.Event] = [STARTED]
    for number, name in enumerate("abc"):
        log += [scheduled(number, name), completed(number)]
        log += [ev.ExecutionUpgraded(version=after[number])] if number in after else []
    return log


def test_edit_that_goes_by_the_version_already_stays_as_it_is():
    edited = edit.fork(_upgraded_log((0, 2)), 2)

    assert edit.on_version(edited, 2) is edited
    assert ev.ExecutionUpgraded(version=2) in edited.kept
    plain = edit.fork(_upgraded_log(), 2)
    assert edit.on_version(plain, 0) is plain


@pytest.mark.parametrize("upgrades", [[], [(0, 1)], [(0, 2), (1, 1)]])
def test_edit_begins_on_another_version_and_has_no_upgrades_of_its_past(upgrades):
    edited = edit.on_version(edit.fork(_upgraded_log(*upgrades), 2), 2)

    assert edited.kept[0] == ev.replace(STARTED, version=2)
    assert kinds(edited.kept[1:]) == [
        "ActivityScheduled(a)",
        "ActivityCompleted(0)",
        "ActivityScheduled(b)",
        "ActivityCompleted(1)",
        "ActivityScheduled(c)",
    ]


def test_edit_that_keeps_nothing_has_no_version():
    nothing = edit.reopen([ev.ExecutionTerminated(imposed=True)])

    assert edit.on_version(nothing, 2) is nothing
