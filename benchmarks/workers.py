"""The Celery worker that the workloads run on."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import workflows
from benchmarks.engines import Engine
from durable import ResultTimeout
from durable.models import OPEN
from tests import servers

if TYPE_CHECKING:
    from durable.client import Handle

_ROOT = Path(__file__).resolve().parent.parent
_PATIENCE = 60.0


class WorkerError(RuntimeError):
    """The worker ended, or does not get anything done.

    Attributes:
        log: The end of what it wrote.
    """

    def __init__(self, code: int | None, log: str) -> None:
        self.log = log
        state = f"gave no result in {_PATIENCE:g} s" if code is None else f"ended with exit code {code}"
        super().__init__(f"the worker {state}:\n{log}")


@contextmanager
def worker(
    folder: Path, *, processes: int = 2, pool: str = "prefork", env: Mapping[str, str] | None = None
) -> Iterator[Engine]:
    """Run a worker until the block ends, and give it as what runs instances.

    Args:
        folder: Where its log goes.
        processes: How many processes, or threads, its pool has.
        pool: Which of Celery's pools.
        env: What its environment has besides ours.

    Raises:
        WorkerError: It ended, or did not come to a result.
    """
    log = folder / "worker.log"
    command = [
        *(sys.executable, "-m", "celery", "-A", "benchmarks.celery_app", "worker"),
        *("--pool", pool, "--concurrency", str(processes), "--loglevel", "WARNING"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ]
    process = servers.start(command, log, cwd=_ROOT, user=None, env=env or {}, stop=signal.SIGTERM)

    def fault() -> WorkerError:
        return WorkerError(process.poll(), log.read_text(errors="replace")[-4000:])

    def check() -> None:
        if process.poll() is not None:
            raise fault()

    def finish(handle: Handle) -> Any:
        try:
            return handle.result(timeout=_PATIENCE)
        except ResultTimeout:
            raise fault() from None

    try:
        first = workflows.sequential.start(1)
        while first.status in OPEN:
            check()
            time.sleep(0.1)
        yield Engine(finish=finish, check=check, roots=(process.pid,))
    finally:
        servers.end(process, signal.SIGTERM)
