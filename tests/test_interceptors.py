"""Interceptors: around starts, signals, turns, activities and ends; in order, and without a way to hide an error."""

from __future__ import annotations

import contextvars
from contextlib import contextmanager, suppress
from typing import ClassVar

import pytest
from django.core import checks
from django.db import transaction
from django.utils import translation

from durable import RetryPolicy, activity, conf, interceptors, workflow
from durable.core.errors import ActivityError, AlreadyExists, InvalidInput, WorkflowFailed
from durable.engine import cache
from durable.interceptors import Interceptor
from durable.models import HistoryEvent, InboxEvent, Instance
from tests.driving import item, kinds

tenant = contextvars.ContextVar("tenant", default="")


class Recorder(Interceptor):
    """Notes when each hook begins and ends, and what it is told."""

    calls: ClassVar[list] = []

    def _note(self, hook, call):
        @contextmanager
        def noting():
            name = f"{type(self).__name__}.{hook}"
            self.calls.append((name, "begin", call))
            try:
                yield
            except BaseException as error:
                self.calls.append((name, type(error).__name__, call))
                raise
            self.calls.append((name, "end", call))

        return noting()

    def start(self, call):
        return self._note("start", call)

    def signal(self, call):
        return self._note("signal", call)

    def turn(self, call):
        return self._note("turn", call)

    def activity(self, call):
        return self._note("activity", call)

    def end(self, call):
        return self._note("end", call)


class Second(Recorder):
    pass


class Carry(Interceptor):
    """Takes the tenant along, and gives it back to activities."""

    @contextmanager
    def start(self, call):
        if tenant.get():
            call.headers["tenant"] = tenant.get()
        yield

    @contextmanager
    def signal(self, call):
        call.headers["from"] = tenant.get()
        yield

    @contextmanager
    def activity(self, call):
        token = tenant.set(call.headers.get("tenant", ""))
        try:
            with translation.override("de"):
                yield
        finally:
            tenant.reset(token)


class Broken(Interceptor):
    """Raises in one hook, before or after it yields, as long as it is told to."""

    hook: ClassVar[str] = ""
    after: ClassVar[bool] = False
    times: ClassVar[int] = 0

    def _maybe(self, hook):
        @contextmanager
        def raising():
            if self.hook != hook:
                yield
                return
            if not self.after:
                self._raise()
            yield
            if self.after:
                self._raise()

        return raising()

    def _raise(self):
        if Broken.times:
            Broken.times -= 1
            raise ArithmeticError("a broken hook")

    def start(self, call):
        return self._maybe("start")

    def signal(self, call):
        return self._maybe("signal")

    def turn(self, call):
        return self._maybe("turn")

    def activity(self, call):
        return self._maybe("activity")

    def end(self, call):
        return self._maybe("end")


class Swallowing(Interceptor):
    """Tries to make errors unseen."""

    @contextmanager
    def start(self, call):
        with suppress(Exception):
            yield

    activity = turn = signal = start  # type: ignore[assignment]


class Translating(Interceptor):
    """Raises another error in place of the one it sees."""

    @contextmanager
    def activity(self, call):
        try:
            yield
        except ValueError as error:
            raise activity.NonRetryable("never mind") from error


def path_of(*kinds: type) -> list[str]:
    return [f"{__name__}.{kind.__name__}" for kind in kinds]


@pytest.fixture
def intercepted(settings, path):
    """Put interceptors to work, on both ways an activity can run."""

    def intercept(*kinds: type) -> None:
        settings.DURABLE = {**settings.DURABLE, "INTERCEPTORS": path_of(*kinds)}

    Recorder.calls.clear()
    return intercept


@pytest.fixture(params=["before", "after"])
def breaking(intercepted, request):
    """Have a hook raise, before or after what it is around, so many times."""

    def break_hook(hook: str, times: int = 1) -> None:
        intercepted(Broken)
        Broken.hook, Broken.after, Broken.times = hook, request.param == "after", times

    yield break_hook
    Broken.times = 0


