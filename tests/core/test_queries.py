"""Queries look into a workflow and leave no trace in it."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import linecache
import logging
from dataclasses import dataclass
from typing import Any

import pytest

from durable.core import calls, context, marks, queries, stepping, updates
from durable.core import events as ev
from durable.core.channels import Channel
from durable.core.errors import (
    ForbiddenInWorkflow,
    InvalidDefinition,
    InvalidInput,
    OutsideWorkflow,
    PayloadTooLarge,
    ReadOnly,
)
from durable.core.execution import Execution
from durable.core.payloads import Converter
from durable.core.replay import catch_up, replay
from durable.core.replay_log import ReplaySilentAdapter
from tests.core.histories import (
    CANCEL,
    STARTED,
    activity,
    completed,
    fired,
    given,
    signal,
    started,
    workflow,
)


@activity
def a() -> Any: ...


@workflow
async def child() -> None: ...


@dataclass
class Line:
    sku: str
    count: int


def new(definition) -> Execution:
    return Execution(definition, converter=Converter())


def history(definition, *events: ev.Event) -> list[ev.Event]:
    """Return the history that these events from outside make."""
    execution, log = new(definition), []
    for event in events:
        log += [event, *(command for command in stepping.step(execution, event) if isinstance(command, ev.Event))]
    return log


def live(definition, *events: ev.Event) -> Execution:
    """Return an execution that stands, by replay, where these events from outside brought it."""
    execution = new(definition)
    catch_up(execution, history(definition, *events))
    return execution


def ask(execution: Execution, name: str, *args: Any, **kwargs: Any) -> Any:
    return queries.answer(execution, name, given(*args, **kwargs))


@workflow
async def cart():
    lines = []

    @queries.query
    def total() -> int:
        return sum(line["count"] for line in lines)

    @queries.query
    def has(line: Line, *, exact: bool = True) -> bool:
        assert isinstance(line, Line)
        return any(each["sku"] == line.sku and (not exact or each["count"] == line.count) for each in lines)

    @queries.query
    def fails() -> None:
        raise LookupError("no such line")

    while True:
        lines.append(await calls.wait_signal("add"))
        if lines[-1]["count"] == 0:
            return lines


ADDED = [signal("add", {"sku": "pen", "count": 2}), signal("add", {"sku": "ink", "count": 3})]


def test_closures_see_the_state_as_it_is_now():
    assert ask(live(cart, STARTED), "total") == 0
    assert ask(live(cart, STARTED, ADDED[0]), "total") == 2
    assert ask(live(cart, STARTED, *ADDED), "total") == 5


def test_arguments_are_converted_by_annotation():
    execution = live(cart, STARTED, *ADDED)

    assert ask(execution, "has", {"sku": "pen", "count": 2}) is True
    assert ask(execution, "has", {"sku": "pen", "count": 9}) is False
    assert ask(execution, "has", {"sku": "pen", "count": 9}, exact=False) is True


@pytest.mark.parametrize("args", [(), ("pen",), ({"sku": "pen"},), (1, 2)])
def test_arguments_that_do_not_fit_are_refused(args):
    with pytest.raises(InvalidInput, match="has"):
        ask(live(cart, STARTED), "has", *args)


def test_unknown_query_names_those_there_are():
    with pytest.raises(InvalidInput, match="there are: fails, has, total"):
        ask(live(cart, STARTED), "totl")


def test_update_that_is_asked_as_a_query_is_told_apart():
    @workflow
    async def shop():
        @updates.update
        def total() -> int:
            return 1

        @queries.query
        def totals() -> int:
            return 2

        await calls.wait_signal("go")

    execution = live(shop, STARTED)

    with pytest.raises(
        InvalidInput, match=r"no such query \(it is an update\); there are: totals; did you mean totals\?"
    ):
        ask(execution, "total")
    assert updates.missing(execution, "total") == ""
    said = "it has registered no such update (it is a query); there are: total; did you mean total?"
    assert updates.missing(execution, "totals") == said
    assert updates.missing(execution, "go").endswith("no such update; there are: total")


def test_workflow_without_queries_says_so():
    @workflow
    async def mute():
        await calls.wait_signal("go")

    for log in ([STARTED], [signal("go")]):
        with pytest.raises(InvalidInput, match="there are: none"):
            ask(live(mute, *log), "total")


def test_error_of_a_query_is_the_callers():
    execution = live(cart, STARTED)

    with pytest.raises(LookupError, match="no such line"):
        ask(execution, "fails")
    assert execution.outcome is None and ask(execution, "total") == 0


def test_ended_execution_can_be_asked():
    execution = live(cart, STARTED, *ADDED)
    stepping.step(execution, signal("add", {"sku": "end", "count": 0}))

    assert isinstance(execution.outcome, ev.ExecutionCompleted)
    assert ask(execution, "total") == 5


def test_answer_is_plain_json_within_the_limit():
    @workflow
    async def talkative():
        @queries.query
        def lines() -> list[Line]:
            return [Line("pen", 2)]

        @queries.query
        def much() -> str:
            return "x" * 3_000_000

        @queries.query
        def odd() -> Any:
            return object()

        await calls.wait_signal("go")

    execution = live(talkative, STARTED)

    assert ask(execution, "lines") == [{"sku": "pen", "count": 2}]
    with pytest.raises(PayloadTooLarge, match="answer of much"):
        ask(execution, "much")
    with pytest.raises(InvalidInput, match="answer of odd"):
        ask(execution, "odd")


# --- registering


def test_async_query_is_refused_when_it_is_registered():
    @workflow
    async def wrong():
        with pytest.raises(InvalidDefinition, match="slow"):

            @queries.query
            async def slow(): ...

    assert replay(wrong, [STARTED]).outcome == ev.ExecutionCompleted(result=None)


def test_query_that_returns_a_coroutine_is_refused():
    @workflow
    async def wrong():
        @queries.query
        def disguised():
            return a()

        await calls.wait_signal("go")

    with pytest.raises(
        InvalidDefinition, match=r"^query 'disguised': it returned a\(\.\.\.\).* in a variable"
    ) as refused:
        ask(live(wrong, STARTED), "disguised")
    assert str(refused.value).endswith(f"(at {__file__}:{wrong.fn.__code__.co_firstlineno + 2})")


def test_coroutine_of_a_callable_object_is_refused_without_a_place():
    class Asks:
        __name__ = "asks"

        def __call__(self):
            return a()

    @workflow
    async def wrong():
        queries.query(Asks())
        await calls.wait_signal("go")

    with pytest.raises(InvalidDefinition, match=r"look at that$"):
        ask(live(wrong, STARTED), "asks")


def test_query_outside_a_workflow_is_refused():
    with pytest.raises(OutsideWorkflow):
        queries.query(lambda: 1)


def test_later_registration_of_a_name_takes_the_place_of_the_earlier():
    @workflow
    async def twice():
        for number in (1, 2):

            @queries.query
            def which(number=number):
                return number

            await calls.wait_signal("go")

    assert ask(live(twice, STARTED), "which") == 1
    assert ask(live(twice, STARTED, signal("go")), "which") == 2


# --- looking and not touching


@workflow
async def shop():
    helper = asyncio.create_task(asyncio.sleep(60))
    kid = child.start_child()
    draw = context.random().choice
    box = Channel(3)
    await box.send("kept")
    alarm = asyncio.get_running_loop().call_later(30, int)
    pending = asyncio.get_running_loop().create_future()

    tries = {
        "activity": lambda: asyncio.create_task(a()),
        "timer": lambda: asyncio.get_running_loop().call_later(5, int),
        "timer_at": lambda: asyncio.get_running_loop().call_at(5e9, int),
        "timer_cancel": alarm.cancel,
        "child": child.start_child,
        "child_cancel": kid.cancel,
        "side_effect": lambda: marks.side_effect(lambda: 1),
        "patched": lambda: marks.patched("new"),
        "deprecate_patch": lambda: marks.deprecate_patch("old"),
        "set_status": lambda: context.set_status("seen"),
        "set_progress": lambda: context.set_progress(1, 2),
        "set_tags": lambda: context.set_tags(seen="yes"),
        "random": context.random,
        "kept_random": lambda: draw([1, 2, 3]),
        "uuid4": context.uuid4,
        "call_soon": lambda: asyncio.get_running_loop().call_soon(int),
        "create_task": lambda: asyncio.create_task(asyncio.sleep(0)),
        "future": lambda: asyncio.get_running_loop().create_future(),
        "task_cancel": helper.cancel,
        "signal_taken": lambda: calls.signals("go").take(),
        "drive": lambda: calls.wait_signal("go").send(None),
        "send": lambda: box.send_now(1),
        "take": box.take,
        "close": box.close,
        "continue_as_new": calls.continue_as_new,
        "query": lambda: queries.query(int),
    }

    @queries.query
    def attempt(name: str, swallow: bool = False) -> str:
        try:
            tries[name]()
        except BaseException:
            if not swallow:
                raise
        return "touched"

    @queries.query
    def names() -> list[str]:
        return sorted(tries)

    @queries.query
    def look() -> list[Any]:
        fresh = calls.signals("never heard of")
        seen = [context.now().year, context.info().name, context.version(), context.cancelled()]
        return [*seen, len(calls.signals("go")), len(box), len(fresh), helper.done(), pending.done()]

    first = await calls.wait_signal("first")
    await a()
    waiting = len({asyncio.create_task(asyncio.sleep(n)) for n in (7, 8, 9)})
    done, _ = await asyncio.wait([asyncio.create_task(asyncio.sleep(n)) for n in (3, 2, 1)])
    drawn = [context.random(), str(context.uuid4()), marks.patched("new"), draw([1, 2, 3])]
    inbox = [name for name in ("go", "first") if len(calls.signals(name))]
    return [first, waiting, len(done), drawn, inbox, len(box), marks.side_effect(lambda: 4), kid.id]


BEFORE = [started(seed=7), signal("go", 1), signal("go", 2)]
REST = [signal("first", "f"), completed(3), *(fired(n, at=9.0) for n in (7, 8, 9))]
NAMES = ask(live(shop, *BEFORE), "names")


def go_on(execution: Execution) -> list[Any]:
    """Let the shop go to its end and return all that it asked for on the way."""
    asked = [stepping.step(execution, event) for event in REST]
    assert isinstance(execution.outcome, ev.ExecutionCompleted), execution.outcome
    return asked


def state(execution: Execution) -> list[Any]:
    """Return what a query must leave as it was."""
    shown = [execution.status, execution.progress, dict(execution.tags), set(execution.changed)]
    asked = [sorted(execution.open), dict(execution.issued), execution.next_id, dict(execution.patches._known)]
    loop = execution.loop
    kept = [list(execution.signals._channels), set(execution.queries), execution.random.getstate()]
    return [*shown, *asked, *kept, loop._created, len(loop._ready), loop.violation, loop.refused, loop.looking]


@pytest.mark.parametrize("swallow", [False, True], ids=["raised", "swallowed"])
@pytest.mark.parametrize("name", NAMES)
def test_touching_is_refused_and_does_no_harm(name, swallow):
    execution = live(shop, *BEFORE)
    before = state(execution)

    with pytest.raises(ReadOnly):
        ask(execution, "attempt", name, swallow)

    execution.loop.refused = None
    assert state(execution) == before
    assert go_on(execution) == go_on(live(shop, *BEFORE))


def test_execution_that_was_asked_decides_as_its_history_says():
    execution = live(shop, *BEFORE)
    log = history(shop, *BEFORE)
    for name in NAMES:
        with pytest.raises(ReadOnly):
            ask(execution, "attempt", name)
        ask(execution, "look")

    for event in REST:
        decided = stepping.step(execution, event)
        assert decided == list(replay(shop, log, [event]).commands)
        log += [event, *decided]
    assert isinstance(log[-1], ev.ExecutionCompleted)


def test_looking_is_allowed_and_leaves_no_trace():
    execution = live(shop, *BEFORE)
    before = state(execution)

    assert ask(execution, "look") == [1970, "test", 0, False, 2, 1, 0, False, False]
    assert state(execution) == before


def test_thing_called_is_named():
    with pytest.raises(ReadOnly, match="set_status") as refused:
        ask(live(shop, *BEFORE), "attempt", "set_status")

    assert refused.value.call == "set_status"


@pytest.mark.parametrize(
    ("name", "call", "written"),
    [
        ("set_status", "set_status", 'context.set_status("seen")'),
        ("continue_as_new", "workflow.continue_as_new()", "tries[name]()"),
        ("side_effect", "workflow.side_effect()", "marks.side_effect(lambda: 1)"),
        ("patched", "workflow.patched()", 'marks.patched("new")'),
        ("deprecate_patch", "workflow.deprecate_patch()", 'marks.deprecate_patch("old")'),
        ("child", "child.start_child()", "tries[name]()"),
    ],
)
def test_refusal_names_the_query_the_call_and_the_line(name, call, written):
    with pytest.raises(ReadOnly) as refused:
        ask(live(shop, *BEFORE), "attempt", name)

    error = refused.value
    assert (error.looker, error.call, error.written) == ("query 'attempt'", call, written)
    path, _, line = error.location.rpartition(":")
    assert path == __file__ and written in linecache.getline(path, int(line))
    assert str(error).startswith(f"{call} is not allowed in query 'attempt'")
    assert f"(at {error.location}: {written})" in str(error)


def test_number_drawn_behind_our_back_is_blamed_on_the_query():
    with pytest.raises(ReadOnly) as refused:
        ask(live(shop, *BEFORE), "attempt", "kept_random")

    path, _, line = refused.value.location.rpartition(":")
    assert "@queries.query" in linecache.getline(path, int(line))


def test_continue_as_new_of_an_ended_execution_is_refused_too():
    execution = live(shop, *BEFORE)
    stepping.step(execution, CANCEL)

    assert execution.outcome == ev.ExecutionCanceled()
    with pytest.raises(ReadOnly):
        ask(execution, "attempt", "continue_as_new")


@pytest.mark.parametrize("swallow", [False, True], ids=["raised", "swallowed"])
def test_reaching_outside_fails_the_query_and_not_the_workflow(swallow):
    @workflow
    async def reaching():
        @queries.query
        def reach():
            try:
                asyncio.get_running_loop().run_in_executor(None, int)
            except Exception:
                if not swallow:
                    raise

        return await calls.wait_signal("go")

    execution = live(reaching, STARTED)

    with pytest.raises(ForbiddenInWorkflow):
        ask(execution, "reach")
    assert stepping.step(execution, signal("go", 1)) == [ev.ExecutionCompleted(result=1)]


def test_caller_gets_its_own_loop_back():
    execution = live(shop, *BEFORE)

    async def caller():
        mine = asyncio.get_running_loop()
        answered = ask(execution, "look")
        with pytest.raises(ReadOnly):
            ask(execution, "attempt", "timer")
        return answered[1], asyncio.get_running_loop() is mine

    assert asyncio.run(caller()) == ("test", True)
    assert asyncio._get_running_loop() is None


def test_query_that_is_no_code_of_the_users_is_refused_without_a_place():
    @workflow
    async def wrong():
        queries.query(Channel(3).close)
        await calls.wait_signal("go")

    with pytest.raises(ReadOnly, match=r"channel\.close is not allowed in query 'close': it may look, and not touch$"):
        ask(live(wrong, STARTED), "close")


# --- where it runs

language = contextvars.ContextVar("language", default="none")


def test_query_runs_in_a_copy_of_the_workflows_context():
    @workflow
    async def polyglot():
        language.set("French")

        @queries.query
        def speak(other: str = "") -> str:
            before = language.get()
            language.set(other)
            return before

        await calls.wait_signal("go")
        return language.get()

    execution = live(polyglot, STARTED)
    language.set("German")

    assert ask(execution, "speak", "Danish") == "French"
    assert ask(execution, "speak") == "French"
    assert language.get() == "German"
    assert stepping.step(execution, signal("go")) == [ev.ExecutionCompleted(result="French")]


def test_log_of_a_query_is_heard_after_a_replay(caplog):
    log = ReplaySilentAdapter(logging.getLogger("test"))

    @workflow
    async def noisy():
        log.warning("a step")

        @queries.query
        def listen():
            log.warning("a query")

        await calls.wait_signal("go")

    log_of_steps = history(noisy, STARTED)
    caplog.clear()
    execution = new(noisy)
    catch_up(execution, log_of_steps)
    ask(execution, "listen")

    assert [record.message for record in caplog.records] == ["a query"]
    assert execution.replaying


def test_method_can_be_a_query():
    class Order:
        def __init__(self, number):
            self.number = number

        def which(self, plus: int = 0) -> int:
            return self.number + plus

    @workflow
    async def ordered():
        queries.query(Order(4).which)
        await calls.wait_signal("go")

    assert ask(live(ordered, STARTED), "which", 2) == 6


def test_wrapped_function_keeps_its_name():
    def doubled(fn):
        @functools.wraps(fn)
        def twice():
            return 2 * fn()

        return twice

    @workflow
    async def wrapping():
        @queries.query
        @doubled
        def four():
            return 2

        await calls.wait_signal("go")

    assert ask(live(wrapping, STARTED), "four") == 4
