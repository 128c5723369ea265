"""Headers: what an instance carries along, to its activities, children and signals."""

from __future__ import annotations

import pytest
from django.db import connection

from durable import RetryPolicy, activity, client, workflow
from durable.core.errors import InvalidInput, PayloadTooLarge
from durable.models import Instance
from durable.store import inbox, instances
from tests.driving import item, kinds

HEADERS = {"tenant": "acme", "user": {"id": 7}}


@pytest.fixture
def seen():
    """What activities and workflows found, by their names."""
    return {}


@pytest.fixture
def look(engine, seen):
    @activity.defn
    def look(name: str) -> None:
        seen[name] = activity.info().headers

    return look


def test_reach_workflow_and_activities(engine, path, look, seen):
    @workflow.defn
    async def outer() -> dict:
        await look("first")
        await workflow.wait_signal("go")
        await look("second")
        return workflow.info().headers

    handle = outer.options(headers=HEADERS).start()
    engine.run_until_quiet()
    engine.restart()
    handle.signal("go")

    assert engine.result(handle) == HEADERS
    assert seen == {"first": HEADERS, "second": HEADERS}
    assert item(handle, "ExecutionStarted").data["headers"] == HEADERS


def test_leave_no_trace_when_there_are_none(engine, look, seen):
    @workflow.defn
    async def outer() -> dict:
        await look("activity")
        return workflow.info().headers

    handle = outer.start()
    [(_, kind, text)] = inbox.due(handle.instance.execution_id, limit=10)

    assert (kind, "headers" in text) == ("ExecutionStarted", False)
    assert handle.instance.headers is None
    assert engine.result(handle) == {}
    assert seen == {"activity": {}}
    assert item(handle, "ExecutionStarted").data["headers"] == {}


def test_are_the_same_for_code_that_changes_what_it_got(engine):
    @workflow.defn
    async def outer() -> dict:
        workflow.info().headers["tenant"] = "changed"
        return workflow.info().headers

    assert engine.result(outer.options(headers=HEADERS).start()) == HEADERS


def test_children_get_them_and_what_is_given_to_them_beside(engine, look, seen):
    @workflow.defn
    async def leaf() -> dict:
        await look("leaf")
        return workflow.info().headers

    @workflow.defn
    async def middle() -> dict:
        return await leaf()

    @workflow.defn
    async def outer() -> dict:
        return await middle.options(headers={"user": {"id": 8}, "step": "2"})()

    expected = {"tenant": "acme", "user": {"id": 8}, "step": "2"}

    assert engine.result(outer.options(headers=HEADERS).start()) == expected
    assert seen == {"leaf": expected}


def test_stay_at_continue_as_new(engine):
    @workflow.defn
    async def outer(round: int) -> dict:
        if not round:
            workflow.continue_as_new(1)
        return workflow.info().headers

    assert engine.result(outer.options(headers=HEADERS).start(0)) == HEADERS


def test_stay_at_retry(engine, time):
    @workflow.defn(retry=RetryPolicy(max_attempts=2, initial_interval=1))
    async def outer() -> dict:
        await failing()
        return workflow.info().headers

    failures = [ValueError()]

    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def failing() -> None:
        if failures:
            raise failures.pop()

    handle = outer.options(headers=HEADERS).start()
    engine.run_until_quiet()
    time.forward(2)

    assert engine.result(handle) == HEADERS
    assert handle.instance.executions.count() == 2


def test_are_new_when_a_closed_instance_is_replaced(engine):
    @workflow.defn
    async def outer() -> dict:
        return workflow.info().headers

    first = outer.options(id="i", headers=HEADERS)
    assert engine.result(first.start()) == HEADERS

    again = outer.options(id="i", id_reuse="replace_closed").start()

    assert engine.result(again) == {}
    assert again.instance.headers is None


def test_go_with_signals_from_workflows(engine):
    @workflow.defn
    async def receiver() -> None:
        await workflow.wait_signal("hello")

    @workflow.defn
    async def sender(to: str) -> None:
        await workflow.signal_instance(to, "hello")

    target = receiver.start()
    engine.result(sender.options(headers=HEADERS).start(target.id))

    assert engine.result(target) is None
    assert item(target, "SignalReceived").data == {"payload": None, "headers": HEADERS}


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"": 1}, InvalidInput),
        ({"line\nbreak": 1}, InvalidInput),
        ({7: 1}, InvalidInput),
        ([], InvalidInput),
        ({"thing": object()}, InvalidInput),
        ({"text": "x" * 1000}, PayloadTooLarge),
    ],
)
def test_refused_at_the_start_leave_nothing(engine, settings, headers, error):
    settings.DURABLE = {"LIMITS": {"payload": 1000}}

    @workflow.defn
    async def outer() -> None: ...

    with pytest.raises(error, match="headers"):
        outer.options(headers=headers).start()
    with pytest.raises(error, match="headers"):
        client.start("outer", headers=headers)

    assert not Instance.objects.exists()


def test_too_large_for_a_child_fail_its_start_where_the_code_is(engine, settings):
    settings.DURABLE = {"LIMITS": {"payload": 1000}}

    @workflow.defn
    async def inner() -> None: ...

    @workflow.defn
    async def outer() -> str:
        try:
            await inner.options(headers={"text": "x" * 1000})()
        except PayloadTooLarge as error:
            return str(error)
        return ""

    assert "headers" in engine.result(outer.start())


def test_are_stored_through_the_codec(engine, settings):
    settings.DURABLE = {"CODEC": "tests.test_headers.Reversing"}

    @workflow.defn
    async def outer() -> dict:
        return workflow.info().headers

    handle = outer.options(headers={"tenant": "acme"}).start()

    with connection.cursor() as cursor:
        cursor.execute("SELECT headers FROM durable_instance")
        [(stored,)] = cursor.fetchall()
    assert stored == '{"tenant":"acme"}'[::-1]
    assert "headers" in instances.PAYLOADS
    assert engine.result(handle) == {"tenant": "acme"}
    assert kinds(handle)[-1] == "ExecutionCompleted"


class Reversing:
    """Stores JSON backwards."""

    def encode(self, text: str) -> str:
        return text[::-1]

    def decode(self, text: str) -> str:
        return text[::-1]
