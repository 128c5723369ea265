"""What go-workflows lets one write and run: workflows, activities, timers, signals, select, channels, sub-workflows."""

from __future__ import annotations

import asyncio
import logging

import pytest

from durable import (
    ActivityError,
    AlreadyExists,
    ChannelClosed,
    ChildFailed,
    DuplicateName,
    InvalidDefinition,
    InvalidInput,
    NotOpen,
    ResultTimeout,
    RetryPolicy,
    SignalError,
    UnknownInstance,
    UnknownWorkflow,
    WorkflowCanceled,
    WorkflowFailed,
    WorkflowTerminated,
    activity,
    client,
    registry,
    workflow,
)
from durable.models import Instance
from tests.driving import answers, item, kinds, leftovers


@pytest.fixture
def waiting(engine):
    @workflow.defn
    async def waiting() -> str:
        return await workflow.wait_signal("go")

    return waiting


# --- workflows and activities


def test_workflow_takes_serialisable_inputs_and_returns_a_result(engine, work, path):
    @workflow.defn
    async def sums(numbers: list[int], *, factor: int = 1) -> dict[str, int]:
        return {"sum": factor * sum([await work.double(number) for number in numbers])}

    handle = sums.start([1, 2, 3], factor=10)

    assert engine.result(handle) == {"sum": 120}
    assert work.ran == [1, 2, 3]


def test_workflow_that_takes_no_context_is_enough_but_it_must_be_async(engine):
    """Deviation: no context parameter; what needs one is found through the running loop."""
    with pytest.raises(InvalidDefinition, match="async def"):

        @workflow.defn
        def plain() -> None: ...

    @workflow.defn
    async def bare() -> str:
        return workflow.info().name

    assert engine.result(bare.start()) == "bare"


def test_name_can_be_given_and_is_taken_once(engine):
    @workflow.defn(name="invoice")
    async def some_function() -> str:
        return workflow.info().name

    with pytest.raises(DuplicateName):

        @workflow.defn(name="invoice")
        async def another() -> None: ...

    assert engine.result(client.start("invoice")) == "invoice"


def test_error_that_leaves_a_workflow_fails_its_instance(engine):
    """Deviation: a failed instance has a status of its own, where there it is finished with an error."""

    @workflow.defn
    async def broken() -> None:
        raise LookupError("nothing there")

    handle = broken.start()
    with pytest.raises(WorkflowFailed, match="nothing there"):
        engine.result(handle)
    assert handle.status == "failed"
    assert kinds(handle) == ["ExecutionStarted", "ExecutionFailed"]


def test_result_of_an_activity_is_recorded_once_and_never_asked_for_again(engine, work, path):
    @workflow.defn
    async def three() -> list[int]:
        return [await work.double(number) for number in (1, 2, 3)]

    handle = three.start()
    engine.run_until_quiet()
    engine.restart()

    assert handle.result(timeout=0) == [2, 4, 6]
    assert work.ran == [1, 2, 3]
    assert kinds(handle) == ["ExecutionStarted", *["ActivityScheduled", "ActivityCompleted"] * 3, "ExecutionCompleted"]


def test_methods_of_a_registered_object_are_activities_with_shared_state(engine, path):
    class Shared:
        def __init__(self) -> None:
            self.number = 12

        @activity.defn
        def add(self, other: int) -> int:
            return self.number + other

        @activity.defn
        def state(self) -> int:
            return self.number

    activity.register(Shared())

    @workflow.defn
    async def uses() -> int:
        return await Shared.add(35) + await Shared.state()

    assert engine.result(uses.start()) == 59


def test_two_objects_cannot_register_methods_of_one_name(engine):
    """Deviation: there the second one silently takes the place of the first."""

    class Shared:
        @activity.defn
        def act(self) -> None: ...

    activity.register(Shared())
    with pytest.raises(DuplicateName):
        activity.register(Shared())


# --- starting and waiting


def test_arguments_are_checked_before_anything_is_written(engine):
    @workflow.defn
    async def strict(number: int) -> None: ...

    for wrong in ((), (1, 2), (object(),)):
        with pytest.raises(InvalidInput):
            strict.start(*wrong)

    assert Instance.objects.count() == 0


