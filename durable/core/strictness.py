"""Strict mode: catches what cannot be replayed at the moment that workflow code calls it.

The interpreter's profiler tells of each call while a step runs, and of C
functions as well. Refused is what workflow code itself calls: what a library
does inside is the library's business, as is what an activity does.
"""

from __future__ import annotations

import datetime
import opcode
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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable.core import context, frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import CodeType, FrameType

    from durable.core.execution import Execution

    Arguments = Mapping[str, Any]

_NOW = "Use workflow.now()"
_TIME = "Use workflow.time()"
_RANDOM = "Use workflow.random(), e.g. workflow.random().choice(items)"
_UUID = "Use workflow.uuid4()"
_SECRET = "Draw it in an activity or with workflow.side_effect()"  # noqa: S105 - advice
_ENVIRON = "Read it in an activity or with workflow.side_effect(), or pass it as an argument"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What workflow code must not call.

    Attributes:
        call: Its name, e.g. ``datetime.now``.
        instead: What to do in its place, as a sentence.
        up_to: With how many arguments, at most, it is forbidden; for builtins only. None is with any.
    """

    call: str
    instead: str
    up_to: int | None = None


_builtins: dict[str, list[tuple[Any, Rule]]] = {}
_functions: dict[int, tuple[CodeType, Callable[[Arguments], Rule | None]]] = {}


def forbid(
    function: Any,
    call: str,
    instead: str,
    *,
    when: Callable[[Arguments], bool] | None = None,
    up_to: int | None = None,
) -> None:
    """Add a function to what workflow code must not call in strict mode.

    Args:
        function: A function, or a bound builtin such as ``datetime.now``.
        call: Its name for the error.
        instead: What to do in its place, as a sentence.
        when: Whether these arguments, by name, make it forbidden; for functions written in Python only.
        up_to: With how many arguments, at most, it is forbidden; for builtins, whose arguments nobody tells us.
    """
    rule = Rule(call=call, instead=instead, up_to=up_to)
    if isinstance(function, types.BuiltinMethodType):
        _builtins.setdefault(function.__name__, []).append((function.__self__, rule))
    else:
        _forbid_code(function.__code__, lambda given: rule if when is None or when(given) else None)


def _forbid_code(code: CodeType, find: Callable[[Arguments], Rule | None]) -> None:
    # By identity: a code object computes its hash from all that it holds, and each call would. The code is
    # kept, so that nothing else gets its id.
    _functions[id(code)] = (code, find)


@contextmanager
def watch(execution: Execution) -> Iterator[None]:
    """Refuse, for the steps that the block lets ``execution`` take, what cannot be replayed.

    The profiler that was there before does not see the block, and is there again after it.
    """
    before = sys.getprofile()
    sys.setprofile(Watch(execution))
    try:
        yield
    finally:
        _restore(before)


def _restore(profiler: Any) -> None:
    if profiler is None or callable(profiler):
        sys.setprofile(profiler)
    else:
        # Before Python 3.12 cProfile sets itself from C, and cannot be called from here.
        sys.setprofile(None)
        profiler.enable()


class Watch:
    """A profiler that refuses what the code of one execution must not call."""

    __slots__ = ("_execution",)

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        """Look at one event of the interpreter; coverage does not see what runs here.

        Raises:
            ForbiddenInWorkflow: The call is forbidden. It arises at the call, which is not made.
        """
        if event == "c_call":
            owners = _builtins.get(arg.__name__)
            rule = None if owners is None else _of_builtin(owners, arg.__self__)
            if rule is not None and (rule.up_to is None or _given(frame) <= rule.up_to):
                self._judge(frame, rule)
        elif event == "call":
            found = _functions.get(id(frame.f_code))
            if found is not None and (rule := found[1](frame.f_locals)) is not None:
                self._judge(frame.f_back, rule)

    def _judge(self, caller: FrameType | None, rule: Rule) -> None:
        execution = self._execution
        if context.running() is execution and is_workflow_code(caller, execution.loop.package):
            raise execution.loop.forbid(rule.call, instead=rule.instead)


def is_workflow_code(frame: FrameType | None, package: str) -> bool:
    """Say whether a frame runs code of the user's that takes part in the workflow.

    Not so what runs once at an import, and what logging calls: both may look around.
    """
    if frame is None or not frames.is_users(frame, package):
        return False
    above: FrameType | None = frame
    while above is not None and not frames.is_the_loop(above):
        if above.f_code.co_name == "<module>" or above.f_globals.get("__name__") == "logging":
            return False
        above = above.f_back
    return True


def _of_builtin(owners: list[tuple[Any, Rule]], owner: Any) -> Rule | None:
    for each, rule in owners:
        # ``now`` of a subclass of ``datetime`` reads the same clock.
        if each is owner or (isinstance(each, type) and isinstance(owner, type) and issubclass(owner, each)):
            return rule
    return None


def _given(frame: FrameType) -> float:
    """Return how many arguments the call at hand has, by its bytecode; more than any if that does not say."""
    code, at = frame.f_code.co_code, frame.f_lasti
    return code[at + 1] if opcode.opname[code[at]] == "CALL" else float("inf")


# --- the standard library's


def _forbid_clocks() -> None:
    forbid(datetime.datetime.now, "datetime.now", _NOW)
    forbid(datetime.datetime.utcnow, "datetime.utcnow", _NOW)
    forbid(datetime.datetime.today, "datetime.today", _NOW)
    forbid(datetime.date.today, "date.today", f"{_NOW}.date()")
    for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
        forbid(getattr(time, name), f"time.{name}", _TIME)
        forbid(getattr(time, f"{name}_ns"), f"time.{name}_ns", _TIME)
    for name in ("localtime", "gmtime", "ctime", "asctime", "strftime"):
        at_most = 1 if name == "strftime" else 0  # with a time given they read no clock
        forbid(getattr(time, name), f"time.{name}() without a time", _NOW, up_to=at_most)
    forbid(time.sleep, "time.sleep", "Use await asyncio.sleep()")


def _forbid_random() -> None:
    module: Any = random._inst
    secret: Any = secrets._sysrand  # type: ignore[attr-defined]

    def of_method(name: str) -> Callable[[Arguments], Rule | None]:
        def find(given: Arguments) -> Rule | None:
            generator = given["self"]
            if generator is module:
                return Rule(call=f"random.{name}", instead=_RANDOM)
            if generator is secret:
                return Rule(call=f"secrets.{name}", instead=_SECRET)
            if isinstance(generator, random.SystemRandom):
                return Rule(call=f"random.SystemRandom().{name}", instead=_SECRET)
            return None  # a generator with a seed of its own draws the same numbers again

        return find

    for kind in (random.Random, random.SystemRandom):
        for name, method in vars(kind).items():
            if isinstance(method, types.FunctionType) and not name.startswith("_"):
                _forbid_code(method.__code__, of_method(name))
    for name in ("random", "getrandbits"):
        forbid(getattr(random, name), f"random.{name}", _RANDOM)
    forbid(random.Random.__init__, "random.Random() without a seed", _RANDOM, when=lambda given: given["x"] is None)


def _forbid_the_rest() -> None:
    for name in ("uuid1", "uuid4", "uuid6", "uuid7"):  # those that this Python has
        if name in vars(uuid):
            forbid(vars(uuid)[name], f"uuid.{name}", _UUID)
    for name in ("token_bytes", "token_hex", "token_urlsafe", "randbelow"):
        forbid(getattr(secrets, name), f"secrets.{name}", _SECRET)
    forbid(os.urandom, "os.urandom", _SECRET)
    names = ("getpid", "getppid", "getcwd", "getlogin", "uname", "cpu_count", "times")
    for name in filter(vars(os).__contains__, names):  # not every system has all of them
        forbid(getattr(os, name), f"os.{name}", _ENVIRON)
    forbid(socket.gethostname, "socket.gethostname", _ENVIRON)
    for name in ("node", "uname", "platform"):
        forbid(getattr(platform, name), f"platform.{name}", _ENVIRON)
    forbid(os.getenv, "os.getenv", _ENVIRON)
    environ = type(os.environ)
    for kind in environ.__mro__:
        for method in vars(kind).values():
            if isinstance(method, types.FunctionType):
                forbid(method, "os.environ", _ENVIRON, when=lambda given: type(given["self"]) is environ)


_forbid_clocks()
_forbid_random()
_forbid_the_rest()
