"""An exception as it is recorded."""

from __future__ import annotations

import contextlib
import traceback
from dataclasses import dataclass
from typing import Any

from durable.core.errors import NonRetryable, RecordedError

_TRACEBACK = 20_000
_MESSAGE = 10_000
_DEPTH = 10
_MEMBERS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An exception as it is recorded.

    Attributes:
        type: The name of its class, without the module.
        message: What it said.
        traceback: Where it was raised, as Python prints it, without its causes.
        cause: What it was raised from, or what was being handled.
        exceptions: The members, if it is an ExceptionGroup.
        retryable: Whether trying again may help.
        kinds: The names of its class and of that one's bases, most special first.
    """

    type: str
    message: str = ""
    traceback: str = ""
    cause: Failure | None = None
    exceptions: tuple[Failure, ...] = ()
    retryable: bool = True
    kinds: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Return the record of an exception; one that was recorded already keeps its record."""
        return _record(error, seen=set(), depth=_DEPTH, room=_TRACEBACK)

    @classmethod
    def told(cls, kind: str, message: str) -> Failure:
        """Return the record of what is known by its message alone."""
        return cls(type=kind, message=_trimmed(message, _MESSAGE))

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON."""
        return {
            "type": self.type,
            "message": self.message,
            "traceback": self.traceback,
            "cause": self.cause and self.cause.to_json(),
            "exceptions": [each.to_json() for each in self.exceptions],
            "retryable": self.retryable,
            "kinds": list(self.kinds),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Failure:
        """Build the record that ``to_json`` wrote; only ``type`` must be there."""
        cause = data.get("cause")
        return cls(
            type=data["type"],
            message=data.get("message", ""),
            traceback=data.get("traceback", ""),
            cause=cause and cls.from_json(cause),
            exceptions=tuple(map(cls.from_json, data.get("exceptions", ()))),
            retryable=data.get("retryable", True),
            kinds=tuple(data.get("kinds", ())),
        )


def _record(error: BaseException, *, seen: set[int], depth: int, room: int) -> Failure:
    """Return the record of an exception.

    Args:
        error: The exception.
        seen: The identities of those recorded already: chains can be circles.
        depth: How many links of the chain to follow.
        room: The longest traceback, in characters. Halved at each link, so
            that the whole is bounded.
    """
    if isinstance(error, RecordedError):
        return error.failure
    seen.add(id(error))
    cause = _cause(error)
    if cause is not None and depth and id(cause) not in seen:
        recorded = _record(cause, seen=seen, depth=depth - 1, room=room // 2)
    else:
        recorded = None
    members = error.exceptions[:_MEMBERS] if isinstance(error, BaseExceptionGroup) and depth else ()
    share = room // (len(members) + 1)
    return Failure(
        type=type(error).__name__,
        message=_message(error),
        traceback=_trimmed(_where(error), room),
        cause=recorded,
        exceptions=tuple(_record(m, seen=seen, depth=depth - 1, room=share) for m in members if id(m) not in seen),
        retryable=not isinstance(error, NonRetryable),
        kinds=tuple(kind.__name__ for kind in type(error).__mro__ if kind is not object),
    )


def _cause(error: BaseException) -> BaseException | None:
    if error.__cause__ is not None or error.__suppress_context__:
        return error.__cause__
    return error.__context__


def _message(error: BaseException) -> str:
    text = f"<{type(error).__name__} with an unreadable message>"
    # __str__ is the user's code, and a failure must be recorded whatever it does.
    with contextlib.suppress(Exception):
        text = str(error)
    return _trimmed(text, _MESSAGE)


def _where(error: BaseException) -> str:
    if error.__traceback__ is None:
        return ""
    stack = traceback.format_tb(error.__traceback__)
    return "".join(["Traceback (most recent call last):\n", *stack, *traceback.format_exception_only(error)])


def _trimmed(text: str, room: int) -> str:
    """Leave out the middle of a text that is too long; make it such as can be stored."""
    if len(text) > room:
        tail = room * 3 // 4  # The end says most.
        text = f"{text[: room - tail]}\n[{len(text) - room} characters left out]\n{text[len(text) - tail :]}"
    # Names of files may hold half surrogates; PostgreSQL takes no NUL.
    return text.replace("\0", "\\x00").encode(errors="backslashreplace").decode()
