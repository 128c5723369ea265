"""Look into an instance: borrow its live execution, or replay it, and change nothing."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from durable.engine import cache, watchdog
from durable.engine.living import live
from durable.engine.updates import HARMFUL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.core.execution import Execution
    from durable.models import Instance


@contextmanager
def look(instance: Instance) -> Iterator[Execution]:
    """Lend the execution of an instance, as it stands at the head that was read, to a block that is watched.

    Raises:
        UnknownWorkflow, VersionNotAvailable: This process cannot run it.
        NondeterminismError: Its code does not do what its history records.
        RunawayStep: The block took too long.
    """
    execution, rest = live(instance)
    useful = not rest and execution.outcome is None  # else it asked for what is not recorded, or nobody will need it
    try:
        with watchdog.watch(execution):
            yield execution
    except BaseException as error:
        # What was refused may have begun: a future that was set, say, but woke nobody.
        useful = useful and isinstance(error, Exception) and not isinstance(error, HARMFUL)
        raise
    finally:
        if useful:
            cache.put(instance.execution_id, execution)
        else:
            execution.close()
