"""Limits: past one there is a typed error that names it and the value, and nothing is half-written."""

from __future__ import annotations

import asyncio

import pytest

from durable import (
    InvalidInput,
    LimitExceeded,
    PayloadTooLarge,
    RetryPolicy,
    WorkflowFailed,
    activity,
    client,
    conf,
    workflow,
)
from durable.engine import cache
from durable.models import ActivityTask, HistoryEvent, InboxEvent, Instance
from tests.driving import kinds


@pytest.fixture
def limit(settings):
    """Return a function that sets limits."""

    def limit(**limits: int) -> None:
        settings.DURABLE = {"LIMITS": limits}

    return limit


@pytest.fixture
def echo(fresh):
    @workflow.defn
    async def echo(value: object) -> object:
        return await workflow.wait_signal("go")

    return echo


@pytest.mark.parametrize("name", ["payload", "history", "inbox", "fan_out", "tags"])
def test_every_limit_has_a_default(name, settings):
    settings.DURABLE = {}
    assert conf.limit(name) > 0


def test_too_large_an_input_is_refused_at_the_start(engine, limit, echo):
    limit(payload=1000)
    echo.start("x" * 900)

    with pytest.raises(PayloadTooLarge, match=r"input of echo: 1,0.. bytes of JSON, the limit is 1,000") as refused:
        echo.start("x" * 1000)

    assert (refused.value.limit, refused.value.size > 1000) == (1000, True)
    assert Instance.objects.count() == 1


@pytest.fixture
def giving(fresh):
    @activity.defn
    def measure(value: object) -> int:
        return len(str(value))

    @workflow.defn
    async def giving(size: int) -> object:
        workflow.set_tags(**{str(n): n for n in range(3)})
        try:
            measured = await measure("x" * size)
        except PayloadTooLarge:
            measured = None
        await workflow.wait_signal("go")
        try:
            return [measured, await measure("x" * (size + 500))]
        except PayloadTooLarge as error:
            return [measured, error.limit]

    return giving


@pytest.mark.parametrize(
    ("before", "after", "result"),
    [(2000, 100, [1000, 1500]), (1200, 5000, [1000, 1200]), (500, 5000, [None, 500])],
    ids=["lower", "higher", "higher than what was refused"],
)
def test_execution_goes_by_the_limits_that_it_began_with(engine, limit, giving, before, after, result):
    limit(payload=before, tags=3)
    handle = giving.start(1000)
    engine.run_until_quiet()

    limit(payload=after, tags=1)
    cache.clear()
    handle.signal("go")

    assert engine.result(handle) == result


@pytest.mark.parametrize("verb", ["rewind", "rerun"])
def test_what_is_repaired_goes_by_higher_limits(engine, limit, verb):
    @activity.defn
    def measure(value: object) -> int:
        return len(str(value))

    @workflow.defn
    async def growing() -> int:
        return await measure("x" * 100) + await measure("x" * 2000)

    limit(payload=1000, tags=9)
    handle = growing.start()
    engine.run_until_quiet()
    assert handle.status == "failed"

    limit(payload=5000, tags=1)
    if verb == "rewind":
        handle.rewind()
    else:
        handle = handle.rerun_from_activity(0)

    assert engine.result(handle) == 2100
    assert handle.history()[0].data["limits"] == {"payload": 5000, "tags": 9}


@pytest.mark.parametrize("verb", ["rewind", "rerun"])
def test_what_is_repaired_goes_by_its_own_limits_if_its_code_had_caught_an_error(engine, limit, verb):
    broken = [True]

    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def measure(value: object) -> int:
        if broken and value == "last":
            raise ValueError(value)
        return len(str(value))

    @workflow.defn
    async def catching() -> int:
        try:
            return await measure("x" * 2000)
        except PayloadTooLarge:
            return await measure("x" * 500) + await measure("last")

    limit(payload=1000, tags=9)
    handle = catching.start()
    engine.run_until_quiet()
    assert handle.status == "failed"

    limit(payload=5000, tags=9)
    broken.clear()
    if verb == "rewind":
        handle.rewind()
    else:
        handle = handle.rerun_from_activity(1)

    assert engine.result(handle) == 504
    assert handle.history()[0].data["limits"] == {"payload": 1000, "tags": 9}


