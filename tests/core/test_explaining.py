"""Explaining an execution: where its code stood after an event, with its variables and what it waited for."""

from __future__ import annotations

import asyncio
import collections
from contextlib import contextmanager
from typing import Any

import pytest

from durable.core import calls, context, explaining, marks, selecting, shown, stepping
from durable.core import events as ev
from durable.core.channels import Channel
from durable.core.errors import InvalidInput, NondeterminismError, PatchReused, UndecodableEvent
from durable.core.execution import Execution
from durable.core.failures import Failure
from durable.core.payloads import Converter
from tests.core.histories import (
    CANCEL,
    STARTED,
    activity,
    completed,
    failed,
    fired,
    given,
    raised,
    returned,
    scheduled,
    signal,
    started,
    timer,
    timer_canceled,
    workflow,
)


@activity
def charge(amount: int = 0) -> Any: ...


@activity
def ship() -> Any: ...


@workflow
async def child() -> Any: ...


def explain(definition: Any, history: Any, **options: Any) -> explaining.Explanation:
    def make() -> Execution:
        return Execution(definition, converter=Converter(), instance_id="i", execution_id="e")

    return explaining.explain(make, history, **options)


def only(explanation: explaining.Explanation) -> explaining.TaskStack:
    (task,) = explanation.tasks
    return task


def line_of(text: str) -> int:
    """Return the number of the one line in this file that ends in ``text``."""
    with open(__file__) as source:
        numbers = [number for number, line in enumerate(source, 1) if line.rstrip().endswith(text)]
    assert len(numbers) == 1, numbers
    return numbers[0]


async def double(amount: int) -> int:
    doubled = 2 * amount
    await charge(doubled)  # in double
    return doubled


@workflow
async def order(number: int) -> Any:
    total = number
    for _round in range(2):
        total += await double(total)  # in order
    context.set_status("shipping")
    await ship()
    return total


ORDER = [
    started(5, at=100.0),
    scheduled(0, "charge", 10),
    completed(0, at=110.0),
    scheduled(1, "charge", 30),
    completed(1, at=120.0),
    scheduled(2, "ship"),
    completed(2, at=130.0),
    returned(45),
]


@pytest.mark.parametrize("at", [3, 4])
def test_stack_has_the_lines_and_the_variables_of_that_moment(at):
    explanation = explain(order, ORDER, at=at)

    task = only(explanation)
    outer, inner = task.stack
    assert (outer.file, outer.line, outer.source) == (
        __file__,
        line_of("# in order"),
        "total += await double(total)  # in order",
    )
    assert (outer.function, inner.function, inner.line) == ("order", "double", line_of("# in double"))
    assert outer.variables == {"number": "5", "total": "15", "_round": "1"}
    assert inner.variables == {"amount": "15", "doubled": "30"}
    assert (explanation.first, explanation.seq, explanation.length) == (3, 4, 8)
    assert (explanation.at, explanation.end) == (110.0, None)
    assert (explanation.instance_id, explanation.execution_id) == ("i", "e")
    assert (explanation.workflow, explanation.version) == ("order", 0)
    (asked,) = explanation.open
    assert (asked.event_id, asked.kind, asked.name, asked.is_awaited) == (1, "ActivityScheduled", "charge", True)
    assert (asked.asked_at, asked.location) == (110.0, f"{__file__}:{line_of('# in double')}")
    assert (task.waits.kind, task.waits.name, task.waits.event_id) == ("activity", "charge", 1)
    assert task.waits.since == 110.0


def test_state_goes_back_and_forth_with_the_event():
    first, last = explain(order, ORDER, at=1), explain(order, ORDER, at=6)

    assert (first.status, last.status) == (None, "shipping")
    assert only(first).stack[0].variables["total"] == "5"
    assert only(last).stack[0].variables["total"] == "45"


def test_last_event_is_explained_by_default_and_nothing_runs_after_the_end():
    explanation = explain(order, ORDER)

    assert (explanation.seq, explanation.end, explanation.tasks, explanation.open) == (8, "ExecutionCompleted", (), ())
    assert explanation.raised is None


def test_failure_shows_where_it_was_raised_with_the_variables():
    @workflow
    async def fails(number: int) -> None:
        try:
            await charge(number)
        except Exception as error:
            number += 1
            raise ValueError("cannot") from error

    history = [started(5), scheduled(0, "charge", 5), failed(0), raised("ValueError", "cannot")]

    explanation = explain(fails, history)

    assert explanation.end == "ExecutionFailed"
    assert explanation.raised is not None
    assert (explanation.raised.type, explanation.raised.message) == ("ValueError", "cannot")
    (frame,) = explanation.raised.stack
    assert frame.source == 'raise ValueError("cannot") from error'
    assert frame.variables["number"] == "6"


