"""Runs instances in this process: the engine without broker and workers."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.engines import Engine
from durable.client import Handle
from durable.engine.advance import advance
from durable.engine.perform import perform

_PATIENCE = 60.0


def finish(handle: Handle) -> Any:
    """Give an instance turns until it ends, and return its result.

    Raises:
        ResultTimeout: It did not end within a minute.
    """
    give_up_at = time.monotonic() + _PATIENCE
    advance(handle.id)
    while (instance := handle.instance).closed_at is None and time.monotonic() < give_up_at:
        perform(instance.queue)
        advance(handle.id)
    return handle.result(timeout=0)


ENGINE = Engine(finish=finish, check=lambda: None)
