"""Lay two histories side by side: which event of one is which of the other, and in what they differ.

What the code asked for is matched first: by kind, name and arguments where
these tell it from all else, by kind and name between those. Answers follow what
they answer, whatever order they came in. So a step that is there once more, or
that came later, does not make everything after it look different.
"""

from __future__ import annotations

import bisect
import difflib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable.core import events as ev
from durable.core.failures import Failure

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

AT_ONCE = 1_000_000
"""Up to how many comparisons are left to difflib, whose cost grows with the product of two lengths."""

_NOT_COMPARED = {"event_id", "seed"}
_MOMENT = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An event of one history and what it is in the other.

    Attributes:
        a, b: Its places, from 0; None where it is not.
        fields: In what the two differ: ``kind``, or names of fields.
        moved: Whether it stands elsewhere among the others.
    """

    a: int | None
    b: int | None
    fields: tuple[str, ...] = ()
    moved: bool = False


def align(a: Sequence[ev.Event], b: Sequence[ev.Event], *, ids: tuple[str, str] = ("", "")) -> list[Pair]:
    """Return all events of two histories, in order, those that belong together as pairs.

    Numbers of events, their times and the seeds of random numbers are not
    compared; of a timer its length is, of a failure its type and message.

    Args:
        a: One history.
        b: The other.
        ids: The ids of their instances: children's ids that begin with them are compared without.
    """
    ones, others = _tokens(a, b)
    places = {token: place for place, token in enumerate(others)}
    pairs = [(place, places[token]) for place, token in enumerate(ones) if token in places]
    firm = set(_increasing(pairs))
    moved = {j: i for i, j in pairs if (i, j) not in firm}
    taken = set(moved.values())
    found: list[Pair] = []
    next_a = next_b = 0
    for end_a, end_b in [*sorted(firm), (len(a), len(b))]:
        found += [Pair(a=i, b=None) for i in range(next_a, end_a) if i not in taken]
        found += [_moved_or_new(a, b, moved, j, ids) for j in range(next_b, end_b)]
        if end_a < len(a):
            found.append(Pair(a=end_a, b=end_b, fields=_differing(a[end_a], b[end_b], ids)))
        next_a, next_b = end_a + 1, end_b + 1
    return found


def _moved_or_new(
    a: Sequence[ev.Event], b: Sequence[ev.Event], moved: dict[int, int], place: int, ids: tuple[str, str]
) -> Pair:
    came_from = moved.get(place)
    if came_from is None:
        return Pair(a=None, b=place)
    return Pair(a=came_from, b=place, fields=_differing(a[came_from], b[place], ids), moved=True)


# --- which is which

_Token = tuple[Any, ...]


def _tokens(a: Sequence[ev.Event], b: Sequence[ev.Event]) -> tuple[list[_Token], list[_Token]]:
    """Return what each event is called; what belongs together has the same name, all else names of its own."""
    found: tuple[list[_Token], list[_Token]] = ([("a", i) for i in range(len(a))], [("b", j) for j in range(len(b))])
    for is_one in (_is_asked, _is_control):
        places = [[place for place, event in enumerate(history) if is_one(event)] for history in (a, b)]
        matched = _match([_Key(a[i]) for i in places[0]], [_Key(b[j]) for j in places[1]])
        for one, other in matched:
            i, j = places[0][one], places[1][other]
            found[0][i] = found[1][j] = ("pair", i, j)
    for history, tokens in zip((a, b), found, strict=True):
        asked = {event.event_id: tokens[i] for i, event in enumerate(history) if isinstance(event, ev.Asked)}
        for place, event in enumerate(history):
            if isinstance(event, ev.Answer) and event.event_id in asked:
                tokens[place] = ("answer", asked[event.event_id], isinstance(event, ev.ChildStarted))
    return found


def _is_asked(event: ev.Event) -> bool:
    return isinstance(event, ev.Asked)


def _is_control(event: ev.Event) -> bool:
    return not isinstance(event, ev.Asked | ev.Answer)


class _Key:
    """What an event is matched by.

    Attributes:
        strong: Its kind, name and arguments.
        weak: Its kind and name alone; all ends are one.
        number: Its event id, or None.
    """

    __slots__ = ("number", "strong", "weak")

    def __init__(self, event: ev.Event) -> None:
        self.number = getattr(event, "event_id", None)
        self.weak = ("end", "") if event.ends else (event.kind, getattr(event, "name", ""))
        self.strong = (*self.weak, repr(getattr(event, "input", getattr(event, "payload", None))))


def _match(a: Sequence[_Key], b: Sequence[_Key]) -> list[tuple[int, int]]:
    """Return which of two sequences belong together, in order as far as that goes."""
    strong_a, strong_b = [key.strong for key in a], [key.strong for key in b]
    found, (low_a, high_a, low_b, high_b) = _trimmed(strong_a, strong_b, 0, len(a), 0, len(b))
    next_a, next_b = low_a, low_b
    for i, j in [*_anchors(strong_a, strong_b, low_a, high_a, low_b, high_b), (high_a, high_b)]:
        found += _between(a, b, next_a, i, next_b, j)
        if i < high_a:
            found.append((i, j))
        next_a, next_b = i + 1, j + 1
    return found + _elsewhere(strong_a, strong_b, found)


def _elsewhere(a: Sequence[Hashable], b: Sequence[Hashable], found: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the pairs of what is left just once in each: it comes at another place."""
    done_a, done_b = {i for i, _ in found}, {j for _, j in found}
    left_a, left_b = ([i for i in range(len(a)) if i not in done_a], [j for j in range(len(b)) if j not in done_b])
    once_a, once_b = Counter(a[i] for i in left_a), Counter(b[j] for j in left_b)
    places = {b[j]: j for j in left_b if once_b[b[j]] == 1}
    return [(i, places[a[i]]) for i in left_a if once_a[a[i]] == 1 and a[i] in places]


