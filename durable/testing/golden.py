"""Replay recorded histories on the code at hand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from durable import conf, registry
from durable.core import events as ev
from durable.core import replay as core
from durable.core import transcripts
from durable.core.errors import InvalidInput, NondeterminismError
from durable.core.execution import LIMITS
from durable.core.transcripts import Transcript
from durable.engine import guards
from durable.testing.histories import History, timed

if TYPE_CHECKING:
    from durable.client import HistoryItem
    from durable.core.definitions import WorkflowDefinition
    from durable.core.replay import Decision

    Recorded = Transcript | History | Sequence[ev.Event] | Sequence[HistoryItem]


@overload
def replay(workflow: WorkflowDefinition | None, history: str | os.PathLike[str]) -> list[Decision]: ...


@overload
def replay(workflow: WorkflowDefinition | None, history: Recorded) -> Decision: ...


def replay(
    workflow: WorkflowDefinition | None, history: str | os.PathLike[str] | Recorded
) -> Decision | list[Decision]:
    """Replay what is recorded and return what the code decides; nothing outside is touched.

    Args:
        workflow: The code; None is the registered workflow of the recorded name and version.
        history: The path of an export, for a list of decisions, one for each
            execution in it; if a workflow is given, for those of its name.
            Or one history: what ``client.history`` returned, what ``history_of``
            made, or a list of events.

    Raises:
        NondeterminismError: The code does not do what a history records; a
            note says in which instance, and on which line of the file.
        UnknownWorkflow, VersionNotAvailable: None is registered.
        InvalidTranscript: The file is no export.
        InvalidInput: There is nothing to replay.
    """
    if isinstance(history, str | os.PathLike):
        return _replay_file(workflow, Path(history))
    if isinstance(history, Transcript):
        return _replay(workflow, history, whole=True)
    if isinstance(history, History):
        history = timed(history.events, begun=0.0, step=0.0)
    if not history:
        raise InvalidInput("replay(history)", "it is empty, so it shows nothing")
    events = [each if isinstance(each, ev.Event) else _event(each) for each in history]
    # One that was written by hand may be cut anywhere; one from the database ends with a whole step.
    return _replay(workflow, _anonymous(events), whole=not isinstance(history[0], ev.Event))


def _replay_file(workflow: WorkflowDefinition | None, path: Path) -> list[Decision]:
    decisions = []
    with path.open(encoding="utf-8") as file:
        for line, transcript in transcripts.numbered(file, source=str(path)):
            if workflow is not None and workflow.name != transcript.workflow:
                continue
            try:
                decisions.append(_replay(workflow, transcript, whole=True))
            except NondeterminismError as error:
                error.add_note(f"in execution {transcript.number} of {transcript.instance_id} ({path}, line {line})")
                raise
    if not decisions:
        raise InvalidInput("replay(history)", f"{path} has no history of {workflow.name if workflow else 'anything'}")
    return decisions


def _replay(workflow: WorkflowDefinition | None, transcript: Transcript, *, whole: bool) -> Decision:
    return core.replay(
        workflow or registry.workflow(transcript.workflow, transcript.version),
        transcript.events,
        converter=conf.converter(),
        instance_id=transcript.instance_id,
        execution_id=transcript.execution_id,
        whole=whole,
        limits={name: conf.limit(name) for name in LIMITS},
        enter=guards.enter,
    )


def _anonymous(events: Sequence[ev.Event]) -> Transcript:
    started = events[0]
    name, version = (started.name, started.version) if isinstance(started, ev.ExecutionStarted) else ("", 0)
    return Transcript(instance_id="", workflow=name, version=version, events=tuple(events))


def _event(item: HistoryItem) -> ev.Event:
    at = item.recorded_at.timestamp()
    return transcripts.event(item.kind, item.data, seq=item.seq, at=at, event_id=item.event_id, name=item.name)
