"""A logger for workflow code, silent about what was said before."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from durable.core import context

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class ReplaySilentAdapter(_Adapter):
    """Logs with the running execution's ids as fields; drops records while it replays."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        execution = context.running()
        silent = execution is not None and execution.replaying and not execution.loop.looking  # a query runs now
        return not silent and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        execution = context.running()
        ids = (
            {
                "instance_id": execution.instance_id,
                "execution_id": execution.execution_id,
                "workflow": execution.workflow.type_name,
            }
            if execution
            else {}
        )
        kwargs["extra"] = {**ids, **(kwargs.get("extra") or {})}
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Emit outside the workflow: handlers may use sockets and threads, workflows may not."""
        if not self.isEnabledFor(level):
            return
        loop = asyncio._get_running_loop()
        message, fields = self.process(msg, kwargs)
        fields["stacklevel"] = fields.get("stacklevel", 1) + 1  # this method
        asyncio._set_running_loop(None)
        try:
            self.logger.log(level, message, *args, **fields)
        finally:
            asyncio._set_running_loop(loop)
