"""Two histories side by side: which event is which, and in what they differ."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given as having
from hypothesis import strategies as st

from durable.core import alignment
from durable.core import events as ev
from durable.core.failures import Failure
from tests.core.histories import CANCEL, completed, failed, fired, raised, returned, scheduled, signal, started, timer


def shown(a: Any, b: Any, **options: Any) -> list[str]:
    """Return an alignment in short: a line for each that is not the same on both sides."""
    lines = []
    for pair in alignment.align(a, b, **options):
        if pair.b is None:
            lines.append(f"- {a[pair.a]}")
        elif pair.a is None:
            lines.append(f"+ {b[pair.b]}")
        elif pair.fields or pair.moved:
            word = "moved" if pair.moved else "changed"
            lines.append(f"{word} {b[pair.b]} {','.join(pair.fields)}".rstrip())
    return lines


def acts(*names: str, first: int = 0) -> list[ev.Event]:
    """Return activities, each completed at once, by name or by ``name argument``."""
    found: list[ev.Event] = []
    for number, text in enumerate(names, first):
        name, *args = text.split()
        found += [scheduled(number, name, *args), completed(number)]
    return found


BASE = [started(1), *acts("reserve", "charge", "ship"), returned("sent")]


def test_history_is_the_same_as_itself():
    assert shown(BASE, BASE) == []
    assert [(pair.a, pair.b) for pair in alignment.align(BASE, BASE)] == [(i, i) for i in range(len(BASE))]


@pytest.mark.parametrize(("a", "b"), [([], []), (BASE, []), ([], BASE)])
def test_what_is_only_in_one_is_said_so(a, b):
    assert shown(a, b) == [*(f"- {event}" for event in a), *(f"+ {event}" for event in b)]


def test_changed_result_is_the_only_change():
    other = [*BASE[:4], completed(1, "receipt"), *BASE[5:]]

    assert shown(BASE, other) == ["changed ActivityCompleted(1) result"]


def test_changed_input_and_what_follows_from_it():
    a = [started(1), *acts("charge 5"), returned()]
    b = [started(1), *acts("charge 7"), returned(2)]

    assert shown(a, b) == ["changed ActivityScheduled(charge) input", "changed ExecutionCompleted result"]


def test_step_in_between_does_not_make_the_rest_look_different():
    b = [started(1), *acts("reserve", "check", "charge", "ship"), returned("sent")]

    assert shown(BASE, b) == ["+ ActivityScheduled(check)", "+ ActivityCompleted(1)"]
    assert shown(b, BASE) == ["- ActivityScheduled(check)", "- ActivityCompleted(1)"]


def test_steps_of_one_name_are_told_apart_by_their_arguments():
    a = [started(1), *acts("ship 1", "ship 2", "ship 3", "pack 1"), returned()]
    b = [started(1), *acts("ship 0", "ship 1", "ship 3", "ship 2", "pack 2"), returned()]

    assert shown(a, b) == [
        "+ ActivityScheduled(ship)",
        "+ ActivityCompleted(0)",
        "moved ActivityScheduled(ship)",
        "moved ActivityCompleted(3)",
        "changed ActivityScheduled(pack) input",
    ]


def test_answer_of_another_kind_is_a_change_of_kind():
    a = [started(1), scheduled(0, "charge"), failed(0), raised("ActivityError")]
    b = [started(1), scheduled(0, "charge"), completed(0), returned()]

    assert shown(a, b) == ["changed ActivityCompleted(0) kind", "changed ExecutionCompleted kind"]


def test_answers_in_another_order_have_moved():
    fan_out = [started(1), *(scheduled(n, "act", n) for n in range(3))]
    a = [*fan_out, completed(0), completed(1), completed(2), returned()]
    b = [*fan_out, completed(2), completed(0), completed(1, "other"), returned()]

    assert shown(a, b) == ["moved ActivityCompleted(2)", "changed ActivityCompleted(1) result"]


def test_moved_one_can_have_changed_as_well():
    fan_out = [started(1), *(scheduled(n, "act", n) for n in range(3))]
    a = [*fan_out, completed(0), completed(1), completed(2)]
    b = [*fan_out, completed(2, "other"), completed(0), completed(1)]

    assert shown(a, b) == ["moved ActivityCompleted(2) result"]


def test_timers_are_compared_by_their_length():
    def at(moment: float, seconds: float) -> list[ev.Event]:
        return [started(1, at=moment), ev.replace(timer(0, moment + seconds), at=moment), fired(0, at=moment + seconds)]

    assert shown(at(0.0, 60.0), at(1000.0, 60.0)) == []
    assert shown(at(0.0, 60.0), at(1000.0, 61.0)) == ["changed TimerStarted(0) fire_at"]


def test_failures_are_compared_without_their_tracebacks():
    def with_trace(trace: str, message: str = "no") -> list[ev.Event]:
        failure = Failure(type="ValueError", message=message, traceback=trace)
        return [started(1), scheduled(0, "act"), ev.ActivityFailed(event_id=0, failure=failure)]

    assert shown(with_trace("here"), with_trace("there")) == []
    assert shown(with_trace("here"), with_trace("here", "never")) == ["changed ActivityFailed(0) failure"]


def test_children_are_compared_without_the_ids_of_their_parents():
    def child(parent: str, own: str) -> list[ev.Event]:
        asked = ev.ChildScheduled(event_id=0, name="pack", instance_id=f"{parent}:{own}")
        return [started(1), asked, ev.ChildStarted(event_id=0), ev.ChildCompleted(event_id=0)]

    assert shown(child("a", "1"), child("b", "1"), ids=("a", "b")) == []
    assert shown(child("a", "1"), child("b", "2"), ids=("a", "b")) == ["changed ChildScheduled(pack) instance_id"]


def test_signals_are_told_apart_by_what_they_bring():
    a = [started(1), signal("item", "apple"), signal("item", "pear"), returned()]
    b = [started(1), signal("item", "plum"), signal("item", "apple"), signal("item", "pear"), CANCEL, returned()]

    assert shown(a, b) == ["+ SignalReceived(item)", "+ CancelRequested"]


def test_seeds_and_numbers_are_not_compared():
    a = [started(1, seed="x"), *acts("act", first=0)]
    b = [started(1, seed="y"), *acts("act", first=5)]

    assert shown(a, b) == []
    assert shown([started(1, attempt=0)], [started(1, attempt=1)]) == ["changed ExecutionStarted(test) attempt"]


def test_answer_to_nothing_is_its_own():
    assert shown([completed(7)], [completed(7)]) == ["- ActivityCompleted(7)", "+ ActivityCompleted(7)"]


LONG = 2500


@pytest.mark.parametrize("argument", [True, False], ids=["each its own", "all alike"])
def test_long_histories_are_aligned_around_what_differs(argument):
    names = [f"act {number}" if argument else "act" for number in range(2 * LONG)]
    a = [started(1), *acts(*names), returned()]
    b = [started(1), *acts(*names[:LONG], "extra", *names[LONG:]), returned()]
    assert len(a) > 10_000

    assert shown(a, b) == ["+ ActivityScheduled(extra)", f"+ ActivityCompleted({LONG})"]


def test_long_histories_without_an_anchor_are_matched_by_their_numbers():
    a = [started(1), *acts("first", *["act"] * 5000, "last"), returned()]
    b = [started(1), *acts("other", *["act"] * 5000, "end"), returned()]

    assert len(shown(a, b)) == 8
    shifted = [started(1), *acts("other", "one", *["act"] * 5000, "end"), returned()]
    assert "changed" not in " ".join(shown(a, shifted))


def test_long_histories_whose_answers_came_in_another_order_are_aligned():
    fan_out = [started(1), *(scheduled(n, "act", n) for n in range(2 * LONG))]
    a = [*fan_out, *(completed(n) for n in range(2 * LONG))]
    b = [*fan_out, *(completed(n) for n in reversed(range(2 * LONG)))]

    assert len(shown(a, b)) == 2 * LONG - 1


events = st.lists(
    st.sampled_from(
        [signal("a", 1), signal("a", 2), signal("b"), CANCEL, scheduled(0, "x", 1), scheduled(1, "x", 2),
         scheduled(2, "y"), completed(0), completed(1, "r"), fired(2, at=1.0), timer(3, 5.0), returned()]
    ),
    unique_by=repr,
)  # fmt: skip


@having(events, events)
def test_every_event_is_there_once_and_in_order(a, b):
    pairs = alignment.align(a, b)

    assert [pair.b for pair in pairs if pair.b is not None] == list(range(len(b)))
    assert sorted(pair.a for pair in pairs if pair.a is not None) == list(range(len(a)))
    kept = [pair.a for pair in pairs if pair.a is not None and not pair.moved]
    assert kept == sorted(kept)
    assert all(pair.fields == () for pair in pairs if pair.a is None or pair.b is None)


@having(events)
def test_nothing_differs_from_itself(a):
    unanswered = {e.event_id for e in a if isinstance(e, ev.Answer)} - {
        e.event_id for e in a if isinstance(e, ev.Asked)
    }

    assert len(shown(a, a)) == 2 * sum(isinstance(e, ev.Answer) and e.event_id in unanswered for e in a)
