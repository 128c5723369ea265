"""Frames of workflow code, as text: where they stand, and what their variables hold."""

from __future__ import annotations

import builtins
import linecache
import reprlib
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from durable.core import frames, texts
from durable.core.queries import looking

if TYPE_CHECKING:
    from types import FrameType

    from durable.core.execution import Execution

VARIABLES = 50
"""How many variables of a frame are shown."""

CHARACTERS = 300
"""How much of a variable is shown."""

FRAMES = 50
"""How many frames of a stack are shown: the innermost ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A frame of the user's code.

    Attributes:
        file, line, function: Where it stands.
        source: The line; empty without the source.
        variables: What its local variables hold, by ``repr``, cut if that is long.
        omitted: How many more variables it has.
    """

    file: str
    line: int
    function: str
    source: str
    variables: dict[str, str]
    omitted: int


def stack(execution: Execution, awaitable: Any) -> tuple[Frame, ...]:
    """Return the frames of what stands still, the outermost first."""
    return tuple(_shown(execution, frame, frame.f_lineno) for frame in frames.of_users(awaitable)[-FRAMES:])


def trace(execution: Execution, error: BaseException) -> tuple[Frame, ...]:
    """Return the frames that an exception passed, the outermost first."""
    passed = list(frames.of_trace(error.__traceback__))[-FRAMES:]
    return tuple(_shown(execution, frame, line) for frame, line in passed)


def _shown(execution: Execution, frame: FrameType, line: int) -> Frame:
    code = frame.f_code
    variables = {name: value for name, value in frame.f_locals.items() if not name.startswith(".")}
    return Frame(
        file=code.co_filename,
        line=line,
        function=code.co_qualname,
        source=linecache.getline(code.co_filename, line, frame.f_globals).strip(),
        variables={name: shown(execution, value) for name, value in islice(variables.items(), VARIABLES)},
        omitted=max(0, len(variables) - VARIABLES),
    )


def shown(execution: Execution, value: Any) -> str:
    """Return a value by its ``repr``, which may look and not touch, as a query may."""
    try:
        with looking(execution, "a repr", type(value).__repr__):
            text = execution.context().run(_repr.repr, value)
    except Exception as error:  # noqa: BLE001 - user code, and how it fails is what is to be shown
        return _failed(value, error)
    return texts.cut(text, CHARACTERS)


def _failed(value: Any, error: Exception) -> str:
    return texts.cut(f"<{type(value).__name__}: its repr raised {type(error).__name__}: {error}>", CHARACTERS)


class _Repr(reprlib.Repr):
    """Shortens what is long before it is a long text, and does not hide what a ``repr`` raises."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 5
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = 20
        self.maxstring = self.maxlong = self.maxother = CHARACTERS

    def repr_instance(self, x: Any, level: int) -> str:
        """Return the ``repr`` of anything that is no builtin container."""
        if isinstance(x, bytes | bytearray):
            x = x[:CHARACTERS]
        try:
            text = builtins.repr(x)
        except Exception as error:  # noqa: BLE001 - as above; the rest of a container is still worth showing
            return _failed(x, error)
        return texts.cut(text, CHARACTERS)


_repr = _Repr()
