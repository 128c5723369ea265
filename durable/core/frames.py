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
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType, TracebackType

    Place = tuple[CodeType, int]

_NOT_THE_USERS = (os.path.dirname(__file__), os.path.dirname(asyncio.__file__))
_DURABLE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_LIBRARIES = (_DURABLE, *(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")))
_PACKAGES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_SHOWN = 80
_BOTTOM = ("drain", "look")
"""What runs a workflow's tasks, and its queries and validators."""
_libraries: dict[str, bool] = {}


class _Ours(dict[str, bool]):
    """Whether a file is of this core or of asyncio, by name."""

    def __missing__(self, name: str) -> bool:
        ours = self[name] = name.startswith(_NOT_THE_USERS)
        return ours


_ours = _Ours()


def is_ours(name: str) -> bool:
    """Say whether a file is of this core or of asyncio."""
    return _ours[name]


def _is_ours(code: CodeType) -> bool:
    return is_ours(code.co_filename)


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
        library = _libraries[name] = is_library(name)
    return not library


def is_library(name: str) -> bool:
    """Say whether a file is of a library, the standard one included."""
    return name.startswith((*_LIBRARIES, "<frozen ")) or any(each in name for each in _PACKAGES)


def is_the_loop(frame: FrameType) -> bool:
    """Say whether a frame is the bottom of all that a workflow's code runs in."""
    return frame.f_code.co_name in _BOTTOM and _is_ours(frame.f_code)


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
    """Return the place in the user's code that a call into this core came from.

    None if it came from the loop itself: ``gather(a(), b())`` runs each part
    as a task of its own, with nothing of the user's above it.
    """
    frame: Any = sys._getframe(2)  # who asks is of this core
    while _ours[(code := frame.f_code).co_filename]:
        if code.co_name == "drain":
            return None
        frame = frame.f_back
    return (code, frame.f_lasti)


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
    for frame, _ in chain(coroutine):
        if not _is_ours(frame.f_code):
            found = f"{frame.f_code.co_filename}:{frame.f_lineno}"
    return found


def waiting_in(coroutine: Any) -> Any:
    """Return the call that the innermost code of the user waits in, as a coroutine, or None.

    None when that code waits for a future itself, as ``gather`` gives one.
    """
    found = None
    for frame, awaitable in chain(coroutine):
        if not _is_ours(frame.f_code):
            found = None
        elif found is None:
            found = awaitable
    return found


def of_users(awaitable: Any) -> list[FrameType]:
    """Return the frames of what stands still, the outermost first, without ours and asyncio's."""
    return [frame for frame, _ in chain(awaitable) if not _is_ours(frame.f_code)]


def of_trace(trace: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    """Yield the frames that an exception passed, with their lines, the outermost first, without ours and asyncio's."""
    while trace is not None:
        if not _is_ours(trace.tb_frame.f_code):
            yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def chain(awaitable: Any) -> Iterator[tuple[FrameType, Any]]:
    """Yield the frames of a coroutine that stands still and of all that it awaits, each with what it is of."""
    while awaitable is not None:
        for frame_of, awaits in _STANDING:
            if (frame := getattr(awaitable, frame_of, None)) is not None:
                yield frame, awaitable
                awaitable = getattr(awaitable, awaits)
                break
        else:
            awaitable = _hidden(awaitable)


def following(coroutine: Any) -> Any:
    """Return the coroutine that a coroutine which stands still awaits, or None."""
    return next((awaitable for _, awaitable in itertools.islice(chain(coroutine), 1, None)), None)


_STANDING = (("cr_frame", "cr_await"), ("ag_frame", "ag_await"), ("gi_frame", "gi_yieldfrom"))
_HIDING = {"coroutine_wrapper", "async_generator_asend", "async_generator_athrow", "anext_awaitable"}


def _hidden(awaitable: Any) -> Any:
    """Return what an object hides that only the collector sees, such as what ``__await__`` gives does."""
    if type(awaitable).__name__ not in _HIDING:
        return None
    inside = gc.get_referents(awaitable)
    return next((each for each in inside if hasattr(each, "throw") or hasattr(each, "athrow")), None)
