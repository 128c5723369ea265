"""The catalogues of translations hold every word of the package, and nothing doubtful."""

from __future__ import annotations

import re
import string
from html.parser import HTMLParser

import pytest

from tests import messages

_NAMED = re.compile(r"%\((\w+)\)[a-z]")
WRITE = f"renew the catalogues with `{messages.RENEW}`, write what is empty in durable/locale/*/LC_MESSAGES/django.po"


@pytest.fixture(scope="module")
def words():
    return {key(message) for message in messages.wanted() if message.id}


def key(message):
    return message.context, message.id


def kept(language):
    """Return the messages of a catalogue."""
    return [message for message in messages.read(language) if message.id]


def test_words_are_found_in_modules_and_in_templates(words):
    assert {(None, "Failure groups"), (None, "Back, do nothing"), (None, "rewind")} <= words
    assert (None, ("%(n)s attempt", "%(n)s attempts")) in words
    assert ("place in a history", "event") in words


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_catalogue_has_the_words_of_the_package_and_no_others(language, words):
    found = {key(message) for message in kept(language)}

    assert not words - found, f"words without a translation; {WRITE}, and run it again"
    assert not found - words, f"translations of words that are gone; `{messages.RENEW}` drops them"


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_every_word_is_translated_for_sure(language):
    missing = messages.untranslated(messages.read(language))

    assert not [message.id for message in missing], f"not translated, or marked as fuzzy; {WRITE}, and run it again"


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_translations_have_the_placeholders_of_the_words(language):
    for message in kept(language):
        singular, plural = message.id if isinstance(message.id, tuple) else (message.id, message.id)
        told = message.string if isinstance(message.string, tuple) else (message.string,)

        for one in told:
            assert holes(one) in (holes(singular), holes(plural)), f"{language}: {one!r} for {message.id!r}"
            assert tags(one) == tags(singular), f"{language}: {one!r} for {message.id!r}"


def holes(text):
    """Return what is filled into a text."""
    try:
        fields = {name for _text, name, _spec, _conversion in string.Formatter().parse(text) if name}
    except ValueError:
        fields = set()
    return set(_NAMED.findall(text)), fields


def tags(text):
    """Return the tags in a text: a translation that forgets one breaks its page."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.append((tag, tuple(attrs)))
    parser.handle_endtag = found.append
    parser.feed(text)
    return sorted(map(str, found))


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_translations_begin_and_end_as_the_words_do(language):
    for message in kept(language):
        (first, *_more), (one, *_others) = (
            each if isinstance(each, tuple) else (each,) for each in (message.id, message.string)
        )
        ends = [re.findall(r"[.:?!]$", text.strip()) for text in (first, one)]
        spaces = [(text[:1].isspace(), text[-1:].isspace()) for text in (first, one)]

        assert ends[0] == ends[1], f"{language}: {one!r} for {first!r}"
        assert spaces[0] == spaces[1], f"{language}: {one!r} for {first!r}"


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_programs_read_what_is_written(language):
    catalog = messages.read(language)

    assert messages.path_of(language, "mo").read_bytes() == messages.compiled(catalog), f"run `{messages.RENEW}`"
    assert messages.path_of(language).read_bytes() == messages.written(messages.renewed(language, messages.wanted()))


def test_a_new_word_is_added_without_a_guess(words):
    catalog = messages.wanted()
    catalog.add("Rewinds")  # one letter from a word that has a translation

    found = messages.renewed("de", catalog)

    assert [message.id for message in messages.untranslated(found)][-1:] == ["Rewinds"]