def _trimmed(
    a: Sequence[Hashable], b: Sequence[Hashable], low_a: int, high_a: int, low_b: int, high_b: int
) -> tuple[list[tuple[int, int]], tuple[int, int, int, int]]:
    """Return the pairs at both ends that are the same, and what is left between."""
    found = []
    while low_a < high_a and low_b < high_b and a[low_a] == b[low_b]:
        found.append((low_a, low_b))
        low_a, low_b = low_a + 1, low_b + 1
    while low_a < high_a and low_b < high_b and a[high_a - 1] == b[high_b - 1]:
        high_a, high_b = high_a - 1, high_b - 1
        found.append((high_a, high_b))
    return found, (low_a, high_a, low_b, high_b)


def _anchors(
    a: Sequence[Hashable], b: Sequence[Hashable], low_a: int, high_a: int, low_b: int, high_b: int
) -> list[tuple[int, int]]:
    """Return the pairs of what is there just once in each, as many as are in the same order."""
    once_a, once_b = Counter(a[low_a:high_a]), Counter(b[low_b:high_b])
    places = {b[j]: j for j in range(low_b, high_b) if once_b[b[j]] == 1}
    return _increasing([(i, places[a[i]]) for i in range(low_a, high_a) if once_a[a[i]] == 1 and a[i] in places])


def _between(
    a: Sequence[_Key], b: Sequence[_Key], low_a: int, high_a: int, low_b: int, high_b: int
) -> list[tuple[int, int]]:
    """Match by kind and name what lies between two anchors."""
    weak_a, weak_b = [key.weak for key in a[low_a:high_a]], [key.weak for key in b[low_b:high_b]]
    same, (start_a, end_a, start_b, end_b) = _trimmed(weak_a, weak_b, 0, len(weak_a), 0, len(weak_b))
    rest_a, rest_b = range(start_a, end_a), range(start_b, end_b)
    if len(rest_a) * len(rest_b) <= AT_ONCE:
        blocks = difflib.SequenceMatcher(None, weak_a[start_a:end_a], weak_b[start_b:end_b], autojunk=False)
        for block in blocks.get_matching_blocks():
            same += [(start_a + block.a + n, start_b + block.b + n) for n in range(block.size)]
    else:
        by_number = {(weak_b[j], b[low_b + j].number): j for j in rest_b}
        named = [(i, by_number.get((weak_a[i], a[low_a + i].number))) for i in rest_a]
        same += [(i, j) for i, j in named if j is not None]
    return [(low_a + i, low_b + j) for i, j in same]


def _increasing(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return as many of the pairs, whose first ones increase, as have increasing second ones."""
    ends: list[int] = []  # the smallest end of a run of each length
    last: list[int] = []  # and the place in ``pairs`` of that end
    before: list[int | None] = []
    for place, (_, j) in enumerate(pairs):
        length = bisect.bisect_left(ends, j)
        before.append(last[length - 1] if length else None)
        ends[length : length + 1], last[length : length + 1] = [j], [place]
    found = []
    at = last[-1] if last else None
    while at is not None:
        found.append(pairs[at])
        at = before[at]
    return found[::-1]


# --- in what they differ


def _differing(a: ev.Event, b: ev.Event, ids: tuple[str, str]) -> tuple[str, ...]:
    if type(a) is not type(b):
        return ("kind",)
    names = [name for name in ev.names(type(a)) if name not in _NOT_COMPARED]
    return tuple(name for name in names if not _same(name, a, b, ids))


def _same(name: str, a: ev.Event, b: ev.Event, ids: tuple[str, str]) -> bool:
    one, other = getattr(a, name), getattr(b, name)
    match one, other:
        case Failure(), Failure():
            return (one.type, one.message) == (other.type, other.message)
    match name:
        case "fire_at":
            return bool(abs((one - a.at) - (other - b.at)) < _MOMENT)
        case "instance_id":
            return bool(one.removeprefix(f"{ids[0]}:") == other.removeprefix(f"{ids[1]}:"))
    return bool(one == other)
