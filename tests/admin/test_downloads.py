"""Downloads of the admin on a real ASGI server: they are sent while they are read."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPResponse
from io import StringIO
from typing import Any
from urllib.parse import urlsplit

import pytest

from durable import client
from durable.admin import feeds, operations
from durable.models import Operation
from durable.testing import history_of
from durable.testing.factories import InstanceFactory
from tests.admin.conftest import Site
from tests.api.serving import PATIENCE, asgi

AT = datetime(2030, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("transactional_db", "fresh")


@contextmanager
def download(site: Site, path: str) -> Iterator[HTTPResponse]:
    """Ask a server for a page of the admin."""
    with asgi() as url:
        connection = HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
        connection.request("GET", path, headers={"Cookie": f"sessionid={site.client.cookies['sessionid'].value}"})
        with connection.getresponse() as answer:
            yield answer
        connection.close()


class Gate:
    """Lets so many parts be read, and no other before it is opened."""

    def __init__(self, parts: int) -> None:
        self._left, self._open, self.in_time = parts, threading.Event(), True

    def open(self) -> None:
        """Let the others be read."""
        self._open.set()

    def guarding(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """Return what reads as ``read`` does, if the gate lets it."""

        def guarded(*args: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                self.in_time &= self._open.wait(3)
            return read(*args, **named)

        return guarded


def test_a_history_is_sent_while_it_is_read(site, monkeypatch):
    InstanceFactory(
        id="long", history=history_of("flow").activity("note").activity("note").activity("note").activity("note")
    )
    whole = [(item.seq, item.kind) for item in client.history("long")]
    gate = Gate(1)
    monkeypatch.setattr(feeds, "AT_ONCE", 4)
    monkeypatch.setattr(feeds.parts, "part", gate.guarding(feeds.parts.part))

    with download(site, "/admin/durable/instance/long/download/") as answer:
        lines = [answer.readline() for _ in range(4)]
        gate.open()
        told = b"".join([*lines, answer.read()])

    assert gate.in_time, "nothing was sent before all was read"
    assert [(event["seq"], event["kind"]) for event in json.loads(told)["history"]] == whole


def test_the_audit_log_is_sent_while_it_is_read(site, monkeypatch):
    Operation.objects.bulk_create(Operation(verb="suspend", instance_id=f"order-{n}", at=AT) for n in range(9))
    gate = Gate(4 * len(operations._COLUMNS))
    monkeypatch.setattr(operations, "_AT_ONCE", 4)
    monkeypatch.setattr(operations, "_cell", gate.guarding(operations._cell))

    with download(site, "/admin/durable/operation/export/") as answer:
        lines = [answer.readline() for _ in range(5)]
        gate.open()
        told = b"".join([*lines, answer.read()]).decode()

    assert gate.in_time, "nothing was sent before all was read"
    assert [row["instance_id"] for row in csv.DictReader(StringIO(told))] == [f"order-{n}" for n in range(8, -1, -1)]
