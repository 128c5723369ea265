"""Strict mode refuses what workflow code itself calls and cannot be replayed, and nothing else."""

from __future__ import annotations

import asyncio
import collections
import cProfile
import datetime
import functools
import importlib
import json
import logging
import os
import platform
import random
import secrets
import socket
import sys
import time
import types
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import sleep
from typing import Any

import pytest

from durable.core import context, frames, stepping, strictness
from durable.core.calls import wait_until
from durable.core.execution import Execution
from durable.core.loop import DeterministicLoop
from durable.core.marks import side_effect
from durable.core.payloads import Converter
from durable.core.queries import answer, query
from durable.core.replay_log import ReplaySilentAdapter
from tests.core.histories import STARTED, activity, begin, completed, workflow

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


@activity
def a() -> Any: ...


class Headers(collections.UserDict[str, str]):
    """A mapping of the project's own, whose ``get`` is the one that ``os.environ`` has."""


class Moment(datetime.datetime):
    """A datetime of the project's own."""


SYSTEM = random.SystemRandom()
CALLS: dict[str, Any] = {
    "datetime.now": lambda: datetime.datetime.now(),
    "datetime.now with a zone": lambda: datetime.datetime.now(datetime.UTC),
    "datetime.now of a subclass": lambda: Moment.now(),
    "datetime.utcnow": lambda: datetime.datetime.utcnow(),
    "datetime.today": lambda: datetime.datetime.today(),
    "date.today": lambda: datetime.date.today(),
    **{
        f"time.{name}": functools.partial(eval, f"lambda: time.{name}()", {"time": time})()
        for name in (
            *("time", "monotonic", "perf_counter", "process_time", "thread_time"),
            *("time_ns", "monotonic_ns", "perf_counter_ns", "process_time_ns", "thread_time_ns"),
        )
    },
    "time.localtime() without a time": lambda: time.localtime(),
    "time.gmtime() without a time": lambda: time.gmtime(),
    "time.ctime() without a time": lambda: time.ctime(),
    "time.asctime() without a time": lambda: time.asctime(),
    "time.strftime() without a time": lambda: time.strftime("%Y"),
    "os.getpid": lambda: os.getpid(),
    "os.getcwd": lambda: os.getcwd(),
    "os.cpu_count": lambda: os.cpu_count(),
    "socket.gethostname": lambda: socket.gethostname(),
    "platform.node": lambda: platform.node(),
    "time.sleep": lambda: sleep(0),  # by a name that nobody wraps meanwhile
    "random.random": lambda: random.random(),
    "random.getrandbits": lambda: random.getrandbits(8),
    "random.randint": lambda: random.randint(1, 2),
    "random.choice": lambda: random.choice([1]),
    "random.shuffle": lambda: random.shuffle([1]),
    "random.uniform": lambda: random.uniform(1, 2),
    "random.seed": lambda: random.seed(1),
    "random.SystemRandom().random": lambda: SYSTEM.random(),
    "random.SystemRandom().choice": lambda: SYSTEM.choice([1]),
    "random.Random() without a seed": lambda: random.Random(),
    "uuid.uuid1": lambda: uuid.uuid1(),
    "uuid.uuid4": lambda: uuid.uuid4(),
    "secrets.token_bytes": lambda: secrets.token_bytes(),
    "secrets.token_hex": lambda: secrets.token_hex(),
    "secrets.token_urlsafe": lambda: secrets.token_urlsafe(),
    "secrets.randbelow": lambda: secrets.randbelow(3),
    "secrets.getrandbits": lambda: secrets.randbits(3),
    "secrets.choice": lambda: secrets.choice([1]),
    "os.urandom": lambda: os.urandom(1),
    "os.getenv": lambda: os.getenv("PATH"),
    "os.environ": lambda: os.environ["PATH"],
    "os.environ by get": lambda: os.environ.get("PATH"),
    "os.environ by in": lambda: "PATH" in os.environ,
    "os.environ by iteration": lambda: list(os.environ),
    "os.environ by writing": lambda: os.environ.__setitem__("PATH", "x"),
}
INSTEAD = {
    "datetime": "Use workflow.now()",
    "date": "Use workflow.now().date()",
    "time": "Use workflow.time()",
    "random": "Use workflow.random()",
    "uuid": "Use workflow.uuid4()",
    "secrets": "Draw it in an activity or with workflow.side_effect()",
    "os": "with workflow.side_effect()",
    "socket": "with workflow.side_effect()",
    "platform": "with workflow.side_effect()",
}


