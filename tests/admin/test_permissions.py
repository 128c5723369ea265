"""Who may do what: every permission, every page, one's own instances and others'."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.backends import ModelBackend

from durable.admin import verbs
from durable.client.verbs import VERBS
from durable.models import Operation
from durable.testing.factories import InstanceFactory
from tests.admin.conftest import EVERY, Site
from tests.admin.test_pages import OVERVIEWS

PAGES = ("change/", "live/", "download/", "explain/", "do/cancel/", "do/rewind/", "do/terminate/")
NEEDED = {
    **dict.fromkeys(("signal", "update", "suspend", "resume", "cancel"), "operate_instance"),
    **dict.fromkeys(("rewind", "rerun", "restart", "upgrade", "recover", "restore"), "repair_instance"),
    **dict.fromkeys(("terminate", "purge"), "destroy_instance"),
}
GIVEN: dict[str, Any] = {"event_id": "0", "name": "go", "execution": "00000000-0000-0000-0000-000000000000"}


class OwnOnly(ModelBackend):
    """Gives the permissions of a user on the instances that are their own."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return obj is not None and obj.pk.startswith("own") and super().has_perm(user_obj, perm)


def answers(page: Any) -> str:
    """Return whether a page was hidden, denied, or let through to whatever came of it."""
    if page.status == 302 and page.response["Location"] == "/admin/":
        return "hidden"
    return "denied" if page.status == 403 else "let through"


def post(site: Site, instance_id: str, verb: str, **more: Any) -> str:
    return answers(site.post(f"{instance_id}/do/{verb}/", {**GIVEN, **more, "confirm": "1"}))


def test_every_verb_needs_what_it_should():
    assert {name: verb.permission for name, verb in verbs.VERBS.items()} == NEEDED
    assert {f"durable.{NEEDED[name]}" for name in VERBS} == {verb.permission for verb in VERBS.values()}
    assert all(VERBS[name].permission == f"durable.{NEEDED[name]}" for name in VERBS)


@pytest.mark.parametrize("permission", EVERY)
@pytest.mark.parametrize("verb", verbs.VERBS)
def test_verbs_need_their_permission_beside_to_see(staff, engine, waiting, verb, permission):
    alone = Site(staff(permission, name="a"))
    seeing = Site(staff(*{permission, "view_instance"}, name="b"))

    assert post(alone, "talk", verb) == ("denied" if permission == "view_instance" else "hidden")
    may = permission == NEEDED[verb]
    assert post(seeing, "talk", verb) == ("let through" if may else "denied")
    denied = Operation.objects.filter(outcome="denied", verb=verb, instance_id="talk")
    assert denied.count() == 1 + (not may)
    shown = answers(seeing.page("talk", f"do/{verb}/"))
    assert shown == ("let through" if may else "denied")
    assert denied.count() == 1 + (not may)  # to look is no try


def test_a_restart_that_terminates_needs_to_terminate_beside(staff, engine, waiting):
    repairs = Site(staff("view_instance", "repair_instance", name="a"))
    destroys = Site(staff("view_instance", "repair_instance", "destroy_instance", name="b"))

    assert post(repairs, "talk", "restart", terminate_first="on", new_instance_id="x") == "denied"
    assert waiting.status == "running"
    assert post(destroys, "talk", "restart", terminate_first="on", new_instance_id="x") == "let through"


@pytest.mark.parametrize("permission", EVERY)
@pytest.mark.parametrize("path", OVERVIEWS[:-1])
def test_overviews_need_to_see(staff, fresh, path, permission):
    page = Site(staff(permission)).get(path)

    assert page.status == (200 if permission == "view_instance" else 403)


@pytest.mark.parametrize("permission", EVERY)
def test_an_instance_is_there_for_those_who_may_see_it(staff, waiting, permission):
    site = Site(staff(permission))

    page, unknown = site.page("talk"), site.page("unknown")
    assert answers(page) == ("let through" if permission == "view_instance" else "hidden")
    assert answers(unknown) == "hidden"


def test_nobody_can_tell_one_that_is_hidden_from_one_that_does_not_exist(staff, waiting):
    site = Site(staff("repair_instance", "operate_instance", "destroy_instance"))

    def told(instance_id, path):
        page = site.get(f"{instance_id}/{path}", follow=True)
        return page.text.replace(instance_id, "*"), page.response.redirect_chain

    for path in (*PAGES, "history/", "delete/", "report/"):
        hidden, unknown = told("talk", path), told("none", path)
        # The token of the form differs each time.
        assert hidden[1] == unknown[1] or [c[1] for c in hidden[1]] == [c[1] for c in unknown[1]]
        assert ("instance “*”" in hidden[0]) == ("instance “*”" in unknown[0])
    for verb in verbs.VERBS:
        assert post(site, "talk", verb) == post(site, "none", verb) == "hidden"


@pytest.fixture
def own(settings, waiting):
    """Users may do to their own instances what they may do; others are foreign to them."""
    settings.AUTHENTICATION_BACKENDS = ["tests.admin.test_permissions.OwnOnly"]
    InstanceFactory(id="own", status="failed")
    InstanceFactory(id="own-child", parent_id="own")
    InstanceFactory(id="foreign-child", parent_id="own")
    InstanceFactory(id="own-parented", parent_id="talk")
    InstanceFactory(id="foreign-again", rerun_from="own")


@pytest.fixture
def owner(own, staff):
    site = Site()
    site.user = staff(*EVERY)
    site.client.force_login(site.user, backend="tests.admin.test_permissions.OwnOnly")
    return site


@pytest.mark.parametrize("path", PAGES)
def test_one_sees_ones_own_and_no_other(owner, path):
    assert answers(owner.page("own", path)) == "let through"
    assert answers(owner.page("talk", path)) == "hidden"


@pytest.mark.parametrize("verb", verbs.VERBS)
def test_one_operates_ones_own_and_no_other(owner, verb):
    assert post(owner, "own", verb) == "let through"
    assert post(owner, "talk", verb) == "hidden"
    assert Operation.objects.filter(outcome="denied").values_list("instance_id", flat=True).get() == "talk"


def test_the_family_is_shown_as_far_as_one_may_see_it(owner):
    text = owner.page("own").text

    assert "own-child" in text
    assert "foreign" not in text
    assert "talk" not in owner.page("own-parented").text


def test_lists_are_for_those_who_see_all(owner):
    for path in OVERVIEWS[:-1]:
        assert owner.get(path).status == 403
    assert owner.post("batch/", {"verb": "rewind", "id": "own"}).status == 403


def test_users_who_are_no_staff_see_nothing(someone, waiting):
    site = Site(someone(*EVERY))

    for path in ("", "talk/change/", "talk/do/cancel/", "failures/"):
        assert site.get(path).response["Location"].startswith("/admin/login/")


def test_nothing_can_be_added_changed_or_deleted_past_the_client(site, waiting):
    site.user.is_superuser = True
    site.user.save()

    assert site.get("add/").status == 403
    assert site.post("talk/delete/", {"post": "yes"}).status == 403
    assert site.post("/admin/durable/operation/add/", {}).status == 403
    assert site.post("talk/change/", {"status": "failed"}).status in (200, 403, 405)
    assert waiting.status == "running"
