"""A codec that encrypts what workflows store."""

from __future__ import annotations

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from durable.codecs import Codec
from durable.errors import InvalidInput

# Every Fernet token begins with its version, 0x80, in base64; no JSON text begins with a g.
_TOKEN = "gAAAA"  # noqa: S105 - how tokens begin


class FernetCodec(Codec):
    """Encrypts with the keys of the setting ``DURABLE_KEYS``.

    A key is what ``Fernet.generate_key()`` returns. The first one encrypts,
    all of them decrypt. To rotate, put a new key in front and restart; drop
    the old one when everything that it encrypted has been purged.

    Texts that were stored before there was a key stay readable, so encryption
    can be switched on under running instances.
    """

    def __init__(self) -> None:
        keys = getattr(settings, "DURABLE_KEYS", [])
        if not keys:
            raise ImproperlyConfigured("FernetCodec needs at least one key in DURABLE_KEYS")
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def encode(self, text: str) -> str:
        """Return the text encrypted."""
        return self._fernet.encrypt(text.encode()).decode()

    def decode(self, text: str) -> str:
        """Return the text decrypted.

        Raises:
            InvalidInput: No key opens it.
        """
        if not text.startswith(_TOKEN):
            return text
        try:
            return self._fernet.decrypt(text.encode()).decode()
        except InvalidToken:
            raise InvalidInput("stored JSON", "no key in DURABLE_KEYS opens it") from None