def helper(call):
    return call()


def nested(call):
    def inner():
        return call()

    return inner()


def comprehension(call):
    return [each() for each in (call,)]


class Object:
    def method(self, call):
        return call()

    @property
    def call(self):
        return TRIED[-1]()


def called_back(call):
    return sorted([1], key=lambda _: call())


@contextmanager
def managed():
    yield TRIED[-1]()


def context_manager(call):
    with managed() as value:
        return value


@dataclass
class Order:
    at: Any = field(default_factory=lambda: TRIED[-1]())


FROM: dict[str, Any] = {
    "the function": lambda call: call(),
    "a helper": helper,
    "a nested function": nested,
    "a comprehension": comprehension,
    "a method": lambda call: Object().method(call),
    "a property": lambda call: Object().call,
    "a callback of a library": called_back,
    "a context manager": context_manager,
    "a dataclass": lambda call: Order(),
}
TRIED: list[Any] = []
PLACES: list[Any] = []
MORE: list[Any] = []


@workflow
async def trying(swallow: bool = False) -> Any:
    await a()
    if swallow:
        try:
            return PLACES[-1](TRIED[-1])
        except BaseException:
            await a()
            return "swallowed"
    return PLACES[-1](TRIED[-1])


def take(definition, *, strict=True, steps=2, **given):
    """Take the steps of a workflow that waits for an activity between them; return the execution."""
    execution = Execution(definition, converter=Converter())
    events = [STARTED, *(completed(number) for number in range(steps - 1))]
    events[0] = type(STARTED)(name="test", input={"args": [], "kwargs": given})
    for event in events:
        if strict:
            with strictness.watch(execution):
                stepping.step(execution, event)
        else:
            stepping.step(execution, event)
    return execution


def refusal(execution):
    failure = execution.outcome.failure
    assert failure.type == "ForbiddenInWorkflow", failure
    return failure.message


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("swallow", [False, True], ids=["raised", "swallowed"])
def test_call_that_cannot_be_replayed_is_refused_with_its_name_its_place_and_what_to_do(name, swallow):
    TRIED.append(CALLS[name])
    PLACES.append(FROM["the function"])

    message = refusal(take(trying, swallow=swallow))

    call = name.partition(" by ")[0].partition(" of ")[0].partition(" with ")[0]
    assert message.startswith(call)
    assert "is not allowed in a workflow" in message
    if call != "time.sleep" and "System" not in call:
        assert INSTEAD["datetime" if "without a time" in call else call.partition(".")[0]] in message
    if not call.startswith("time"):  # made by eval, so there is no source to show
        assert f"{__file__}:" in message
        assert "lambda: " not in message.split("at ")[-1]


@pytest.mark.parametrize("place", FROM)
@pytest.mark.parametrize("name", ["datetime.now", "uuid.uuid4", "os.environ"])
def test_call_is_refused_wherever_in_the_project_it_is_made(place, name):
    TRIED.append(CALLS[name])
    PLACES.append(FROM[place])

    assert refusal(take(trying)).startswith(name)


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_refused_without_strict_mode(name):
    before = dict(os.environ)
    TRIED.append(CALLS[name])
    PLACES.append(lambda call: str(call()) * 0)

    assert take(trying, strict=False).outcome.result == ""

    os.environ.update(before)


def test_message_shows_what_was_written():
    PLACES.append(lambda _: datetime.datetime.now(tz=datetime.UTC).date())
    TRIED.append(None)

    assert refusal(take(trying)).endswith(": datetime.datetime.now(tz=datetime.UTC))")


