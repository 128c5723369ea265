"""Faults that tests put into workers from outside: at a chosen call, the process kills itself.

A test arms a point by writing a file. The process that comes by takes the file
away and is gone, as in a power cut: nothing is flushed, closed or rolled back.
Or, at ``<point>.stop``, it stands still until the test lets it go on.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.acceptance import ledger

if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLE = "ACCEPTANCE_FAULTS"

POINTS = {
    "publish-turn": "durable.dispatch:advance",
    "publish-task": "durable.dispatch:perform",
    "claim": "durable.store.tasks:take",
    "finish": "durable.store.tasks:finish",
    "finish-all": "durable.store.tasks:finish_all",
    "begin": "durable.store.history:begin",
    "birth": "durable.store.births:store",
    "turn": "durable.store.turns:write",
    "gathered": "durable.store.gathered:write",
    "tell": "durable.store.inbox:tell_parents",
    "follow": "durable.engine.following:advance",
    "inbox-insert": "durable.store.inbox:insert",
    "task-insert": "durable.store.tasks:insert",
    "run": "durable.engine.running:attempt",
    "commit": "django.db.backends.base.base:BaseDatabaseWrapper.commit",
}
"""Functions, each with a fault ``<name>.before`` and one ``<name>.after``, and each of these with a ``.stop``."""

LOST = "commit.lost"
"""The commit is done, and its answer gets lost."""

STEP = "step"
"""In the middle of an activity of the tests."""

BROKEN = "broken-"
"""How the names begin of what makes an activity of the tests fail."""

KNOWN = {STEP, LOST, *(f"{name}.{when}" for name in POINTS for when in ("before", "after"))}


def arm(point: str, *, skip: int = 0) -> None:
    """Have the next process that comes by ``point`` die, or the one after ``skip`` others.

    Raises:
        ValueError: There is no such point.
    """
    _check(point)
    draft = _folder() / f"{point}.draft"
    draft.write_text(str(skip))
    draft.rename(_folder() / point)


def _check(point: str) -> None:
    if point.removesuffix(".stop") not in KNOWN and not point.startswith(BROKEN):
        raise ValueError(f"nobody comes by {point!r}")


def armed(point: str) -> bool:
    """Say whether nobody has come by yet."""
    return (_folder() / point).exists()


def disarm() -> None:
    """Take back what nobody fell into."""
    for path in _folder().iterdir():
        path.unlink(missing_ok=True)


def trip(point: str) -> None:
    """Die here, if a test says so."""
    if _due(point):
        ledger.note("killed", point)
        os.kill(os.getpid(), signal.SIGKILL)
    if _due(f"{point}.stop"):
        ledger.note("stopped", point)
        os.kill(os.getpid(), signal.SIGSTOP)


def _due(point: str) -> bool:
    path = _folder() / point
    try:
        skip = int(path.read_text())
        if skip:
            path.write_text(str(skip - 1))
        else:
            path.unlink()
    except FileNotFoundError:
        return False  # not armed, or another process fell into it
    return not skip


def install() -> None:
    """Put the points into this process."""
    for name, target in POINTS.items():
        module, _, path = target.partition(":")
        owner: Any = import_module(module)
        *classes, function = path.split(".")
        for part in classes:
            owner = getattr(owner, part)
        setattr(owner, function, _wrapped(name, getattr(owner, function)))
    BaseDatabaseWrapper.commit = _forgetful(BaseDatabaseWrapper.commit)  # type: ignore[method-assign]
    turns: Any = import_module("durable.store.turns")
    turns.write = _forgetful(turns.write, unless=_in_transaction)


def _in_transaction() -> bool:
    return connection.in_atomic_block


def _forgetful(commit: Callable[..., Any], *, unless: Callable[[], bool] = lambda: False) -> Callable[..., Any]:
    """Return a commit that is done, and whose answer gets lost if ``commit.lost`` is armed."""

    @functools.wraps(commit)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = commit(*args, **kwargs)
        if not threading.current_thread().name.startswith("durable-") and not unless() and _due(LOST):
            ledger.note("lost", "commit")
            raise OperationalError("the connection was lost before the answer came")
        return result

    return call


def _wrapped(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if threading.current_thread().name.startswith("durable-"):
            return function(*args, **kwargs)  # one that all processes share, or that only keeps leases
        trip(f"{name}.before")
        result = function(*args, **kwargs)
        trip(f"{name}.after")
        return result

    return call


def _folder() -> Path:
    return Path(os.environ[VARIABLE])
