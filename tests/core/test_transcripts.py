"""Transcripts keep a history exactly, and what is none is refused by its line."""

from __future__ import annotations

import json

import pytest

from durable.core import events as ev
from durable.core import transcripts
from durable.core.errors import InvalidTranscript, UndecodableEvent
from durable.core.transcripts import Transcript
from tests.core.test_events import ONE_OF_EACH

EVENTS = tuple(ev.decode(e.kind, json.dumps(e.to_json()), at=1.7e9 + n / 7, seq=n) for n, e in enumerate(ONE_OF_EACH))
WHOLE = Transcript(
    instance_id="order-1",
    execution_id="0-0",
    number=2,
    workflow="order",
    version=3,
    status="running",
    events=EVENTS,
)
LINE = transcripts.dumps(WHOLE)


def changed(**fields: object) -> str:
    return json.dumps({**json.loads(LINE), **fields})


def entry(**fields: object) -> list[dict[str, object]]:
    return [{"seq": 1, "kind": "ExecutionStarted", "name": "order", **fields}]


def test_transcript_comes_back_from_its_line():
    back = transcripts.loads(LINE)

    assert back == WHOLE
    assert [event.at for event in back.events] == [event.at for event in EVENTS]
    assert "\n" not in LINE


def test_line_says_number_and_name_beside_the_data():
    line = json.loads(LINE)
    scheduled = next(e for e in line["events"] if e["kind"] == "ActivityScheduled")

    assert (line["format"], line["workflow"], line["version"]) == (1, "order", 3)
    assert (scheduled["event_id"], scheduled["name"]) == (0, "charge")
    assert scheduled["data"] == {"input": {"args": [1], "kwargs": {"a": None}}, "options": {"queue": "slow"}}


def test_keys_of_payloads_keep_their_order():
    payload = {"b": 1, "a": 2, "0": 3}
    transcript = Transcript(instance_id="i", workflow="w", events=(ev.SignalReceived(name="s", payload=payload),))

    (event,) = transcripts.loads(transcripts.dumps(transcript)).events

    assert isinstance(event, ev.SignalReceived)
    assert list(event.payload) == ["b", "a", "0"]


def test_fields_that_a_newer_release_adds_are_passed_over():
    assert transcripts.loads(changed(moon="full")) == WHOLE


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "truncated"),
        ("[]", "Expected `object`"),
        ("{}", "missing required field `format`"),
        (changed(format=2), "its format is 2, this release reads format 1"),
        (changed(format="1"), "Expected `int`"),
        (json.dumps({"format": 1, "workflow": "w", "events": []}), "missing required field `instance_id`"),
        (changed(events=entry(kind="MoonRose")), "event 1 (MoonRose) cannot be read: this release does not know"),
        (changed(events=entry(data={"version": "x"})), "event 1 (ExecutionStarted) cannot be read: Expected `int`"),
        (changed(events=[{"seq": 1, "kind": "ActivityCompleted"}]), "missing required field `event_id`"),
        (changed(events=entry(seq=2)), "event 1 is missing"),
        (changed(events=entry() + entry()), "event 2 is missing"),
        (changed(events=entry(data={"a": "deep"})).replace('"deep"', "[" * 100_000), "recursion"),
    ],
)
def test_what_is_no_transcript_is_refused_with_line_and_fault(text, problem):
    with pytest.raises(InvalidTranscript) as caught:
        transcripts.loads(text, line=7, source="a.jsonl")

    assert str(caught.value).startswith("a.jsonl, line 7 is no transcript: ")
    assert problem in caught.value.problem


def test_file_is_read_line_by_line():
    lines = iter([LINE + "\n", "\n", "  \n", LINE, "nonsense"])

    read = transcripts.read(lines, source="a.jsonl")

    assert [next(read), next(read)] == [WHOLE, WHOLE]
    assert next(lines) == "nonsense", "no more than needed is read"
    assert list(transcripts.read([LINE, ""])) == [WHOLE]
    with pytest.raises(InvalidTranscript) as caught:
        list(transcripts.read(["", LINE, "nonsense"], source="a.jsonl"))
    assert caught.value.line == 3


def test_number_and_name_are_given_to_events_that_have_them():
    answer = transcripts.event("TimerFired", {}, seq=3, at=5.0, event_id=1, name="of what it answers")

    assert (answer, answer.at) == (ev.TimerFired(event_id=1), 5.0)
    with pytest.raises(UndecodableEvent):
        transcripts.event("MoonRose", {}, seq=1, at=0.0, name="x")
