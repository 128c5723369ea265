"""What this process can run, and the form that starts it."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

import pytest
from django.db import transaction

from durable import RetryPolicy, activity, client, registry, workflow
from durable.core.errors import InvalidInput
from durable.models import Instance, Operation
from durable.store import workers
from tests import sampling
from tests.admin.conftest import Site
from tests.admin.test_bad_forms import VALUES, WORST, sent


class Size(Enum):
    SMALL = 1
    LARGE = 2


@dataclass
class Line:
    sku: str
    count: int


@pytest.fixture
def everything(fresh):
    """A workflow with a parameter of each kind."""

    @workflow.defn
    async def everything(
        number: int,
        text: str,
        price: Decimal,
        day: dt.date,
        moment: dt.datetime,
        size: Size,
        speed: Literal["fast", "slow"],
        line: Line,
        *,
        share: float = 0.5,
        urgent: bool = False,
        note: str | None = None,
        limit: int | None = 3,
        anything: Any = None,
    ) -> str:
        """Take all there is.

        And more of it.
        """
        return text

    return everything


FILLED = {
    "argument.number": "7",
    "argument.text": " Ada\r\nKing ",
    "argument.price": "9.90",
    "argument.day": "2026-03-01",
    "argument.moment": "2026-03-01T12:30:00",
    "argument.size": "LARGE",
    "argument.speed": "1",
    "argument.line": '{"sku": "A", "count": 2}',
}
GIVEN = [
    *(7, " Ada\nKing ", "9.90", "2026-03-01", "2026-03-01T12:30:00+00:00", 2, "slow"),
    {"sku": "A", "count": 2},
]


def form_of(page):
    """Return what a page's form would send."""
    return {name: value for name, value in page.fields.items() if name != "q"}


def begin(site: Site, name: str, **changed: Any) -> Any:
    """Open the form, fill it in, look at what would come of it, and confirm."""
    path = f"definitions/{name}/start/"
    form = site.get(path)
    assert form.status == 200
    looked = site.post(path, {**form_of(form), **changed, "preview": "1"})
    return site.post(path, {**form_of(looked), "confirm": "1"}) if 'name="confirm"' in looked.text else looked


def start(site: Site, name: str, id: str = "it", **changed: Any) -> Any:
    return begin(site, name, id=id, **changed)


def test_it_lists_what_can_be_run_and_how(site, everything):
    @activity.defn(retry=RetryPolicy(max_attempts=2), start_to_close=90)
    def weigh(line: Line, precise: bool = True) -> float:
        """Weigh a line."""
        return 0.0

    page = site.get("definitions/")

    assert "Take all there is." in page.text
    assert "And more of it." in page.text
    assert "(line: Line, precise: bool = True) -&gt; float" in page.text
    assert "Weigh a line." in page.text
    assert "attempts: 2" in page.text
    assert "an attempt ends within 90 s" in page.text
    assert "test_definitions.py:" in page.text
    assert "durable.batch" not in page.text
    assert "/admin/durable/instance/definitions/everything/start/" in page.links


def test_it_teaches_those_who_have_nothing_to_run(site, fresh, monkeypatch):
    for known in ("_workflows", "_activities"):  # whatever test modules define as they are imported
        monkeypatch.setattr(registry, known, {})
    assert "@workflow.defn" in site.get("definitions/").text


def test_a_start_takes_typed_values(site, engine, everything):
    page = start(site, "everything", queue="slow", tags="vip=true\ncustomer = Ada\nn=42\n", reason="asked", **FILLED)

    assert page.status == 302, page.text
    assert page.response["Location"] == "/admin/durable/instance/it/change/"
    found = client.get("it").instance
    assert found.input == {"args": GIVEN, "kwargs": {}}
    assert (found.queue, found.tags) == ("slow", {"vip": True, "customer": "Ada", "n": 42})
    row = Operation.objects.get(verb="start")
    assert (row.actor, row.reason, row.outcome, row.dry_run) == (site.user, "asked", "done", False)
    assert "is started" in site.get(page.response["Location"]).text


