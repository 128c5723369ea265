"""Calls in processes of their own, as servers make them: together, and killed in the middle."""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from django.db import connection, connections

PATIENCE = 60.0
"""After how many seconds a process that says nothing is given up."""


class Process:
    """A process that makes one call, once it is let go."""

    def __init__(self, call: Callable[[], Any]) -> None:
        connections.close_all()  # which would be two processes' else
        (self._heard, says), (waits, self._gate) = os.pipe(), os.pipe()
        with warnings.catch_warnings():
            # Of this process's other threads none holds a lock that the call needs.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if not self.pid:
            os.close(self._gate)
            _call(call, says, waits)
        os.close(says)
        os.close(waits)
        assert self._read(5) == b"ready"

    def let_go(self) -> Process:
        """Have it make the call."""
        os.write(self._gate, b"!")  # closing it would not do: processes that began later have it open as well
        os.close(self._gate)
        return self

    def result(self) -> Any:
        """Return what the call returned or raised."""
        told = b""
        while part := self._read():
            told += part
        os.close(self._heard)
        os.waitpid(self.pid, 0)
        return pickle.loads(told)  # noqa: S301 - our own

    def kill(self) -> None:
        """End it as the kernel does that is out of memory."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._heard)

    def _read(self, size: int = 65_536) -> bytes:
        assert select.select([self._heard], [], [], PATIENCE)[0], "the process hangs"
        return os.read(self._heard, size)


def _call(call: Callable[[], Any], says: int, waits: int) -> NoReturn:
    try:
        connection.ensure_connection()
        os.write(says, b"ready")
        os.read(waits, 1)
        try:
            result = call()
        except Exception as error:  # the test's to judge
            result = error
        connections.close_all()
        with os.fdopen(says, "wb") as pipe:
            pickle.dump(result, pipe)
    finally:
        os._exit(0)  # nothing of the test run is this process's to clean up


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Make all calls at once, each in a process of its own; return what each returned or raised."""
    processes = [Process(call) for call in calls]
    return [process.result() for process in [each.let_go() for each in processes]]


class Mark:
    """Something that one process says to all others, once."""

    def __init__(self) -> None:
        self._seen, self._said = os.pipe()

    def say(self) -> None:
        """Say it."""
        os.write(self._said, b"!")

    def wait(self) -> None:
        """Wait until it is said."""
        assert select.select([self._seen], [], [], PATIENCE)[0], "nobody says it"

    def halt(self) -> NoReturn:
        """Say it, and do nothing more until killed."""
        self.say()
        while True:
            time.sleep(PATIENCE)