def test_end_that_was_imposed_leaves_the_code_where_it_stood():
    explanation = explain(order, [*ORDER[:2], ev.ExecutionTerminated(reason="enough")])

    assert explanation.end == "ExecutionTerminated"
    assert [frame.function for frame in only(explanation).stack] == ["order", "double"]


def test_step_that_reached_outside_is_not_run_again():
    history = [*ORDER[:3], ev.ExecutionFailed(failure=Failure(type="ForbiddenInWorkflow", message="open"))]

    explanation = explain(order, history)

    assert (explanation.end, explanation.seq) == ("ExecutionFailed", 4)
    assert only(explanation).stack[0].variables["total"] == "5"


def test_canceled_one_had_no_exception_of_its_own():
    canceled = explain(order, [*ORDER[:2], CANCEL, ev.ExecutionCanceled()])

    assert (canceled.end, canceled.raised) == ("ExecutionCanceled", None)


def test_history_is_explained_up_to_where_the_code_does_something_else():
    renamed = [*ORDER[:3], scheduled(1, "refund", 30), *ORDER[4:]]

    explanation = explain(order, renamed)

    assert (explanation.seq, explanation.length) == (2, 8)
    assert isinstance(explanation.trouble, NondeterminismError)
    assert (explanation.trouble.seq, explanation.trouble.expected) == (4, "ActivityScheduled(refund)")
    assert only(explanation).stack[1].variables == {"amount": "5", "doubled": "10"}


def test_what_comes_before_a_mismatch_has_no_trouble():
    renamed = [*ORDER[:3], scheduled(1, "refund", 30), *ORDER[4:]]

    assert explain(order, renamed, at=2).trouble is None


def test_mismatch_in_the_first_step_leaves_nothing_to_show():
    explanation = explain(order, [started(5), scheduled(0, "refund", 10)])

    assert (explanation.seq, explanation.tasks) == (0, ())
    assert isinstance(explanation.trouble, NondeterminismError)


def test_code_that_goes_on_where_the_history_does_not_is_a_mismatch():
    @workflow
    async def more() -> None:
        await asyncio.gather(charge(), ship())

    explanation = explain(more, [STARTED, scheduled(0, "charge"), completed(0)])

    assert isinstance(explanation.trouble, NondeterminismError)
    assert explanation.trouble.got == "ActivityScheduled(ship)"


def test_patch_that_is_used_twice_is_shown_as_the_trouble():
    @workflow
    async def reuses() -> None:
        await charge()
        marks.patched("one")
        marks.deprecate_patch("one")

    history = [STARTED, scheduled(0, "charge"), completed(0), ev.PatchMarked(event_id=1, name="one")]

    explanation = explain(reuses, history)

    assert isinstance(explanation.trouble, PatchReused)
    assert explanation.seq == 2


def test_history_that_cannot_be_read_further_says_so():
    trouble = UndecodableEvent(3, "ActivityMoved", "unknown")

    explanation = explain(order, ORDER[:2], trouble=trouble)

    assert (explanation.seq, explanation.trouble) == (2, trouble)
    assert explain(order, ORDER[:2], at=2, trouble=trouble).trouble is None


@pytest.mark.parametrize("at", [0, 9, -1])
def test_event_that_the_history_does_not_have_is_refused(at):
    with pytest.raises(InvalidInput, match="the history has the events 1 to 8"):
        explain(order, ORDER, at=at)


def test_empty_history_explains_nothing():
    assert explain(order, []).tasks == ()


def test_side_effect_does_not_run_and_uses_its_record():
    ran = []

    @workflow
    async def draws() -> None:
        await charge()
        value = marks.side_effect(lambda: ran.append(1) or 1)
        await charge(value)

    history = [
        STARTED,
        scheduled(0, "charge"),
        completed(0),
        ev.SideEffectRecorded(event_id=1, value=7),
        scheduled(2, "charge", 7),
    ]

    assert only(explain(draws, history, at=4)).stack[0].variables["value"] == "7"
    assert isinstance(explain(draws, history[:3]).trouble, NondeterminismError), "it was not recorded"
    assert not ran


def test_watch_is_around_all_code_of_the_user():
    watched = []

    @contextmanager
    def watch(execution):
        watched.append(execution)
        yield

    explain(order, [*ORDER[:3], scheduled(1, "refund", 30), *ORDER[4:]], watch=watch)

    assert len(watched) == 2


