"""Matchers: what stands for arguments that a mock takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable.core.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable


class _Any:
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "ANY"


ANY: Any = _Any()
"""Equals whatever a mock is called with."""


class _Matching:
    def __init__(self, fn: Callable[[Any], object]) -> None:
        self._fn = fn

    def __eq__(self, other: object) -> bool:
        return bool(self._fn(other))

    def __hash__(self) -> int:
        return hash(self._fn)

    def __repr__(self) -> str:
        return f"matching({getattr(self._fn, '__name__', self._fn)})"


def matching(fn: Callable[[Any], object]) -> Any:
    """Return what equals every argument that ``fn`` says yes to.

    Raises:
        InvalidInput: It cannot be called.
    """
    if not callable(fn):
        raise InvalidInput("matching(fn)", f"{fn!r} cannot be called; give a function: lambda value: ...")
    return _Matching(fn)
