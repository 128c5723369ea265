"""Who may do what: every permission, every endpoint, one's own instances and foreign ones; and what nobody is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction

from durable.api import urls, verbs
from durable.models import Execution, Operation
from tests import worlds
from tests.api.conftest import EVERY, Api
from tests.api.test_reading import problem
from tests.driving import cost
from tests.worlds import FOREIGN, OWN, SECRET, snapshot

VIEW, PAYLOAD, OPERATE, REPAIR, DESTROY = EVERY


@dataclass(frozen=True)
class Entry:
    """What is expected of an endpoint.

    Attributes:
        path: An address of it; ``*`` stands for whose instance it is about, ``+`` for a word of that id.
        needs: The permissions that it takes beside to see.
        body: What a POST brings.
        done: What it answers to those who may.
        lists: Whether it is a list, which users may see in part if a backend can say what they may see.
        shows: Whether it shows payloads to those who may see them.
    """

    path: str
    needs: tuple[str, ...] = ()
    body: Any = None
    done: int = 200
    lists: bool = False
    shows: bool = False

    @property
    def general(self) -> bool:
        """Whether it is about all instances."""
        return "*" not in self.path or self.path.startswith("batches/")


_ONE = "instances/<durable_id:instance_id>/"
_BATCH = "batches/<durable_id:batch_id>/"

MATRIX: dict[str, Entry] = {
    "GET instances/": Entry("instances/", lists=True),
    "POST instances/": Entry("instances/", (OPERATE,), {"workflow": "done", "args": [SECRET]}, 201, shows=True),
    f"GET {_ONE}": Entry("instances/*busy/", shows=True),
    f"GET {_ONE}history/": Entry("instances/*busy/history/", shows=True),
    f"GET {_ONE}timeline/": Entry("instances/*busy/timeline/"),
    f"GET {_ONE}events/": Entry("instances/*busy/events/?timeout=0", shows=True),
    f"GET {_ONE}work/": Entry("instances/*busy/work/", shows=True),
    f"GET {_ONE}children/": Entry("instances/*busy/children/"),
    f"GET {_ONE}executions/": Entry("instances/*busy/executions/"),
    f"GET {_ONE}explain/": Entry("instances/*busy/explain/", shows=True),
    f"GET {_ONE}why/": Entry("instances/*busy/why/", shows=True),
    f"GET {_ONE}lineage/": Entry("instances/*done/lineage/"),
    f"GET {_ONE}compare/": Entry("instances/*busy/compare/?with=*halted", shows=True),
    f"POST {_ONE}signal/": Entry("instances/*busy/signal/", (OPERATE,), {"name": "read"}, shows=True),
    f"POST {_ONE}query/": Entry("instances/*busy/query/", (OPERATE,), {"name": "lines"}, shows=True),
    f"POST {_ONE}update/": Entry(
        "instances/*busy/update/", (OPERATE,), {"name": "say", "update_id": "said", "timeout": 0}, shows=True
    ),
    f"POST {_ONE}cancel/": Entry("instances/*busy/cancel/", (OPERATE,), shows=True),
    f"POST {_ONE}suspend/": Entry("instances/*busy/suspend/", (OPERATE,), shows=True),
    f"POST {_ONE}resume/": Entry("instances/*halted/resume/", (OPERATE,), shows=True),
    f"POST {_ONE}terminate/": Entry("instances/*busy/terminate/", (DESTROY,), shows=True),
    f"POST {_ONE}restart/": Entry(
        "instances/*failed/restart/", (REPAIR,), {"new_instance_id": f"{OWN}new"}, 201, shows=True
    ),
    f"POST {_ONE}rerun/": Entry(
        "instances/*failed/rerun/", (REPAIR,), {"event_id": 1, "new_instance_id": f"{OWN}new"}, 201, shows=True
    ),
    f"POST {_ONE}rewind/": Entry("instances/*failed/rewind/", (REPAIR,)),
    f"POST {_ONE}upgrade/": Entry("instances/*busy/upgrade/", (REPAIR,), {}, 400),
    f"POST {_ONE}restore/": Entry("instances/*rewound/restore/", (REPAIR,), {}, 409),
    f"POST {_ONE}what-if/": Entry("instances/*failed/what-if/", (REPAIR,), {"event_id": 0}, shows=True),
    f"POST {_ONE}purge/": Entry("instances/*done/purge/", (DESTROY,)),
    "GET batches/": Entry("batches/", lists=True),
    "POST batches/": Entry("batches/", (OPERATE,), {"verb": "cancel", "ids": [f"{FOREIGN}busy"]}, 201),
    f"GET {_BATCH}": Entry("batches/*batch/", shows=True),
    f"POST {_BATCH}retry/": Entry("batches/*batch/retry/", (OPERATE,), {}, 201),
    "GET failure-groups/": Entry("failure-groups/", shows=True),
    "POST recover/": Entry("recover/", (REPAIR,)),
    "GET versions/": Entry("versions/"),
    "GET definitions/": Entry("definitions/"),
    "GET workers/": Entry("workers/"),
    "GET audit/": Entry("audit/"),
    "GET health/": Entry("health/"),
}

BY_TOKEN = {"POST activities/complete/", "POST activities/fail/"}
"""What names no instance but by a token; ``test_activities`` asks who may."""

WHO: dict[str, tuple[str, ...] | None] = {
    "anonymous": None,
    "nobody": (),
    **{name: (name,) for name in EVERY},
    **{f"view and {name}": (VIEW, name) for name in EVERY[1:]},
    "all but payloads": (VIEW, OPERATE, REPAIR, DESTROY),
    "everything": EVERY,
    "superuser": EVERY,
}

FEW = ("nobody", VIEW, "all but payloads", "everything", "superuser")
"""Enough where most may nothing at all."""

pytestmark = [pytest.mark.timeout(600), pytest.mark.once("permissions are looked at in Python")]

BACKENDS = {
    "all": "django.contrib.auth.backends.ModelBackend",
    "own": "tests.worlds.OwnOnly",
    "listed": "tests.worlds.Listing",
}


def endpoints() -> Iterator[str]:
    """Yield all methods of all addresses."""
    for pattern in urls.v1:
        for method in ("get", "post", "put", "patch", "delete"):
            if hasattr(pattern.callback.view_class, method):
                yield f"{method.upper()} {pattern.pattern}"


def test_every_endpoint_has_an_entry():
    assert set(endpoints()) == set(MATRIX) | BY_TOKEN


def test_every_verb_is_in_the_matrix_with_its_permission():
    assert {name: verb.permission for name, verb in verbs.VERBS.items()} == {
        key.removeprefix(f"POST {_ONE}")[:-1]: entry.needs[0]
        for key, entry in MATRIX.items()
        if key.startswith(f"POST {_ONE}")
    }


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request by somebody, and what they may."""

    entry: Entry
    method: str
    who: str
    backend: str
    whose: str

    @property
    def permissions(self) -> tuple[str, ...]:
        """What they may do to the instance that it is about; to all of them if it is about none."""
        theirs = WHO[self.who] or ()
        if self.who == "superuser" or self.backend == "all":
            return theirs
        return theirs if self.whose == OWN and not self.entry.general else ()

    @property
    def expected(self) -> int:
        """The status."""
        entry, may = self.entry, self.permissions
        if WHO[self.who] is None:
            return 403  # not authenticated
        if entry.lists and self.backend == "listed":
            return 200
        if VIEW not in may:
            return 403 if entry.general else 404
        return entry.done if set(entry.needs) <= set(may) else 403

    @property
    def denied(self) -> bool:
        """Whether it is to be refused for who asks it."""
        return self.expected in (403, 404)

    def ask(self, user: Any, path: str | None = None) -> Any:
        """Send the request; to another address if one is given."""
        api = Api(user)
        path = self.entry.path.replace("*", self.whose.replace("/", "%2F")) if path is None else path
        return api.client.get(f"/api/v1/{path}") if self.method == "GET" else api.post(path, self.entry.body)


