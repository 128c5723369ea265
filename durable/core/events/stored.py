"""Events as they are stored: by the name of their kind, as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import force_setattr

from durable.core.errors import UndecodableEvent
from durable.core.events import answers, asked, control, ends
from durable.core.events.base import Asked, Event, fields

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable


KINDS: dict[str, type[Event]] = {
    kind.__name__: kind for kind in (*control.KINDS, *ends.KINDS, *asked.KINDS, *answers.KINDS)
}

ASKED = frozenset(kind for kind in KINDS.values() if issubclass(kind, Asked))
"""The kinds of what code asks for: to look a class up here is quicker than ``isinstance``."""

_DECODERS = {name: msgspec.json.Decoder(kind) for name, kind in KINDS.items()}


def decode(kind: str, data: str, *, at: float, seq: int) -> Event:
    """Build the event that is stored as ``data`` under ``kind``.

    Raises:
        UndecodableEvent: The kind is unknown here, or the data does not fit it.
    """
    return next(decode_all([(seq, kind, at, data)]))


def decode_all(rows: Iterable[tuple[int, str, float, str]]) -> Generator[Event, None, None]:
    """Build events, one after the other, of rows of a history: ``seq``, kind, time and data of each.

    Raises:
        UndecodableEvent: One cannot be built; those before it have been.
    """
    for seq, kind, at, data in rows:
        try:
            event = _DECODERS[kind].decode(data)
        except KeyError:
            problem = "this release does not know the kind; a newer one may have written it"
            raise UndecodableEvent(seq, kind, problem) from None
        except (msgspec.MsgspecError, RecursionError) as error:
            raise UndecodableEvent(seq, kind, str(error)) from None
        force_setattr(event, "at", at)
        yield event


def complete(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return an event's stored JSON with the defaults that were left out, without its number and name."""
    defaults = dict(fields(KINDS[kind])) if kind in KINDS else {}
    full = {**{k: v for k, v in defaults.items() if v is not msgspec.NODEFAULT}, **data}
    return {name: value for name, value in full.items() if name not in {"event_id", "name"}}
