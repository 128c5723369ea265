"""Who may do what: every permission, every page, one's own instances and foreign ones; and what nobody is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.db import transaction
from django.test import Client

from durable.admin import verbs
from durable.models import Execution, Instance, Operation
from tests import worlds
from tests.admin.conftest import EVERY
from tests.driving import cost
from tests.worlds import FOREIGN, OWN, SECRET, snapshot

VIEW, PAYLOAD, OPERATE, REPAIR, DESTROY = EVERY


@dataclass(frozen=True)
class Entry:
    """What is expected of a page.

    Attributes:
        path: An address of it; ``*`` stands for whose instance it is about.
        needs: The permissions that it takes beside to see; None if it is for nobody.
        body: What is sent to it; None if it only shows something.
        done: What it answers to those who may.
        shows: Whether it shows payloads to those who may see them.
        verb: What the audit calls what it does.
    """

    path: str
    needs: tuple[str, ...] | None = ()
    body: dict[str, str] | None = None
    done: int = 200
    shows: bool = False
    verb: str = ""
    general: bool = False


_I, _O = "/admin/durable/instance/", "/admin/durable/operation/"
_ONE = f"{_I}<path:object_id>/"
_GO = {"confirm": "1", "reason": "because"}

NEEDS = {
    **dict.fromkeys(("signal", "suspend", "resume", "cancel", "update"), OPERATE),
    **dict.fromkeys(("rewind", "rerun", "restart", "upgrade", "recover", "restore"), REPAIR),
    **dict.fromkeys(("terminate", "purge"), DESTROY),
}
FORMS: dict[str, dict[str, str]] = {
    "signal": {"name": "read"},
    "update": {"name": "say", "update_id": "new"},
    "rerun": {"event_id": "1", "siblings": "rerun", "new_instance_id": f"{OWN}new"},
    "restart": {"new_instance_id": f"{OWN}new"},
    "restore": {"execution": "00000000-0000-0000-0000-000000000000"},
}
TARGETS = {**dict.fromkeys(NEEDS, "busy"), **dict.fromkeys(("rewind", "rerun", "restart", "purge"), "failed")}


def _general(path: str, needs: tuple[str, ...] | None = (), body: Any = None, **more: Any) -> Entry:
    return Entry(path, needs, body, general=True, **more)


MATRIX: dict[str, Entry] = {
    f"GET {_I}": _general(_I, shows=True),
    f"GET {_I}add/": _general(f"{_I}add/", None),
    f"GET {_I}failures/": _general(f"{_I}failures/", shows=True),
    f"GET {_I}versions/": _general(f"{_I}versions/"),
    f"GET {_I}batches/": _general(f"{_I}batches/"),
    f"GET {_I}definitions/": _general(f"{_I}definitions/"),
    f"GET {_I}definitions/<path:object_id>/start/": _general(f"{_I}definitions/done/start/", (OPERATE,)),
    f"POST {_I}definitions/<path:object_id>/start/": _general(
        f"{_I}definitions/done/start/", (OPERATE,), {"secret": '"a"', "id": "own/new"}, verb="start"
    ),
    f"GET {_I}filters/": _general(f"{_I}filters/"),
    f"POST {_I}filters/": _general(
        f"{_I}filters/", (), {"name": "mine", "query": "?status=failed"}, done=302, verb="save_filter"
    ),
    f"GET {_I}workers/": _general(f"{_I}workers/"),
    f"GET {_I}batch/": _general(f"{_I}batch/", done=302),
    f"POST {_I}batch/": _general(
        f"{_I}batch/",
        (OPERATE,),
        {"verb": "cancel", "id": f"{OWN}busy", "step": "2", "look": "1"},
        done=409,
        verb="cancel",
    ),
    f"GET {_ONE}live/": Entry(f"{_I}*busy/live/"),
    f"GET {_ONE}explain/": Entry(f"{_I}*busy/explain/", shows=True),
    f"GET {_ONE}compare/": Entry(f"{_I}*busy/compare/?with=*halted&all=1", shows=True),
    f"GET {_ONE}download/": Entry(f"{_I}*busy/download/", shows=True),
    f"GET {_ONE}report/": _general(f"{_I}*batch/report/", shows=True),
    f"POST {_ONE}report/": _general(f"{_I}*batch/report/", (OPERATE,), {}, done=302, verb="batch"),
    f"GET {_ONE}change/": Entry(f"{_I}*busy/change/", shows=True),
    f"POST {_ONE}change/": Entry(f"{_I}*busy/change/", (), {"status": "failed"}, shows=True),
    f"GET {_ONE}history/": Entry(f"{_I}*busy/history/", done=302),
    f"GET {_ONE}delete/": Entry(f"{_I}*busy/delete/", None),
    f"POST {_ONE}delete/": Entry(f"{_I}*busy/delete/", None, {"post": "yes"}),
    **{
        f"{method} {_ONE}do/{name}/": Entry(
            f"{_I}*{TARGETS[name]}/do/{name}/",
            (permission,),
            {**_GO, **FORMS.get(name, {})} if method == "POST" else None,
            200 if method == "GET" else 409,
            verb=name,
        )
        for name, permission in NEEDS.items()
        for method in ("GET", "POST")
    },
    f"GET {_O}": _general(_O),
    f"GET {_O}export/": _general(f"{_O}export/"),
    f"GET {_O}add/": _general(f"{_O}add/", None),
    f"POST {_O}add/": _general(f"{_O}add/", None, {"verb": "x"}),
    f"GET {_O}<path:object_id>/change/": _general(f"{_O}#/change/"),
    f"POST {_O}<path:object_id>/change/": _general(f"{_O}#/change/", None, {"verb": "x"}),
    f"GET {_O}<path:object_id>/history/": _general(f"{_O}#/history/"),
    f"GET {_O}<path:object_id>/delete/": _general(f"{_O}#/delete/", None),
    f"POST {_O}<path:object_id>/delete/": _general(f"{_O}#/delete/", None, {"post": "yes"}),
}
"""The addresses by GET, and by POST where that does something or might."""

PASSED_ON = {f"{_ONE}", f"{_O}<path:object_id>/"}
"""Addresses of old that lead to the page of the row."""


def addresses() -> Iterator[str]:
    """Yield all addresses of our pages in the admin."""
    for model, shown in admin.site._registry.items():
        if model._meta.app_label == "durable":
            for pattern in shown.get_urls():
                yield f"/admin/durable/{model._meta.model_name}/{pattern.pattern}"


def test_every_address_has_an_entry():
    entries = {re.sub(r"/do/[^/]+/$", "/do/<slug:name>/", key.partition(" ")[2]) for key in MATRIX}

    assert set(addresses()) == entries | PASSED_ON


def test_every_verb_has_an_entry_with_its_permission():
    assert {name: verb.permission for name, verb in verbs.VERBS.items()} == NEEDS


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

OBJECTS = ("nobody", VIEW, *(f"view and {name}" for name in EVERY[1:]), "everything")
"""Enough where the permissions are the same ones, on some instances instead of all."""

pytestmark = [pytest.mark.timeout(600), pytest.mark.once("permissions are looked at in Python")]

BACKENDS = {"all": "django.contrib.auth.backends.ModelBackend", "own": "tests.worlds.OwnOnly"}
CASES = [("all", FOREIGN, tuple(WHO)), ("own", OWN, OBJECTS), ("own", FOREIGN, FEW)]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request by somebody, and what they may."""

    entry: Entry
    method: str
    who: str
    backend: str
    whose: str
    seen: list[str] = field(default_factory=list)

    @property
    def permissions(self) -> tuple[str, ...]:
        """What they may do to the instance that it is about; to all of them if it is about none."""
        theirs = WHO[self.who] or ()
        if self.who == "superuser" or self.backend == "all":
            return theirs
        return theirs if self.whose == OWN and not self.entry.general else ()

    @property
    def expected(self) -> str:
        """What becomes of it: ``login``, ``hidden``, ``denied`` or ``done``."""
        entry, may = self.entry, self.permissions
        if WHO[self.who] is None:
            return "login"
        if entry.done == 302 and entry.body is None:
            return "done"  # it leads elsewhere, and whoever asks is denied there
        if entry.needs is None:
            return "denied"
        if VIEW not in may:
            return "denied" if entry.general else "hidden"
        return "done" if set(entry.needs) <= set(may) else "denied"

    def ask(self, client: Client, whose: str | None = None) -> Any:
        """Send the request, perhaps about somebody else's instance."""
        page, mark, query = self.entry.path.partition("?")
        path = page.replace("*", quote(whose or self.whose)) + mark + query.replace("*", whose or self.whose)
        path = path.replace("#", str(Operation.objects.order_by("pk").values_list("pk", flat=True)[0]))
        return client.get(path) if self.method == "GET" else client.post(path, self.entry.body)


