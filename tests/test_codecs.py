"""Codecs give stored JSON back as it was."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from durable.codecs import Codec, PlainCodec
from durable.core.errors import InvalidInput
from project.encryption import FernetCodec

OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))


@pytest.fixture
def keys(settings):
    settings.DURABLE_KEYS = [NEW, OLD]
    return settings


def test_plain_codec_changes_nothing():
    codec = PlainCodec()

    assert codec.encode('{"a": 1}') == '{"a": 1}'
    assert codec.decode('{"a": 1}') == '{"a": 1}'


def test_codec_must_say_how_to_encode_and_decode():
    with pytest.raises(TypeError):
        Codec()  # type: ignore[abstract]


def test_encrypted_text_shows_nothing_and_comes_back(keys):
    codec = FernetCodec()

    stored = codec.encode('{"card": "4111 ä"}')

    assert "4111" not in stored
    assert codec.decode(stored) == '{"card": "4111 ä"}'


def test_any_text_comes_back(keys):
    codec = FernetCodec()

    @given(st.text())
    def comes_back(text):
        assert codec.decode(codec.encode(text)) == text

    comes_back()


def test_texts_under_an_old_key_stay_readable(keys):
    keys.DURABLE_KEYS = [OLD]
    stored = FernetCodec().encode("{}")

    keys.DURABLE_KEYS = [NEW, OLD]

    assert FernetCodec().decode(stored) == "{}"


def test_first_key_encrypts(keys):
    stored = FernetCodec().encode("{}")

    keys.DURABLE_KEYS = [NEW]

    assert FernetCodec().decode(stored) == "{}"


@pytest.mark.parametrize("text", ["{}", "null", '"gAAAA"', "1"])
def test_texts_from_before_encryption_stay_readable(keys, text):
    assert FernetCodec().decode(text) == text


def test_text_that_no_key_opens_is_refused(keys):
    stored = FernetCodec().encode("{}")

    keys.DURABLE_KEYS = [OTHER]

    with pytest.raises(InvalidInput, match="no key in DURABLE_KEYS opens it"):
        FernetCodec().decode(stored)


def test_changed_text_is_refused(keys):
    stored = FernetCodec().encode("{}")

    with pytest.raises(InvalidInput):
        FernetCodec().decode(stored[:-10] + "A" * 10)


def test_codec_without_a_key_is_refused(settings):
    settings.DURABLE_KEYS = []

    with pytest.raises(ImproperlyConfigured):
        FernetCodec()
