"""Live executions of this process, so that a turn need not replay from the start.

Whoever takes one owns it: it is out of the cache until it is put back, after a
commit. Whoever fails in between throws it away.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from durable.conf import settings

if TYPE_CHECKING:
    import uuid

    from durable.core.execution import Execution

_lock = threading.Lock()
_live: OrderedDict[uuid.UUID, Execution] = OrderedDict()
_current: dict[str, uuid.UUID] = {}
"""Which of them is an instance's, as far as this process knows."""


def take(execution_id: uuid.UUID) -> Execution | None:
    """Take a live execution out of the cache, or return None."""
    with _lock:
        return _pop(execution_id)


def _pop(execution_id: uuid.UUID) -> Execution | None:
    live = _live.pop(execution_id, None)
    if live is not None and _current.get(live.instance_id) == execution_id:
        del _current[live.instance_id]
    return live


def head(execution_id: uuid.UUID) -> int:
    """Return how far a live execution of the cache is; 0 if there is none."""
    live = _live.get(execution_id)
    return 0 if live is None else live.head


def known(instance_id: str) -> uuid.UUID | None:
    """Return which execution of an instance the cache holds, or None."""
    return _current.get(instance_id)


def put(execution_id: uuid.UUID, execution: Execution) -> None:
    """Keep a live execution; the ones used least make room."""
    with _lock:
        evicted = [_pop(execution_id)]
        _live[execution_id] = execution
        _current[execution.instance_id] = execution_id
        while len(_live) > settings.CACHE_SIZE:
            evicted.append(_pop(next(iter(_live))))
    for old in evicted:
        if old is not None:
            old.close()


def clear() -> None:
    """Throw all of them away."""
    with _lock:
        evicted = list(_live.values())
        _live.clear()
        _current.clear()
    for old in evicted:
        old.close()
