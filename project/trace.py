"""Leaves a line in a file each time that an activity runs, so that the demo can count the runs.

A file and not a table: what a transaction wrote is gone when it is rolled back, and the runs that were cut
short are the interesting ones.
"""

from __future__ import annotations

import functools
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from django.conf import settings

from durable import activity

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of an activity that began.

    Attributes:
        key: The activity's execution and event id: the same for every attempt.
        pid: The process that ran it.
        at: When it began, in seconds since 1970.
    """

    key: str
    activity: str
    instance: str
    attempt: int
    pid: int
    at: float


def traced(fn: Callable[P, R]) -> Callable[P, R]:
    """Leave a line each time that ``fn`` begins, if the setting ``TRACE_FILE`` says where."""

    @functools.wraps(fn)
    def begin(*args: P.args, **kwargs: P.kwargs) -> R:
        if settings.TRACE_FILE:
            _append(Path(settings.TRACE_FILE), activity.info())
        return fn(*args, **kwargs)

    return begin


def _append(path: Path, info: activity.Info) -> None:
    run = Run(
        key=f"{info.execution_id}:{info.event_id}",
        activity=info.name,
        instance=info.instance_id,
        attempt=info.attempt,
        pid=os.getpid(),
        at=time.time(),
    )
    # One write of less than a page, appended: lines of several processes never mix.
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, json.dumps(asdict(run)).encode() + b"\n")
    finally:
        os.close(file)


def read(path: Path) -> list[Run]:
    """Return the runs that left a line, in the order in which they began."""
    if not path.exists():
        return []
    return [Run(**json.loads(line)) for line in path.read_text().splitlines()]
