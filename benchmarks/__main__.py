"""Starts the servers, and then everything that needs Django set up for them."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import django
import psycopg
from psycopg import conninfo, sql

from benchmarks import options
from tests import servers


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks and return the exit code."""
    chosen = options.parse(arguments)
    # SIGTERM must end the servers in order too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with servers.scratch("durable-benchmarks-") as folder, _servers(chosen, folder) as env:
        os.environ.update(env)
        django.setup()
        # Only now are there models to import.
        import_module("benchmarks.session").run(chosen, folder)
    return 0


@contextlib.contextmanager
def _servers(chosen: argparse.Namespace, folder: Path) -> Iterator[dict[str, str]]:
    """Start what the options call for, and give the environment that names it."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
    with contextlib.ExitStack() as stack:
        if chosen.db == "postgres":
            database = stack.enter_context(_fresh_database(stack.enter_context(servers.postgres())))
        else:
            database = f"sqlite:///{folder / 'benchmarks.sqlite3'}"
        broker = "memory://" if chosen.in_process else stack.enter_context(servers.redis())
        yield {"DEBUG": "0", "DATABASE_URL": database, "BROKER_URL": broker}


@contextlib.contextmanager
def _fresh_database(url: str) -> Iterator[str]:
    """Give a new database of a server, for as long as the block lasts."""
    name = f"benchmarks_{os.getpid()}"
    with psycopg.connect(url, autocommit=True) as client:
        client.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            parts = conninfo.conninfo_to_dict(url)
            secret = f":{parts['password']}" if "password" in parts else ""
            yield f"postgresql://{parts['user']}{secret}@{parts['host']}:{parts.get('port', 5432)}/{name}"
        finally:
            client.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(128 + signal.SIGINT)
