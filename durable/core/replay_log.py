"""A logger for workflow code, silent about what was said before."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from durable.core import context
from durable.core.here import outside

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from durable.core.execution import Execution

    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class ReplaySilentAdapter(_Adapter):
    """Logs with the facts of the running execution as fields; drops records while it replays."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        execution = context.running()
        silent = execution is not None and execution.replaying and not execution.loop.looking  # a query runs now
        return not silent and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        execution = context.running()
        fields = {} if execution is None else _fields(execution)
        kwargs["extra"] = {**fields, **(kwargs.get("extra") or {})}
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Emit outside the workflow: handlers may use sockets and threads, workflows may not."""
        if not self.isEnabledFor(level):
            return
        message, fields = self.process(msg, kwargs)
        fields["stacklevel"] = fields.get("stacklevel", 1) + 1  # this method
        with outside():
            self.logger.log(level, message, *args, **fields)


def _fields(execution: Execution) -> dict[str, Any]:
    started = execution.started
    assert started is not None  # noqa: S101 - its code runs, so it has started
    return {
        "instance_id": execution.instance_id,
        "execution_id": execution.execution_id,
        "workflow": execution.workflow.type_name,
        "version": execution.workflow.version,
        "queue": started.queue,
    }
