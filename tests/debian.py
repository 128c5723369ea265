"""Throw-away RabbitMQ and MariaDB, from Debian's packages; and which packages a browser needs.

No system service is used or touched: each instance has its own folder, ports and names.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from . import servers

PACKAGES = {"rabbitmq-server": "rabbitmq-server", "mariadbd": "mariadb-server"}
BROWSER = {"chromium": "chromium"}


def missing(packages: Mapping[str, str] = PACKAGES) -> list[str]:
    """Return the Debian packages whose binaries are not here."""
    return [package for binary, package in packages.items() if find(binary) is None]


def find(binary: str) -> Path | None:
    """Return where a server's binary is; Debian keeps some of them out of an ordinary user's PATH."""
    path = shutil.which(binary, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/lib/rabbitmq/bin")
    return Path(path) if path else None


def require(binary: str) -> Path:
    """Return where a server's binary is.

    Raises:
        ServerError: It is not installed.
    """
    path = find(binary)
    if path is None:
        raise servers.ServerError(binary, f"the Debian package {PACKAGES.get(binary, binary)} is not installed")
    return path


@contextlib.contextmanager
def mariadb() -> Iterator[str]:
    """Run MariaDB and give its URL; use ``DATABASE_URL`` instead if it is set."""
    if url := os.environ.get("DATABASE_URL"):
        yield url
        return
    with servers.scratch("durable-mariadb-") as folder:
        user = servers.unprivileged("mysql") if os.geteuid() == 0 else None
        servers.own(folder, user)
        data = folder / "data"
        servers.run(
            require("mariadb-install-db"),
            *("--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"),
            *("--skip-test-db", "--skip-name-resolve"),
            user=user,
        )

        def command(port: int) -> Sequence[str | Path]:
            return [
                *(require("mariadbd"), "--no-defaults", f"--datadir={data}", f"--port={port}"),
                *("--bind-address=127.0.0.1", f"--socket={folder / 'mariadb.sock'}"),
                *(f"--pid-file={folder / 'mariadb.pid'}", "--character-set-server=utf8mb4", "--skip-name-resolve"),
            ]

        with servers.serve("MariaDB", command, folder, user=user, ready=answers_mariadb) as port:
            create_database(port)
            yield f"mysql://root@127.0.0.1:{port}/durable"


@contextlib.contextmanager
def rabbitmq() -> Iterator[str]:
    """Run RabbitMQ and give its URL; use ``BROKER_URL`` instead if it is set."""
    if url := os.environ.get("BROKER_URL"):
        yield url
        return
    with servers.scratch("durable-rabbitmq-") as folder:
        epmd_port = servers.free_port()
        env = {
            # As root, Debian's wrapper would change to the user rabbitmq and drop these variables.
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"durable-{secrets.token_hex(4)}@localhost",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
            "RABBITMQ_DIST_PORT": str(servers.free_port()),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }
        (folder / "plugins").write_text("[].")
        (folder / "env.conf").touch()
        binary = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

        def command(port: int) -> Sequence[str | Path]:
            (folder / "rabbitmq.conf").write_text(
                f"listeners.tcp.1 = 127.0.0.1:{port}\nloopback_users = none\ndisk_free_limit.absolute = 1MB\n"
            )
            return [binary if binary.exists() else require("rabbitmq-server")]

        try:
            with servers.serve("RabbitMQ", command, folder, env=env, ready=answers_rabbitmq) as port:
                yield f"amqp://guest:guest@127.0.0.1:{port}//"
        finally:
            # Erlang's port mapper was started by the node, and outlives it.
            if epmd := find("epmd"):
                subprocess.run([epmd, "-port", str(epmd_port), "-kill"], capture_output=True, check=False, timeout=20)


def answers_mariadb(port: int) -> bool:
    """Tell whether MariaDB takes connections."""
    import pymysql

    try:
        pymysql.connect(host="127.0.0.1", port=port, user="root", connect_timeout=2).close()
    except pymysql.err.OperationalError:
        return False
    return True


def create_database(port: int) -> None:
    """Create the database that the URL names."""
    import pymysql

    with pymysql.connect(host="127.0.0.1", port=port, user="root") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE durable CHARACTER SET utf8mb4")


def answers_rabbitmq(port: int) -> bool:
    """Tell whether RabbitMQ speaks AMQP: it answers a protocol header with Connection.Start."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        return bool(connection.recv(8))
