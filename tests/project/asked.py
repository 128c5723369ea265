"""What a decision asks for, in a form that is easy to compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable.core import events as ev

if TYPE_CHECKING:
    from durable.core.replay import Decision


def activities(decision: Decision) -> list[tuple[Any, ...]]:
    """Return the name and the arguments of each activity that is asked for."""
    return [(c.name, *c.input["args"]) for c in decision.commands if isinstance(c, ev.ActivityScheduled)]


def children(decision: Decision) -> list[str]:
    """Return the instance ids of the children that are asked for."""
    return [c.instance_id for c in decision.commands if isinstance(c, ev.ChildScheduled)]


def timers(decision: Decision) -> int:
    """Return how many timers are asked for."""
    return sum(isinstance(c, ev.TimerStarted) for c in decision.commands)