def test_what_is_not_left_as_it_is_is_passed_by_name(site, everything):
    start(
        site,
        "everything",
        **FILLED,
        **{
            "argument.share": "0.75",
            "argument.urgent": "on",
            "argument.note": "so",
            "argument.limit": "",
            "argument.anything": "[1]",
        },
    )

    named = {"share": 0.75, "urgent": True, "note": "so", "limit": None, "anything": [1]}
    assert client.get("it").instance.input == {"args": GIVEN, "kwargs": named}


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("number", "", "This field is required"),
        ("number", "seven", "Enter a whole number"),
        ("price", "NaN", "Enter a number"),
        ("day", "2026-13-01", "Enter a valid date"),
        ("size", "MEDIUM", "Select a valid choice"),
        ("speed", "", "This field is required"),
        ("line", "", "This field is required"),
        ("line", "{", "This is no JSON"),
        ("line", "7", "expected object, got int"),
        ("line", '{"sku": "A", "count": "x"}', ".count: expected int, got str"),
        ("share", "x", "Enter a number"),
        ("share", "", "This field is required"),
    ],
)
def test_what_does_not_fit_a_parameter_is_told_beside_it(site, everything, name, value, problem):
    page = start(site, "everything", **{**FILLED, f"argument.{name}": value})

    assert page.status == 400
    assert problem in page.text
    assert not Instance.objects.exists()


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"id": ""}, "This field is required"),
        ({"id": "a\nb"}, "It is refused"),
        ({"id": "x" * 256}, "at most 255"),
        ({"queue": "x" * 101}, "at most 100"),
        ({"tags": "vip"}, "one a line"),
        ({"tags": "\n".join(f"t{n}=1" for n in range(300))}, "It is refused"),
        ({"reason": "r" * 1001}, "at most 1000"),
        ({"reason": "nul\0"}, "Null characters"),
    ],
    ids=["id-missing", "id-unfit", "id-long", "queue-long", "tag-unfit", "tags-many", "reason-long", "reason-nul"],
)
def test_what_a_start_cannot_take_is_refused(site, everything, changed, problem):
    page = begin(site, "everything", **{"id": "it", **FILLED, **changed})

    assert problem in page.text
    assert not Instance.objects.exists()


def test_fields_of_all_kinds_take_or_refuse_whatever_is_sent(site, everything):
    for field, kind in sampling.cells((*FILLED, "argument.share", "argument.anything"), VALUES, always=WORST):
        with transaction.atomic():
            page = begin(site, "everything", **{"id": "it", **FILLED, field: sent(VALUES[kind])})
            assert page.status in (200, 302, 400), (field, kind, page.status)
            assert Instance.objects.exists() == (page.status == 302)
            transaction.set_rollback(True)


def test_to_look_starts_nothing_and_is_no_act(site, everything):
    site.get("definitions/")
    page = site.get("definitions/everything/start/")
    site.post("definitions/everything/start/", {**form_of(page), **FILLED, "id": "it", "preview": "1"})

    assert not Instance.objects.exists()
    assert not Operation.objects.exists()


def test_a_workflow_that_needs_nothing_is_ready_to_start(site, fresh):
    @workflow.defn
    async def tidy(days: int = 30, *, dry: bool = True) -> None: ...

    page = site.get("definitions/tidy/start/")
    assert "What would come of it" in page.text
    assert (page.fields["argument.days"], page.fields["argument.dry"]) == ("30", "on")
    done = site.post("definitions/tidy/start/", {**form_of(page), "confirm": "1"})

    assert done.status == 302
    assert client.get(page.fields["id"]).instance.input == {"args": [], "kwargs": {}}


def test_what_is_confirmed_is_what_was_looked_at(site, everything):
    path = "definitions/everything/start/"
    looked = site.post(path, {**form_of(site.get(path)), **FILLED, "id": "it", "preview": "1"})

    other = site.post(path, {**form_of(looked), "argument.number": "8", "id": "it", "confirm": "1"})

    assert other.status == 409
    assert "changed since the preview" in other.text
    assert not Instance.objects.exists()


def test_a_form_that_is_sent_twice_starts_one(site, everything):
    path = "definitions/everything/start/"
    looked = site.post(path, {**form_of(site.get(path)), **FILLED, "id": "it", "preview": "1"})
    sent = {**form_of(looked), "id": "it", "confirm": "1"}

    first, second = site.post(path, sent), site.post(path, sent)

    assert first.response["Location"] == second.response["Location"]
    assert Instance.objects.count() == 1
    assert Operation.objects.filter(verb="start").count() == 1


def test_an_id_that_is_taken_leads_to_who_has_it(site, everything):
    start(site, "everything", **FILLED)

    again = start(site, "everything", **FILLED)

    assert "It is refused" in again.text
    assert "/admin/durable/instance/it/change/" in again.links


def test_it_says_when_nobody_serves_the_queue(site, everything):
    path = "definitions/everything/start/"
    filled = {**form_of(site.get(path)), **FILLED, "id": "it", "preview": "1", "queue": "slow"}
    workers.sweep(["default"])
    workers.beat(["default"])

    assert "No worker that is alive serves this queue" in site.post(path, filled).text
    assert "No worker that is alive" not in site.post(path, {**filled, "queue": ""}).text