def heard(*hooks: str) -> list[str]:
    """Return the beginnings and ends that were noted, of these hooks."""
    return [f"{name} {what}" for name, what, _ in Recorder.calls if name.partition(".")[2] in hooks]


def told(hook: str, what: str = "end") -> list:
    return [call for name, how, call in Recorder.calls if name.endswith(f".{hook}") and how == what]


# --- what they are told


def test_first_of_the_settings_is_the_outermost(engine, intercepted):
    intercepted(Recorder, Second)

    @activity.defn
    def work() -> None: ...

    @workflow.defn
    async def working() -> None:
        await work()

    handle = working.start()

    assert heard("start") == ["Recorder.start begin", "Second.start begin", "Second.start end", "Recorder.start end"]
    engine.result(handle)
    assert heard("activity")[:2] == ["Recorder.activity begin", "Second.activity begin"]
    assert heard("activity")[2:] == ["Second.activity end", "Recorder.activity end"]


def test_hooks_are_told_the_facts(engine, intercepted):
    intercepted(Recorder)

    @activity.defn
    def work() -> None: ...

    @workflow.defn
    async def inner() -> None:
        await work()

    @workflow.defn
    async def outer2() -> None:
        await inner.options(id="kid")()
        await workflow.wait_signal("go")

    handle = outer2.options(id="boss", queue="fast", headers={"a": 1}).start()
    engine.run_until_quiet()
    executions = {i.pk: str(i.execution_id) for i in Instance.objects.all()}
    handle.signal("go")
    engine.result(handle)

    boss, kid = told("start")
    assert (boss.instance_id, boss.workflow, boss.queue, boss.headers) == ("boss", "outer2", "fast", {"a": 1})
    assert (boss.parent_id, boss.parent_execution_id) == (None, None)
    assert (kid.instance_id, kid.workflow, kid.headers) == ("kid", "inner", {"a": 1})
    assert (kid.parent_id, kid.parent_execution_id) == ("boss", executions["boss"])

    [attempt] = told("activity")
    assert (attempt.name, attempt.workflow, attempt.queue) == ("work", "inner", "fast")
    assert (attempt.instance_id, attempt.execution_id, attempt.event_id) == ("kid", executions["kid"], 0)
    assert (attempt.attempt, attempt.headers) == (1, {"a": 1})

    [signal] = told("signal")
    assert (signal.instance_id, signal.name, signal.sender_id) == ("boss", "go", None)

    turns = [call for call in told("turn") if call.instance_id == "boss"]
    assert [[event.kind for event in call.events] for call in turns] == [
        ["ExecutionStarted", "ChildStarted"],
        ["ChildCompleted"],
        ["SignalReceived"],
    ]
    assert [call.head for call in turns] == [0, 3, 4]
    assert {(call.workflow, call.execution_id, call.headers["a"]) for call in turns} == {
        ("outer2", executions["boss"], 1)
    }

    ends = {call.instance_id: call for call in told("end")}
    assert {pk: call.end.kind for pk, call in ends.items()} == dict.fromkeys(executions, "ExecutionCompleted")
    assert ends["boss"].execution_id == executions["boss"]
    assert ends["boss"].started_at == item(handle, "ExecutionStarted").recorded_at.timestamp()
    assert ends["boss"].ended_at >= ends["boss"].started_at


def test_each_attempt_and_each_execution_is_told(engine, intercepted, time):
    intercepted(Recorder)

    @activity.defn(retry=RetryPolicy(max_attempts=2, initial_interval=1))
    def failing() -> None:
        raise ValueError

    @workflow.defn
    async def outer(round: int) -> None:
        if not round:
            workflow.continue_as_new(1)
        await failing()

    handle = outer.start(0)
    engine.run_until_quiet()
    time.forward(2)
    with pytest.raises(WorkflowFailed):
        engine.result(handle)

    assert [call.attempt for call in told("activity", "ValueError")] == [1, 2]
    assert [call.end.kind for call in told("end")] == ["ExecutionContinued", "ExecutionFailed"]
    assert len({call.execution_id for call in told("end")}) == 2
    assert len(told("start")) == 1


