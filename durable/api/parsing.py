"""Requests' JSON, strictly: nothing that could not be stored, and no more than is allowed."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import msgspec
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from durable import conf
from durable.core import outside
from durable.core.errors import PayloadTooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOM = 65_536
"""How many bytes a request may have beside its payload."""


class JSON(BaseParser):
    """Reads JSON with msgspec, which takes no NaN, no half of a character and no number that does not fit."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        limit = conf.limit("payload") + ROOM
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise PayloadTooLarge("request", size=_length(parser_context, len(body)), limit=limit)
        try:
            return outside.decode(body)
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.") from None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ParseError(f"This is no JSON: {error}") from None


def _length(context: Mapping[str, Any] | None, read: int) -> int:
    told = context["request"].META.get("CONTENT_LENGTH", "") if context else ""
    return max(int(told), read) if told.isdecimal() else read