def deep(levels: int) -> list:
    value: list = []
    for _ in range(levels - 1):
        value = [value]
    return value


# Python manages so much here; from where the stack is deeper, what is stored so cannot be read.
@pytest.mark.parametrize("levels", [201, 900])
@pytest.mark.parametrize("of", ["result", "heartbeat", "argument", "status", "tags", "signal"])
def test_what_is_nested_too_deeply_is_refused_before_it_is_stored(engine, of, levels):
    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def nests() -> object:
        if of == "heartbeat":
            activity.heartbeat(deep(levels))
        return deep(levels) if of == "result" else None

    @workflow.defn
    async def nesting(value: object = None) -> None:
        await nests()
        if of == "status":
            workflow.set_status(deep(levels))

    def run() -> object:
        tags = {"a": deep(levels)} if of == "tags" else {}
        handle = nesting.options(tags=tags).start(*([deep(levels)] if of == "argument" else []))
        if of == "signal":
            handle.signal("go", deep(levels))
        return engine.result(handle)

    with pytest.raises((InvalidInput, WorkflowFailed), match="nested too deeply"):
        run()
    assert InboxEvent.objects.count() <= (of == "signal")


def test_what_is_nested_as_deeply_as_can_be_goes_all_the_way(engine, path):
    @activity.defn
    def nests(value: object) -> object:
        activity.heartbeat(value)
        return value

    @workflow.defn
    async def nesting(value: object) -> object:
        workflow.set_status(value)
        return await nests(value)

    # As an argument it is two levels further in.
    handle = nesting.options(tags={"a": deep(199)}).start(deep(198))

    assert engine.result(handle) == deep(198)
    assert handle.history()


def test_too_large_a_signal_is_refused(engine, limit, echo):
    limit(payload=1000)
    handle = echo.start(1)
    engine.run_until_quiet()

    with pytest.raises(PayloadTooLarge, match="signal go"):
        handle.signal("go", "x" * 1001)
    assert InboxEvent.objects.count() == 0


def test_too_large_a_result_fails_the_activity_once(engine, path, settings):
    settings.DURABLE = {**settings.DURABLE, "LIMITS": {"payload": 1000}}
    ran = []

    @activity.defn
    def large() -> str:
        ran.append(1)
        return "x" * 1001

    @workflow.defn
    async def outer() -> str:
        try:
            return await large()
        except Exception as error:
            return f"{error.cause.type}: {error.cause.message}"

    assert engine.result(outer.start()).startswith("PayloadTooLarge: result of large: 1,003 bytes")
    assert ran == [1]


def test_too_large_a_result_from_outside_is_refused_and_can_be_given_again(engine, limit):
    limit(payload=1000)
    tokens = []

    @activity.defn
    def later() -> str:
        tokens.append(activity.complete_later())

    @workflow.defn
    async def outer() -> str:
        return await later()

    handle = outer.start()
    engine.run_until_quiet()
    with pytest.raises(PayloadTooLarge):
        client.complete_activity(tokens[0], "x" * 1001)
    client.complete_activity(tokens[0], "small")

    assert engine.result(handle) == "small"


