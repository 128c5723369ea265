"""Server-sent events: what is sent of an instance, from where, to whom, and at what cost."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.asgi import get_asgi_application
from django.core.cache import cache
from django.db import connection
from django.test import AsyncRequestFactory

from durable import client, workflow
from durable.api import access, streaming
from durable.client import following, sending
from durable.client.following import Following, Place
from durable.models import HistoryEvent, Instance
from tests import driving
from tests.api.conftest import EVERY, Api
from tests.api.test_reading import problem

ORDER = "instances/order%2F1/events/"
TALK = "instances/talk/events/"


@dataclass(frozen=True)
class Sent:
    """An event of a stream."""

    name: str
    data: Any
    id: str = ""


def parsed(text: str) -> list[Sent]:
    """Return the events of a stream as a browser takes them."""
    found = []
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.split("\n") if line and line[0] != ":"]
        given = {name: value for name, _, value in lines}
        if "data" in given:
            found.append(Sent(given["event"], json.loads(given["data"]), given.get("id", "")))
    return found


def stream(api: Api, path: str, *, last: str = "", **query: Any) -> list[Sent]:
    """Ask for a stream and read it to its end."""
    headers = {"Last-Event-ID": last} if last else {}
    response = api.client.get(f"/api/v1/{path}", query or None, headers=headers)
    assert response.status_code == 200, response.content
    assert response.headers["Content-Type"] == "text/event-stream"
    return parsed(response.getvalue().decode())


def kinds(sent: list[Sent]) -> list[str]:
    return [event.data["kind"] for event in sent if event.name == "history"]


def ends(sent: list[Sent]) -> str:
    """Return why a stream ended; empty if whoever listens is to ask again."""
    return str(sent[-1].data["why"]) if sent and sent[-1].name == "end" else ""


# --- what is sent


def test_closed_instance_is_told_to_its_end(api, failed):
    sent = stream(api, ORDER)

    history = api.get("instances/order%2F1/history/").json()["results"]
    assert [event.data for event in sent if event.name == "history"] == history
    found = failed.instance
    assert [event.id for event in sent[:2]] == [f"{found.execution_id.hex}-1", f"{found.execution_id.hex}-2"]
    (state,) = [event.data for event in sent if event.name == "instance"]
    assert (state["status"], state["head"], state["execution"]) == ("failed", found.head, str(found.execution_id))
    assert [event.name for event in sent[-2:]] == ["instance", "end"]
    assert ends(sent) == "closed"


def test_open_instance_is_told_until_the_time_is_up(api, waiting):
    sent = stream(api, TALK, timeout=0)

    assert kinds(sent) == ["ExecutionStarted"]
    assert (sent[-1].name, sent[-1].data["status"]) == ("instance", "running")


def test_answer_says_that_nobody_may_hold_it_back(api, waiting, settings):
    settings.MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", *settings.MIDDLEWARE]

    response = api.client.get(f"/api/v1/{TALK}?timeout=0", headers={"Accept-Encoding": "gzip"})

    assert (response.headers["X-Accel-Buffering"], response.headers["Content-Encoding"]) == ("no", "identity")
    assert "no-transform" in response.headers["Cache-Control"]
    assert response.getvalue().startswith(b"retry: ")


def test_goes_on_behind_what_is_known(api, failed):
    whole = stream(api, ORDER)

    assert kinds(stream(api, ORDER, last=whole[2].id)) == kinds(whole)[3:]
    assert kinds(stream(api, ORDER, after=3)) == kinds(whole)[3:]
    assert kinds(stream(api, ORDER, last=whole[2].id, after=0)) == kinds(whole)[3:]


def test_goes_on_behind_an_etag(api, engine, waiting):
    etag = api.get("instances/talk/").headers["ETag"]
    waiting.signal("go", "on")
    engine.run_until_quiet()

    assert kinds(stream(api, TALK, last=etag)) == ["SignalReceived", "ExecutionCompleted"]


def test_nothing_comes_any_more_once_all_of_a_closed_instance_is_known(api, engine, failed):
    last = [event.id for event in stream(api, ORDER) if event.id][-1]

    assert api.client.get(f"/api/v1/{ORDER}", headers={"Last-Event-ID": last}).status_code == 204
    failed.rewind()
    engine.run_until_quiet()
    assert kinds(stream(api, ORDER, last=last))[-1] == "ExecutionCompleted"


def test_goes_on_into_the_executions_that_follow(api, engine, fresh, monkeypatch):
    @workflow.defn
    async def counts(number: int) -> int:
        if number < 3:
            workflow.continue_as_new(number + 1)
        return number

    counts.options(id="counts").start(0)
    first = client.instance("counts").execution_id
    engine.run_until_quiet()

    sent = stream(api, "instances/counts/events/", last=f"{first.hex}-0")

    assert kinds(sent) == ["ExecutionStarted", "ExecutionContinued"] * 3 + ["ExecutionStarted", "ExecutionCompleted"]
    assert len({event.id.partition("-")[0] for event in sent if event.id}) == 4
    assert [event.name for event in sent[-2:]] == ["instance", "end"]
    monkeypatch.setattr(following, "AT_ONCE", 2)
    assert stream(api, "instances/counts/events/", last=f"{first.hex}-0") == sent
    monkeypatch.setattr(following, "AT_ONCE", 1)
    assert stream(api, "instances/counts/events/", last=f"{first.hex}-0") == sent


@pytest.mark.parametrize("at_once", [1, 2, 3, 200])
def test_many_events_come_with_several_looks(api, failed, monkeypatch, at_once):
    monkeypatch.setattr(following, "AT_ONCE", at_once)

    sent = stream(api, ORDER)

    assert [event.data["seq"] for event in sent if event.name == "history"] == [*range(1, failed.instance.head + 1)]
    assert [event.data["name"] for event in sent if event.data.get("kind") == "ActivityFailed"] == ["charge"]
    assert [event.name for event in sent].count("instance") == 1


def test_only_the_fields_that_are_asked_for_are_sent(api, failed):
    assert stream(api, ORDER, fields="seq,kind")[0].data == {"seq": 1, "kind": "ExecutionStarted"}
    problem(api.get(ORDER, fields="nonsense"), 400, "invalid_request")


def test_payloads_are_hidden_without_their_permission(someone, failed):
    api = Api(someone("view_instance", name="bob"))

    history = [event.data for event in stream(api, ORDER) if event.name == "history"]

    assert {event["data"] for event in history} == {None}
    assert {event["redacted"] for event in history} == {True}
    assert "down" not in json.dumps(history)


# --- what is refused


def test_who_may_not_see_the_instance_gets_404(someone, failed):
    problem(Api(someone(name="bob")).get(ORDER), 404, "unknown_instance")


@pytest.mark.parametrize(
    "query", [{"after": -1}, {"after": "x"}, {"timeout": -1}, {"timeout": 301}, {"timeout": "nan"}, {"timeotu": 1}]
)
def test_what_cannot_be_is_refused(api, failed, query):
    problem(api.get(ORDER, **query), 400, "invalid_request")


def test_the_limit_of_a_stream_is_a_setting(api, failed, settings):
    settings.DURABLE = {"LIMITS": {"stream": 5}}

    problem(api.get(ORDER, timeout=6), 400, "invalid_request")


@pytest.mark.parametrize(
    ("last", "status", "code"),
    [
        ("nonsense", 400, "invalid_request"),
        ("0198f0c47e1a7c3e9f550d8f4f0f3f1b-x", 400, "invalid_request"),
        ("0198f0c47e1a7c3e9f550d8f4f0f3f1b-9999999999", 400, "invalid_request"),
        ("0198f0c47e1a7c3e9f550d8f4f0f3f1b-1", 404, "unknown_execution"),
    ],
)
def test_places_that_are_not_there_are_refused(api, failed, last, status, code):
    problem(api.client.get(f"/api/v1/{ORDER}", headers={"Last-Event-ID": last}), status, code)


def test_execution_of_another_instance_is_no_place(api, failed, waiting):
    last = f"{waiting.instance.execution_id.hex}-0"

    problem(api.client.get(f"/api/v1/{ORDER}", headers={"Last-Event-ID": last}), 404, "unknown_execution")


def test_only_event_streams_are_answered(api, failed):
    def ask(accept: str) -> Any:
        return api.client.get(f"/api/v1/{ORDER}", headers={"Accept": accept})

    problem(ask("application/json"), 406, "not_acceptable")
    assert ask("text/event-stream").status_code == 200
    assert api.client.head(f"/api/v1/{ORDER}").headers["Content-Type"].startswith("text/event-stream")


def test_streams_have_a_scope_of_their_own(api, failed, monkeypatch):
    cache.clear()
    monkeypatch.setattr(access.Throttle, "THROTTLE_RATES", {"durable-stream": "1/day"})

    assert api.get(ORDER).status_code == 200
    problem(api.get(ORDER), 429, "throttled")
    assert api.get("instances/order%2F1/").status_code == 200


# --- how it goes on, by a clock of the test's own


class Listener:
    """Takes the beats of a stream, with a clock that goes as far as the stream waits."""

    def __init__(self, instance_id: str, *, timeout: float = 100) -> None:
        self.time, self.waits = 0.0, []
        found = client.instance(instance_id)
        follows = Following(instance_id, Place(execution_id=found.execution_id, seq=0))

        def tell(look: following.Look) -> Any:
            return (streaming._event("history", {"kind": item.kind}, id=place) for place, item in look.events)

        self._beats = streaming.beats(follows, follows.look(), tell, until=timeout, now=lambda: self.time)

    def hear(self) -> str:
        """Return what is sent until the stream waits, or ends."""
        heard = ""
        for beat in self._beats:
            if isinstance(beat, float):
                self.waits.append(beat)
                self.time += beat
                return heard
            heard += beat
        return heard


def test_what_happens_is_sent_at_the_next_look(engine, waiting):
    listener = Listener("talk")
    assert kinds(parsed(listener.hear())) == ["ExecutionStarted"]
    assert listener.hear() == ""

    waiting.signal("go", "on")
    engine.run_until_quiet()

    sent = parsed(listener.hear())
    assert kinds(sent) == ["SignalReceived", "ExecutionCompleted"]
    assert ends(sent) == "closed"
    assert listener.hear() == ""


def test_looks_become_rare_while_nothing_happens_and_frequent_again_when_something_does(engine, waiting):
    listener = Listener("talk")
    heard = [listener.hear() for _ in range(30)]

    assert listener.waits == sorted(listener.waits)
    assert (listener.waits[0], listener.waits[-1]) == (0.1, 2.0)
    assert [text for text in heard[1:] if text] == [":\n\n"] * 4, "a sign of life each 10 seconds"
    waiting.suspend()
    assert parsed(listener.hear())[-1].data["status"] == "suspended"
    assert listener.waits[-1] == 0.1


def test_changes_that_are_no_events_are_sent(engine, waiting):
    listener = Listener("talk")
    listener.hear()

    Instance.objects.filter(pk="talk").update(progress={"done": 5}, status="stalled")

    (state,) = parsed(listener.hear())
    assert (state.name, state.data["progress"], state.data["status"]) == ("instance", {"done": 5}, "stalled")


def test_ends_when_the_time_is_up_and_not_before(engine, waiting):
    listener = Listener("talk", timeout=7.0)
    while listener.hear() or listener.time < 7:
        assert listener.time < 8

    assert sum(listener.waits) == pytest.approx(7)


def test_waits_for_no_negative_time_when_the_time_is_up_amid_a_look(engine, waiting):
    follows, ticks = Following("talk", Place(execution_id=waiting.instance.execution_id, seq=0)), itertools.count()

    told = list(streaming.beats(follows, follows.look(), lambda look: iter(()), until=2.5, now=lambda: next(ticks)))

    assert [beat for beat in told if not isinstance(beat, str)] == [0.0]


def test_ends_when_the_instance_is_gone(engine, waiting):
    listener = Listener("talk")
    listener.hear()
    client.purge("talk", force=True)

    assert ends(parsed(listener.hear())) == "gone"


def test_damage_ends_the_stream_with_a_problem(engine, waiting):
    listener = Listener("talk")
    listener.hear()
    waiting.signal("go", "on")
    engine.run_until_quiet()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE durable_historyevent SET data = 'garbage' WHERE kind = 'SignalReceived'")

    (sent,) = parsed(listener.hear())
    assert (sent.name, sent.data["code"], sent.data["status"]) == ("problem", "undecodable_payload", 409)
    assert listener.hear() == ""


# --- what it costs


def statements(look: Any) -> int:
    with driving.cost() as cost:
        look()
    return len(cost.statements)


def test_a_look_costs_one_statement_when_there_is_nothing_new(engine, waiting):
    follows = Following("talk", Place(execution_id=waiting.instance.execution_id, seq=0))
    assert statements(follows.look) == 2
    assert statements(follows.look) == 1

    waiting.signal("go", "on")
    engine.run_until_quiet()
    assert statements(follows.look) == 2


def test_a_look_costs_four_statements_at_most(engine, failed):
    old = failed.instance.execution_id
    failed.rewind()

    # Answers alone, whose names are to be looked up, and then the execution that follows.
    assert statements(Following("order/1", Place(execution_id=old, seq=4)).look) == 4


def test_a_look_reads_no_payload_of_the_instance(engine, waiting):
    follows = Following("talk", Place(execution_id=waiting.instance.execution_id, seq=99))
    with driving.cost() as cost:
        follows.look()

    assert not [sql for sql in cost.statements if '"input"' in sql or "`input`" in sql]


# --- servers


def test_a_synchronous_server_sends_each_event_when_it_happens(api, engine, waiting, monkeypatch):
    def happens(_: float) -> None:
        waiting.signal("go", "on")
        engine.run_until_quiet()

    # Not that of all modules: other threads sleep as well.
    monkeypatch.setattr(sending, "time", SimpleNamespace(sleep=happens))

    assert kinds(stream(api, TALK)) == ["ExecutionStarted", "SignalReceived", "ExecutionCompleted"]


def _scope(path: str) -> dict[str, Any]:
    credentials = base64.b64encode(b"ada:secret")
    headers = [(b"authorization", b"Basic " + credentials), (b"host", b"testserver"), (b"accept", b"text/event-stream")]
    return {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers}


def test_an_asynchronous_server_sends_each_event_when_it_happens(committing, talk, settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    ada = get_user_model().objects.create_user("ada", password="secret")
    ada.user_permissions.set(Permission.objects.filter(codename__in=EVERY))
    handle = talk.options(id="talk").start("hush")
    committing.run_until_quiet()

    async def listen() -> tuple[str, str]:
        server = ApplicationCommunicator(get_asgi_application(), _scope(f"/api/v1/{TALK}"))
        await server.send_input({"type": "http.request"})
        begun = await server.receive_output(timeout=10)
        assert begun["status"] == 200, begun
        before = ""
        while "event: instance" not in before:
            before += (await server.receive_output(timeout=10))["body"].decode()
        await sync_to_async(handle.signal)("go", "on")
        await sync_to_async(committing.run_until_quiet)()
        after, more = "", True
        while more:
            part = await server.receive_output(timeout=10)
            after, more = after + part.get("body", b"").decode(), part.get("more_body", False)
        await server.wait(timeout=10)
        return before, after

    before, after = map(parsed, async_to_sync(listen)())

    assert (kinds(before), ends(before)) == (["ExecutionStarted"], "")
    assert (kinds(after), ends(after)) == (["SignalReceived", "ExecutionCompleted"], "closed")


def test_an_asynchronous_server_holds_no_connection_between_looks(committing, talk):
    handle = talk.options(id="talk").start("hush")
    committing.run_until_quiet()
    open_then = []

    def beats() -> Any:
        for beat in ("a", 0.0, "b", 0.0):
            handle.status  # noqa: B018 - opens a connection
            yield beat

    def note() -> None:
        open_then.append(connection.connection is not None)

    async def listen() -> None:
        async for _ in sending.content(AsyncRequestFactory().get("/"), beats()):
            await sync_to_async(note)()
        await sync_to_async(note)()

    asyncio.run(listen())

    assert open_then == [True, True, False]
    assert HistoryEvent.objects.exists()
