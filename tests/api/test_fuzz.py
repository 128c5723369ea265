"""Whatever is sent, the answer is one of those that are documented, and never that of a crash."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durable.api import bodies, filters, many, verbs
from durable.store import filters as stored
from tests.api.conftest import EVERY, Api
from tests.test_refusals import rows as stored_rows

ODD = st.sampled_from(
    ["", "a", "\0", "é/ü", "talk", "order/1", "2027-01-01", "1", "-1", "1e400", "x" * 300, "a:b", "true", "\ud800"]
)
NUMBERS = st.sampled_from([0, 1, -1, 2**31, 2**63, 2**70, 1.5, 1e308, True])
JSON = st.recursive(
    st.none() | NUMBERS | ODD | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(ODD | st.text(max_size=3), inside, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["flow", "talk", "go", "lines", "say", "rewind", "signal", "order/1", "own"])
OTHER = {"instances/": bodies.Start, "batches/": many.NewBatch, "batches/talk/retry/": many.Retry}
OTHER["recover/"] = many.Recovery
POSTS = {f"instances/order%2F1/{name}/": verb.body for name, verb in verbs.VERBS.items()}
POSTS |= {f"instances/talk/{name}/": verb.body for name, verb in verbs.VERBS.items()} | OTHER
DOCUMENTED = {200, 201, 202, 400, 403, 404, 409, 413, 415, 422}
FUZZ = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def told(someone, engine, failed, waiting):
    return Api(someone(*EVERY))


def documented(response: Any) -> None:
    assert response.status_code in DOCUMENTED, (response.status_code, response.content)
    if response.status_code >= 400:
        problem = response.json()
        assert {"type", "title", "status", "code", "detail"} <= problem.keys()
        assert problem["status"] == response.status_code


@pytest.mark.parametrize("path", POSTS)
def test_bodies(told, path):
    fields = list(POSTS[path]().fields)
    some = st.fixed_dictionaries({}, optional=dict.fromkeys(fields, NAMES | JSON))

    @FUZZ
    @given(body=some | some | JSON, dry=st.sampled_from(["", "?dry_run=true", "?dry_run=maybe"]))
    def send(body, dry):
        text = json.dumps({**body, "timeout": 0} if path.endswith("update/") and isinstance(body, dict) else body)
        documented(told.client.post(f"/api/v1/{path}{dry}", text, content_type="application/json"))

    send()


BASES: dict[str, dict[str, Any]] = {
    "signal": {"name": "go"},
    "query": {"name": "lines"},
    "update": {"name": "say", "timeout": 0},
    "rerun": {"event_id": 1},
    "what-if": {"event_id": 1},
    "restore": {"execution": "0198f0c4-7e1a-7c3e-9f55-0d8f4f0f3f1b"},
    "instances": {"workflow": "flow", "args": [1]},
    "batches": {"verb": "cancel", "ids": ["talk"]},
}
"""What a request has to bring, so that one other field can be what is wrong with it."""

WRONG = [
    *(None, "", " ", 5, -1, 1.5, 2**31, 10**30, True, [], [5], [None], [[5]], {}, {"a": 5}, {"a\0": "\0"}),
    *("x" * 10_000, "a\0b", "é漢🙂", "2026-01-01", "5"),
]


@pytest.mark.parametrize("path", POSTS)
def test_each_field_with_each_odd_value_changes_something_or_nothing(told, path):
    found, before = [], stored_rows()
    base = BASES.get(path.strip("/").rpartition("/")[2], {})
    for field in POSTS[path]().fields:
        for value in WRONG:
            text = json.dumps({**base, field: value} | ({"timeout": 0} if path.endswith("update/") else {}))
            with transaction.atomic():
                response = told.client.post(f"/api/v1/{path}", text, content_type="application/json")
                if response.status_code not in DOCUMENTED:
                    found.append(f"{field}={value!r:.30}: {response.status_code}")
                elif response.status_code >= 400 and stored_rows() != before:
                    found.append(f"{field}={value!r:.30}: {response.content!r:.200} changed something")
                transaction.set_rollback(True)

    assert not found, "\n" + "\n".join(found)


GETS = {
    "instances/": [*filters.Instances.base_filters, *filters.ALWAYS],
    "batches/": [*filters.Instances.base_filters, *filters.ALWAYS],
    "audit/": [*filters.Operations.base_filters, *filters.ALWAYS],
    "instances/talk/children/": ["status", "ordering", "cursor"],
    "instances/talk/executions/": ["ordering", "cursor", "limit"],
    "instances/talk/history/": ["after", "limit", "kind", "execution", "fields"],
    "instances/talk/explain/": ["at", "execution"],
    "instances/talk/compare/": ["with", "execution", "other_execution"],
    "instances/talk/": ["fields"],
    "batches/talk/": ["outcome", "limit", "after"],
    "failure-groups/": ["workflow", "status", "since", "until", "limit"],
    "versions/": ["fields"],
}


@pytest.mark.parametrize("path", GETS)
def test_queries(told, path):
    values = st.text(max_size=8) | ODD.map(str) | NUMBERS.map(str) | st.sampled_from(["failed", "-id", "closed_at"])

    @FUZZ
    @given(query=st.dictionaries(st.sampled_from(GETS[path]), values, max_size=2))
    def ask(query):
        text = "&".join(f"{name}={quote(value, errors='replace')}" for name, value in query.items())
        documented(told.client.get(f"/api/v1/{path}?{text}"))

    ask()


@FUZZ
@given(given_id=st.text(max_size=20) | ODD)
def test_ids(told, given_id):
    for path in ("", "history/", "why/"):
        response = told.client.get(f"/api/v1/instances/{quote(given_id, safe='', errors='replace')}/{path}")
        assert response.status_code in (200, 404), response.content


def test_filters_of_batches(told):
    keys = st.sampled_from([f"{name}{lookup}" for name in (*stored.FIELDS, "tags") for lookup in ("", "__in", "__gt")])

    @FUZZ
    @given(filter=st.dictionaries(keys, JSON, max_size=2))
    def send(filter):
        text = json.dumps({"verb": "rewind", "filter": filter})
        documented(told.client.post("/api/v1/batches/?dry_run=true", text, content_type="application/json"))

    send()
