"""How values become JSON, and JSON becomes values again."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from durable.core import forms, outside, targets
from durable.core.errors import InvalidDefinition, InvalidInput, PayloadTooLarge
from durable.core.forms import Storable

__all__ = ["Converter", "Storable", "dumps", "loads"]

_PLACE = re.compile(r" - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`")
_DEPTH = f"it is nested too deeply, by more than {outside.DEEPEST} lists and objects, or contains itself"


class Converter:
    """Turns values into JSON, and back by annotation.

    For types that it does not know, override ``encode_other`` and
    ``decode_other`` in a subclass, which in a Django project is one of
    ``DjangoConverter``, and name that in ``DURABLE["CONVERTER"]``. They are
    called for such types wherever these occur. Leave the other methods alone:
    what is plain JSON already may go past them.
    """

    def encode_other(self, value: Any) -> Any:
        """Return what to store for a value of an unknown type; it may hold anything that can be stored.

        Raises:
            NotImplementedError: This converter does not know the type either.
            ValueError: It knows the type, but not this value; the text says why.
        """
        raise NotImplementedError

    def decode_other(self, data: Any, kind: Any) -> Any:
        """Build a value of an unknown type from its JSON.

        Args:
            data: What ``encode_other`` returned.
            kind: What is annotated; a class, or a generic class with its arguments.

        Raises:
            NotImplementedError: This converter does not know the type either.
            ValueError: The data does not fit; the text says why.
        """
        raise NotImplementedError

    def knows(self, kind: type) -> bool:
        """Say whether ``decode_other`` takes values of a type."""
        try:
            self.decode_other({}, kind)
        except NotImplementedError:
            return False
        except Exception:  # noqa: BLE001 - it minds the value, so it knows the type
            return True
        return True

    def encode(self, value: Any, where: str) -> Any:
        """Return a value as plain JSON.

        Args:
            where: What the value was given for; errors name it.

        Raises:
            InvalidInput: Some part of it has no JSON form.
        """
        try:
            return self.form(value)
        except ValueError as error:
            path, problem = forms.blame(value, self._encode_other, str(error))
            raise InvalidInput(f"{where}{path}", problem) from None
        except RecursionError:
            raise InvalidInput(where, _DEPTH) from None

    def decode(self, data: Any, annotation: Any, where: str) -> Any:
        """Return plain JSON as the value that the annotation calls for.

        Plain JSON annotated as ``Any``, or not at all, is returned as it is.

        Raises:
            InvalidInput: The data does not fit.
            InvalidDefinition: JSON cannot say what is annotated.
        """
        if annotation is Any or annotation is type(data):
            return data
        try:
            target = targets.target(annotation)
        except (NameError, targets.Unclear) as error:
            raise InvalidDefinition(where, str(error)) from None
        return self.decode_as(data, target, where)

    def decode_as(self, data: Any, target: Any, where: str) -> Any:
        """Return plain JSON as a value; ``target`` is an annotation's ``targets.target``."""
        try:
            return self.revive(data, target)
        except msgspec.ValidationError as error:
            raise _misfit(where, str(error)) from None
        except RecursionError:
            raise InvalidInput(where, _DEPTH) from None

    def form(self, value: Any) -> Any:
        """Do what ``encode`` does, without saying where; raises ValueError."""
        if type(value) in (dict, list) and (copy := forms.copied(value)) is not None:
            return copy
        return forms.form(value, self._encode_other)

    def revive(self, data: Any, target: Any) -> Any:
        """Do what ``decode_as`` does, without saying where; raises ``msgspec.ValidationError``."""
        return msgspec.convert(data, target, str_keys=True, dec_hook=self._make)

    def _encode_other(self, value: Any) -> Any:
        try:
            return self.encode_other(value)
        except NotImplementedError:
            return forms.refuse(value)

    def _make(self, stand_in: Any, data: Any) -> Any:
        try:
            return stand_in.make(data, self)
        except msgspec.ValidationError as error:
            # msgspec adds the place of this part to any error but its own.
            raise ValueError(str(error)) from None


def _misfit(where: str, message: str) -> InvalidInput:
    """Build the error from msgspec's words, such as ``Expected `int`, got `str` - at `$.lines[0]```."""
    places = list(_PLACE.finditer(message))
    # The innermost place comes first, when a hook's own message had one.
    path = "".join(place["path"] for place in reversed(places))
    problem = _PLACE.sub("", message).replace("`", "")
    key = "a key: " if any(place["key"] for place in places) else ""
    return InvalidInput(f"{where}{path}", f"{key}{problem[:1].lower()}{problem[1:]}")


def dumps(data: Any, where: str, limit: int) -> str:
    """Do what ``encoded`` does, and return a str."""
    return encoded(data, where, limit).decode()


def encoded(data: Any, where: str, limit: int) -> bytes:
    """Return plain JSON as text.

    Args:
        limit: The largest size, in bytes.

    Raises:
        PayloadTooLarge: The text is larger.
        InvalidInput: The data is not plain JSON, or is nested too deeply.
    """
    try:
        text = msgspec.json.encode(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(where, str(error)) from None
    if len(text) > limit:
        raise PayloadTooLarge(where, size=len(text), limit=limit)
    # What has few lists and objects is not worth the look.
    if text.count(b"[") + text.count(b"{") > outside.DEEPEST and outside.is_too_deep(data):
        raise InvalidInput(where, _DEPTH)
    return text


def loads(text: str | bytes) -> Any:
    """Return the plain JSON that a text holds.

    Raises:
        InvalidInput: It is not JSON.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidInput("JSON", str(error)) from None
