"""``durable.testing.replay`` takes histories from wherever they are, and says where the code parts from them."""

from __future__ import annotations

import asyncio

import pytest

from durable import (
    InvalidInput,
    InvalidTranscript,
    NondeterminismError,
    UnknownWorkflow,
    VersionNotAvailable,
    activity,
    client,
    registry,
    testing,
    workflow,
)
from durable.core import events as ev
from durable.core import transcripts
from durable.core.definitions import define_workflow
from durable.core.transcripts import Transcript

STARTED = ev.ExecutionStarted(name="order", version=2, input={"args": [1], "kwargs": {}}, at=1.0)
CHARGING = ev.ActivityScheduled(event_id=0, name="charge", input={"args": [1], "kwargs": {}}, at=1.0)
CHARGED = ev.ActivityCompleted(event_id=0, result="paid", at=2.0)
RETURNED = ev.ExecutionCompleted(result="paid", at=2.0)
EVENTS = [STARTED, CHARGING, CHARGED, RETURNED]


@pytest.fixture
def order(fresh):
    @activity.defn
    def charge(number: int) -> str:
        return "paid"

    @workflow.defn
    async def order2(number: int) -> str:
        return str(await charge(number))

    return order2


def refunding():
    async def order(number: int) -> str:
        return str(await workflow.activity_by_name("refund")(number))

    return define_workflow(order)


def export(path, *made):
    path.write_text("".join(f"{transcripts.dumps(transcript)}\n" for transcript in made))
    return path


def transcript(instance_id="o-1", name="order", events=EVENTS):
    return Transcript(instance_id=instance_id, workflow=name, version=2, events=tuple(events))


def test_a_history_in_a_few_words_is_replayed(order):
    begun = testing.history_of("order2", 1)
    assert [str(command) for command in testing.replay(order, begun).commands] == ["ActivityScheduled(charge)"]

    declined = testing.replay(order, begun.activity("charge", 1, error=ValueError("declined")))
    assert declined.outcome.failure.type == "ActivityError"


def test_timers_of_a_history_in_a_few_words_are_those_of_the_code(order):
    @workflow.defn
    async def late() -> str:
        await asyncio.sleep(10)
        await asyncio.sleep(5)
        return f"{workflow.time():.0f}"

    decision = testing.replay(late, testing.history_of("late").timer(10).timer(5).completed("15"))

    assert (decision.commands, decision.outcome.result) == ((), "15")
    with pytest.raises(NondeterminismError, match="TimerStarted"):
        testing.replay(late, testing.history_of("late").activity("charge", 1))


def test_events_are_replayed(order):
    assert testing.replay(order, EVENTS).outcome == RETURNED
    assert testing.replay(order, [STARTED]).commands == (CHARGING,)
    assert testing.replay(order, [STARTED, CHARGING]).open == (CHARGING,)


def test_workflow_is_found_by_what_is_recorded(order):
    assert testing.replay(None, EVENTS).outcome == RETURNED
    assert testing.replay(None, transcript()).outcome == RETURNED
    registry.unregister_workflow("order", 2)
    with pytest.raises(UnknownWorkflow):
        testing.replay(None, transcript())
    registry.add_workflow(define_workflow(order.fn, name="order", version=3))
    with pytest.raises(VersionNotAvailable):
        testing.replay(None, EVENTS)
    with pytest.raises(UnknownWorkflow):
        testing.replay(None, EVENTS[1:])


def test_history_of_the_client_is_replayed(engine, order):
    handle = order.start(1)
    engine.run_until_quiet()

    decision = testing.replay(order, handle.history())

    assert (decision.outcome, decision.commands) == (RETURNED, ())
    with pytest.raises(NondeterminismError) as caught:
        testing.replay(refunding(), client.history(handle.id))
    assert (caught.value.seq, caught.value.got) == (2, "ActivityScheduled(refund)")


def test_history_of_the_database_ends_with_a_whole_step(engine, order):
    """Where it waits now, a patch that was put there later is not taken."""

    @workflow.defn
    async def waiting() -> None:
        await workflow.wait_signal("go")

    async def changed() -> None:
        workflow.patched("p")
        await workflow.wait_signal("go")

    handle = waiting.start()
    engine.run_until_quiet()

    assert testing.replay(define_workflow(changed), handle.history()).commands == ()


def test_every_line_of_an_export_is_replayed(order, tmp_path):
    path = export(tmp_path / "a.jsonl", transcript("o-1"), transcript("o-2", events=EVENTS[:2]))

    for given in (path, str(path)):
        first, second = testing.replay(None, given)
        assert (first.outcome, second.outcome) == (RETURNED, None)


def test_export_is_replayed_on_the_workflow_that_is_given_as_far_as_it_is_of_its_name(order, tmp_path):
    path = export(tmp_path / "a.jsonl", transcript("t-1", "trip", [STARTED]), transcript())

    assert [decision.outcome for decision in testing.replay(order, path)] == [RETURNED]


def test_mismatch_says_the_instance_and_the_line(order, tmp_path):
    path = export(tmp_path / "a.jsonl", transcript("o-1", events=[STARTED]), transcript("o-2"))

    with pytest.raises(NondeterminismError) as caught:
        testing.replay(refunding(), path)

    assert caught.value.location.startswith(f"{__file__}:")
    assert caught.value.__notes__ == [f"in execution 1 of o-2 ({path}, line 2)"]


def test_nothing_to_replay_is_an_error(order, tmp_path):
    for history in ([], export(tmp_path / "empty.jsonl"), export(tmp_path / "b.jsonl", transcript(name="trip"))):
        with pytest.raises(InvalidInput):
            testing.replay(order, history)
    with pytest.raises(InvalidInput, match="has no history of anything"):
        testing.replay(None, tmp_path / "empty.jsonl")


def test_file_that_is_no_export_is_refused(order, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("{}")

    with pytest.raises(InvalidTranscript):
        testing.replay(order, path)


def test_code_that_reaches_outside_is_stopped(order, tmp_path):
    async def order(number: int) -> str:
        return str(len(client.history("o-1")))

    decision = testing.replay(define_workflow(order), [STARTED])

    assert isinstance(decision.outcome, ev.ExecutionFailed)
    assert decision.outcome.failure.type == "ForbiddenInWorkflow"