CASES = [("all", FOREIGN), ("own", OWN), ("own", FOREIGN), ("listed", FOREIGN)]


@pytest.fixture
def world(engine):
    worlds.build(engine)
    return engine


@pytest.fixture
def people(someone):
    def make(who: str) -> Any:
        if WHO[who] is None:
            return None
        user = someone(*(() if who == "superuser" else WHO[who]), name=who)
        get_user_model().objects.filter(pk=user.pk).update(is_superuser=who == "superuser")
        return user

    return {who: make(who) for who in WHO}


@pytest.mark.parametrize(("backend", "whose"), CASES)
def test_matrix(world, people, settings, backend, whose):
    before, wrong = snapshot(), list[str]()
    settings.AUTHENTICATION_BACKENDS = [BACKENDS[backend]]
    asking = WHO if backend == "all" or whose == OWN else FEW
    for who, (key, entry) in product(asking, MATRIX.items()):
        case = Case(entry=entry, method=key.partition(" ")[0], who=who, backend=backend, whose=whose)
        user = people[who] and get_user_model().objects.get(pk=people[who].pk)  # without cached permissions
        with transaction.atomic():
            if problem := _wrong(case, user, before):
                wrong.append(f"{key}: {who}, who has permissions on {backend}, asks for {whose}: {problem}")
            transaction.set_rollback(True)
    assert not wrong, "\n" + "\n".join(wrong)


