"""What workflow code may not do, and who answers for it."""

from __future__ import annotations

import contextvars
import sys
from typing import TYPE_CHECKING, Any

from durable.core import frames, places
from durable.core.errors import ForbiddenInWorkflow, ReadOnly

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from durable.core.errors import DurableError
    from durable.core.loop import DeterministicLoop

OF_THE_LOOP = (
    "run_in_executor",
    "call_soon_threadsafe",
    "getaddrinfo",
    "getnameinfo",
    "create_connection",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "create_datagram_endpoint",
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "start_tls",
    "sendfile",
    "subprocess_exec",
    "subprocess_shell",
    "add_reader",
    "remove_reader",
    "add_writer",
    "remove_writer",
    "add_signal_handler",
    "remove_signal_handler",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendfile",
    "sock_sendto",
    "run_forever",
    "run_until_complete",
    "shutdown_default_executor",
    "set_default_executor",
)
"""The methods of a loop that reach outside."""


class Liable:
    """Code that answers for its own forbidden calls, with all tasks that it begins: they do not end the execution.

    Attributes:
        over: Set when it is done; what it left running is the execution's again.
        refused: The first thing that it tried and may not.
    """

    __slots__ = ("over", "refused")

    def __init__(self) -> None:
        self.over = False
        self.refused: DurableError | None = None


liable: contextvars.ContextVar[Liable | None] = contextvars.ContextVar("liable", default=None)


def forbidden(loop: DeterministicLoop, call: str, instead: str) -> ForbiddenInWorkflow:
    """Return the error that says where the code that runs on a loop tried what it may not."""
    frame = _code(loop)
    if frame is None:  # library code that was handed to the loop as it is, such as ``gather(fetch(), ...)``
        return ForbiddenInWorkflow(call, instead=instead, location=places.waiting_at(loop.owner) if loop.owner else "")
    return ForbiddenInWorkflow(call, instead=instead, **_shown(frame))


def read_only(loop: DeterministicLoop, call: str) -> ReadOnly:
    """Return the error that says where the code that may only look tried to change something."""
    return ReadOnly(call, looker=loop.looking, **_shown(_code(loop)))


def _code(loop: DeterministicLoop) -> FrameType | None:
    return frames.of_workflow(sys._getframe(), loop.package)


def _shown(frame: FrameType | None) -> dict[str, str]:
    """Return where a frame is, and what stands there."""
    if frame is None:
        return {}
    return {"location": f"{frame.f_code.co_filename}:{frame.f_lineno}", "written": frames.as_written(frame)}


def refusing(name: str) -> Callable[..., Any]:
    """Return a method of a loop that refuses to do what it is named after."""

    def refuse(self: DeterministicLoop, *_: Any, **__: Any) -> Any:
        raise self.forbid(f"loop.{name}")

    refuse.__name__ = name
    return refuse
