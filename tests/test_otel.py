"""Traces: one from the client to the last activity of the last child, and nothing in it twice."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from django.db import transaction
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NoOpTracerProvider, SpanKind, StatusCode, TraceFlags

from durable import RetryPolicy, activity, client, testing, workflow
from durable.core.errors import AlreadyExists, WorkflowFailed
from tests.driving import item

IDS = {"durable.instance.id", "durable.execution.id", "durable.workflow", "durable.queue"}


class Traced:
    """What a provider was told."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self):
        return self._exporter.get_finished_spans()

    @property
    def names(self) -> Counter[str]:
        return Counter(span.name for span in self.spans)

    def one(self, name: str):
        [found] = self.all(name)
        return found

    def all(self, name: str):
        return [span for span in self.spans if span.name == name]

    def parent(self, name: str) -> str:
        """Return the name of the span that the only one of this name is in."""
        wanted = self.one(name).parent
        if wanted is None:
            return ""
        [found] = [span for span in self.spans if span.context.span_id == wanted.span_id]
        return found.name

    def linked(self, span) -> list[str]:
        """Return the names of the spans that this one points at."""
        by_id = {each.context.span_id: each.name for each in self.spans}
        return [by_id[link.context.span_id] for link in span.links]

    def ids(self) -> set[int]:
        return {span.context.trace_id for span in self.spans}


def use(monkeypatch, provider) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)


@pytest.fixture
def tracing(committing, settings, path):
    """The interceptor, on both ways an activity can run."""
    settings.DURABLE = {**settings.DURABLE, "INTERCEPTORS": ["durable.otel.Tracing"]}


@pytest.fixture
def traced(tracing, monkeypatch):
    told = Traced()
    use(monkeypatch, told.provider)
    return told


@pytest.fixture
def order():
    """An order that has a child, a signal to wait for, and activities on all levels."""

    @activity.defn
    def charge(amount: int) -> int:
        with trace.get_tracer("shop").start_as_current_span("gateway"):
            return amount

    @activity.defn
    async def pack() -> None:
        await asyncio.sleep(0)
        with trace.get_tracer("shop").start_as_current_span("scale"):
            pass

    @workflow.defn
    async def ship() -> None:
        await pack()

    @workflow.defn
    async def order2() -> int:
        paid = await charge(5)
        await workflow.wait_signal("approve")
        await ship()
        return paid

    return order2


def run(engine, order, *, restart: bool = False) -> None:
    with trace.get_tracer("web").start_as_current_span("request"):
        handle = order.options(id="order-1").start()
    engine.run_until_quiet()
    if restart:
        engine.restart()
    with trace.get_tracer("web").start_as_current_span("approval"):
        handle.signal("approve")
    assert engine.result(handle) == 5


@pytest.mark.parametrize("restart", [False, True], ids=["cached", "replayed"])
def test_one_trace_leads_from_the_client_to_the_last_activity(committing, traced, order, restart):
    run(committing, order, restart=restart)

    assert {name: traced.parent(name) for name in traced.names if not name.startswith("turn")} == {
        "request": "",
        "start order2": "request",
        "workflow order2": "start order2",
        "activity charge": "workflow order2",
        "gateway": "activity charge",
        "start ship": "workflow order2",
        "workflow ship": "start ship",
        "activity pack": "workflow ship",
        "scale": "activity pack",
        "approval": "",
        "signal approve": "approval",
    }
    assert len(traced.ids()) == 2, "the order's, and that of the request that approves it"
    assert {len(traced.all(name)) for name in traced.names if not name.startswith("turn")} == {1}
    assert len({span.context.span_id for span in traced.spans}) == len(traced.spans)
    assert context.get_current() == {}


def test_turns_are_in_their_execution_and_linked_to_what_they_take_up(committing, traced, order):
    run(committing, order)

    turns = traced.all("turn order2")
    execution = traced.one("workflow order2")
    causes = {span.attributes["durable.events"]: traced.linked(span) for span in turns}
    assert causes == {
        ("ExecutionStarted",): [],
        ("ActivityCompleted",): ["activity charge"],
        ("SignalReceived", "ChildStarted"): ["signal approve"],
        ("ChildCompleted",): [],
    }
    assert {span.parent.span_id for span in turns} == {execution.context.span_id}
    assert {span.kind for span in turns} == {SpanKind.CONSUMER}
    assert {span.kind for span in map(traced.one, ("start order2", "signal approve"))} == {SpanKind.PRODUCER}


