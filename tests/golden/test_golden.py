"""Every release replays the golden histories: whole, and cut anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from durable import testing
from durable.core import commands as cmd
from durable.core import events as ev
from durable.core import replay, transcripts
from durable.core.errors import NondeterminismError
from durable.core.transcripts import Transcript
from tests.golden.record import PATHS, PLACE, record
from tests.golden.scenarios import SCENARIOS
from tests.golden.workflows import WORKFLOWS

FILES = sorted(PLACE.glob("*.jsonl"))
DEFINED = {(definition.name, definition.version): definition for definition in WORKFLOWS.values()}


def read(file: Path) -> list[Transcript]:
    return list(transcripts.read(file.read_text().splitlines(), source=file.name))


ALL = [(file, transcript) for file in FILES for transcript in read(file)]


def outcome(event):
    """Return what must stay the same of an end."""
    match event:
        case ev.ExecutionFailed(failure=failure):
            return [failure.type, failure.message, event.imposed]
        case _:
            return event


def check(transcript: Transcript) -> None:
    """Assert that the code does what a history records, and asks for the rest of a step wherever it is cut."""
    definition, events = DEFINED[transcript.workflow, transcript.version], transcript.events
    decision = testing.replay(definition, transcript)
    assert decision.commands == ()
    assert outcome(decision.outcome) == outcome(events[-1] if events[-1].ends else None)
    if decision.outcome is None:
        asked = {e.event_id for e in events if isinstance(e, cmd.Asked) and not isinstance(e, _ANSWERED_AT_ONCE)}
        answered = {e.event_id for e in events if isinstance(e, ev.Answer) and not isinstance(e, ev.ChildStarted)}
        assert {e.event_id for e in decision.open} == asked - answered
    for cut in range(1, len(events)):
        ids = {"instance_id": transcript.instance_id, "execution_id": transcript.execution_id}
        commands = replay.replay(definition, events[:cut], **ids).commands
        issued = [identity(command) for command in commands if isinstance(command, cmd.Recordable)]
        assert issued == [identity(event) for event in rest_of_step(events[cut:])], f"cut at {cut}"


_ANSWERED_AT_ONCE = (ev.SideEffectRecorded, ev.PatchMarked)


def identity(event):
    """Return what must stay the same of an event: what it is, of what, with what, by which id; not how it is done."""
    kept = {
        key: value for key, value in event.to_json().items() if key not in {"options", "headers", "failure", "rerun_of"}
    }
    return event.kind, kept


def rest_of_step(events):
    rest = []
    for event in events:
        if not event.by_code or getattr(event, "imposed", False):
            break
        rest.append(event)
    return rest


def name(value):
    return value.stem if isinstance(value, Path) else f"{value.instance_id}-{value.number}"


@pytest.mark.parametrize(("file", "transcript"), ALL, ids=name)
def test_history_is_replayed_whole_and_cut_anywhere(file, transcript):
    check(transcript)


def test_every_kind_of_event_is_in_some_history():
    kept = {event.kind for _, transcript in ALL for event in transcript.events}

    assert set(ev.KINDS) == kept, "write a scenario that leads to it, and record it: see the README"


def test_every_workflow_is_in_some_history_and_every_scenario_has_its_files():
    assert {transcript.workflow for _, transcript in ALL} == {definition.name for definition in WORKFLOWS.values()}
    wanted = {f"{scenario.rstrip('_')}-{path}" for scenario in SCENARIOS for path in PATHS}
    assert wanted == {file.stem for file in FILES}


def first_asked(transcript):
    return next((event for event in transcript.events if isinstance(event, ev.Asked)), None)


@pytest.mark.parametrize(("file", "transcript"), [(file, found) for file, found in ALL if first_asked(found)], ids=name)
def test_history_does_not_fit_other_code(file, transcript):
    other = DEFINED["again", 0] if first_asked(transcript).name != "double" else DEFINED["waits", 0]

    with pytest.raises(NondeterminismError):
        testing.replay(other, transcript)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario_recorded_now_is_replayed_as_well(db, fresh, scenario, path):
    found = [transcripts.loads(line) for line in record(scenario, path)]

    assert found
    for transcript in found:
        check(transcript)
