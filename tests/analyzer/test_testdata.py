"""The rules on files that say in comments what is wanted, as found from live objects and from the file alone."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

from durable import analyzer, conf, registry
from tests import driving

DATA = Path(__file__).parent / "testdata"
FILES = sorted(path for path in DATA.glob("[a-z]*.py"))
_WANT = re.compile(r"# want(?: (live|file))?: (.*)")
_PART = re.compile(r"(DUR\d{3})\s*(.*)")


def wanted(path, way):
    """Return ``(line, rule, part of the message)`` for each wanted finding."""
    found = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        for only, parts in _WANT.findall(line):
            if only in ("", way):
                found += [(number, *_PART.match(part.strip()).groups()) for part in parts.split("; ")]
    return found


def live(path):
    """Import a file and analyze what it defines."""
    name = f"tests.analyzer.testdata.{path.stem}"
    sys.modules.pop(name, None)
    with driving.definitions():
        importlib.import_module(name)
        return analyzer.analyze_all([*registry.workflows(), *registry.activities()], converter=conf.converter())


def from_file(path):
    return analyzer.analyze_source(path.read_text(), str(path))


@pytest.mark.parametrize("way", [live, from_file], ids=["live", "file"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_finds_what_is_wanted_and_nothing_else(path, way):
    findings = [finding for finding in way(path) if finding.file == str(path)]
    left = list(findings)

    missing = []
    for line, rule, part in wanted(path, "live" if way is live else "file"):
        hits = [each for each in left if (each.line, each.rule) == (line, rule) and part in each.message]
        if hits:
            left.remove(hits[0])
        else:
            missing.append((line, rule, part))
    assert (missing, [str(each) for each in left]) == ([], [])


def test_every_rule_is_hit_both_ways():
    for way, name in ((live, "live"), (from_file, "file")):
        hit = {finding.rule for path in FILES for finding in way(path)}
        assert hit == set(analyzer.RULES), name
