"""Explain where an instance's code stands, or stood after an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.core import events as ev
from durable.core import explaining, given
from durable.core.errors import UndecodableEvent
from durable.engine import living, watchdog
from durable.store import history, instances

if TYPE_CHECKING:
    import uuid

    from durable.core.execution import Execution
    from durable.core.explaining import Explanation
    from durable.models import Execution as Row
    from durable.models import Instance


def explain(instance_id: str, at: int | None = None, execution: str | uuid.UUID | None = None) -> Explanation:
    """Replay an instance up to an event, and say where its code stood then: stacks, variables, and what it waited for.

    Nothing is written and nothing runs but the replay: the ``repr`` of a
    variable may look and not touch, as a query may. Where the code does not do
    what the history records, the explanation goes up to there.

    Args:
        instance_id: The instance, in any state.
        at: The event's place in the history, from 1, which is explained with
            the rest of its step; None is the last one's.
        execution: Which execution of the instance; None is the current one.

    Raises:
        UnknownInstance, UnknownExecution: There is none of this id.
        InvalidInput: The history has no event at this place.
        UnknownWorkflow, VersionNotAvailable: This process does not have the code.
        RunawayStep: The code took too long.
    """
    given.optional(given.whole, at, "at")
    found = instances.get(instance_id)
    return of(found, instances.execution(found, execution), at=at)


def of(instance: Instance, execution: Row, *, at: int | None = None) -> Explanation:
    """Explain an execution of an instance; see ``explain``."""
    events, trouble = _read(execution.pk)
    # Its own: an id that was used again may have been another workflow's before.
    name = next((event.name for event in events if isinstance(event, ev.ExecutionStarted)), instance.name)

    def make() -> Execution:
        return living.fresh(name, execution.version, instance_id=instance.pk, execution_id=str(execution.pk), dry=True)

    return explaining.explain(make, events, at=at, trouble=trouble, watch=watchdog.watch)


def _read(execution_id: uuid.UUID) -> tuple[list[ev.Event], UndecodableEvent | None]:
    """Return the events that can be read, and why there are no more."""
    events: list[ev.Event] = []
    try:
        events.extend(history.read(execution_id))  # extends by those before the one that cannot be read
    except UndecodableEvent as error:
        return events, error
    return events, None
