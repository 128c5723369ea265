"""Streams and clients on real servers: WSGI with a thread for each request, and ASGI."""

from __future__ import annotations

import base64
import itertools
import socket
import sys
import threading
import types
from dataclasses import replace
from email.message import Message
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection

from durable.api import streaming
from durable.engine import cache
from durable.models import Instance, Operation
from durable.store import clock
from project import celery_app
from tests.api.conftest import EVERY
from tests.api.serving import asgi, until
from tests.test_docs import ROOT, blocks, compiled

PAGE = ROOT / "docs" / "how-to" / "write-a-client.md"
LISTENERS = 12


@pytest.fixture
def ada(settings, db):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    user = get_user_model().objects.create_user("ada", password="secret")
    user.user_permissions.set(Permission.objects.filter(codename__in=EVERY))
    return user


@pytest.fixture(params=["WSGI", "ASGI"])
def server(request, committing, ada):
    """The address of a server."""
    if request.param == "WSGI":
        yield request.getfixturevalue("live_server").url
    else:
        with asgi() as url:
            yield url


class Listener:
    """Somebody who follows the instance ``talk``."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port), timeout=30)
        credentials = base64.b64encode(b"ada:secret").decode()
        lines = ["GET /api/v1/instances/talk/events/?timeout=60 HTTP/1.1", f"Host: {address.netloc}"]
        lines += [f"Authorization: Basic {credentials}", "Accept: text/event-stream", "Connection: close"]
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._heard = ""

    def hear(self, until: str) -> str:
        """Return all that was sent, up to what is waited for."""
        while until not in self._heard:
            part = self._socket.recv(65_536)
            assert part, f"it ended: {self._heard}"
            self._heard += part.decode()
        return self._heard

    def go(self) -> None:
        """Hang up."""
        self._socket.close()


def connections() -> int:
    """Return how many others are connected to the database."""
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


def test_whoever_goes_away_leaves_nothing_behind(server, committing, talk, monkeypatch):
    monkeypatch.setattr(streaming, "_SILENCE", 0.1)
    monkeypatch.setattr(streaming, "_SLOWEST", 0.2)
    handle = talk.options(id="talk").start("hush")
    committing.run_until_quiet()
    before, connected = threading.active_count(), connections()

    listeners = [Listener(server) for _ in range(LISTENERS)]
    for listener in listeners:
        listener.hear("event: instance")
    gone, stay = listeners[::2], listeners[1::2]
    for listener in gone:
        listener.go()

    until("their threads end", lambda: threading.active_count() <= before + len(stay))
    until("and their connections", lambda: connections() <= connected + len(stay))
    handle.signal("go", "on")
    committing.run_until_quiet()
    for listener in stay:
        told = listener.hear("event: end")
        assert told.startswith("HTTP/1.1 200")
        assert "x-accel-buffering: no" in told.lower()
        listener.go()
    until("all threads end", lambda: threading.active_count() <= before)
    until("all connections end", lambda: connections() <= connected)


def test_signs_of_life_come_while_nothing_happens(server, committing, talk, monkeypatch):
    monkeypatch.setattr(streaming, "_SILENCE", 0.1)
    talk.options(id="talk").start("hush")
    committing.run_until_quiet()

    listener = Listener(server)

    listener.hear(":\n\n")
    listener.go()


class Page:
    """What the page defines, file by file, in one module."""

    def __init__(self, url: str) -> None:
        self.module, self._url = types.ModuleType("page"), url
        self.files = {block.file: block for block in blocks(PAGE) if block.file}

    def run(self, name: str) -> Any:
        """Run a file, against the server; return the module."""
        block = self.files.pop(name)
        here = replace(block, text=block.text.replace("https://shop.example", self._url))
        exec(compiled(PAGE, here), self.module.__dict__)
        return self.module


@pytest.fixture
def page(server, monkeypatch):
    celery_app.conf.task_always_eager = True
    page = Page(server)
    monkeypatch.setitem(sys.modules, "page", page.module)
    yield page
    celery_app.conf.task_always_eager = False
    cache.clear()
    clock.forget()


def breaking(sent: Any, beats: int) -> Any:
    """Return a stream that breaks after so many events, amid the next one."""
    said = 0
    for beat in sent:
        said += isinstance(beat, str)
        if said > beats:
            yield beat[: len(beat) // 2]
            return
        yield beat


@pytest.mark.parametrize(("told", "pause"), [("7", 7), ("Wed, 21 Oct 2026 07:28:00 GMT", 2), (None, 2)])
def test_client_of_the_page_tries_again_whatever_is_between_says(told, pause):
    shop, headers = Page("https://shop.example").run("client.py"), Message()
    if told:
        headers["Retry-After"] = told

    assert shop._worth_another_try(HTTPError("", 503, "busy", headers, None), 2) == pause


def test_client_of_the_page_does_what_it_says(page, ada, monkeypatch, capsys):
    page.run("client.py")
    shop = page.run("workflows.py")
    whole, cut = streaming.beats, itertools.count(2)
    monkeypatch.setattr(streaming, "beats", lambda *args, **how: breaking(whole(*args, **how), next(cut)))
    monkeypatch.setattr(streaming, "_RETRY", 1)
    monkeypatch.setattr(shop, "time", types.SimpleNamespace(sleep=lambda seconds: None))

    page.run("start.py")
    assert shop.started["id"] == "order-42"
    shop.token = shop.letters[42]
    page.run("complete.py")

    assert Instance.objects.get(pk="order-42").result == ["receipt 42: 10", "Ada"]
    everything = [(last, name, data) for last, name, data in shop.api.follow("order-42") if name == "history"]
    assert [data["seq"] for _, _, data in everything] == [1, 2, 3, 4, 5, 6]
    assert next(cut) > 4, "the connection broke"
    page.run("rerun.py")
    assert capsys.readouterr().out == "runs again: ['charge']\n"
    assert (shop.again["rerun_from"], shop.again["attempt"]) == ("order-42", 1)
    page.run("seen.py")
    assert not page.files, "not all of the page was run"
    with pytest.raises(shop.Problem) as caught:
        shop.api.post("instances/order-42/rewind/", seen='"other"')
    assert (caught.value.status, caught.value.code) == (409, "concurrency_conflict")
    assert set(Operation.objects.values_list("actor_name", flat=True)) == {"ada"}