def test_long_line_is_cut():
    PLACES.append(
        lambda _: random.choice([11111111111111111111, 22222222222222222222, 33333333333333333333, 444444444])
    )
    TRIED.append(None)

    assert refusal(take(trying)).endswith("...)")


def test_expression_of_many_lines_is_shown_in_one():
    PLACES.append(
        lambda _: random.choice(
            [
                "ä",
            ]
        )
    )
    TRIED.append(None)

    assert refusal(take(trying)).endswith(': random.choice( [ "ä", ] ))')


def test_task_that_nobody_waits_for_is_watched():
    @workflow
    async def careless():
        async def look():
            random.random()

        begin(look())
        await a()

    assert "random.random is" in refusal(take(careless, steps=1))


def test_predicate_of_wait_until_is_watched():
    @workflow
    async def waiting():
        await wait_until(lambda: time.time() > 0)

    assert "time.time is" in refusal(take(waiting, steps=1))


def test_step_that_is_refused_asks_for_nothing():
    @workflow
    async def asking():
        begin(a())
        await asyncio.sleep(0)
        random.random()

    execution = Execution(asking, converter=Converter())
    with strictness.watch(execution):
        commands = stepping.step(execution, STARTED)

    assert commands == [execution.outcome]


# --- what may


def allowed(call, *, steps=1):
    """Assert that a workflow may make a call in strict mode."""

    @workflow
    async def looking():
        call()
        return "ok"

    assert getattr(take(looking, steps=steps).outcome, "result", None) == "ok"


@pytest.mark.parametrize("name", CALLS)
def test_side_effects_may(name):
    before = dict(os.environ)
    allowed(lambda: side_effect(lambda: str(CALLS[name]()) * 0))
    os.environ.update(before)


class Telling(logging.Handler):
    def emit(self, record):
        self.heard = (record.getMessage(), time.time(), uuid.uuid4(), os.environ.get("PATH"))


@pytest.mark.parametrize("adapted", [False, True], ids=["logging", "workflow.logger"])
def test_logging_may_and_so_may_a_handler_of_the_project(adapted):
    plain = logging.getLogger("tests.strictness")
    plain.setLevel("INFO")
    plain.addHandler(handler := Telling())
    logger = ReplaySilentAdapter(plain, {}) if adapted else plain

    try:
        allowed(lambda: logger.info("said"))
    finally:
        plain.removeHandler(handler)

    assert handler.heard[0] == "said"


def test_times_that_are_given_may_be_told():
    allowed(lambda: time.localtime(5))
    allowed(lambda: time.gmtime(5))
    allowed(lambda: time.gmtime(*[5]))
    allowed(lambda: time.ctime(5))
    allowed(lambda: time.asctime(time.gmtime(5)))
    allowed(lambda: time.strftime("%Y", time.gmtime(5)))
    allowed(lambda: datetime.datetime(2026, 1, 1).strftime("%Y"))


def test_libraries_may():
    library = types.ModuleType("library")
    code = "import time\ndef read():\n    return time.time()"
    exec(compile(code, "/x/site-packages/library.py", "exec"), library.__dict__)

    allowed(library.read)
    allowed(lambda: asyncio.Queue().empty())
    allowed(lambda: uuid.uuid5(uuid.NAMESPACE_DNS, "x"))
    allowed(lambda: json.dumps({"a": 1}))


def test_workflow_that_is_installed_like_a_library_is_watched_all_the_same():
    library = types.ModuleType("company")
    code = "import time\nasync def company():\n    return time.time()"
    exec(compile(code, "/x/site-packages/company/flows.py", "exec"), library.__dict__)
    library.company.__module__ = library.__dict__["__name__"] = "company"

    assert "time.time is" in refusal(take(workflow(library.company), steps=1))


