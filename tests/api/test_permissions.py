"""Who may do what: every permission, every endpoint, one's own instances and others'."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.backends import ModelBackend

from durable.api import access, verbs
from durable.models import Operation
from durable.testing.factories import InstanceFactory
from tests.api.conftest import EVERY, Api
from tests.api.test_reading import problem

READING = ("", "history/", "children/", "executions/", "explain/", "why/", "lineage/", "compare/?with=talk")
GENERAL = ("instances/", "versions/", "definitions/", "workers/", "audit/", "health/", "batches/", "failure-groups/")
BODIES: dict[str, Any] = {
    "signal": {"name": "go"},
    "query": {"name": "lines"},
    "update": {"name": "say", "args": ["a"], "timeout": 0},
    "rerun": {"event_id": 0},
    "what-if": {"event_id": 0},
    "restore": {"execution": "00000000-0000-0000-0000-000000000000"},
}


class OwnOnly(ModelBackend):
    """Gives the permissions of a user on the one instance that is their own."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return obj is not None and obj.pk == "own" and super().has_perm(user_obj, perm)


def answers(response: Any) -> str:
    """Return whether it was hidden, denied, or let through to whatever came of it."""
    code = response.json().get("code") if isinstance(response.json(), dict) else ""
    return {"unknown_instance": "hidden", "permission_denied": "denied"}.get(code or "", "let through")


@pytest.mark.parametrize("permission", EVERY)
@pytest.mark.parametrize("verb", verbs.VERBS)
def test_verbs_need_their_permission_beside_to_see(someone, engine, waiting, verb, permission):
    body = BODIES.get(verb, {})
    alone = answers(Api(someone(permission, name="a")).do("talk", verb, body))
    seeing = answers(Api(someone(*{permission, "view_instance"}, name="b")).do("talk", verb, body))

    assert alone == ("denied" if permission == "view_instance" else "hidden")
    assert seeing == ("let through" if permission == verbs.VERBS[verb].permission else "denied")
    denied = Operation.objects.filter(outcome="denied", verb=verb, instance_id="talk")
    assert denied.count() == 1 + (seeing == "denied")


def test_restart_that_terminates_needs_the_permission_to_terminate_beside(someone, engine, waiting):
    body = {"terminate_first": True}
    repairs = Api(someone("view_instance", "repair_instance", name="a"))
    destroys = Api(someone("view_instance", "repair_instance", "destroy_instance", name="b"))

    assert answers(repairs.do("talk", "restart", body)) == "denied"
    assert answers(destroys.do("talk", "restart", body)) == "let through"


def test_every_verb_has_the_permission_that_it_should_have():
    assert {name: verb.permission for name, verb in verbs.VERBS.items()} == {
        "signal": "operate_instance",
        "query": "operate_instance",
        "update": "operate_instance",
        "cancel": "operate_instance",
        "suspend": "operate_instance",
        "resume": "operate_instance",
        "terminate": "destroy_instance",
        "restart": "repair_instance",
        "rerun": "repair_instance",
        "rewind": "repair_instance",
        "upgrade": "repair_instance",
        "purge": "destroy_instance",
        "restore": "repair_instance",
        "what-if": "repair_instance",
    }


@pytest.mark.parametrize("permission", EVERY)
@pytest.mark.parametrize("path", GENERAL)
def test_lists_need_to_see(someone, db, path, permission):
    response = Api(someone(permission)).get(path)

    if permission == "view_instance":
        assert response.status_code == 200
    else:
        problem(response, 403, "permission_denied")


@pytest.mark.parametrize("permission", EVERY)
@pytest.mark.parametrize("path", READING)
def test_an_instance_is_there_for_those_who_may_see_it(someone, waiting, path, permission):
    api = Api(someone(permission))

    assert answers(api.get(f"instances/talk/{path}")) == ("let through" if permission == "view_instance" else "hidden")
    unknown, hidden = api.get("instances/unknown/"), api.get("instances/talk/")
    if permission != "view_instance":
        assert unknown.json()["detail"].replace("unknown", "talk") == hidden.json()["detail"]


@pytest.mark.parametrize("permission", EVERY)
def test_start_needs_to_operate_and_to_see(someone, engine, talk, permission):
    body = {"workflow": "talk", "args": ["a"], "id": "new"}
    first = Api(someone(permission, name="a")).post("instances/", body)
    second = Api(someone(*{permission, "view_instance"}, name="b")).post("instances/", body)

    assert answers(first) == "denied"
    assert second.status_code == (201 if permission == "operate_instance" else 403)
    assert Operation.objects.filter(outcome="denied", verb="start", instance_id="new").exists()


@pytest.fixture
def own(settings, waiting):
    """Users may do to their own instance what they may do; another one is foreign to them."""
    settings.AUTHENTICATION_BACKENDS = ["tests.api.test_permissions.OwnOnly"]
    InstanceFactory(id="own", status="failed")
    InstanceFactory(id="child", parent_id="own")
    InstanceFactory(id="again", rerun_from="own")


@pytest.mark.parametrize("path", READING)
def test_one_sees_ones_own_and_no_other(someone, own, path):
    api = Api(someone(*EVERY))

    assert answers(api.get(f"instances/own/{path}")) == ("hidden" if "with=talk" in path else "let through")
    assert answers(api.get(f"instances/talk/{path}")) == "hidden"


@pytest.mark.parametrize("verb", verbs.VERBS)
def test_one_operates_ones_own_and_no_other(someone, own, verb):
    api, body = Api(someone(*EVERY)), BODIES.get(verb, {})

    assert answers(api.do("own", verb, body)) == "let through"
    assert answers(api.do("talk", verb, body)) == "hidden"
    assert Operation.objects.filter(outcome="denied").values_list("instance_id", flat=True).get() == "talk"


def test_lists_show_no_others(someone, own):
    api = Api(someone(*EVERY))

    assert api.get("instances/own/children/").json()["results"] == []
    assert api.get("instances/own/lineage/").json()["descendants"] == []
    for path in GENERAL:
        problem(api.get(path), 403, "permission_denied")
    assert api.get("audit/", instance="own").json()["results"] == []
    problem(api.get("audit/", instance="talk"), 404, "unknown_instance")
    Operation.objects.all().delete()


def test_users_who_are_not_active_may_nothing(someone, waiting):
    user = someone(*EVERY)
    user.is_active = False

    assert not access.may(user, "view_instance", waiting.instance)
