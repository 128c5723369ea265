"""Where steps are drawn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from durable.admin import scales, timeline
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
    drawn = timeline.draw(told(*SHORT), now=None, room=timeline.STEPS)

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


def test_without_idle_time_work_has_its_room():
    day = 86_400
    slept = (
        ("ExecutionStarted", None, "order", 0, {}),
        ("ActivityScheduled", 0, "reserve", 0, {}),
        ("ActivityCompleted", 0, "", 6, {}),
        ("TimerStarted", 1, "", 6, {}),
        ("TimerFired", 1, "", 6 + 2 * day, {}),
        ("ActivityScheduled", 2, "charge", 6 + 2 * day, {}),
        ("ActivityCompleted", 2, "", 10 + 2 * day, {}),
    )

    drawn = timeline.draw(told(*slept), now=None, room=timeline.WORK)

    bars = {row.label: [(float(bar.x), float(bar.width)) for bar in row.bars] for row in drawn.rows}
    (reserve,), (charge,), (slept_bar,) = bars["reserve"], bars["charge"], bars["timer"]
    assert round(reserve[1] / charge[1], 2) == 1.5  # six seconds and four
    assert 30 < slept_bar[1] < 60
    assert drawn.gaps == [(f"{reserve[1]:.1f}", f"{slept_bar[1]:.1f}", "2 days")]
    assert [label for _, label in drawn.ticks][::4] == ["0 ms", "2 days"]


def test_what_runs_beside_a_timer_is_no_idle_time():
    both = (*SHORT[:1], ("ActivityScheduled", 0, "reserve", 0, {}), *SHORT[4:6], ("ActivityCompleted", 0, "", 20, {}))

    drawn = timeline.draw(told(*both), now=None, room=timeline.WORK)

    assert drawn.gaps == []
    assert [bar.x for row in drawn.rows if row.label == "timer" for bar in row.bars] == ["250.0"]


def test_what_never_worked_is_drawn_evenly():
    drawn = timeline.draw(told(*SHORT[:1], *SHORT[4:6]), now=None, room=timeline.WORK)

    assert [bar.x for row in drawn.rows if row.label == "timer" for bar in row.bars] == ["500.0"]


def test_places_lead_back_to_moments():
    moments = [START + timedelta(seconds=n) for n in (0, 1, 5, 60)]

    for scale in (scales.by_time(moments), scales.evenly(moments)):
        assert [scale.at(scale.x(at)) for at in moments] == moments
        assert scale.x(START - timedelta(seconds=9)) == 0
        assert scale.x(START + timedelta(seconds=99)) == timeline.WIDTH


def test_a_wider_drawing_has_more_labels():
    assert len(timeline.draw(told(*SHORT), now=None, zoom=4).ticks) == 17


def test_rows_tell_of_all_their_steps():
    events = [("ExecutionStarted", None, "order", 0, {})]
    for n in range(timeline.ROWS + 1):
        events.append(("ActivityScheduled", n, "step", n, {}))
        events.append(("ActivityFailed" if n == 3 else "ActivityCompleted", n, "", n + 0.5, {}))
    events.append(("ActivityScheduled", 999, "step", 200, {}))

    drawn = timeline.draw(told(*events, status="running"), now=START + timedelta(seconds=300))

    (row,) = (row for row in drawn.rows if row.label == "step")
    assert row.detail == "\N{MULTIPLICATION SIGN}152, completed: 150, failed: 1, still open: 1, the longest 500 ms"


def test_steps_have_the_looks_that_are_chosen():
    drawn = timeline.draw(told(*SHORT), now=None, looks={0: "fate-kept"})

    looks = {row.label: row.bars[0].look for row in drawn.rows}
    assert (looks["reserve"], looks["timer"]) == ("fate-kept", "fired")
