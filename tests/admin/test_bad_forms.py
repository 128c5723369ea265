"""Whatever is wrong with what is sent to a page, the page says so, and nothing is changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any
from urllib.parse import quote as escape
from urllib.parse import urlencode

import pytest
from django.contrib.admin.utils import quote
from django.db import transaction
from django.test import Client
from django.utils.encoding import iri_to_uri

from durable.admin import filtering, verbs
from durable.testing.factories import InstanceFactory
from tests import sampling, worlds
from tests.admin.conftest import EVERY, Site
from tests.admin.test_matrix import _I, _O, MATRIX, TARGETS, became
from tests.api.test_bad_requests import IDS, ODD
from tests.driving import cost
from tests.worlds import OWN, snapshot, touched

pytestmark = pytest.mark.timeout(600)

_SOME = ("NUL", "unicode", "long", "large", "huge", "digit", "first", "last", "JSON", "tag", "uuid", "failed")
VALUES = {kind: ODD[kind] for kind in _SOME} | {
    **{"HTML": "<script>alert(1)</script>", "lines": "a\r\nb"},
    **{"nested": f"{'[' * 900}{']' * 900}", "nested tag": f"a={'[' * 900}{']' * 900}", "escaped tag": 'a="\\u0000"'},
}
WORST = ("NUL", "huge", "HTML")
"""The kinds of values that are tried everywhere, and not in some places only."""

CONTROLS = ("seen", "previewed", "once", "confirm", "preview", "reason")
NEEDED = {"name": "read", "event_id": "1", "execution": "00000000-0000-0000-0000-000000000000"}


@pytest.fixture
def site(engine, staff):
    worlds.build(engine)
    return Site(staff(*EVERY))


def unescaped(text: str) -> bool:
    """Say whether a page has what somebody sent as it was sent."""
    return "<script>alert(1)" in text


def sent(text: str) -> str:
    """Return a text as a browser can send it."""
    return text.encode(errors="replace").decode()


# --- the form of a verb


def test_forms_of_verbs(site):
    """Each field with each odd value, looked at and then confirmed."""
    before, wrong = snapshot(), list[str]()
    for name, verb in verbs.VERBS.items():
        path = f"{quote(OWN + TARGETS[name])}/do/{name}/"
        form = site.get(path, **{key: value for key, value in NEEDED.items() if key != "execution"}).form()
        fields = [field for field in verb.form.base_fields if field != "reason"]
        wrong += _wrong_of(site, path, form, (*fields, *(CONTROLS if name == "terminate" else ())), before)
    assert not wrong, "\n" + "\n".join(wrong)


def test_forms_of_starts(site):
    path = "definitions/done/start/"
    form = site.post(path, {**site.get(path).form(), "argument.secret": "a", "id": "own/new", "preview": "1"}).form()
    form["id"] = "own/new"
    assert {"argument.secret", "queue", "tags", "previewed", "once"} <= form.keys()

    wrong = list(_wrong_of(site, path, form, ("argument.secret", "id", "queue", "tags", *CONTROLS), snapshot()))

    assert not wrong, "\n" + "\n".join(wrong)


def test_forms_of_saved_filters(site):
    form, before = {"name": "mine", "query": "?status=failed"}, snapshot()
    for field, value in product((*form, "delete"), VALUES.values()):
        with transaction.atomic():
            page = site.post("filters/", {**form, field: sent(value)})
            assert page.status == 302
            shown = site.get("filters/")
            assert shown.status == 200
            assert not unescaped(shown.text)
            assert field != "delete" or snapshot() == before
            transaction.set_rollback(True)


def _wrong_of(site: Site, path: str, form: dict[str, Any], fields: Iterable[str], before: Any) -> Iterator[str]:
    """Yield what is wrong with what comes of a form with each odd value in each field."""
    for (field, way), kind in sampling.cells(product(fields, (_confirmed, _looked_at)), VALUES, always=WORST):
        with transaction.atomic():
            if problem := way(site, path, {**form, field: sent(VALUES[kind])}, before):
                yield f"{path} {field}={kind}: {problem}"
            transaction.set_rollback(True)


def _confirmed(site: Site, path: str, form: dict[str, Any], before: Any) -> str:
    """Return what is wrong with what comes of a form that nobody looked at; empty if nothing is."""
    return _wrong(site, path, {**form, "confirm": "1"}, before)[0]


def _looked_at(site: Site, path: str, form: dict[str, Any], before: Any) -> str:
    """Return what is wrong with what comes of a form's preview, or then of the form."""
    problem, looked = _wrong(site, path, {**form, "preview": "1"}, before)
    if problem:
        return f"in the preview: {problem}"
    if looked.status == 302:  # it was confirmed at once
        return "" if "confirm" in form else "in the preview: done"
    return _wrong(site, path, {**looked.form(), "confirm": "1"}, before)[0]


