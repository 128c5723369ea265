"""Events go to JSON and come back; what cannot be read is refused by its place."""

from __future__ import annotations

import json

import pytest

from durable.core import events as ev
from durable.core.errors import UndecodableEvent
from durable.core.failures import Failure

FAILURE = Failure(type="ValueError", message="no", cause=Failure(type="KeyError"))
INPUT = {"args": [1], "kwargs": {"a": None}}

ONE_OF_EACH = [
    ev.ExecutionStarted(name="order", version=2, input=INPUT, carried=[["go", 1]], parent={"instance_id": "p"}),
    ev.SignalReceived(name="go", payload={"a": [1, None]}),
    ev.CancelRequested(reason="too late"),
    ev.ExecutionSuspended(reason="maintenance"),
    ev.ExecutionResumed(),
    ev.ExecutionUpgraded(version=2, reason="new", actor="ada"),
    ev.ExecutionWoken(),
    ev.ExecutionRewound(reason="mended", actor="ada", source="x"),
    ev.ExecutionCompleted(result={"b": 1.5}),
    ev.ExecutionFailed(failure=FAILURE),
    ev.ExecutionFailed(failure=FAILURE, imposed=True),
    ev.ExecutionCanceled(),
    ev.ExecutionTerminated(reason="gone"),
    ev.ExecutionContinued(input=INPUT, carried=[["go", None]]),
    ev.ActivityScheduled(event_id=0, name="charge", input=INPUT, options={"queue": "slow"}),
    ev.TimerStarted(event_id=1, fire_at=1_700_000_000.123456),
    ev.ChildScheduled(event_id=2, name="ship", instance_id="c", version=3, input=INPUT, tags={"a": 1}),
    ev.SignalSent(event_id=3, name="go", instance_id="other", payload=5),
    ev.SideEffectRecorded(event_id=4, value=[1]),
    ev.PatchMarked(event_id=5, name="new-tax"),
    ev.PatchMarked(event_id=5, name="new-tax", deprecated=True),
    ev.ActivityCompleted(event_id=0, result="ok", attempts=2),
    ev.ActivityFailed(event_id=0, failure=FAILURE, attempts=3),
    ev.ActivityCanceled(event_id=0),
    ev.TimerFired(event_id=1),
    ev.TimerCanceled(event_id=1),
    ev.ChildStarted(event_id=2),
    ev.ChildCompleted(event_id=2, result=None),
    ev.ChildFailed(event_id=2, failure=FAILURE),
    ev.ChildCanceled(event_id=2),
    ev.SignalDelivered(event_id=3),
    ev.SignalFailed(event_id=3, failure=FAILURE),
    ev.UpdateAccepted(update_id="u", name="add", input=INPUT),
    ev.UpdateCompleted(update_id="u", name="add", result=[1]),
    ev.UpdateCompleted(update_id="u", name="add", failure=FAILURE),
]


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=str)
def test_event_comes_back_from_json(event):
    text = json.dumps(event.to_json())

    back = ev.decode(event.kind, text, at=12.5, seq=1)

    assert back == event
    assert type(back) is type(event)
    assert back.at == 12.5


def test_every_kind_is_tried_above():
    assert {event.kind for event in ONE_OF_EACH} == set(ev.KINDS)


def test_every_class_of_events_can_be_decoded():
    classes = [kind for base in (ev.Event, ev.Asked, ev.Answer, ev.End) for kind in base.__subclasses__()]

    assert {*classes} - {ev.Asked, ev.Answer, ev.End} == {*ev.KINDS.values()}


def test_defaults_are_left_out_of_the_json():
    event = ev.ActivityScheduled(event_id=0, name="charge", at=5.0)

    assert event.to_json() == {"event_id": 0, "name": "charge"}


def test_complete_puts_the_defaults_back_and_leaves_number_and_name_out():
    event = ev.ActivityCompleted(event_id=0, result=None)

    assert ev.complete(event.kind, event.to_json()) == {"result": None, "attempts": 1}


def test_complete_keeps_what_a_newer_release_stored():
    assert ev.complete("MoonRose", {"event_id": 1, "phase": "full"}) == {"phase": "full"}