def test_start_by_name_checks_arguments_as_well(engine):
    """Deviation: there a name skips the checks."""

    @workflow.defn
    async def strict(number: int) -> None: ...

    with pytest.raises(InvalidInput):
        client.start("strict", (1, 2))


def test_id_of_an_open_instance_is_refused(engine, waiting):
    waiting.options(id="one").start()
    engine.run_until_quiet()

    with pytest.raises(AlreadyExists):
        waiting.options(id="one").start()
    assert client.status("one") == "running"


def test_id_of_a_closed_instance_is_taken_over_on_request(engine, waiting):
    """Deviation: there it always is; here one says ``id_reuse``."""
    first = waiting.options(id="one").start()
    first.signal("go", "first")
    engine.run_until_quiet()
    before = first.instance.execution_id

    with pytest.raises(AlreadyExists):
        waiting.options(id="one").start()
    second = waiting.options(id="one", id_reuse="replace_closed").start()
    second.signal("go", "second")

    assert engine.result(second) == "second"
    assert second.instance.execution_id != before
    assert kinds(second, before) == ["ExecutionStarted", "SignalReceived", "ExecutionCompleted"]


def test_waiting_for_a_result_ends_after_its_timeout(engine, waiting):
    handle = waiting.start()
    engine.run_until_quiet()

    with pytest.raises(ResultTimeout):
        handle.result(timeout=0)
    handle.signal("go", "done")
    assert engine.result(handle) == "done"


def test_canceled_and_terminated_instances_have_errors_of_their_own(engine, waiting):
    canceled, terminated = waiting.start(), waiting.start()
    engine.run_until_quiet()
    canceled.cancel()
    terminated.terminate(reason="enough")
    engine.run_until_quiet()

    with pytest.raises(WorkflowCanceled):
        canceled.result(timeout=0)
    with pytest.raises(WorkflowTerminated, match="enough"):
        terminated.result(timeout=0)


def test_unknown_workflow_cannot_be_started_and_near_names_are_offered(engine, waiting):
    """Deviation: there the instance starts and ends with an error."""
    with pytest.raises(UnknownWorkflow) as unknown:
        client.start("waiting_")

    assert "waiting" in unknown.value.near
    assert Instance.objects.count() == 0


def test_unknown_activity_waits_for_a_worker_that_knows_it(engine):
    """Deviation: there it fails for good; here a worker with other code may come."""
    ran = []

    @workflow.defn
    async def calls() -> str:
        return await workflow.activity_by_name("elsewhere")(1)

    handle = calls.start()
    engine.run_until_quiet()
    assert handle.status == "running"

    @activity.defn
    def elsewhere(number: int) -> str:
        ran.append(number)
        return "found"

    engine.after(60)
    assert handle.result(timeout=0) == "found"
    assert ran == [1]


# --- cancel


def test_cancel_of_an_unknown_or_closed_instance_is_refused_and_leaves_nothing(engine, waiting):
    """Deviation: there the cancel of a finished instance succeeds and leaves a row behind."""
    handle = waiting.start()
    handle.signal("go")
    engine.run_until_quiet()

    with pytest.raises(UnknownInstance):
        client.cancel("nobody")
    with pytest.raises(NotOpen):
        handle.cancel()
    assert leftovers() == []


def test_cancel_ends_a_pending_timer_at_once(engine):
    @workflow.defn
    async def sleeping() -> str:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            return "woken"

    handle = sleeping.start()
    engine.run_until_quiet()
    handle.cancel()

    assert engine.result(handle) == "woken"
    assert kinds(handle)[1:] == ["TimerStarted", "CancelRequested", "TimerCanceled", "ExecutionCompleted"]
    assert leftovers() == []


def test_work_asked_for_after_the_cancel_runs(engine, work, path):
    """Deviation: there it needs a disconnected context; here only the await at hand is canceled."""

    @workflow.defn
    async def cleaning() -> str:
        try:
            await workflow.wait_signal("never")
        except asyncio.CancelledError:
            await work.note("cleaned")
            await asyncio.sleep(5)
            raise

    handle = cleaning.start()
    engine.run_until_quiet()
    handle.cancel()
    engine.run_until_quiet()
    assert handle.status == "running"
    engine.after(6)

    assert (handle.status, work.ran) == ("canceled", ["cleaned"])


