"""What runs the instances of a workload, as the workloads see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durable.client import Handle


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What runs instances.

    Attributes:
        finish: Sees to it that an instance ends, and returns its result.
        check: Raises if nobody runs instances any more.
        roots: The processes that run them, children not included; none if it is this one.
    """

    finish: Callable[[Handle], Any]
    check: Callable[[], None]
    roots: tuple[int, ...] = ()