def test_spans_say_whose_they_are(committing, traced, order):
    run(committing, order)

    spans = [s for s in traced.spans if s.name.split()[0] in ("turn", "activity", "workflow")]
    assert all(set(span.attributes) >= IDS for span in spans)
    assert {span.attributes["durable.workflow"] for span in spans} == {"order2", "ship"}
    charge = traced.one("activity charge").attributes
    assert (charge["durable.activity"], charge["durable.event.id"], charge["durable.attempt"]) == ("charge", 0, 1)
    assert charge["durable.instance.id"] == "order-1"
    assert traced.one("start order2").attributes["durable.instance.id"] == "order-1"
    assert traced.one("signal approve").attributes["durable.signal"] == "approve"


def test_span_of_an_execution_lasts_from_its_beginning_to_its_end(committing, traced, order):
    run(committing, order)

    span = traced.one("workflow order2")
    children = [s for s in traced.spans if s.parent and s.parent.span_id == span.context.span_id]
    assert span.attributes["durable.outcome"] == "completed"
    assert span.status.status_code is StatusCode.UNSET
    slack = 1_000_000_000  # two clocks: the database's and the process's
    assert span.start_time <= min(s.start_time for s in children) + slack
    assert span.end_time >= max(s.start_time for s in children) - slack
    assert span.end_time > span.start_time


def test_each_attempt_has_a_span_and_points_at_the_one_before(committing, traced, time):
    @activity.defn(retry=RetryPolicy(max_attempts=2, initial_interval=1))
    def failing() -> None:
        raise ValueError(f"no {activity.info().attempt}")

    @workflow.defn
    async def outer() -> None:
        await failing()

    handle = outer.start()
    committing.run_until_quiet()
    time.forward(2)
    with pytest.raises(WorkflowFailed):
        committing.result(handle)

    first, second = traced.all("activity failing")
    for span, attempt in ((first, 1), (second, 2)):
        assert span.attributes["durable.attempt"] == attempt
        assert span.status.status_code is StatusCode.ERROR
        assert [event.attributes["exception.message"] for event in span.events] == [f"no {attempt}"]
    assert ([link.context for link in first.links], traced.linked(second)) == ([], ["activity failing"])
    assert second.links[0].context.span_id == first.context.span_id
    failed = [s for s in traced.all("turn outer") if "ActivityFailed" in s.attributes["durable.events"]]
    assert [link.context.span_id for link in failed[0].links] == [second.context.span_id]

    execution = traced.one("workflow outer")
    assert execution.status.status_code is StatusCode.ERROR
    assert execution.attributes["durable.outcome"] == "failed"
    assert [event.attributes["exception.type"] for event in execution.events] == ["ActivityError"]
    assert execution.parent.span_id == traced.one("start outer").context.span_id


def test_spans_of_the_code_last_over_turns_and_restarts(committing, traced, time):
    @activity.defn
    def work() -> None: ...

    @workflow.defn
    async def outer() -> None:
        with workflow.span("pay", order=42, lines=["a", "b"]):
            with workflow.span("card"):
                await work()
            await asyncio.sleep(60)
        with workflow.span("approve"):
            await workflow.wait_signal("approve")

    handle = outer.start()
    committing.run_until_quiet()
    assert traced.names["card"] == 1
    committing.restart()
    time.forward(61)
    committing.run_until_quiet()
    committing.restart()
    handle.signal("approve")
    committing.result(handle)

    assert {name: traced.names[name] for name in ("pay", "card", "approve")} == {"pay": 1, "card": 1, "approve": 1}
    assert traced.parent("card") == "pay"
    assert traced.parent("pay") == traced.parent("approve") == "workflow outer"
    pay = traced.one("pay")
    assert pay.attributes["order"] == 42
    assert pay.attributes["lines"] == '["a", "b"]'
    assert set(pay.attributes) >= IDS
    assert pay.end_time - pay.start_time >= 60_000_000_000
    assert pay.start_time == int(item(handle, "ExecutionStarted").recorded_at.timestamp() * 1_000_000) * 1000


