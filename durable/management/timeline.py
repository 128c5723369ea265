"""Bars that show when the steps of a history were."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from durable.client.steps import Step


def span(steps: Sequence[Step]) -> float:
    """Return the seconds from the first event to the last that is known."""
    return max((_seconds(step.ended or step.began, steps[0].began) for step in steps), default=0.0)


def times(step: Step, start: datetime) -> tuple[float, float | None]:
    """Return when a step began and ended, in seconds after the first event; None if it has not ended."""
    return _seconds(step.began, start), None if step.ended is None else _seconds(step.ended, start)


def _seconds(at: datetime, start: datetime) -> float:
    return (at - start).total_seconds()


def bar(began: float, ended: float | None, total: float, width: int) -> str:
    """Return a bar of ``width`` characters that shows when a step began and ended, of ``total`` seconds."""
    if total <= 0:
        return "▏".ljust(width)
    scale = (width - 1) / total
    first = int(began * scale)
    if ended is None:
        return " " * first + "━" * (width - 1 - first) + "▶"
    last = int(ended * scale)
    drawn = "━" * (last - first + 1) if ended > began else "◆"
    return (" " * first + drawn).ljust(width)
