"""What users with permissions on some instances see of the others: nothing, however they ask."""

from __future__ import annotations

from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from durable import client
from durable.api import access
from durable.models import Instance, Operation
from durable.store import listing as store_listing
from durable.testing.factories import InstanceFactory
from tests import worlds
from tests.api.conftest import EVERY, Api
from tests.api.test_reading import ids, problem
from tests.worlds import SECRET, snapshot

SEEN = sorted(f"own/{name}" for name in ("a", "child", "failed"))


@pytest.fixture
def rows(engine, flow):
    """Instances of one's own, and some that are not."""
    InstanceFactory(id="own/a", name="flow", args=(1,))
    InstanceFactory(id="own/failed", name="flow", args=(1,), status="failed")
    InstanceFactory(id="foreign/closed", name="flow", args=(2,), status="completed", result=SECRET)
    InstanceFactory(id="foreign/open", name="flow", args=(2,))
    InstanceFactory(id="own/child", parent_id="foreign/open", rerun_from="foreign/closed")
    InstanceFactory(id="foreign/child", parent_id="own/a")


@pytest.fixture
def owner(rows, someone, settings):
    settings.AUTHENTICATION_BACKENDS = ["tests.worlds.OwnOnly"]
    return Api(someone(*EVERY))


@pytest.fixture
def listing(owner, settings):
    settings.AUTHENTICATION_BACKENDS = ["tests.worlds.Listing"]
    return owner


# --- lists


def test_a_backend_can_say_what_users_see_in_lists(listing):
    assert sorted(ids(listing.get("instances/"))) == SEEN
    assert ids(listing.get("instances/", status="failed")) == ["own/failed"]
    assert ids(listing.get("instances/own%2Fa/children/")) == []
    assert ids(listing.get("batches/")) == []


def test_pages_of_a_list_in_part_lead_through_it(listing):
    first = listing.get("instances/", limit="2", ordering="id").json()
    second = listing.client.get(first["next"]).json()

    assert [row["id"] for row in first["results"] + second["results"]] == SEEN
    assert second["next"] is None


@pytest.mark.parametrize("order", ["id", "-created_at", "-started_at"])
def test_cursors_of_what_is_looked_for_name_no_place_of_what_is_hidden(listing, order, monkeypatch):
    monkeypatch.setattr(store_listing, "SPAN", 2)
    at = datetime(2026, 3, 1, tzinfo=UTC)
    for n in range(12):
        whose = "own" if n % 3 == 0 else "foreign"
        InstanceFactory(id=f"{whose}/{n:02}", queue="slow" if n < 6 else "other", created_at=at + timedelta(minutes=n))

    page = listing.get("instances/", queue="slow", ordering=order).json()
    found, places = ids_of(page), []
    while page["next"]:
        cursor = b64decode(parse_qs(urlsplit(page["next"]).query)["cursor"][0]).decode()
        places.append(parse_qs(cursor)["p"][0])
        page = listing.client.get(page["next"]).json()
        found += ids_of(page)

    field = order.removeprefix("-")
    own = {str(each) for each in Instance.objects.filter(pk__startswith="own/").values_list(field, flat=True)}
    assert sorted(found) == ["own/00", "own/03"]
    assert places
    assert set(places) <= own


def ids_of(page: dict[str, Any]) -> list[str]:
    return [row["id"] for row in page["results"]]


def test_several_backends_add_up(listing, settings):
    settings.AUTHENTICATION_BACKENDS = ["tests.worlds.Listing", "tests.api.test_foreign.Closed"]

    assert sorted(ids(listing.get("instances/"))) == ["foreign/closed", *SEEN]


class Closed(worlds.OwnOnly):
    """Shows another instance to everybody."""

    def visible_instances(self, user_obj: Any, rows: Any) -> Any:
        return rows.filter(pk="foreign/closed")


def test_lists_are_not_for_users_of_whom_nobody_can_say_what_they_see(owner):
    for path in ("instances/", "batches/"):
        problem(owner.get(path), 403, "permission_denied")


def test_lists_are_not_for_users_who_are_not_active(listing):
    listing.user.is_active = False

    problem(listing.get("instances/"), 403, "permission_denied")


def test_children_are_listed_as_far_as_one_may_see_them(owner):
    InstanceFactory(id="own/grandchild", parent_id="own/a")
    for number in range(3):
        InstanceFactory(id=f"foreign/{number}", parent_id="own/a")

    first = owner.get("instances/own%2Fa/children/", limit="1", ordering="id")

    assert ids(first) == ["own/grandchild"]
    assert first.json()["next"] is None, "the page after it would tell that there are more"


# --- relatives


@pytest.mark.parametrize("path", ["instances/own%2Fchild/", "instances/?id_prefix=own/child"])
def test_parents_and_sources_are_named_to_those_who_may_see_them(listing, path):
    shown = listing.client.get(f"/api/v1/{path}").json()
    (row,) = shown.get("results", [shown])

    assert (row["parent"], row["rerun_from"]) == (None, None)
    get_user_model().objects.update(is_superuser=True)
    shown = Api(get_user_model().objects.get()).client.get(f"/api/v1/{path}").json()
    (row,) = shown.get("results", [shown])
    assert (row["parent"], row["rerun_from"]) == ("foreign/open", "foreign/closed")


