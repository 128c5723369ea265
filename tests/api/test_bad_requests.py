"""Whatever is wrong with a request, the answer says so, with the right status, and nothing is changed."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from rest_framework.test import APIClient

from durable import conf
from durable.api import base, filters, urls
from durable.api.parsing import ROOM
from durable.models import Operation
from durable.testing.factories import InstanceFactory
from tests import sampling, worlds
from tests.api.conftest import EVERY, Api
from tests.api.test_matrix import BY_TOKEN, MATRIX
from tests.api.test_matrix import _told as told
from tests.api.test_reading import ids, problem
from tests.driving import cost
from tests.worlds import snapshot

POSTS = {key.partition(" ")[2]: entry for key, entry in MATRIX.items() if key.startswith("POST")}
GETS = {key.partition(" ")[2]: entry for key, entry in MATRIX.items() if key.startswith("GET")}

ODD = {
    "empty": "",
    "blank": " ",
    "NUL": "a\0b",
    "control": "\x1b[31m",
    "unicode": "é漢🙂",
    "slash": "a/b%2Fc/../..",
    "long": "x" * 5000,
    "number": "5",
    "negative": "-1",
    "large": str(2**31),
    "huge": "9" * 5000,
    "fraction": "1.5",
    "nan": "nan",
    "digit": "²",
    "arabic": "٣",
    "date": "2026-01-01",
    "time": "2026-01-01T00:00:00Z",
    "first": "0001-01-01T00:00:00+14:00",
    "last": "9999-12-31T23:59:59-14:00",
    "no date": "2026-13-45",
    "zone": "2026-01-01T00:00:00+99:99",
    "JSON": '{"a": [1]}',
    "tag": "a:b",
    "tag NUL": "a:\0",
    "tag deep": "a:" + "[" * 2000,
    "tag huge": "a:1e999",
    "tag escaped": 'a:"\\u0000"',
    "tag nested": f"a:{'[' * 900}{']' * 900}",
    "quote": "'; DROP TABLE durable_instance; --",
    "uuid": "0198f0c4-7e1a-7c3e-9f55-0d8f4f0f3f1b",
    "true": "true",
    "failed": "failed",
}


@pytest.fixture
def api(engine, someone):
    worlds.build(engine)
    return Api(someone(*EVERY))


def address(entry: Any) -> str:
    return f"/api/v1/{entry.path.replace('*', 'own%2F')}"


pytestmark = pytest.mark.timeout(600)


# --- bodies


BODIES: dict[str, tuple[bytes, int, str]] = {
    "cut": (b'{"reason": "x', 400, "parse_error"),
    "no JSON": (b"reason=x", 400, "parse_error"),
    "no UTF-8": (b'{"reason": "\xff"}', 400, "parse_error"),
    "half a character": (b'{"reason": "\\ud800"}', 400, "parse_error"),
    "NaN": (b'{"reason": NaN}', 400, "parse_error"),
    "deep": (b"[" * 20_000, 400, "parse_error"),
    "nested": (b'{"reason": %s1%s}' % (b"[" * 300, b"]" * 300), 400, "parse_error"),
    "list": (b"[1]", 400, "invalid_request"),
    "text": (b'"x"', 400, "invalid_request"),
    "number": (b"5", 400, "invalid_request"),
    "unknown field": (b'{"raeson": "x"}', 400, "invalid_request"),
    "NUL": (b'{"a\\u0000": 1}', 400, "invalid_request"),
    "wrong type": (b'{"reason": ["x"]}', 400, "invalid_request"),
    "long reason": (b'{"reason": "%s"}' % (b"x" * 1001), 400, "invalid_request"),
}


def test_bodies_that_cannot_be_taken(api):
    before, wrong = snapshot(audit=True), list[str]()
    for route, entry in POSTS.items():
        for kind, (body, status, code) in BODIES.items():
            if "what-if" in route and kind == "long reason":
                continue  # it takes none
            with cost() as asked:
                response = api.client.post(address(entry), body, content_type="application/json")
            problem = response.json()
            if (response.status_code, problem.get("code")) != (status, code):
                wrong.append(f"{route} {kind}: {response.status_code} {problem}")
            if any(not each.startswith("SELECT") for each in asked.statements) and snapshot(audit=True) != before:
                wrong.append(f"{route} {kind}: changed something")
            if len(response.content) > 2000:
                wrong.append(f"{route} {kind}: says too much")
    assert not wrong, "\n" + "\n".join(wrong)


def test_bodies_that_are_too_large_or_of_another_kind(api):
    before = snapshot(audit=True)
    large = b'{"reason": "%s"}' % (b"x" * (conf.limit("payload") + ROOM))
    for entry in POSTS.values():
        problem(api.client.post(address(entry), large, content_type="application/json"), 413, "payload_too_large")
        problem(api.client.post(address(entry), "a=b", content_type="text/plain"), 415, "unsupported_media_type")
        problem(api.client.post(address(entry), {"a": "b"}, format="multipart"), 415, "unsupported_media_type")
    assert snapshot(audit=True) == before


def test_methods_that_an_address_does_not_have(api):
    before, wrong = snapshot(audit=True), list[str]()
    for pattern in urls.v1:
        route = str(pattern.pattern)
        if f"POST {route}" in BY_TOKEN:
            continue
        entry = POSTS.get(route) or GETS[route]
        for method in ("get", "post", "put", "patch", "delete", "trace"):
            if f"{method.upper()} {route}" in MATRIX:
                continue
            response = getattr(api.client, method)(address(entry))
            if (response.status_code, response.json()["code"]) != (405, "method_not_allowed"):
                wrong.append(f"{method} {route}: {response.status_code}")
    assert not wrong, "\n" + "\n".join(wrong)
    assert snapshot(audit=True) == before


def test_every_address_says_which_methods_it_has(api):
    for pattern in urls.v1:
        if f"POST {pattern.pattern}" in BY_TOKEN:
            continue
        route = str(pattern.pattern)
        found = {method for method, routes in (("GET", GETS), ("POST", POSTS)) if route in routes}
        found |= {"OPTIONS"} | ({"HEAD"} if "GET" in found else set())

        response = api.client.options(address(POSTS.get(route) or GETS[route]))

        assert (response.status_code, response.content) == (204, b"")
        assert set(response.headers["Allow"].split(", ")) == found, route
        other = api.client.put(address(POSTS.get(route) or GETS[route]))
        assert (other.status_code, other.headers["Allow"]) == (405, response.headers["Allow"])


# --- queries


def parameters() -> Iterator[tuple[str, str]]:
    """Yield addresses, each with a parameter that it takes; a set of filters is tried at one of its lists."""
    tried = set()
    for pattern in urls.v1:
        view, route = pattern.callback.view_class, str(pattern.pattern)
        if route not in GETS:
            continue
        names = {"nothing", *(filters.ALWAYS if issubclass(view, base.List) else view.takes)}
        chosen = getattr(view, "filterset_class", None)
        if chosen is not None and chosen not in tried:
            tried.add(chosen)
            names |= chosen.base_filters.keys()
        yield from ((address(GETS[route]), name) for name in sorted(names))


def test_queries_that_cannot_be_taken(api):
    before, wrong = snapshot(audit=True), list[str]()
    for (path, name), kind in sampling.cells(parameters(), ODD, always=("NUL", "huge", "tag deep")):
        given = f"{path}{'&' if '?' in path else '?'}{name}={quote(ODD[kind], safe='')}"
        response = api.client.get(given)
        if response.status_code not in (200, 400, 404):
            wrong.append(f"{path} {name}={kind}: {response.status_code} {told(response):.200}")
        elif response.status_code != 200 and len(said(response)) > 2000:
            wrong.append(f"{path} {name}={kind}: says too much")
    assert not wrong, "\n" + "\n".join(wrong)
    assert snapshot(audit=True) == before


def said(response: Any) -> str:
    """Return all that a problem says but its facts, which are as they were sent."""
    return str({name: value for name, value in response.json().items() if name != "facts"})


def cursor(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


CURSORS = [
    *("a", "====", "p=x", "p=\0", "o=-1", "r=2", "é"),
    *map(cursor, ("p=\0", "p=a%00b", "p=2026-13-01", "o=99999999999999999999", "o=-5", "r=1&p=0001-01-01 00:00+14:00")),
    *map(cursor, ("p=9999-12-31T23:59:59-14:00", "p=" + "9" * 5000, "", "p=%ED%A0%80", "p=1&o=1000000")),
]


def test_cursors_that_nobody_gave_out(api):
    for text in CURSORS:
        for ordering in ("created_at", "-created_at", "id", "closed_at"):
            response = api.get("instances/", ordering=ordering, cursor=text)

            if "\0" in text or not text:
                assert problem(response, 400, "invalid_request")["errors"].keys() == {"cursor"}
            else:
                assert response.status_code in (200, 404), (text, response.content)
                assert response.status_code == 200 or response.json()["code"] == "not_found"


# --- ids


IDS = [
    "a/b",
    "a/history/",
    "a//b",
    "..",
    ".",
    "é漢🙂",
    "a b",
    "a%2Fb",
    "a%b",
    "?",
    "#",
    "a;b",
    "'",
    '"',
    "<b>",
    "x" * 255,
]


@pytest.mark.parametrize("instance_id", IDS)
def test_ids_of_all_kinds_lead_to_their_instance(engine, someone, instance_id):
    InstanceFactory(id=instance_id)
    InstanceFactory(id="a")
    api = Api(someone(*EVERY))

    (url,) = (row["url"] for row in api.get("instances/", limit="100").json()["results"] if row["id"] == instance_id)

    shown = api.client.get(url)
    assert (shown.status_code, shown.json()["id"]) == (200, instance_id)
    done = api.client.post(f"{url}terminate/", {}, format="json")
    assert (done.status_code, done.json()["id"], done.json()["status"]) == (200, instance_id, "terminated")
    assert api.get("instances/a/").json()["status"] == "running"
    assert Operation.objects.get().instance_id == instance_id


def test_ids_that_no_instance_has(api):
    before = snapshot()
    for instance_id in ("\0", "a\0b", "\x1b", "\ud800", "x" * 5000, " ", "\u200b", "none"):
        path = f"instances/{quote(instance_id, safe='', errors='surrogatepass')}"
        for rest in ("", "history/", "why/", "explain/", "work/", "timeline/", "events/"):
            assert len(problem(api.get(f"{path}/{rest}"), 404, "unknown_instance")["detail"]) < 1000
        for verb in ("cancel", "purge", "rewind"):
            problem(api.post(f"{path}/{verb}/"), 404, "unknown_instance")
    problem(api.post("instances/", {"workflow": "done", "args": ["a"], "id": "a\x1b"}), 400, "invalid_id")
    assert snapshot() == before


# --- sessions


def test_a_session_that_ended_does_nothing(api):
    before = snapshot(audit=True)
    client = APIClient()
    client.force_login(api.user)
    client.session.flush()

    for route, entry in POSTS.items():
        problem(client.post(address(entry), entry.body or {}, format="json"), 403, "not_authenticated"), route
    assert snapshot(audit=True) == before


def test_a_page_of_another_site_does_nothing(api):
    before = snapshot(audit=True)
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(api.user)

    for entry in POSTS.values():
        denied = problem(client.post(address(entry), entry.body or {}, format="json"), 403, "permission_denied")
        assert denied["detail"].startswith("CSRF Failed")
    assert snapshot(audit=True) == before


# --- what moved on meanwhile


def test_whoever_saw_something_older_does_nothing(api):
    before, older = snapshot(), {"If-Match": '"0198f0c47e1a7c3e9f550d8f4f0f3f1b-1"'}
    for route, entry in POSTS.items():
        if "instance_id" in route:
            response = api.client.post(address(entry), entry.body or {}, format="json", headers=older)

            moved = problem(response, 409, "concurrency_conflict")
            assert moved["facts"]["etag"] == response.headers["ETag"]
    assert snapshot() == before


def test_lists_are_whole_in_the_end(api):
    assert "own/busy" in ids(api.get("instances/", limit="100"))
