"""What stored JSON passes through on its way to the database."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Codec(ABC):
    """Changes JSON texts before they are stored, and back: to encrypt or to compress them.

    Name a subclass in ``DURABLE["CODEC"]``; it is made once, without
    arguments. What ``encode`` returns may be any text, but ``decode`` must
    give the JSON back exactly, also of texts stored under earlier settings.
    """

    @abstractmethod
    def encode(self, text: str) -> str:
        """Return the text to store in place of a JSON text."""

    @abstractmethod
    def decode(self, text: str) -> str:
        """Return the JSON text that was given to ``encode``."""


class PlainCodec(Codec):
    """Stores JSON as it is."""

    def encode(self, text: str) -> str:
        """Return the text."""
        return text

    def decode(self, text: str) -> str:
        """Return the text."""
        return text