def test_a_source_that_was_purged_is_named_to_those_who_see_all(rows, someone):
    client.purge("foreign/closed")

    assert Api(someone(*EVERY)).get("instances/own%2Fchild/").json()["rerun_from"] == "foreign/closed"


def test_how_a_child_is_doing_is_told_to_those_who_may_see_it(engine, someone, settings, fresh):
    worlds.build(engine)
    api = Api(someone(*EVERY))
    assert "own/busy:0003" in api.get("instances/own%2Fbusy/why/").json()["children"]

    settings.AUTHENTICATION_BACKENDS = ["tests.api.test_foreign.NoChildren"]
    told = api.get("instances/own%2Fbusy/why/").json()

    assert told["children"] == {}
    assert {reason["text"] for reason in told["reasons"] if reason["kind"] == "child"} == {"***"}


class NoChildren(worlds.OwnOnly):
    """Gives permissions on parents only."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return ":" not in getattr(obj, "pk", "") and super().has_perm(user_obj, perm, obj)


# --- ids of new instances


NEW = [
    ("restart", {}),
    ("restart", {"id_reuse": "replace_closed"}),
    ("rerun", {"event_id": 0}),
]


@pytest.mark.parametrize("dry_run", ["", "?dry_run=true"])
@pytest.mark.parametrize(("verb", "body"), NEW)
@pytest.mark.parametrize("target", ["foreign/open", "foreign/closed"])
def test_what_is_begun_neither_takes_nor_tells_of_the_place_of_a_foreign_instance(owner, verb, body, target, dry_run):
    before = snapshot()

    answer = owner.do("own/failed", verb, {**body, "new_instance_id": target}, query=dry_run)

    told = problem(answer, 409, "already_exists")
    assert told["detail"] == f"an instance with the id {target!r} exists"
    assert told["facts"] == {"instance_id": target, "status": ""}
    assert snapshot() == before
    row = Operation.objects.get()
    assert (row.instance_id, row.outcome, row.error) == ("own/failed", "refused", f"AlreadyExists: {told['detail']}")


def test_to_take_the_place_of_an_instance_one_has_to_be_allowed_to_repair_it(rows, someone, settings):
    settings.AUTHENTICATION_BACKENDS = ["tests.api.test_foreign.Reader"]
    before = snapshot()
    body = {"id_reuse": "replace_closed", "new_instance_id": "foreign/closed"}

    answer = Api(someone(*EVERY)).do("own/failed", "restart", body)

    problem(answer, 403, "permission_denied")
    assert snapshot() == before
    assert Operation.objects.get(outcome="denied").instance_id == "own/failed"


class Reader(worlds.OwnOnly):
    """Lets everybody see everything, and do what they may to what is theirs."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return perm.endswith(".view_instance") or super().has_perm(user_obj, perm, obj)


def test_a_restart_takes_the_place_of_ones_own(owner):
    InstanceFactory(id="own/closed", name="flow", args=(1,), status="completed")
    body = {"id_reuse": "replace_closed", "new_instance_id": "own/closed"}

    assert owner.do("own/failed", "restart", body).status_code == 201
    assert client.status("own/closed") == "pending"


# --- the audit


def test_the_audit_of_an_instance_is_of_exactly_that(owner):
    Operation.objects.all().delete()
    InstanceFactory(id="own/a ")
    client.cancel("own/a", actor="Ada")

    assert owner.get("audit/", instance="own/a").json()["results"][0]["actor"] == "Ada"
    assert owner.get("audit/", instance="own/a ").json()["results"] == []
    problem(owner.get("audit/", instance="foreign/open"), 404, "unknown_instance")


# --- what cannot be read


@pytest.fixture
def unreadable(rows):
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE durable_instance SET input = '[{SECRET}'")  # noqa: S608


@pytest.mark.usefixtures("unreadable")
def test_that_a_payload_cannot_be_read_tells_nobody_that_there_is_an_instance(owner):
    for path in ("", "history/", "why/", "explain/", "lineage/", "compare/?with=own/a"):
        problem(owner.get(f"instances/foreign%2Fopen/{path}"), 404, "unknown_instance")
    for verb in ("cancel", "rewind", "purge"):
        problem(owner.do("foreign/open", verb), 404, "unknown_instance")


@pytest.mark.usefixtures("unreadable")
def test_what_cannot_be_read_is_not_quoted_to_those_who_may_not_see_payloads(someone):
    api = Api(someone("view_instance", "repair_instance"))

    told = problem(api.get("instances/own%2Fa/"), 409, "undecodable_payload")

    assert told["detail"] == "undecodable payload: ***"
    assert api.get("instances/own%2Fa/why/").status_code == 200
    assert SECRET not in api.do("own/failed", "restart").content.decode()


def test_users_who_may_nothing_are_asked_about_no_more_than_needed(rows, someone):
    user = someone()

    assert access.visible(user, {"own/a", "none"}) == set()
    assert Instance.objects.count() == 6