def test_module_that_is_imported_by_the_code_may(tmp_path, monkeypatch):
    (tmp_path / "imported_late.py").write_text("import time\ndef f():\n    return time.time()\nBEGAN = f()\n")
    monkeypatch.syspath_prepend(tmp_path)

    def importing():
        return importlib.import_module("imported_late").BEGAN

    allowed(importing)


@pytest.mark.parametrize(
    "call",
    [
        lambda: random.Random(1).choice([1, 2]),
        lambda: random.Random(x=1),
        lambda: context.random().choice([1, 2]),
        lambda: context.random().random(),
        lambda: (context.now(), context.time(), context.uuid4()),
        lambda: datetime.datetime.fromtimestamp(0, datetime.UTC),
        lambda: datetime.datetime.now,
        lambda: Headers().get("PATH"),
        lambda: uuid.UUID(int=1),
    ],
)
def test_what_is_deterministic_may(call):
    allowed(call)


def test_queries_may():
    @workflow
    async def asked():
        @query
        def age() -> bool:
            return time.time() > 0

        await a()

    assert answer(take(asked, steps=1), "age", {"args": [], "kwargs": {}}) is True


def test_other_code_in_the_block_may():
    execution = Execution(trying, converter=Converter())

    with strictness.watch(execution):
        assert time.time() > 0
        assert uuid.uuid4()


def test_code_of_another_execution_may():
    TRIED.append(CALLS["time.time"])
    PLACES.append(FROM["the function"])
    other = Execution(trying, converter=Converter())

    with strictness.watch(other):
        execution = take(trying, strict=False)

    assert execution.outcome.result > 0


# --- the profiler


def test_profiler_that_was_there_is_there_again():
    seen = []

    def profiler(frame, event, arg):
        seen.append(event)

    sys.setprofile(profiler)
    try:
        take(trying, steps=1)
        assert sys.getprofile() is profiler
        seen.clear()
        helper(int)
    finally:
        sys.setprofile(None)

    assert "call" in seen


def test_profiler_is_gone_after_a_refusal():
    TRIED.append(CALLS["time.time"])
    PLACES.append(FROM["the function"])

    take(trying)

    assert sys.getprofile() is None


def test_profiler_in_c_goes_on():
    profile = cProfile.Profile()
    profile.enable()
    try:
        take(trying, steps=1)
        nested(int)
    finally:
        profile.disable()
    assert sys.getprofile() is None

    profile.create_stats()
    assert "inner" in {name for _, _, name in profile.stats}


class InC:
    """Looks like a profiler that set itself from C."""

    enabled = False

    def enable(self):
        self.enabled = True


def test_profiler_that_cannot_be_called_is_enabled_again():
    strictness._restore(profiler := InC())

    assert profiler.enabled


# --- the same once more where coverage can see it: nothing traces what a profiler runs


def here():
    return sys._getframe(1)


def in_a_library():
    names: dict[str, Any] = {}
    code = compile("import sys\ndef f():\n    return sys._getframe()", "/x/site-packages/library.py", "exec")
    exec(code, names)
    return names["f"]()


@pytest.mark.parametrize(
    ("event", "function", "refused"),
    [
        ("c_call", time.time, True),
        ("c_call", Moment.now, True),
        ("c_call", len, False),
        ("c_call", types.SimpleNamespace(__name__="time", __self__=None), False),
        ("c_call", types.SimpleNamespace(__name__="now", __self__=int), False),
        ("call", os.getenv, True),
        ("call", here, False),
        ("call", random.Random.__init__, False),
        ("return", here, False),
    ],
)
@pytest.mark.parametrize("by_user", [True, False])
def test_watch_judges_events(event, function, refused, by_user):
    def tell(_):
        watch = strictness.Watch(context.running())
        frame = sys._getframe() if by_user else in_a_library()
        if event != "c_call":
            code = getattr(function, "__code__", None)
            frame = types.SimpleNamespace(f_code=code, f_back=frame, f_locals={"x": 1})
        watch(frame, event, function)

    PLACES.append(tell)
    TRIED.append(None)

    execution = take(trying, strict=False)

    assert (execution.outcome.kind == "ExecutionFailed") == (refused and by_user), execution.outcome
    assert (execution.loop.violation is not None) == (refused and by_user)


