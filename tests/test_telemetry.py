"""Django signals: after the commit, once, and a receiver's error harms nobody."""

from __future__ import annotations

import pytest
from django.db import connection, transaction

from durable import registry, telemetry, workflow
from durable.models import Instance

NAMES = ("completed", "failed", "canceled", "terminated", "stalled")


@pytest.fixture
def told():
    """Collect what is told: the kind, the instance's id, its status then, and whether a transaction was open."""
    heard = []
    receivers = {}
    for name in NAMES:

        def receive(sender, instance_id, name=name, **_):
            status = Instance.objects.get(pk=instance_id).status
            heard.append((name, instance_id, status, connection.in_atomic_block))

        receivers[name] = receive
        getattr(telemetry, f"instance_{name}").connect(receive)
    yield heard
    for name, receive in receivers.items():
        getattr(telemetry, f"instance_{name}").disconnect(receive)


@pytest.fixture
def waiting(committing):
    @workflow.defn
    async def waiting() -> str:
        if await workflow.wait_signal("go") == "fail":
            raise ValueError
        return "done"

    return waiting


@pytest.mark.parametrize("end", ["completed", "failed", "canceled", "terminated"])
def test_end_is_told_once_after_the_commit(committing, waiting, told, end):
    handle = waiting.start()
    committing.run_until_quiet()
    assert told == []
    match end:
        case "completed" | "failed":
            handle.signal("go", "fail" if end == "failed" else "")
        case "canceled":
            handle.cancel()
        case "terminated":
            handle.terminate()
    committing.run_until_quiet()

    assert told == [(end, handle.id, end, False)]


def test_nothing_is_told_of_what_is_rolled_back(committing, waiting, told):
    handle = waiting.start()
    committing.run_until_quiet()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        handle.terminate()
        raise ZeroDivisionError

    assert told == []
    assert handle.status == "running"


def test_stall_is_told_once(committing, waiting, told):
    handle = waiting.start()
    registry.unregister_workflow("waiting", 0)
    for _ in range(2):
        committing.run_until_quiet()
        Instance.objects.update(retry_at=handle.instance.created_at)
    committing.run_until_quiet()

    assert told == [("stalled", handle.id, "stalled", False)]


def test_error_of_a_receiver_is_logged_and_harms_nobody(committing, waiting, told, caplog):
    def broken(**_):
        raise RuntimeError("receiver is broken")

    telemetry.instance_completed.connect(broken)
    try:
        handle = waiting.start()
        handle.signal("go")
        assert committing.result(handle) == "done"
    finally:
        telemetry.instance_completed.disconnect(broken)

    assert [each[0] for each in told] == ["completed"]
    assert "receiver is broken" in caplog.text


def test_replay_tells_nothing(committing, waiting, told):
    handle = waiting.start()
    handle.signal("go")
    committing.run_until_quiet()
    committing.restart()
    committing.run_until_quiet()

    assert len(told) == 1
