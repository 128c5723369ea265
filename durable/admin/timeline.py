"""Where a history's steps are drawn: rows of bars and marks, in thousandths of the width."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from durable.admin import words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from durable.client.steps import Step

    Scale = Callable[[datetime], float]

WIDTH = 1000
ROWS = 150
"""How many steps have a row each; if there are more, those of a kind and name share one."""

_TICKS = 5
_NARROWEST = 3.0
_TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Something that is drawn.

    Attributes:
        x, width: Where, as texts that no language changes.
        look: Its class in the style sheet: how it ended, or ``open``, ``mark``.
        title: What it says when it is pointed at.
        seq: The event that it leads to.
    """

    x: str
    width: str
    look: str
    title: str
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the drawing.

    Attributes:
        kind: The kind of its steps.
        label: What stands before it.
        note: What stands behind the label: attempts, the time that it took.
        seq: The event that the label leads to.
    """

    kind: str
    label: str
    note: str
    seq: int
    bars: list[Bar]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A drawing.

    Attributes:
        ticks: Places on the axis, from 0 to 1000, and what is written there.
        turns: Where the code took a turn.
        now: Where now is, or an empty text if the execution has ended.
        shared: Whether steps share rows, as there are too many.
    """

    rows: list[Row]
    ticks: list[tuple[str, str]]
    turns: list[str]
    now: str
    shared: bool


def draw(steps: Sequence[Step], *, now: datetime | None, evenly: bool = False) -> Timeline:
    """Return the drawing of a history.

    Args:
        steps: Its steps.
        now: The time, if it goes on; None if it has ended.
        evenly: Whether each moment at which something happened gets as much room as any other; else time does.
    """
    known = (at for step in steps for at in (step.began, step.ended))
    moments = sorted({at for at in (*known, now) if at is not None})
    if not moments:
        return Timeline(rows=[], ticks=[], turns=[], now="", shared=False)
    scale = _even(moments) if evenly else _by_time(moments)
    end = moments[-1]
    shown = [step for step in steps if step.event_id is not None]
    shared = len(shown) > ROWS
    rows = [*_marks(steps, scale), *(_by_name(shown, scale, end) if shared else _each(shown, scale, end))]
    return Timeline(
        rows=rows,
        ticks=_ticks(moments, scale, evenly=evenly),
        turns=sorted({_text(scale(at)) for at in moments if at != now}, key=float)[:WIDTH],
        now="" if now is None else _text(scale(now)),
        shared=shared,
    )


def _by_time(moments: Sequence[datetime]) -> Scale:
    first, total = moments[0], (moments[-1] - moments[0]).total_seconds()
    return lambda at: WIDTH * (at - first).total_seconds() / total if total else 0.0


def _even(moments: Sequence[datetime]) -> Scale:
    last = max(1, len(moments) - 1)
    return lambda at: WIDTH * bisect_left(moments, at) / last


def _text(x: float) -> str:
    return f"{x:.1f}"


def _ticks(moments: Sequence[datetime], scale: Scale, *, evenly: bool) -> list[tuple[str, str]]:
    first = moments[0]
    if evenly:
        places = [moments[(len(moments) - 1) * n // (_TICKS - 1)] for n in range(_TICKS)]
    else:
        places = [first + (moments[-1] - first) * n / (_TICKS - 1) for n in range(_TICKS)]
    return [(_text(scale(at)), words.lasted((at - first).total_seconds())) for at in dict.fromkeys(places)]


def _marks(steps: Sequence[Step], scale: Scale) -> Iterable[Row]:
    """Yield a row for what came from outside, one for each kind."""
    control = sorted((step for step in steps if step.event_id is None), key=_lane)
    for kind, some in groupby(control, key=_lane):
        found = list(some)
        bars = [_drawn(scale(step.began), 0.0, "mark", step) for step in _thinned(found, scale)]
        yield Row(kind=kind, label=kind, note=str(len(found)) if len(found) > 1 else "", seq=found[0].seq, bars=bars)


def _lane(step: Step) -> str:
    return step.kind if step.kind in ("signal", "update") else "execution"


def _thinned(steps: Sequence[Step], scale: Scale) -> Iterable[Step]:
    """Leave out what would be drawn upon something else."""
    seen = set()
    for step in steps:
        place = round(scale(step.began))
        if place not in seen:
            seen.add(place)
            yield step


def _each(steps: Sequence[Step], scale: Scale, end: datetime) -> Iterable[Row]:
    for step in steps:
        attempts = f"{_TIMES}{step.attempts}" if step.attempts and step.attempts > 1 else ""
        took = "" if step.seconds is None else words.lasted(step.seconds)
        yield Row(
            kind=step.kind,
            label=step.name or step.kind,
            note=" ".join(filter(None, (attempts, took))),
            seq=step.seq,
            bars=[_bar(step, scale, end)],
        )


def _by_name(steps: Sequence[Step], scale: Scale, end: datetime) -> Iterable[Row]:
    def key(step: Step) -> tuple[str, str]:
        return step.kind, step.name

    rows = []
    for (kind, name), some in groupby(sorted(steps, key=key), key=key):
        found = list(some)
        bars: dict[tuple[int, str], Bar] = {}
        for step in found:
            bar = _bar(step, scale, end)
            # What would be drawn upon something of the same look is left out: so there are never more than fit.
            bars.setdefault((round(float(bar.x)), bar.look), bar)
        rows.append(
            Row(kind=kind, label=name or kind, note=f"{_TIMES}{len(found)}", seq=found[0].seq, bars=list(bars.values()))
        )
    rows.sort(key=lambda row: row.seq)
    return rows[:ROWS]


def _bar(step: Step, scale: Scale, end: datetime) -> Bar:
    x = scale(step.began)
    last = scale(end if step.ended is None else step.ended)
    look = "mark" if step.at_once else "open" if step.is_open else step.outcome
    return _drawn(x, last - x, look, step)


def _drawn(x: float, width: float, look: str, step: Step) -> Bar:
    seen = max(width, _NARROWEST)
    return Bar(x=_text(min(x, WIDTH - seen)), width=_text(seen), look=look, title=_title(step), seq=step.seq)


def _title(step: Step) -> str:
    what = f"{step.kind} {step.name}".strip()
    parts = [what if step.event_id is None else f"{what} ({step.event_id})"]
    if step.is_open:
        parts.append(_("still open"))
    if step.outcome:
        parts.append(step.outcome)
    if step.seconds is not None:
        parts.append(words.lasted(step.seconds))
    if step.attempts and step.attempts > 1:
        parts.append(_("%(n)s attempts") % {"n": step.attempts})
    return ", ".join(parts)
