"""Look into an instance: borrow its live execution, or replay it, and change nothing."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from durable.engine import cache
from durable.engine.advance import live

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.core.execution import Execution
    from durable.models import Instance


@contextmanager
def look(instance: Instance) -> Iterator[Execution]:
    """Lend the execution of an instance, as it stands at the head that was read.

    Raises:
        UnknownWorkflow, VersionNotAvailable: This process cannot run it.
        NondeterminismError: Its code does not do what its history records.
    """
    execution, rest = live(instance)
    try:
        yield execution
    finally:
        if rest or instance.closed_at is not None:
            execution.close()  # it asked for what is not recorded yet, or nobody will need it
        else:
            cache.put(instance.execution_id, execution)
