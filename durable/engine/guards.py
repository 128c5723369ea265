"""Keeps workflow code from reaching outside: the ORM, sockets, processes, threads.

The loop refuses what goes through asyncio. Here is what does not: the ORM, by
a stand-in for the database connections that only workflow code sees, and the
standard library's own calls, by the interpreter's audit events.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, NoReturn

from django.db import connections

from durable.core import context

_AUDITED = {
    "socket.connect": "socket.connect",
    "socket.bind": "socket.bind",
    "socket.sendto": "socket.sendto",
    "socket.getaddrinfo": "socket.getaddrinfo",
    "subprocess.Popen": "subprocess.Popen",
    "os.system": "os.system",
    "os.posix_spawn": "os.posix_spawn",
    "os.fork": "os.fork",
    "_thread.start_new_thread": "threading.Thread.start",
    "_thread.start_joinable_thread": "threading.Thread.start",
}
_installed = False


class NoConnection:
    """Stands for a database connection in workflow code; any use of it is refused."""

    def __init__(self, alias: str) -> None:
        object.__setattr__(self, "_alias", alias)

    def __getattr__(self, name: str) -> NoReturn:
        _refuse(f"the database ({object.__getattribute__(self, '_alias')}, connection.{name})")


def enter() -> None:
    """Prepare the context that a workflow's code runs in; called inside it."""
    install()
    for alias in connections:
        # In a running loop, Django keeps connections by context: nobody else sees these.
        connections[alias] = NoConnection(alias)  # type: ignore[assignment]  # it refuses to be anything


def install() -> None:
    """Listen to the interpreter's audit events, once a process; this cannot be undone."""
    global _installed  # noqa: PLW0603 - once a process
    if _installed:
        return
    _installed = True
    sys.addaudithook(_audit)
    if sys.version_info < (3, 12):
        _watch_thread_start()


def _audit(event: str, _: Any) -> None:
    if event in _AUDITED and context.running() is not None:
        _refuse(_AUDITED[event])


def _watch_thread_start() -> None:
    # Before 3.12 the interpreter does not audit the start of a thread.
    start = threading.Thread.start

    def watched(self: threading.Thread) -> None:
        if context.running() is not None:
            _refuse("threading.Thread.start")
        start(self)

    threading.Thread.start = watched  # type: ignore[method-assign]


def _refuse(call: str) -> NoReturn:
    execution = context.running()
    assert execution is not None  # noqa: S101 - both guards look first
    raise execution.loop.forbid(call)