def test_end_is_told_when_the_code_does_not_run(engine, intercepted):
    @workflow.defn
    async def waiting() -> None:
        await workflow.wait_signal("never")

    handle = waiting.start()
    engine.run_until_quiet()
    intercepted(Recorder)
    handle.terminate(reason="enough")

    [end] = told("end")
    assert (end.end.kind, end.end.reason) == ("ExecutionTerminated", "enough")
    assert 0 < end.started_at <= end.ended_at


def test_signals_of_workflows_are_told_with_their_sender(engine, intercepted):
    intercepted(Recorder)

    @workflow.defn
    async def receiver() -> None:
        await workflow.wait_signal("hello")

    @workflow.defn
    async def sender() -> None:
        await workflow.signal_instance("receiver", "hello")

    receiver.options(id="receiver").start()
    engine.result(sender.options(id="sender", headers={"a": 1}).start())

    [call] = told("signal")
    assert (call.instance_id, call.name, call.sender_id, call.headers) == ("receiver", "hello", "sender", {"a": 1})


def test_replay_tells_nothing(engine, intercepted):
    intercepted(Recorder)

    @activity.defn
    def work() -> None: ...

    @workflow.defn
    async def outer() -> None:
        await work()
        await workflow.wait_signal("go")

    handle = outer.start()
    engine.run_until_quiet()
    before = len(Recorder.calls)
    engine.restart()
    engine.run_until_quiet()
    assert len(Recorder.calls) == before

    handle.signal("go")
    engine.result(handle)
    assert len(told("activity")) == 1


# --- what they change


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
def test_context_travels_into_activities_children_and_signals(engine, intercepted, is_async):
    intercepted(Carry)
    seen = []

    if is_async:

        @activity.defn
        async def look() -> None:
            seen.append((tenant.get(), translation.get_language()))
    else:

        @activity.defn
        def look() -> None:
            seen.append((tenant.get(), translation.get_language()))

    @workflow.defn
    async def inner() -> str:
        await look()
        await workflow.signal_instance("listener", "hello")
        return workflow.info().headers["tenant"]

    @workflow.defn
    async def outer() -> str:
        assert not tenant.get()
        await look()
        return await inner()

    @workflow.defn
    async def listener() -> None:
        await workflow.wait_signal("hello")

    listening = listener.options(id="listener").start()
    token = tenant.set("acme")
    handle = outer.start()
    tenant.reset(token)

    assert engine.result(handle) == "acme"
    assert seen == [("acme", "de")] * 2
    assert tenant.get() == ""
    assert item(listening, "SignalReceived").data["headers"] == {"tenant": "acme", "from": "acme"}
    assert item(listening, "ExecutionStarted").data["headers"] == {}


def test_only_what_a_start_gave_is_kept(engine, intercepted):
    intercepted(Carry)
    shared = {"given": 1}

    @workflow.defn
    async def outer() -> dict:
        return workflow.info().headers

    starting = outer.options(headers=shared)
    token = tenant.set("acme")
    first = starting.start()
    tenant.reset(token)

    assert engine.result(first) == {"given": 1, "tenant": "acme"}
    assert engine.result(starting.start()) == {"given": 1}
    assert shared == {"given": 1}


def test_error_can_be_replaced_by_another(engine, intercepted):
    intercepted(Translating)
    attempts = []

    @activity.defn
    def failing() -> None:
        attempts.append(1)
        raise ValueError("inner")

    @workflow.defn
    async def outer() -> str:
        try:
            await failing()
        except ActivityError as error:
            return str(error.cause)
        return ""

    assert "never mind" in engine.result(outer.start())
    assert attempts == [1]


def test_error_cannot_be_swallowed(engine, intercepted):
    intercepted(Swallowing)

    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def failing() -> None:
        raise ValueError("inner")

    @workflow.defn
    async def outer() -> None:
        await failing()

    handle = outer.options(id="i").start()
    with pytest.raises(AlreadyExists):
        outer.options(id="i").start()
    with pytest.raises(WorkflowFailed, match="inner"):
        engine.result(handle)