def test_number_of_arguments_is_read_from_the_call():
    frames_here = [sys._getframe()]

    # Builtins call it, as only at their calls does the interpreter ask.
    assert list(map(strictness._given, frames_here)) == [1]
    assert sum(map(strictness._given, frames_here), 10) == 12
    assert list(*[map(strictness._given, frames_here)]) == [float("inf")]


def test_watch_lets_what_runs_elsewhere_be():
    watch = strictness.Watch(Execution(trying, converter=Converter()))

    watch(here(), "c_call", time.time)


@pytest.mark.parametrize(
    ("method", "owner", "call"),
    [
        (random.Random.choice, random._inst, "random.choice"),
        (random.Random.choice, secrets._sysrand, "secrets.choice"),
        (random.Random.choice, SYSTEM, "random.SystemRandom().choice"),
        (random.Random.choice, random.Random(1), None),
        (os.environ.__class__.get, os.environ, "os.environ"),
        (os.environ.__class__.get, {}, None),
        (random.Random.__init__, random.Random(1), None),
    ],
)
def test_method_is_judged_by_its_owner(method, owner, call):
    _, find = strictness._functions[id(method.__code__)]

    rule = find({"self": owner, "x": 1})

    assert (rule and rule.call) == call


def test_frames_of_nobody_of_libraries_and_of_imports_are_no_workflow_code():
    def above(name, frame=None, module="tests.somewhere"):
        code = compile("", __file__, "exec").replace(co_name=name)
        return types.SimpleNamespace(f_globals={"__name__": module}, f_code=code, f_back=frame)

    assert not strictness.is_workflow_code(None, "")
    assert not strictness.is_workflow_code(in_a_library(), "")
    assert not strictness.is_workflow_code(above("f", above("<module>")), "")
    assert not strictness.is_workflow_code(above("f", above("info", module="logging")), "")
    assert strictness.is_workflow_code(above("f", above("g")), "")


def test_frames_down_to_the_loop_are_looked_through_for_the_users():
    def beneath(frame):
        return types.SimpleNamespace(f_globals={"__name__": "json"}, f_code=json.dumps.__code__, f_back=frame)

    mine = here()
    loop = types.SimpleNamespace(f_code=DeterministicLoop.drain.__code__, f_back=mine)

    assert frames.of_workflow(beneath(beneath(mine)), "") is mine
    assert frames.of_workflow(beneath(loop), "") is None
    assert frames.of_workflow(beneath(None), "") is None


@pytest.mark.parametrize("debug", ["no columns", "no lines", "no source"])
def test_what_was_written_is_shown_as_far_as_it_is_known(debug):
    none = (None, None, None, None)
    code = types.SimpleNamespace(
        co_filename=__file__ if debug != "no source" else "/nowhere.py",
        co_positions=lambda: iter([none if debug == "no lines" else (3, 3, None, None)]),
    )

    shown = frames.as_written(types.SimpleNamespace(f_code=code, f_lasti=0, f_globals={}))

    assert shown == ("from __future__ import annotations" if debug == "no columns" else "")


def test_code_made_with_exec_belongs_to_its_module():
    def of(file):
        found = {"__file__": file} if file else {}
        code = compile("", "<string>", "exec")
        return types.SimpleNamespace(f_globals=found, f_code=code, f_back=None)

    assert frames.is_users(of(__file__), "")
    assert frames.is_users(of(""), "")
    assert not frames.is_users(of(json.__file__), "")


def test_our_own_workflows_have_no_package_of_the_users():
    assert frames.package(helper) == "tests"
    assert frames.package(take) == "tests"
    assert frames.package(strictness.watch) == ""
    nowhere = types.FunctionType(helper.__code__, {})
    nowhere.__module__ = None
    assert frames.package(nowhere) == ""
