"""Where in the user's code something happened."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import CodeType

    Place = tuple[CodeType, int]

_NOT_THE_USERS = (os.path.dirname(__file__), os.path.dirname(asyncio.__file__))
_known: dict[str, bool] = {}


def _is_ours(code: CodeType) -> bool:
    name = code.co_filename
    if (ours := _known.get(name)) is None:
        ours = _known[name] = name.startswith(_NOT_THE_USERS)
    return ours


_STOPS_WORKERS = ("billiard", "celery", "kombu")


def stops_the_worker(error: SystemExit) -> bool:
    """Say whether a ``SystemExit`` tells the worker to stop; else the user's code called ``sys.exit()``.

    Pools raise it from a signal handler, in the middle of whatever runs: then
    the innermost frame is theirs.
    """
    trace, module = error.__traceback__, ""
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        trace = trace.tb_next
    return module.partition(".")[0] in _STOPS_WORKERS


def place() -> Place | None:
    """Return the place in the user's code that the call came from.

    None if it came from the loop itself: ``gather(a(), b())`` runs each part
    as a task of its own, with nothing of the user's above it.
    """
    frame: Any = sys._getframe(1)
    while _is_ours(frame.f_code):
        if frame.f_code.co_name == "drain":
            return None
        frame = frame.f_back
    return (frame.f_code, frame.f_lasti)


def location(place: Place) -> str:
    """Return a place as ``file:line``."""
    code, at = place
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= at < end and number is not None:
            line = number
    return f"{code.co_filename}:{line}"


def waiting_at(coroutine: Any) -> str:
    """Return ``file:line`` of the innermost code of the user that ``coroutine`` stands in."""
    found = ""
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        if not _is_ours(frame.f_code):
            found = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        coroutine = coroutine.cr_await
    return found
