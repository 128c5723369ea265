"""What failures have in common: the error, the place in the user's code, and the message but for what differs."""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from durable.core import frames, texts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from durable.core.failures import Failure

_MESSAGE = 200
_FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)$', re.MULTILINE)
_LOCATION = re.compile(r"(?P<file>.+):(?P<line>\d+)")

_DIFFERS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), stands_for)
    for pattern, stands_for in (
        (r"(?i)\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<id>"),
        # An apostrophe within a word quotes nothing.
        (r"""(?<!\w)(['"`])(?:(?!\1).|\1(?=\w))*\1(?!\w)""", "<text>"),
        (r"\b0[xX][0-9a-fA-F]+\b", "<hex>"),
        (r"(?i)\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}\b", "<hex>"),
        (r"\d+(?:[.,:]\d+)*", "<n>"),
    )
)

_WRAPPERS = {"ActivityError", "ChildFailed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """What a failure has in common with others.

    Attributes:
        error: The name of the exception's class; what an activity or a child raised goes for the workflow's own.
        place: The innermost place in the user's code, as ``file:function:line``, or ``file:line`` if no more is known;
            empty if there is none.
        message: What it said, with what differs from case to case replaced.
    """

    error: str
    place: str
    message: str

    def fingerprint(self, *of: str) -> str:
        """Return a short text that is the same for what is alike.

        Args:
            of: What else is to be the same.
        """
        parts = "\0".join([*of, self.error, self.place, self.message])
        return hashlib.sha256(parts.encode()).hexdigest()[:32]


def of_failure(failure: Failure) -> Likeness:
    """Return what a failure has in common with others."""
    while failure.type in _WRAPPERS and failure.cause is not None:
        failure = failure.cause
    if not failure.exceptions:
        return Likeness(error=failure.type, place=_place(failure.traceback), message=plain(failure.message))
    first = of_failure(failure.exceptions[0])
    return Likeness(error=f"{failure.type}[{first.error}]", place=first.place, message=first.message)


def of_stall(facts: dict[str, Any]) -> Likeness:
    """Return what a stalled instance has in common with others.

    Args:
        facts: What it shows of the error that stalled it.
    """
    place = _place(facts.get("traceback") or "")
    if found := _LOCATION.fullmatch(facts.get("location") or ""):
        place = f"{_shown(found['file'])}:{found['line']}"
    return Likeness(error=facts.get("error", ""), place=place, message=plain(facts.get("message", "")))


def plain(message: str) -> str:
    """Return a message with ids, quoted texts, hexadecimal and other numbers replaced."""
    message = message[: 10 * _MESSAGE]
    for pattern, stands_for in _DIFFERS:
        message = pattern.sub(stands_for, message)
    return texts.cut(" ".join(message.split()), _MESSAGE)


def _place(traceback: str) -> str:
    found = list(_FRAME.finditer(traceback))
    users = [frame for frame in found if not frames.is_library(frame["file"])]
    frame = next(reversed(users or found), None)
    return f"{_shown(frame['file'])}:{frame['function']}:{frame['line']}" if frame else ""


def _shown(file: str) -> str:
    """Return a file's path below the folder that it is imported from, which may be another one on each machine."""
    return _relative(file, tuple(sys.path))


@lru_cache(maxsize=1000)
def _relative(file: str, folders: Iterable[str]) -> str:
    above = [folder for folder in folders if folder and file.startswith(f"{folder.rstrip('/')}/")]
    return file[len(max(above, key=len).rstrip("/")) + 1 :] if above else file
