"""With a codec that encrypts, nothing that users wrote can be read in the tables."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from django.db import connection

from durable import RetryPolicy, WorkflowFailed, activity, client, conf, workflow
from durable.models import Instance

SECRET = "caviar-4711"


@pytest.fixture
def encrypted(settings, path):
    settings.DURABLE = {**settings.DURABLE, "CODEC": "project.encryption.FernetCodec"}
    settings.DURABLE_KEYS = [Fernet.generate_key()]
    conf._codec.cache_clear()
    yield
    conf._codec.cache_clear()


def everything_stored() -> str:
    """Return all columns of all our tables, as text."""
    tables = [name for name in connection.introspection.table_names() if name.startswith("durable_")]
    texts = []
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608 - our own tables
            texts.append(f"{table} {cursor.fetchall()!r}")
    return "\n".join(texts)


def test_nothing_is_readable_in_the_tables(engine, encrypted, time):
    attempts = []

    @activity.defn(retry=RetryPolicy(initial_interval=1))
    def work(value: str) -> str:
        activity.heartbeat(value)
        attempts.append(value)
        if len(attempts) == 1:
            raise ValueError(value)
        return value + "!"

    @workflow.defn
    async def kid(value: str) -> str:
        return await workflow.wait_signal("go") + value

    @workflow.defn
    async def outer(value: str) -> str:
        workflow.set_status({"now": value})
        workflow.side_effect(lambda: value)
        done = await work(value)
        child = kid.options(id="kid").start_child(value)
        await child.signal("go", done)
        await workflow.wait_signal("end")
        return await child

    handle = outer.start(SECRET)
    seen = [everything_stored()]
    engine.run_until_quiet()
    seen.append(everything_stored())
    time.forward(5)
    engine.run_until_quiet()
    handle.suspend()
    handle.signal("end", SECRET)
    seen.append(everything_stored())
    handle.resume()

    assert engine.result(handle) == f"{SECRET}!{SECRET}"
    seen.append(everything_stored())
    assert all(SECRET not in text for text in seen)
    assert all("kid" in text or n < 2 for n, text in enumerate(seen)), "names and ids stay searchable"
    assert handle.history()[0].data["input"]["args"] == [SECRET], "and we can read it"
    assert handle.instance.custom_status == {"now": SECRET}


def test_failures_are_encrypted_too(engine, encrypted):
    @workflow.defn
    async def failing() -> None:
        raise ValueError(SECRET)

    handle = failing.start()
    with pytest.raises(WorkflowFailed, match=SECRET):
        engine.result(handle)

    assert SECRET not in everything_stored()


def test_replay_reads_what_is_encrypted(engine, encrypted):
    @workflow.defn
    async def collecting() -> list[str]:
        return [await workflow.wait_signal("item") for _ in range(3)]

    handle = collecting.start()
    for number in range(3):
        engine.run_until_quiet()
        engine.restart()
        client.signal(handle.id, "item", f"{SECRET}{number}")

    assert engine.result(handle) == [f"{SECRET}{n}" for n in range(3)]


def test_encryption_can_be_switched_on_under_running_instances(engine, settings):
    @workflow.defn
    async def collecting() -> list[str]:
        return [await workflow.wait_signal("item") for _ in range(2)]

    handle = collecting.start()
    handle.signal("item", "plain")
    engine.run_until_quiet()
    settings.DURABLE = {"CODEC": "project.encryption.FernetCodec"}
    settings.DURABLE_KEYS = [Fernet.generate_key()]
    conf._codec.cache_clear()
    engine.restart()
    handle.signal("item", SECRET)

    assert engine.result(handle) == ["plain", SECRET]
    assert SECRET not in everything_stored()
    conf._codec.cache_clear()


def test_missing_key_parks_the_instance_and_the_right_one_lets_it_go_on(engine, settings, time):
    key = Fernet.generate_key()
    settings.DURABLE = {"CODEC": "project.encryption.FernetCodec"}
    settings.DURABLE_KEYS = [key]
    conf._codec.cache_clear()

    @workflow.defn
    async def waiting() -> str:
        return await workflow.wait_signal("go")

    handle = waiting.start()
    engine.run_until_quiet()
    handle.signal("go", SECRET)
    settings.DURABLE_KEYS = [Fernet.generate_key()]
    conf._codec.cache_clear()
    engine.restart()
    engine.run_until_quiet()
    status, stall = Instance.objects.values_list("status", "stall").get()
    assert status == "stalled"
    assert "no key in DURABLE_KEYS opens it" in stall["message"]

    settings.DURABLE_KEYS = [key]
    conf._codec.cache_clear()
    time.forward(31)
    assert engine.result(handle) == SECRET
    conf._codec.cache_clear()
