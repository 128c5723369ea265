"""The pages on the API: their curl commands answer as they say, their lists are complete."""

from __future__ import annotations

import base64
import json
import re
import shlex
import sys
import types
from collections.abc import Collection
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from rest_framework import exceptions

from durable import errors
from durable.api import problems, urls, verbs
from durable.client import batching
from durable.engine import cache
from durable.store import clock
from project import celery_app
from tests import driving
from tests.api.conftest import EVERY
from tests.api.test_codes import never
from tests.api.test_streaming import Sent, parsed
from tests.test_docs import REFERENCE, ROOT, blocks, compiled, is_run, rows

PAGE = ROOT / "docs" / "how-to" / "rest-api.md"


class Curl:
    """Does what a page's curl commands say, with the project's own URLs and authentication."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def type(self, line: str) -> Any:
        """Give a command; return its answer, if it has one."""
        if kept := re.fullmatch(r"(\w+)=\$\((.*)\)", line):
            self.names[kept[1]] = self._ask(kept[2]).headers["ETag"]
            return None
        if kept := re.fullmatch(r"(\w+)=(\S+)", line):
            self.names[kept[1]] = kept[2]
            return None
        return self._ask(line)

    def _ask(self, line: str) -> Any:
        words = [re.sub(r"\$(\w+)", lambda name: self.names[name[1]], word) for word in shlex.split(line)]
        assert words.pop(0) == "curl"
        headers, body, url = {}, None, ""
        given = iter(words)
        for word in given:
            match word:
                case "-u":
                    headers["Authorization"] = "Basic " + base64.b64encode(next(given).encode()).decode()
                case "-H":
                    name, _, value = next(given).partition(": ")
                    headers[name] = value
                case "--json":
                    body = next(given)
                case "-o" | "-w":
                    next(given)
                case "-s" | "-N":
                    pass
                case _:
                    url = word.removeprefix("https://shop.example")
        if body is None:
            return Client().get(url, headers=headers)
        return Client().post(url, body, content_type="application/json", headers=headers)


def following(response: Any) -> Sent:
    """Return the next event of a stream."""
    if not hasattr(response, "events"):
        response.events = iter(parsed(response.getvalue().decode()))
    return next(response.events)


def agrees(shown: Any, answer: Any) -> bool:
    """Say whether an answer holds what is shown of it."""
    match shown:
        case dict():
            return isinstance(answer, dict) and all(n in answer and agrees(v, answer[n]) for n, v in shown.items())
        case list():
            return len(shown) == len(answer) and all(map(agrees, shown, answer))
        case _:
            return bool(shown == answer)


@pytest.fixture
def eager(committing, monkeypatch):
    driving.register_all(batching)
    celery_app.conf.task_always_eager = True
    yield
    celery_app.conf.task_always_eager = False
    cache.clear()
    clock.forget()


@pytest.mark.usefixtures("eager")
def test_curl_commands_answer_as_the_page_says(monkeypatch, settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    ada = get_user_model().objects.create_user("ada", password="secret")
    ada.user_permissions.set(Permission.objects.filter(codename__in=EVERY))
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    curl, asked = Curl(), 0

    for block in blocks(PAGE):
        if is_run(block):
            exec(compiled(PAGE, block), module.__dict__)
        elif block.language == "console" and "curl" in block.text:
            response: Any = None
            for line in block.text.splitlines():
                if line.startswith("$ "):
                    response = curl.type(line[2:])
                elif line.startswith("event: "):
                    event = following(response)
                    assert line == f"event: {event.name}"
                elif line.startswith("data: "):
                    asked += 1
                    assert agrees(json.loads(line[6:]), event.data), f"line {block.line}: {line}\n{event}"
                else:
                    asked += 1
                    assert agrees(json.loads(line), response.json()), f"line {block.line}: {line}\n{response.json()}"

    assert asked > 15


def test_reference_lists_every_address_with_its_methods():
    listed = {address: row[0] for address, row in rows(REFERENCE / "rest-api.md", "Addresses").items()}

    there = {}
    for pattern in urls.v1:
        view = pattern.callback.view_class if hasattr(pattern.callback, "view_class") else pattern.callback.cls
        address = re.sub(r"<\w+:\w+>", "ID", str(pattern.pattern))
        there[address] = ", ".join(method.upper() for method in ("get", "post") if hasattr(view, method))
    assert listed == there


def test_reference_lists_the_permission_of_every_verb():
    listed = rows(REFERENCE / "rest-api.md", "Addresses")

    for verb in verbs.VERBS.values():
        assert listed[f"instances/ID/{verb.name}/"][2] == f"`{verb.permission}`"
    assert set(rows(REFERENCE / "rest-api.md", "Permissions")) == set(EVERY)


def _codes_of(module: types.ModuleType, *, exclude: Collection[object] = ()) -> dict[str, int]:
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and kind not in exclude]
    return {kind.default_code: kind.status_code for kind in kinds if issubclass(kind, exceptions.APIException)}


def test_reference_lists_every_code_with_its_status():
    listed = {code: int(row[0][:3]) for code, row in rows(REFERENCE / "rest-api.md", "Codes").items()}

    ours = [getattr(errors, name) for name in errors.__all__]
    expected = {problems.code_of(kind): problems.status_of(kind.__new__(kind)) for kind in ours}
    own = _codes_of(problems, exclude=vars(exceptions).values())
    theirs = _codes_of(exceptions)
    expected = (
        {code: status for code, status in expected.items() if status != 409 and code not in never()}
        | own
        | {"invalid_request": 400}
    )
    assert listed == expected | {code: theirs[code] for code in theirs.keys() - {"error", "invalid"}}