@pytest.mark.parametrize(
    ("filled", "expected"),
    [
        ({"a": "1"}, {"args": [1], "kwargs": {}}),
        ({"a": "1", "b": "5"}, {"args": [1, 5], "kwargs": {}}),
        ({"a": "1", "c": "5"}, {"args": [1], "kwargs": {"c": 5}}),
        ({"a": "1", "rest": "[8, 9]"}, {"args": [1, 2, 3, 8, 9], "kwargs": {}}),
        ({"a": "1", "others": '{"x": "y"}'}, {"args": [1], "kwargs": {"x": "y"}}),
        ({"a": "1", "b": "4", "d": "6"}, {"args": [1, 4], "kwargs": {"d": 6}}),
    ],
    ids=str,
)
def test_arguments_are_passed_as_a_call_would(site, fresh, filled, expected):
    @workflow.defn
    async def call(a: int, /, b: int = 2, c: int = 3, *rest: int, d: int = 4, **others: str) -> None: ...

    page = start(site, "call", **{f"argument.{name}": value for name, value in filled.items()})

    assert page.status == 302, page.text
    assert client.get("it").instance.input == expected


@pytest.mark.parametrize(
    ("filled", "problem"),
    [
        ({"rest": "1"}, "give a list"),
        ({"rest": '["x"]'}, "expected int, got str"),
        ({"others": "[]"}, "give an object"),
        ({"others": '{"x": 1}'}, "expected str, got int"),
    ],
    ids=str,
)
def test_what_does_not_fit_the_rest_is_told(site, fresh, filled, problem):
    @workflow.defn
    async def call(*rest: int, **others: str) -> None: ...

    page = start(site, "call", **{f"argument.{name}": value for name, value in filled.items()})

    assert page.status == 400
    assert problem in page.text


def test_choices_and_defaults_of_every_kind_are_there_to_be_changed(site, fresh):
    @workflow.defn
    async def call(
        size: Size = Size.SMALL,
        mode: Literal["a", 1, True] = True,
        lines: list[Line] = (Line("x", 1),),  # type: ignore[assignment]  # noqa: B008
        sure: bool | None = None,
        strange: object = ...,
        wait: dt.timedelta = dt.timedelta(hours=1),
        at: dt.time = dt.time(9, 30),
    ) -> None: ...

    page = site.get("definitions/call/start/")

    shown = {name.removeprefix("argument."): value for name, value in page.fields.items()}
    assert (shown["size"], shown["mode"], shown["sure"], shown["strange"]) == ("SMALL", "2", "", "")
    assert json.loads(shown["lines"]) == [{"sku": "x", "count": 1}]
    assert (shown["wait"], shown["at"]) == ("01:00:00", "09:30:00")
    changed = {"argument.sure": "false", "argument.mode": "0", "argument.wait": "2:00", "argument.size": "LARGE"}
    start(site, "call", **changed)
    assert client.get("it").instance.input == {"args": [2, "a"], "kwargs": {"sure": False, "wait": "PT120S"}}


def test_what_nobody_knows_cannot_be_started(site, fresh):
    page = site.get("definitions/nothing/start/", follow=True)

    assert "nothing" in page.text
    assert page.response.request["PATH_INFO"] == "/admin/durable/instance/definitions/"


def test_a_batch_is_not_begun_by_telling_it_what_it_may(staff, fresh):
    site = Site(staff("view_instance", "operate_instance"))

    assert site.get("definitions/durable.batch/start/").status == 302
    order = {"verb": "terminate", "actor": None}
    with pytest.raises(InvalidInput, match="not to be started so"):
        client.start.__globals__["operate"]("durable.batch", [order, {}], {}, actor=site.user)
    assert Operation.objects.get(verb="start").outcome == "refused"
    assert not Instance.objects.exists()


@pytest.mark.parametrize("permissions", [("view_instance",), ("operate_instance",), ("repair_instance",)], ids=str)
def test_a_start_needs_to_see_and_to_operate(staff, everything, permissions):
    site = Site(staff(*permissions))

    assert site.get("definitions/everything/start/").status == 403
    assert not Operation.objects.exists()
    sent = {**FILLED, "id": "it", "confirm": "1"}
    assert site.post("definitions/everything/start/", sent).status == 403
    row = Operation.objects.get(verb="start")
    assert (row.outcome, row.instance_id, row.dry_run) == ("denied", "it", False)
    shown = site.get("definitions/")
    assert shown.status == (200 if "view_instance" in permissions else 403)
    assert not [link for link in shown.links if link.endswith("/start/")]
