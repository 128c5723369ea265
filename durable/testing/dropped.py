"""Finds calls that workflow code made and nobody awaited: such a call does nothing at all."""

from __future__ import annotations

import itertools
import os
import sys
import warnings
from contextlib import contextmanager
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from durable.core import frames
from durable.testing.problems import LeftOpen, NeverAwaited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from durable.testing.driving import Run

T = TypeVar("T")

_KIT = os.path.dirname(__file__) + os.sep
_DEPTH = 100
_numbers = itertools.count(1)
_WELL = ("completed", "continued")
_HOOK = "_warn_unawaited_coroutine"
"""What the interpreter calls when a coroutine is thrown away that never began."""


class Mark:
    """Tells the coroutines of one execution from those of others, by a frame that they all were made under.

    What a failed simulation of another test left to the collector is thrown away at any time.
    """

    def __init__(self) -> None:
        self.name = f"simulated step {next(_numbers)}"
        self._under = FunctionType(_call.__code__.replace(co_name=self.name), {})

    def call(self, fn: Callable[[], T]) -> T:
        """Call a function with the mark below it on the stack."""
        return cast("T", self._under(fn))


def _call(fn: Callable[[], T]) -> T:
    return fn()


@contextmanager
def watch(found: list[str], mark: Mark | None = None) -> Iterator[None]:
    """Add to ``found`` the marked calls that are thrown away in the block, in words.

    Python warns neither of them then, nor of those that other simulations made.
    """
    before, depth = getattr(warnings, _HOOK, None), sys.get_coroutine_origin_tracking_depth()

    def note(coroutine: Any) -> None:
        origin = coroutine.cr_origin
        if origin and mark is not None and any(name == mark.name for _, _, name in origin):
            found.append(f"{coroutine.__qualname__}(...), called at {_place(origin)}")
        elif not origin and before is not None:
            before(coroutine)

    sys.set_coroutine_origin_tracking_depth(_DEPTH if mark is not None else 1)
    setattr(warnings, _HOOK, note)
    try:
        yield
    finally:
        setattr(warnings, _HOOK, before)
        sys.set_coroutine_origin_tracking_depth(depth)


def refuse(run: Run) -> None:
    """Refuse an execution that went well and yet did not await what it called.

    Raises:
        NeverAwaited: It is one.
    """
    if run.dropped and run.status in _WELL:
        raise NeverAwaited(run.instance.id, run.dropped)


def complain(run: Run) -> None:
    """Warn of what an execution threw away on its way out, and of what it left open when it returned."""
    for call in run.dropped:
        _warn(f"{run.instance.id!r} is {run.status}, and {call}, was never awaited", RuntimeWarning)
    if run.left:
        said = "; ".join(run.left)
        _warn(
            f"{run.instance.id!r} returned and left open, with nobody to wait for it: {said}. "
            "Await it, or cancel it; a child that is to live on is started with parent_close='abandon'",
            LeftOpen,
        )


def _warn(message: str, kind: type[Warning]) -> None:
    """Warn at the line of the test."""
    frame: FrameType = sys._getframe(1)
    while frame.f_code.co_filename.startswith(_KIT) and frame.f_back is not None:
        frame = frame.f_back
    warnings.warn_explicit(message, kind, frame.f_code.co_filename, frame.f_lineno)


def _place(origin: tuple[tuple[str, int, str], ...]) -> str:
    """Return ``file:line`` of the innermost code that is not ours."""
    found = next(((file, line) for file, line, _ in origin if not frames.is_ours(file)), origin[0][:2])
    return f"{found[0]}:{found[1]}"