def became(response: Any) -> str:
    """Return what became of a request."""
    if response.status_code == 403:
        return "denied"
    to = response.headers.get("Location", "")
    return "login" if to.startswith("/admin/login/") else "hidden" if to == "/admin/" else "done"


def _told(response: Any, whose: str) -> tuple[Any, ...]:
    return response.status_code, response.headers.get("Location"), response.content.decode().replace(whose, "")


def text_of(response: Any) -> str:
    """Return all that is told by an answer."""
    content = b"".join(response.streaming_content) if response.streaming else response.content
    return f"{content.decode()} {response.headers}"


@pytest.fixture
def world(engine):
    worlds.build(engine)
    return engine


@pytest.fixture
def clients(staff, settings):
    """A client for each of those who ask."""

    def log_in(who: str) -> Client:
        client = Client()
        if WHO[who] is not None:
            user = staff(*(() if who == "superuser" else WHO[who]), name=who)
            get_user_model().objects.filter(pk=user.pk).update(is_superuser=who == "superuser")
            settings.AUTHENTICATION_BACKENDS = list(BACKENDS.values())
            client.force_login(user, backend=BACKENDS["all"])
        return client

    return log_in


@pytest.mark.parametrize(("backend", "whose", "asking"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_matrix(world, clients, settings, backend, whose, asking):
    wrong = list[str]()
    for who in asking:
        permissions = WHO[who]
        client = clients(who)
        if permissions is not None:
            session = client.session
            session["_auth_user_backend"] = BACKENDS[backend]
            session.save()
        settings.AUTHENTICATION_BACKENDS = [BACKENDS[backend]]
        before = snapshot()
        for key, entry in MATRIX.items():
            case = Case(entry=entry, method=key.partition(" ")[0], who=who, backend=backend, whose=whose)
            with transaction.atomic():
                if problem := _wrong(case, client, before):
                    wrong.append(f"{key}: {who}, who has permissions on {backend}, asks for {whose}: {problem}")
                transaction.set_rollback(True)
    assert not wrong, "\n" + "\n".join(wrong)


def _wrong(case: Case, client: Client, before: Any) -> str:
    """Return what is wrong with how a request is answered; empty if nothing is."""
    tries = Operation.objects.count()
    with cost() as asked:
        response = case.ask(client)
    text, entry = text_of(response), case.entry
    if became(response) != case.expected:
        return f"{became(response)} ({response.status_code}), and not {case.expected}"
    if case.expected == "done" and response.status_code != entry.done:
        return f"{response.status_code}, and not {entry.done}"
    refused = case.expected in ("denied", "hidden", "login")
    wrote = any(not statement.startswith("SELECT") for statement in asked.statements)
    if (refused or case.method == "GET") and wrote and snapshot() != before:
        return "something was changed"
    audited = Operation.objects.count() - tries
    if refused and case.method == "POST" and entry.verb and case.expected != "login":
        row = Operation.objects.latest("pk")
        if (audited, row.verb, row.outcome, row.actor_name) != (1, entry.verb, "denied", case.who):
            return f"the audit has {audited} rows more, the last says {row.outcome} {row.verb} of {row.actor_name}"
    elif (refused or case.method == "GET") and audited:
        return "the audit has more rows"
    if case.expected == "hidden" and _told(response, case.whose) != _told(case.ask(client, "nobody/"), "nobody/"):
        return "it can be told from one that does not exist"
    if refused and case.expected != "login" and SECRET in text:
        return "payloads are shown"
    if SECRET in text and PAYLOAD not in case.permissions:
        return f"payloads are shown: {_around(text)}"
    if case.expected == "done" and entry.shows and PAYLOAD in case.permissions and SECRET not in text:
        return "payloads are not shown to those who may see them"
    return ""


def _around(text: str) -> str:
    at = text.index(SECRET)
    return text[max(0, at - 200) : at + 50]


# --- whoever may only look


PAGES = [f"*{name}/{path}" for name in worlds.STATUSES for path in ("change/", "explain/", "compare/?with=*done&all=1")]
OVERVIEWS = ["", "failures/", "versions/", "batches/", "workers/", "definitions/", "*batch/report/", _O, "/admin/"]
ACTIONS = re.compile(r"""<form[^>]*method=["']post["'][^>]*>|/do/\w+/|/start/|<button[^>]*name=[^>]*>""", re.IGNORECASE)


def actions(text: str) -> list[str]:
    """Return what a page offers to do."""
    # Django has a form around its lists, in which nothing can be sent.
    return [each for each in ACTIONS.findall(text) if "logout" not in each and "changelist-form" not in each]


def _ask(client: Client, path: str) -> str:
    path = path.replace("*", quote(OWN))
    response = client.get(path if path.startswith("/") else f"{_I}{path}", follow=True)
    assert response.status_code == 200, path
    return text_of(response)


@pytest.mark.parametrize("permissions", [(VIEW,), (VIEW, PAYLOAD)])
def test_who_may_only_look_sees_no_action_anywhere(world, staff, permissions):
    client = Client()
    client.force_login(staff(*permissions))

    assert {path: found for path in (*PAGES, *OVERVIEWS) if (found := actions(_ask(client, path)))} == {}


def test_who_may_do_something_sees_what_they_may_do(world, staff):
    for name, permission in (("a", OPERATE), ("b", REPAIR), ("c", DESTROY)):
        client = Client()
        client.force_login(staff(VIEW, permission, name=name))
        found = {verb for path in PAGES for verb in re.findall(r"/do/(\w+)/", _ask(client, path))}

        assert found == {verb for verb, needs in NEEDS.items() if needs == permission} - {"resume"} or found == {
            verb for verb, needs in NEEDS.items() if needs == permission
        }


def test_a_batch_is_offered_again_to_those_who_may_begin_it(world, staff):
    def offers(*permissions: str) -> bool:
        client = Client()
        client.force_login(staff(*permissions, name="-".join(permissions)))
        return "Once more" in _ask(client, "*batch/report/")

    assert offers(VIEW, OPERATE)
    assert not offers(VIEW, REPAIR, DESTROY)


# --- what is hidden, whatever is looked at


def _looked(kind: str) -> Iterator[tuple[str, Any]]:
    one = f"{quote(f'{OWN}{kind}')}/"
    for query in ("", "?history=full", "?kind=ActivityScheduled", "?scale=steps"):
        yield f"{one}change/{query}", None
    for path in ("live/", "explain/", "explain/?at=2", "compare/?with=own/again&all=1", "download/", "report/"):
        yield f"{one}{path}", None
    for execution in Execution.objects.filter(instance=f"{OWN}{kind}"):
        yield f"{one}change/?history=full&execution={execution.pk}", None
        yield f"{one}download/?execution={execution.pk}", None
    for name in verbs.VERBS:
        yield f"{one}do/{name}/?event_id=1", None
        yield f"{one}do/{name}/", {**FORMS.get(name, {}), "preview": "1"}
        yield "batch/", {"verb": name, "id": f"{OWN}{kind}", "step": "2", "preview": "1", **FORMS.get(name, {})}
    yield f"{one}do/rerun/", None
    yield "batch/", {"verb": "rerun", "id": f"{OWN}{kind}"}


def test_no_payload_is_shown_to_those_who_may_not_see_it(world, staff):
    client, shown = Client(), list[str]()
    client.force_login(staff(VIEW, OPERATE, REPAIR, DESTROY))
    general = [("failures/", None), (_O, None), (f"{_O}export/", None)]
    for path, body in [*(each for kind in worlds.STATUSES for each in _looked(kind)), *general]:
        address = path if path.startswith("/") else f"{_I}{path}"
        with transaction.atomic():
            response = client.get(address, follow=True) if body is None else client.post(address, body, follow=True)
            text = text_of(response)
            transaction.set_rollback(True)
        assert response.status_code < 500, path
        if SECRET in text:
            shown.append(f"{path} {body}: {_around(text)}")
    assert not shown, "\n" + "\n".join(shown)


def test_a_search_does_not_tell_who_has_what_word_in_an_error(world, staff):
    found = {}
    for name, permissions in (("a", (VIEW,)), ("b", (VIEW, PAYLOAD))):
        client = Client()
        client.force_login(staff(*permissions, name=name))
        found[name] = f"{OWN}failed" in _ask(client, f"?q={SECRET}")

    assert found == {"a": False, "b": True}


def test_rows_are_all_that_is_registered():
    assert {model for model in admin.site._registry if model._meta.app_label == "durable"} == {Instance, Operation}