# --- when they raise


def test_error_around_a_start_reaches_the_caller_and_nothing_is_written(engine, breaking):
    @workflow.defn
    async def outer() -> None: ...

    breaking("start")
    with transaction.atomic():
        with pytest.raises(ArithmeticError):
            outer.start()
        assert not Instance.objects.exists()
        outer.options(id="i").start()

    assert Instance.objects.get().pk == "i"


def test_error_around_a_signal_reaches_the_caller_and_nothing_is_written(engine, breaking):
    @workflow.defn
    async def outer() -> str:
        return await workflow.wait_signal("go")

    handle = outer.start()
    engine.run_until_quiet()
    breaking("signal")
    with pytest.raises(ArithmeticError):
        handle.signal("go", "first")
    assert not InboxEvent.objects.exists()

    handle.signal("go", "second")
    assert engine.result(handle) == "second"


def test_error_around_a_signal_of_a_workflow_makes_it_be_sent_again(engine, breaking, time):
    @workflow.defn
    async def receiver() -> None:
        await workflow.wait_signal("hello")

    @workflow.defn
    async def sender() -> None:
        await workflow.signal_instance("receiver", "hello")

    target = receiver.options(id="receiver").start()
    breaking("signal")
    handle = sender.start()
    engine.run_until_quiet()
    time.forward(2)

    assert engine.result(handle) is None
    assert kinds(target).count("SignalReceived") == 1


def test_error_around_the_start_of_a_child_fails_the_turn(engine, breaking):
    @workflow.defn
    async def inner() -> str:
        return "done"

    @workflow.defn
    async def outer() -> str:
        return await inner()

    handle = outer.start()
    breaking("start")
    engine.run_until_quiet()

    assert engine.result(handle) == "done"
    assert Instance.objects.filter(parent_id=handle.id).count() == 1
    assert Broken.times == 0


def test_error_around_a_turn_counts_as_a_failed_turn(engine, breaking):
    @workflow.defn
    async def outer() -> str:
        return "done"

    handle = outer.start()
    breaking("turn", times=1)
    client_sees = Instance.objects.get(pk=handle.id)
    engine.advance_due()

    instance = handle.instance
    assert (instance.failed_turns, instance.status, instance.head) == (1, client_sees.status, 0)
    assert not HistoryEvent.objects.exists()
    assert engine.result(handle) == "done"


def test_turn_that_a_hook_always_breaks_is_parked(engine, breaking):
    @workflow.defn
    async def outer() -> str:
        return "done"

    handle = outer.start()
    breaking("turn", times=100)
    for _ in range(conf.settings.MAX_FAILED_TURNS):
        engine.advance_due()

    assert handle.status == "stalled"
    assert handle.instance.stall["error"] == "ArithmeticError"


def test_error_around_a_turn_keeps_no_half_taken_execution(engine, breaking):
    ran = []

    @activity.defn
    def work() -> str:
        ran.append(1)
        return "worked"

    @workflow.defn
    async def outer() -> list:
        first = await work()
        return [first, await workflow.wait_signal("go")]

    handle = outer.start()
    engine.run_until_quiet()
    breaking("turn")
    handle.signal("go", "went")
    engine.advance_due()
    assert all(execution.head <= handle.instance.head for execution in cache._live.values())

    assert engine.result(handle) == ["worked", "went"]
    assert ran == [1]
    assert kinds(handle).count("SignalReceived") == 1


def test_error_around_the_turn_that_takes_a_result_loses_nothing(engine, path, breaking):
    ran = []

    @activity.defn
    def work() -> str:
        if not ran:
            breaking("turn")
        ran.append(1)
        return "worked"

    @workflow.defn
    async def outer() -> str:
        return await work()

    handle = outer.start()

    assert engine.result(handle) == "worked"
    assert kinds(handle).count("ActivityCompleted") == 1
    # In place, the result was to be stored by that very turn.
    assert (len(ran), Broken.times) == (2 if path == "in place" else 1, 0)


