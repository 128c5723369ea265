"""Which failures ended an execution: found by running its code once more, not by guessing from the record."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from durable.core import edit
from durable.core import events as ev
from durable.core.errors import ActivityError, ChildFailed, SignalError
from durable.core.execution import Execution
from durable.core.exits import BeyondRecord
from durable.core.replay import catch_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable.core.definitions import WorkflowDefinition
    from durable.core.payloads import Converter


def culprits(workflow: WorkflowDefinition, history: Sequence[ev.Event], *, converter: Converter) -> frozenset[int]:
    """Return the event ids of the failures that an execution failed because of; none if its own code is at fault.

    The exception that leaves the code says so by its chain; failures since
    which the code asked for nothing, as when it waits for all of several
    things and raises the first error, count with it. Code that keeps a
    failure as a value and raises an error of its own later breaks that chain;
    then every failure counts that no success of the same thing followed. And
    code that does not fail any more was mended: of its past only a failure
    that it ended on at once counts.

    Args:
        workflow: The code as it is now.
        history: The whole history of an execution that failed.
        converter: For payloads.

    Raises:
        NondeterminismError: The code does not do what the history records.
    """
    *before, end = history
    if not isinstance(end, ev.ExecutionFailed) or end.imposed:
        return frozenset()
    execution = Execution(workflow, converter=converter, dry=True)
    try:
        with suppress(BeyondRecord):
            catch_up(execution, before)
        if not isinstance(execution.outcome, ev.ExecutionFailed):
            return edit.last_failure(before)
        chain = _chain(execution.raised)
        return chain | edit.just_before(before, chain) if chain else edit.unresolved(before)
    finally:
        execution.close()


def _chain(error: BaseException | None) -> frozenset[int]:
    """Return the event ids in a chain of exceptions, ``from None`` or not, groups included."""
    found: set[int] = set()
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        at_hand = waiting.pop()
        if at_hand is None or id(at_hand) in seen:
            continue
        seen.add(id(at_hand))
        if isinstance(at_hand, ActivityError | ChildFailed | SignalError):
            found.add(at_hand.event_id)
        if isinstance(at_hand, BaseExceptionGroup):
            waiting += at_hand.exceptions
        waiting += [at_hand.__cause__, at_hand.__context__]
    return frozenset(found)
