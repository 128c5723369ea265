"""Every rule is on the reference page, and its examples are as wrong and as right as the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from durable import analyzer

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "reference" / "rules.md"
CHECKS = ROOT / "docs" / "reference" / "checks.md"
HEAD = """\
import asyncio, os, random, time, uuid, zlib, requests
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from django.conf import settings
from django.core.cache import cache
from django.utils import timezone
from durable import activity, workflow
from .models import Order
"""


def sections():
    """Return the python blocks under each rule's heading."""
    found, current = {}, None
    tokens = MarkdownIt().parse(PAGE.read_text())
    for number, token in enumerate(tokens):
        if token.type == "heading_open":
            title = tokens[number + 1].content
            current = found.setdefault(title, []) if title.startswith("DUR") else None
        elif token.type == "fence" and token.info.startswith("python") and current is not None:
            current.append(token.content)
    return found


def test_the_page_has_every_rule_by_id_and_name():
    assert sorted(sections()) == [f"{rule.id}: {rule.name}" for rule in analyzer.RULES.values()]


@pytest.mark.parametrize("title", sections())
def test_the_first_example_is_wrong_and_the_second_right(title):
    wrong, right = sections()[title]

    assert {f.rule for f in analyzer.analyze_source(HEAD + wrong, "page.py")} >= {title.partition(":")[0]}
    assert [str(f) for f in analyzer.analyze_source(HEAD + right, "page.py")] == []


def test_the_page_of_checks_leads_to_every_rule():
    rows = dict(re.findall(r"^\| `durable\.(W1\d\d)` \| \[(DUR\d{3}): ", CHECKS.read_text(), flags=re.MULTILINE))

    assert rows == {rule.check_id.removeprefix("durable."): rule.id for rule in analyzer.RULES.values()}
