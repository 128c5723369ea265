"""Workflow code cannot reach outside: the typed error fails the instance, also when it is swallowed."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import threading
import urllib.request
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from durable import WorkflowFailed, activity, workflow
from tests.driving import kinds


def orm_read():
    return list(User.objects.all())


def orm_write():
    User.objects.create(username="ada")


def raw_sql():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def atomic():
    with transaction.atomic():
        pass


def connect():
    socket.create_connection(("127.0.0.1", 9), timeout=1)


def resolve():
    socket.getaddrinfo("localhost", 80)


def fetch():
    urllib.request.urlopen("http://127.0.0.1:9/", timeout=1)


def thread():
    threading.Thread(target=int).start()


def run():
    subprocess.run(["true"], check=False)


def system():
    os.system("true")  # noqa: S605 - refused before it runs


async def executor():
    await asyncio.get_running_loop().run_in_executor(None, int)


async def to_thread():
    await asyncio.to_thread(int)


async def open_connection():
    await asyncio.open_connection("127.0.0.1", 9)


async def subprocess_exec():
    await asyncio.create_subprocess_exec("true")


async def async_orm():
    return [user async for user in User.objects.all()]


async def async_count():
    return await User.objects.acount()


CALLS = {
    call.__name__: call
    for call in (
        *(orm_read, orm_write, raw_sql, atomic, connect, resolve, fetch, thread, run, system),
        *(executor, to_thread, open_connection, subprocess_exec, async_orm, async_count),
    )
}


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

    handle = reaching.start()
    with pytest.raises(WorkflowFailed) as failed:
        committing.result(handle)

    failure = failed.value.failure
    assert failure.type == "ForbiddenInWorkflow"
    assert "is not allowed in a workflow" in failure.message
    assert "activity" in failure.message
    assert kinds(handle) == ["ExecutionStarted", "ExecutionFailed"]
    assert not User.objects.exists()


@pytest.mark.parametrize(
    ("name", "call"),
    [("connect", "socket"), ("thread", "Thread"), ("run", "subprocess.Popen"), ("raw_sql", "database")],
)
def test_error_names_the_call(committing, name, call):
    @workflow.defn
    async def reaching() -> None:
        await reach(name)

    handle = reaching.start()

    with pytest.raises(WorkflowFailed, match=call):
        committing.result(handle)


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
        for name in ("orm_write", "raw_sql", "thread", "run", "resolve"):
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


def test_connections_outside_workflows_are_as_they_were(engine):
    @workflow.defn
    async def outer() -> None:
        orm_read()

    with pytest.raises(WorkflowFailed):
        engine.result(outer.start())

    assert orm_read() == []


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