def test_cancel_stops_the_retries_of_an_activity(engine):
    ran = []

    @activity.defn(retry=RetryPolicy(max_attempts=10, initial_interval=10))
    def flaky() -> None:
        ran.append(1)
        raise ValueError

    @workflow.defn
    async def patient() -> None:
        await flaky()

    handle = patient.start()
    engine.run_until_quiet()
    handle.cancel()
    engine.run_until_quiet()
    engine.after(1000)

    assert (handle.status, len(ran), leftovers()) == ("canceled", 1, [])


def test_cancel_reaches_running_children_and_awaiting_them_again_gives_their_outcome(engine, work):
    """Deviation: there the await goes on; here it ends at once, and can be repeated."""

    @workflow.defn
    async def child() -> str:
        try:
            await workflow.wait_signal("never")
        except asyncio.CancelledError:
            return await work.note("child cleaned up")

    @workflow.defn
    async def parent() -> list[str]:
        handle = child.start_child()
        try:
            return [await handle]
        except asyncio.CancelledError:
            return ["canceled", await handle]

    handle = parent.start()
    engine.run_until_quiet()
    handle.cancel()

    assert engine.result(handle) == ["canceled", "child cleaned up"]
    assert work.ran == ["child cleaned up"]


def test_child_asked_for_and_canceled_in_one_step_is_started_and_canceled(engine, waiting):
    """Deviation: there it is never created; here it is recorded before it is known that nobody waits."""

    @workflow.defn
    async def parent() -> str:
        child = waiting.options(id="kid").start_child()
        child.cancel()
        try:
            return await child
        except ChildFailed as error:
            return error.cause.type

    assert engine.result(parent.start()) == "WorkflowCanceled"
    assert client.status("kid") == "canceled"


@pytest.mark.parametrize("first", ["cancel", "end"])
def test_cancel_of_a_child_and_its_end_in_one_turn_are_both_taken(engine, waiting, first):
    """There, one order of the two crashes the workflow."""

    @workflow.defn
    async def parent() -> str:
        child = waiting.options(id="kid").start_child()
        try:
            return f"{await child} in time"
        except asyncio.CancelledError:
            return f"{await child} after the cancel"

    handle = parent.start()
    engine.run_until_quiet()
    if first == "cancel":
        handle.cancel()
    client.signal("kid", "go", "ended")
    engine.advance_only("kid")
    if first == "end":
        handle.cancel()

    assert engine.result(handle) == {"cancel": "ended after the cancel", "end": "ended in time"}[first]
    assert answers(handle)["ChildCompleted"] == 1


def test_clean_up_may_change_what_a_canceled_child_returns(engine, work):
    @workflow.defn
    async def child() -> str:
        result = "untouched"
        try:
            await workflow.wait_signal("never")
        except asyncio.CancelledError:
            result = await work.note("rolled back")
        return result

    @workflow.defn
    async def parent() -> str:
        return await child.options(id="kid")()

    handle = parent.start()
    engine.run_until_quiet()
    client.cancel("kid")

    assert engine.result(handle) == "rolled back"
    assert client.status("kid") == "completed"


# --- activities


def test_activities_started_together_run_side_by_side(engine, work, path):
    @workflow.defn
    async def parallel() -> list[int]:
        first, second = asyncio.create_task(work.double(1)), asyncio.create_task(work.double(2))
        return [await second, await first]

    handle = parallel.start()

    assert engine.result(handle) == [4, 2]
    assert kinds(handle)[1:3] == ["ActivityScheduled"] * 2, "both were asked for before either was done"


def test_wrong_arguments_of_an_activity_raise_at_the_call_and_schedule_nothing(engine, work):
    @workflow.defn
    async def careless() -> str:
        try:
            await work.double(1, 2)
        except InvalidInput as error:
            return str(error)

    handle = careless.start()

    assert "double" in engine.result(handle)
    assert kinds(handle) == ["ExecutionStarted", "ExecutionCompleted"]


@pytest.mark.parametrize(("options", "attempts"), [({}, 3), ({"retry": None}, 1)], ids=["default", "none"])
def test_activity_is_tried_three_times_unless_its_options_say_otherwise(engine, path, options, attempts):
    ran = []

    @activity.defn
    def broken() -> None:
        ran.append(activity.info().attempt)
        raise ValueError("no")

    @workflow.defn
    async def calls() -> int:
        try:
            await broken.options(**options)()
        except ActivityError as error:
            return error.attempts

    handle = calls.start()
    engine.run_until_quiet()
    for _ in range(3):
        engine.after(30)

    assert handle.result(timeout=0) == attempts
    assert ran == [*range(1, attempts + 1)], "and attempts count from 1 (there from 0)"
    assert item(handle, "ActivityFailed").data["attempts"] == attempts