def test_error_around_an_activity_fails_the_attempt(engine, breaking, time):
    @activity.defn(retry=RetryPolicy(max_attempts=3, initial_interval=1))
    def work() -> int:
        return activity.info().attempt

    @workflow.defn
    async def outer() -> int:
        return await work()

    breaking("activity")
    handle = outer.start()
    engine.run_until_quiet()
    time.forward(2)

    assert engine.result(handle) == 2


def test_error_around_an_atomic_activity_undoes_its_writes(engine, breaking, time):
    @activity.defn(atomic=True, retry=RetryPolicy(max_attempts=1))
    def work() -> None:
        Instance.objects.filter(pk="outer").update(app_id="written")

    @workflow.defn
    async def outer() -> str:
        try:
            await work()
        except ActivityError as error:
            return str(error.cause)
        return ""

    breaking("activity")
    handle = outer.options(id="outer").start()

    assert "a broken hook" in engine.result(handle)
    assert handle.instance.app_id == ""


def test_error_around_an_end_fails_the_turn_or_reaches_the_caller(engine, breaking):
    @workflow.defn
    async def outer() -> str:
        return await workflow.wait_signal("go")

    handle = outer.start()
    engine.run_until_quiet()
    breaking("end")
    with pytest.raises(ArithmeticError):
        handle.terminate()
    assert handle.status == "running"

    breaking("end")
    handle.signal("go", "done")
    engine.advance_due()
    assert handle.instance.failed_turns == 1
    assert engine.result(handle) == "done"


@pytest.mark.parametrize("name", ["", "line\nbreak"])
def test_headers_that_cannot_be_stored_are_refused(engine, settings, name):
    settings.DURABLE = {"INTERCEPTORS": path_of(BadHeader)}
    BadHeader.name = name

    @workflow.defn
    async def outer() -> None: ...

    with pytest.raises(InvalidInput, match="headers of outer"):
        outer.start()
    assert not Instance.objects.exists()


class BadHeader(Interceptor):
    name: ClassVar[str] = ""

    @contextmanager
    def start(self, call):
        call.headers[self.name] = 1
        yield


# --- settings


def test_hooks_that_nobody_overrides_are_not_called(settings):
    settings.DURABLE = {"INTERCEPTORS": path_of(Carry)}
    assert [len(interceptors.hooks(name)) for name in interceptors.HOOKS] == [1, 1, 0, 1, 0]

    settings.DURABLE = {}
    assert [len(interceptors.hooks(name)) for name in interceptors.HOOKS] == [0] * 5


def test_settings_are_read_once_a_process(engine, settings, path, monkeypatch):
    @activity.defn
    def work() -> None: ...

    @workflow.defn
    async def outer() -> None:
        await work()
        await work()

    engine.result(outer.start())
    read = []
    monkeypatch.setattr(conf.Settings, "INTERCEPTORS", property(lambda _: read.append(1) or []))
    engine.result(outer.start())

    assert read == []


@pytest.mark.parametrize(
    ("paths", "problem"),
    [
        (["tests.test_interceptors.Missing"], "Missing"),
        (["no_such_module.Interceptor"], "no_such_module"),
        (["tests.driving.Engine"], "no subclass"),
        ([7], "7"),
        ("tests.test_interceptors.Carry", "cannot be a str"),
    ],
)
def test_check_names_what_cannot_be_used(settings, paths, problem):
    settings.DURABLE = {"INTERCEPTORS": paths}

    [found] = [message for message in checks.run_checks(tags=["durable"]) if "INTERCEPTORS" in message.msg]

    assert problem in found.msg
    assert found.id == ("durable.E002" if isinstance(paths, str) else "durable.E008")


def test_check_has_nothing_to_say_about_what_can_be_used(settings):
    settings.DURABLE = {"INTERCEPTORS": tuple(path_of(Carry, Recorder))}

    assert not [message for message in checks.run_checks(tags=["durable"]) if "INTERCEPTORS" in message.msg]


def test_base_class_only_calls_on():
    base = Interceptor()
    for name in interceptors.HOOKS:
        with getattr(base, name)(None) as nothing:
            assert nothing is None