# --- what tasks wait for


def waits(fn: Any, *events: ev.Event) -> Any:
    return {task.name: task.waits for task in explain(workflow(fn), [STARTED, *events]).tasks}


def test_every_kind_of_wait_is_told_with_place_and_time():
    async def waiting() -> None:
        await charge()

        async def on_signal() -> None:
            await calls.wait_signal("go", timeout=60)

        async def on_timer() -> None:
            await asyncio.sleep(30)

        async def on_child() -> None:
            await child()

        async def on_handle(handle: Any) -> None:
            await handle

        async def on_send() -> None:
            await calls.signal_instance("other", "hello")

        async def on_condition() -> None:
            await calls.wait_until(lambda: False)

        async def on_channel() -> None:
            await Channel().receive()

        async def on_lock() -> None:
            await asyncio.Event().wait()

        async def on_future() -> None:
            await asyncio.get_running_loop().create_future()

        async def on_select() -> None:
            await selecting.select(selecting.receive(calls.signals("x"), print))

        handle = calls.start_child(child, given())
        tasks = [on_signal, on_timer, on_child, on_send, on_condition, on_channel, on_lock, on_future, on_select]
        begun = [asyncio.create_task(task(), name=task.__name__) for task in tasks]
        begun.append(asyncio.create_task(on_handle(handle), name="on_handle"))
        begun.append(asyncio.create_task(charge(), name="bare"))
        waiter = asyncio.create_task(asyncio.wait_for(ship(), 5), name="wait_for")
        asyncio.create_task(on_task(waiter), name="on_task")
        await asyncio.gather(*begun)

    async def on_task(task: Any) -> None:
        await task

    found = waits_live(waiting)

    told = {name: (wait.kind, wait.name, wait.event_id, wait.due) for name, wait in found.items()}
    assert told["main"] == ("gather", "", None, None)
    assert told["on_signal"] == ("signal", "go", None, 70.0)
    assert told["on_timer"] == ("timer", "sleep", found["on_timer"].event_id, 40.0)
    assert told["on_child"][:2] == ("child", f"i:{found['on_child'].event_id:04x}")
    assert told["on_handle"][:2] == ("child", "i:0001")
    assert told["on_send"][:2] == ("delivery", "other")
    assert told["on_condition"] == ("condition", "", None, None)
    assert told["on_channel"] == ("channel", "", None, None)
    assert told["on_lock"] == ("call", "Event.wait", None, None)
    assert told["on_future"] == ("future", "", None, None)
    assert told["on_select"] == ("call", "select", None, None)
    assert told["bare"][:2] == ("activity", "charge")
    assert told["on_task"] == ("task", "wait_for", None, None)
    assert told["wait_for"][3] == 15.0
    assert {wait.since for wait in found.values()} == {10.0}
    assert found["on_timer"].source == "await asyncio.sleep(30)"
    assert found["on_timer"].text == "asyncio.sleep()"


def waits_live(fn: Any) -> Any:
    """Return the waits of a workflow whose first activity has ended, by its own account of what it asks for."""
    definition = workflow(fn)
    execution = Execution(definition, converter=Converter(), instance_id="i")
    stepping.step(execution, STARTED)
    issued = stepping.step(execution, completed(0, at=10.0))
    execution.close()
    history = [STARTED, scheduled(0, "charge"), completed(0, at=10.0), *issued]
    return {task.name: task.waits for task in explain(definition, history).tasks}


def test_wait_is_as_old_as_what_is_awaited():
    async def two() -> None:
        first = asyncio.create_task(charge(), name="first")
        await asyncio.sleep(10)
        await first

    found = waits(two, timer(0, 10.0), scheduled(1, "charge"), fired(0, at=10.0))

    assert found["first"].since == 0.0
    assert found["main"].kind == "task"


@pytest.mark.parametrize(("outer", "inner"), [(100, 50), (50, 100)])
def test_timeout_of_a_block_is_what_each_wait_in_it_ends_with(outer, inner):
    async def limited() -> None:
        async with asyncio.timeout(outer), asyncio.timeout(inner):
            await charge()

    found = waits(limited, timer(0, float(outer)), timer(1, float(inner)), scheduled(2, "charge"))

    assert found["main"].due == 50.0


def test_timer_that_was_set_again_is_due_when_its_history_says():
    @workflow
    async def sleeps() -> None:
        await asyncio.sleep(30)

    explanation = explain(sleeps, [started(at=100.0), timer(0, 170.0)])

    assert only(explanation).waits.due == 170.0


