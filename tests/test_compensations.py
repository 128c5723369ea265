"""Sagas on the real engine."""

from __future__ import annotations

from typing import Any

import pytest

from durable import RetryPolicy, activity, workflow
from tests.driving import answers

SOON = RetryPolicy(max_attempts=3, initial_interval=1)


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def booking(log):
    """A workflow that books a flight and a hotel, and undoes both if paying fails or it is cancelled."""
    troubles = {"cancel_flight": 1}

    def work(name: str) -> Any:
        @activity.defn(name=name, retry=SOON)
        def act() -> str:
            log.append(name)
            if troubles.get(name, 0):
                troubles[name] -= 1
                raise ConnectionError(name)
            return name

        return act

    flight, hotel, cancel_flight, cancel_hotel = map(work, ("flight", "hotel", "cancel_flight", "cancel_hotel"))

    @workflow.defn
    async def book(pay: bool) -> str:
        async with workflow.Compensations() as undo:
            undo.add(cancel_flight)
            await flight()
            undo.add(cancel_hotel)
            await hotel()
            if not pay:
                await workflow.wait_signal("never")
            raise RuntimeError("no money")

    return book


def test_undoes_in_reverse_and_tries_each_again(engine, time, path, booking, log):
    handle = booking.start(True)

    engine.run_until_quiet()
    assert handle.status == "running"
    time.forward(2)
    engine.run_until_quiet()

    assert log == ["flight", "hotel", "cancel_hotel", "cancel_flight", "cancel_flight"]
    assert handle.status == "failed"
    assert handle.instance.failure["message"] == "no money"


def test_undoes_what_a_cancelled_instance_has_done(engine, time, path, booking, log):
    handle = booking.start(False)
    engine.run_until_quiet()

    handle.cancel()
    engine.run_until_quiet()
    time.forward(2)
    engine.restart()
    engine.run_until_quiet()

    assert log == ["flight", "hotel", "cancel_hotel", "cancel_flight", "cancel_flight"]
    assert handle.status == "canceled"
    assert answers(handle)["ActivityCompleted"] == 4