def test_spans_of_the_code_are_told_once_turn_after_turn(committing, traced):
    @activity.defn
    def work() -> None: ...

    @workflow.defn
    async def outer() -> None:
        for number in range(3):
            with workflow.span(f"round {number}"):
                await work()

    committing.result(outer.start())

    assert {name: n for name, n in traced.names.items() if name.startswith("round")} == {
        "round 0": 1,
        "round 1": 1,
        "round 2": 1,
    }


def test_span_of_the_code_that_an_error_leaves_is_marked(committing, traced):
    @workflow.defn
    async def outer() -> None:
        with workflow.span("pay"):
            raise LookupError("no card")

    with pytest.raises(WorkflowFailed):
        committing.result(outer.start())

    pay = traced.one("pay")
    assert pay.status.status_code is StatusCode.ERROR
    assert "no card" in pay.status.description
    assert [event.attributes["exception.type"] for event in pay.events] == ["LookupError"]


def test_each_execution_of_an_instance_has_a_span_under_its_start(committing, traced):
    @workflow.defn
    async def outer(round: int) -> None:
        if round < 2:
            workflow.continue_as_new(round + 1)

    committing.result(outer.start(0))

    executions = traced.all("workflow outer")
    assert [s.attributes["durable.outcome"] for s in executions] == ["continued", "continued", "completed"]
    assert len({s.context.span_id for s in executions}) == 3
    assert {s.parent.span_id for s in executions} == {traced.one("start outer").context.span_id}


def test_rewound_execution_has_a_span_of_its_own_under_the_start(committing, traced, time):
    broken = [1]

    @activity.defn
    def good() -> None: ...

    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def bad() -> None:
        if broken:
            raise ValueError

    @workflow.defn
    async def outer() -> None:
        with workflow.span("first"):
            await good()
        with workflow.span("second"):
            await bad()

    handle = outer.start()
    committing.run_until_quiet()
    assert handle.status == "failed"
    time.forward(60)
    broken.clear()
    client.rewind(handle.id)
    committing.result(handle)

    failed, completed = traced.all("workflow outer")
    assert [s.attributes["durable.outcome"] for s in (failed, completed)] == ["failed", "completed"]
    assert failed.parent.span_id == completed.parent.span_id == traced.one("start outer").context.span_id
    assert completed.start_time >= failed.end_time
    assert [traced.names[name] for name in ("first", "activity good", "second", "activity bad")] == [1, 1, 2, 2]
    assert traced.all("activity bad")[1].parent.span_id == completed.context.span_id
    rewound = [s for s in traced.all("turn outer") if "ExecutionRewound" in s.attributes["durable.events"]]
    assert [span.parent.span_id for span in rewound] == [completed.context.span_id]


def test_terminated_execution_has_a_span(committing, traced, order):
    handle = order.start()
    committing.run_until_quiet()
    handle.terminate()

    assert traced.one("workflow order2").attributes["durable.outcome"] == "terminated"


def test_signal_of_a_workflow_belongs_to_its_trace(committing, traced):
    @workflow.defn
    async def receiver() -> None:
        await workflow.wait_signal("hello")

    @workflow.defn
    async def sender() -> None:
        await workflow.signal_instance("receiver", "hello")

    target = receiver.options(id="receiver").start()
    committing.result(sender.start())
    committing.result(target)

    assert traced.parent("signal hello") == "activity durable.signal"
    assert traced.parent("activity durable.signal") == "workflow sender"
    received = [s for s in traced.all("turn receiver") if "SignalReceived" in s.attributes["durable.events"]]
    assert [traced.linked(span) for span in received] == [["signal hello"]]


def test_turn_that_another_was_quicker_than_is_not_told(committing, traced):
    @activity.defn
    def work() -> None:
        handle.signal("meanwhile")  # so that its result cannot be stored in place

    @workflow.defn
    async def outer() -> None:
        await work()
        await workflow.wait_signal("meanwhile")

    handle = outer.start()
    committing.result(handle)

    taken = [kind for span in traced.all("turn outer") for kind in span.attributes["durable.events"]]
    assert sorted(taken) == ["ActivityCompleted", "ExecutionStarted", "SignalReceived"]


def test_what_is_rolled_back_is_not_told(committing, traced, order):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        order.start()
        raise ZeroDivisionError

    assert traced.spans == ()