def test_time_of_recording_is_no_part_of_what_events_are():
    assert ev.TimerFired(event_id=1, at=1.0) == ev.TimerFired(event_id=1, at=2.0)
    assert not ev.TimerFired(event_id=1, at=1.0) != ev.TimerFired(event_id=1, at=2.0)  # noqa: SIM202 - the other operator


def test_events_of_another_kind_or_with_another_field_differ():
    assert ev.ChildStarted(event_id=1) != ev.ChildCanceled(event_id=1)
    assert ev.TimerStarted(event_id=1, fire_at=1.0) != ev.TimerStarted(event_id=1, fire_at=2.0)


def test_an_event_does_not_change():
    event = ev.TimerFired(event_id=1)

    with pytest.raises(AttributeError):
        event.event_id = 2

    assert (ev.replace(event, event_id=2), event) == (ev.TimerFired(event_id=2), ev.TimerFired(event_id=1))


def test_rows_are_decoded_one_after_the_other_up_to_the_one_that_cannot_be():
    rows = [(1, "ChildStarted", 1.5, '{"event_id":7}'), (2, "TimerFired", 2.5, '{"event_id":8}')]
    events = ev.decode_all([*rows, (3, "TimerFired", 3.5, "{}"), *rows])

    assert list(ev.decode_all(rows)) == [ev.ChildStarted(event_id=7), ev.TimerFired(event_id=8)]
    assert [next(events).at, next(events).at] == [1.5, 2.5]
    with pytest.raises(UndecodableEvent, match="3"):
        next(events)


def test_unknown_kind_is_refused_with_its_place():
    with pytest.raises(UndecodableEvent, match=r"event 7 \(MoonRose\).*newer one may have written") as caught:
        ev.decode("MoonRose", "{}", at=0.0, seq=7)

    assert (caught.value.seq, caught.value.kind) == (7, "MoonRose")


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        ("TimerFired", "{}", "missing required field `event_id`"),
        ("TimerFired", '{"event_id": "x"}', "Expected `int`"),
        ("TimerFired", '{"event_id": 1', "truncated"),
        ("ActivityFailed", '{"event_id": 1, "failure": {"message": "no"}}', "missing required field `type`"),
        ("SignalReceived", '{"name": "a", "payload": ' + "[" * 100_000 + "]" * 100_000 + "}", "recursion"),
    ],
)
def test_undecodable_data_is_refused_with_its_place(kind, text, problem):
    with pytest.raises(UndecodableEvent, match=rf"event 3 \({kind}\) cannot be read: .*{problem}") as caught:
        ev.decode(kind, text, at=0.0, seq=3)

    assert (caught.value.seq, caught.value.kind) == (3, kind)


def test_fields_of_a_newer_release_are_passed_over():
    assert ev.decode("TimerFired", '{"event_id": 1, "moon": "full"}', at=0.0, seq=1) == ev.TimerFired(event_id=1)


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (ev.ActivityScheduled(event_id=0, name="charge"), "ActivityScheduled(charge)"),
        (ev.TimerStarted(event_id=0, fire_at=1.0), "TimerStarted(0)"),
        (ev.PatchMarked(event_id=0, name="new-tax"), "PatchMarked(new-tax)"),
        (ev.ExecutionCanceled(), "ExecutionCanceled"),
    ],
)
def test_event_says_what_it_is_about(event, text):
    assert str(event) == text


def test_ends_and_what_is_asked_for_come_from_code():
    by_code = {event.kind for event in ONE_OF_EACH if event.by_code}

    assert by_code == {
        "ExecutionCompleted", "ExecutionFailed", "ExecutionCanceled", "ExecutionTerminated", "ExecutionContinued",
        "ActivityScheduled", "TimerStarted", "TimerCanceled", "ChildScheduled", "SignalSent", "SideEffectRecorded",
        "PatchMarked", "UpdateCompleted",
    }  # fmt: skip
    assert {event.kind for event in ONE_OF_EACH if event.ends} == {k for k in by_code if k.startswith("Execution")}