def _wrong(site: Site, path: str, form: dict[str, Any], before: Any) -> tuple[str, Any]:
    """Send a form; return what is wrong with what comes of it, empty if nothing is, and the page that came."""
    with cost() as asked:
        page = site.post(path, form)
    if page.status not in (200, 302, 400, 409):
        return str(page.status), page
    if page.status != 302 and touched(asked) and snapshot() != before:
        return f"{page.status}, and yet something was changed", page
    return "as it was sent: HTML" if unescaped(page.text) else "", page


def test_addresses_of_forms(site):
    before = snapshot(audit=True)
    for name in ("rerun", "signal", "upgrade", "restore"):
        path = f"{quote(OWN + TARGETS[name])}/do/{name}/"
        for field, kind in sampling.cells((*verbs.VERBS[name].form.base_fields, "confirm"), VALUES, always=WORST):
            page = site.get(f"{path}?{field}={escape(sent(VALUES[kind]), safe='')}")
            assert page.status == 200
            assert not unescaped(page.text)
    assert snapshot(audit=True) == before


def test_forms_of_nothing(site):
    for path in ("do/nothing/", "do/", "do/cancel", "do/rewind/x/"):
        assert site.page("own/busy", path).status in (301, 302, 404)


def test_a_form_without_its_token_does_nothing(site):
    path = f"{quote('own/busy')}/do/terminate/"
    form = site.get(path).form(confirm="1")
    before = snapshot()

    for token in ("", "x", "a\0b", "0" * 31, "g" * 32):
        page = site.post(path, {**form, "once": token})

        assert page.status == 400
        assert "not complete" in page.text
        assert snapshot() == before
    assert site.post(path, form).status == 302


# --- many at once


def test_batches(site):
    before, wrong = snapshot(), list[str]()
    base = {"verb": "cancel", "id": "own/busy", "query": "", "step": "2", "reason": "", "preview": "1"}
    more = ("all", "batch", "previewed", "look", "new_instance_id", "to", "name", "payload", "version")
    for (field, verb), kind in sampling.cells(product((*base, *more), ("signal", "restart")), VALUES, always=WORST):
        with transaction.atomic(), cost() as asked:
            page = site.post("batch/", {**base, "verb": verb, field: sent(VALUES[kind])})
            if page.status not in (200, 302, 400, 409):
                wrong.append(f"{verb} {field}={kind}: {page.status}")
            elif touched(asked) and snapshot() != before:
                wrong.append(f"{verb} {field}={kind}: something was changed")
            elif unescaped(page.text):
                wrong.append(f"{verb} {field}={kind}: HTML as it was sent")
            transaction.set_rollback(True)
    assert not wrong, "\n" + "\n".join(wrong)


def test_batches_that_are_confirmed(site):
    form = {"verb": "cancel", "id": "own/busy", "query": "", "step": "2", "reason": "", "preview": "1"}
    looked = site.post("batch/", form)
    confirmed = {**form, "previewed": looked.fields["previewed"], "batch": looked.fields["batch"], "look": "1"}
    del confirmed["preview"]
    before = snapshot()
    for field, (kind, value) in product(("batch", "id", "query"), VALUES.items()):
        with transaction.atomic():
            page = site.post("batch/", {**confirmed, field: sent(value)})
            assert page.status in (302, 400, 409), (field, kind, page.status)
            assert page.status == 302 or snapshot() == before, kind
            transaction.set_rollback(True)


# --- what is looked at


AUDIT = ("verb", "instance", "outcome__exact", "dry_run__exact", "at__gte", "at__lt")
LISTS = (*filtering.Filters.base_fields, "older", "newer", "nothing")


