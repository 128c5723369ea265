"""Workflow code cannot reach outside: the typed error fails the instance, also when it is swallowed."""

from __future__ import annotations

import asyncio
import importlib
import linecache
import os
import smtplib
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
import traceback
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from celery import current_app, shared_task
from django.contrib.auth.models import User
from django.core.cache import cache, caches
from django.db import connection, connections, transaction
from django.utils import translation
from django.utils.translation import gettext

from durable import WorkflowFailed, activity, workflow
from tests.driving import kinds


def orm_read():
    return list(User.objects.all())


def orm_get():
    return User.objects.get(pk=1)


def orm_write():
    User.objects.create(username="ada")


def raw_sql():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def sqlite():
    sqlite3.connect(":memory:").close()


def raw_sql_by_a_connection_from_elsewhere():
    with KEPT[-1].cursor() as cursor:
        cursor.execute("SELECT 1")


def atomic():
    with transaction.atomic():
        pass


def cache_get():
    return cache.get("key")


def cache_set():
    cache.set("key", 1)


def cache_contains():
    return "key" in cache


def cache_by_alias():
    return caches["default"].get_or_set("key", 1)


def connect():
    socket.create_connection(("127.0.0.1", 9), timeout=1)


def new_socket():
    socket.socket().close()


def resolve():
    socket.getaddrinfo("localhost", 80)


def fetch():
    urllib.request.urlopen("http://127.0.0.1:9/", timeout=1)


def mail():
    smtplib.SMTP("127.0.0.1", 9)


def thread():
    threading.Thread(target=int).start()


def pool():
    with ThreadPoolExecutor(1) as executor:
        executor.submit(int)


def run():
    subprocess.run(["true"], check=False)


def system():
    os.system("true")  # noqa: S605 - refused before it runs


def sleep():
    time.sleep(0)


def read_file():
    with open(__file__) as file:
        return file.readline()


def read_path():
    return len(Path(__file__).read_text())


def list_directory():
    return os.listdir(".")


def make_directory():
    os.makedirs(f"{tempfile.gettempdir()}/durable-guards/x", exist_ok=True)


def temporary_file():
    tempfile.TemporaryFile().close()


def asyncio_run():
    return asyncio.run(nothing())


async def nothing():
    pass


def to_sync():
    return async_to_sync(nothing)()


def celery_delay():
    echo.delay()


def celery_by_name():
    current_app.send_task("tests.test_guards.echo")


async def executor():
    await asyncio.get_running_loop().run_in_executor(None, int)


async def to_thread():
    await asyncio.to_thread(int)


async def to_async():
    await sync_to_async(int)()


async def open_connection():
    await asyncio.open_connection("127.0.0.1", 9)


async def subprocess_exec():
    await asyncio.create_subprocess_exec("true")


async def async_orm():
    return [user async for user in User.objects.all()]


async def async_count():
    return await User.objects.acount()


async def async_cache():
    return await cache.aget("key")


async def gathered():
    await asyncio.gather(User.objects.acount())


KEPT = []
NAMED = {
    orm_read: ("the database", "list(User.objects.all())", "activity"),
    orm_get: ("the database", "User.objects.get(pk=1)", "activity"),
    orm_write: ("the database", 'User.objects.create(username="ada")', "activity"),
    raw_sql: ("the database (default, connection.cursor)", "connection.cursor", "activity"),
    raw_sql_by_a_connection_from_elsewhere: ("the database", "KEPT[-1].cursor()", "activity"),
    sqlite: ("sqlite3.connect", 'sqlite3.connect(":memory:")', "activity"),
    atomic: ("the database", "transaction.atomic()", "activity"),
    cache_get: ("the cache (default, cache.get)", "cache.get", "activity"),
    cache_set: ("the cache (default, cache.set)", "cache.set", "activity"),
    cache_contains: ("the cache", '"key" in cache', "activity"),
    cache_by_alias: ("the cache", 'caches["default"].get_or_set', "activity"),
    connect: ("socket.", "socket.create_connection(", "activity"),
    new_socket: ("socket.socket", "socket.socket()", "activity"),
    resolve: ("socket.getaddrinfo", "socket.getaddrinfo(", "activity"),
    fetch: ("socket.", "urllib.request.urlopen(", "activity"),
    mail: ("socket.", "smtplib.SMTP(", "activity"),
    thread: ("threading.Thread.start", "threading.Thread(target=int).start()", "activity"),
    pool: ("threading.Thread.start", "executor.submit(int)", "activity"),
    run: ("subprocess.Popen", 'subprocess.run(["true"], check=False)', "activity"),
    system: ("os.system", 'os.system("true")', "activity"),
    sleep: ("time.sleep", "time.sleep(0)", "Use await asyncio.sleep()"),
    read_file: ("open", "open(__file__)", "activity"),
    read_path: ("open", "Path(__file__).read_text()", "activity"),
    list_directory: ("os.listdir", 'os.listdir(".")', "activity"),
    make_directory: ("os.mkdir", "os.makedirs(", "activity"),
    temporary_file: ("open", "tempfile.TemporaryFile()", "activity"),
    asyncio_run: ("asyncio.run", "asyncio.run(nothing())", "Await the coroutine itself"),
    to_sync: ("async_to_sync", "async_to_sync(nothing)()", "Await the coroutine itself"),
    celery_delay: ("a Celery task's apply_async", "echo.delay()", "activity.from_celery(task)"),
    celery_by_name: ("app.send_task", "current_app.send_task(", "activity"),
    executor: ("loop.run_in_executor", "asyncio.get_running_loop().run_in_executor(None, int)", "activity"),
    to_thread: ("loop.run_in_executor", "await asyncio.to_thread(int)", "activity"),
    to_async: ("sync_to_async", "sync_to_async(int)()", "activity"),
    open_connection: ("loop.create_connection", "asyncio.open_connection(", "activity"),
    subprocess_exec: ("loop.subprocess_exec", "asyncio.create_subprocess_exec(", "activity"),
    async_orm: ("sync_to_async", "User.objects.all()", "activity"),
    async_count: ("sync_to_async", "await User.objects.acount()", "activity"),
    async_cache: ("the cache", "cache.aget", "activity"),
    gathered: ("sync_to_async", "", "activity"),
}
CALLS = {call.__name__: call for call in NAMED}


