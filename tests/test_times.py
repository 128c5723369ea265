"""A history gives the times of its events as they were stored, to the microsecond, whatever the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from durable import checks, workflow
from durable.core import events as ev
from durable.models import Instance
from durable.store import history

LATE = datetime(2214, 7, 3, 12, 30, 59, 999_999, tzinfo=UTC)
"""Where a float has a bit to spare for a microsecond, and no more."""


def test_a_time_is_read_as_it_was_stored(engine):
    @workflow.defn
    async def wait() -> None:
        await workflow.wait_signal("never")

    handle = wait.start()
    engine.run_until_quiet()
    instance = Instance.objects.get(pk=handle.id)
    stored = [LATE + timedelta(days=-day * 997, microseconds=day * 7919) for day in range(80)]
    for head, at in enumerate(stored, instance.head):
        history.append(instance.execution_id, head, [history.record(ev.SignalReceived(name="a"))], at=at)

    read = list(history.read(instance.execution_id, after=instance.head))

    assert [event.at for event in read] == [at.timestamp() for at in stored]


def test_project_without_time_zones_is_told(settings):
    assert checks.check_database() == []
    settings.USE_TZ = False

    [found] = checks.check_database()

    assert (found.id, found.is_serious()) == ("durable.E011", True)
