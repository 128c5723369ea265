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


def take(execution_id: uuid.UUID) -> Execution | None:
    """Take a live execution out of the cache, or return None."""
    with _lock:
        return _live.pop(execution_id, None)


def head(execution_id: uuid.UUID) -> int:
    """Return how far a live execution of the cache is; 0 if there is none."""
    live = _live.get(execution_id)
    return 0 if live is None else live.head


def put(execution_id: uuid.UUID, execution: Execution) -> None:
    """Keep a live execution; the ones used least make room."""
    with _lock:
        evicted = [_live.pop(execution_id)] if execution_id in _live else []
        _live[execution_id] = execution
        while len(_live) > settings.CACHE_SIZE:
            evicted.append(_live.popitem(last=False)[1])
    for old in evicted:
        old.close()


def clear() -> None:
    """Throw all of them away."""
    with _lock:
        evicted = list(_live.values())
        _live.clear()
    for old in evicted:
        old.close()
