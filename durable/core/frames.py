"""Where in the user's code something happened."""

from __future__ import annotations

import asyncio
import gc
import itertools
import linecache
import os
import sys
import sysconfig
from typing import TYPE_CHECKING, Any

from durable.core import texts

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

    Place = tuple[CodeType, int]

_NOT_THE_USERS = (os.path.dirname(__file__), os.path.dirname(asyncio.__file__))
_DURABLE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_LIBRARIES = (_DURABLE, *(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")))
_PACKAGES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_SHOWN = 80
_known: dict[str, bool] = {}
_libraries: dict[str, bool] = {}


def _is_ours(code: CodeType) -> bool:
    name = code.co_filename
    if (ours := _known.get(name)) is None:
        ours = _known[name] = name.startswith(_NOT_THE_USERS)
    return ours


def package(fn: Callable[..., Any]) -> str:
    """Return the top-level package of a workflow's function; empty for one of ours."""
    name = (fn.__module__ or "").partition(".")[0]
    return "" if name == __name__.partition(".")[0] else name


def is_users(frame: FrameType, package: str) -> bool:
    """Say whether a frame runs code of the user's project, and not of a library or the standard library.

    Args:
        frame: The frame.
        package: The top-level package of the workflow: the user's, also when it is installed like a library.
    """
    module = frame.f_globals.get("__name__", "")
    if package and module.partition(".")[0] == package:
        return True
    name = frame.f_code.co_filename
    if name.startswith("<") and "__file__" in frame.f_globals:
        name = frame.f_globals["__file__"]  # made with exec, as dataclasses make theirs
    if (library := _libraries.get(name)) is None:
        library = _libraries[name] = _is_library(name)
    return not library


def _is_library(name: str) -> bool:
    return name.startswith((*_LIBRARIES, "<frozen ")) or any(each in name for each in _PACKAGES)


def is_the_loop(frame: FrameType) -> bool:
    """Say whether a frame is the bottom of all that a workflow's code runs in."""
    return frame.f_code.co_name == "drain" and _is_ours(frame.f_code)


def of_workflow(frame: FrameType | None, package: str) -> FrameType | None:
    """Return the innermost frame, from ``frame`` down to the loop, that runs code of the user's project."""
    while frame is not None and not is_the_loop(frame):
        if is_users(frame, package):
            return frame
        frame = frame.f_back
    return None


def as_written(frame: FrameType) -> str:
    """Return what a frame is just evaluating, as its author wrote it; empty without the source."""
    code = frame.f_code
    start, end, first, last = next(itertools.islice(code.co_positions(), frame.f_lasti // 2, None))
    if start is None or end is None:
        return ""
    lines = [linecache.getline(code.co_filename, number, frame.f_globals) for number in range(start, end + 1)]
    if first is not None and last is not None:  # columns count bytes
        lines[-1] = lines[-1].encode()[:last].decode()
        lines[0] = lines[0].encode()[first:].decode()
    return texts.cut(" ".join("".join(lines).split()), _SHOWN)


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


def waiting_in(coroutine: Any) -> Any:
    """Return the call that the innermost code of the user waits in, as a coroutine, or None.

    None when that code waits for a future itself, as ``gather`` gives one.
    """
    found = None
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        if not _is_ours(frame.f_code):
            found = None
        elif found is None:
            found = coroutine
        coroutine = following(coroutine)
    return found


def following(coroutine: Any) -> Any:
    """Return what a coroutine that stands still awaits."""
    awaited = coroutine.cr_await
    if type(awaited).__name__ == "coroutine_wrapper":
        # What the ``__await__`` of an object gives hides a coroutine that only the collector sees.
        return gc.get_referents(awaited)[0]
    return awaited
