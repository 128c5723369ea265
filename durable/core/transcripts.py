"""Transcripts: histories outside the database, one line of JSON each, to be replayed elsewhere and later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from durable.core import events as ev
from durable.core.errors import InvalidTranscript, UndecodableEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FORMAT = 1
"""Changes only when a line can no longer be read as before; new fields and kinds of events leave it as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """The history of one execution, and whose it is.

    Attributes:
        number: Which execution of its instance, from 1.
        workflow: The workflow's name, without its version.
        status: How far the instance, or an earlier execution of it, was.
    """

    instance_id: str
    execution_id: str = ""
    number: int = 1
    workflow: str
    version: int = 0
    status: str = ""
    events: tuple[ev.Event, ...]


class _Entry(msgspec.Struct, omit_defaults=True):
    seq: int
    kind: str
    event_id: int | None = None
    name: str | None = None
    at: float = 0.0
    data: dict[str, Any] = {}


class _Line(msgspec.Struct):
    format: int
    instance_id: str
    workflow: str
    events: list[_Entry]
    execution_id: str = ""
    number: int = 1
    version: int = 0
    status: str = ""


class _Format(msgspec.Struct):
    format: int


_encoder = msgspec.json.Encoder()
_format = msgspec.json.Decoder(_Format)
_line = msgspec.json.Decoder(_Line)
_HEAD = [name for name in _Line.__struct_fields__ if name not in {"format", "events"}]
_BESIDE = ("event_id", "name")


def dumps(transcript: Transcript) -> str:
    """Return a transcript as one line of JSON, without the line's end."""
    line = _Line(
        format=FORMAT,
        events=[_entry(seq, event) for seq, event in enumerate(transcript.events, 1)],
        **{name: getattr(transcript, name) for name in _HEAD},
    )
    return _encoder.encode(line).decode()


def _entry(seq: int, event: ev.Event) -> _Entry:
    data = event.to_json()
    beside = {name: data.pop(name) for name in _BESIDE if name in data}
    return _Entry(seq=seq, kind=event.kind, at=event.at, data=data, **beside)


def loads(text: str, *, line: int = 1, source: str = "") -> Transcript:
    """Return the transcript that ``dumps`` wrote.

    Args:
        text: One line.
        line: Its number, from 1, for errors.
        source: The name of the file that it is from, for errors.

    Raises:
        InvalidTranscript: It is none, or not one that this release can read.
    """
    try:
        number = _format.decode(text).format
        if number != FORMAT:
            raise InvalidTranscript(source, line, f"its format is {number}, this release reads format {FORMAT}")
        read = _line.decode(text)
        events = tuple(_event(place, entry) for place, entry in enumerate(read.events, 1))
    except (msgspec.MsgspecError, UndecodableEvent, RecursionError) as error:
        raise InvalidTranscript(source, line, str(error)) from None
    except _Gap as gap:
        raise InvalidTranscript(source, line, f"event {gap.args[0]} is missing") from None
    return Transcript(events=events, **{name: getattr(read, name) for name in _HEAD})


class _Gap(Exception):
    """An event is not where it should be."""


def _event(place: int, entry: _Entry) -> ev.Event:
    if entry.seq != place:
        raise _Gap(place)
    return event(entry.kind, entry.data, seq=entry.seq, at=entry.at, event_id=entry.event_id, name=entry.name)


def read(lines: Iterable[str], *, source: str = "") -> Iterator[Transcript]:
    """Yield the transcripts of a file's lines; empty lines are passed over.

    Raises:
        InvalidTranscript: A line is none; the error names it.
    """
    return (transcript for _, transcript in numbered(lines, source=source))


def numbered(lines: Iterable[str], *, source: str = "") -> Iterator[tuple[int, Transcript]]:
    """Yield the same, each with the number of its line, from 1.

    Raises:
        InvalidTranscript: A line is none; the error names it.
    """
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, loads(line, line=number, source=source)


def event(
    kind: str, data: dict[str, Any], *, seq: int, at: float, event_id: int | None = None, name: str | None = None
) -> ev.Event:
    """Return the event whose number and name are kept beside its data.

    Args:
        kind, data, seq, at: As for ``events.decode``.
        event_id, name: Left out where events of this kind have none.

    Raises:
        UndecodableEvent: The kind is unknown here, or the data does not fit it.
    """
    has = ev.names(ev.KINDS[kind]) if kind in ev.KINDS else []
    beside = {"event_id": event_id, "name": name}
    whole = {**data, **{key: value for key, value in beside.items() if key in has and value is not None}}
    return ev.decode(kind, _encoder.encode(whole).decode(), at=at, seq=seq)