def test_first_retry_waits_for_the_initial_interval(engine, path):
    """Deviation: there a coefficient of 2 makes the first wait twice the first interval."""
    ran = []

    @activity.defn(retry=RetryPolicy(initial_interval=10, backoff=2.0, max_attempts=3))
    def broken() -> None:
        ran.append(1)
        raise ValueError

    @workflow.defn
    async def calls() -> None:
        await broken()

    calls.start()
    engine.run_until_quiet()
    seen = []
    for seconds in (9, 2, 18, 3):
        engine.after(seconds)
        seen.append(len(ran))

    assert seen == [1, 2, 2, 3]


def test_permanent_error_is_not_tried_again(engine, path):
    ran = []

    @activity.defn(retry=RetryPolicy(max_attempts=10))
    def broken() -> None:
        ran.append(1)
        raise activity.NonRetryable("never")

    @workflow.defn
    async def calls() -> str:
        try:
            await broken()
        except ActivityError as error:
            return f"{error.cause.type}: {error.cause.message}"

    assert engine.result(calls.start()) == "NonRetryable: never"
    assert ran == [1]


def test_activity_nobody_has_begun_is_called_off_with_its_await(engine, work, handed_out):
    """Deviation: there activities cannot be canceled."""

    @workflow.defn
    async def hasty() -> str:
        task = asyncio.create_task(work.double(1))
        await workflow.wait_signal("stop")
        task.cancel()
        return await workflow.wait_signal("go")

    handle = hasty.start()
    engine.advance_due()
    handle.signal("stop")
    engine.advance_due()
    handle.signal("go", "on")

    assert engine.result(handle) == "on"
    assert (work.ran, answers(handle)["ActivityCanceled"]) == ([], 1)


# --- timers


def test_timer_is_due_a_duration_after_the_workflows_time(engine):
    @workflow.defn
    async def timed() -> float:
        before = workflow.time()
        await asyncio.sleep(90)
        return workflow.time() - before

    handle = timed.start()
    engine.run_until_quiet()
    started = item(handle, "TimerStarted")
    assert started.data["fire_at"] == pytest.approx(started.recorded_at.timestamp() + 90)
    engine.after(89)
    assert handle.status == "running"
    engine.after(2)

    assert handle.result(timeout=0) >= 90


def test_workflow_may_end_while_a_timer_is_pending(engine):
    """Deviation: there all timers must have ended; here the pending one is dropped."""

    @workflow.defn
    async def ending() -> str:
        asyncio.create_task(asyncio.sleep(100))
        await asyncio.sleep(0)
        return "ended"

    assert engine.result(ending.start()) == "ended"
    engine.after(200)
    assert leftovers() == []


def test_workflow_that_ends_with_open_work_completes_and_a_warning_names_the_work(engine, work, handed_out, caplog):
    """Deviation: there the instance fails."""

    @workflow.defn
    async def ending() -> str:
        asyncio.create_task(work.double(1))
        await asyncio.sleep(0)
        return "ended"

    with caplog.at_level(logging.WARNING, "durable"):
        assert engine.result(ending.start()) == "ended"

    assert "ActivityScheduled(double)" in caplog.text
    assert work.ran == [1], "it goes on to its end"


def test_timer_canceled_in_the_step_that_asked_for_it_leaves_no_event(engine, work):
    @workflow.defn
    async def hasty() -> int:
        task = asyncio.create_task(asyncio.sleep(100))
        await asyncio.sleep(0)
        task.cancel()
        task.cancel()
        return await work.double(1)

    handle = hasty.start()

    assert engine.result(handle) == 2
    assert not {"TimerStarted", "TimerCanceled"} & set(kinds(handle))


