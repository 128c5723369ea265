"""The forms that do a verb: what would come of it, and what does when it is confirmed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from durable import activity, client, workflow
from durable.models import ActivityTask, Answer, Execution, HistoryEvent, InboxEvent, Instance, Operation, Update
from durable.testing import history_of
from durable.testing.factories import InstanceFactory
from tests.admin.conftest import Site

TABLES = (ActivityTask, Answer, Execution, HistoryEvent, InboxEvent, Instance, Operation, Update)


def everything() -> dict[str, list[Any]]:
    """Return all rows there are."""
    return {model.__name__: sorted(map(str, model.objects.values_list())) for model in TABLES}


def operation(verb: str, *, dry_run: bool = False) -> Operation:
    """Return the one row of the audit that tells of a verb."""
    return Operation.objects.get(verb=verb, dry_run=dry_run)


@pytest.mark.parametrize(
    "verb",
    [
        "rewind",
        "rerun",
        "restart",
        "upgrade",
        "recover",
        "signal",
        "update",
        "suspend",
        "resume",
        "cancel",
        "terminate",
        "purge",
    ],
)
@pytest.mark.parametrize("instance_id", ["order/1", "talk"])
def test_to_look_at_a_form_changes_nothing(site, failed, waiting, instance_id, verb):
    before = everything()

    page = site.page(instance_id, f"do/{verb}/", event_id=1, name="go")

    assert page.status == 200
    assert everything() == before


def test_no_verb_no_form(site, failed):
    assert site.page("order/1", "do/frobnicate/").status == 404
    assert site.post("order_2F1/do/frobnicate/", {"confirm": "1"}).status == 404


def test_a_rewind_says_what_it_keeps_and_does_it(site, engine, failed, bank):
    page = site.page("order/1", "do/rewind/")
    assert "Run again" in page.text
    assert "Kept, not done again" in page.text
    done = site.do("order/1", "rewind", reason="the bank is back")
    engine.run_until_quiet()

    assert done.status == 302
    assert failed.result() == "receipt 1"
    assert (operation("rewind").reason, operation("rewind").actor) == ("the bank is back", site.user)
    assert operation("rewind", dry_run=True).outcome == "done"
    assert "done, in" in site.page("order/1").text


def test_a_rewind_to_an_event_of_a_completed_instance(site, engine, flow, bank):
    bank["up"] = True
    handle = flow.options(id="done").start(7)
    engine.run_until_quiet()
    assert "not failed" in site.page("done", "do/rewind/").text
    assert "To event" in site.page("done", "do/rewind/").text

    site.do("done", "rewind", to="1")
    engine.run_until_quiet()

    assert bank["charged"] == [1, 1]
    assert handle.status == "completed"


def test_a_rerun_begins_with_the_recorded_input_which_can_be_changed(site, engine, failed, bank):
    link = next(link for link in site.page("order/1").links if "do/rerun/?event_id=1" in link)
    page = site.get(link)
    assert json.loads(page.fields["input"]) == {"args": [1], "kwargs": {}}
    assert page.fields["event_id"] == "1"

    changed = json.dumps({"args": [1], "kwargs": {"amount": 5}})
    done = site.do("order/1", "rerun", query={"event_id": 1}, input=changed, new_instance_id="again")
    engine.run_until_quiet()

    assert done.response["Location"] == "/admin/durable/instance/again/change/"
    assert bank["charged"] == [5]
    assert client.get("again").result() == "receipt 1"
    assert client.get("again").instance.rerun_from == "order/1"


def test_a_rerun_of_somebody_who_sees_no_payloads_keeps_the_input(staff, engine, failed, bank):
    site = Site(staff("view_instance", "repair_instance"))

    site.do("order/1", "rerun", query={"event_id": 1}, new_instance_id="again")
    engine.run_until_quiet()

    assert bank["charged"] == [1]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"input": "{"}, "This is no JSON"),
        ({"input": "NaN"}, "This is no JSON"),
        ({"input": "[" * 5000 + "]" * 5000}, "nested too deeply"),
        ({"input": '{"args": 1, "kwargs": {}}'}, "args must be a list"),
        ({"input": '{"args": [], "kwargs": {}}'}, "It is refused"),
        ({"event_id": ""}, "Say which activity"),
        ({"event_id": "77"}, "no event with the id 77"),
        ({"event_id": "-1"}, "errorlist"),
        ({"event_id": "99999999999999"}, "errorlist"),
        ({"new_instance_id": ""}, "errorlist"),
        ({"new_instance_id": "order/1"}, "It is refused"),
        ({"new_instance_id": "x" * 256}, "errorlist"),
        ({"new_instance_id": "a\nb"}, "It is refused"),
        ({"version": "9"}, "version 9 of workflow"),
        ({"siblings": "eat"}, "errorlist"),
        ({"reason": "r" * 1001}, "errorlist"),
        ({"reason": "nul\0"}, "errorlist"),
    ],
    ids=lambda given: str(given)[:40],
)
def test_a_rerun_that_cannot_be_says_why(site, failed, changed, problem):
    before = Instance.objects.count()
    page = site.page("order/1", "do/rerun/", event_id=1)

    looked = site.post("order_2F1/do/rerun/", page.form(**changed, preview="1"))
    done = site.post(
        "order_2F1/do/rerun/", {**page.form(**changed, confirm="1"), "previewed": looked.fields["previewed"]}
    )

    assert problem in looked.text
    assert 400 <= done.status < 500
    assert problem in done.text
    assert Instance.objects.count() == before


def test_a_confirmation_has_to_be_of_what_was_previewed(site, failed):
    page = site.page("order/1", "do/rerun/", event_id=1)

    done = site.post("order_2F1/do/rerun/", page.form(event_id="0", confirm="1"))

    assert done.status == 409
    assert "changed since the preview" in done.text
    assert Instance.objects.count() == 1
    again = site.post("order_2F1/do/rerun/", done.form(confirm="1"))
    assert again.status == 302


@pytest.mark.parametrize(
    ("verb", "changed"),
    [("rewind", {}), ("restart", {}), ("rerun", {"event_id": "1"}), ("purge", {})],
)
def test_a_form_that_is_sent_twice_does_it_once(site, failed, verb, changed):
    page = site.page("order/1", f"do/{verb}/", **changed)
    first = site.post(f"order_2F1/do/{verb}/", page.form(confirm="1"))
    assert first.status == 302
    count = Operation.objects.filter(verb=verb, dry_run=False).count()

    second = site.post(f"order_2F1/do/{verb}/", page.form(confirm="1"))

    assert second.status == 302
    if verb != "purge":
        assert second.response["Location"] == first.response["Location"]
    assert Operation.objects.filter(verb=verb, dry_run=False).count() == count == 1


def test_a_signal_that_is_sent_twice_comes_once(site, engine, waiting):
    page = site.page("talk", "do/signal/", name="go")
    looked = site.post("talk/do/signal/", page.form(name="go", payload='{"by": "Ada"}', preview="1"))
    assert "Nothing speaks against it" in looked.text

    for _ in range(2):
        assert site.post("talk/do/signal/", looked.form(confirm="1")).status == 302
    engine.run_until_quiet()

    assert waiting.result() == {"by": "Ada"}
    assert [item.kind for item in waiting.history()].count("SignalReceived") == 1


def test_somebody_elses_form_is_another_one(site, staff, engine, waiting):
    page = site.page("talk", "do/signal/", name="go")
    other = Site(staff("view_instance", "operate_instance", name="bob"))

    site.post("talk/do/signal/", page.form(confirm="1"))
    other.post("talk/do/signal/", page.form(confirm="1"))
    engine.run_until_quiet()

    assert Operation.objects.filter(verb="signal", outcome="done").count() == 2


@pytest.mark.parametrize("verb", ["rewind", "rerun", "restart", "purge"])
def test_what_moved_on_is_looked_at_again(site, failed, verb):
    page = site.page("order/1", f"do/{verb}/", event_id=1)
    Instance.objects.filter(pk="order/1").update(head=7)

    done = site.post(f"order_2F1/do/{verb}/", page.form(confirm="1"))

    assert done.status == 409
    assert "moved on since you looked" in done.text
    assert not Operation.objects.filter(verb=verb, outcome="done", dry_run=False).exists()
    assert done.fields["seen"].endswith("-7")
    assert Instance.objects.filter(pk="order/1").exists()


def test_a_form_that_was_refused_can_be_sent_again(site, failed):
    form = site.page("order/1", "do/rewind/").form(confirm="1")
    Instance.objects.filter(pk="order/1").update(head=7)
    assert site.post("order_2F1/do/rewind/", form).status == 409
    Instance.objects.filter(pk="order/1").update(head=6)

    assert site.post("order_2F1/do/rewind/", form).status == 302
    assert failed.status == "running"


def test_a_running_instance_may_move_on_between(site, waiting):
    page = site.page("talk", "do/suspend/")
    Instance.objects.filter(pk="talk").update(head=9)

    assert site.post("talk/do/suspend/", page.form(confirm="1")).status == 302


def test_what_was_purged_between_is_said_to_be_gone(site, failed):
    page = site.page("order/1", "do/rewind/")
    client.purge("order/1")

    done = site.get(site.post("order_2F1/do/rewind/", page.form(confirm="1")).response["Location"])

    assert "There is no instance" in done.text


@pytest.mark.parametrize(
    ("verb", "status", "advice"),
    [
        ("rewind", "running", "do/cancel/"),
        ("rerun", "running", "do/terminate/"),
        ("restart", "suspended", "do/cancel/"),
        ("purge", "running", "do/terminate/"),
        ("cancel", "completed", "do/restart/"),
        ("signal", "failed", "do/rewind/"),
        ("suspend", "terminated", "do/restart/"),
        ("resume", "completed", "do/restart/"),
        ("terminate", "completed", "do/restart/"),
        ("recover", "completed", "do/restart/"),
        ("rewind", "completed", "do/rerun/"),
    ],
)
def test_a_refusal_says_what_to_do_instead(site, fresh, db, verb, status, advice):
    @workflow.defn
    async def order() -> None: ...

    InstanceFactory(id="it", name="order", status=status)

    page = site.page("it", f"do/{verb}/", event_id=0, name="go")

    assert "It is refused" in page.text
    assert any(f"/it/{advice}" in link for link in page.links), page.links
    assert 'name="confirm"' not in page.text


def test_an_upgrade_that_does_not_fit_offers_the_place_for_a_rerun(site, engine, fresh):
    @activity.defn
    def a() -> int:
        return 1

    @activity.defn
    def b() -> int:
        return 2

    @workflow.defn
    async def order() -> None:
        await a()
        await a()
        await workflow.wait_signal("go")

    @workflow.defn
    async def order2() -> None:
        await a()
        await b()

    order.options(id="old").start()
    engine.run_until_quiet()

    page = site.page("old", "do/upgrade/")

    assert "history has ActivityScheduled(a)" in page.text
    assert any("do/rerun/?event_id=0" in link for link in page.links), page.links


def test_an_upgrade_that_fits(site, engine, fresh):
    @workflow.defn
    async def order() -> None:
        await workflow.wait_signal("go")

    @workflow.defn
    async def order2() -> str:
        await workflow.wait_signal("go")
        return "new"

    handle = order.options(id="old").start()
    engine.run_until_quiet()

    assert "on version 2" in site.page("old", "do/upgrade/").text
    site.do("old", "upgrade", to="2")

    assert handle.instance.version == 2


def test_suspend_resume_cancel_terminate_and_recover(site, engine, talk):
    handle = talk.options(id="talk").start("hush")
    engine.run_until_quiet()

    assert site.do("talk", "suspend", reason="wait").status == 302
    assert handle.status == "suspended"
    assert site.do("talk", "resume").status == 302
    assert handle.status == "running"
    assert site.do("talk", "recover").status == 302
    assert "It is well" in site.page("talk").text
    assert site.do("talk", "cancel").status == 302
    engine.run_until_quiet()
    assert handle.status == "canceled"
    again = talk.options(id="again").start("hush")
    assert site.do("again", "terminate").status == 302
    assert again.status == "terminated"


def test_a_restart_and_one_that_terminates_first(site, engine, failed, waiting, bank):
    site.do("order/1", "restart", new_instance_id="anew")
    site.do("talk", "restart", new_instance_id="talk2", terminate_first="on")
    engine.run_until_quiet()

    assert client.get("anew").result() == "receipt 1"
    assert waiting.status == "terminated"
    assert client.get("talk2").status == "running"


def test_a_restore_takes_a_rewind_back(site, engine, failed, bank):
    first = failed.instance.execution_id
    failed.rewind()

    link = f"/admin/durable/instance/order_2F1/do/restore/?execution={first}"
    assert link in site.page("order/1").links
    done = site.post("order_2F1/do/restore/", site.get(link).form(confirm="1"))

    assert done.status == 302
    assert failed.status == "failed"


def test_a_restore_that_would_lose_work_says_what(site, engine, failed, bank):
    first = failed.instance.execution_id
    failed.rewind()
    engine.run_until_quiet()

    page = site.get(f"/admin/durable/instance/order_2F1/do/restore/?execution={first}")

    assert "without losing" in page.text
    assert any("do/rewind/" in link for link in page.links)


def test_a_purge_leads_to_the_list_and_leaves_the_audit(site, failed):
    done = site.do("order/1", "purge", reason="asked to be forgotten")

    assert done.response["Location"] == "/admin/durable/instance/"
    assert not Instance.objects.filter(pk="order/1").exists()
    assert operation("purge").reason == "asked to be forgotten"
    assert "order/1 and all its rows are deleted" in site.get("").text
    assert "order/1" in site.get("/admin/durable/operation/").text


def test_children_are_in_the_preview(site, fresh, db):
    @workflow.defn
    async def order() -> None: ...

    InstanceFactory(id="top", name="order", history=history_of("order").child("order", id="below", waiting=True))

    page = site.page("top", "do/terminate/")

    assert "Children that are touched" in page.text
    assert "below" in page.text


def test_posts_need_the_token_of_the_form(site, failed):
    site.client.handler.enforce_csrf_checks = True

    for path in ("order_2F1/do/purge/", "batch/", "order_2F1/report/"):
        given = {"confirm": "1", "verb": "purge", "id": "order/1"}
        assert site.client.post(site.address(path), given).status_code == 403
    assert Instance.objects.count() == 1


def test_a_rerun_without_an_activity_lets_one_be_chosen(site, failed):
    page = site.page("order/1", "do/rerun/")

    choices = [link for link in page.links if "event_id=" in link]
    assert choices == [f"/admin/durable/instance/order_2F1/do/rerun/?event_id={n}" for n in (0, 1)]
    assert 'name="confirm"' not in page.text
    assert "reserve" in site.get(choices[0]).text
    assert json.loads(site.get(choices[0]).fields["input"]) == {"args": [1], "kwargs": {}}


def test_input_that_was_not_changed_stays_as_it_was_recorded(site, failed, bank):
    site.do("order/1", "rerun", query={"event_id": 1}, reason="again")
    site.do("order/1", "rerun", query={"event_id": 1}, input='{"args": [2], "kwargs": {}}')

    unchanged, changed = Operation.objects.filter(verb="rerun", dry_run=False).order_by("pk")
    assert "input" not in unchanged.arguments
    assert changed.arguments["input"] == "***"


def test_a_rerun_of_an_earlier_execution_stays_there(site, engine, failed, bank):
    first = str(failed.instance.execution_id)
    failed.rewind()
    engine.run_until_quiet()
    link = next(link for link in site.page("order/1", execution=first).links if "do/rerun/?event_id=0" in link)

    done = site.post(link.partition("?")[0], site.get(link).form(confirm="1"))

    assert first in link
    assert done.status == 302
    assert Operation.objects.get(verb="rerun", dry_run=False).arguments["execution"] == first


@pytest.fixture
def desk(fresh, engine):
    """An instance with an update that minds what it is told."""

    @workflow.defn
    async def desk() -> list[str]:
        said: list[str] = []

        def polite(line: str, times: int = 1) -> None:
            if "!" in line:
                raise ValueError("do not shout")

        @workflow.update(validator=polite)
        def say(line: str, times: int = 1) -> int:
            said.extend([line] * times)
            return len(said)

        await workflow.wait_signal("close")
        return said

    handle = desk.options(id="desk").start()
    engine.run_until_quiet()
    return handle


def test_an_update_is_asked_for_and_its_outcome_is_on_the_page(site, engine, desk):
    form = site.page("desk", "do/update/")
    assert "say" in form.text
    assert "(line: str, times: int = 1) -&gt; int" in form.text.replace("&#x27;", "")
    assert any(link.endswith("do/update/?name=say") for link in form.links)

    given = json.dumps({"args": ["hello"], "kwargs": {"times": 2}})
    done = site.do("desk", "update", name="say", input=given, reason="asked by phone")

    assert done.response["Location"] == "/admin/durable/instance/desk/change/#updates"
    state = json.loads(site.page("desk", "live/").text)["state"]
    assert client.history("desk")[-1].kind != "UpdateCompleted"
    engine.run_until_quiet()
    page = site.page("desk")
    assert json.loads(site.page("desk", "live/").text)["state"] != state
    assert 'data-label="Outcome" class="durable-id" translate="no">2<' in page.text
    row = operation("update")
    assert (row.reason, row.actor, row.outcome) == ("asked by phone", site.user, "done")
    client.signal("desk", "close")
    engine.run_until_quiet()
    assert desk.result() == ["hello", "hello"]


def test_the_only_argument_of_an_update_needs_no_braces(site, engine, desk):
    site.do("desk", "update", name="say", input='"hello"')
    client.signal("desk", "close")
    engine.run_until_quiet()

    assert desk.result() == ["hello"]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"input": '"hush!"'}, "do not shout"),
        ({"input": "7"}, "expected str, got int"),
        ({"input": ""}, "missing a required argument"),
        ({"input": '{"args": ["a"], "kwargs": {"louder": 1}}'}, "unexpected keyword argument"),
        ({"input": "{"}, "This is no JSON"),
        ({"input": '{"args": "a", "kwargs": {}}'}, "args must be a list"),
        ({"update_id": ""}, "errorlist"),
        ({"name": ""}, "errorlist"),
        ({"name": "a\0"}, "errorlist"),
    ],
    ids=str,
)
def test_an_update_that_does_not_fit_is_refused_before_it_is_asked(site, desk, changed, problem):
    page = site.page("desk", "do/update/")
    looked = site.post("desk/do/update/", page.form(**{"name": "say", "input": '"a"', **changed, "preview": "1"}))

    assert problem in looked.text
    assert 'name="confirm"' not in looked.text
    assert not Update.objects.exists()


def test_an_update_that_is_not_there_yet_waits(site, desk):
    page = site.page("desk", "do/update/")
    looked = site.post("desk/do/update/", page.form(name="shut", preview="1"))

    assert "the update waits until it has" in looked.text
    assert 'name="confirm"' in looked.text


def test_an_update_of_what_has_ended_is_refused(site, engine, failed):
    looked = site.page("order/1", "do/update/", name="say", input='"a"')

    assert "is failed" in looked.text
    assert 'name="confirm"' not in looked.text


def test_what_came_of_an_update_is_hidden_from_those_who_see_no_payloads(staff, engine, desk):
    site = Site(staff("view_instance", "operate_instance"))
    looked = site.post(
        "desk/do/update/", site.page("desk", "do/update/").form(name="say", input='"hush!"', preview="1")
    )
    assert "shout" not in looked.text
    site.do("desk", "update", name="say", input='"hello"')
    engine.run_until_quiet()

    assert 'data-label="Outcome" class="durable-id" translate="no"><' in site.page("desk").text


def test_a_preview_is_drawn_in_the_colours_of_what_would_become_of_each_step(site, failed):
    page = site.page("order/1", "do/rewind/")

    assert page.text.count("durable-bar durable-fate-kept") == 2  # in the legend, and reserve
    assert page.text.count("durable-bar durable-fate-rerun") == 2
    assert "durable-fate-dropped" not in page.text
    assert any(link.startswith("/admin/durable/instance/order_2F1/change/?after=") for link in page.links)
    assert "durable-legend" not in site.page("order/1", "do/purge/").text


def test_a_rerun_of_what_is_open_says_why_not_and_what_to_do(site, engine, fresh):
    @activity.defn
    def look_up() -> None: ...

    @workflow.defn
    async def slow() -> None:
        await look_up()
        await workflow.wait_signal("go")

    slow.options(id="slow").start()
    engine.run_until_quiet()
    (link,) = [link for link in site.page("slow").links if "do/rerun/?event_id=0" in link]

    page = site.get(link)

    assert "It is refused" in page.text
    assert "/admin/durable/instance/slow/do/cancel/" in page.links
    assert 'name="confirm"' not in page.text
