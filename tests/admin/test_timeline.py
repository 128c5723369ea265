"""Where steps are drawn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from durable.admin import timeline
from durable.client import steps
from durable.client.items import items

START = datetime(2026, 1, 1, tzinfo=UTC)


def told(*events, status="completed"):
    """Return a history's steps: kind, event id, name, seconds after the start, data."""
    rows = [(kind, event_id, name, START + timedelta(seconds=at), data) for kind, event_id, name, at, data in events]
    return steps.of(items(rows, status=status))


SHORT = (
    ("ExecutionStarted", None, "order", 0, {}),
    ("ActivityScheduled", 0, "reserve", 0, {}),
    ("ActivityCompleted", 0, "", 4, {"attempts": 3}),
    ("SignalReceived", None, "go", 5, {"name": "go"}),
    ("TimerStarted", 1, "", 5, {"fire_at": 0}),
    ("TimerFired", 1, "", 10, {}),
    ("ExecutionCompleted", None, "", 10, {}),
)


def test_steps_pair_what_was_asked_for_with_its_answer():
    reserve = next(step for step in told(*SHORT) if step.name == "reserve")

    assert (reserve.kind, reserve.outcome, reserve.attempts, reserve.seconds) == ("activity", "completed", 3, 4.0)
    assert [step.kind for step in told(*SHORT)] == [
        *("ExecutionStarted", "activity", "signal", "timer", "ExecutionCompleted"),
    ]


def test_bars_stand_where_the_time_is():
    drawn = timeline.draw(told(*SHORT), now=None)

    bars = {row.label: [(bar.x, bar.width) for bar in row.bars] for row in drawn.rows}
    assert bars["reserve"] == [("0.0", "400.0")]
    assert bars["timer"] == [("500.0", "500.0")]
    assert bars["signal"] == [("500.0", "3.0")]
    assert bars["execution"] == [("0.0", "3.0"), ("997.0", "3.0")]
    assert [label for _, label in drawn.ticks] == ["0 ms", "2.5 s", "5.0 s", "7.5 s", "10 s"]
    assert drawn.turns == ["0.0", "400.0", "500.0", "1000.0"]
    assert drawn.now == ""


def test_evenly_each_moment_has_the_same_room():
    drawn = timeline.draw(told(*SHORT), now=None, evenly=True)

    bars = {row.label: [(bar.x, bar.width) for bar in row.bars] for row in drawn.rows}
    assert bars["reserve"] == [("0.0", "333.3")]
    assert bars["timer"] == [("666.7", "333.3")]


def test_what_is_open_reaches_to_now():
    drawn = timeline.draw(told(*SHORT[:2], status="running"), now=START + timedelta(seconds=20))

    (bar,) = next(row for row in drawn.rows if row.label == "reserve").bars
    assert (bar.x, bar.width, bar.look) == ("0.0", "1000.0", "open")
    assert drawn.now == "1000.0"


def test_many_steps_share_rows_and_never_draw_more_than_fits():
    events = [("ExecutionStarted", None, "order", 0, {})]
    for n in range(5000):
        events.append(("ActivityScheduled", n, f"step{n % 3}", n / 100, {}))
        events.append(("ActivityCompleted", n, "", n / 100 + 0.001, {}))

    drawn = timeline.draw(told(*events), now=None)

    assert drawn.shared
    assert [row.label for row in drawn.rows] == ["execution", "step0", "step1", "step2"]
    assert all(len(row.bars) <= timeline.WIDTH + 1 for row in drawn.rows)
    assert len(drawn.turns) <= timeline.WIDTH


def test_an_empty_history_and_one_of_a_moment_can_be_drawn():
    assert timeline.draw([], now=None).rows == []
    (row,) = timeline.draw(told(SHORT[0]), now=None).rows
    assert row.bars[0].x == "0.0"
