"""Every word of the pages can be translated, and is, where there is a translation."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from django.utils import translation
from django.utils.translation import trans_real

from durable import client
from durable.admin import words

OPENING, CLOSING = "\N{LEFT WHITE SQUARE BRACKET}", "\N{RIGHT WHITE SQUARE BRACKET}"
SILENT = {"script", "style", "pre", "code", "svg", "textarea", "title"}
VOID = {"input", "br", "link", "meta", "img", "hr", "rect", "line", "path", "use"}
DATA = re.compile(r"\d+, \d{4}, [\d:]+ UTC|[0-9a-f]{8}-[0-9a-f-]{27}")
"""What is left of a moment once its month is translated, and ids that are made up."""
SAID = ("title", "aria-label", "placeholder", "data-label", "data-chosen")


class Words(HTMLParser):
    """The words of a page that nothing translates: neither marked as translated, nor as somebody's data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._silent: list[bool] = []
        self._depth = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        silent = self._is_silent or tag in SILENT or given.get("translate") == "no"
        if tag not in VOID:
            self._silent.append(silent)
        if not silent:
            for name in SAID:
                self._outside(given.get(name) or "", 0)

    def handle_endtag(self, tag):
        if tag not in VOID:
            self._silent.pop()

    def handle_data(self, data):
        if self._is_silent:
            data = "".join(each for each in data if each in OPENING + CLOSING)
        self._depth = self._outside(data, self._depth)

    @property
    def _is_silent(self):
        return bool(self._silent) and self._silent[-1]

    def _outside(self, text, depth):
        """Keep what stands outside of all brackets; return in how many the text ends."""
        kept = ""
        for each in text:
            if each == OPENING:
                depth += 1
            elif each == CLOSING:
                depth -= 1
            elif not depth:
                kept += each
        if any(each.isalpha() for each in kept):
            self.found.append(kept.strip())
        return depth


@pytest.fixture
def bracketed(monkeypatch):
    """Have everything that is translated stand in brackets."""

    def around(name):
        real = getattr(trans_real, name)
        monkeypatch.setattr(translation._trans, name, lambda *given: f"{OPENING}{real(*given)}{CLOSING}")

    for name in ("gettext", "ngettext", "pgettext", "npgettext"):
        around(name)


@pytest.fixture
def pages(site, failed, waiting, crowded):
    """Return the address of every page, by what it shows."""
    one, two = "order_2F1", "talk"
    return {
        "home": "/admin/",
        "list": "",
        "filtered": "?q=order&status=failed&again=on",
        "nothing": "?q=nothing-like-it",
        "failed": f"{one}/change/",
        "events": f"{one}/change/?history=full",
        "waiting": f"{two}/change/",
        "explain": f"{one}/explain/",
        "explain-waiting": f"{two}/explain/",
        "compare": f"{one}/compare/?with=again",
        "rewind": f"{one}/do/rewind/",
        "rerun": f"{one}/do/rerun/?event_id=1",
        "restart": f"{one}/do/restart/",
        "purge": f"{one}/do/purge/",
        "restore": f"{one}/do/restore/",
        "signal": f"{two}/do/signal/",
        "suspend": f"{two}/do/suspend/",
        "upgrade": f"{two}/do/upgrade/",
        "failures": "failures/",
        "versions": "versions/",
        "filters": "filters/",
        "update": f"{two}/do/update/",
        "definitions": "definitions/",
        "start": "definitions/flow/start/",
        "batches": "batches/",
        "report": f"{crowded}/report/",
        "workers": "workers/",
        "audit": "/admin/durable/operation/",
    }


@pytest.fixture
def crowded(engine, site, failed, waiting):
    """What there is to see beside a failure and a wait: a restart, a batch with a refusal, the audit of both."""
    client.restart("order/1", new_instance_id="again", reason="once more", actor=site.user)
    begun = client.batch("rewind", ["order/1", "talk"], reason="both", actor=site.user)
    engine.run_until_quiet()
    return begun.id


def test_every_word_of_the_pages_can_be_translated(site, pages, bracketed):
    data = {"ada", "order/1", "talk", "again", "order", "int"}
    leftovers = {}
    for name, path in pages.items():
        page = site.get(path)
        assert page.status == 200, name
        found = [each for each in Words(page.text).found if each not in data and not DATA.fullmatch(each)]
        if found:
            leftovers[name] = found

    assert not leftovers, "\n".join(f"{name}: {found}" for name, found in leftovers.items())


@pytest.fixture(autouse=True)
def _at_home():
    """Leave no language behind: the one of a request stays until the next one."""
    yield
    translation.deactivate()


GERMAN = {
    "list": ("Instanzen", "Fehlergruppen", "fehlgeschlagen", "Mit den ausgewählten:", "vor "),
    "failed": ("Zurückspulen", "Zeitachse", "Verlauf", "abgeschlossen", "Eingabe", "Ab hier wiederholen"),
    "waiting": ("Noch niemand hat Signal", "Warum sie nicht weitergeht", "Sofort beenden"),
    "rewind": ("Abgelehnt:", "Was stattdessen möglich ist", "Zurück, nichts tun"),
    "purge": ("Was daraus würde", "löscht 1 Instanz, 2 Ausführungen und", "Grund:"),
    "report": ("Stapel", "abgelehnt", "erledigt"),
    "audit": ("Protokoll", "Neu starten"),
    "workers": ("Aktivitäten, die auf einen Worker warten",),
}


@pytest.mark.parametrize("name", GERMAN)
def test_pages_are_german_for_germans(settings, site, pages, name):
    settings.LANGUAGE_CODE = "en"
    text = site.client.get(site.address(pages[name]), headers={"Accept-Language": "de"}).content.decode()

    assert 'lang="de"' in text
    for said in GERMAN[name]:
        assert said in text, said
    for said in ("Instances", "Failure groups", "Audit log", "failed</", "Created", "Reason", "Preview"):
        assert f">{said}" not in text, said


def test_what_was_done_is_told_in_the_users_language(site, failed):
    site.client.defaults["HTTP_ACCEPT_LANGUAGE"] = "fr"
    page = site.do("order/1", "rewind")

    assert "Rembobiner : fait" in site.get(page.response.url).text


def test_moments_and_numbers_are_written_as_the_language_does(site, failed):
    with translation.override("de"):
        assert words.lasted(1.25) == "1,2 s"
        assert words.at_most(20_000, 10_000) == "10.000+"
    german = site.client.get(site.address("order_2F1/change/"), headers={"Accept-Language": "de"}).content.decode()

    assert re.search(r'title="\d+\. \w+ \d{4}, \d\d:\d\d:\d\d UTC"', german)
