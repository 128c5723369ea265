"""The demo's other processes: Celery workers that it starts, and kills."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_PATIENCE = 20
"""Seconds that a process has to end by itself."""


class Process:
    """A process in a group of its own, so that a signal reaches all that it started and nothing else."""

    def __init__(self, arguments: Sequence[str], *, environment: dict[str, str], log: Path) -> None:
        with log.open("ab") as file:
            self._process = subprocess.Popen(  # noqa: S603 - our own arguments
                arguments,
                cwd=settings.BASE_DIR,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process's id, which is its group's too."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill the whole group; none of it gets to do anything about it."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """Ask the process to end, and kill what is left of its group."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.terminate()
            self._process.wait(_PATIENCE)
        self._signal(signal.SIGKILL)

    def wait(self) -> None:
        """Wait until it ends."""
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)
        self._process.wait()


@contextlib.contextmanager
def killed_at_the_end() -> Iterator[list[Process]]:
    """Give a list for processes; whatever is in it is killed in the end, however that comes about."""
    processes: list[Process] = []
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()


def worker(*, environment: dict[str, str], log: Path, threads: int = 4) -> Process:
    """Start a Celery worker."""
    options = ["--pool=threads", f"--concurrency={threads}", "--loglevel=INFO"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    arguments = [sys.executable, "-m", "celery", "--app=project", "worker", *options, *quiet]
    return Process(arguments, environment=environment, log=log)


def site(address: str, *, environment: dict[str, str], log: Path) -> Process:
    """Start Django's development server."""
    arguments = [sys.executable, "manage.py", "runserver", "--noreload", address]
    return Process(arguments, environment=environment, log=log)
