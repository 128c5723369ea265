"""Servers of the demo project, as real as they need to be, in threads of the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from django.core.asgi import get_asgi_application
from django.db import connections

from durable import conf

PATIENCE = 30.0


@contextmanager
def asgi() -> Iterator[str]:
    """Run an ASGI server, and give its address; as Django says, without connections that outlive a request."""
    settings = connections.settings[conf.settings.DATABASE]
    before = settings["CONN_MAX_AGE"]
    settings["CONN_MAX_AGE"] = 0
    server = uvicorn.Server(uvicorn.Config(get_asgi_application(), port=0, lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until("it runs", lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        settings["CONN_MAX_AGE"] = before
        assert not thread.is_alive(), "the server does not end"


def until(what: str, condition: object) -> None:
    """Wait until something is so."""
    assert callable(condition)
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.01)