def _wrong(case: Case, user: Any, before: Any) -> str:
    """Return what is wrong with how a request is answered; empty if nothing is."""
    tries = Operation.objects.count()
    with cost() as asked:
        response = case.ask(user)
    text, status = _told(response), response.status_code
    if status != case.expected:
        return f"{status}, and not {case.expected}: {text[:300]}"
    wrote = any(not statement.startswith("SELECT") for statement in asked.statements)
    if (case.denied or case.method == "GET") and wrote and snapshot() != before:
        return "something was changed"
    if case.denied and case.method == "POST" and user is not None:
        if Operation.objects.count() != tries + 1:
            return "the try is not audited, or more than once"
        row = Operation.objects.latest("pk")
        if (row.outcome, row.actor_name, row.actor_key) != ("denied", case.who, str(user.pk)):
            return f"the audit says {row.outcome} of {row.actor_name}"
    elif (case.denied or case.method == "GET") and Operation.objects.count() != tries:
        return "the audit has more rows"
    if status == 404 and (other := _unknown(case, user, text)):
        return other
    told = SECRET in text
    may = WHO[case.who] or () if case.entry.lists and case.backend == "listed" else case.permissions
    if told and PAYLOAD not in may:
        return f"payloads are told: {text[:1000]}"
    if not told and not case.denied and case.entry.shows and PAYLOAD in case.permissions:
        return f"payloads are not told to those who may see them: {text[:300]}"
    return ""


def _told(response: Any) -> str:
    content = b"".join(response.streaming_content) if response.streaming else response.content
    return f"{content.decode()} {dict(response.headers)}"


def _unknown(case: Case, user: Any, text: str) -> str:
    """Return how an answer differs from that for an instance that does not exist."""
    path = case.entry.path.replace("*", "nobody%2F")
    unknown = _told(case.ask(user, path)).replace("nobody/", case.whose)
    plain = [_without_length(each) for each in (text, unknown)]
    return "" if plain[0] == plain[1] else f"{plain[0]} tells it from {plain[1]}"


def _without_length(text: str) -> str:
    return text.partition("'Content-Length'")[0]


# --- what is hidden, however it is asked for


QUIET = tuple(name for name in EVERY if name != PAYLOAD)
BODIES: dict[str, Any] = {
    "signal": {"name": "read", "payload": 1},
    "query": {"name": "lines"},
    "update": {"name": "say", "args": ["a"], "timeout": 0},
    "rerun": {"event_id": 1},
    "what-if": {"event_id": 1, "mocks": {"charge": 1}},
}
READ = (
    "",
    "history/",
    "children/",
    "executions/",
    "explain/",
    "explain/?at=2",
    "why/",
    "lineage/",
    "timeline/",
    "work/",
    "events/?timeout=0",
)


def _asked(kind: str) -> Iterator[tuple[str, Any]]:
    for path in READ:
        yield f"instances/own%2F{kind}/{path}", None
    yield f"instances/own%2F{kind}/compare/?with=own/again", None
    for name in verbs.VERBS:
        for query in ("", "?dry_run=true"):
            yield f"instances/own%2F{kind}/{name}/{query}", BODIES.get(name, {})
    yield f"instances/own%2F{kind}/update/", {"name": "say", "args": [1], "update_id": "said", "timeout": 0}
    yield f"instances/own%2F{kind}/update/", {"name": "say", "args": [SECRET[:3]], "update_id": "said", "timeout": 0}
    yield f"instances/own%2F{kind}/query/", {"name": "nothing"}
    yield f"instances/own%2F{kind}/rerun/", {"event_id": 0, "input": {"args": [], "kwargs": {}}}
    yield f"instances/own%2F{kind}/restart/", {"terminate_first": True}
    yield f"instances/own%2F{kind}/purge/", {"force": True}


def test_no_payload_is_told_to_those_who_may_not_see_it(world, someone):
    api, told = Api(someone(*QUIET)), list[str]()
    for path, body in (each for kind in worlds.STATUSES for each in _asked(kind)):
        with transaction.atomic():
            response = api.get(path) if body is None else api.post(path, body)
            seen = [_told(response), *map(_told, (api.get("audit/"), api.get("batches/own%2Fbatch/")))]
            transaction.set_rollback(True)
        told += [f"{path} {body}: {text[:600]}" for text in seen if SECRET in text]
        assert response.status_code < 500, path
    assert not told, "\n" + "\n".join(told)


@pytest.mark.parametrize("path", ["explain/?execution=", "history/?execution=", "compare/?execution="])
def test_no_payload_is_told_of_earlier_executions(world, someone, path):
    api = Api(someone(*QUIET))
    for execution in Execution.objects.filter(instance="own/rewound"):
        response = api.get(f"instances/own%2Frewound/{path}{execution.pk}")

        assert response.status_code == 200 or "compare" in path
        assert SECRET not in _told(response)


def test_what_was_done_while_one_could_see_payloads_is_not_told_by_its_key_afterwards(world, someone):
    user = someone(*EVERY)
    body = {"name": "lines"}
    first = Api(user).do("own/busy", "query", body, Idempotency_Key="k")
    user.user_permissions.remove(user.user_permissions.get(codename=PAYLOAD))

    again = Api(get_user_model().objects.get(pk=user.pk)).do("own/busy", "query", body, Idempotency_Key="k")

    assert SECRET in _told(first)
    problem(again, 403, "permission_denied")
    assert SECRET not in json.dumps(again.json())
    assert "view_payload is gone" in again.json()["detail"]