def test_start_that_is_refused_is_told_with_its_error(committing, traced, order):
    order.options(id="i").start()
    with pytest.raises(AlreadyExists):
        order.options(id="i").start()

    [error, _] = sorted(traced.all("start order2"), key=lambda span: span.status.status_code is StatusCode.UNSET)
    assert error.status.status_code is StatusCode.ERROR
    assert error.events[0].attributes["exception.type"].endswith("AlreadyExists")


def test_baggage_travels(committing, traced):
    @activity.defn
    def look() -> str:
        return str(baggage.get_baggage("tenant"))

    @workflow.defn
    async def inner() -> str:
        return await look()

    @workflow.defn
    async def outer() -> list[str]:
        return [await look(), await inner()]

    token = context.attach(baggage.set_baggage("tenant", "acme"))
    handle = outer.start()
    context.detach(token)

    assert committing.result(handle) == ["acme", "acme"]
    assert baggage.get_baggage("tenant") is None


def test_trace_that_is_not_sampled_stays_so(committing, traced, order, monkeypatch):
    told = Traced()
    use(monkeypatch, TracerProvider(sampler=ALWAYS_OFF))
    handle = order.start()
    use(monkeypatch, told.provider)  # which would sample what begins here
    committing.run_until_quiet()
    handle.terminate()

    flags = handle.instance.headers["traceparent"].rpartition("-")[2]
    assert not TraceFlags(int(flags, 16)).sampled
    assert told.spans == ()


def test_without_a_provider_nothing_is_carried(committing, tracing, order, monkeypatch):
    use(monkeypatch, NoOpTracerProvider())
    run(committing, order)


def test_headers_are_empty_without_a_provider(committing, tracing, order, monkeypatch):
    use(monkeypatch, None)

    assert order.start().instance.headers is None


def test_instance_that_began_untraced_is_traced_from_there(committing, tracing, order, monkeypatch):
    use(monkeypatch, NoOpTracerProvider())
    handle = order.options(id="order-1").start()
    told = Traced()
    use(monkeypatch, told.provider)
    with trace.get_tracer("celery").start_as_current_span("the worker's own business"):
        committing.run_until_quiet()

    assert handle.instance.headers is None
    assert told.one("activity charge").parent is None
    assert {span.parent for span in told.all("turn order2")} == {None}


def test_spans_of_a_tracer_that_takes_no_ids_are_under_the_start(committing, tracing, order, monkeypatch):
    told = Traced()

    class Other(trace.Tracer):
        """A tracer of somebody else's SDK."""

        def __init__(self, tracer) -> None:
            self._tracer = tracer

        def start_span(self, *args, **kwargs):
            return self._tracer.start_span(*args, **kwargs)

        def start_as_current_span(self, *args, **kwargs):
            return self._tracer.start_as_current_span(*args, **kwargs)

    class Provider(trace.TracerProvider):
        def get_tracer(self, *args, **kwargs):
            return Other(told.provider.get_tracer("other"))

    use(monkeypatch, Provider())
    run(committing, order)

    start = told.one("start order2").context
    ours = [s for s in told.spans if s.attributes.get("durable.workflow") == "order2" and s.context != start]
    assert {span.parent.span_id for span in ours} == {start.span_id}
    assert all(told.linked(span) in ([], ["signal approve"]) for span in told.spans)
    assert told.parent("start ship") == "start order2"


def test_simulation_is_traced_too(fresh, settings, monkeypatch):
    settings.DURABLE = {"INTERCEPTORS": ["durable.otel.Tracing"]}
    told = Traced()
    use(monkeypatch, told.provider)

    @activity.defn
    def work() -> None: ...

    @workflow.defn
    async def inner() -> None:
        await work()

    @workflow.defn
    async def outer() -> None:
        with workflow.span("nap"):
            await asyncio.sleep(60)
        with workflow.span("child"):
            await inner()

    testing.simulate(outer).result()

    assert {name: told.parent(name) for name in told.names if not name.startswith("turn")} == {
        "start outer": "",
        "workflow outer": "start outer",
        "nap": "workflow outer",
        "child": "workflow outer",
        "start inner": "workflow outer",
        "workflow inner": "start inner",
        "activity work": "workflow inner",
    }