@shared_task
def echo():
    """Never run."""


async def reach(name):
    reached = CALLS[name]()
    if asyncio.iscoroutine(reached):
        await reached


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("swallowed", [False, True], ids=["raised", "swallowed"])
def test_reaching_outside_fails_the_instance_with_the_typed_error(committing, name, swallowed):
    @activity.defn
    def work() -> None: ...

    @workflow.defn
    async def reaching() -> str:
        try:
            await reach(name)
        except Exception:
            if not swallowed:
                raise
        await work()
        return "swallowed"

    KEPT.append(connections["default"])
    handle = reaching.start()
    with pytest.raises(WorkflowFailed) as failed:
        committing.result(handle)

    failure = failed.value.failure
    assert failure.type == "ForbiddenInWorkflow"
    assert "is not allowed in a workflow" in failure.message
    assert "(at " in failure.message
    assert kinds(handle) == ["ExecutionStarted", "ExecutionFailed"]
    assert not User.objects.exists()


@pytest.mark.parametrize("name", CALLS)
def test_error_names_the_call_as_it_was_written_and_what_to_do(committing, name):
    KEPT.append(connections["default"])
    call, written, instead = NAMED[CALLS[name]]

    @workflow.defn
    async def reaching() -> None:
        await reach(name)

    handle = reaching.start()
    with pytest.raises(WorkflowFailed) as failed:
        committing.result(handle)

    message = failed.value.failure.message
    assert message.startswith(call)
    assert instead in message
    assert f"(at {__file__}:" in message
    assert written in message


def test_error_carries_the_place_in_the_workflow(engine):
    @workflow.defn
    async def reaching() -> None:
        orm_read()

    with pytest.raises(WorkflowFailed) as failed:
        engine.result(reaching.start())

    assert Path(__file__).name in failed.value.failure.traceback
    assert "orm_read" in failed.value.failure.traceback


def test_activities_may_reach_everything(committing, path):
    @activity.defn
    def work() -> int:
        for name in (
            *("orm_write", "raw_sql", "thread", "pool", "run", "resolve", "new_socket", "sleep"),
            *("read_file", "read_path", "list_directory", "temporary_file", "cache_set", "asyncio_run", "to_sync"),
        ):
            CALLS[name]()
        return User.objects.count()

    @workflow.defn
    async def outer() -> int:
        return await work()

    assert committing.result(outer.start()) == 1


def test_side_effects_may_look_around(engine):
    @workflow.defn
    async def outer() -> int:
        return workflow.side_effect(User.objects.count)

    User.objects.create(username="ada")

    assert engine.result(outer.start()) == 1


def test_side_effects_may_look_into_caches_and_files(engine):
    cache.set("key", "kept")

    @workflow.defn
    async def outer() -> list[object]:
        seen = workflow.side_effect(lambda: [cache.get("key"), "key" in cache])
        return [*seen, workflow.side_effect(read_file)]

    assert engine.result(outer.start()) == ["kept", True, read_file()]


def test_libraries_may_read_their_own_files(engine):
    @workflow.defn
    async def outer() -> str:
        zone = ZoneInfo.no_cache("Europe/Berlin")
        with translation.override("de"):
            traceback.format_exc()
            return f"{zone.key} {gettext('Yes')}"

    translation.trans_real._translations.pop("de", None)
    linecache.clearcache()

    assert engine.result(outer.start()) == "Europe/Berlin Ja"


def test_modules_may_be_imported(engine, tmp_path, monkeypatch):
    (tmp_path / "late_module.py").write_text("import os, tempfile\nHERE = len(os.listdir(os.path.dirname(__file__)))\n")
    monkeypatch.syspath_prepend(tmp_path)

    @workflow.defn
    async def outer() -> int:
        return importlib.import_module("late_module").HERE

    assert engine.result(outer.start()) > 0


def test_connections_outside_workflows_are_as_they_were(engine):
    @workflow.defn
    async def outer() -> None:
        orm_read()

    with pytest.raises(WorkflowFailed):
        engine.result(outer.start())

    assert orm_read() == []
    cache_set()
    assert cache_get() == 1


def test_logging_in_a_workflow_may_reach_its_handlers(engine, caplog):
    @workflow.defn
    async def chatty() -> None:
        workflow.logger.info("step %d", 1)
        await workflow.wait_signal("go")
        workflow.logger.info("step %d", 2)

    caplog.set_level("INFO", "durable.workflow")
    handle = chatty.start()
    engine.run_until_quiet()
    engine.restart()
    handle.signal("go")
    engine.run_until_quiet()

    records = [r for r in caplog.records if r.name == "durable.workflow"]
    assert [r.getMessage() for r in records] == ["step 1", "step 2"], "silent on replay"
    assert {r.instance_id for r in records} == {handle.id}
