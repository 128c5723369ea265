"""Updates change a workflow through closures that its function registered; each is recorded and has an outcome."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

from durable.core import calls, context, marks, queries, stepping, updates
from durable.core import commands as cmd
from durable.core import events as ev
from durable.core.errors import (
    ActivityError,
    ForbiddenInWorkflow,
    InvalidDefinition,
    InvalidInput,
    NondeterminismError,
    OutsideWorkflow,
    ReadOnly,
)
from durable.core.execution import Execution
from durable.core.failures import Failure
from durable.core.payloads import Converter
from durable.core.replay import catch_up, replay
from durable.core.updates import all_handlers_finished, update
from tests.core.histories import (
    CANCEL,
    CANCELED,
    STARTED,
    activity,
    check_every_cut,
    completed,
    decide,
    failed,
    failure_of,
    fired,
    given,
    result_of,
    returned,
    scheduled,
    signal,
    started,
    timer,
    workflow,
)


@activity
def a(n: int) -> Any: ...


@workflow
async def child() -> str: ...


@dataclass
class Line:
    sku: str
    count: int


def accepted(name: str, *args: Any, id: str = "u", at: float = 0.0, **kwargs: Any) -> ev.UpdateAccepted:
    return ev.UpdateAccepted(update_id=id, name=name, input=given(*args, **kwargs), at=at)


def outcome(name: str, result: Any = None, *, id: str = "u") -> ev.UpdateCompleted:
    return ev.UpdateCompleted(update_id=id, name=name, result=result)


def live(definition, *events: ev.Event) -> Execution:
    """Return an execution that stands, by replay, where these events from outside brought it."""
    log: list[Any] = []
    first = Execution(definition, converter=Converter())
    for event in events:
        log += [event, *(command for command in stepping.step(first, event) if isinstance(command, cmd.Recordable))]
    again = Execution(definition, converter=Converter())
    catch_up(again, log)
    return again


def failure_type(decision) -> str:
    """Return how the one update that is done failed."""
    (done,) = [c for c in decision.commands if isinstance(c, ev.UpdateCompleted)]
    assert done.failure is not None and done.result is None
    return done.failure.type


@workflow
async def cart():
    lines = []

    def is_new(line: Line) -> None:
        if any(line.sku == each.sku for each in lines):
            raise ValueError(f"{line.sku} is there already")
        line.count = 0  # of a copy that is nobody's

    @update(validator=is_new)
    def add(line: Line) -> int:
        lines.append(line)
        return sum(each.count for each in lines)

    @update
    async def price(sku: str) -> str:
        each = await a(lines[0].count)
        return f"{sku}: {each}"

    @update
    def fail() -> None:
        raise LookupError("no such line")

    await calls.wait_signal("checkout")
    return [line.sku for line in lines]


PEN, INK = {"sku": "pen", "count": 2}, {"sku": "ink", "count": 3}


# --- running


def test_handler_changes_the_state_and_its_value_is_recorded():
    decision = decide(cart, [STARTED], accepted("add", PEN), accepted("add", INK, id="v"), signal("checkout"))

    assert decision.commands == (outcome("add", 2), outcome("add", 5, id="v"), returned(["pen", "ink"]))


def test_async_handler_may_wait_while_the_workflow_goes_on():
    log = [STARTED, accepted("add", PEN, id="1"), outcome("add", 2, id="1"), accepted("price", "pen", id="2")]
    waiting = decide(cart, log)
    assert waiting.commands == (scheduled(0, "a", 2),)

    done = decide(cart, [*log, scheduled(0, "a", 2)], completed(0, 9))
    assert done.commands == (outcome("price", "pen: 9", id="2"),)
    assert done.outcome is None


def test_handler_may_do_all_that_a_workflow_may():
    @workflow
    async def able():
        @update
        async def everything() -> list[Any]:
            first = marks.side_effect(lambda: 1)
            await asyncio.sleep(5)
            context.set_status("slept")
            return [first, await child(), marks.patched("p"), await calls.wait_signal("go"), await asyncio.gather(a(1))]

        await calls.wait_signal("end")

    kid = ev.ChildScheduled(event_id=2, name="child", version=0, instance_id=":0002", input=given())
    decision = decide(
        able,
        [STARTED],
        accepted("everything"),
        fired(1, at=5.0),
        ev.ChildCompleted(event_id=2, result="kid"),
        signal("go", "gone"),
        completed(4, "done"),
    )

    assert decision.commands == (
        ev.SideEffectRecorded(event_id=0, value=1),
        timer(1, 5.0),
        kid,
        ev.PatchMarked(event_id=3, name="p"),
        scheduled(4, "a", 1),
        outcome("everything", [1, "kid", True, "gone", ["done"]]),
    )
    assert decision.status == "slept"


def test_handlers_of_one_name_run_side_by_side():
    log = [STARTED, accepted("add", PEN, id="0"), outcome("add", 2, id="0")]
    decision = decide(cart, log, accepted("price", "x", id="1"), accepted("price", "y", id="2"), completed(1, 1))

    assert decision.commands[2:] == (outcome("price", "y: 1", id="2"),)


def test_arguments_come_by_annotation_and_the_value_goes_as_json():
    @workflow
    async def echoing():
        @update
        def echo(line: Line, *, times: int = 1) -> list[Line]:
            assert isinstance(line, Line)
            return [line] * times

        await calls.wait_signal("end")

    decision = decide(echoing, [STARTED], accepted("echo", PEN, times=2))

    assert decision.commands == (outcome("echo", [PEN, PEN]),)


def test_handler_sees_the_context_variables_of_the_workflow():
    variable = contextvars.ContextVar("variable", default="none")

    @workflow
    async def setting():
        @update
        def get() -> str:
            return variable.get()

        variable.set("of the workflow")
        await calls.wait_signal("end")

    assert decide(setting, [STARTED], accepted("get")).commands == (outcome("get", "of the workflow"),)


def test_update_lets_a_condition_go_on():
    @workflow
    async def waiting():
        count = 0

        @update
        def more() -> int:
            nonlocal count
            count += 1
            return count

        await calls.wait_until(lambda: count == 2)
        return count

    decision = decide(waiting, [STARTED], accepted("more", id="1"), accepted("more", id="2"))

    assert decision.commands == (outcome("more", 1, id="1"), outcome("more", 2, id="2"), returned(2))


@pytest.mark.parametrize("wake", ["event", "future"])
def test_outcome_is_recorded_before_the_workflow_that_it_wakes_returns(wake):
    @workflow
    async def waiting():
        event, future = asyncio.Event(), asyncio.get_running_loop().create_future()

        @update
        async def finish() -> str:
            event.set()
            future.set_result(None)
            return "bye"

        await (event.wait() if wake == "event" else future)

    assert decide(waiting, [STARTED], accepted("finish")).commands == (outcome("finish", "bye"), returned())


# --- failing


def test_error_of_a_handler_is_its_outcome_and_not_the_workflows():
    decision = decide(cart, [STARTED], accepted("fail"))

    assert failure_type(decision) == "LookupError"
    assert decision.outcome is None
    assert result_of(decide(cart, [STARTED], accepted("fail"), signal("checkout"))) == []


def test_failed_activity_of_a_handler_is_its_outcome():
    log = [STARTED, accepted("add", PEN, id="1"), outcome("add", 2, id="1"), accepted("price", "pen", id="2")]

    assert failure_type(decide(cart, log, failed(0))) == "ActivityError"


@pytest.mark.parametrize(("error", "type"), [(asyncio.CancelledError, "CancelledError"), (SystemExit, "SystemExit")])
def test_odd_errors_of_a_handler_are_its_outcome(error, type):
    @workflow
    async def odd():
        @update
        async def leave() -> None:
            raise error("bye")

        await calls.wait_signal("end")

    decision = decide(odd, [STARTED], accepted("leave"))

    assert failure_type(decision) == type
    assert decision.outcome is None


def test_exit_that_stops_the_worker_is_not_the_handlers():
    stop = {"__name__": "billiard.pool", "sys": sys}
    exec("def stop(): sys.exit()", stop)

    @workflow
    async def stopped():
        @update
        def leave() -> None:
            stop["stop"]()

        await calls.wait_signal("end")

    execution = live(stopped, STARTED)
    with pytest.raises(SystemExit):
        stepping.step(execution, accepted("leave"))


@pytest.mark.parametrize("swallow", [False, True], ids=["raised", "swallowed"])
@pytest.mark.parametrize("where", ["handler", "task"])
def test_forbidden_call_fails_the_update_alone(swallow, where):
    @workflow
    async def reaching():
        async def reach() -> None:
            try:
                asyncio.get_running_loop().run_in_executor(None, int)
            except ForbiddenInWorkflow:
                if not swallow:
                    raise

        @update
        async def lookup() -> str:
            await (reach() if where == "handler" else asyncio.create_task(reach()))
            return "looked up"

        await calls.wait_signal("end")

    decision = decide(reaching, [STARTED], accepted("lookup"))

    assert failure_type(decision) == "ForbiddenInWorkflow"
    assert decision.outcome is None


def test_forbidden_call_of_what_a_handler_left_running_fails_the_workflow():
    @workflow
    async def reaching():
        kept = []

        async def later() -> None:
            await calls.wait_signal("go")
            asyncio.get_running_loop().run_in_executor(None, int)

        @update
        async def begin() -> None:
            kept.append(asyncio.create_task(later()))

        await calls.wait_signal("end")

    decision = decide(reaching, [STARTED], accepted("begin"), signal("go"))

    assert failure_of(decision).type == "ForbiddenInWorkflow"


@pytest.mark.parametrize(("value", "type"), [(object(), "InvalidInput"), ("x" * 3_000_000, "PayloadTooLarge")])
def test_value_that_cannot_be_told_is_a_failure(value, type):
    @workflow
    async def odd():
        @update
        def get() -> Any:
            return value

        await calls.wait_signal("end")

    assert failure_type(decide(odd, [STARTED], accepted("get"))) == type


def test_arguments_that_do_not_fit_any_more_are_a_failure():
    assert failure_type(decide(cart, [STARTED], accepted("add", "pen"))) == "InvalidInput"


# --- ending before it


def test_cancel_of_the_workflow_leaves_handlers_alone():
    @workflow
    async def patient():
        @update
        async def slow() -> str:
            return await a(1)

        try:
            await calls.wait_signal("end")
        finally:
            await calls.wait_until(all_handlers_finished)

    decision = decide(patient, [STARTED], accepted("slow"), CANCEL, completed(0, "through"))

    assert decision.commands == (scheduled(0, "a", 1), outcome("slow", "through"), CANCELED)


def test_workflow_may_return_over_a_handler():
    log = [STARTED, accepted("add", PEN, id="1"), outcome("add", 2, id="1"), accepted("price", "pen", id="2")]

    decision = decide(cart, log, signal("checkout"))

    assert decision.commands == (scheduled(0, "a", 2), returned(["pen"]))


def test_handler_that_is_put_away_records_nothing():
    @workflow
    async def ending():
        @update
        async def stubborn() -> None:
            try:
                await a(1)
            finally:
                raise LookupError("while it is put away")

        await calls.wait_signal("end")

    execution = live(ending, STARTED, accepted("stubborn"))
    assert stepping.step(execution, signal("end")) == [returned()]
    execution.close()


# --- continuing as new


@workflow
async def generations(number: int):
    @update
    async def slow() -> str:
        return await a(number)

    @update
    async def go_on() -> None:
        calls.continue_as_new(number + 1)

    await calls.wait_signal("next")
    try:
        calls.continue_as_new(number + 1)
    except InvalidInput as error:
        context.set_status(str(error))
    await calls.wait_until(all_handlers_finished)
    calls.continue_as_new(number + 1)


def test_continue_as_new_is_refused_while_an_update_is_handled():
    log = [started(1), accepted("slow", id="id-7"), scheduled(0, "a", 1)]

    refused = decide(generations, log, signal("next"))
    assert refused.outcome is None
    for part in ("update slow", "id-7", "all_handlers_finished"):
        assert part in refused.status

    after = decide(generations, log, signal("next"), completed(0, "through"))
    assert after.commands == (outcome("slow", "through", id="id-7"), ev.ExecutionContinued(input=given(2)))


def test_handler_cannot_continue_as_new_itself():
    assert failure_type(decide(generations, [started(1)], accepted("go_on"))) == "InvalidInput"


def test_all_handlers_finished_knows():
    @workflow
    async def counting():
        seen = [all_handlers_finished()]

        @update
        async def slow() -> None:
            await a(1)

        await calls.wait_signal("look")
        seen.append(all_handlers_finished())
        await calls.wait_signal("look")
        return [*seen, all_handlers_finished()]

    decision = decide(counting, [STARTED], accepted("slow"), signal("look"), completed(0), signal("look"))

    assert result_of(decision) == [True, False, True]
    with pytest.raises(OutsideWorkflow):
        all_handlers_finished()


# --- replaying


def test_code_that_has_the_update_no_more_does_not_fit():
    @workflow
    async def mute():
        await calls.wait_signal("checkout")

    with pytest.raises(NondeterminismError) as caught:
        replay(mute, [STARTED, accepted("add", PEN)])

    error = caught.value
    assert (error.seq, error.event_id, error.expected, error.got) == (2, None, "UpdateAccepted(add)", None)
    assert "there are: none" in str(error)
    with pytest.raises(NondeterminismError, match="there are: add, fail, price"):
        replay(cart, [STARTED, accepted("remove")])


@pytest.mark.parametrize(
    "recorded",
    [[outcome("add", 2, id="other")], [outcome("price", 2)], [outcome("add", 2), outcome("add", 2)], [returned()]],
    ids=["id", "name", "twice", "end"],
)
def test_outcome_that_differs_in_name_or_id_does_not_fit(recorded):
    with pytest.raises(NondeterminismError):
        replay(cart, [STARTED, accepted("add", PEN), *recorded, signal("checkout")])


def test_outcome_with_another_value_fits():
    assert replay(cart, [STARTED, accepted("add", PEN), outcome("add", 99)]).commands == ()
    failure = Failure(type="ValueError", message="then")
    told = ev.UpdateCompleted(update_id="u", name="add", failure=failure)
    assert replay(cart, [STARTED, accepted("add", PEN), told]).commands == ()


def test_handler_that_was_never_done_before_the_history_goes_on_does_not_fit():
    @workflow
    async def changed():
        @update
        def add(line: Line) -> int:
            return 1

        await a(1)

    with pytest.raises(NondeterminismError, match="UpdateCompleted"):
        replay(changed, [STARTED, scheduled(0, "a", 1), accepted("add", PEN), completed(0)])


def test_events_count_to_the_length_of_the_history():
    @workflow
    async def measured():
        @update
        def length() -> int:
            return context.info().history_length

        await calls.wait_signal("end")
        return context.info().history_length

    decision = decide(measured, [STARTED], accepted("length"), signal("end"))

    assert decision.commands == (outcome("length", 2), returned(4))


def test_update_of_an_ended_execution_does_nothing():
    assert replay(cart, [STARTED, signal("checkout"), returned([])], [accepted("add", PEN)]).commands == ()


# --- registering


def test_update_can_be_registered_in_three_ways():
    @workflow
    async def three():
        @update
        def first() -> int:
            return 1

        @update(validator=lambda: None)
        def second() -> int:
            return 2

        def third() -> int:
            return 3

        assert update(third, validator=lambda: None) is third
        await calls.wait_signal("end")

    execution = live(three, STARTED)

    assert list(execution.updates.handlers) == ["first", "second", "third"]
    assert [handler.validator is None for handler in execution.updates.handlers.values()] == [True, False, False]


def test_later_registration_of_a_name_takes_the_place_of_the_earlier():
    @workflow
    async def twice():
        for number in (1, 2):

            @update
            def which(number=number):
                return number

            await calls.wait_signal("go")

    assert decide(twice, [STARTED], accepted("which")).commands == (outcome("which", 1),)
    assert decide(twice, [STARTED, signal("go")], accepted("which")).commands == (outcome("which", 2),)


def test_names_are_fresh_until_somebody_looked():
    @workflow
    async def growing():
        for name in ("first", "second", "first"):

            @update
            def handler() -> None: ...

            handler.__name__ = name
            update(handler)
            await calls.wait_signal("go")

    execution = live(growing, STARTED)
    assert execution.updates.fresh == {"handler", "first"}
    execution.updates.fresh.clear()
    stepping.step(execution, signal("go"))
    assert execution.updates.fresh == {"second"}
    execution.updates.fresh.clear()
    stepping.step(execution, signal("go"))
    assert execution.updates.fresh == set()


def test_async_validator_is_refused_when_it_is_registered():
    @workflow
    async def wrong():
        async def slow() -> None: ...

        with pytest.raises(InvalidDefinition, match="slow"):
            update(lambda: None, validator=slow)

    assert replay(wrong, [STARTED]).outcome == returned()


def test_update_outside_a_workflow_is_refused():
    with pytest.raises(OutsideWorkflow):
        update(lambda: 1)


def test_query_cannot_register_an_update():
    @workflow
    async def sly():
        @queries.query
        def touch() -> None:
            update(lambda: 1)

        await calls.wait_signal("end")

    with pytest.raises(ReadOnly):
        queries.answer(live(sly, STARTED), "touch", given())


# --- validating


def test_validator_refuses_by_raising_and_sees_the_state():
    execution = live(cart, STARTED, accepted("add", PEN))

    updates.check(execution, accepted("add", INK))
    with pytest.raises(ValueError, match="pen is there already"):
        updates.check(execution, accepted("add", PEN))
    updates.check(execution, accepted("fail"))


def test_validator_gets_arguments_of_its_own():
    execution = live(cart, STARTED)
    updates.check(execution, accepted("add", PEN))

    assert stepping.step(execution, accepted("add", PEN)) == [outcome("add", 2)]


@pytest.mark.parametrize("args", [(), ("pen",), (PEN, PEN)])
def test_arguments_that_do_not_fit_are_refused(args):
    with pytest.raises(InvalidInput, match="add"):
        updates.check(live(cart, STARTED), accepted("add", *args))


def test_validator_that_returns_a_coroutine_is_refused():
    @workflow
    async def wrong():
        update(lambda: 1, validator=lambda: a(1))
        await calls.wait_signal("end")

    with pytest.raises(InvalidDefinition, match=r"^the validator of update '<lambda>': it returned a"):
        updates.check(live(wrong, STARTED), accepted("<lambda>"))


@pytest.mark.parametrize("swallow", [False, True], ids=["raised", "swallowed"])
@pytest.mark.parametrize("touch", ["status", "task", "executor"])
def test_validator_may_look_and_not_touch(touch, swallow):
    tries = {
        "status": lambda: context.set_status("seen"),
        "task": lambda: asyncio.create_task(asyncio.sleep(1)),
        "executor": lambda: asyncio.get_running_loop().run_in_executor(None, int),
    }

    @workflow
    async def sly():
        def check() -> None:
            try:
                tries[touch]()
            except Exception:
                if not swallow:
                    raise

        update(lambda: 1, validator=check)
        await calls.wait_signal("end")

    with pytest.raises((ReadOnly, ForbiddenInWorkflow)) as refused:
        updates.check(live(sly, STARTED), accepted("<lambda>"))
    assert getattr(refused.value, "looker", "") in ("", "the validator of update '<lambda>'")
    assert refused.value.location.startswith(f"{__file__}:")


def test_rejected_update_wakes_no_condition():
    looks = []

    @workflow
    async def waiting():
        update(lambda: 1, validator=lambda: 1 / 0)
        await calls.wait_until(lambda: looks.append(1))

    execution = live(waiting, STARTED)
    before = len(looks)
    with pytest.raises(ZeroDivisionError):
        updates.check(execution, accepted("<lambda>"))

    assert len(looks) == before


# --- whatever the order of events


@workflow
async def shop(limit: int):
    done = []

    @update
    def note(n: int) -> int:
        done.append(n)
        return len(done)

    @update
    async def work(n: int) -> Any:
        try:
            async with asyncio.timeout(n):
                value = await a(n)
        except (TimeoutError, ActivityError) as error:
            value = type(error).__name__
        done.append(value)
        if n == 3:
            raise LookupError(str(value))
        return marks.side_effect(lambda: value)

    first = await calls.wait_signal("late")

    @update
    async def late(n: int) -> list[Any]:
        return await asyncio.gather(asyncio.sleep(n, first), a(n))

    await calls.wait_until(lambda: len(done) >= limit)
    await calls.wait_until(all_handlers_finished)
    return done


def possible(decision, names: set[str], at: float, number: int) -> list[ev.Event]:
    """Return what may happen next."""
    events: list[Any] = [accepted(name, n, id=f"u{number}", at=at) for name in sorted(names) for n in (1, 3)]
    events += [signal("late", "now", at=at), ev.CancelRequested(at=at)]
    for asked in decision.open:
        if isinstance(asked, ev.TimerStarted):
            events.append(fired(asked.event_id, at=max(at, asked.fire_at)))
        else:
            events += [completed(asked.event_id, at, at=at), failed(asked.event_id)]
    return events


@settings(max_examples=100)
@examples(st.integers(1, 4), st.data())
def test_replay_from_every_beginning_decides_the_same(limit, data):
    log: list[Any] = []
    event: ev.Event = started(limit, at=1.0)

    for number in range(14):
        decision = replay(shop, log, [event])
        log += [event, *(c for c in decision.commands if isinstance(c, cmd.Recordable))]
        if decision.outcome is not None:
            break
        execution = Execution(shop, converter=Converter())
        catch_up(execution, log)
        names = set(execution.updates.handlers)
        execution.close()
        event = data.draw(st.sampled_from(possible(decision, names, event.at + 1, number)))

    asked = [event.update_id for event in log if isinstance(event, ev.UpdateAccepted)]
    told = [event.update_id for event in log if isinstance(event, ev.UpdateCompleted)]
    assert len(told) == len(set(told)) and set(told) <= set(asked)
    check_every_cut(shop, log)
