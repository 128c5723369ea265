"""Records histories, or replays them: ``python -m tests.pythons.play record|replay FILE``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from durable.core import events as ev
from durable.core import stepping
from durable.core.commands import Recordable
from durable.core.errors import NondeterminismError
from durable.core.execution import Execution
from durable.core.payloads import Converter
from durable.core.replay import catch_up, interpreter
from tests.pythons.workflows import WORKFLOWS

_LONGEST = 100


def record(name: str, *, last_first: bool) -> list[ev.Event]:
    """Run a workflow, answering what it asks for one at a time, and return its history."""
    execution = Execution(WORKFLOWS[name], converter=Converter(), instance_id="i")
    log: list[ev.Event] = []

    def step(event: ev.Event) -> None:
        log.append(event)
        log.extend(command for command in stepping.step(execution, event) if isinstance(command, Recordable))  # type: ignore[misc]

    step(ev.ExecutionStarted(name=name, input={"args": [], "kwargs": {}}, seed="s", python=interpreter()))
    while execution.outcome is None and len(log) < _LONGEST:
        step(_next(execution, last_first=last_first))
    assert execution.outcome is not None, f"{name} has no end"
    return log


def _next(execution: Execution, *, last_first: bool) -> ev.Event:
    asked = [each.event for _, each in sorted(execution.open.items())]
    works = [event for event in asked if isinstance(event, ev.ActivityScheduled)]
    timers = [event for event in asked if isinstance(event, ev.TimerStarted)]
    now = execution.loop.now + 1
    if timers and min(timer.fire_at for timer in timers) <= now:
        due = min(timers, key=lambda timer: timer.fire_at)
        return ev.TimerFired(event_id=due.event_id, at=max(now, due.fire_at))
    if works:
        work = works[-1 if last_first else 0]
        return ev.ActivityCompleted(event_id=work.event_id, result=work.input["args"][0] + 1, at=now)
    if timers:
        due = min(timers, key=lambda timer: timer.fire_at)
        return ev.TimerFired(event_id=due.event_id, at=due.fire_at)
    return ev.SignalReceived(name="go", payload="on", at=now)


def replay(name: str, history: list[ev.Event]) -> str:
    """Replay a history whole, and return what does not fit; an empty text if it fits."""
    execution = Execution(WORKFLOWS[name], converter=Converter(), instance_id="i")
    try:
        rest = catch_up(execution, history, whole=True)
    except NondeterminismError as error:
        return str(error)
    finally:
        execution.close()
    return f"goes on with {rest}" if rest or execution.outcome != history[-1] else ""


def to_json(event: ev.Event) -> list[Any]:
    return [event.kind, event.to_json(), event.at]


def from_json(data: list[Any], seq: int) -> ev.Event:
    kind, fields, at = data
    return ev.decode(kind, json.dumps(fields), at=at, seq=seq)


def main(verb: str, file: Path) -> None:
    """Write histories to a file, or print what in a file of them does not fit."""
    if verb == "record":
        ways = [(name, last_first) for name in WORKFLOWS for last_first in (False, True)]
        told = [[name, [to_json(event) for event in record(name, last_first=how)]] for name, how in ways]
        file.write_text(json.dumps(told))
        return
    came = [
        [name, replay(name, [from_json(each, seq) for seq, each in enumerate(log, 1)])]
        for name, log in json.loads(file.read_text())
    ]
    sys.stdout.write(json.dumps(came))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