@pytest.mark.parametrize("what", ["argument", "child", "signal", "side effect", "result", "continue", "status"])
@pytest.mark.lenient
def test_too_large_a_value_in_workflow_code_is_an_error_there(engine, limit, echo, what):
    limit(payload=1000)
    large = "x" * 1001
    ran = []

    @activity.defn
    def work(value: str) -> None:
        ran.append(value)

    @workflow.defn
    async def outer() -> object:
        match what:
            case "argument":
                await work(large)
            case "child":
                await echo.options(id="kid")(large)
            case "signal":
                await workflow.signal_instance("nobody", "go", large)
            case "side effect":
                workflow.side_effect(lambda: large)
            case "continue":
                workflow.continue_as_new(large)
            case "status":
                workflow.set_status(large)
        return large

    handle = outer.start()
    with pytest.raises(WorkflowFailed) as failed:
        engine.result(handle)

    failure = failed.value.failure
    if what != "continue":
        assert (failure.cause if what == "side effect" else failure).type == "PayloadTooLarge"
    assert ran == []
    assert Instance.objects.count() == 1
    recorded = ["SideEffectRecorded"] if what == "side effect" else []
    assert kinds(handle) == ["ExecutionStarted", *recorded, "ExecutionFailed"]


def test_too_long_a_history_stalls_with_advice_and_nothing_half_written(engine, limit):
    limit(history=20)

    @workflow.defn
    async def long() -> None:
        while True:
            await workflow.wait_signal("go")

    handle = long.start()
    for _ in range(19):
        handle.signal("go")
    engine.run_until_quiet()
    assert len(kinds(handle)) == 20
    handle.signal("go")
    engine.run_until_quiet()

    stall = handle.instance.stall
    assert handle.status == "stalled"
    assert (stall["error"], stall["limit"], stall["value"], stall["maximum"]) == ("LimitExceeded", "history", 21, 20)
    assert "continue as new" in stall["message"]
    assert (len(kinds(handle)), InboxEvent.objects.count()) == (20, 1)


def test_instance_at_its_history_limit_can_still_be_terminated(engine, limit):
    limit(history=5)

    @workflow.defn
    async def long() -> None:
        while True:
            await workflow.wait_signal("go")

    handle = long.start()
    for _ in range(6):
        handle.signal("go")
        engine.run_until_quiet()
    assert handle.status == "stalled"

    handle.terminate()
    assert handle.status == "terminated"


def test_full_inbox_refuses_signals(engine, limit, echo):
    limit(inbox=3)
    handle = echo.options(delay=60).start(1)
    handle.signal("go", 1)
    handle.signal("go", 2)

    with pytest.raises(LimitExceeded) as refused:
        handle.signal("go", 3)

    assert (refused.value.limit, refused.value.value, refused.value.maximum) == ("inbox", 4, 3)
    assert InboxEvent.objects.count() == 3


def test_too_wide_a_fan_out_asks_for_nothing(engine, limit):
    limit(fan_out=5)
    ran = []

    @activity.defn
    def work(number: int) -> None:
        ran.append(number)

    @workflow.defn
    async def wide(width: int) -> None:
        await asyncio.gather(*(work(n) for n in range(width)))

    fits, too_wide = wide.start(5), wide.start(6)
    engine.run_until_quiet()

    assert fits.status == "completed"
    assert too_wide.status in ("stalled", "failed")
    facts = too_wide.instance.stall or too_wide.instance.failure
    assert "fan_out: 6 is over the limit of 5" in facts["message"]
    assert len(ran) == 5
    assert not ActivityTask.objects.exists()
    assert "ActivityScheduled" not in kinds(too_wide)


def test_tags_are_limited_in_number_and_name(engine, limit, echo):
    limit(tags=2)
    echo.options(tags={"a": 1, "b": 2}).start(1)

    with pytest.raises(LimitExceeded, match="tags: 3 is over the limit of 2"):
        echo.options(tags={"a": 1, "b": 2, "c": 3}).start(1)
    for bad in ({"": 1}, {"x" * 201: 1}):
        with pytest.raises(InvalidInput, match="tag"):
            echo.options(tags=bad).start(1)
    with pytest.raises(InvalidInput, match="tag a"):
        echo.options(tags={"a": object()}).start(1)
    assert Instance.objects.count() == 1


def test_refused_input_writes_no_history(engine, limit, echo):
    limit(payload=10)
    with pytest.raises(PayloadTooLarge):
        echo.start("x" * 100)

    assert not HistoryEvent.objects.exists()
    assert not Instance.objects.exists()