def test_timer_canceled_later_is_recorded_once_and_never_fires(engine):
    @workflow.defn
    async def undecided() -> str:
        task = asyncio.create_task(asyncio.sleep(10))
        await workflow.wait_signal("stop")
        task.cancel()
        task.cancel()
        return await workflow.wait_signal("go")

    handle = undecided.start()
    engine.run_until_quiet()
    handle.signal("stop")
    engine.after(20)
    handle.signal("go", "on")

    assert engine.result(handle) == "on"
    assert (answers(handle)["TimerCanceled"], answers(handle)["TimerFired"]) == (1, 0)


# --- signals


def test_signal_for_an_unknown_or_closed_instance_is_refused(engine, waiting):
    handle = waiting.start()
    handle.signal("go")
    engine.run_until_quiet()

    with pytest.raises(UnknownInstance):
        client.signal("nobody", "go")
    with pytest.raises(NotOpen):
        handle.signal("go")


def test_signals_that_come_before_their_channel_are_received_in_order(engine, work):
    """There, those are received in reverse order."""

    @workflow.defn
    async def late() -> list[int]:
        await work.double(0)
        channel = workflow.signals("item")
        return [await channel.receive() for _ in range(3)]

    handle = late.start()
    for number in (1, 2, 3):
        handle.signal("item", number)

    assert engine.result(handle) == [1, 2, 3]


def test_one_name_is_one_channel(engine):
    @workflow.defn
    async def twice() -> list:
        same = workflow.signals("item") is workflow.signals("item")
        return [same, await workflow.signals("item").receive(), await workflow.wait_signal("item")]

    handle = twice.start()
    for number in (1, 2):
        handle.signal("item", number)

    assert engine.result(handle) == [True, 1, 2]


def test_more_than_a_hundred_unread_signals_stay_in_order(engine):
    """There, the channel holds a hundred: more are dropped, or block whoever opens it."""

    @workflow.defn
    async def slow() -> list[int]:
        await workflow.wait_signal("go")
        channel = workflow.signals("item")
        return [await channel.receive() for _ in range(120)]

    handle = slow.start()
    for number in range(120):
        handle.signal("item", number)
    handle.signal("go")

    assert engine.result(handle) == [*range(120)]


def test_workflow_signals_another_instance(engine, waiting):
    target = waiting.options(id="target").start()

    @workflow.defn
    async def sender() -> str:
        await workflow.signal_instance("target", "go", "hello")
        return "sent"

    handle = sender.start()

    assert engine.result(handle) == "sent"
    assert target.result(timeout=0) == "hello"
    assert kinds(handle)[1:3] == ["SignalSent", "SignalDelivered"]


def test_signal_from_a_workflow_to_nobody_is_an_error(engine):
    @workflow.defn
    async def sender() -> str:
        try:
            await workflow.signal_instance("nobody", "go")
        except SignalError as error:
            return error.cause.type

    handle = sender.start()

    assert engine.result(handle) == "UnknownInstance"
    assert kinds(handle)[-2:] == ["SignalFailed", "ExecutionCompleted"]


def test_parent_starts_a_child_and_signals_it_in_one_step(engine, waiting):
    @workflow.defn
    async def parent() -> str:
        child = waiting.start_child()
        sent = asyncio.create_task(child.signal("go", "from the parent"))
        result = await child
        await sent
        return result

    handle = parent.start()

    assert engine.result(handle) == "from the parent"
    assert kinds(handle)[1:3] == ["ChildScheduled", "SignalSent"]


# --- side effects


def test_side_effect_runs_once_and_replay_uses_its_record(engine, work):
    drawn = iter(range(1000))

    @workflow.defn
    async def drawing() -> list[int]:
        number = workflow.side_effect(lambda: next(drawn))
        await work.double(1)
        return [number, await work.double(number)]

    handle = drawing.start()

    assert engine.result(handle) == [0, 0]
    assert item(handle, "SideEffectRecorded").data["value"] == 0
    assert work.ran == [1, 0]


# --- sub-workflows


def test_sub_workflow_runs_as_a_child_with_an_id_of_the_parents(engine):
    """Deviation: there the id is random; here it says whose child it is, and is the same on replay."""

    @workflow.defn
    async def child(number: int) -> str:
        return f"{workflow.info().instance_id} {number}"

    @workflow.defn
    async def parent() -> str:
        return await child(7)

    assert engine.result(parent.options(id="p").start()) == "p:0000 7"