def test_task_that_can_go_on_waits_for_nothing():
    async def spins() -> None:
        while True:
            await asyncio.sleep(0)

    async def ends() -> None:
        asyncio.create_task(spins(), name="other")

    explanation = explain(workflow(ends), [STARTED, returned()])

    assert only(explanation).waits.kind == "nothing"
    assert only(explanation).waits.since is None


def test_async_generator_shows_its_own_frame():
    async def numbers() -> Any:
        inside = 3
        yield inside
        await charge(inside)

    async def reads() -> None:
        async for number in numbers():
            seen = number  # noqa: F841

    explanation = explain(workflow(reads), [STARTED, scheduled(0, "charge", 3)])

    outer, inner = only(explanation).stack
    assert (outer.variables["seen"], inner.variables["inside"]) == ("3", "3")
    assert only(explanation).waits.kind == "activity"


def test_unread_signals_are_counted():
    explanation = explain(order, [*ORDER[:2], signal("a"), signal("a"), signal("b")])

    assert explanation.unread == {"a": 2, "b": 1}


# --- variables


class Bad:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Touches:
    def __init__(self, act: Any) -> None:
        self.act = act

    def __repr__(self) -> str:
        try:
            self.act()
        except Exception:
            return "hidden"
        return "touched"


def variables(**values: Any) -> dict[str, str]:
    async def holds() -> None:
        held = dict(values)  # noqa: F841
        one = next(iter(values.values()))  # noqa: F841
        await charge()

    return only(explain(workflow(holds), [STARTED, scheduled(0, "charge")])).stack[0].variables


def test_repr_that_raises_is_shown_as_such_and_the_rest_of_its_container_as_well():
    found = variables(bad=Bad(), good=1)

    assert found["one"] == "<Bad: its repr raised RuntimeError: no repr>"
    assert found["held"] == "{'bad': <Bad: its repr raised RuntimeError: no repr>, 'good': 1}"


@pytest.mark.parametrize(
    "act",
    [
        context.random,
        lambda: context.set_status("looked at"),
        lambda: asyncio.get_running_loop().create_future(),
        lambda: calls.signals("a").close(),
        lambda: asyncio.get_running_loop().run_in_executor(None, print),
    ],
)
def test_repr_may_look_and_not_touch_though_it_hides_that_it_tried(act):
    found = variables(touches=Touches(act))

    assert found["one"].startswith("<Touches: its repr raised ")
    assert "ReadOnly" in found["one"] or "ForbiddenInWorkflow" in found["one"]


@pytest.mark.parametrize(
    "value",
    ["x" * 10_000, b"x" * 10_000, bytearray(10_000), list(range(10_000)), {n: n for n in range(10_000)}, 10**3000,
     collections.deque(range(10_000)), [["x" * 1000] * 100] * 100],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_long_values_are_cut(value):
    assert len(variables(value=value)["one"]) <= shown.CHARACTERS


def test_many_variables_are_counted_not_shown():
    names = ", ".join(f"v{number}" for number in range(70))
    space: dict[str, Any] = {"charge": charge}
    exec(f"async def many():\n    {names} = range(70)\n    await charge()", space)

    frame = only(explain(workflow(space["many"]), [STARTED, scheduled(0, "charge")])).stack[0]

    assert len(frame.variables) == shown.VARIABLES
    assert frame.omitted == 20
    assert frame.source == ""


def test_many_tasks_are_counted_not_shown():
    async def many() -> None:
        await asyncio.gather(*(charge(number) for number in range(explaining.TASKS + 3)))

    history = [STARTED, *(scheduled(number, "charge", number) for number in range(explaining.TASKS + 3))]

    explanation = explain(workflow(many), history)

    assert (len(explanation.tasks), explanation.tasks_omitted) == (explaining.TASKS, 4)
    assert len(explanation.open) == explaining.TASKS + 3


def test_names_that_python_makes_up_are_left_out():
    async def comprehends() -> None:
        await asyncio.gather(*[each async for each in made()])

    async def made() -> Any:
        for number in range(1):
            await charge(number)
            yield charge(number)

    stack = only(explain(workflow(comprehends), [STARTED, scheduled(0, "charge", 0)])).stack

    assert all(not name.startswith(".") for frame in stack for name in frame.variables)


def test_timer_that_is_not_needed_leaves_no_limit():
    async def one() -> None:
        async with asyncio.timeout(50):
            await charge()
        await ship()

    history = [timer(0, 50.0), scheduled(1, "charge"), completed(1), timer_canceled(0), scheduled(2, "ship")]
    found = waits(one, *history)

    assert (found["main"].name, found["main"].due) == ("ship", None)
