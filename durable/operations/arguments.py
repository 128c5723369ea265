"""What verbs take beside ids, reasons and actors: of which kind each is, for all of them alike."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from durable.core import given

if TYPE_CHECKING:
    from collections.abc import Callable

_number = partial(given.optional, given.integer)

_KINDS: dict[str, Callable[[Any, str], Any]] = {
    "children": given.flag,
    "dry_run": given.flag,
    "event_id": given.integer,
    "force": given.flag,
    "keep_children": given.flag,
    "terminate_first": given.flag,
    "to": _number,
    "version": _number,
}


def check(where: str = "{}", **arguments: Any) -> None:
    """Refuse arguments that are not of their kind.

    Args:
        where: What errors call an argument, with ``{}`` for its name.
        arguments: Any of a verb; those that have checks of their own are passed over.

    Raises:
        InvalidInput: One is of another kind; the error names it and says what to give.
    """
    for name, value in arguments.items():
        if name in _KINDS:
            _KINDS[name](value, where.format(name))