def test_failure_of_a_sub_workflow_is_an_error_in_the_parent(engine):
    @workflow.defn
    async def child() -> None:
        raise LookupError("gone")

    @workflow.defn
    async def parent() -> str:
        try:
            await child()
        except ChildFailed as error:
            return f"{error.cause.type}: {error.cause.message}"

    assert engine.result(parent.start()) == "LookupError: gone"


@pytest.mark.parametrize("state", ["open", "closed"])
def test_sub_workflow_with_a_taken_id_fails_its_await(engine, waiting, state):
    """Deviation: there only the id of an active instance is refused."""
    other = waiting.options(id="taken").start()
    if state == "closed":
        other.signal("go")
    engine.run_until_quiet()

    @workflow.defn
    async def parent() -> str:
        try:
            await waiting.options(id="taken")()
        except ChildFailed as error:
            return error.cause.type

    assert engine.result(parent.start()) == "AlreadyExists"
    assert client.get("taken").instance.executions.count() == 1


def test_failed_sub_workflow_is_tried_again_by_its_retry_policy(engine):
    asked = []

    @activity.defn
    def ask() -> int:
        asked.append(1)
        return len(asked)

    @workflow.defn
    async def child() -> int:
        attempt = await ask()
        if attempt < 3:
            raise ValueError("not yet")
        return attempt

    @workflow.defn
    async def parent() -> int:
        return await child.options(id="kid", retry=RetryPolicy(max_attempts=5, initial_interval=1))()

    handle = parent.start()
    engine.run_until_quiet()
    engine.after(2)
    engine.after(3)

    assert handle.result(timeout=0) == 3
    assert [e.status for e in client.get("kid").instance.executions.all()] == ["failed", "failed", "completed"]
    assert answers(handle)["ChildScheduled"] == answers(handle)["ChildCompleted"] == 1, "one child, three executions"


def test_sub_workflow_goes_to_its_parents_queue_unless_told(engine, waiting):
    @workflow.defn
    async def parent() -> None:
        kids = [waiting.options(id="same").start_child(), waiting.options(id="other", queue="other").start_child()]
        for kid in kids:
            await kid

    parent.options(queue="slow").start()
    engine.run_until_quiet()

    assert (client.get("same").instance.queue, client.get("other").instance.queue) == ("slow", "other")


# --- select


def test_select_over_ready_futures_always_picks_the_first(engine, work):
    @workflow.defn
    async def choosing() -> list[str]:
        first, second = asyncio.create_task(work.double(1)), asyncio.create_task(work.double(2))
        await asyncio.wait([first, second])
        cases = [workflow.on(first, lambda f: f"first {f.result()}"), workflow.on(second, lambda f: "second")]
        return [await workflow.select(*cases), await workflow.select(*cases), await workflow.select(*reversed(cases))]

    assert engine.result(choosing.start()) == ["first 2", "first 2", "second"]


def test_select_waits_for_the_first_of_a_signal_and_a_timer(engine):
    @workflow.defn
    async def either() -> str:
        timer = asyncio.create_task(asyncio.sleep(60))
        chosen = await workflow.select(
            workflow.on(timer, lambda _: "timer"),
            workflow.receive(workflow.signals("go"), lambda value, ok: f"signal {value} {ok}"),
        )
        timer.cancel()
        return chosen

    signaled, timed = either.start(), either.start()
    engine.run_until_quiet()
    signaled.signal("go", 1)
    engine.after(61)

    assert (signaled.result(timeout=0), timed.result(timeout=0)) == ("signal 1 True", "timer")
    assert kinds(signaled)[1:] == ["TimerStarted", "SignalReceived", "TimerCanceled", "ExecutionCompleted"]


def test_select_with_a_default_does_not_wait(engine):
    @workflow.defn
    async def glancing() -> list[str]:
        channel = workflow.signals("item")
        cases = [workflow.receive(channel, lambda value, ok: value), workflow.default(lambda: "nothing")]
        before = await workflow.select(*cases)
        await workflow.wait_signal("go")
        return [before, await workflow.select(*cases), await workflow.select(*cases)]

    handle = glancing.start()
    engine.run_until_quiet()
    handle.signal("item", "something")
    handle.signal("go")

    assert engine.result(handle) == ["nothing", "something", "nothing"]