def _addresses(value: str) -> Iterator[str]:
    """Yield addresses, each with a value for one of the parameters that it takes."""
    yield from (f"{_I}?{name}={value}" for name in LISTS)
    yield from (f"{_I}?{name}={escape(moment)}%20{value}" for name in ("older", "newer") for moment in MOMENTS)
    yield f"{_I}batches/?older={value}"
    yield from (f"{_I}own_2Fbatch/report/?{name}={value}" for name in ("outcome", "after"))
    one = f"{_I}{quote('own/busy')}/"
    yield from (f"{one}change/?{name}={value}" for name in ("execution", "kind", "after", "history", "scale"))
    yield from (f"{one}explain/?{name}={value}" for name in ("at", "execution"))
    yield f"{one}download/?execution={value}"
    yield from (f"{one}compare/?{name}={value}" for name in ("with", "execution", "other_execution", "all"))
    for name in (*AUDIT, "q", "p", "o", "reason__contains", "at__year", "error__regex", "id__in", "nothing"):
        yield f"{_O}?{name}={value}"
        yield f"{_O}export/?{name}={value}"
    yield from (
        f"{_I}{value}/{rest}" for rest in ("change/", "live/", "download/", "explain/", "report/", "do/cancel/")
    )
    yield from (f"{_I}definitions/{value}/start/", f"{_O}{value}/change/")


def test_queries(site):
    before, wrong = snapshot(audit=True), list[str]()
    for pattern, kind in sampling.cells(_addresses("{}"), VALUES, always=WORST):
        address = pattern.format(escape(sent(VALUES[kind]), safe=""))
        page = None if "/export/" in address else site.get(address)
        status = page.status if page else site.client.get(address).status_code
        if status not in (200, 302, 400, 404):
            wrong.append(f"{pattern} {kind}: {status}")
        elif page and unescaped(page.text):
            wrong.append(f"{pattern} {kind}: HTML as it was sent")
    assert not wrong, "\n" + "\n".join(wrong)
    assert snapshot(audit=True) == before


MOMENTS = ("2026-01-01T00:00:00+00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-01")


@pytest.mark.parametrize("instance_id", IDS)
def test_ids_of_all_kinds_lead_to_their_instance(engine, staff, instance_id):
    InstanceFactory(id=instance_id)
    InstanceFactory(id="a")
    site = Site(staff(*EVERY))

    page = site.page(instance_id)

    assert page.status == 200
    assert [link for link in page.links if "/do/terminate/" in link] == [
        iri_to_uri(f"{_I}{quote(instance_id)}/do/terminate/")
    ]
    assert [link for link in page.links if "?instance=" in link] == [f"{_O}?{urlencode({'instance': instance_id})}"]
    site.do(instance_id, "terminate")
    statuses = {row["id"]: row["status"] for row in snapshot()["Instance"]}
    assert statuses == {instance_id: "terminated", "a": "running"}


# --- by which means


def test_to_look_changes_nothing(site):
    """By no method but POST, whatever the address says."""
    before = snapshot(audit=True)
    for key, entry in MATRIX.items():
        if key.startswith("POST"):
            address = entry.path.partition("?")[0].replace("*", quote(OWN)).replace("#", "1")
            for method in ("get", "head", "put", "patch", "delete", "options"):
                asked = getattr(site.client, method)
                query = {"confirm": "1", **(entry.body or {})}
                response = asked(address, query) if method in ("get", "head") else asked(address)
                assert response.status_code < 500
    assert snapshot(audit=True) == before


def test_a_session_that_ended_does_nothing(site):
    before = snapshot(audit=True)
    site.client.session.flush()

    for key, entry in MATRIX.items():
        if key.startswith("POST"):
            address = entry.path.partition("?")[0].replace("*", quote(OWN)).replace("#", "1")
            assert became(site.client.post(address, entry.body)) == "login"
    assert snapshot(audit=True) == before


def test_a_page_of_another_site_does_nothing(site):
    before = snapshot(audit=True)
    client = Client(enforce_csrf_checks=True)
    client.force_login(site.user)

    for key, entry in MATRIX.items():
        if key.startswith("POST"):
            address = entry.path.partition("?")[0].replace("*", quote(OWN)).replace("#", "1")
            assert client.post(address, entry.body).status_code == 403
    assert snapshot(audit=True) == before
