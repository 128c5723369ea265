"""What several servers do with requests that come at one moment: processes of their own, on one database."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from unittest import mock

import pytest

from durable import activity, workflow
from durable.api import verbs
from durable.models import Answer, Execution, HistoryEvent, InboxEvent, Instance, Operation
from durable.operations import rewind
from durable.store import answers, clock
from tests.admin.conftest import Site, staff
from tests.api.conftest import EVERY, Api
from tests.api.test_reading import problem
from tests.forks import Mark, Process, together

__all__ = ["staff"]

MANY = 4
START = {"workflow": "flow", "args": [1]}


class Answered:
    """What a request was answered, as a process can tell another one."""

    def __init__(self, response: Any) -> None:
        self.status_code, self.headers = response.status_code, dict(response.headers)
        self._json = response.json() if "json" in self.headers.get("Content-Type", "") else None

    def json(self) -> Any:
        return self._json

    @property
    def is_again(self) -> bool:
        """Whether it is an answer that was given before."""
        return "Idempotent-Replayed" in self.headers


def ask(api: Api, path: str, body: Any, **headers: str) -> Callable[[], Answered]:
    return lambda: Answered(api.post(path, body, **headers))


def statuses(found: list[Any]) -> Counter[int]:
    assert not [each for each in found if isinstance(each, Exception)], found
    return Counter(each.status_code for each in found)


def slow(function: Callable[..., Any], begun: Mark | None = None) -> Callable[..., Any]:
    """Return a function that takes long enough for others to come, and tells them when it begins."""

    def slowly(*args: Any, **options: Any) -> Any:
        if begun is not None:
            begun.say()
        time.sleep(0.3)
        return function(*args, **options)

    return slowly


@pytest.fixture
def api(someone, committing):
    return Api(someone(*EVERY))


# --- one key


def test_one_key_starts_one_instance(api, flow, monkeypatch):
    monkeypatch.setattr(verbs, "start", slow(verbs.start))
    found = together(*[ask(api, "instances/", START, Idempotency_Key="k")] * 8)

    assert statuses(found) == {201: 8}
    assert len({each.json()["id"] for each in found}) == 1
    assert sum(each.is_again for each in found) == 8 - 1
    assert Instance.objects.count() == Operation.objects.count() == 1


def test_one_key_sends_one_signal(api, committing, waiting):
    found = together(*[ask(api, "instances/talk/signal/", {"name": "x"}, Idempotency_Key="k")] * MANY)

    assert statuses(found) == {200: MANY}
    committing.run_until_quiet()
    assert HistoryEvent.objects.filter(kind="SignalReceived").count() == Operation.objects.count() == 1


def test_one_key_is_an_update_once(api, committing, waiting):
    body = {"name": "say", "args": ["hello"], "timeout": 0}
    found = together(*[ask(api, "instances/talk/update/", body, Idempotency_Key="k")] * MANY)

    assert statuses(found) == {202: MANY}
    assert len({each.json()["update_id"] for each in found}) == 1
    committing.run_until_quiet()
    assert HistoryEvent.objects.filter(kind="UpdateCompleted").count() == 1
    assert api.post("instances/talk/update/", body, Idempotency_Key="k").json()["value"] == 2


def test_one_key_has_one_first_answer_be_it_a_refusal(api, committing, failed):
    found = together(*[ask(api, "instances/order%2F1/resume/", {}, Idempotency_Key="k")] * MANY)

    assert statuses(found) == {409: MANY}
    assert {problem(each, 409, "not_open")["detail"] for each in found} == {found[0].json()["detail"]}
    assert sum(each.is_again for each in found) == MANY - 1
    assert Operation.objects.count() == 1, "the refusal is audited, once"


def test_one_key_and_what_may_be_there_tomorrow(api, flow):
    found = together(*[ask(api, "instances/none/cancel/", {}, Idempotency_Key="k")] * MANY)

    assert statuses(found) == {404: MANY}
    assert not any(each.is_again for each in found)
    assert not Answer.objects.exists()


def test_one_key_with_two_bodies_is_one_of_them(api, flow):
    bodies = [START, {**START, "args": [2]}]
    found = together(*[ask(api, "instances/", body, Idempotency_Key="k") for body in bodies * (MANY // 2)])

    assert statuses(found) == {201: MANY // 2, 422: MANY // 2}
    assert len({each.json()["id"] for each in found if each.status_code == 201}) == 1
    (instance,) = Instance.objects.all()
    winners = {at % 2 for at, each in enumerate(found) if each.status_code == 201}
    assert winners == {instance.input["args"][0] - 1}


def test_one_key_of_two_users_is_two(api, someone, flow):
    other = Api(someone(*EVERY, name="bob"))
    found = together(*[ask(each, "instances/", START, Idempotency_Key="k") for each in [api, other] * (MANY // 2)])

    assert statuses(found) == {201: MANY}
    assert Instance.objects.count() == 2
    for mine in (found[::2], found[1::2]):
        assert len({each.json()["id"] for each in mine}) == 1
    assert sorted(Operation.objects.values_list("actor_name", flat=True)) == ["ada", "bob"]


def test_one_key_that_is_too_old_is_a_new_one_once(api, flow):
    first = api.post("instances/", START, Idempotency_Key="k").json()["id"]
    Answer.objects.update(created_at=clock.now() - answers.KEPT - timedelta(seconds=1))

    found = together(*[ask(api, "instances/", START, Idempotency_Key="k")] * MANY)

    assert statuses(found) == {201: MANY}
    (anew,) = {each.json()["id"] for each in found}
    assert anew != first
    assert Instance.objects.count() == 2


def test_server_that_is_killed_leaves_neither_the_work_nor_the_key(api, flow):
    mark, start = Mark(), verbs.start

    def halted(*args: Any, **options: Any) -> None:
        start(*args, **options)
        mark.halt()

    def ask_halted() -> None:
        with mock.patch.object(verbs, "start", halted):
            api.post("instances/", START, Idempotency_Key="k")

    killed = Process(ask_halted).let_go()
    mark.wait()
    others = [Process(ask(api, "instances/", START, Idempotency_Key="k")) for _ in range(3)]
    for other in others:
        other.let_go()
    killed.kill()

    found = [other.result() for other in others]
    assert statuses(found) == {201: 3}
    assert len({each.json()["id"] for each in found}) == 1
    assert sorted(each.is_again for each in found) == [False, True, True]
    assert Instance.objects.count() == Operation.objects.count() == 1


def test_one_key_completes_an_activity_once(api, committing, fresh):
    tokens = []

    @activity.defn
    def sign() -> str:
        tokens.append(activity.complete_later())
        return ""

    @workflow.defn
    async def contract() -> str:
        return await sign()

    handle = contract.start()
    committing.run_until_quiet()
    body = {"token": tokens[0], "result": "signed"}

    found = together(
        *[ask(api, "activities/complete/", body, Idempotency_Key="k")] * (MANY // 2),
        *[ask(api, "activities/complete/", body, Idempotency_Key=f"other {n}") for n in range(MANY // 2)],
    )

    assert statuses(found) in ({200: MANY // 2, 404: MANY // 2}, {200: 1, 404: MANY - 1})
    committing.run_until_quiet()
    assert handle.result(timeout=0) == "signed"
    assert HistoryEvent.objects.filter(kind="ActivityCompleted").count() == 1
    assert [row.outcome for row in Operation.objects.all()].count("done") == 1


# --- a key each


def test_keys_of_their_own_start_instances_of_their_own(api, flow):
    found = together(*[ask(api, "instances/", START, Idempotency_Key=f"k{n}") for n in range(MANY)])

    assert statuses(found) == {201: MANY}
    assert Instance.objects.count() == len({each.json()["id"] for each in found}) == MANY


def test_one_of_many_gets_an_id_and_the_others_keep_their_refusals(api, flow):
    asked = [ask(api, "instances/", {**START, "id": "it"}, Idempotency_Key=f"k{n}") for n in range(MANY)]
    found = together(*asked)

    assert statuses(found) == {201: 1, 409: MANY - 1}
    assert {each.json()["code"] for each in found if each.status_code == 409} == {"already_exists"}
    again = [each() for each in asked]
    assert [each.json() for each in again] == [each.json() for each in found]
    assert all(each.is_again for each in again)


# --- what they saw


def test_of_many_that_saw_the_same_one_rewinds(api, failed):
    etag = api.get("instances/order%2F1/").headers["ETag"]
    found = together(*[ask(api, "instances/order%2F1/rewind/", {"reason": "up"}, If_Match=etag)] * 8)

    assert statuses(found) == {200: 1, 409: 8 - 1}
    (won,) = [each for each in found if each.status_code == 200]
    now = failed.instance
    for each in found:
        if each is not won:
            told = problem(each, 409, "concurrency_conflict")
            assert told["facts"] == {"head": now.head, "etag": won.headers["ETag"]}
            assert each.headers["ETag"] == won.headers["ETag"] != etag
    assert (now.executions.count(), Execution.objects.filter(origin="rewind").count()) == (2, 1)
    assert api.get("instances/order%2F1/").headers["ETag"] == won.headers["ETag"]


def rewinding_before(call: Callable[[], Any], other: Callable[[], Any], monkeypatch: Any) -> list[Any]:
    """Make two calls that rewind, the second when the first has found that all is as it saw it."""
    begun = Mark()
    with monkeypatch.context() as patched:
        patched.setattr(rewind, "plan", slow(rewind.plan, begun))
        first = Process(call).let_go()
    second = Process(other)
    begun.wait()
    second.let_go()
    return [first.result(), second.result()]


def test_nobody_comes_between_what_a_program_saw_and_what_it_does(api, failed, monkeypatch):
    etag = api.get("instances/order%2F1/").headers["ETag"]
    asking = ask(api, "instances/order%2F1/rewind/", {}, If_Match=etag)

    first, second = rewinding_before(asking, asking, monkeypatch)

    assert first.status_code == 200
    assert problem(second, 409, "concurrency_conflict")["facts"]["etag"] == first.headers["ETag"]


def test_nobody_comes_between_a_preview_and_what_is_done(api, staff, failed, monkeypatch):
    eva, bob = (Site(staff(*EVERY, name=name)) for name in ("eva", "bob"))
    form, other = (site.page("order/1", "do/rewind/").form(confirm="1", reason="") for site in (eva, bob))

    def press(site: Site, form: dict[str, Any]) -> tuple[int, bool]:
        page = site.post("order_2F1/do/rewind/", form)
        return page.status, "It moved on since you looked" in page.text

    assert rewinding_before(partial(press, eva, form), partial(press, bob, other), monkeypatch) == [
        (302, False),
        (409, True),
    ]


def test_of_many_forms_that_show_the_same_preview_one_is_done(committing, staff, failed):
    sites = [Site(staff(*EVERY, name=f"user {n}")) for n in range(4)]
    forms = [site.page("order/1", "do/rewind/").form(confirm="1", reason="") for site in sites]

    def press(site: Site, form: dict[str, Any]) -> tuple[int, str]:
        page = site.post("order_2F1/do/rewind/", form)
        return page.status, page.text

    found = together(*[partial(press, site, form) for site, form in zip(sites, forms, strict=True)])

    assert sorted(status for status, _ in found) == [302, 409, 409, 409], found
    assert all("It moved on since you looked" in text for status, text in found if status == 409)
    assert failed.instance.executions.count() == 2
    assert list(Operation.objects.filter(outcome="done").values_list("verb", flat=True)) == ["rewind"]


def test_a_form_and_a_program_that_saw_the_same_do_it_once(api, staff, failed):
    site = Site(staff(*EVERY, name="eva"))
    form = site.page("order/1", "do/rewind/").form(confirm="1", reason="")
    etag = api.get("instances/order%2F1/").headers["ETag"]

    by_form, by_program = together(
        lambda: site.post("order_2F1/do/rewind/", form).status,
        ask(api, "instances/order%2F1/rewind/", {}, If_Match=etag),
    )

    assert (by_form, by_program.status_code) in ((302, 409), (409, 200))
    assert failed.instance.executions.count() == 2


def test_of_two_that_upgrade_without_a_look_the_second_learns_of_the_first(api, committing, fresh):
    async def body() -> None:
        await workflow.wait_signal("go")

    workflow.defn(name="order")(body).options(id="it").start()
    committing.run_until_quiet()
    workflow.defn(name="order2")(body)

    found = together(*[ask(api, "instances/it/upgrade/", {})] * 4)

    (won,) = [each for each in found if each.status_code == 200]
    for lost in (each for each in found if each is not won):
        if lost.status_code == 409:
            told = problem(lost, 409, "concurrency_conflict")
            assert told["facts"]["etag"] == lost.headers["ETag"] == won.headers["ETag"]
        else:  # it came when the other one was done
            problem(lost, 400, "invalid_input")
    assert not InboxEvent.objects.exists()