def test_select_runs_one_handler_which_may_be_async(engine, work):
    @workflow.defn
    async def handling() -> list[int]:
        runs = []

        async def handle(value: int, ok: bool) -> int:
            runs.append(value)
            return await work.double(value)

        channel = workflow.signals("item")
        result = await workflow.select(workflow.receive(channel, handle), workflow.receive(channel, handle))
        return [result, *runs]

    handle = handling.start()
    for number in (5, 6):
        handle.signal("item", number)

    assert engine.result(handle) == [10, 5]
    assert work.ran == [5]


def test_select_sends_when_somebody_receives(engine, work):
    @workflow.defn
    async def sending() -> list:
        channel: workflow.Channel[str] = workflow.Channel()

        async def receiver() -> str:
            await work.double(1)
            return await channel.receive()

        task = asyncio.create_task(receiver())
        chosen = await workflow.select(
            workflow.receive(workflow.signals("never"), lambda *_: "signal"),
            workflow.send(channel, "hello", lambda: "sent"),
        )
        return [chosen, await task]

    assert engine.result(sending.start()) == ["sent", "hello"]


# --- channels


def test_send_on_an_unbuffered_channel_waits_for_its_receiver(engine, work):
    @workflow.defn
    async def handing() -> list[str]:
        channel: workflow.Channel[int] = workflow.Channel()
        said = []

        async def sender() -> None:
            await channel.send(1)
            said.append("sent")

        task = asyncio.create_task(sender())
        await work.double(1)
        said.append(f"before {len(channel)}")
        said.append(f"received {await channel.receive()}")
        await task
        return said

    assert engine.result(handing.start()) == ["before 0", "received 1", "sent"]


def test_buffered_channel_takes_as_many_as_it_has_room_for(engine, work):
    @workflow.defn
    async def filling() -> list:
        channel: workflow.Channel[int] = workflow.Channel(2)
        taken = [channel.send_now(number) for number in range(3)]
        await work.double(1)
        return [*taken, len(channel), channel.can_send(), await channel.receive(), channel.can_send()]

    assert engine.result(filling.start()) == [True, True, False, 2, False, 0, True]


def test_closed_channel_gives_what_it_holds_and_then_says_so(engine, work):
    @workflow.defn
    async def closing() -> list:
        channel: workflow.Channel[int] = workflow.Channel(2)
        await channel.send(1)
        channel.close()
        await work.double(1)
        got: list = [await channel.receive_ok(), await channel.receive_ok()]
        for call in (lambda: channel.send(2), channel.receive):
            try:
                await call()
            except ChannelClosed as error:
                got.append(error.verb)
        return [list(each) if isinstance(each, tuple) else each for each in got]

    assert engine.result(closing.start()) == [[1, True], [None, False], "send", "receive"]


def test_waiting_receivers_are_served_first_come_first_served(engine):
    @workflow.defn
    async def serving() -> list[str]:
        served = []

        async def receiver(name: str) -> None:
            served.append(f"{name}{await workflow.signals('item').receive()}")

        tasks = [asyncio.create_task(receiver(name)) for name in "abc"]
        await asyncio.gather(*tasks)
        return served

    handle = serving.start()
    for number in (1, 2, 3):
        engine.run_until_quiet()
        handle.signal("item", number)

    assert engine.result(handle) == ["a1", "b2", "c3"]


# --- logging


def test_logger_says_each_thing_once_however_often_steps_are_replayed(engine, work, caplog):
    @workflow.defn
    async def talking() -> None:
        for number in range(3):
            workflow.logger.warning("step %d", number)
            await work.double(number)

    with caplog.at_level(logging.WARNING, "durable.workflow"):
        handle = talking.start()
        engine.run_until_quiet()

    said = [record for record in caplog.records if record.name == "durable.workflow"]
    assert [record.getMessage() for record in said] == ["step 0", "step 1", "step 2"]
    assert {record.instance_id for record in said} == {handle.id}


# --- changed code


def test_code_that_no_longer_fits_parks_its_instance_until_it_fits_again(engine, work):
    """Deviation: there the instance fails, and a bad deploy destroys running work."""

    async def fitting() -> int:
        return await work.double(1) + await work.double(await workflow.wait_signal("go"))

    async def other() -> None:
        await work.note("before")

    first = workflow.defn(name="changing")(fitting)
    handle = first.start()
    engine.run_until_quiet()
    registry.unregister_workflow("changing", 0)
    workflow.defn(name="changing")(other)
    engine.restart()
    handle.signal("go", 4)
    engine.run_until_quiet()
    assert (handle.status, work.ran) == ("stalled", [1])
    assert handle.instance.stall["reason"] == "nondeterminism"

    registry.unregister_workflow("changing", 0)
    registry.add_workflow(first)
    engine.after(31)
    assert handle.result(timeout=0) == 10


