"""A model field for JSON that comes back as it went in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from django.db import InterfaceError, OperationalError, models

from durable import conf
from durable.core.errors import UndecodablePayload


class JSONText(models.TextField):
    """JSON kept as text, through the codec of the settings.

    Not ``JSONField``: PostgreSQL's ``jsonb`` reorders keys, so code that loops
    over a recorded dict would take another path on replay than it took live.
    """

    if TYPE_CHECKING:
        _pyi_private_set_type: Any
        _pyi_private_get_type: Any

    def from_db_value(self, value: str | None, *_: Any) -> Any:
        return None if value is None else load(value, f"{self.model.__name__}.{self.name}")

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else dump(value)

    def to_python(self, value: Any) -> Any:
        return value

    def value_to_string(self, obj: models.Model) -> str:
        return dump(self.value_from_object(obj))


class Dumped(str):
    """JSON that is the text to store already."""

    __slots__ = ()


def dump(value: Any) -> str:
    """Return plain JSON as the text to store."""
    if isinstance(value, Dumped):
        return str(value)
    return conf.codec().encode(msgspec.json.encode(value).decode())


def load(text: str, where: str) -> Any:
    """Return the plain JSON that ``dump`` stored.

    Raises:
        UndecodablePayload: It cannot be read.
    """
    plain = decode(text, where)
    try:
        return msgspec.json.decode(plain)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise UndecodablePayload(where, str(error)) from None


def decode(text: str, where: str) -> str:
    """Return the JSON text that is stored as ``text`` in the column ``where``.

    Raises:
        UndecodablePayload: The codec cannot decode it.
    """
    try:
        return conf.codec().decode(text)
    except Exception as error:
        raise UndecodablePayload(where, problem(error)) from error


def problem(error: Exception) -> str:
    """Return what an error that a codec raised says.

    Raises:
        OperationalError, InterfaceError: The error, if it is the database's: the codec may have its keys there.
    """
    if isinstance(error, OperationalError | InterfaceError):
        raise error
    return f"{type(error).__name__}: {error}".removesuffix(": ")
