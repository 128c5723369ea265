"""Texts that become names and ids in rows: what they may hold."""

from __future__ import annotations

from typing import Any

from durable.core.errors import InvalidId, InvalidInput
from durable.core.errors.telling import quoted


def check_name(value: Any, where: str, *, longest: int = 200) -> str:
    """Return a name as it is, if it can be stored.

    Raises:
        InvalidInput: It is no text, too long, empty, or has characters that cannot be printed.
    """
    if not isinstance(value, str):
        raise InvalidInput(where, f"give a str, not {quoted(value)}")
    if not 1 <= len(value) <= longest:
        raise InvalidInput(where, f"{len(value)} characters; it has 1 to {longest}")
    if not value.isprintable():
        raise InvalidInput(where, f"{quoted(value)} has characters that cannot be printed")
    return value


def check_id(instance_id: object) -> None:
    """Check what is to be an instance's id.

    Raises:
        InvalidId: It is not a text of 1 to 255 printable characters.
    """
    if not isinstance(instance_id, str):
        raise InvalidId(instance_id, f"an id is text, not {type(instance_id).__name__}")
    if not 1 <= len(instance_id) <= 255:
        raise InvalidId(instance_id, f"{len(instance_id)} characters, an id has 1 to 255")
    if not instance_id.isprintable():
        raise InvalidId(instance_id, "it has characters that cannot be printed")


def check_plain(data: Any, where: str) -> Any:
    """Return plain JSON as it is, if a database can search it.

    Raises:
        InvalidInput: A text in it has a NUL character, which PostgreSQL refuses, or half a character.
    """
    match data:
        case str():
            if "\0" in data:
                raise InvalidInput(where, "NUL characters cannot be stored here")
            if not data.isascii() and any("\ud800" <= each <= "\udfff" for each in data):
                raise InvalidInput(where, f"{quoted(data)} has half a character, a surrogate without the other one")
        case dict():
            for key, value in data.items():
                check_plain(key, where)
                check_plain(value, where)
        case list():
            for value in data:
                check_plain(value, where)
    return data


def cut(text: str, length: int) -> str:
    """Return the beginning of a text that is longer."""
    return text if len(text) <= length else f"{text[: length - 3]}..."