def test_calls_added_after_what_is_recorded_are_taken_as_new(engine, work):
    async def before() -> int:
        await work.double(1)
        return await workflow.wait_signal("go")

    async def after() -> int:
        await work.double(1)
        return await workflow.wait_signal("go") + await work.double(2)

    workflow.defn(name="growing")(before)
    handle = client.start("growing")
    engine.run_until_quiet()
    registry.unregister_workflow("growing", 0)
    workflow.defn(name="growing")(after)
    engine.restart()
    handle.signal("go", 1)

    assert engine.result(handle) == 5
    assert work.ran == [1, 2]


@pytest.mark.parametrize("change", ["argument", "name"])
def test_replay_compares_names_and_not_arguments(engine, work, change):
    async def before() -> int:
        await work.double(1)
        return await workflow.wait_signal("go")

    async def after() -> int:
        await (work.double(2) if change == "argument" else work.note("x"))
        return await workflow.wait_signal("go")

    workflow.defn(name="changing")(before)
    handle = client.start("changing")
    engine.run_until_quiet()
    registry.unregister_workflow("changing", 0)
    workflow.defn(name="changing")(after)
    engine.unfit.add(handle.id)
    engine.restart()
    handle.signal("go", 4)
    engine.run_until_quiet()

    assert handle.status == {"argument": "completed", "name": "stalled"}[change]
    assert work.ran == [1]


def test_two_versions_of_a_workflow_run_side_by_side(engine, work):
    @workflow.defn
    async def order() -> list:
        await workflow.wait_signal("go")
        return [workflow.version()]

    @workflow.defn
    async def order2() -> list:
        await workflow.wait_signal("go")
        return [workflow.version(), await work.double(1)]

    old, new = order.start(), order2.start()
    for handle in (old, new):
        handle.signal("go")

    assert (engine.result(old), engine.result(new)) == ([0], [2, 2])


# --- continue as new


def test_continue_as_new_begins_another_execution_of_the_same_instance(engine, work):
    @workflow.defn
    async def counting(number: int) -> int:
        await work.double(number)
        if number < 3:
            workflow.continue_as_new(number + 1)
        return workflow.info().history_length

    handle = counting.start(1)

    assert engine.result(handle) == 3, "each has a history of its own"
    assert work.ran == [1, 2, 3]
    assert [e.status for e in handle.instance.executions.all()] == ["continued", "continued", "completed"]


def test_signals_not_read_before_continue_as_new_are_not_lost(engine):
    """There, they stay with the old execution."""

    @workflow.defn
    async def reading(got: list[int]) -> list[int]:
        got = [*got, await workflow.wait_signal("item")]
        if len(got) < 3:
            workflow.continue_as_new(got)
        return got

    handle = reading.start([])
    for number in (1, 2, 3):
        handle.signal("item", number)

    assert engine.result(handle) == [1, 2, 3]
    assert handle.instance.executions.count() == 3


def test_parent_of_a_continued_child_sees_its_last_result_only(engine, work):
    @workflow.defn
    async def child(number: int) -> int:
        await work.double(number)
        if number < 2:
            workflow.continue_as_new(number + 1)
        return number

    @workflow.defn
    async def parent() -> int:
        return await child.options(id="kid")(0)

    handle = parent.start()

    assert engine.result(handle) == 2
    assert answers(handle)["ChildCompleted"] == 1
    assert client.get("kid").instance.executions.count() == 3


def test_length_of_the_history_says_when_to_continue(engine, work):
    @workflow.defn
    async def long(rounds: int) -> int:
        while workflow.info().history_length < 6:
            rounds += 1
            await work.double(rounds)
        if rounds < 6:
            workflow.continue_as_new(rounds)
        return rounds

    handle = long.start(0)

    assert engine.result(handle) == 6
    assert work.ran == [1, 2, 3, 4, 5, 6]
    assert handle.instance.executions.count() == 2
