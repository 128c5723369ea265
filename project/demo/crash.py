"""What a crash interrupted, and what ran again because of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from durable.models import HistoryEvent, InboxEvent
from project import trace

if TYPE_CHECKING:
    from pathlib import Path

_ENDS = ("ActivityCompleted", "ActivityFailed", "ActivityCanceled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """The state of things when a worker was killed.

    Attributes:
        finished: Keys of the activities whose end was stored.
        interrupted: Keys of those that had begun, and have no end.
        lines: How many runs of activities had left a line.
    """

    finished: frozenset[str]
    interrupted: frozenset[str]
    lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """What ran after a crash.

    Attributes:
        finished_again: Runs of activities that had finished: there must be none.
        interrupted_again: How many of the interrupted activities ran again.
        others: How many activities ran that had not begun before.
    """

    finished_again: int
    interrupted_again: int
    others: int


def look(path: Path) -> Crash:
    """Return the state of things; call it when no worker runs.

    Args:
        path: The file in which activities leave their lines.
    """
    finished = frozenset(_finished())
    runs = trace.read(path)
    begun = {run.key for run in runs}
    return Crash(finished=finished, interrupted=frozenset(begun - finished), lines=len(runs))


def after(crash: Crash, path: Path) -> Aftermath:
    """Return what ran since a crash."""
    keys = [run.key for run in trace.read(path)[crash.lines :]]
    return Aftermath(
        finished_again=sum(key in crash.finished for key in keys),
        interrupted_again=len(crash.interrupted.intersection(keys)),
        others=len(set(keys) - crash.finished - crash.interrupted),
    )


def _finished() -> set[str]:
    """Return the keys of activities whose end is stored, in a history or on its way into one."""
    rows = [
        *HistoryEvent.objects.filter(kind__in=_ENDS).values_list("execution_id", "event_id"),
        *InboxEvent.objects.filter(kind__in=_ENDS).values_list("execution_id", "event_id"),
    ]
    return {f"{execution_id}:{event_id}" for execution_id, event_id in rows}
