"""The catalogues of translations: which words there are to translate, and files that hold them.

``python -m tests.messages`` renews the files; whatever it names has yet to be translated, in the files themselves.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_python
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

PACKAGE = Path(__file__).resolve().parent.parent / "durable"
LOCALES = PACKAGE / "locale"
LANGUAGES = ("de", "es", "fr")
RENEW = "make messages"

_KEYWORDS = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}
_SINCE = datetime(2026, 1, 1, tzinfo=UTC)
"""When every catalogue says that it was made: a file changes only if words do."""

_NAMED = 50
"""How many missing translations are named."""


def wanted() -> Catalog:
    """Return the words of the package that are to be translated, without any translation."""
    found = Catalog(project="durable", charset="utf-8", creation_date=_SINCE, fuzzy=False)
    for path in sorted(PACKAGE.rglob("*")):
        place = path.relative_to(PACKAGE.parent).as_posix()
        for function, words in _calls(path):
            context, told = _message(function, words)
            found.add(told, context=context, locations=[(place, 0)])
    return found


def _calls(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the calls that ask for a translation, and what each is given."""
    if path.suffix == ".html":
        # Between the calls nothing but letters and spaces is left, on lines of which no tokenizer knows the indent.
        source = templatize(path.read_text(), origin=str(path)).replace("\n", " ").strip()
    elif path.suffix == ".py" and "translation" in (source := path.read_text()):
        pass
    else:
        return
    calls: Any = extract_python(io.BytesIO(source.encode()), _KEYWORDS, (), {})
    for _line, function, words, _comments in calls:
        found = (words,) if isinstance(words, str) else words
        if told := tuple(word for word in found if word):
            yield function, told


def _message(function: str, words: tuple[str, ...]) -> tuple[str | None, str | tuple[str, str]]:
    """Return the context of a message, if it has one, and the message: a text, or a singular and a plural."""
    context, rest = (words[0], words[1:]) if "pgettext" in function else (None, words)
    return context, (rest[0], rest[1]) if "ngettext" in function or "npgettext" in function else rest[0]


def path_of(language: str, suffix: str = "po") -> Path:
    """Return where a language's catalogue is."""
    return LOCALES / language / "LC_MESSAGES" / f"django.{suffix}"


def read(language: str) -> Catalog:
    """Return the catalogue of a language, empty if there is none yet."""
    path = path_of(language)
    if not path.exists():
        return Catalog(locale=language, creation_date=_SINCE, revision_date=_SINCE, fuzzy=False)
    with path.open("rb") as file:
        return read_po(file, locale=language)


def renewed(language: str, words: Catalog) -> Catalog:
    """Return a language's catalogue with exactly these words; what is new has no translation, guessed or not."""
    catalog = read(language)
    catalog.update(words, no_fuzzy_matching=True)
    catalog.obsolete.clear()
    catalog.creation_date = catalog.revision_date = _SINCE
    catalog.header_comment = "# Translations of durable. Renew with `make messages`, and fill in what is empty."
    catalog.project, catalog.version = "durable", ""
    catalog.last_translator, catalog.language_team = "The durable contributors", ""
    catalog.msgid_bugs_address = ""
    return catalog


def written(catalog: Catalog) -> bytes:
    """Return a catalogue as its file holds it."""
    file = io.BytesIO()
    write_po(file, catalog, width=0, sort_output=True, include_lineno=False, ignore_obsolete=True)
    return file.getvalue()


def compiled(catalog: Catalog) -> bytes:
    """Return a catalogue as programs read it."""
    file = io.BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def untranslated(catalog: Catalog) -> list[Message]:
    """Return the words of a catalogue that lack a translation, or have a doubtful one."""
    return [message for message in catalog if message.id and (message.fuzzy or not _is_told(message))]


def _is_told(message: Message) -> bool:
    told = message.string if isinstance(message.string, tuple) else (message.string,)
    return all(told)


def main() -> int:
    """Renew every catalogue; name what is still to be translated."""
    words, missing = wanted(), 0
    for language in LANGUAGES:
        catalog, path = renewed(language, words), path_of(language)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(written(catalog))
        path_of(language, "mo").write_bytes(compiled(catalog))
        for message in untranslated(catalog):
            missing += 1
            if missing <= _NAMED:
                sys.stdout.write(f"{path.relative_to(PACKAGE.parent)}: to translate: {message.id!r}\n")
    said = f"{missing} translations are missing: write them, then `{RENEW}` again" if missing else "all is translated"
    sys.stdout.write(f"{len(words)} words, {said}.\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
