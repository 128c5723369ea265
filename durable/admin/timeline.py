"""Where a history's steps are drawn: rows of bars and marks, in thousandths of the width."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from durable.admin import scales, words
from durable.admin.scales import WIDTH
from durable.client import wording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from durable.admin.scales import Scale
    from durable.client.steps import Step

TIME, STEPS, WORK = "time", "steps", "work"
"""What gets room on the axis: time, each moment the same, or time while something runs."""

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
        look: Its class in the style sheet: how it ended, or ``open``, ``mark``, or what a verb would do to it.
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
        detail: What is told when it is pointed at, or has the focus.
        link: Where the label leads: to the event.
    """

    kind: str
    label: str
    note: str
    detail: str
    seq: int
    link: str
    bars: list[Bar]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A drawing.

    Attributes:
        ticks: Places on the axis, from 0 to 1000, and what is written there.
        turns: Where the code took a turn.
        now: Where now is, or an empty text if the execution has ended.
        gaps: Idle time that is drawn shorter: where, how wide, and how long it was.
        shared: Whether steps share rows, as there are too many.
    """

    rows: list[Row]
    ticks: list[tuple[str, str]]
    turns: list[str]
    now: str
    gaps: list[tuple[str, str, str]]
    shared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawing:
    """What all of a drawing goes by.

    Attributes:
        end: Where what is open reaches to.
        looks: The looks of steps by event id, if not how they ended.
        link: Returns where an event is shown.
    """

    scale: Scale
    end: datetime
    looks: Mapping[int, str]
    link: Callable[[int], str]


def here(seq: int) -> str:
    """Return where an event is, on the same page."""
    return f"#seq-{seq}"


def draw(
    steps: Sequence[Step],
    *,
    now: datetime | None,
    room: str = TIME,
    zoom: int = 1,
    looks: Mapping[int, str] | None = None,
    link: Callable[[int], str] = here,
) -> Timeline:
    """Return the drawing of a history.

    Args:
        steps: Its steps.
        now: The time, if it goes on; None if it has ended.
        room: What gets room on the axis.
        zoom: How many times as wide as the window it will be; more of the axis is labelled.
        looks: The looks of steps by event id, if not how they ended.
        link: Returns where an event is shown.
    """
    known = (at for step in steps for at in (step.began, step.ended))
    moments = sorted({at for at in (*known, now) if at is not None})
    if not moments:
        return Timeline(rows=[], ticks=[], turns=[], now="", gaps=[], shared=False)
    scale = _scale(moments, steps, room)
    drawing = _Drawing(scale=scale, end=moments[-1], looks=looks or {}, link=link)
    shown = [step for step in steps if step.event_id is not None]
    shared = len(shown) > ROWS
    rows = [*_marks(steps, drawing), *(_by_name(shown, drawing) if shared else _each(shown, drawing))]
    return Timeline(
        rows=rows,
        ticks=_ticks(moments[0], scale, (_TICKS - 1) * zoom),
        turns=sorted({_text(scale.x(at)) for at in moments if at != now}, key=float)[:WIDTH],
        now="" if now is None else _text(scale.x(now)),
        gaps=[(_text(gap.x), _text(gap.width), words.lasted(gap.seconds)) for gap in scale.gaps],
        shared=shared,
    )


def _scale(moments: Sequence[datetime], steps: Sequence[Step], room: str) -> Scale:
    if room == WORK:
        return scales.by_work(moments, steps)
    return scales.evenly(moments) if room == STEPS else scales.by_time(moments)


def _text(x: float) -> str:
    return f"{x:.1f}"


def _ticks(first: datetime, scale: Scale, count: int) -> list[tuple[str, str]]:
    places = [WIDTH * n / count for n in range(count + 1)]
    if scale.at(WIDTH) == first:
        places = places[:1]
    return [(_text(x), words.lasted((scale.at(x) - first).total_seconds())) for x in places]


def _marks(steps: Sequence[Step], drawing: _Drawing) -> Iterable[Row]:
    """Yield a row for what came from outside, one for each kind."""
    control = sorted((step for step in steps if step.event_id is None), key=_lane)
    for kind, some in groupby(control, key=_lane):
        found = list(some)
        places = ((step, drawing.scale.x(step.began)) for step in found)
        bars = [_drawn(x, 0.0, "mark", step) for step, x in _thinned(places)]
        note = str(len(found)) if len(found) > 1 else ""
        yield Row(
            kind=kind, label=wording.word(kind), note=note, detail=_summary(found), **_led(found, drawing), bars=bars
        )


def _led(steps: Sequence[Step], drawing: _Drawing) -> dict[str, Any]:
    return {"seq": steps[0].seq, "link": drawing.link(steps[0].seq)}


def _summary(steps: Sequence[Step]) -> str:
    """Return what is told of a row: of one step all, of many how they ended and how long they took."""
    if len(steps) == 1:
        return _title(steps[0])
    counts = Counter(step.outcome or (_("still open") if step.is_open else "") for step in steps)
    parts = [f"{_TIMES}{len(steps)}", *(f"{wording.word(name)}: {count}" for name, count in counts.items() if name)]
    took = [step.seconds for step in steps if step.seconds is not None]
    if took:
        parts.append(_("the longest %(time)s") % {"time": words.lasted(max(took))})
    return ", ".join(parts)


def _lane(step: Step) -> str:
    return step.kind if step.kind in ("signal", "update") else "execution"


def _thinned(places: Iterable[tuple[Step, float]]) -> Iterable[tuple[Step, float]]:
    """Leave out what would be drawn upon something else."""
    seen = set()
    for step, x in places:
        if round(x) not in seen:
            seen.add(round(x))
            yield step, x


def _each(steps: Sequence[Step], drawing: _Drawing) -> Iterable[Row]:
    for step in steps:
        attempts = f"{_TIMES}{step.attempts}" if step.attempts and step.attempts > 1 else ""
        took = "" if step.seconds is None else words.lasted(step.seconds)
        yield Row(
            kind=step.kind,
            label=step.name or wording.word(step.kind),
            note=" ".join(filter(None, (attempts, took))),
            detail=_title(step),
            **_led([step], drawing),
            bars=[_bar(step, drawing)],
        )


def _by_name(steps: Sequence[Step], drawing: _Drawing) -> Iterable[Row]:
    def key(step: Step) -> tuple[str, str]:
        return step.kind, step.name

    rows = []
    for (kind, name), some in groupby(sorted(steps, key=key), key=key):
        found = list(some)
        bars: dict[tuple[int, str], Bar] = {}
        for step in found:
            bar = _bar(step, drawing)
            # What would be drawn upon something of the same look is left out: so there are never more than fit.
            bars.setdefault((round(float(bar.x)), bar.look), bar)
        note, detail = f"{_TIMES}{len(found)}", _summary(found)
        led = _led(found, drawing)
        rows.append(
            Row(kind=kind, label=name or wording.word(kind), note=note, detail=detail, **led, bars=list(bars.values()))
        )
    rows.sort(key=lambda row: row.seq)
    return rows[:ROWS]


def _bar(step: Step, drawing: _Drawing) -> Bar:
    x = drawing.scale.x(step.began)
    last = drawing.scale.x(drawing.end if step.ended is None else step.ended)
    look = "mark" if step.at_once else "open" if step.is_open else step.outcome
    chosen = None if step.event_id is None else drawing.looks.get(step.event_id)
    return _drawn(x, last - x, chosen or look, step)


def _drawn(x: float, width: float, look: str, step: Step) -> Bar:
    seen = max(width, _NARROWEST)
    return Bar(x=_text(min(x, WIDTH - seen)), width=_text(seen), look=look, title=_title(step), seq=step.seq)


def _title(step: Step) -> str:
    what = f"{wording.word(step.kind)} {step.name}".strip()
    parts = [what if step.event_id is None else f"{what} ({step.event_id})"]
    if step.is_open:
        parts.append(_("still open"))
    if step.outcome:
        parts.append(wording.word(step.outcome))
    if step.seconds is not None:
        parts.append(words.lasted(step.seconds))
    if step.attempts and step.attempts > 1:
        parts.append(ngettext("%(n)s attempt", "%(n)s attempts", step.attempts) % {"n": step.attempts})
    return ", ".join(parts)
